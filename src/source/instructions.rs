//! Custom instructions come in many shapes; here they become messages.

use serde_json::Value;

use crate::protocol::server::{InstructionMessage, InstructionRole};

/// Accepts a string, a list of strings, and a list of messages whose content is
/// a string, a block, or a list of blocks. A list that was stored as JSON text
/// is unpacked. Empty texts, and content that is not text, are left out.
pub(super) fn parse(value: &Value) -> Vec<InstructionMessage> {
    match value {
        Value::String(text) if text.trim_start().starts_with('[') => match serde_json::from_str(text) {
            Ok(list @ Value::Array(_)) => parse(&list),
            _ => message(value).into_iter().collect(),
        },
        Value::Array(items) => items.iter().filter_map(message).collect(),
        other => message(other).into_iter().collect(),
    }
}

/// A plain string is the user's own word; an object without a role is a system
/// message, as the App's editor writes them.
fn message(item: &Value) -> Option<InstructionMessage> {
    let (role, text) = match item {
        Value::Object(fields) => {
            let role = match fields.get("role").and_then(Value::as_str) {
                Some("user") => InstructionRole::User,
                Some("assistant") => InstructionRole::Assistant,
                _ => InstructionRole::System,
            };
            (role, text_of(fields.get("content").unwrap_or(item))?)
        }
        other => (InstructionRole::User, text_of(other)?),
    };
    Some(InstructionMessage { role, text })
}

fn text_of(content: &Value) -> Option<String> {
    let text = match content {
        Value::String(text) => text.clone(),
        Value::Object(block) => text_of(block.get("text")?)?,
        Value::Array(blocks) => blocks.iter().filter_map(text_of).collect::<Vec<_>>().join("\n"),
        Value::Null | Value::Bool(_) | Value::Number(_) => return None,
    };
    (!text.trim().is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "so that `json!` and `expect!` stand alone in the calls")]
    fn check(value: Value, expect: Expect) {
        let lines: Vec<String> = parse(&value).into_iter().map(|message| format!("{:?}: {}", message.role, message.text)).collect();
        expect.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn every_stored_shape_is_read() {
        check(json!("Be brief."), expect!["User: Be brief."]);
        check(json!(["a", " ", "b"]), expect!["User: a\nUser: b"]);
        check(json!([{"role": "system", "content": "Read-only."}]), expect!["System: Read-only."]);
        check(json!([{"content": {"type": "text", "text": "block"}}]), expect!["System: block"]);
        check(json!([{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image"}, "y"]}]), expect!["User: x\ny"]);
        check(json!({"role": "assistant", "content": "single"}), expect!["Assistant: single"]);
        check(json!({"type": "text", "text": "bare block"}), expect!["System: bare block"]);
        check(json!("[{\"role\":\"system\",\"content\":\"stored as text\"}]"), expect!["System: stored as text"]);
        check(json!("[not json"), expect!["User: [not json"]);
    }

    #[test]
    fn nothing_usable_is_nothing() {
        for value in [json!(null), json!([]), json!({}), json!(7), json!([null, 1, {"content": null}, {"role": "user"}])] {
            check(value, expect![""]);
        }
    }

    #[test]
    fn deep_nesting_ends() {
        let mut value = json!("deep");
        for _ in 0..100 {
            value = json!([value]);
        }
        check(value, expect!["User: deep"]);
    }
}
