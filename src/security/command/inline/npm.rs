//! npx, npm and their kin.
//!
//! npx reads its options up to the first word itself, and hands them to npm's own parser, which takes `--c`, `-yc` and `-call` for
//! `--call`, and single letters standing together after any number of hyphens (tried with npm 11).

use super::{Code, Reader, is_kernel_file, other};
use crate::security::command::environment;

/// Options of npm that stand alone.
#[rustfmt::skip]
const ALONE: &[&str] = &[
    "all", "allow-same-version", "allow-scripts-pending", "allow-scripts-pin", "always-spawn", "audit", "bin-links", "browser",
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
    "?", "B", "D", "E", "H", "O", "P", "S", "a", "d", "dd", "ddd", "desc", "f", "g", "iwr", "l", "local", "n", "no", "porcelain",
    "readonly", "s", "silent", "verbose", "ws", "y",
];

/// Letters that npm reads when they stand together.
const LETTERS: &str = "dqsnacfgLlmpCSBDEOP?Hhvwy";

impl Reader {
    pub(super) fn npx(&mut self, program: &str, args: &[String]) -> Option<Code> {
        let mut rest = args;
        let mut needs_command = true;
        while let [arg, after @ ..] = rest {
            rest = after;
            if arg == "--" {
                break;
            }
            if !arg.starts_with('-') {
                return self.started(program, arg, rest);
            }
            let (name, value) = split(arg);
            if let Some(code) = option(program, arg, name) {
                return Some(code);
            }
            needs_command &= !matches!(name, "v" | "version" | "versions" | "h" | "help" | "usage" | "?" | "H");
            let behind = value.or_else(|| rest.first().map(String::as_str)).unwrap_or_default();
            if let Some(code) = setting(program, arg, name, behind) {
                return Some(code);
            }
            let alone = value.is_some() || ALONE.contains(&name) || name.starts_with("no-");
            // One that looks like an option is read as one, too.
            if !alone && let Some(word) = rest.first().filter(|word| !word.starts_with('-')) {
                rest = &rest[1..];
                if name.len() > 1 && are_letters(name) {
                    // npx takes the word for a value, and npm for the command.
                    needs_command = false;
                    if let Some(code) = self.started(program, word, rest) {
                        return Some(code);
                    }
                }
            }
        }
        match rest {
            [word, after @ ..] => self.started(program, word, after),
            // It starts a shell, which reads standard input.
            [] => needs_command.then(|| Code::stdin(program)),
        }
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
            let (name, value) = split(arg);
            let behind = value.or_else(|| options.get(at + 1).map(String::as_str)).unwrap_or_default();
            if let Some(code) = option(program, arg, name).or_else(|| setting(program, arg, name, behind)) {
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

fn option(program: &str, arg: &str, name: &str) -> Option<Code> {
    let shown = arg.split('=').next().unwrap_or_default();
    let call = matches!(name, "c" | "cal" | "call" | "shell-mode");
    // `ca` and `cache` are options of their own.
    let cluster = name.len() > 1 && name != "ca" && name.contains('c') && are_letters(name);
    // The shell is handed what npx is to run, as code.
    let shell = matches!(name, "shell" | "script-shell") || name.len() > 7 && "script-shell".starts_with(name);
    (call || cluster || shell).then(|| Code::option(program, shown))
}

fn are_letters(name: &str) -> bool {
    name.chars().all(|letter| LETTERS.contains(letter))
}

/// Settings by which npm starts something else, or Node something more.
fn setting(program: &str, arg: &str, name: &str, value: &str) -> Option<Code> {
    let shown = arg.split('=').next().unwrap_or_default();
    // npm takes a name that is cut short, as long as there is one that it can mean.
    let loads = name.len() > 2 && "node-options".starts_with(name) && environment::node_hook(value).is_some();
    let configures = name.len() > 4 && "userconfig".starts_with(name) || name.len() > 6 && "globalconfig".starts_with(name);
    // SECURITY: a file that holds what the configuration's author has put into `env`.
    let own = configures && is_kernel_file(value);
    let plain = name.replace('-', "_");
    let other = environment::NPM_HOOKS.iter().any(|hook| *hook == plain || plain.len() > 4 && hook.starts_with(&plain));
    (loads || own || other).then(|| Code::option(program, shown))
}
