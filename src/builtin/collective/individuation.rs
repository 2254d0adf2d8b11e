//! The score of how far the memory has developed.

use std::fmt::Write;

use futures_util::FutureExt;
use serde_json::{Map, Value, json};

use super::super::{
    arguments::Arguments,
    definition::{Area, Definition, Hints, Run, Running},
    members::{Members, word},
    memory::{TIMEOUT, ask},
    outcome::Output,
    services::{Services, unreadable},
};
use crate::{security::redact, source::app::Request};

pub(in super::super) const INDIVIDUATION: Definition = Definition {
    name: "pluggedin_memory_individuation",
    title: "Show the memory's maturity",
    description: "Shows how far the memory of this workspace has developed: a score of 100 from four parts, the trend of the week, and a tip for what to do next.",
    area: Area::Archetypes,
    input_schema: r#"{"type":"object","properties":{},"additionalProperties":false}"#,
    output_schema: Some(
        r#"{"type":"object","properties":{"total":{"type":"number"},"level":{"type":"string"},"weeklyTrend":{"type":"string"},"tip":{"type":"string"},"components":{"type":"object","additionalProperties":{"type":"number"}}},"required":["total","components"]}"#,
    ),
    hints: Hints { read_only: true, destructive: false, idempotent: true },
    run: Run::App(TIMEOUT, run),
};

/// Of the score, and of each of its parts. What lies beyond cannot be.
const MOST: f64 = 100.0;
const PART: f64 = 25.0;

const COMPONENTS: [(&str, &str); 4] = [
    ("memoryDepth", "Memory depth"),
    ("learningVelocity", "Learning velocity"),
    ("collectiveContribution", "Collective contribution"),
    ("selfAwareness", "Self-awareness"),
];

fn run(services: Services<'_>, _: Arguments) -> Running<'_> {
    async move {
        let answer = ask(services, Request::get(&["api", "memory", "individuation"])).await?;
        let score = Members::of(&answer).and_then(|answer| answer.object("data"));
        score.and_then(shown).ok_or_else(|| unreadable().into())
    }
    .boxed()
}

/// `None` for what is no score.
fn shown(score: Members<'_>) -> Option<Output> {
    let total = score.number("total")?.clamp(0.0, MOST);
    let (level, trend, tip) = (score.text("level"), score.text("weeklyTrend"), score.text("tip"));
    let mut components = Map::new();
    let mut text = format!("Maturity of the memory: {} of 100", rounded(total));
    let _ = level.map(|level| write!(text, ", {}", word(level)));
    text.push('\n');
    for (member, name) in COMPONENTS {
        let Some(value) = score.object("components").and_then(|parts| parts.number(member)) else { continue };
        let value = value.clamp(0.0, PART);
        let _ = write!(text, "\n- {name}: {} of 25", rounded(value));
        components.insert(member.to_owned(), value.into());
    }
    let _ = trend.map(|trend| write!(text, "\n- Trend of the week: {}", word(trend)));
    let _ = tip.map(|tip| write!(text, "\n\nTip: {}", redact::quote(tip, 1_000)));
    let mut data = json!({ "total": total, "components": components });
    for (member, value) in [("level", level), ("weeklyTrend", trend), ("tip", tip)] {
        if let Some(value) = value {
            data[member] = Value::from(value);
        }
    }
    Some(Output::structured(text.trim_end(), &data))
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::{
        super::super::{arguments::InputSchema, outcome::Ended},
        *,
    };

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
    fn check(score: Value, expect: Expect) {
        let output = shown(Members::of(&score).expect("an object")).expect("a score");
        let schema = InputSchema::of(INDIVIDUATION.output_schema.expect("it has one"));
        schema.assert_allows(output.data().expect("it has a schema"));
        let result: Value = serde_json::from_slice(&Ended::from(Ok(output)).result).expect("JSON");
        expect.assert_eq(result["content"][0]["text"].as_str().expect("text"));
    }

    #[test]
    fn the_score_has_four_parts() {
        let components = json!({"memoryDepth": 9.55, "learningVelocity": 10, "collectiveContribution": 5, "selfAwareness": 13});
        check(
            json!({"total": 37.5, "level": "developing", "weeklyTrend": "stable", "tip": "Record more.", "components": components}),
            expect![[r#"
                Maturity of the memory: 37.5 of 100, developing

                - Memory depth: 9.6 of 25
                - Learning velocity: 10 of 25
                - Collective contribution: 5 of 25
                - Self-awareness: 13 of 25
                - Trend of the week: stable

                Tip: Record more."#]],
        );
        check(
            json!({"total": 0, "level": 1, "components": {"memoryDepth": "deep", "other": 1}}),
            expect!["Maturity of the memory: 0 of 100"],
        );
        check(
            json!({"total": 1e308, "components": {"memoryDepth": 1e308, "learningVelocity": -1e308, "selfAwareness": 25.01}}),
            expect![[r#"
                Maturity of the memory: 100 of 100

                - Memory depth: 25 of 25
                - Learning velocity: 0 of 25
                - Self-awareness: 25 of 25"#]],
        );
        assert!(shown(Members::of(&json!({"level": "developing"})).expect("an object")).is_none());
    }
}
