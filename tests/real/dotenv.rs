//! Env files mean to the proxy what they mean to Node's `dotenv`, name by name and byte by byte.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use pluggedin_mcp_proxy::security::dotenv;

use crate::support::published::Node;

/// Written by hand: the grammar, and where it is odd.
const WRITTEN: [&str; 42] = [
    "",
    "A=1",
    "\u{feff}A=1\r\nB=2\rC=3\n",
    "A = b c  # d",
    "A=b#c\nB='#'#c",
    "export A=1\nexport=2\nexport export=3\nexport\nB=4\nexportC=5",
    "export  A : 1\nexport : 2\nexport: 3",
    "A: 1\nB:2\nC:\nD=3\nE :4",
    "A\n=\n1",
    "A=\n'x'\nB= \n\"y\"",
    "A=\n\n\nB=\n#c\nC=#d\nD=1 #e\n\n #f\n\nE=2",
    "A='a\nb'\nB=\"c\nd\"\nC=`e\nf`",
    "A=\"a\\nb\\rc\\td\\\\n\"\nB='a\\nb'\nC=`a\\nb`\nD=a\\nb",
    "A=\"a\\\"b\"\nB='a\\'b'\nC=`a\\`b`",
    "A=\"a\\\"\nB=\"b\\\\\"\nC=2",
    "A=\"a\\\" b\nB=1",
    "A=\"open\nB='open\nC=`open\nD=1",
    "A=\"x\" y\nB='x'y\nC='x' # y\nD='x'# y\nE=''z''",
    "A='it''s'\nB=\"a\"\"b\"\nC=`a'b\"c`",
    "A=\"a'b`c\"\nB='a\"b'\nC=\"'a'\"",
    "A='\nB='\nC=1",
    "A=\"\"\nB=''\nC=``\nD=\"\nE='",
    "A.b-c_D.1=x\n1=y\n-=z\n.=w\nA B=1\n$C=2\nÄ=3\nD!=4",
    "=1\n==2\nA==3\nB=4=5\n:6\nC::7",
    "A=${HOME}$(id)`id`\nB=\"$A\"\nC=$$",
    "A=1;B=2\nC=1 B=2\nD=1\tE=2",
    "A=\ta\t\nB=\u{a0}b\u{a0}\nC=\u{3000}c\nD=\u{85}d\u{85}\nE=\u{feff}e\u{feff}\nF=\u{200b}f",
    "A=a\u{2028}B=b\u{2029}C=c",
    "A='x'\u{2028}B='y'\u{2029}\"C=z",
    "A=# \u{2028}B=1\n#C=1\u{2028}D=1",
    "A=\u{2028}'b'\u{2028}c",
    "A='a'\u{2028}'b'c\u{2028}'d'",
    "A=\"a\u{2028}\"b\nB=x\"\u{2028}\"y\"",
    "A=\u{b}b\u{c}\nB\u{b}=1",
    "A=\0b\u{1b}c\u{7f}",
    "__proto__=1\nconstructor=2\ntoString=3\nhasOwnProperty=4",
    "A=1\nA=2\nB=3\nA='4'",
    "#A=1\n # B=2\nC=3#D=4\n##",
    "A=🦀 日本 ü\n🦀=1\nB='🦀'",
    "KEY=\"-----BEGIN KEY-----\nMII=\n-----END KEY-----\"\nB=1",
    "{\"A\": 1}\n[x]\nA = 1\n- B: 2\n  C: \"3\" # 4",
    "A=x\\\nB=y\\ \nC='z\\\n'",
];

/// What texts are made of besides: every sign that means something, often.
const PIECES: [&str; 30] = [
    "A", "B", "=", "=", ": ", ":", "'", "'", "\"", "\"", "`", "`", "\\", "\\n", "\\r", "\n", "\n", "\r", " ", "\t", "#", "export ",
    "export", "x", "\u{2028}", "\u{feff}", "\u{a0}", "ü", "\\\"", "\\'",
];

#[test]
fn env_files_mean_what_they_mean_to_node() -> Result<()> {
    let Some(node) = Node::installed() else { return Ok(()) };
    let mut texts: Vec<String> = WRITTEN.map(str::to_owned).into();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    texts.extend((0..20_000).map(|_| (0..random.below(40)).map(|_| PIECES[random.below(PIECES.len())]).collect::<String>()));

    let mut reader = Command::new("node")
        .arg(node.script("dotenv.mjs"))
        .current_dir(node.script("dotenv.mjs").parent().context("it lies in a folder")?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = reader.stdin.take().context("it is piped")?;
    let lines = texts.iter().map(|text| Ok(serde_json::to_string(text)? + "\n")).collect::<Result<String>>()?;
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = reader.wait_with_output()?;
    writer.join().expect("it does not panic")?;
    let answers = String::from_utf8(output.stdout)?;

    let mut compared = 0;
    for (text, answer) in texts.iter().zip(answers.lines()) {
        let expected: BTreeMap<String, String> = serde_json::from_str::<Vec<(String, String)>>(answer)?.into_iter().collect();
        let read: BTreeMap<String, String> = dotenv::parse(text).into_iter().collect();
        ensure!(read == expected, "{text:?} is\n{expected:?} to Node, and here\n{read:?}");
        compared += 1;
    }
    ensure!(compared == texts.len(), "Node answered {compared} of {}", texts.len());
    Ok(())
}

/// The same texts in every run (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap_or_default();
        number % limit
    }
}
