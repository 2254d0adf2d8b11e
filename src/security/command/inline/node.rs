//! Node 18 to 24, and programs that take its options.

use super::{Code, is_data_url, is_kernel_file, is_remote_url, is_stdin};
use crate::security::command::environment::is_debugger;

/// Options whose value is the next argument, if it does not stand behind `=`.
#[rustfmt::skip]
const VALUED: &[&str] = &[
    "-C", "--conditions", "--allow-fs-read", "--allow-fs-write", "--build-snapshot-config", "--cpu-prof-dir", "--cpu-prof-interval",
    "--cpu-prof-name", "--debug-port", "--diagnostic-dir", "--disable-proto", "--disable-warning", "--dns-result-order",     "--experimental-default-type",     "--experimental-specifier-resolution", "--experimental-test-isolation", "--heap-prof-dir", "--heap-prof-interval", "--heap-prof-name", "--heapsnapshot-near-heap-limit",
    "--heapsnapshot-signal", "--icu-data-dir", "--input-type", "--inspect-port", "--inspect-publish-uid", "--localstorage-file",
    "--max-http-header-size", "--max-old-space-size-percentage", "--network-family-autoselection-attempt-timeout", "--policy-integrity",
    "--redirect-warnings", "--report-dir", "--report-directory", "--report-filename", "--report-signal", "--secure-heap",
    "--secure-heap-min", "--snapshot-blob", "--stack-trace-limit", "--test-concurrency", "--test-coverage-branches",
    "--test-coverage-exclude", "--test-coverage-functions", "--test-coverage-include", "--test-coverage-lines",     "--test-isolation", "--test-name-pattern", "--test-reporter-destination", "--test-shard", "--test-skip-pattern",
    "--test-timeout", "--title", "--tls-cipher-list", "--tls-keylog", "--trace-event-categories", "--trace-event-file-pattern",
    "--tsconfig", "--unhandled-rejections", "--use-largepages", "--v8-pool-size", "--watch-kill-signal",
    "--watch-path",
];

/// Options that stand alone; V8's are among them. An option in no table may take the next word for its value, or not.
#[rustfmt::skip]
const ALONE: &[&str] = &[
    "--abort-on-uncaught-exception", "--addons", "--allow-addons", "--allow-child-process", "--allow-inspector", "--allow-natives-syntax",
    "--allow-net", "--allow-wasi", "--allow-worker", "--async-context-frame", "--completion-bash", "--cpu-prof",
    "--debug-arraybuffer-allocations", "--deprecation", "--disable-sigusr1", "--disable-wasm-trap-handler",
    "--disallow-code-generation-from-strings", "--enable-etw-stack-walking", "--enable-fips", "--enable-network-family-autoselection",
    "--enable-source-maps", "--entry-url", "--experimental-abortcontroller", "--experimental-addon-modules",
    "--experimental-async-context-frame", "--experimental-default-config-file", "--experimental-detect-module",
    "--experimental-entry-url", "--experimental-eventsource", "--experimental-fetch", "--experimental-global-customevent",
    "--experimental-global-navigator", "--experimental-global-webcrypto", "--experimental-import-meta-resolve",
    "--experimental-json-modules", "--experimental-modules", "--experimental-network-imports", "--experimental-network-inspection",
    "--experimental-permission", "--experimental-print-required-tla", "--experimental-repl-await", "--experimental-report",
    "--experimental-require-module", "--experimental-shadow-realm", "--experimental-sqlite", "--experimental-strip-types",
    "--experimental-test-coverage", "--experimental-test-module-mocks", "--experimental-test-snapshots",
    "--experimental-top-level-await", "--experimental-transform-types", "--experimental-vm-modules",
    "--experimental-wasi-unstable-preview1", "--experimental-wasm-modules", "--experimental-websocket", "--experimental-webstorage",
    "--experimental-worker", "--expose-gc", "--expose-internals", "--extra-info-on-fatal-exception", "--force-async-hooks-checks",
    "--force-context-aware", "--force-fips", "--force-node-api-uncaught-exceptions-policy", "--frozen-intrinsics",
    "--global-search-paths", "--harmony", "--heap-prof", "--huge-max-old-generation-size", "--insecure-http-parser",
    "--interpreted-frames-native-stack", "--jitless", "--network-family-autoselection", "--node-memory-debug", "--node-snapshot",
    "--openssl-legacy-provider", "--openssl-shared-config", "--optimize-for-size", "--pending-deprecation", "--perf-basic-prof",
    "--perf-basic-prof-only-functions", "--perf-prof", "--perf-prof-unwinding-info", "--permission", "--preserve-symlinks",
    "--preserve-symlinks-main", "--prof", "--report-compact", "--report-exclude-env", "--report-exclude-network",
    "--report-on-fatalerror", "--report-on-signal", "--report-uncaught-exception", "--test-force-exit", "--test-only",
    "--test-update-snapshots", "--throw-deprecation", "--tls-max-v1.2", "--tls-max-v1.3", "--tls-min-v1.0", "--tls-min-v1.1",
    "--tls-min-v1.2", "--tls-min-v1.3", "--trace-atomics-wait", "--trace-deprecation", "--trace-env", "--trace-env-js-stack",
    "--trace-env-native-stack", "--trace-events-enabled", "--trace-exit", "--trace-gc", "--trace-promises", "--trace-sigint",
    "--trace-sync-io", "--trace-tls", "--trace-uncaught", "--trace-warnings", "--track-heap-objects", "--use-bundled-ca",
    "--use-env-proxy", "--use-openssl-ca", "--use-strict", "--use-system-ca", "--verify-base-objects", "--warnings", "--watch",
    "--watch-preserve-output", "--zero-fill-buffers",
];

/// Options whose value is the name of a module, which is loaded.
#[rustfmt::skip]
const LOADING: &[&str] = &[
    "-r", "--require", "--import", "--loader", "--experimental-loader", "--test-reporter", "--test-global-setup", "--experimental-policy",
];

/// Options whose value is a file with options.
const CONFIGURING: &[&str] =
    &["--env-file", "--env-file-if-exists", "--experimental-config-file", "--experimental-sea-config", "--openssl-config"];

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
        if LOADING.contains(&name.as_str()) || CONFIGURING.contains(&name.as_str()) {
            needs_script &= !WITHOUT_SCRIPT.contains(&name.as_str());
            let Some(value) = value.or_else(|| take(&mut rest)) else { continue };
            if let Some(code) = loaded(program, &name, value) {
                return Some(code);
            }
            continue;
        }
        if name == "--run" {
            // A script of `package.json`; what follows is its own.
            return None;
        }
        needs_script &= !WITHOUT_SCRIPT.contains(&name.as_str());
        if value.is_some() || name.starts_with("--no-") || ALONE.contains(&name.as_str()) {
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
        _ if is_remote_url(word) => Some(Code::remote(program)),
        _ => None,
    }
}

fn loaded(program: &str, option: &str, value: &str) -> Option<Code> {
    // SECURITY: `/proc/self/environ` is a file that holds what the configuration's author has put into `env`.
    let own = CONFIGURING.contains(&option) && is_kernel_file(value);
    let shown = match value {
        _ if is_remote_url(value) => return Some(Code::remote(&format!("{program} {option}"))),
        _ if is_data_url(value) => "data:",
        _ if is_stdin(value) => "-",
        _ if own => "/proc",
        _ => return None,
    };
    Some(Code::option(program, &format!("{option} {shown}")))
}

/// The value behind an option. Node takes none that looks like an option itself.
fn take<'a>(rest: &mut &'a [String]) -> Option<&'a str> {
    let [value, after @ ..] = *rest else { return None };
    if value.len() > 1 && value.starts_with('-') {
        return None;
    }
    *rest = after;
    Some(value)
}
