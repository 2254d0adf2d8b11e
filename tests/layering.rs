//! The repository tests itself: which module may use which, where standard output may be written, and that the README's tables
//! say what the program says.

use std::{
    collections::BTreeSet,
    fs, iter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// The layers, highest first. A module uses what stands lower, and nothing beside it: `source` and `downstream` do not know each
/// other, nor do the three of the first layer. `src/lib.rs` says what each is for.
const LAYERS: [(u8, &[&str]); 10] = [
    (9, &["app"]),
    (8, &["config"]),
    (7, &["front"]),
    (6, &["router"]),
    (5, &["builtin"]),
    (4, &["catalog"]),
    (3, &["source", "downstream"]),
    (2, &["telemetry", "lines", "files"]),
    (1, &["protocol", "security", "shutdown", "lasting"]),
    (0, &["secret"]),
];

/// The files that write to standard output: the protocol's front, the commands for people, and `--help`.
const STDOUT: [&str; 3] = ["src/front/stdio.rs", "src/app/", "src/main.rs"];

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(_, modules)| modules.contains(&module)).map(|(layer, _)| *layer)
}

#[test]
fn a_module_uses_only_lower_layers() -> Result<()> {
    let mut wrong = Vec::new();
    for file in sources()? {
        let Some(module) = file.module.first() else {
            continue;
        };
        let Some(own) = layer(module) else {
            wrong.push(format!("{}: `{module}` stands in no layer; see the table in tests/layering.rs", file.path));
            continue;
        };
        for used in file.crate_paths() {
            match layer(&used) {
                Some(_) if used == *module => {}
                Some(layer) if layer < own => {}
                Some(layer) => wrong.push(format!("{}: `{module}` ({own}) uses `{used}` ({layer})", file.path)),
                None => wrong.push(format!("{}: `crate::{used}` stands in no layer: name the module that defines it", file.path)),
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// A stray line between two messages ends a client's session.
#[test]
fn standard_output_belongs_to_the_protocol() -> Result<()> {
    let mut wrong = Vec::new();
    for file in sources()? {
        if STDOUT.iter().any(|allowed| file.path.starts_with(allowed)) {
            continue;
        }
        for words in file.tokens.windows(3) {
            let writes =
                matches!([words[0].as_str(), words[1].as_str(), words[2].as_str()], ["print" | "println", "!", _] | ["::", "stdout", "("]);
            if writes {
                wrong.push(format!("{}: `{}`", file.path, words.concat()));
            }
        }
    }
    ensure!(wrong.is_empty(), "standard output belongs to the protocol:\n{}", wrong.join("\n"));
    Ok(())
}

/// What stands there has its reason, and a second place would need one.
#[test]
fn one_file_alone_has_unsafe_code() -> Result<()> {
    let unsafe_files = sources()?.into_iter().filter(|file| file.tokens.iter().any(|token| token == "unsafe"));
    let paths = unsafe_files.map(|file| file.path).collect::<Vec<_>>();
    ensure!(paths == ["src/downstream/transport/stdio/parent_death.rs"], "unsafe code stands in {paths:?}");
    Ok(())
}

#[test]
fn the_readme_lists_every_option_and_no_other() -> Result<()> {
    let commands: [&[&str]; 10] =
        [&[], &["tools"], &["call"], &["doctor"], &["health"], &["login"], &["logout"], &["whoami"], &["check"], &["check", "command"]];
    let help = commands.map(help).into_iter().collect::<Result<String>>()?;
    let offered = options(help.lines().filter(|line| line.trim_start().starts_with('-')));
    let readme = readme()?;
    let rows = readme.lines().filter_map(|line| line.trim().strip_prefix('|')?.split('|').next());
    let documented = options(rows);

    let itself = ["--help", "--version"].map(str::to_owned).into();
    let missing = offered.difference(&documented).filter(|option| !BTreeSet::contains(&itself, *option)).collect::<Vec<_>>();
    ensure!(missing.is_empty(), "no row of the README's tables is for {missing:?}");
    let invented = documented.difference(&offered).collect::<Vec<_>>();
    ensure!(invented.is_empty(), "the README has rows for options that do not exist: {invented:?}");
    Ok(())
}

#[test]
fn the_readme_names_every_variable() -> Result<()> {
    let help = help(&[])?;
    let variables = help.split("[env: ").skip(1).filter_map(|rest| rest.split(['=', ']']).next()).collect::<BTreeSet<_>>();
    let readme = readme()?;
    let missing = variables.iter().filter(|name| !readme.contains(&format!("`{name}`"))).collect::<Vec<_>>();
    ensure!(missing.is_empty(), "the README does not name {missing:?}");
    Ok(())
}

/// What operators read is what the program does.
#[test]
fn the_table_of_limits_says_what_the_code_says() -> Result<()> {
    use pluggedin_mcp_proxy::security::payload;
    let bytes = |bytes: usize| if bytes >= 1024 * 1024 { format!("{} MiB", bytes / 1024 / 1024) } else { format!("{} KiB", bytes / 1024) };
    let rows = [
        ("A message of a server", bytes(payload::MESSAGE)),
        ("A listing of one server", bytes(payload::MESSAGE)),
        ("Pages of one listing", payload::LISTING_PAGES.to_string()),
        ("Entries of one listing", payload::LISTING_ENTRIES.to_string()),
        ("Levels of arrays and objects", payload::DEPTH.to_string()),
        ("What a server says in one call", bytes(payload::MAILBOX)),
        ("A request's body over HTTP |", bytes(payload::BODY)),
        ("A request's body over HTTP without a key", bytes(payload::BODY_WITHOUT_KEY)),
        ("A request's header lines over HTTP, together", bytes(payload::HEAD)),
        ("A request's header lines over HTTP, in number", payload::HEAD_FIELDS.to_string()),
        ("Messages in one batch", payload::BATCH.to_string()),
        ("Events that wait for one stream's client", bytes(payload::STREAM_WAITING)),
        ("Events that are kept of one stream", bytes(payload::STREAM_KEPT)),
        ("An answer of the App", bytes(payload::APP_ANSWER)),
        ("The file of `--config`", bytes(payload::SERVERS_FILE)),
        ("A credentials file", bytes(payload::CREDENTIALS_FILE)),
    ];
    let page = fs::read_to_string(root().join("SECURITY.md")).context("SECURITY.md")?;
    let table =
        page.split("\n## Limits\n").nth(1).and_then(|rest| rest.split("\n## ").next()).context("SECURITY.md has no table of limits")?;
    let documented = table.lines().filter(|line| line.starts_with("| ")).skip(2).count();
    ensure!(documented == rows.len(), "the table has {documented} rows, and here are {}", rows.len());
    for (what, value) in rows {
        let row = table.lines().find(|line| line.starts_with(&format!("| {what}"))).with_context(|| format!("no row for `{what}`"))?;
        ensure!(row.split('|').nth(2).is_some_and(|cell| cell.trim() == value), "`{what}` is {value} in the code: {row}");
    }
    Ok(())
}

/// The README's table of built-in tools is the table that lists and runs them.
#[test]
fn the_readme_shows_every_built_in_tool_as_it_is_listed() -> Result<()> {
    use pluggedin_mcp_proxy::builtin::{Offer, offered};
    let rows = offered(Offer::All).tools.into_iter().map(|(name, record)| {
        let record: serde_json::Value = serde_json::from_slice(&record)?;
        let description = record["description"].as_str().context("a tool has a description")?;
        Ok(format!("| `{name}` | {description} |"))
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let readme = readme()?;
    let section = readme.split("\n## Built-in tools\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let section = section.context("the README has no section on built-in tools")?;
    let documented: Vec<_> = section.lines().filter(|line| line.starts_with("| `pluggedin_")).collect();
    ensure!(documented == rows, "the table of built-in tools is to be\n{}", rows.join("\n"));
    Ok(())
}

fn readme() -> Result<String> {
    fs::read_to_string(root().join("README.md")).context("README.md")
}

#[expect(clippy::disallowed_methods, reason = "a test runs the program that it is a test of")]
fn help(command: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_pluggedin-mcp-proxy")).args(command).arg("--help").output()?;
    ensure!(output.status.success(), "`{command:?} --help` ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Every `--long-option` in these texts.
fn options<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let words = texts.flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')));
    words.filter(|word| word.len() > 2 && word.starts_with("--") && !word.starts_with("---")).map(str::to_owned).collect()
}

/// A source file in words, without its comments and literals.
struct Source {
    /// From the top of the repository, with slashes.
    path: String,
    /// `["router", "tools"]` for `src/router/tools.rs`; empty for the roots of the library and the program.
    module: Vec<String>,
    tokens: Vec<String>,
}

impl Source {
    fn read(path: &Path) -> Result<Self> {
        let relative = path.strip_prefix(root())?;
        let parts = relative.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect::<Vec<_>>();
        let module = match &parts[1..] {
            [only] if matches!(only.as_str(), "lib" | "main") => Vec::new(),
            module => module.to_vec(),
        };
        let path = format!("{}.rs", parts.join("/"));
        let text = fs::read_to_string(path_of(&path)).with_context(|| path.clone())?;
        Ok(Self { path, module, tokens: tokens(&text) })
    }

    /// The first name of every path that begins at the crate's root, spelled `crate::…`, `crate::{…}` or by enough `super::`.
    fn crate_paths(&self) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        let (mut braces, mut inline_modules) = (0_usize, Vec::new());
        let mut rest = self.tokens.as_slice();
        while let [token, after @ ..] = rest {
            rest = after;
            match (token.as_str(), after) {
                ("mod", [_, open, ..]) if open == "{" => inline_modules.push(braces),
                ("{", _) => braces += 1,
                ("}", _) => {
                    braces = braces.saturating_sub(1);
                    if inline_modules.last() == Some(&braces) {
                        inline_modules.pop();
                    }
                }
                ("crate", [colons, path @ ..]) if colons == "::" => used.extend(first_names(path)),
                ("super", _) => {
                    let mut ups = 1;
                    while let [colons, word, after @ ..] = rest
                        && colons == "::"
                        && word == "super"
                    {
                        ups += 1;
                        rest = after;
                    }
                    if let [colons, path @ ..] = rest
                        && colons == "::"
                        && ups == self.module.len() + inline_modules.len()
                    {
                        used.extend(first_names(path));
                    }
                }
                _ => {}
            }
        }
        used
    }
}

/// The name that a path begins with, or those of a group in braces.
fn first_names(path: &[String]) -> Vec<String> {
    match path {
        [open, group @ ..] if open == "{" => {
            let mut depth = 0_usize;
            let mut names = Vec::new();
            for (before, token) in iter::once("{").chain(group.iter().map(String::as_str)).zip(group) {
                match token.as_str() {
                    "{" => depth += 1,
                    "}" if depth == 0 => break,
                    "}" => depth -= 1,
                    name if depth == 0 && matches!(before, "{" | ",") => {
                        names.push(name.to_owned());
                    }
                    _ => {}
                }
            }
            names
        }
        [name, ..] => vec![name.clone()],
        [] => Vec::new(),
    }
}

/// Words, `::` and single signs. Comments, strings and characters are left out: nothing in them uses a module.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(literal) = literal(rest) {
            literal
        } else if first.is_alphanumeric() || first == '_' {
            let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            tokens.push(rest[..word].to_owned());
            word
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of the block comment that this text begins with; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    for (at, pair) in text.as_bytes().windows(2).enumerate() {
        match pair {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at + 2;
        }
    }
    text.len()
}

/// The length of the string or character that this text begins with, if it begins with one; a lifetime is none.
fn literal(text: &str) -> Option<usize> {
    let quote = text.trim_start_matches(['b', 'c']);
    let raw = quote.strip_prefix('r').unwrap_or(quote).trim_start_matches('#');
    if quote.starts_with('r') && raw.starts_with('"') {
        let hashes = &quote[1..quote.len() - raw.len()];
        let end = format!("\"{hashes}");
        let begins = text.len() - raw.len() + 1;
        return Some(text[begins..].find(&end).map_or(text.len(), |at| begins + at + end.len()));
    }
    let prefix = text.len() - quote.len();
    let closing = match quote.chars().next()? {
        '"' => '"',
        '\'' if quote[1..].starts_with('\\') || quote.chars().nth(2) == Some('\'') => '\'',
        _ => return None,
    };
    let mut escaped = false;
    for (at, c) in quote.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == closing => return Some(prefix + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

fn sources() -> Result<Vec<Source>> {
    fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                walk(&path, files)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
        Ok(())
    }
    let mut files = Vec::new();
    walk(&root().join("src"), &mut files)?;
    files.sort();
    files.iter().map(|file| Source::read(file)).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn path_of(relative: &str) -> PathBuf {
    root().join(relative)
}

/// The reader of sources is worth a test of its own: if it saw nothing, everything would pass.
#[track_caller]
fn check(module: &[&str], text: &str, expect: &[&str]) {
    let module = module.iter().map(|&name| name.to_owned()).collect();
    let source = Source { path: String::new(), module, tokens: tokens(text) };
    assert_eq!(source.crate_paths(), expect.iter().map(|&name| name.to_owned()).collect(), "{text}");
}

#[test]
fn paths_from_the_root_are_found() {
    check(&["a"], "use crate::router::Ctx;", &["router"]);
    check(&["a"], "use crate::{front, router::{tools, Ctx}, source::{self}};", &["front", "router", "source"]);
    check(&["a"], "fn f(x: crate::catalog::Catalog) { $crate::m!() }", &["catalog", "m"]);
    check(&["a"], "pub(crate) use self::b; // crate::c\n/* crate::d /* */ */ \"crate::e\" 'x' r#\"crate::f\"# b'\\''", &[]);
    check(&["a"], "fn f<'crate_>(x: &'a str) { crate::g() }", &["g"]);
    check(&["a"], "use super::b; mod tests { use super::c; use super::super::d; } use super::e;", &["b", "d", "e"]);
    check(&["a", "b"], "use super::c; use super::super::{d, e::f};", &["d", "e"]);
}
