//! What this process holds is not left lying about: keys are in its memory.

/// No core file, and on Linux no look into the memory for other processes of the same user (threat model, section 7). Children
/// inherit the first, and may raise it again.
///
/// A limit that cannot be set is no reason not to serve. Builds for debugging stay open to debuggers.
pub fn keep_private() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_CORE) {
            let _ = setrlimit(Resource::RLIMIT_CORE, 0, hard);
        }
    }
    #[cfg(all(target_os = "linux", not(debug_assertions)))]
    let _ = nix::sys::prctl::set_dumpable(false);
}
