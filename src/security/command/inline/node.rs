//! Node 18 to 24, and programs that take its options.

use super::{Code, is_data_url, is_stdin};
use crate::security::command::environment::is_debugger;

/// Options whose value is the next argument, if it does not stand behind `=`.
#[rustfmt::skip]
const VALUED: &[&str] = &[
    "-C", "--conditions", "--allow-fs-read", "--allow-fs-write", "--build-snapshot-config", "--cpu-prof-dir", "--cpu-prof-interval",
    "--cpu-prof-name", "--debug-port", "--diagnostic-dir", "--disable-proto", "--disable-warning", "--dns-result-order", "--env-file",
    "--env-file-if-exists", "--experimental-config-file", "--experimental-default-type", "--experimental-policy",
    "--experimental-sea-config", "--heap-prof-dir", "--heap-prof-interval", "--heap-prof-name", "--heapsnapshot-near-heap-limit",
    "--heapsnapshot-signal", "--icu-data-dir", "--input-type", "--inspect-port", "--inspect-publish-uid", "--localstorage-file",
    "--max-http-header-size", "--max-old-space-size-percentage", "--network-family-autoselection-attempt-timeout", "--openssl-config", "--policy-integrity",
    "--redirect-warnings", "--report-dir", "--report-directory", "--report-filename", "--report-signal", "--secure-heap",
    "--secure-heap-min", "--snapshot-blob", "--stack-trace-limit", "--test-concurrency", "--test-coverage-branches",
    "--test-coverage-exclude", "--test-coverage-functions", "--test-coverage-include", "--test-coverage-lines", "--test-global-setup",
    "--test-isolation", "--test-name-pattern", "--test-reporter", "--test-reporter-destination", "--test-shard", "--test-skip-pattern",
    "--test-timeout", "--title", "--tls-cipher-list", "--tls-keylog", "--trace-event-categories", "--trace-event-file-pattern",
    "--trace-require-module", "--tsconfig", "--unhandled-rejections", "--use-largepages", "--v8-pool-size", "--watch-kill-signal",
    "--watch-path",
];

/// Options that stand alone, by how they begin; V8's are among them.
#[rustfmt::skip]
const ALONE: &[&str] = &[
    "--no-", "--abort-on-", "--allow-", "--completion-bash", "--cpu-prof", "--deprecation", "--disable-", "--disallow-", "--enable-",
    "--entry-url", "--experimental-", "--expose-", "--force-", "--frozen-intrinsics", "--harmony", "--heap-prof", "--huge-max-",
    "--insecure-http-parser", "--interpreted-frames-", "--jitless", "--max-", "--node-", "--openssl-", "--optimize-", "--pending-",
    "--permission", "--preserve-symlinks", "--prof", "--report-", "--stack-size", "--throw-deprecation", "--tls-", "--trace-",
    "--track-heap-", "--use-", "--verify-base-objects", "--warnings", "--watch", "--zero-fill-buffers", "--deprecation", "--addons",
];

/// With these Node needs no script.
const WITHOUT_SCRIPT: &[&str] = &[
    "-h",
    "--help",
    "-v",
    "--version",
    "--v8-options",
    "--completion-bash",
    "--test",
    "--prof-process",
    "-c",
    "--check",
    "--experimental-sea-config",
];

pub(super) fn read(program: &str, args: &[String]) -> Option<Code> {
    let mut needs_script = true;
    let mut rest = args;
    while let [arg, after @ ..] = rest {
        rest = after;
        if arg == "--" {
            return match rest.first() {
                Some(word) => script(program, word),
                None => needs_script.then(|| Code::stdin(program)),
            };
        }
        if !arg.starts_with('-') || arg == "-" {
            return script(program, arg);
        }
        let (name, value) = arg.split_once('=').map_or((arg.as_str(), None), |(name, value)| (name, Some(value)));
        // Node takes `_` for `-` in them, and no abbreviations.
        let name = name.replace('_', "-");
        if is_code(&name) {
            return Some(Code::option(program, &name));
        }
        if matches!(name.as_str(), "-i" | "--interactive") {
            return Some(Code::stdin(program));
        }
        if is_debugger(&name) && !matches!(name.as_str(), "--inspect-port" | "--inspect-publish-uid" | "--debug-port") {
            return Some(Code::debugger(program, &name));
        }
        let loads = matches!(name.as_str(), "-r" | "--require" | "--import" | "--loader" | "--experimental-loader");
        if loads {
            let value = value.or_else(|| take(&mut rest))?;
            if is_data_url(value) || is_stdin(value) {
                return Some(Code::option(program, &format!("{name} {}", if is_data_url(value) { "data:" } else { "-" })));
            }
            continue;
        }
        if name == "--run" {
            // A script of `package.json`; what follows is its own.
            return None;
        }
        needs_script &= !WITHOUT_SCRIPT.contains(&name.as_str());
        if value.is_some() || ALONE.iter().any(|alone| name.starts_with(alone)) && !VALUED.contains(&name.as_str()) {
            continue;
        }
        if VALUED.contains(&name.as_str()) {
            take(&mut rest);
            continue;
        }
        let alone = WITHOUT_SCRIPT.contains(&name.as_str()) || name == "--build-snapshot";
        if !alone && let Some(word) = rest.first().filter(|word| !word.starts_with('-')) {
            // Its value, or the script: whichever is worse.
            if let Some(code) = script(program, word) {
                return Some(code);
            }
            rest = &rest[1..];
        }
    }
    needs_script.then(|| Code::stdin(program))
}

/// `-e`, `-p` and `-pe`; Node knows no other clusters, but its descendants may.
fn is_code(name: &str) -> bool {
    if matches!(name, "--eval" | "--print" | "--exec") {
        return true;
    }
    let cluster = !name.starts_with("--") && name.len() <= 4;
    cluster && name[1..].bytes().all(|byte| byte.is_ascii_alphabetic()) && name.contains(['e', 'p'])
}

fn script(program: &str, word: &str) -> Option<Code> {
    match word {
        // Its debugger reads commands from standard input.
        "inspect" | "debug" => Some(Code::debugger(program, word)),
        _ if is_stdin(word) => Some(Code::stdin(program)),
        _ if is_data_url(word) => Some(Code::option(program, "data:")),
        _ => None,
    }
}

fn take<'a>(rest: &mut &'a [String]) -> Option<&'a str> {
    let [value, after @ ..] = *rest else { return None };
    *rest = after;
    Some(value)
}
