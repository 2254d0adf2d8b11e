//! uv, uvx and uvenv, which start other programs (tried with uv 0.12 and uvenv 3).

use super::{
    Code, Reader, is_kernel_file, is_remote_url, is_stdin,
    options::{Grammar, Options, Step},
};

/// `uv`, up to its command.
static UV: Grammar = Grammar {
    valued: &[
        "allow-insecure-host",
        "cache-dir",
        "color",
        "config-file",
        "directory",
        "preview-features",
        "project",
        "python-fetch",
        "python-preference",
        "trusted-host",
    ],
    alone: &["help", "managed-python", "native-tls", "offline", "preview", "quiet", "system-certs", "verbose", "version"],
    valued_letters: "",
    alone_letters: "hnqvV",
};

/// `uv run`, and `uv tool run` with its own.
#[rustfmt::skip]
const VALUED: &[&str] = &[
    "allow-insecure-host", "binary", "build-constraint", "build-constraints", "cache-dir", "color", "config-file", "config-setting",
    "config-settings", "config-settings-package", "constraint", "constraints", "default-index", "directory", "env-file",
    "exclude-newer", "exclude-newer-package", "extra", "extra-index-url", "find-links", "fork-strategy", "from", "group", "index",
    "index-strategy", "index-url", "keyring-provider", "link-mode", "no-binary-package", "no-build-isolation-package",
    "no-build-package", "no-editable-package", "no-extra", "no-group", "no-sources-package", "only-group", "override", "overrides",
    "package", "prerelease", "prerelease-package", "preview-features", "project", "python", "python-fetch", "python-platform", "python-preference",
    "refresh-package", "reinstall-package", "resolution", "torch-backend", "trusted-host", "upgrade-group", "upgrade-package", "with",
    "with-editable", "with-executables-from", "with-requirements", "max-recursion-depth",
];

#[rustfmt::skip]
const ALONE: &[&str] = &[
    "active", "all-extras", "all-groups", "all-packages", "compile", "compile-bytecode", "dev", "exact", "force-reinstall", "frozen",
    "gui-script", "help", "isolated", "keep", "lfs", "locked", "managed-python", "module", "native-tls", "offline", "only-dev", "pre",
    "preview", "quiet", "refresh", "reinstall", "script", "show-resolution", "show-settings", "system-certs", "upgrade", "verbose",
    "version",
];

static RUN: Grammar = Grammar { valued: VALUED, alone: ALONE, valued_letters: "CPfipw", alone_letters: "Uhmnqsv" };

static TOOL_RUN: Grammar = Grammar { valued: VALUED, alone: ALONE, valued_letters: "CPbcfipw", alone_letters: "UhnqvV" };

static UVENV: Grammar = Grammar {
    valued: &["binary", "generate", "python", "with"],
    alone: &["help", "keep", "version"],
    valued_letters: "w",
    alone_letters: "hV",
};

impl Reader {
    pub(super) fn uv(&mut self, args: &[String]) -> Option<Code> {
        let mut options = Options::new(&UV, args);
        loop {
            match options.next() {
                Step::Word { word: "run", rest, .. } => return self.uv_run(rest),
                Step::Word { word: "tool", rest, .. } => return self.uv_tool(rest),
                Step::Doubtful { .. } => {
                    if let Some(code) = self.uv(behind_value(options.rest())) {
                        return Some(code);
                    }
                }
                Step::Option { .. } => {}
                Step::Word { .. } | Step::End => return None,
            }
        }
    }

    fn uv_tool(&mut self, args: &[String]) -> Option<Code> {
        let mut options = Options::new(&UV, args);
        loop {
            match options.next() {
                Step::Word { word: "run" | "uvx", rest, .. } => return self.uvx(rest),
                Step::Doubtful { .. } => {
                    if let Some(code) = self.uv_tool(behind_value(options.rest())) {
                        return Some(code);
                    }
                }
                Step::Option { .. } => {}
                Step::Word { .. } | Step::End => return None,
            }
        }
    }

    fn uv_run(&mut self, args: &[String]) -> Option<Code> {
        let mut options = Options::new(&RUN, args);
        let mut module = false;
        loop {
            match options.next() {
                Step::Option { name: "m" | "module", .. } => module = true,
                // SECURITY: a file that holds what the configuration's author has put into `env`.
                Step::Option { name: "env-file", value: Some(file) } if is_kernel_file(file) => {
                    return Some(Code::option("uv run", "--env-file /proc"));
                }
                Step::Option { .. } => {}
                Step::Word { word, rest, .. } if module => return self.module("uv run", word, rest),
                Step::Word { word, .. } if is_stdin(word) => return Some(Code::stdin("uv run")),
                Step::Word { word, .. } if is_remote_url(word) => return Some(Code::remote("uv run")),
                Step::Word { word, rest, .. } => return self.started("uv run", word, rest),
                Step::Doubtful { .. } => {
                    // The next word is its value, or what is run: whichever is worse.
                    if let Some(code) = self.doubtful("uv run", options.rest()) {
                        return Some(code);
                    }
                    options = Options::new(&RUN, after_word(options.rest()));
                }
                Step::End => return None,
            }
        }
    }

    pub(super) fn uvx(&mut self, args: &[String]) -> Option<Code> {
        let mut options = Options::new(&TOOL_RUN, args);
        loop {
            match options.next() {
                Step::Option { .. } => {}
                Step::Word { word, rest, .. } => return self.started("uvx", word, rest),
                Step::Doubtful { .. } => {
                    if let Some(code) = self.doubtful("uvx", options.rest()) {
                        return Some(code);
                    }
                    options = Options::new(&TOOL_RUN, after_word(options.rest()));
                }
                Step::End => return None,
            }
        }
    }

    fn doubtful(&mut self, by: &str, rest: &[String]) -> Option<Code> {
        match rest {
            [word, ..] if word.starts_with('-') => None,
            [word, ..] if is_remote_url(word) => Some(Code::remote(by)),
            [word, after @ ..] => self.started(by, word, after),
            [] => None,
        }
    }

    /// It takes its options anywhere before `--`, and drops that.
    pub(super) fn uvenv(&mut self, args: &[String]) -> Option<Code> {
        // Options of its own may stand before the command; whatever they are, the first command counts.
        let is_command = |arg: &String| matches!(arg.as_str(), "run" | "x" | "runpython" | "runuv");
        let at = if args.first().is_some_and(|arg| arg.starts_with('-')) { args.iter().position(is_command)? } else { 0 };
        let [command, rest @ ..] = &args[at..] else { return None };
        // SECURITY: each would be read anew, however often they are nested.
        if self.of_uvenv {
            return Some(Code::option("uvenv", "run uvenv"));
        }
        let until = rest.iter().position(|arg| arg == "--").unwrap_or(rest.len());
        let (before, after) = rest.split_at(until);
        let mut options = Options::new(&UVENV, before);
        let mut binary = None;
        let mut words = Vec::new();
        loop {
            match options.next() {
                Step::Option { name: "binary", value } => binary = value,
                Step::Option { .. } => {}
                Step::Word { word, .. } => words.push(word.to_owned()),
                // Not its own: of the program, perhaps.
                Step::Doubtful { .. } => words.extend(before[..before.len() - options.rest().len()].last().cloned()),
                Step::End => break,
            }
        }
        words.extend(after.iter().skip(1).cloned());
        let (package, args) = words.split_first()?;
        // Its places are others than those of the line it was made from.
        let mut reader = Self { of_uvenv: true, ..Self::of(args) };
        match command.as_str() {
            "run" | "x" => reader.started("uvenv run", binary.unwrap_or(package), args),
            // The word is an environment.
            "runpython" => reader.python("uvenv runpython", args),
            "runuv" => reader.uv(args),
            _ => None,
        }
    }
}

/// Behind the value of an option that may have one; what may be the value is read as a command, too.
fn behind_value(rest: &[String]) -> &[String] {
    match rest {
        [word, after @ ..] if !word.starts_with('-') => after,
        // SECURITY: with both readings of every option, a long line would take for ever.
        _ => &[],
    }
}

fn after_word(rest: &[String]) -> &[String] {
    match rest {
        [word, after @ ..] if !word.starts_with('-') => after,
        _ => rest,
    }
}
