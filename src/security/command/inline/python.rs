//! CPython (`Python/getopt.c`): letters may stand together, and `-c` and `-m` end the options.

use super::{Code, Reader, is_stdin};

/// Letters that take a value: the rest of their argument, or the next one.
const VALUED: &str = "WX";

/// Modules whose arguments or standard input are code. Others get their arguments as data.
#[rustfmt::skip]
const CODE: &[&str] = &[
    "IPython", "asyncio", "bpython", "cmd", "code", "idlelib", "ipython", "pdb", "ptpython", "timeit", "xonsh", "IPython.__main__",
    "asyncio.__main__", "idlelib.idle", "timeit.__main__", "pyrepl", "_pyrepl", "jupyter_console", "konch",
];

impl Reader {
    pub(super) fn python(&mut self, program: &str, args: &[String]) -> Option<Code> {
        let mut rest = args;
        while let [arg, after @ ..] = rest {
            let is_option = arg.len() > 1 && arg.starts_with('-');
            if !is_option {
                return is_stdin(arg).then(|| Code::stdin(program));
            }
            rest = after;
            if arg == "--" {
                return match rest.first() {
                    Some(word) => is_stdin(word).then(|| Code::stdin(program)),
                    None => Some(Code::stdin(program)),
                };
            }
            if let Some(long) = arg.strip_prefix("--") {
                match long {
                    "version" | "help" | "help-all" | "help-env" | "help-xoptions" => return None,
                    // Its value is never in the same argument.
                    "check-hash-based-pycs" => rest = rest.get(1..).unwrap_or_default(),
                    // Python knows no other, but what stands in for it may.
                    _ => {}
                }
                continue;
            }
            for (at, letter) in arg.char_indices().skip(1) {
                let behind = &arg[at + letter.len_utf8()..];
                match letter {
                    'c' => return Some(Code::option(program, "-c")),
                    'i' => return Some(Code::stdin(program)),
                    'm' if behind.is_empty() => {
                        let [module, after @ ..] = rest else { return None };
                        return self.module(program, module, after);
                    }
                    'm' => return self.module(program, behind, rest),
                    'V' | 'h' | '?' if arg.len() == 2 => return None,
                    _ if VALUED.contains(letter) => {
                        if behind.is_empty() {
                            rest = rest.get(1..).unwrap_or_default();
                        }
                        break;
                    }
                    _ => {}
                }
            }
        }
        Some(Code::stdin(program))
    }

    /// `python -m module args…`
    pub(super) fn module(&mut self, program: &str, module: &str, args: &[String]) -> Option<Code> {
        if CODE.contains(&module) {
            return Some(Code::option(program, &format!("-m {module}")));
        }
        // Modules that are programs which start others.
        if matches!(module, "uv" | "uvenv" | "xonsh" | "nodejs") {
            return self.started(program, if module == "nodejs" { "node" } else { module }, args);
        }
        None
    }
}
