//! What this process holds is not left lying about: keys in its memory, and what its parent has left open in it.

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

/// SECURITY: descriptors that our parent has left open in us do not go on to the servers that we start (threat model T15). They stay open
/// here: the parent may wait for their end.
///
/// To be called before anything else opens files or starts threads.
pub fn keep_descriptors() {
    #[cfg(unix)]
    close_fds::set_fds_cloexec(3, &[]);
}
