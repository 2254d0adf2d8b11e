//! Memory: sessions, observations, memories. Failures come with status 200, and a text has another name in each answer.

use super::collective::hit_of;
use super::knowledge::NO_EMBEDDINGS;
use super::reply::{good, refusal};
use super::{Call, Workspace};
use axum::response::Response;
use serde_json::{Value, json};

/// A stretch of work of which a model keeps observations.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) uuid: String,
    pub(crate) memory_id: String,
    pub(crate) content_id: String,
    pub(crate) active: bool,
    pub(crate) observations: Vec<Value>,
}

pub(super) fn route(workspace: &mut Workspace, call: &Call) -> Option<Response> {
    Some(match call.steps()[..] {
        ["POST", "memory", "sessions"] => start(workspace, &call.json()),
        ["PATCH", "memory", "sessions", id] => end(workspace, id),
        ["POST", "memory", "sessions", id, "observations"] => observe(workspace, id, call.json()),
        ["POST", "memory", "search"] => search(workspace, &call.json()),
        ["POST", "memory", "search", "details"] => details(workspace, &call.json()),
        _ => return None,
    })
}

/// With status 200, as these routes like it.
pub(super) fn in_band(error: &str) -> Response {
    good(json!({"success": false, "error": error}))
}

pub(super) fn done(data: Value) -> Response {
    good(json!({"success": true, "data": data}))
}

fn refused(status: u16, error: &str) -> Response {
    refusal(status, json!({"success": false, "error": error}))
}

impl Workspace {
    /// Adds a session and returns its two names: the one for observations, the one for ending it.
    pub(crate) fn begin(&mut self, content_id: &str) -> (String, String) {
        let (uuid, _) = self.stamp();
        let memory_id = format!("ms_{}", &uuid.replace('-', "_")[15..]);
        let names = (uuid.clone(), memory_id.clone());
        self.sessions.push(Session { uuid, memory_id, content_id: content_id.to_owned(), active: true, observations: Vec::new() });
        names
    }

    /// Adds a memory, with these members beside or instead of the usual ones, and returns its identifier.
    pub(crate) fn remember(&mut self, members: &Value) -> String {
        let (uuid, time) = self.stamp();
        let mut memory = json!({
            "uuid": uuid,
            "profileUuid": "22222222-2222-4222-8222-222222222222",
            "ringType": "procedures",
            "currentDecayStage": "full",
            "currentTokenCount": 12,
            "accessCount": 1,
            "relevanceScore": 1,
            "reinforcementCount": 0,
            "isShock": false,
            "tags": [],
            "metadata": {},
            "createdAt": time,
            "updatedAt": time,
        });
        for (name, value) in members.as_object().expect("members of an object") {
            memory[name] = value.clone();
        }
        self.memories.push(memory);
        uuid
    }
}

fn start(workspace: &mut Workspace, body: &Value) -> Response {
    match body["content_session_id"].as_str() {
        Some(id) if !id.is_empty() => {
            let (uuid, memory_id) = workspace.begin(id);
            refusal(201, json!({"success": true, "data": {"uuid": uuid, "memorySessionId": memory_id}}))
        }
        _ => refused(400, "Invalid request body"),
    }
}

fn end(workspace: &mut Workspace, id: &str) -> Response {
    match workspace.sessions.iter_mut().find(|session| session.uuid == id || session.memory_id == id) {
        Some(session) if session.active => {
            session.active = false;
            done(json!({"uuid": session.uuid}))
        }
        Some(_) => in_band("Session not found or already ended"),
        None => refused(404, "Session not found"),
    }
}

fn observe(workspace: &mut Workspace, id: &str, body: Value) -> Response {
    let (uuid, _) = workspace.stamp();
    let Some(session) = workspace.sessions.iter_mut().find(|session| session.uuid == id) else {
        return refused(404, "Session not found");
    };
    if !session.active {
        return refused(400, "Session is not active");
    }
    if body["content"].as_str().is_none_or(|content| content.is_empty() || content.chars().count() > 10_000) {
        let details = json!({"formErrors": [], "fieldErrors": {"content": ["String must contain at most 10000 character(s)"]}});
        return refusal(400, json!({"success": false, "error": "Invalid request body", "details": details}));
    }
    session.observations.push(body);
    refusal(201, json!({"success": true, "data": {"uuid": uuid}}))
}

/// Everything of the rings, in order, as there is nobody to compare meanings.
fn search(workspace: &Workspace, body: &Value) -> Response {
    if workspace.without_embeddings {
        return in_band(NO_EMBEDDINGS);
    }
    let rings = body["ring_types"].as_array().filter(|rings| !rings.is_empty());
    let limit = body["top_k"].as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(10);
    let found = workspace.memories.iter().filter(|memory| rings.is_none_or(|rings| rings.contains(&memory["ringType"])));
    let hits = found.take(limit).map(|memory| {
        let texts = ["contentFull", "contentCompressed", "contentSummary", "contentEssence"];
        json!({
            "uuid": memory["uuid"],
            "ringType": memory["ringType"],
            "content": texts.iter().find_map(|name| memory[*name].as_str()).unwrap_or_default(),
            "similarity": 0.81,
            "decayStage": memory["currentDecayStage"],
            "tokenCount": memory["currentTokenCount"],
            "tags": memory["tags"],
            "createdAt": memory["createdAt"],
        })
    });
    let gut = workspace.patterns.iter().filter(|_| body["include_gut"] == true).map(hit_of);
    done(hits.chain(gut).collect())
}

/// Strangers are left out and not spoken of.
fn details(workspace: &Workspace, body: &Value) -> Response {
    let wanted = body["memory_uuids"].as_array().into_iter().flatten();
    done(wanted.filter_map(|uuid| workspace.memories.iter().find(|memory| memory["uuid"] == *uuid)).cloned().collect())
}
