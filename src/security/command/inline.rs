//! Code in the arguments of an interpreter, with no package, file or version behind it (threat model 5.3).
//!
//! Each kind of program is read as it reads its own arguments: options count only before the script, module or package, and what
//! that program starts is judged in its place. Standard input is code, too, where a program takes it for its script: it is the
//! channel of MCP. Where a reading is in doubt, every one is tried, and one that runs code is enough.

use super::name;
use crate::security::{Refusal, Rule};

mod node;
mod npm;
mod options;
mod other;
mod python;
mod uv;

/// What was found, as the middle of a sentence.
#[derive(Debug, PartialEq, Eq)]
struct Code(String);

impl Code {
    /// An option that takes code, or the word that does.
    fn option(program: &str, option: &str) -> Self {
        let option: String = option.chars().take(40).flat_map(char::escape_default).collect();
        Self(format!("`{program} {option}` takes code from the arguments"))
    }

    fn stdin(program: &str) -> Self {
        Self(format!("`{program}` takes code from standard input here, where the server's messages go"))
    }

    fn remote(program: &str) -> Self {
        Self(format!("`{program}` takes code from a URL, which may be other code each time"))
    }

    fn debugger(program: &str, option: &str) -> Self {
        let option: String = option.chars().take(40).flat_map(char::escape_default).collect();
        Self(format!("`{program} {option}` lets whoever reaches its debugger run code"))
    }

    fn shell(by: &str, program: &str) -> Self {
        Self(format!("`{by}` starts the shell `{program}`"))
    }
}

/// Refuses a command line that hands code to an interpreter.
pub(super) fn refuse(command: &str, args: &[String]) -> Result<(), Refusal> {
    let found = Reader::of(args).program(command, args);
    match found {
        None => Ok(()),
        Some(Code(what)) => {
            Err(Refusal::new(Rule::InlineCode, what, "put the code into a package or a file, or allow it with `--allow-inline-code`"))
        }
    }
}

/// Reads one command line.
struct Reader {
    /// By the number of arguments behind a program: which were read already. A command line can hold many programs that start each
    /// other, and each place is read once.
    seen: Vec<bool>,
}

impl Reader {
    fn of(args: &[String]) -> Self {
        Self { seen: vec![false; args.len() + 1] }
    }

    /// What a program does with its arguments.
    fn program(&mut self, program: &str, args: &[String]) -> Option<Code> {
        if std::mem::replace(&mut self.seen[args.len()], true) {
            return None;
        }
        let name = canonical(program);
        match name.as_str() {
            "node" | "nodejs" | "iojs" | "tsx" | "ts-node" | "electron" => node::read(&name, args),
            "python" | "pythonw" | "pypy" | "py" | "ipython" => self.python(&name, args),
            "npx" | "bunx" | "pnpx" => self.npx(&name, args),
            "npm" | "pnpm" | "yarn" => self.npm(&name, args),
            "uv" => self.uv(args),
            "uvx" => self.uvx(args),
            "uvenv" => Self::uvenv(args),
            "bun" => self.bun(args),
            _ if other::is_wrapper(&name) => self.wrapper(args),
            _ => other::read(&name, args),
        }
    }

    /// What a runner of packages starts. SECURITY: a shell is none of them, whatever it is to do.
    fn started(&mut self, by: &str, program: &str, args: &[String]) -> Option<Code> {
        let name = canonical(program);
        if other::is_shell(&name) {
            return Some(Code::shell(by, &name));
        }
        self.program(program, args)
    }

    /// Programs like `env` and `nice` start what is named somewhere behind them.
    fn wrapper(&mut self, args: &[String]) -> Option<Code> {
        (0..args.len()).find_map(|at| self.program(&args[at], &args[at + 1..]))
    }
}

/// Interpreters that are installed under names with their version, as `python3.12`.
const VERSIONED: &[&str] = &["python", "pypy", "ipython", "node", "perl", "ruby", "php", "lua", "luajit"];

/// `python` for `/usr/bin/Python3.12.exe`, `node` for `node@20`.
fn canonical(program: &str) -> String {
    let file = name::basename(program);
    // What a package name ends in: a version, an extra, a marker. `@scope/name` has lost its scope already.
    let end = file.find(['@', '[', '=', '<', '>', '~', '!', ' ', ';']).filter(|end| *end > 0).unwrap_or(file.len());
    let plain = name::plain(&file[..end]);
    let bare = plain.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').trim_end_matches('-');
    if VERSIONED.contains(&bare) { bare.to_owned() } else { plain }
}

/// Whether Node takes a script or module from the name itself. SECURITY: URL parsers drop blanks before it, and tabs and line
/// breaks within.
fn is_data_url(text: &str) -> bool {
    let mut start = text.trim_start().chars().filter(|c| !matches!(c, '\t' | '\n' | '\r'));
    "data:".chars().all(|expected| start.next().is_some_and(|c| c.eq_ignore_ascii_case(&expected)))
}

/// Whether it is code from elsewhere, without a package's name and version. URL parsers take `https:x` for `https://x`, too.
fn is_remote_url(text: &str) -> bool {
    let mut start = text.trim_start().chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).map(|c| c.to_ascii_lowercase());
    let scheme: String = start.by_ref().take_while(|c| *c != ':').take("https".len() + 1).collect();
    matches!(scheme.as_str(), "http" | "https") && text.contains(':')
}

/// Whether a script that is named so is standard input.
fn is_stdin(text: &str) -> bool {
    text == "-" || is_kernel_file(text)
}

/// Whether a file is one of those through which the kernel shows a process its own input, arguments and variables. `..` at the
/// beginning leads to the root, sooner or later.
pub(super) fn is_kernel_file(text: &str) -> bool {
    let text = text.strip_prefix("file:").unwrap_or(text);
    let mut parts = Vec::new();
    let mut from_root = text.starts_with('/');
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part != ".." {
            parts.push(part);
        } else if parts.pop().is_none() {
            from_root = true;
        }
    }
    from_root && matches!(parts[..], ["dev", "stdin" | "fd", ..] | ["proc", _, _, ..])
}

#[cfg(test)]
mod tests;
