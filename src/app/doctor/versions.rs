//! Which versions of Node, Python and uv the configured servers get, and whether they are too old. Nobody else's are asked.

use std::path::Path;

use super::report::{Check, Group};

/// What stands behind a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Runtime {
    Node,
    Python,
    Uv,
}

impl Runtime {
    /// By the name of the program, wherever it lies.
    pub(super) fn of(command: &str) -> Option<Self> {
        let name = command.rsplit(['/', '\\']).next().unwrap_or(command).to_ascii_lowercase();
        let name = [".exe", ".cmd", ".bat"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
        match name {
            "node" | "npx" | "npm" | "pnpm" | "pnpx" | "yarn" | "tsx" => Some(Self::Node),
            "uv" | "uvx" | "uvenv" => Some(Self::Uv),
            _ if name.strip_prefix("python").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')) => {
                Some(Self::Python)
            }
            "pipx" => Some(Self::Python),
            _ => None,
        }
    }

    /// The program that is asked: the one that is configured, where it tells of itself.
    pub(super) fn program(self, command: &str) -> String {
        let is_path = Path::new(command).components().count() > 1;
        let name = command.rsplit(['/', '\\']).next().unwrap_or(command);
        match self {
            Self::Node if is_path && name.starts_with("node") => command.to_owned(),
            Self::Node => "node".to_owned(),
            Self::Python if name.starts_with("python") => command.to_owned(),
            Self::Python => "python3".to_owned(),
            Self::Uv if is_path && name == "uv" => command.to_owned(),
            Self::Uv => "uv".to_owned(),
        }
    }

    fn oldest(self) -> Option<(u32, u32, &'static str)> {
        match self {
            Self::Node => Some((18, 0, "most servers need Node 18 or newer")),
            Self::Python => Some((3, 10, "most servers need Python 3.10 or newer")),
            Self::Uv => None,
        }
    }

    pub(super) fn install(self) -> &'static str {
        match self {
            Self::Node => "install Node from https://nodejs.org or by your package manager",
            Self::Python => "install Python from https://www.python.org or by your package manager",
            Self::Uv => "install uv as https://docs.astral.sh/uv says",
        }
    }

    /// What it says of itself.
    pub(super) fn judge(self, name: &str, said: &str) -> Check {
        let Some(version) = version(said) else {
            return Check::warn(Group::Programs, name, format!("it does not tell its version: {said}")).hint(self.install());
        };
        match self.oldest() {
            Some((major, minor, need)) if version < (major, minor) => {
                Check::warn(Group::Programs, name, format!("it is too old: {said}")).hint(format!("{need}; {}", self.install()))
            }
            _ => Check::ok(Group::Programs, name, said),
        }
    }
}

/// The first two numbers of `v20.11.1`, `Python 3.12.3`, `uv 0.5.1 (abc 2024)`.
fn version(said: &str) -> Option<(u32, u32)> {
    let from = said.find(|c: char| c.is_ascii_digit())?;
    let mut numbers = said[from..].split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next().and_then(Result::ok).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::{super::report::Status, *};

    #[test]
    fn old_versions_are_told() {
        for (runtime, said, status) in [
            (Runtime::Node, "v20.11.1", Status::Ok),
            (Runtime::Node, "v18.0.0", Status::Ok),
            (Runtime::Node, "v9.11.2", Status::Warn),
            (Runtime::Node, "nothing", Status::Warn),
            (Runtime::Python, "Python 3.12.3", Status::Ok),
            (Runtime::Python, "Python 3.9.18", Status::Warn),
            (Runtime::Python, "Python 2.7.18", Status::Warn),
            (Runtime::Uv, "uv 0.1.0 (abc 2024-01-01)", Status::Ok),
        ] {
            let check = runtime.judge("x", said);
            let (found, message, hint) = check.summary();
            assert!(found == status && message.contains(said) && hint.is_some() == (status == Status::Warn), "{said}: {check:?}");
        }
    }

    #[test]
    fn commands_tell_what_stands_behind_them() {
        for (command, expect) in [
            ("npx", Some("node")),
            ("npx.cmd", Some("node")),
            ("/opt/node/bin/npx", Some("node")),
            ("/opt/node/bin/node", Some("/opt/node/bin/node")),
            ("uvx", Some("uv")),
            ("python", Some("python")),
            ("python3.11", Some("python3.11")),
            ("/venv/bin/python", Some("/venv/bin/python")),
            ("pipx", Some("python3")),
            ("pythonista", None),
            ("docker", None),
            ("mcp-server-time", None),
        ] {
            let program = Runtime::of(command).map(|runtime| runtime.program(command));
            assert_eq!(program.as_deref(), expect, "{command}");
        }
    }
}
