use pluggedin_mcp_proxy::security::dotenv;

use super::{Target, hash, size};

pub(super) const TARGET: Target = Target {
    name: "dotenv",
    seeds: &[
        "A=1\nB = two # c\nexport C='x y'\nD=\"a\\nb\"\nE=`z`\n",
        "\u{feff}A: yaml\r\nB=\"multi\nline\"\r\n",
        "A=\"a\\\"b\" # c\nB='it''s'\nC=\"open\n",
        "#\n\n=\nexport\nA=\n'x'\n__proto__=1",
        "A=\u{2028}'b'\u{2029}c",
    ],
    words: &["export ", "=", ": ", "\"", "'", "`", "\\\"", "\\n", "\\r", "#", "\n", "\r\n", "\u{feff}", "\u{2028}", "\u{a0}", "\u{85}"],
    run,
};

fn run(input: &[u8]) -> u64 {
    let Ok(variables) = dotenv::read(input) else { return hash(&false) };
    for (name, value) in &variables {
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)), "{name:?}");
        // A carriage return can be written only in double quotes.
        if let Some(quote) = ['\'', '`'].into_iter().find(|&quote| !value.contains([quote, '\r'])) {
            let written = format!("{name}={quote}{value}{quote}");
            assert_eq!(dotenv::parse(&written).get(name), Some(value), "written as {written:?}");
        }
    }
    let kinds: Vec<_> =
        variables.values().take(4).map(|value| (size(value.len()), value.contains('\n'), value.starts_with(['"', '\'', '`']))).collect();
    hash(&(size(variables.len()), kinds))
}
