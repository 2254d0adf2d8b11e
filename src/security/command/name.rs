//! What stands as `command`: one of a few names for the App, anything for the owner of the machine.

use std::path::{Component, Path};

use crate::security::{Refusal, Rule};

/// What the App may start: runners of published packages, and the interpreters of their languages.
pub(super) const WELL_KNOWN: [&str; 7] = ["node", "npx", "python", "python3", "uv", "uvx", "uvenv"];

const LIST: &str = "the App may name node, npx, python, python3, uv, uvx and uvenv; the operator allows others with `--allow-command NAME`";

pub(super) fn of_owner(command: &str) -> Result<(), Refusal> {
    if command.is_empty() {
        return Err(Refusal::new(Rule::CommandName, "the command is empty", "name the program to start"));
    }
    if command.chars().any(char::is_control) {
        return Err(Refusal::new(
            Rule::ControlCharacter,
            "the command holds a control character",
            "write the name of a program, and put its arguments into `args`",
        ));
    }
    Ok(())
}

/// SECURITY: byte for byte. What only looks like an allowed name is another program.
pub(super) fn of_app(command: &str, extra: &[String]) -> Result<(), Refusal> {
    of_owner(command)?;
    let allowed = || WELL_KNOWN.into_iter().chain(extra.iter().map(String::as_str));
    if allowed().any(|name| name == command) || is_program_of(extra, command) {
        return Ok(());
    }
    let what = format!("the command `{}` is not one that the App may start", shown(command));
    let names = |name: &str| allowed().find(|allowed| *allowed == name).map(str::to_owned);
    let trimmed = command.trim();
    let refuse = |hint: String| Err(Refusal::new(Rule::CommandName, what.clone(), hint));
    if let Some(name) = names(trimmed) {
        return refuse(format!("did you mean `{name}`, without blanks around it?"));
    }
    if let Some(name) = trimmed.split_whitespace().next().and_then(names) {
        return refuse(format!("write `{name}` as the command, and put the arguments into `args`"));
    }
    if let Some(name) = names(basename(trimmed)).filter(|_| is_path(trimmed)) {
        return refuse(format!("write `{name}` without a path; it is looked up in the proxy's own PATH"));
    }
    if !command.is_ascii() {
        return refuse(format!("it holds characters that only look like others; {LIST}"));
    }
    let near = plain(basename(trimmed));
    // Longer ones are no slip of a name, and comparing takes time.
    let nearest = allowed().filter(|_| near.len() <= 64).map(|name| (strsim::levenshtein(&near, name), name)).min();
    if let Some((_, name)) = nearest.filter(|(distance, name)| *distance == 0 || *distance == 1 && name.len() > 3) {
        return refuse(format!("did you mean `{name}`? {LIST}"));
    }
    refuse(LIST.to_owned())
}

/// Whether it is the full path of a program that the operator has allowed by its name. Who allows `docker` means it wherever it lies,
/// and the App reaches no more by it than by `npx`. The well-known names stay names: theirs are looked up in our own PATH.
fn is_program_of(extra: &[String], command: &str) -> bool {
    let path = Path::new(command);
    let plain = path.components().all(|part| matches!(part, Component::Prefix(_) | Component::RootDir | Component::Normal(_)));
    path.is_absolute() && plain && path.file_name().is_some_and(|file| extra.iter().any(|name| file == name.as_str()))
}

/// Whether it says where the program is, rather than only what it is called.
pub(super) fn is_path(command: &str) -> bool {
    command.contains('/')
        || matches!(command, "." | "..")
        || cfg!(windows) && command.contains(['\\', ':'])
        || Path::new(command).is_absolute()
}

/// What follows the last separator, of whatever system.
pub(super) fn basename(command: &str) -> &str {
    command.rsplit(['/', '\\']).next().unwrap_or(command)
}

/// In lower case, without the suffix that Windows gives to programs.
pub(super) fn plain(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    for suffix in [".exe", ".cmd", ".bat", ".ps1", ".com"] {
        if let Some(bare) = name.strip_suffix(suffix) {
            return bare.to_owned();
        }
    }
    name
}

/// For texts. SECURITY: only up to what no name holds, since people write whole command lines and assignments here, and keys in them.
pub(super) fn shown(name: &str) -> String {
    let is_drive = |at: usize| at == 1 && name.trim_start()[at + 1..].starts_with(['/', '\\']);
    let ends = |(at, c): &(usize, char)| c.is_whitespace() || "=,;\"'`".contains(*c) || *c == ':' && !is_drive(*at);
    name.trim_start().char_indices().take_while(|part| !ends(part)).take(40).flat_map(|(_, c)| c.escape_default()).collect()
}
