use super::*;

fn config() -> Config {
    Config { allowed: Vec::new(), inline_code: false, stdio_servers: true, path: Some("relative::/bin:/usr/bin".into()) }
}

fn judged(config: Config, author: Author, command: &str, args: &[&str]) -> Result<Vec<String>, Refusal> {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    Policy::new(config).judge(author, command, &args, &IndexMap::new()).map(|judged| judged.args)
}

#[track_caller]
fn rule(author: Author, command: &str, args: &[&str]) -> Option<Rule> {
    judged(config(), author, command, args).err().map(|refusal| {
        assert!(!refusal.what.is_empty() && !refusal.hint.is_empty(), "{refusal}");
        assert!(!refusal.to_string().contains("SECRET"), "{refusal}");
        refusal.rule
    })
}

#[test]
fn the_app_may_name_seven_programs() {
    for name in name::WELL_KNOWN {
        assert_eq!(rule(Author::App, name, &["x"]), None, "{name}");
    }
    for (command, hint) in [
        ("NPX", "did you mean `npx`"),
        ("npx.cmd", "did you mean `npx`"),
        ("node.exe", "did you mean `node`"),
        ("/usr/bin/node", "without a path"),
        ("./node", "without a path"),
        ("..\\node", ""),
        ("node ", "did you mean `node`"),
        (" node", "did you mean `node`"),
        ("npx -y SECRET", "`args`"),
        ("KEY=SECRET npx", ""),
        ("KEY:SECRET", ""),
        ("https://me:SECRET@host/x", ""),
        ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxSECRET", ""),
        ("nodе", "look like"),
        ("npx\u{200b}", "look like"),
        ("ｎｐｘ", "look like"),
        ("pyhton", "--allow-command"),
        ("pythn", "did you mean `python`"),
        ("python3.12", "--allow-command"),
        ("sh", "--allow-command"),
        ("/bin/sh", "--allow-command"),
        ("bash", "--allow-command"),
        ("docker", "--allow-command"),
        ("pnpm", "--allow-command"),
        (".", "--allow-command"),
        ("node;sh", "--allow-command"),
        ("${SHELL}", "--allow-command"),
        ("", ""),
    ] {
        let refusal = judged(config(), Author::App, command, &["x"]).expect_err(command);
        assert_eq!(refusal.rule, Rule::CommandName, "{command}");
        assert!(refusal.hint.contains(hint), "{command}: {refusal}");
        assert!(!refusal.to_string().contains("SECRET"), "{refusal}");
    }
    for command in ["node\n", "no\0de", "\tnode", "node\u{7f}", "node\u{85}"] {
        assert_eq!(rule(Author::App, command, &["x"]), Some(Rule::ControlCharacter), "{command:?}");
    }
}

#[test]
fn the_operator_extends_the_list_by_exact_names() {
    let extended = || Config { allowed: vec!["docker".to_owned(), "/opt/a server".to_owned(), "sh".to_owned()], ..config() };
    for command in ["docker", "/usr/bin/docker", "/opt/a server", "node"] {
        assert!(judged(extended(), Author::App, command, &["x"]).is_ok(), "{command}");
    }
    for command in
        ["Docker", "bin/docker", "./docker", "/usr/../bin/docker", "/usr/bin/node", "/opt/a  server", "/opt/../opt/a server", "server"]
    {
        assert!(judged(extended(), Author::App, command, &["x"]).is_err(), "{command}");
    }
    let inline = judged(extended(), Author::App, "sh", &["-c", "SECRET"]).expect_err("it is code");
    assert_eq!(inline.rule, Rule::InlineCode);
    assert!(judged(Config { inline_code: true, ..extended() }, Author::App, "sh", &["-c", "x"]).is_ok());
    for good in ["docker", "python3.12", "a-b_c", "/opt/x", "/opt/a server"] {
        assert_eq!(check_extra(good), Ok(()), "{good}");
    }
    for bad in ["", "a b", "./x", "x/y", "..", "a\n", "/a\0", "npx -y x"] {
        assert!(check_extra(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_owner_may_name_any_program() {
    for command in ["docker", "/bin/sh", "./x", "../x", "C:\\Program Files\\x.exe", "nodе"] {
        assert_eq!(rule(Author::Owner, command, &["-c", "x"]), None, "{command}");
    }
    assert_eq!(rule(Author::Owner, "node", &["-e", "x"]), None);
    assert_eq!(rule(Author::Owner, "", &[]), Some(Rule::CommandName));
    assert_eq!(rule(Author::Owner, "a\nb", &[]), Some(Rule::ControlCharacter));
}

#[test]
fn stdio_servers_of_the_app_can_be_off() {
    let off = || Config { stdio_servers: false, ..config() };
    assert_eq!(judged(off(), Author::App, "npx", &["x"]).map_err(|refusal| refusal.rule), Err(Rule::StdioServers));
    assert!(judged(off(), Author::Owner, "npx", &["x"]).is_ok());
}

#[test]
fn control_characters_are_refused_in_arguments_and_no_others() {
    for author in [Author::App, Author::Owner] {
        for code in (0..0x20).chain([0x7f]) {
            let c = char::from(code);
            let expect = if matches!(c, '\t' | '\n') { None } else { Some(Rule::ControlCharacter) };
            assert_eq!(rule(author, "npx", &["x", &format!("a{c}b")]), expect, "{code}");
        }
        for arg in ["; & | ` $ ( ) < > \\ \n \t", "", "ä\u{85}\u{200b}", "C:\\Users\\me", "{\"a\": [1]}"] {
            assert_eq!(judged(config(), author, "npx", &["x", arg]), Ok(vec!["x".to_owned(), arg.to_owned()]));
        }
    }
}

#[test]
fn sizes_are_bounded_and_generous() {
    let check = |args: &[&str]| rule(Author::Owner, "x", args);
    assert_eq!(check(&["ä".repeat(4096).as_str()]), None);
    let longest = "x".repeat(MAX_ARG);
    assert_eq!(check(&[&longest]), None);
    assert_eq!(check(&[&format!("{longest}x")]), Some(Rule::ArgumentSize));
    assert_eq!(check(&vec!["x"; MAX_ARGS]), None);
    assert_eq!(check(&vec!["x"; MAX_ARGS + 1]), Some(Rule::ArgumentSize));
    assert_eq!(check(&[longest.as_str(); 7]), None);
    assert_eq!(check(&[longest.as_str(); 8]), Some(Rule::ArgumentSize));
}

#[cfg(unix)]
#[test]
fn a_bare_name_is_looked_up_in_our_path() {
    let owner = |command: &str, cwd: Option<&Path>| Policy::new(config()).allow(Author::Owner, command, &[], &IndexMap::new(), cwd);
    let sh = owner("sh", None).expect("every Unix has sh");
    assert!(sh.program().is_absolute());
    let missing = owner("no-such-program", None).expect_err("it is not there");
    assert_eq!(missing.rule, Rule::CommandNotFound);
    assert!(missing.hint.contains("install"), "{missing}");
    assert!(owner("npx -y SECRET", None).is_err_and(|refusal| refusal.hint.contains("`args`") && !refusal.what.contains("SECRET")));
    // A directory, and a file that is no program.
    for command in ["/bin", "/etc/passwd", "/no/such/program"] {
        assert_eq!(owner(command, None).map(|_| ()).map_err(|refusal| refusal.rule), Err(Rule::CommandNotFound), "{command}");
    }
    assert_eq!(owner("/bin/sh", None).map(|allowed| allowed.program).ok(), Some("/bin/sh".into()));
    assert_eq!(owner("./sh", Some(Path::new("/bin"))).map(|allowed| allowed.program).ok(), Some("/bin/sh".into()));
    assert!(owner("./sh", None).is_err());
}

#[cfg(unix)]
#[test]
fn relative_entries_of_the_path_are_not_looked_at() {
    use std::os::unix::fs::PermissionsExt;
    // The working directory of tests is the package's; `target` in it is relative.
    let dir = tempfile::TempDir::new_in("target").expect("cargo has made it");
    let file = dir.path().join("npx");
    std::fs::write(&file, "").expect("it can be written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let relative = Path::new("target").join(dir.path().file_name().expect("it has a name"));
    let absolute = std::path::absolute(&relative).expect("there is a working directory");
    let look = |path: OsString| {
        let policy = Policy::new(Config { path: Some(path), ..config() });
        policy.allow(Author::App, "npx", &["x".to_owned()], &IndexMap::new(), None).map(|allowed| allowed.program)
    };
    assert_eq!(look(absolute.clone().into()).ok(), Some(absolute.join("npx")));
    assert!(look(relative.into()).is_err(), "a relative entry is looked at");
    assert!(look("".into()).is_err());
    // Judging asks no machine.
    let nowhere = Policy::new(Config { path: None, ..config() });
    let judged = nowhere.judge(Author::App, "uvx", &["x".to_owned()], &IndexMap::new()).expect("it is allowed");
    assert_eq!(judged.resolve(None).map(|_| ()).map_err(|refusal| refusal.rule), Err(Rule::CommandNotFound));
}

#[test]
fn hooks_hold_for_both() {
    let env = IndexMap::from([("LD_PRELOAD".to_owned(), Secret::from("/x.so"))]);
    for author in [Author::App, Author::Owner] {
        let policy = Policy::new(Config { inline_code: true, ..config() });
        let refusal = policy.judge(author, "npx", &["x".to_owned()], &env).expect_err("it is a hook");
        assert_eq!(refusal.rule, Rule::EnvHook);
        assert!(refusal.what.contains("LD_PRELOAD"));
    }
}

proptest::proptest! {
    /// Whatever an argument holds: it is refused, or it reaches the program as it is.
    #[test]
    fn no_byte_of_an_argument_changes(args in proptest::collection::vec("(?s).{0,40}", 0..8), command in "(?s).{0,12}", owner: bool) {
        let author = if owner { Author::Owner } else { Author::App };
        let policy = Policy::new(Config { inline_code: true, ..config() });
        if let Ok(judged) = policy.judge(author, &command, &args, &IndexMap::new()) {
            proptest::prop_assert_eq!(&judged.args, &args);
            proptest::prop_assert_eq!(judged.command, command);
        }
        // With the well-known names, too, which chance would not find.
        if let Ok(judged) = policy.judge(author, "npx", &args, &IndexMap::new()) {
            proptest::prop_assert_eq!(judged.args, args);
        }
    }

    /// Reading a command line never panics, and what stands behind a package is the package's.
    #[test]
    fn what_follows_a_package_is_data(args in proptest::collection::vec("[^\\x00-\\x1f\\x7f]{0,20}", 0..6)) {
        let mut line = vec!["-y".to_owned(), "@scope/package@1".to_owned()];
        line.extend(args);
        let policy = Policy::new(config());
        for command in ["npx", "uvx"] {
            let line = if command == "uvx" { &line[1..] } else { &line[..] };
            proptest::prop_assert!(policy.judge(Author::App, command, line, &IndexMap::new()).is_ok());
        }
    }

    #[test]
    fn reading_never_panics(program in "(node|python|npx|uv|uvx|uvenv|npm|bash|perl|deno|bun|pwsh|awk|env)", args in proptest::collection::vec("(-{0,3}[a-zA-Zä=:,.@/ -]{0,6}|run|tool|exec|python|sh)", 0..8)) {
        let _ = inline::refuse(&program, &args);
    }
}
