//! Headers that servers are configured with: RFC 9110 for what they may be, and names that are not for configuring.

use super::Check;
use serde_json::{Value, json};

fn header(name: &str, value: &str) -> Value {
    json!({"kind": "header", "name": name, "value": value})
}

fn of_file(name: &str, value: &str) -> Value {
    json!({"kind": "header", "name": name, "value": value, "source": "file"})
}

/// Every ASCII character, in a name of its own and within one: RFC 9110, section 5.6.2.
#[test]
fn names_are_tokens() {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let ascii = (0..0x80_u8).map(char::from);
    Check::new().judges(ascii.flat_map(|c| {
        [format!("X{c}Y"), format!("{c}-Name"), format!("Name-{c}"), format!("x-{c}")].map(|name| (header(&name, "v"), token(c)))
    }));
}

#[test]
fn what_is_no_name_is_refused() {
    let names = [
        "",
        " ",
        ":",
        "::",
        "X-Name:",
        ":X-Name",
        ":authority",
        ":method",
        ":path",
        "X Name",
        " X-Name",
        "X-Name ",
        "X-Name\t",
        "\tX-Name",
        "X-Name\r\n",
        "X-Name\n",
        "X-Name\r\nX-Other",
        "X-Name: a\r\nX-Other",
        "X-Name\0",
        "\0",
        "\r\n",
        "X-Näme",
        "X-名",
        "Ｘ-Name",
        "X-Name\u{a0}",
        "X\u{ad}Name",
        "X\u{200b}Name",
        "X\u{2010}Name",
        "Аuthorization",
        "X-\u{202e}emaN",
        "X(Name)",
        "X,Name",
        "X/Name",
        "X;Name",
        "X<Name>",
        "X=Name",
        "X?Name",
        "X@Name",
        "X[Name]",
        "X\\Name",
        "X{Name}",
        "\"X-Name\"",
    ];
    let long = "X".repeat(100_000);
    Check::new().refuses(names.into_iter().chain([long.as_str()]).map(|name| header(name, "v")));
}

/// Every byte that a value may hold, in the middle of one: visible ASCII, space and tab.
#[test]
fn values_are_visible_ascii_with_spaces_and_tabs() {
    let ascii = (0..0x80_u8).map(char::from);
    Check::new().judges(ascii.map(|c| (header("X-Name", &format!("a{c}b")), matches!(c, '\t' | ' '..='~'))));
}

#[test]
fn what_is_no_value_is_refused() {
    let values = [
        "\r",
        "\n",
        "\r\n",
        "a\r\n",
        "\r\na",
        "a\r\nX-Other: b",
        "a\nX-Other: b",
        "a\rX-Other: b",
        "a\r\n b",
        "a\r\n\tb",
        "a\r\n\r\nbody",
        "\0",
        "a\0",
        "\u{7f}",
        "\u{1b}[31m",
        "\u{8}",
        "é",
        "aé",
        "日本語",
        "😀",
        "“quoted”",
        "Bearer abc–def",
        "a\u{a0}b",
        "a\u{85}b",
        "a\u{2028}b",
        "a\u{200b}b",
        "\u{feff}a",
        "a\u{560a}b",
        "a\u{560d}\u{560a}b",
        "a\u{10a}b",
        "a\u{80}b",
        "a\u{ff}b",
    ];
    Check::new()
        .refuses(values.into_iter().flat_map(|value| [header("X-Name", value), header("Authorization", value), of_file("X-Name", value)]));
}

#[test]
fn values_have_eight_kibibytes() {
    let bytes = |count: usize| "v".repeat(count);
    Check::new().judges([
        (header("X-Name", &bytes(4096)), true),
        (header("X-Name", &bytes(8000)), true),
        (header("X-N", &bytes(8192)), true),
        (header("X-N", &bytes(8193)), false),
        (header("X-N", &bytes(16_384)), false),
        (header("X-N", &bytes(1_000_000)), false),
        // 8 192 characters are not 8 192 bytes.
        (header("X-N", &"é".repeat(8192)), false),
        (header("X-N", &"é".repeat(4097)), false),
        (header("X-N", &"€".repeat(2731)), false),
        (header("X-N", &"😀".repeat(2049)), false),
        (of_file("X-N", &bytes(8192)), true),
        (of_file("X-N", &bytes(8193)), false),
    ]);
}

/// Hop-by-hop and framing, forwarding, cookies, origins, and what the transport itself sets.
const DANGEROUS: [&str; 34] = [
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "HTTP2-Settings",
    "Content-Length",
    "Content-Type",
    "Content-Encoding",
    "Host",
    "Expect",
    "Forwarded",
    "Via",
    "X-Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Forwarded-Server",
    "X-Real-IP",
    "Cookie",
    "Cookie2",
    "Set-Cookie",
    "Origin",
    "Accept",
    "Last-Event-ID",
    "Mcp-Session-Id",
    "MCP-Protocol-Version",
    "Mcp-Method",
    "Mcp-Name",
];

#[test]
fn dangerous_names_are_refused_in_any_case() {
    let names = DANGEROUS.iter().flat_map(|name| [(*name).to_owned(), name.to_lowercase(), name.to_uppercase(), swapped(name)]);
    Check::new().refuses(names.flat_map(|name| [header(&name, "x"), header(&name, ""), of_file(&name, "x")]));
}

fn swapped(name: &str) -> String {
    let letters = name.char_indices();
    letters.map(|(n, letter)| if n % 2 == 0 { letter.to_ascii_lowercase() } else { letter.to_ascii_uppercase() }).collect()
}

#[test]
fn headers_that_servers_want_are_allowed() {
    let headers = [
        ("Authorization", "Bearer abc.def-ghi_jkl~mno+pqr/stu=="),
        ("authorization", "Basic bWU6c2VjcmV0"),
        ("AUTHORIZATION", "Token token=\"abc\", nonce=\"x\""),
        ("X-Api-Key", "sk-abc"),
        ("x-api-key", "abc"),
        ("Api-Key", "abc"),
        ("apikey", "abc"),
        ("X-Auth-Token", "abc"),
        ("X-Access-Token", "abc"),
        ("X-Custom", "anything; \"goes\" <here> (really) {1} [2] \\ @ , = ? / : ' ` | ~ ^ $ % & * + - . ! #"),
        ("X-Custom", ""),
        ("X-Custom", "a b\tc"),
        ("X-Tenant", "blue"),
        ("X-GitHub-Token", "ghp_x"),
        ("X-Goog-Api-Key", "x"),
        ("Ocp-Apim-Subscription-Key", "x"),
        ("CF-Access-Client-Id", "x.access"),
        ("CF-Access-Client-Secret", "x"),
        ("anthropic-version", "2023-06-01"),
        ("User-Agent", "me/1.0 (x)"),
        ("Accept-Language", "de, en;q=0.5"),
        ("X-Request-Id", "1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("X-MCP-Toolsets", "repos,issues"),
        ("X-MCP-Readonly", "true"),
        ("X-Origin-Token", "x"),
        ("X-Hostname", "x"),
        ("X-Cookie-Consent", "x"),
        ("X-Forward-To", "x"),
        ("Connection-Id", "x"),
        ("x", "y"),
        ("1", "2"),
    ];
    Check::new().allows(headers.into_iter().flat_map(|(name, value)| [header(name, value), of_file(name, value)]));
}

#[test]
fn a_value_is_a_text() {
    for value in [json!(5), json!(null), json!(true), json!(["a"]), json!({"a": 1})] {
        let finished = Check::new().batch(format!("{}\n", json!({"kind": "header", "name": "X-Name", "value": value})));
        let verdict: Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
        assert_eq!(verdict["allowed"], false, "{value}: {finished:?}");
    }
}

#[test]
fn a_verdict_repeats_no_value() {
    let check = Check::new();
    for (name, value) in
        [("Cookie", "s3cr3t-word"), ("X-Name", "s3cr3t-word\r\n"), ("X Name", "s3cr3t-word"), ("Authorization", "Bearer s3cr3t-word\u{e9}")]
    {
        for arguments in [&["header", name, value][..], &["header", "--json", name, value]] {
            let finished = check.run(arguments);
            assert_eq!(finished.code, Some(1), "{finished:?}");
            assert!(!format!("{finished:?}").contains("s3cr3t-word"), "{finished:?}");
        }
    }
}
