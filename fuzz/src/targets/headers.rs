use pluggedin_mcp_proxy::security::headers;

use super::{Target, hash, size};

pub(super) const TARGET: Target = Target {
    name: "headers",
    seeds: &[
        "Authorization:Bearer abcdefghijkl0123",
        "X-Api-Key:a\tb c",
        "Host:evil.example",
        "x-forwarded-for:1",
        "Mcp-Session-Id:1",
        "X-A:a\r\nX-B: b",
        "bad name:v",
        ":empty",
        "X-Empty:",
    ],
    words: &["\r\n", "\n", "\r", "\0", "Transfer-Encoding", "content-length", "proxy-", "Sec-", "é", "\u{212a}", " ", "\t"],
    run,
};

fn run(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let (name, value) = text.split_once(':').unwrap_or((&text, ""));
    match headers::judge(name, value) {
        Ok((header, sent)) => {
            assert_eq!(header.as_str(), name.to_ascii_lowercase());
            assert_eq!(sent.as_bytes(), value.as_bytes());
            assert!(sent.is_sensitive());
            assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte)), "{name:?}");
            assert!(value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')), "{value:?}");
            let lower = name.to_ascii_lowercase();
            let refused = ["host", "connection", "transfer-encoding", "content-length", "cookie", "origin", "via", "forwarded"];
            assert!(!refused.contains(&lower.as_str()), "{name:?}");
            assert!(!["proxy-", "sec-", "mcp-", "x-forwarded-"].iter().any(|prefix| lower.starts_with(prefix)), "{name:?}");
            assert!(headers::allow([(name, value), (&name.to_ascii_uppercase(), value)]).is_err(), "one name twice");
            hash(&(true, size(name.len()), size(value.len()), value.contains('\t')))
        }
        Err(refusal) => {
            // Shorter ones are found in any sentence.
            let shown = value.len() > 12 && !name.contains(value) && refusal.to_string().contains(value);
            assert!(!shown, "{refusal}");
            assert!(!refusal.to_string().contains(|c: char| c.is_control()), "{refusal:?}");
            hash(&(false, refusal.rule))
        }
    }
}
