//! `.env` files: what the npm package `dotenv` 18.0.10 makes of these texts, found out by running it.

use super::{Check, lines, verdicts};
use serde_json::{Map, Value, json};

type Row = (&'static str, &'static [(&'static str, &'static str)]);

#[track_caller]
fn reads(rows: &[Row]) {
    let cases: Vec<Value> = rows.iter().map(|(text, _)| json!({"kind": "env-file", "text": text})).collect();
    let finished = Check::new().batch(lines(&cases));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let verdicts = verdicts(&finished);
    assert_eq!(verdicts.len(), rows.len(), "{finished:?}");
    let wrong: Vec<String> = rows
        .iter()
        .zip(&verdicts)
        .filter_map(|((text, values), verdict)| {
            let expected: Map<String, Value> = values.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            let expected = Value::Object(expected);
            (verdict["values"] != expected).then(|| format!("{text:?}\n    should be {expected}\n    and is    {}", verdict["values"]))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn the_grammar_is_that_of_dotenv() {
    reads(GRAMMAR);
}

/// Where what dotenv does follows from the way it is written more than from what it promises.
#[test]
fn odd_texts_are_read_as_dotenv_does() {
    reads(ODD);
}

/// Nothing is filled in: not from the file, not from the environment, not by commands.
#[test]
fn nothing_is_expanded() {
    let check = Check::new().env("B", "from the environment");
    let text = "B=1\nA=$B ${B} ${B:-x} $(id) `id`\nC=\"$B ${B} $(id)\"\n";
    let finished = check.batch(lines(&[json!({"kind": "env-file", "text": text})]));
    let expected = json!({"B": "1", "A": "$B ${B} ${B:-x} $(id) `id`", "C": "$B ${B} $(id)"});
    assert_eq!(verdicts(&finished)[0]["values"], expected, "{finished:?}");
}

#[test]
fn a_file_is_read_as_its_text_is() {
    let check = Check::new();
    let file = check.home.write("some.env", "\u{feff}A='x' # c\r\nexport B=\"1\\n2\"\r\n");
    let finished = check.run(&["env-file", &file.display().to_string(), "--json"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let verdict: Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
    assert_eq!(verdict["values"], json!({"A": "x", "B": "1\n2"}), "{verdict}");
}

const GRAMMAR: &[Row] = &[
    ("A=1", &[("A", "1")]),
    ("A=1\n", &[("A", "1")]),
    ("A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")]),
    ("\u{feff}A=1\nB=2", &[("A", "1"), ("B", "2")]),
    ("", &[]),
    ("\n\n", &[]),
    ("# only\n#A=1\n", &[]),
    ("A=", &[("A", "")]),
    ("A=\nB=2", &[("A", ""), ("B", "2")]),
    ("A= \nB=2", &[("A", ""), ("B", "2")]),
    ("  A=1", &[("A", "1")]),
    ("\tA=1", &[("A", "1")]),
    ("A =1", &[("A", "1")]),
    ("A= 1", &[("A", "1")]),
    ("A = 1  ", &[("A", "1")]),
    ("export A=1", &[("A", "1")]),
    ("export  A=1", &[("A", "1")]),
    ("  export A=1", &[("A", "1")]),
    ("export\tA=1", &[("A", "1")]),
    ("exportA=1", &[("exportA", "1")]),
    ("export=1", &[("export", "1")]),
    ("export", &[]),
    ("A: 1", &[("A", "1")]),
    ("A", &[]),
    ("A\nB=1", &[("B", "1")]),
    ("A='x'", &[("A", "x")]),
    ("A=\"x\"", &[("A", "x")]),
    ("A=`x`", &[("A", "x")]),
    ("A=''", &[("A", "")]),
    ("A=\"\"", &[("A", "")]),
    ("A=``", &[("A", "")]),
    ("A='a b'", &[("A", "a b")]),
    ("A=\"a b\"", &[("A", "a b")]),
    ("A=' a '", &[("A", " a ")]),
    ("A=\" a \"", &[("A", " a ")]),
    ("A= 'a' ", &[("A", "a")]),
    ("A='a' # c", &[("A", "a")]),
    ("A=\"a\" # c", &[("A", "a")]),
    ("A='a'#c", &[("A", "a")]),
    ("A='a # b'", &[("A", "a # b")]),
    ("A=\"a # b\"", &[("A", "a # b")]),
    ("A=`a # b`", &[("A", "a # b")]),
    ("A=a # b", &[("A", "a")]),
    ("A=a#b", &[("A", "a")]),
    ("A=a #b", &[("A", "a")]),
    ("A=#b", &[("A", "")]),
    ("A= #b", &[("A", "")]),
    ("A=a\\#b", &[("A", "a\\")]),
    ("A=\"a\\nb\"", &[("A", "a\nb")]),
    ("A='a\\nb'", &[("A", "a\\nb")]),
    ("A=`a\\nb`", &[("A", "a\\nb")]),
    ("A=a\\nb", &[("A", "a\\nb")]),
    ("A=\"a\\rb\"", &[("A", "a\rb")]),
    ("A=\"a\\tb\"", &[("A", "a\\tb")]),
    ("A=\"a\\\\nb\"", &[("A", "a\\\nb")]),
    ("A=\"a\\\\b\"", &[("A", "a\\\\b")]),
    ("A=\"a\\\"b\"", &[("A", "a\\\"b")]),
    ("A='a\\'b'", &[("A", "a\\'b")]),
    ("A=`a\\`b`", &[("A", "a\\`b")]),
    ("A=\"a'b\"", &[("A", "a'b")]),
    ("A='a\"b'", &[("A", "a\"b")]),
    ("A=`a'b\"c`", &[("A", "a'b\"c")]),
    ("A=\"a`b\"", &[("A", "a`b")]),
    ("A='{\"k\": \"v\"}'", &[("A", "{\"k\": \"v\"}")]),
    ("A={\"k\": \"v\"}", &[("A", "{\"k\": \"v\"}")]),
    ("A=\"a\nb\"\nB=2", &[("A", "a\nb"), ("B", "2")]),
    ("A='a\nb'\nB=2", &[("A", "a\nb"), ("B", "2")]),
    ("A=`a\nb`\nB=2", &[("A", "a\nb"), ("B", "2")]),
    ("A=\"a\r\nb\"\r\nB=2", &[("A", "a\nb"), ("B", "2")]),
    ("A=\"-----BEGIN KEY-----\nabc=\n-----END KEY-----\"\nB=2", &[("A", "-----BEGIN KEY-----\nabc=\n-----END KEY-----"), ("B", "2")]),
    ("A=\"a\n# no comment\nb\"", &[("A", "a\n# no comment\nb")]),
    ("A=\"a\n\nb\"", &[("A", "a\n\nb")]),
    ("A=\"a\nB=2", &[("A", "\"a"), ("B", "2")]),
    ("A='a\nB=2", &[("A", "'a"), ("B", "2")]),
    ("A=\"a", &[("A", "\"a")]),
    ("A='a", &[("A", "'a")]),
    ("A=a\"", &[("A", "a\"")]),
    ("A=a'b'c", &[("A", "a'b'c")]),
    ("A=\"a\"b", &[("A", "\"a\"b")]),
    ("A=$B\nB=1", &[("A", "$B"), ("B", "1")]),
    ("A=${B}\nB=1", &[("A", "${B}"), ("B", "1")]),
    ("A=\"$HOME\"", &[("A", "$HOME")]),
    ("A=${A:-x}", &[("A", "${A:-x}")]),
    ("A=`id`", &[("A", "id")]),
    ("A=$(id)", &[("A", "$(id)")]),
    ("A=\"$(id)\"", &[("A", "$(id)")]),
    ("A=\\$B", &[("A", "\\$B")]),
    ("A=a=b", &[("A", "a=b")]),
    ("A==b", &[("A", "=b")]),
    ("A=a==", &[("A", "a==")]),
    ("A=https://x.example/?a=1&b=2", &[("A", "https://x.example/?a=1&b=2")]),
    ("A=https://x.example/#frag", &[("A", "https://x.example/")]),
    ("A=pass#word", &[("A", "pass")]),
    ("A=\"pass#word\"", &[("A", "pass#word")]),
    ("A=p@ss w0rd!", &[("A", "p@ss w0rd!")]),
    ("A=1\nA=2", &[("A", "2")]),
    ("a=1\nA=2", &[("a", "1"), ("A", "2")]),
    ("A_B=1", &[("A_B", "1")]),
    ("_A=1", &[("_A", "1")]),
    ("A B=1", &[]),
    ("=1", &[]),
    ("ÄB=1", &[]),
    ("A=ä", &[("A", "ä")]),
    ("A=日本", &[("A", "日本")]),
    ("A=😀", &[("A", "😀")]),
    ("A=1\n\n\nB=2\n", &[("A", "1"), ("B", "2")]),
    ("A=1 \nB=2", &[("A", "1"), ("B", "2")]),
    ("A=1\t\nB=2", &[("A", "1"), ("B", "2")]),
    ("A=a b  c", &[("A", "a b  c")]),
    ("A=a\tb", &[("A", "a\tb")]),
    ("A='a'\nB=\"b\"\nC=c", &[("A", "a"), ("B", "b"), ("C", "c")]),
    ("A=true\nB=null", &[("A", "true"), ("B", "null")]),
    ("A=\\", &[("A", "\\")]),
    ("A=\\\\", &[("A", "\\\\")]),
    ("A=C:\\Users\\me", &[("A", "C:\\Users\\me")]),
    ("A=\"C:\\Users\\me\"", &[("A", "C:\\Users\\me")]),
    ("A=\"C:\\new\"", &[("A", "C:\new")]),
    ("A='C:\\new'", &[("A", "C:\\new")]),
    ("#A=1\nB=2", &[("B", "2")]),
    (" # c\nB=2", &[("B", "2")]),
    ("A=1 # c\n# d\nB=2 ## e", &[("A", "1"), ("B", "2")]),
    ("A=\"x\" junk", &[("A", "\"x\" junk")]),
    ("A='x' junk # c", &[("A", "'x' junk")]),
    ("A=x\nB", &[("A", "x")]),
    ("A=x\nB\nC=1", &[("A", "x"), ("C", "1")]),
    ("A=x\nexport B\nC=1", &[("A", "x"), ("C", "1")]),
    ("A=\"\n\"", &[("A", "\n")]),
    ("A=\"\\n\"", &[("A", "\n")]),
    ("A='\\n'", &[("A", "\\n")]),
    ("A=\"a\\\nb\"", &[("A", "a\\\nb")]),
    ("A=a\\\nB=2", &[("A", "a\\"), ("B", "2")]),
    ("A=\"a\" \nB=2", &[("A", "a"), ("B", "2")]),
    ("SPACED_KEY = parsed", &[("SPACED_KEY", "parsed")]),
    ("A=[1, 2]", &[("A", "[1, 2]")]),
    ("A=some@mail.example", &[("A", "some@mail.example")]),
    ("A=*", &[("A", "*")]),
    ("A=\"*\"", &[("A", "*")]),
    ("A=\"say \\\"hi\\\"\"", &[("A", "say \\\"hi\\\"")]),
    ("A='a\\\\'", &[("A", "a\\\\")]),
    ("A=\"a\\\\\"", &[("A", "a\\\\")]),
    ("A=;1", &[("A", ";1")]),
    ("A=1;B=2", &[("A", "1;B=2")]),
    ("A=1, B=2", &[("A", "1, B=2")]),
    ("A=\"1\", B=2", &[("A", "\"1\", B=2")]),
    ("A=\n1", &[("A", "")]),
    ("A=\"x\"# c", &[("A", "x")]),
    ("A: 'x'", &[("A", "x")]),
    ("export A='x' # c", &[("A", "x")]),
    ("export A=\"x\ny\"\nexport B=2", &[("A", "x\ny"), ("B", "2")]),
];

const ODD: &[Row] = &[
    ("A=1\rB=2", &[("A", "1"), ("B", "2")]),
    ("A:1", &[]),
    ("A : 1", &[]),
    ("A=\"{\"k\": 1}\"", &[("A", "{\"k\": 1}")]),
    ("A='a'b\"c\"", &[("A", "'a'b\"c\"")]),
    ("A=\"a\" \"b\"", &[("A", "a\" \"b")]),
    ("A=\"a\"\"b\"", &[("A", "a\"\"b")]),
    ("1A=1", &[("1A", "1")]),
    ("A-B=1", &[("A-B", "1")]),
    ("A.B=1", &[("A.B", "1")]),
    ("A=\u{2028}x", &[("A", "x")]),
    ("A=\u{a0}x", &[("A", "x")]),
    ("A=\0x", &[("A", "\0x")]),
    ("A=\"\"\"x\"\"\"", &[("A", "\"\"x\"\"")]),
    ("A=''x''", &[("A", "'x'")]),
    ("A='it''s'", &[("A", "it''s")]),
    ("A\n=1", &[("A", "1")]),
    ("A=\n'1'", &[("A", "1")]),
    ("A:'x'", &[]),
    ("A: \"a\nb\"", &[("A", "a\nb")]),
    ("A:", &[]),
    ("A=x\u{85}y", &[("A", "x\u{85}y")]),
    ("A=\u{b}x", &[("A", "x")]),
    ("A=\u{c}x", &[("A", "x")]),
];
