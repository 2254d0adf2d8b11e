use super::*;

#[test]
fn nesting_is_counted_outside_strings() {
    let nested = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
    assert!(!too_deep(&nested(128), 128));
    assert!(too_deep(&nested(129), 128));
    for (json, depth, expected) in [
        ("", 0, false),
        ("1", 0, false),
        ("[]", 0, true),
        (r#"{"a":[1]}"#, 2, false),
        (r#"{"a":[1]}"#, 1, true),
        ("[[],[],[],{},{}]", 2, false),
        (r#"["[[[[[["]"#, 1, false),
        (r#"["\"[[[[[["]"#, 1, false),
        (r#"["\\",[1]]"#, 1, true),
        (r#"["\\\"[",[1]]"#, 1, true),
        (r#"["]]]]",[[1]]]"#, 2, true),
        (r#"["sixteen letters and then \"[[[[",[1]]"#, 1, true),
        (r#"["sixteen letters and then [[[[\\"]"#, 1, false),
        (r#"["sixteen letter\"[[[["]"#, 1, false),
        (r#"["fifteen letter","fifteen letter\\",[1]]"#, 1, true),
        // Broken texts are the parser's to refuse; here they only must not be read past their end.
        (r#"["[[["#, 1, false),
        (r#"["[[\"#, 1, false),
        ("]]]][[", 1, true),
    ] {
        assert_eq!(too_deep(json.as_bytes(), depth), expected, "{json}");
    }
}
