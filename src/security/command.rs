//! Which program a server's `command` names. No shell is involved anywhere, so
//! arguments are data: refused or passed byte for byte, never rewritten.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// A program that may be started, resolved to the file that will run.
#[derive(Debug, Clone)]
pub struct AllowedCommand {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
}

#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    #[error("the command is empty")]
    Empty,
    #[error("`{command}` was not found in PATH; hint: install it, or give its full path")]
    NotFound { command: String },
    #[error("the {what} holds a control character, which no command line needs")]
    ControlCharacter { what: &'static str },
}

/// Resolves `command` along `path` (the proxy's own `PATH`, never the child's)
/// and checks its arguments.
///
/// # Errors
/// [`Refused`] says what is wrong and what to do.
pub fn allow(command: &str, args: &[String], path: Option<&OsStr>) -> Result<AllowedCommand, Refused> {
    if command.is_empty() {
        return Err(Refused::Empty);
    }
    if command.chars().any(char::is_control) {
        return Err(Refused::ControlCharacter { what: "command" });
    }
    // SECURITY: TAB and LF occur in real arguments (JSON, scripts); the other controls do not.
    if args.iter().any(|arg| arg.chars().any(|c| c.is_ascii_control() && c != '\t' && c != '\n')) {
        return Err(Refused::ControlCharacter { what: "argument list" });
    }
    let program = resolve(command, path).ok_or_else(|| Refused::NotFound { command: command.to_owned() })?;
    Ok(AllowedCommand { program, args: args.to_vec() })
}

fn resolve(command: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    let named = Path::new(command);
    if named.components().count() > 1 {
        return Some(named.to_owned());
    }
    let path = path?;
    std::env::split_paths(path)
        // SECURITY: an empty or relative entry means the working directory.
        .filter(|dir| dir.is_absolute())
        .flat_map(|dir| candidates(&dir, command))
        .find(|file| is_executable(file))
}

/// On Windows `npx` and `uvx` are batch files; the standard library runs those
/// safely only when they are named in full.
fn candidates(dir: &Path, command: &str) -> Vec<PathBuf> {
    let suffixes: &[&str] = if cfg!(windows) { &["", ".exe", ".cmd", ".bat"] } else { &[""] };
    suffixes
        .iter()
        .map(|suffix| {
            let mut name = OsString::from(command);
            name.push(suffix);
            dir.join(name)
        })
        .collect()
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file() && file.extension().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_looked_up_in_the_path() {
        let path = OsStr::new("relative:/bin:/usr/bin");
        let allowed = allow("sh", &["-c".into(), "echo a\n\t; $(b)".into()], Some(path)).expect("every Unix has sh");
        assert!(allowed.program.is_absolute());
        assert_eq!(allowed.args[1], "echo a\n\t; $(b)");
    }

    #[test]
    fn what_cannot_run_is_refused() {
        let path = OsStr::new("/bin");
        assert_eq!(allow("", &[], Some(path)).unwrap_err(), Refused::Empty);
        assert!(matches!(allow("no-such-program", &[], Some(path)), Err(Refused::NotFound { .. })));
        assert!(matches!(allow("sh", &["a\0b".into()], Some(path)), Err(Refused::ControlCharacter { .. })));
        assert!(matches!(allow("s\nh", &[], Some(path)), Err(Refused::ControlCharacter { .. })));
    }
}
