//! npx, npm and their kin.
//!
//! npx reads its options up to the first word itself, and hands them to npm's own parser, which takes `--c`, `-yc` and `-call` for
//! `--call`, and single letters standing together after any number of hyphens (tried with npm 11). The two do not agree on which
//! options take a value, so a word may be a value to npx, which goes on to read options, and the command to npm.

use super::{Code, Reader, is_kernel_file, is_program, other};
use crate::security::command::environment::{NPM_HOOKS, loading};

/// Options of npm that stand alone, to npx and to npm.
#[rustfmt::skip]
const ALONE: &[&str] = &[
    "all", "allow-same-version", "allow-scripts-pending", "allow-scripts-pin", "always-spawn", "audit", "bin-links",
    "bypass-2fa", "color", "commit-hooks", "dangerously-allow-all-scripts", "description", "dev", "diff-ignore-all-space",
    "diff-name-only", "diff-no-prefix", "diff-text", "dry-run", "engine-strict", "expect-results", "force", "foreground-scripts",
    "format-package-lock", "fund", "git-tag-version", "global", "global-style", "h", "help", "if-present", "ignore-existing",
    "ignore-scripts", "include-attestations", "include-staged", "include-workspace-root", "init-private", "install-links", "json",
    "legacy-bundling", "legacy-peer-deps", "link", "long", "no-install", "offline", "omit-lockfile-registry-resolved", "optional",
    "package-lock", "package-lock-only", "packages-all", "parseable", "prefer-dedupe", "prefer-offline", "prefer-online",
    "production", "progress", "provenance", "q", "quiet", "read-only", "rebuild-bundle", "save", "save-bundle", "save-dev",
    "save-exact", "save-optional", "save-peer", "save-prod", "shell-auto-fallback", "shrinkwrap", "sign-git-commit", "sign-git-tag",
    "strict-allow-scripts", "strict-peer-deps", "strict-ssl", "timing", "unicode", "update-notifier", "usage", "v", "version",
    "versions", "workspaces", "workspaces-update", "yes",
    // Abbreviations of those, which npx replaces first. `p` is none: to npx it is `package`.
    "?", "B", "D", "E", "H", "O", "P", "S", "a", "d", "dd", "ddd", "desc", "f", "g", "iwr", "l", "porcelain",
    "readonly", "s", "silent", "verbose", "ws", "y",
];

/// Options whose value is the next argument to both.
#[rustfmt::skip]
const VALUED: &[&str] = &[
    "C", "cache", "cafile", "globalconfig", "loglevel", "omit", "include", "otp", "p", "package", "prefix", "reg", "registry", "scope",
    "tag", "userconfig", "w", "workspace",
];

/// Letters that npm reads when they stand together.
const LETTERS: &str = "dqsnacfgLlmpCSBDEOP?Hhvwy";

impl Reader {
    pub(super) fn npx(&mut self, program: &str, args: &[String]) -> Option<Code> {
        let mut rest = args;
        let mut needs_command = true;
        while let [arg, after @ ..] = rest {
            rest = after;
            if is_end(arg) {
                break;
            }
            if !arg.starts_with('-') {
                return self.started(program, arg, rest);
            }
            let (name, value) = split(arg);
            if let Some(code) = option(program, arg, name, rest) {
                return Some(code);
            }
            needs_command &= !matches!(name, "v" | "version" | "versions" | "h" | "help" | "usage" | "?" | "H");
            if value.is_some() || ALONE.contains(&name) {
                continue;
            }
            // One that looks like an option is read as one, too.
            if let Some(word) = rest.first().filter(|word| !word.starts_with('-')) {
                rest = &rest[1..];
                if VALUED.contains(&name) {
                    continue;
                }
                // npx takes the word for a value, and npm for the command.
                needs_command &= !(are_letters(name) || name.starts_with("no") || matches!(name, "browser" | "local"));
                if let Some(code) = self.perhaps(program, word, rest) {
                    return Some(code);
                }
            }
        }
        match rest {
            [word, after @ ..] => self.started(program, word, after),
            // It starts a shell, which reads standard input.
            [] => needs_command.then(|| Code::stdin(program)),
        }
    }

    /// A word that npm may take for the command.
    fn perhaps(&mut self, program: &str, word: &str, rest: &[String]) -> Option<Code> {
        // SECURITY: npm drops the first `--` and all options before it, so what is an option to the command is not to be told by its place.
        if is_program(word) && rest.iter().any(|arg| is_end(arg)) {
            return Some(Code::option(program, "--"));
        }
        self.started(program, word, rest)
    }

    /// Only for operators who allow them: `exec` and its names, wherever it stands.
    pub(super) fn npm(&mut self, program: &str, args: &[String]) -> Option<Code> {
        // An option before the command may take a word for its value, so the first word that is a command counts.
        let commands = ["exec", "x", "dlx", "create", "init", "node", "run", "run-script", "start", "install", "i"];
        let at = args.iter().position(|arg| commands.contains(&arg.as_str()))?;
        match args[at].as_str() {
            "node" => return self.program("node", &args[at + 1..]),
            // They run what `package.json` says.
            "run" | "run-script" | "start" | "install" | "i" => return None,
            _ => {}
        }
        let until = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
        // npm itself takes its options anywhere; pnpm and yarn up to the package.
        let options = if program == "npm" { &args[..until] } else { &args[..until.min(at + 1)] };
        for (at, arg) in options.iter().enumerate().filter(|(_, arg)| arg.starts_with('-')) {
            if let Some(code) = option(program, arg, split(arg).0, &options[at + 1..]) {
                return Some(code);
            }
        }
        self.npx(program, &args[at + 1..])
    }

    pub(super) fn bun(&mut self, args: &[String]) -> Option<Code> {
        match args {
            [word, rest @ ..] if word == "x" => self.npx("bun x", rest),
            _ => other::read("bun", args),
        }
    }
}

/// The name without its hyphens, and what stands behind `=`.
fn split(arg: &str) -> (&str, Option<&str>) {
    let bare = arg.trim_start_matches('-');
    bare.split_once('=').map_or((bare, None), |(name, value)| (name, Some(value)))
}

/// Two hyphens or more.
fn is_end(arg: &str) -> bool {
    arg.len() >= 2 && arg.bytes().all(|byte| byte == b'-')
}

fn option(program: &str, arg: &str, name: &str, rest: &[String]) -> Option<Code> {
    let shown = arg.split('=').next().unwrap_or_default();
    let name = positive(name);
    let call = matches!(name, "c" | "shell-mode");
    // `ca` and `cache` are options of their own.
    let cluster = name.len() > 1 && name != "ca" && name.contains('c') && are_letters(name);
    // Options may be cut short. Of those that name a program, the shell is handed what npx is to run, as code.
    let hook = name.len() > 2 && NPM_HOOKS.iter().any(|hook| hook.replace('_', "-").starts_with(name));
    if call || cluster || hook {
        return Some(Code::option(program, shown));
    }
    let of_node = name.len() > "node-".len() && "node-options".starts_with(name);
    let value = split(arg).1.or_else(|| rest.first().map(String::as_str)).unwrap_or_default();
    // SECURITY: a file of the kernel's can hold what the configuration's author has put into `env`.
    let configures = name.len() > 4 && "userconfig".starts_with(name) || name.len() > 6 && "globalconfig".starts_with(name);
    let code = of_node && loading(value).is_some() || configures && is_kernel_file(value);
    code.then(|| Code::option(program, shown))
}

/// npm takes `--no-name=value` for `--name=value`.
fn positive(mut name: &str) -> &str {
    while let Some(rest) = name.get(.."no-".len()).filter(|no| no.eq_ignore_ascii_case("no-")).map(|_| &name["no-".len()..]) {
        name = rest;
    }
    name
}

fn are_letters(name: &str) -> bool {
    name.chars().all(|letter| LETTERS.contains(letter))
}
