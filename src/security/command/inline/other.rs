//! Interpreters that an operator may allow with `--allow-command`, or that a runner may start.

use super::{Code, is_data_url, is_stdin};

/// How an interpreter of the usual kind reads its arguments.
struct Kind {
    names: &'static [&'static str],
    /// Letters that take code, alone or at the end of others.
    code: &'static str,
    /// Long options that take code.
    long: &'static [&'static str],
    /// Letters that take a value: the rest of their argument, or the next one.
    valued: &'static str,
    /// Without a script it reads standard input.
    stdin: bool,
}

#[rustfmt::skip]
const KINDS: &[Kind] = &[
    Kind { names: SHELLS, code: "cCs", long: &["--command", "--init-command", "--commands", "--execute"], valued: "oO", stdin: true },
    Kind { names: &["perl"], code: "eE", long: &[], valued: "IMmxFDC", stdin: true },
    Kind { names: &["ruby", "jruby", "truffleruby"], code: "e", long: &[], valued: "IrCEFKTWx", stdin: true },
    Kind { names: &["php"], code: "rBREa", long: &["--run", "--process-begin", "--process-code", "--process-end", "--interactive"], valued: "cdfztSgT", stdin: true },
    Kind { names: &["lua", "luajit"], code: "ei", long: &[], valued: "l", stdin: true },
    Kind { names: &["julia"], code: "eEi", long: &["--eval", "--print"], valued: "JLHptCP", stdin: true },
    Kind { names: &["r", "rscript"], code: "e", long: &[], valued: "gf", stdin: false },
    Kind { names: &["elixir", "iex", "erl", "groovy", "scala", "ghc", "runghc", "swipl", "guile", "osascript", "sbcl", "raku", "jshell"], code: "eEcg", long: &["--eval", "--rpc-eval", "-eval"], valued: "r", stdin: false },
];

const SHELLS: &[&str] = &[
    "ash", "bash", "busybox", "csh", "dash", "elvish", "fish", "ksh", "mksh", "nu", "oksh", "pdksh", "rbash", "sh", "tcsh", "toybox",
    "xonsh", "yash", "zsh",
];

/// Shells of Windows, which read options in ways of their own.
const WINDOWS_SHELLS: &[&str] = &["cmd", "powershell", "pwsh"];

const AWKS: &[&str] = &["awk", "gawk", "mawk", "nawk"];

/// Programs that start what their arguments name.
#[rustfmt::skip]
const WRAPPERS: &[&str] = &[
    "arch", "caffeinate", "chroot", "chrt", "command", "cross-env", "direnv", "doas", "dotenv", "dotenvx", "entr", "env", "env-cmd",
    "exec", "find", "firejail", "flock", "gosu", "hatch", "ionice", "linux", "mise", "nice", "nohup", "numactl", "op", "parallel",
    "pdm", "pipenv", "pipx", "poetry", "proxychains", "rye", "script", "setarch", "setpriv", "setsid", "start-stop-daemon", "stdbuf",
    "strace", "su", "sudo", "systemd-run", "taskset", "time", "timeout", "unbuffer", "unshare", "volta", "watch", "xargs",
];

pub(super) fn is_shell(name: &str) -> bool {
    SHELLS.contains(&name) || WINDOWS_SHELLS.contains(&name)
}

pub(super) fn is_wrapper(name: &str) -> bool {
    WRAPPERS.contains(&name)
}

pub(super) fn is_known(name: &str) -> bool {
    matches!(name, "deno" | "bun") || is_shell(name) || AWKS.contains(&name) || KINDS.iter().any(|kind| kind.names.contains(&name))
}

pub(super) fn read(program: &str, args: &[String]) -> Option<Code> {
    match program {
        "deno" => deno(args),
        "bun" => bun(args),
        "cmd" => Some(Code::shell(program, program)),
        "powershell" | "pwsh" => powershell(program, args),
        _ if AWKS.contains(&program) => awk(program, args),
        _ => KINDS.iter().find(|kind| kind.names.contains(&program)).and_then(|kind| usual(program, kind, args)),
    }
}

fn usual(program: &str, kind: &Kind, args: &[String]) -> Option<Code> {
    // Both hold every tool; `busybox sh -c` is `sh -c`.
    if let ("busybox" | "toybox", [tool, rest @ ..]) = (program, args) {
        return read(&super::canonical(tool), rest);
    }
    let mut rest = args;
    while let [arg, after @ ..] = rest {
        rest = after;
        if arg == "--" || arg == "-" && SHELLS.contains(&program) {
            break;
        }
        let name = arg.split('=').next().unwrap_or_default();
        if kind.long.contains(&name) {
            return Some(Code::option(program, name));
        }
        if name.starts_with("--") {
            let informs = matches!(name, "--version" | "--help");
            let valued = matches!(name, "--rcfile" | "--init-file" | "--config" | "--env-config" | "--plugin-config");
            if informs {
                return None;
            }
            if valued && !arg.contains('=') {
                rest = rest.get(1..).unwrap_or_default();
            }
            continue;
        }
        let letters = match arg.strip_prefix(['-', '+']) {
            Some(letters) if !letters.is_empty() => letters,
            _ => return is_stdin(arg).then(|| Code::stdin(program)),
        };
        for (at, letter) in letters.char_indices() {
            if kind.code.contains(letter) && arg.starts_with('-') {
                return Some(Code::option(program, &format!("-{letter}")));
            }
            if kind.names == SHELLS && kind.valued.contains(letter) {
                // Most take the next argument, and read on in this one; zsh takes the rest of it.
                match rest {
                    [word, ..] if is_stdin(word) => return Some(Code::stdin(program)),
                    [word, after @ ..] if !word.starts_with(['-', '+']) => rest = after,
                    _ => {}
                }
                continue;
            }
            if kind.valued.contains(letter) {
                if at + letter.len_utf8() == letters.len() {
                    rest = rest.get(1..).unwrap_or_default();
                }
                break;
            }
        }
    }
    match rest.first() {
        Some(word) => is_stdin(word).then(|| Code::stdin(program)),
        None => kind.stdin.then(|| Code::stdin(program)),
    }
}

fn deno(args: &[String]) -> Option<Code> {
    let informs = |arg: &String| matches!(arg.as_str(), "-V" | "-v" | "--version" | "-h" | "--help");
    let Some(command) = args.iter().find(|arg| !arg.starts_with('-')) else {
        return if args.iter().any(informs) { None } else { Some(Code::stdin("deno")) };
    };
    match command.as_str() {
        "eval" | "repl" | "jupyter" => Some(Code::option("deno", command)),
        _ => {
            let script = args.iter().find(|arg| is_data_url(arg) || is_stdin(arg));
            let debugger = args.iter().take_while(|arg| arg.starts_with('-') || *arg == "run").find(|arg| arg.starts_with("--inspect"));
            let script = script.map(|word| if is_stdin(word) { Code::stdin("deno") } else { Code::option("deno", "data:") });
            script.or_else(|| debugger.map(|option| Code::debugger("deno", option.split('=').next().unwrap_or_default())))
        }
    }
}

fn bun(args: &[String]) -> Option<Code> {
    let mut rest = args;
    while let [arg, after @ ..] = rest {
        rest = after;
        let name = arg.split('=').next().unwrap_or_default();
        let cluster = name.starts_with('-') && !name.starts_with("--") && name.len() > 1 && name.contains(['e', 'p']) && name != "-preload";
        if matches!(name, "--eval" | "--print") || cluster {
            return Some(Code::option("bun", name));
        }
        if name.starts_with("--inspect") {
            return Some(Code::debugger("bun", name));
        }
        if matches!(name, "exec" | "repl") {
            return Some(Code::option("bun", name));
        }
        if is_stdin(arg) {
            return Some(Code::stdin("bun"));
        }
        if is_data_url(arg.split_once('=').map_or(arg.as_str(), |(_, value)| value)) {
            return Some(Code::option("bun", "data:"));
        }
        if !arg.starts_with('-') && arg != "run" {
            return None;
        }
    }
    None
}

/// Options may be cut short, in any case, and begin with `-`, `--` or `/`.
fn powershell(program: &str, args: &[String]) -> Option<Code> {
    // Only a script that is named as such, before any other word, is none of it.
    let is_file = |arg: &String| {
        let name = arg.trim_start_matches(['-', '/']).to_ascii_lowercase();
        let option = arg.len() > 1 && arg.starts_with(['-', '/']);
        option && !name.is_empty() && "file".starts_with(&name) || program == "pwsh" && !option && name.rsplit('.').next() == Some("ps1")
    };
    let harmless = ["-nologo", "-noprofile", "-nop", "-noninteractive", "-noni", "-version"];
    let first = args.iter().find(|arg| !harmless.contains(&arg.to_ascii_lowercase().as_str()));
    (!first.is_some_and(is_file)).then(|| Code::shell(program, program))
}

/// The first word is the program, unless a file is named.
fn awk(program: &str, args: &[String]) -> Option<Code> {
    let harmless = ["-f", "--file", "-E", "--exec", "--version", "--help"];
    let mut options = args.iter().take_while(|arg| arg.starts_with('-'));
    let code = !options.any(|option| harmless.iter().any(|harmless| option.starts_with(harmless)));
    code.then(|| Code::option(program, "PROGRAM"))
}
