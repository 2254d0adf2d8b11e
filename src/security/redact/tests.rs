use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::prelude::*;

use super::*;
use crate::secret::Secret;

fn redactor(secrets: &[(&str, &str)]) -> Redactor {
    let known = secrets.iter().map(|(name, value)| Known { secret: Secret::from(*value), named: secret::tells_of_secret(name) });
    Redactor::of(&known.collect::<Vec<_>>())
}

/// By pattern alone.
#[track_caller]
fn check(text: &str, expect: &str) {
    assert_eq!(redactor(&[]).redact(text), expect);
}

#[test]
fn known_values_are_found_wherever_they_stand() {
    let secret = "Tr0ub4dor&3/\"x\"";
    let redactor = redactor(&[("DB_PASSWORD", secret), ("Authorization", "Bearer opaque.value.0123")]);
    for text in [
        secret.to_owned(),
        format!("before{secret}after"),
        format!("{secret}{secret}"),
        format!("{secret:?}"),
        serde_json::json!({ "x": secret }).to_string(),
        serde_json::json!({ "x": serde_json::json!({ "y": secret }).to_string() }).to_string(),
        "https://h/?x=Tr0ub4dor%263%2F%22x%22&y".to_owned(),
        "https://h/?x=Tr0ub4dor%263%2f%22x%22&y".to_owned(),
        STANDARD.encode(secret),
        "token is opaque.value.0123, says the server".to_owned(),
        "Authorization: Bearer opaque.value.0123".to_owned(),
    ] {
        let shown = redactor.redact(&text);
        assert!(shown.contains(MARKER), "{text} became {shown}");
        for piece in ["Tr0ub4dor", "opaque.value", &STANDARD.encode(secret)] {
            assert!(!shown.contains(piece), "{text} became {shown}");
        }
    }
}

#[test]
fn known_values_are_found_however_much_is_escaped() {
    let redactor = redactor(&[("Authorization", "Bearer a_b-c\"d/e<f&g+0123=")]);
    for text in [
        "a_b-c\"d/e<f&g+0123=",
        "a%5Fb%2Dc%22d%2Fe%3Cf%26g%2B0123%3D",
        "a%5fb%2dc%22d%2fe%3cf%26g%2b0123%3d",
        "a_b-c%22d/e%3Cf&g+0123=",
        r#"{"x": "a_b-c\"d\/e\u003cf\u0026g+0123="}"#,
        "<p>a_b-c&quot;d/e&lt;f&amp;g+0123=</p>",
    ] {
        let shown = redactor.redact(text);
        assert!(shown.contains(MARKER), "{text} became {shown}");
        assert!(!["a_b", "a%5", "0123"].iter().any(|piece| shown.contains(piece)), "{text} became {shown}");
    }
}

#[test]
fn parts_of_known_values_are_known() {
    let pair = format!("Basic {}", STANDARD.encode("ann:s3cr3tpw"));
    let redactor = redactor(&[
        ("Authorization", &pair),
        ("DATABASE_URL", "postgres://svc:p%40ssw0rd@db.example/x"),
        ("OPENAPI_MCP_HEADERS", r#"{"Authorization": "Bearer abcd-0123-xyz"}"#),
        ("TLS_KEY", "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nBAQEFAASC\n-----END PRIVATE KEY-----"),
    ]);
    for (text, gone) in [
        ("login of ann with s3cr3tpw failed", "s3cr3tpw"),
        ("password authentication with p@ssw0rd failed", "p@ssw0rd"),
        ("sent abcd-0123-xyz", "abcd-0123"),
        ("line MIIEvQIBADANBgkqhkiG9w0 of the key", "MIIE"),
    ] {
        let shown = redactor.redact(text);
        assert!(shown.contains(MARKER) && !shown.contains(gone), "{text} became {shown}");
    }
}

#[test]
fn settings_stay_readable() {
    let redactor = redactor(&[
        ("NODE_ENV", "production"),
        ("PORT", "8080"),
        ("ROOT", "/home/ann/projects"),
        ("REGION", "eu-west-1"),
        ("MODEL", "gpt-4o-mini"),
        ("ENDPOINT", "https://api.example.com/v1"),
        ("FLAG", "true"),
        ("AUTH_MODE", "oauth"),
        ("TOKEN", "none"),
        ("EMPTY_SECRET", ""),
    ]);
    for text in [
        "listening at 8080 in production, eu-west-1",
        "reads /home/ann/projects/x.txt",
        "gpt-4o-mini at https://api.example.com/v1 says true; oauth or none",
    ] {
        assert!(matches!(redactor.redact(text), Cow::Borrowed(same) if same == text), "{text}");
    }
}

#[test]
fn what_looks_like_a_secret_is_one() {
    for (text, expect) in [
        ("Authorization: Bearer abc.def", "Authorization: [redacted]"),
        ("got bearer abc123-x, gave up", "got bearer [redacted], gave up"),
        ("Basic dXNlcjpwYXNz", "Basic [redacted]"),
        ("x-api-key: abc", "x-api-key: [redacted]"),
        ("curl -H 'x-api-key: abc' https://h", "curl -H 'x-api-key: [redacted]' https://h"),
        (r#"{"apiKey":"abc","x":1}"#, r#"{"apiKey":"[redacted]","x":1}"#),
        (r#"{"api_key" : "a\"b", "x":1}"#, r#"{"api_key" : "[redacted]", "x":1}"#),
        (r#"{"password":"ends\\","x":1}"#, r#"{"password":"[redacted]","x":1}"#),
        (r#"{"m":"{\"apiKey\":\"abc\",\"x\":1}"}"#, r#"{"m":"{\"apiKey\":\"[redacted]\",\"x\":1}"}"#),
        (r#"{"m":"{\"secret\":\"a\\\"b\",\"x\":1}"}"#, r#"{"m":"{\"secret\":\"[redacted]\",\"x\":1}"}"#),
        (r#"{"m":"{\"apiKey\":\"cut off"}"#, r#"{"m":"{\"apiKey\":\"[redacted]"}"#),
        (r#"{"m":"Authorization: Bearer abc"}"#, r#"{"m":"Authorization: [redacted]"}"#),
        (r#"{"m":"password: \"x\\","n":"y"}"#, r#"{"m":"password: \"[redacted]","n":"y"}"#),
        (r#"{"m":"no password=","n":"x","token":"abc"}"#, r#"{"m":"no password=","n":"x","token":"[redacted]"}"#),
        (r#"{"client_secret": 1234567}"#, r#"{"client_secret": [redacted]}"#),
        ("{'token': 'abc'}", "{'token': '[redacted]'}"),
        ("token=Some(\"abc\")", "token=Some(\"[redacted]\")"),
        ("GET /x?api_key=abc&y=1", "GET /x?api_key=[redacted]&y=1"),
        ("/x?key=abc&sig=def&page=2", "/x?key=[redacted]&sig=[redacted]&page=2"),
        ("redirect?next=%2Fx%3Faccess_token%3Dabc", "redirect?next=%2Fx%3Faccess_token%3D[redacted]"),
        ("GITHUB_TOKEN=a,b;c next", "GITHUB_TOKEN=[redacted] next"),
        ("DB_PASS=x&y", "DB_PASS=[redacted]"),
        ("export ENCRYPTION_KEY='a b'", "export ENCRYPTION_KEY='[redacted]'"),
        ("tool --token abc --port 80", "tool --token [redacted] --port 80"),
        ("<password>a b</password>", "<password>[redacted]</password>"),
        ("encryptionKey: abc", "encryptionKey: [redacted]"),
        ("Set-Cookie: a=b; c=d", "Set-Cookie: [redacted]"),
        ("postgres://u:p@h/x?y", "postgres://[redacted]@h/x?y"),
        ("https://token@github.com/x", "https://[redacted]@github.com/x"),
        ("redis://:p@ss@h:1", "redis://[redacted]@h:1"),
        ("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----[redacted]-----END PRIVATE KEY-----"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nMII", "-----BEGIN OPENSSH PRIVATE KEY-----[redacted]"),
        (r#"{"k":"-----BEGIN RSA PRIVATE KEY-----\nMII"}"#, r#"{"k":"-----BEGIN RSA PRIVATE KEY-----[redacted]"}"#),
        ("key pg_in_abcdefgh0123 is", "key [redacted] is"),
        ("sk_mt_abcdefgh0123", "[redacted]"),
        ("ghp_0123456789abcdefghij0123456789", "[redacted]"),
        ("github_pat_11AAAAAAA0abcdefghijkl_x", "[redacted]"),
        ("xoxb-123456789012-abcdef", "[redacted]"),
        ("sk-proj-0123456789abcdefghij", "[redacted]"),
        ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "[redacted]"),
    ] {
        check(text, expect);
    }
}

#[test]
fn sentences_stay_readable() {
    for text in [
        "max_tokens: 100, tokenCount=5",
        "unknown tool: monkey",
        "the key: value pairs",
        "Basic usage and bearer authentication",
        "no token given; hint: set `PLUGGEDIN_API_KEY`",
        "has 3 characters; an API key has 32 to 256 (today's: 70, beginning with `pg_in_`)",
        "https://h.example/mcp?page=2#x mail@h.example",
        "\"token\": null, \"password\": \"\", \"secret\": false",
        "API_KEY=${API_KEY}",
        "tokens: [{",
        "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----",
        "AKIA is a prefix, eyJ too, sk-learn-contrib-packages as well",
        "stderr: GET /mcp 200",
        "",
    ] {
        check(text, text);
    }
}

#[test]
fn an_escape_is_not_torn() {
    let redactor = redactor(&[("TOKEN", "n1234567")]);
    let line = serde_json::json!({ "message": "x\n1234567" }).to_string();
    assert!(line.contains("n1234567"));
    let shown = redactor.redact(&line);
    assert!(serde_json::from_str::<serde_json::Value>(&shown).is_ok(), "{shown}");
}

#[test]
fn a_private_key_is_hidden_to_its_end() {
    let mut stream = Stream::default();
    let lines = ["loading", "-----BEGIN RSA PRIVATE KEY-----", "MIIEowIBAAKCAQEA", "7Q==", "-----END RSA PRIVATE KEY-----", "loaded"];
    let shown = lines.map(|line| stream.line(line).into_owned());
    assert_eq!(shown, ["loading", "-----BEGIN RSA PRIVATE KEY-----", MARKER, MARKER, "-----END RSA PRIVATE KEY-----", "loaded"]);

    stream.line("-----BEGIN PRIVATE KEY-----");
    let hidden = (0..1000).filter(|_| stream.line("words") == MARKER).count();
    assert_eq!(hidden, KEY_LINES, "a key without an end does not hide everything");
}

#[test]
fn a_quote_is_one_short_line() {
    let _secret = Secret::certain("quoted-s3cr3t");
    assert_eq!(quote("says\nquoted-s3cr3t\u{1b}[2J", 100), "says\\n[redacted]\\u001b[2J");
    assert_eq!(quote("12345", 5), "12345");
    assert_eq!(quote("123456", 5), "12345…");
    // Half a secret is none that could be found, so it must not come to that.
    assert_eq!(quote("xx quoted-s3cr3t", 10), "xx [redact…");
}

#[test]
fn the_live_list_is_used() {
    let secret = Secret::certain("made-just-n0w");
    assert_eq!(redact("it is made-just-n0w!"), "it is [redacted]!");
    drop(secret);
    assert_eq!(redact("it is made-just-n0w!"), "it is [redacted]!", "lines of a server that is gone may be on their way");
}

#[test]
fn a_secret_that_the_marker_holds_cannot_be_hidden() {
    let redactor = redactor(&[("TOKEN", "redacted"), ("PASSWORD", "[redacted]")]);
    assert_eq!(redactor.redact("x redacted y"), "x redacted y");
}

#[test]
fn a_long_secret_is_found_in_pieces() {
    let secret = "0123456789abcdefX".repeat(1000);
    let shown = redactor(&[("TOKEN", &secret)]).redact(&format!("<{secret}>")).into_owned();
    assert_eq!(shown, "<[redacted]>");
}

/// Each word of these begins a search in what follows it; read to its end each time, most of these texts would
/// take minutes.
#[test]
fn the_time_grows_with_the_length_alone() {
    const LENGTH: usize = 512 * 1024;
    let redactor = redactor(&[("TOKEN", "tok3n-of-a-server")]);
    for unit in [
        "token=",
        "token",
        "token='",
        "token=\\'",
        "\"token\":\"",
        "token=\"\\",
        "--token ",
        "--",
        "TOKEN=",
        "cookie:",
        "cookie:${",
        "<secret>",
        "Bearer ",
        "bearer%20-",
        "bearer%20-!",
        "basic%20_a",
        "://",
        "://@",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----END",
        "-----BEGIN PRIVATE KEY-----\"",
        "ghp_",
        "sk-",
        "-eyJ",
        "-AKIA",
        "\\",
        "\"",
        "[redacted]",
        "tok3n-of-a-server",
    ] {
        for end in ["", "}"] {
            let text = unit.repeat(LENGTH / unit.len()) + end;
            let begun = Instant::now();
            redactor.redact(&text);
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(5), "{unit:?} to {end:?} took {took:?}");
        }
    }
}

#[test]
fn of_a_long_text_only_the_beginning_is_read() {
    let begun = Instant::now();
    let endless = "token=".repeat(32 * 1024 * 1024 / 6);
    let shown = quote(&endless, 300);
    assert_eq!(shown, "token=…");
    // A word that is in no other test's secrets: the list is one for all.
    assert_eq!(quote(&"plain ".repeat(1 << 18), 5), "plain…");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn no_secret_is_cut_in_two() {
    let long = format!("l0ng-s3cr3t-{}", "\"ü\u{1}".repeat(250));
    for secret in ["s3cr3t-0123456789", &long] {
        let redactor = redactor(&[("TOKEN", secret)]);
        for form in [secret.to_owned(), serde_json::json!(serde_json::json!(secret).to_string()).to_string(), STANDARD.encode(secret)] {
            for before in [0, 1, 50, 90, 99, 100] {
                let text = format!("{}{form}{}", "x".repeat(before), " y".repeat(20_000));
                let shown = redactor.beginning(&text, 100);
                assert!(!shown.contains("-s3c") && !shown.contains(&form[..8]) && shown.len() <= 100 + MARKER.len() + "…".len(), "{shown}");
                assert!(shown.starts_with(&text[..before]), "{shown}");
            }
        }
    }
    let redactor = redactor(&[]);
    assert_eq!(redactor.beginning("short", 5), "short");
    assert_eq!(redactor.beginning("ünïcode", 1), "…");
    assert_eq!(redactor.beginning("all of it", 3), "all…");
    assert_eq!(redactor.beginning("key=x sk_mt_abcdefgh0123", 12), "key=x …");
}

/// Secrets and neighbours of few letters, so that they meet, overlap and build each other, and signs that patterns look for.
fn secrets() -> impl Strategy<Value = Vec<String>> {
    let any = proptest::string::string_regex("[ -~äß日]{8,20}").expect("a pattern");
    let alike = proptest::string::string_regex("[ab\\[\\]\"\\\\redct1]{6,12}").expect("a pattern");
    proptest::collection::vec(prop_oneof![any, alike], 1..6)
}

fn filler() -> impl Strategy<Value = String> {
    let signs = prop_oneof![
        Just(MARKER),
        Just("password="),
        Just("\"token\":\""),
        Just("\\\"apiKey\\\":\\\""),
        Just("Authorization: "),
        Just("Bearer "),
        Just("://"),
        Just("@"),
        Just("\\"),
        Just("\""),
        Just("redacted"),
        Just("[red"),
        Just("-----BEGIN PRIVATE KEY-----"),
        Just("-----END"),
        Just("&key="),
        Just("\n"),
        Just(" "),
        Just("ab"),
        Just("sk_mt_"),
        Just("eyJ"),
        Just("."),
        Just("Some("),
        Just("<secret>"),
        Just("'"),
    ];
    proptest::collection::vec(signs, 0..6).prop_map(|signs| signs.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_known_secret_is_ever_shown(secrets in secrets(), texts in proptest::collection::vec((filler(), any::<prop::sample::Index>(), 0..4_usize), 1..6), end in filler()) {
        let known: Vec<Known> = secrets.iter().map(|text| Known { secret: Secret::from(text.as_str()), named: true }).collect();
        let redactor = Redactor::of(&known);
        let mut text = String::new();
        for (before, index, repeat) in texts {
            text += &before;
            text += &index.get(&secrets).repeat(repeat);
        }
        text += &end;
        let shown = redactor.redact(&text).into_owned();
        for form in forms::all(&known) {
            prop_assert!(!shown.contains(&form), "{form:?} in {shown:?}, made of {text:?}");
        }
        prop_assert_eq!(redactor.redact(&shown), shown.as_str(), "made of {:?}", text);
    }

    #[test]
    fn a_scan_that_is_not_made_again_ends_where_it_would(texts in proptest::collection::vec(filler(), 1..8)) {
        let text = texts.concat();
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        patterns::find(&text, &mut found);
        patterns::find_one_by_one(&text, &mut expected);
        prop_assert_eq!(found, expected, "in {:?}", text);
    }

    #[test]
    fn json_stays_json(secrets in secrets(), before in filler(), after in filler()) {
        let inner = serde_json::json!({ "message": format!("{before}{}{after}", secrets.concat()), "password": secrets.concat() });
        let text = serde_json::json!({ "message": inner.to_string(), "target": "t" }).to_string();
        let shown = Redactor::of(&[]).redact(&text).into_owned();
        prop_assert!(serde_json::from_str::<serde_json::Value>(&shown).is_ok(), "{shown:?}, made of {text:?}");
    }

    #[test]
    fn patterns_never_panic(text in "\\PC{0,80}") {
        let shown = Redactor::of(&[]).redact(&text).into_owned();
        let again = Redactor::of(&[]).redact(&shown).into_owned();
        prop_assert_eq!(again, shown);
    }
}

#[test]
fn a_quotation_of_much_is_short_and_shows_no_half_of_a_secret() {
    let secret = "w0rds-".repeat(200);
    let _known = Secret::certain(secret.as_str());
    let plain = "plain words ".repeat(1_000_000);
    assert_eq!(quote(&plain, 20), "plain words plain wo…");
    for blanks in (0..secret.len()).step_by(101) {
        let much = format!("{}{}", " ".repeat(blanks), secret.repeat(4 * MARGIN / secret.len() + 2));
        assert!(!quote(&much, 4000).contains("w0rds"), "{blanks}");
    }
}
