//! The file of servers, the credentials file, and the directories that the proxy writes to.

use std::{fs, path::Path};

use super::report::{Check, Group, Status};
use crate::{config::Parts, files, security::redact, source::FileStatus};

const FILE: &str = "servers";

/// What the loader says of the file of servers, and who else can read or change it.
pub(super) fn servers(path: &Path, status: &FileStatus, count: usize) -> Vec<Check> {
    let shown = path.display();
    let mut checks = match status {
        FileStatus::Unset => return Vec::new(),
        FileStatus::Broken { message } => {
            vec![
                Check::fail(Group::Files, FILE, format!("`{shown}`: {message}"))
                    .hint("mend the file; other clients' JSON with comments is fine"),
            ]
        }
        FileStatus::Current { problems } => {
            let sentence = format!("`{shown}` can be read; it has {count} server{}", if count == 1 { "" } else { "s" });
            let problem = |problem: &String| {
                let left_out = problem.contains(" is left out: ");
                let status = if left_out { Status::Fail } else { Status::Warn };
                Check::new(Group::Files, FILE, status, problem).hint(format!("mend its entry in `{shown}`"))
            };
            std::iter::once(Check::ok(Group::Files, FILE, sentence)).chain(problems.iter().map(problem)).collect()
        }
    };
    checks.extend(others(path));
    checks
}

/// What users beside the owner may do.
fn others(path: &Path) -> Option<Check> {
    let mode = mode(path)?;
    let shown = path.display();
    if mode & 0o002 != 0 {
        let sentence = format!("everybody on this machine can write `{shown}` (mode {mode:o}), and so start programs as you");
        return Some(Check::warn(Group::Files, FILE, sentence).hint(format!("`chmod go-w {shown}`")));
    }
    let holds_secrets = || fs::read_to_string(path).is_ok_and(|text| redact::redact(&text) != text);
    if mode & 0o044 != 0 && holds_secrets() {
        let sentence = format!("`{shown}` holds secrets, and others can read it (mode {mode:o})");
        let hint = format!("`chmod 600 {shown}`, or name variables of the environment there, as `${{TOKEN}}`");
        return Some(Check::warn(Group::Files, FILE, sentence).hint(hint));
    }
    None
}

/// The file that `login` writes.
pub(super) fn credentials(path: &Path) -> Option<Check> {
    const CREDENTIALS: &str = "credentials";
    let mode = mode(path)?;
    let shown = path.display();
    let of_others = mode & 0o077;
    if of_others == 0 {
        return Some(Check::ok(Group::Files, CREDENTIALS, format!("`{shown}` is its owner's alone")));
    }
    Some(
        Check::warn(Group::Files, CREDENTIALS, format!("others can get at `{shown}` (mode {mode:o})")).hint(format!("`chmod 600 {shown}`")),
    )
}

/// Whether what is to be kept can be: by doing it.
pub(super) fn directories(parts: &Parts) -> Vec<Check> {
    let cache = directory("cache", parts.cache_dir.as_deref(), "XDG_CACHE_HOME", "listings are not kept between runs");
    let state = directory("state", parts.state_dir.as_deref(), "XDG_STATE_HOME", "it is not noticed when tools change");
    // With pinning the record is what keeps changed tools from clients.
    let state = if parts.catalog.pin {
        state.map_err(|(name, sentence, hint)| Check::fail(Group::Files, name, sentence).hint(hint))
    } else {
        state.map_err(warning)
    };
    [cache.map_err(warning), state].into_iter().map(|outcome| outcome.unwrap_or_else(|check| check)).collect()
}

type Trouble = (&'static str, String, String);

fn warning((name, sentence, hint): Trouble) -> Check {
    Check::warn(Group::Files, name, sentence).hint(hint)
}

fn directory(name: &'static str, base: Option<&Path>, variable: &str, without: &str) -> Result<Check, Trouble> {
    let Some(base) = base else {
        return Err((name, format!("there is no directory for it; {without}"), format!("set `HOME` or `{variable}`")));
    };
    let probe = files::path(base, &format!(".doctor-{}", uuid::Uuid::new_v4().simple()));
    let shown = probe.parent().unwrap_or(base).display();
    match files::replace(&probe, |_| Ok(())) {
        Ok(()) => {
            // It is empty, and in nobody's way.
            let _ = fs::remove_file(&probe);
            Ok(Check::ok(Group::Files, name, format!("`{shown}` can be written")))
        }
        Err(error) => Err((
            name,
            format!("`{shown}` cannot be written: {}; {without}", error.kind()),
            format!("give it back to yourself (`chown`, `chmod u+rwx`), or name another with `{variable}`"),
        )),
    }
}

/// `None` also where there is no file.
#[cfg(unix)]
fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).ok().map(|meta| meta.permissions().mode() & 0o777)
}

/// Access lists are for those who administer the machine.
#[cfg(not(unix))]
fn mode(_: &Path) -> Option<u32> {
    None
}
