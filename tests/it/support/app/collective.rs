//! What the community knows: patterns, their archetypes, and how ripe a memory is.

use super::knowledge::NO_EMBEDDINGS;
use super::memory::{done, in_band};
use super::reply::good;
use super::{Call, Workspace};
use axum::response::Response;
use serde_json::{Value, json};

/// How many patterns are shown at once.
const SHOWN: usize = 3;

pub(super) fn route(workspace: &mut Workspace, call: &Call) -> Option<Response> {
    let wants_embeddings = workspace.without_embeddings;
    Some(match call.steps()[..] {
        ["GET", "memory", "cbp"] | ["POST", "memory", "archetype", "inject"] if wants_embeddings => in_band(NO_EMBEDDINGS),
        ["GET", "memory", "cbp"] => {
            let context = call.parameter("context").unwrap_or("contextual");
            let plain = workspace.patterns.iter().take(SHOWN).map(|pattern| {
                let mut pattern = pattern.clone();
                let members = pattern.as_object_mut().expect("it is one");
                members.retain(|name, _| !name.starts_with("archetype"));
                pattern["context"] = json!(context);
                pattern
            });
            done(plain.collect())
        }
        ["POST", "memory", "cbp", "feedback"] => {
            let body = call.json();
            if workspace.patterns.iter().any(|pattern| pattern["uuid"] == body["pattern_uuid"]) {
                workspace.feedback.push(body);
                good(json!({"success": true}))
            } else {
                in_band("Failed query: insert into \"collective_feedback\" (\"uuid\", \"pattern_uuid\") values (default, $1)")
            }
        }
        // An array, whatever one might expect.
        ["POST", "memory", "archetype", "inject"] => done(workspace.patterns.iter().take(SHOWN).cloned().collect()),
        ["GET", "memory", "individuation"] => done(json!({
            "total": 37.5,
            "level": "developing",
            "weeklyTrend": "stable",
            "tip": "Record more observations.",
            "components": {"memoryDepth": 9.5, "learningVelocity": 10, "collectiveContribution": 5, "selfAwareness": 13},
        })),
        _ => return None,
    })
}

impl Workspace {
    /// Adds a pattern, with these members beside or instead of the usual ones, and returns its identifier.
    pub(crate) fn learn(&mut self, members: &Value) -> String {
        let (uuid, _) = self.stamp();
        let mut pattern = json!({
            "uuid": uuid,
            "patternType": "error_solution",
            "description": "",
            "pattern": "",
            "confidence": 0.7,
            "occurrenceCount": 9,
            "successRate": 0.8,
            "similarity": 0.72,
            "context": "contextual",
            "averageRating": null,
            "archetype": "shadow",
            "archetypeLabel": "Shadow Warning",
            "archetypeWeight": 0.43,
        });
        for (name, value) in members.as_object().expect("members of an object") {
            pattern[name] = value.clone();
        }
        self.patterns.push(pattern);
        uuid
    }
}

/// A pattern among memories.
pub(super) fn hit_of(pattern: &Value) -> Value {
    json!({
        "uuid": pattern["uuid"],
        "ringType": "longterm",
        "content": pattern["pattern"],
        "similarity": pattern["similarity"],
        "decayStage": "full",
        "tokenCount": 5,
        "tags": ["gut-pattern"],
        "createdAt": "",
    })
}
