use pluggedin_mcp_proxy::{
    secret::{Known, Secret},
    security::redact::Redactor,
};

use super::{Target, hash, size};

pub(super) const TARGET: Target = Target {
    name: "redact",
    seeds: &[
        "s3cr3t!\"/x\nlogin with s3cr3t!\"/x failed",
        "n1234567\n{\"message\":\"x\\n1234567\"}",
        "ab[redac\nAuthorization: Bearer ab[redac, password=ab[redac",
        "tok3n tok3n\n{\"token\":\"tok3n tok3n\",\"m\":\"{\\\"apiKey\\\":\\\"x\\\"}\"}",
        "0123456789\nhttps://u:0123456789@h/?key=0123456789&x=%30 -----BEGIN PRIVATE KEY-----\nMII\n-----END",
    ],
    words: &[
        "[redacted]",
        "password=",
        "\"token\":\"",
        "\\\"apiKey\\\":\\\"",
        "Authorization: ",
        "Bearer ",
        "://",
        "@",
        "\\",
        "\\\\\"",
        "ghp_",
        "sk_mt_",
        "eyJ",
        "&key=",
        "-----BEGIN PRIVATE KEY-----",
        "-----END",
        "Some(",
        "<secret>",
        "--token ",
    ],
    run,
};

/// The first line is a secret, the rest is the text.
fn run(input: &[u8]) -> u64 {
    let input = String::from_utf8_lossy(input);
    let (secret, text) = input.split_once('\n').unwrap_or(("", &input));
    let known = [Known { secret: Secret::from(secret), named: true }];
    let redactor = Redactor::of(&known);
    let text = format!("{text}{secret}");
    let shown = redactor.redact(&text).into_owned();
    let certain = secret.len() >= 8 && secret.bytes().any(|byte| byte.is_ascii_digit()) && !"[redacted]".contains(secret);
    assert!(!certain || !shown.contains(secret), "{shown:?}");
    assert_eq!(redactor.redact(&shown), shown, "redacted twice");

    let json = serde_json::to_string(&[text.as_str(), "end"]).expect("strings are JSON");
    let shown_json = Redactor::of(&[]).redact(&json).into_owned();
    assert!(serde_json::from_str::<[String; 2]>(&shown_json).is_ok(), "no JSON: {shown_json:?}");
    hash(&(size(text.len()), shown.matches("[redacted]").count().min(8), size(shown.len())))
}
