//! The words of a command line that mean something here, and a warning for each that does not. MCP inspectors and hosts append
//! options of their own, which must not stop anything.

use std::ffi::OsString;

use super::CHECK;

/// What is left of a command line.
pub(super) struct Kept {
    pub(super) args: Vec<OsString>,
    pub(super) warnings: Vec<String>,
    /// The first word that is a command.
    pub(super) command: Option<String>,
}

/// What clap can be given, and a warning for everything that was taken out.
pub(super) fn known_only(command: &clap::Command, args: impl IntoIterator<Item = OsString>) -> Kept {
    // These are clap's own, which adds them later.
    let own = ["-h", "--help", "-V", "--version"].map(str::to_owned);
    let mut known = Known { flags: own.into(), valued: Vec::new(), commands: vec!["help".to_owned()] };
    known.commands.extend(command.get_subcommands().map(|sub| sub.get_name().to_owned()));
    known.collect(command);

    let mut args = args.into_iter().peekable();
    let mut kept: Vec<OsString> = vec![args.next().unwrap_or_else(|| "pluggedin-mcp-proxy".into())];
    let mut warnings = Vec::new();
    let mut chosen: Option<String> = None;
    let mut only_words = false;
    while let Some(arg) = args.next() {
        // Nobody appends options to a question, and what it is about may look like one.
        if chosen.as_deref() == Some(CHECK) {
            kept.push(arg);
            continue;
        }
        let text = arg.to_string_lossy().into_owned();
        if !only_words && text == "--" {
            only_words = true;
            if chosen.is_some() {
                kept.push(arg);
            }
            continue;
        }
        if only_words || !text.starts_with('-') || text == "-" {
            match &chosen {
                None if known.commands.contains(&text) && !only_words => {
                    if let Some(sub) = command.find_subcommand(&text) {
                        known.collect(sub);
                    }
                    chosen = Some(text);
                    kept.push(arg);
                }
                None => warnings.push(format!("ignored {}", stray(&text))),
                Some(chosen) if matches!(chosen.as_str(), "tools" | "doctor" | "health" | "login" | "logout" | "whoami") => {
                    warnings.push(format!("ignored {}", stray(&text)));
                }
                Some(_) => kept.push(arg),
            }
            continue;
        }
        // SECURITY: what follows `=` may be a misspelt option's secret and is never shown.
        let name = text.split('=').next().unwrap_or_default().to_owned();
        let inline = text.contains('=');
        let mut follows = |kept: &mut Vec<OsString>, keep: bool| {
            let value = args.next_if(|next| {
                let next = next.to_string_lossy();
                !next.starts_with('-') && (keep || !known.commands.iter().any(|command| *command == next))
            });
            if keep {
                kept.extend(value);
            }
        };
        if known.flags.contains(&name) {
            kept.push(arg);
        } else if known.valued.contains(&name) {
            kept.push(arg);
            if !inline {
                follows(&mut kept, true);
            }
        } else {
            // In a command a word behind is more likely meant for the command.
            if !inline && chosen.is_none() {
                follows(&mut kept, false);
            }
            let hint = known.nearest(&name).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            warnings.push(format!("ignored the unknown option `{}`{hint}", shorten(&name)));
        }
    }
    Kept { args: kept, warnings, command: chosen }
}

#[derive(Debug)]
struct Known {
    /// With their hyphens.
    flags: Vec<String>,
    valued: Vec<String>,
    commands: Vec<String>,
}

impl Known {
    /// The options of the program, or of one command.
    fn collect(&mut self, command: &clap::Command) {
        for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
            let list = if arg.get_action().takes_values() { &mut self.valued } else { &mut self.flags };
            list.extend(arg.get_long().map(|long| format!("--{long}")));
            list.extend(arg.get_short().map(|short| format!("-{short}")));
        }
    }

    fn nearest(&self, name: &str) -> Option<&str> {
        let all = self.flags.iter().chain(&self.valued).filter(|known| known.starts_with("--"));
        let (distance, known) = all.map(|known| (strsim::levenshtein(name, known), known)).min()?;
        (distance <= 3 && distance * 3 < known.len()).then_some(known)
    }
}

/// A word that nothing asked for. A long one may be a key in the wrong place.
fn stray(word: &str) -> String {
    match word.chars().count() {
        0..=24 => format!("the word `{}`", shorten(word)),
        length => format!("a word of {length} characters"),
    }
}

fn shorten(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(40).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use clap::CommandFactory;

    use super::{
        super::{Cli, Parsed, parse},
        *,
    };

    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
    fn check(line: &str, expect: Expect) {
        let args = std::iter::once("proxy").chain(line.split_whitespace()).map(OsString::from);
        let Kept { args: kept, warnings, command: _ } = known_only(&Cli::command(), args);
        let kept: Vec<_> = kept.iter().skip(1).map(|arg| arg.to_string_lossy()).collect();
        let lines: Vec<String> = std::iter::once(kept.join(" ")).chain(warnings.into_iter().map(|w| format!("! {w}"))).collect();
        expect.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn the_known_passes() {
        check("", expect![""]);
        check("--port 1 --stateless --transport=stdio -V", expect!["--port 1 --stateless --transport=stdio -V"]);
        check("--port 1 tools --json --log-level debug", expect!["--port 1 tools --json --log-level debug"]);
        check("call echo {} --json --config x", expect!["call echo {} --json --config x"]);
        check("call -- -odd {}", expect!["call -- -odd {}"]);
        check("help call", expect!["help call"]);
        check("health --url http://x", expect!["health --url http://x"]);
        check("--port 1 check command node --odd -e x", expect!["--port 1 check command node --odd -e x"]);
        check("--allowed-host a --allowed-host b", expect!["--allowed-host a --allowed-host b"]);
    }

    #[test]
    fn an_option_of_a_command_means_nothing_without_it() {
        check(
            "--json --url http://x --port 1",
            expect![[r#"
            --port 1
            ! ignored the unknown option `--json`
            ! ignored the unknown option `--url`"#]],
        );
        check(
            "health --json stray",
            expect![[r#"
            health
            ! ignored the unknown option `--json`
            ! ignored the word `stray`"#]],
        );
    }

    #[test]
    fn what_may_be_repeated_is_kept() {
        let args = ["proxy", "--allowed-host", "a", "--port", "1", "--allowed-host=b", "--port", "2"].map(OsString::from);
        let Parsed { cli, warnings, is_check: _ } = parse(args);
        let http = cli.expect("all of it is known").options.http;
        assert_eq!((http.allowed_host, http.port.as_deref(), warnings.len()), (vec!["a".to_owned(), "b".to_owned()], Some("2"), 0));
    }

    #[test]
    fn the_unknown_is_taken_out_with_its_value() {
        check(
            "--inspector on --port 1",
            expect![[r#"
            --port 1
            ! ignored the unknown option `--inspector`"#]],
        );
        check(
            "--inspector --port 1",
            expect![[r#"
            --port 1
            ! ignored the unknown option `--inspector`"#]],
        );
        check(
            "--inspector=on -x y stray",
            expect![[r#"

            ! ignored the unknown option `--inspector`
            ! ignored the unknown option `-x`
            ! ignored the word `stray`"#]],
        );
        check(
            "--x tools --y z",
            expect![[r#"
            tools
            ! ignored the unknown option `--x`
            ! ignored the unknown option `--y`
            ! ignored the word `z`"#]],
        );
        check(
            "call --y echo {}",
            expect![[r#"
            call echo {}
            ! ignored the unknown option `--y`"#]],
        );
        check(
            "-- tools",
            expect![[r#"

            ! ignored the word `tools`"#]],
        );
    }

    #[test]
    fn a_slip_is_pointed_out_and_no_secret_shown() {
        check(
            "--plugedin-api-key=pg_in_secret",
            expect![[r#"

            ! ignored the unknown option `--plugedin-api-key`; did you mean `--pluggedin-api-key`?"#]],
        );
        check(
            "--prot 1",
            expect![[r#"

                ! ignored the unknown option `--prot`"#]],
        );
        check(
            "pg_in_0123456789012345678901234567890123456789",
            expect![[r#"

            ! ignored a word of 46 characters"#]],
        );
    }
}
