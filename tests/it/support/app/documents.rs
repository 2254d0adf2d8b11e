//! The library: documents with versions. What a model writes is changed by a sanitizer, hits are counted too often, and updates
//! follow rules that were made for browsers.

use super::reply::{failure, good, refusal};
use super::{Call, Workspace};
use axum::response::Response;
use serde_json::{Value, json};

/// A document with what only its own route shows.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// As the list shows it, attributions in camel case.
    pub(crate) record: Value,
    pub(crate) content: String,
    pub(crate) encoding: &'static str,
    /// Newest first.
    pub(crate) versions: Vec<Value>,
}

pub(super) fn route(workspace: &mut Workspace, call: &Call) -> Option<Response> {
    Some(match call.steps()[..] {
        ["GET", "documents"] => list(workspace, call),
        ["POST", "documents", "search"] => search(workspace, &call.json()),
        ["POST", "documents", "ai"] => create(workspace, &call.json()),
        ["GET", "documents", id] => show(workspace, id, call),
        ["PATCH", "documents", id] => match csrf(workspace, call) {
            Some(refused) => refused,
            None => update(workspace, id, &call.json()),
        },
        _ => return None,
    })
}

impl Workspace {
    /// Adds a document, with these members beside or instead of the usual ones, and returns its identifier.
    pub(crate) fn file(&mut self, content: &str, members: &Value) -> String {
        let (id, time) = self.stamp();
        let mut record = json!({
            "id": id,
            "title": "Untitled",
            "description": null,
            "fileName": "a.md",
            "fileSize": content.len(),
            "mimeType": "text/markdown",
            "tags": [],
            "source": "upload",
            "visibility": "private",
            "version": 1,
            "parentDocumentId": null,
            "aiMetadata": null,
            "contentHash": null,
            "createdAt": time,
            "updatedAt": time,
            "modelAttributions": [],
        });
        for (name, value) in members.as_object().expect("members of an object") {
            record[name] = value.clone();
        }
        let id = record["id"].as_str().expect("ids are text").to_owned();
        self.documents.push(Document { record, content: content.to_owned(), encoding: "utf-8", versions: Vec::new() });
        id
    }

    #[track_caller]
    pub(crate) fn document(&self, id: &str) -> &Document {
        self.documents.iter().find(|document| document.record["id"] == id).expect("there is such a document")
    }
}

impl Document {
    /// As lists show it.
    fn summary(&self) -> Value {
        let mut record = self.record.clone();
        let members = record.as_object_mut().expect("it is one");
        members.remove("parentDocumentId");
        members.remove("contentHash");
        record["modelAttributions"] = self.attributions();
        record
    }

    /// Lists say them in snake case.
    fn attributions(&self) -> Value {
        let attributions = self.record["modelAttributions"].as_array().into_iter().flatten();
        attributions
            .map(|attribution| {
                json!({
                    "model_name": attribution["modelName"],
                    "model_provider": attribution["modelProvider"],
                    "contribution_type": attribution["contributionType"],
                    "timestamp": attribution["timestamp"],
                })
            })
            .collect()
    }

    fn says(&self, words: &str) -> bool {
        let words = words.to_lowercase();
        ["title", "description"].iter().any(|name| self.record[*name].as_str().is_some_and(|text| text.to_lowercase().contains(&words)))
    }

    fn meets(&self, filter: &str, value: &str) -> bool {
        let record = &self.record;
        let created = record["createdAt"].as_str().unwrap_or_default();
        match filter {
            "source" => value == "all" || record["source"] == value,
            "visibility" => value == "all" || record["visibility"] == value,
            "modelName" => record["aiMetadata"]["model"]["name"] == value,
            "modelProvider" => record["aiMetadata"]["model"]["provider"] == value,
            "dateFrom" => created >= value,
            "dateTo" => created <= value,
            "searchQuery" => self.says(value),
            // The category does nothing.
            _ => true,
        }
    }

    fn has_one_of(&self, tags: &[&str]) -> bool {
        let mut own = self.record["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        tags.is_empty() || own.any(|tag| tags.contains(&tag))
    }
}

fn list(workspace: &Workspace, call: &Call) -> Response {
    let tags: Vec<_> = call.parameters.iter().filter(|(name, _)| name == "tags").map(|(_, value)| value.as_str()).collect();
    let found = workspace.documents.iter().filter(|document| document.has_one_of(&tags));
    let mut found: Vec<_> = found
        .filter(|document| call.parameters.iter().all(|(filter, value)| document.meets(filter, value)))
        .map(Document::summary)
        .collect();
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    match call.parameter("sort").unwrap_or("date_desc") {
        "title" => found.sort_by_key(|record| text(record, "title")),
        "size" => found.sort_by_key(|record| std::cmp::Reverse(record["fileSize"].as_u64())),
        "date_asc" => found.sort_by_key(|record| text(record, "createdAt")),
        _ => found.sort_by_key(|record| std::cmp::Reverse(text(record, "createdAt"))),
    }
    let number = |name: &str, default: usize| call.parameter(name).and_then(|value| value.parse().ok()).unwrap_or(default);
    let (limit, offset, total) = (number("limit", 20), number("offset", 0), found.len());
    let page: Vec<_> = found.into_iter().skip(offset).take(limit).collect();
    good(json!({"documents": page, "total": total, "limit": limit, "offset": offset}))
}

/// Words of title and description. The total is text and counts a document once for each of its attributions.
fn search(workspace: &Workspace, body: &Value) -> Response {
    let query = body["query"].as_str().unwrap_or_default();
    if query.is_empty() || query.chars().filter(|char| r".*+?^${}()|[]\".contains(*char)).count() >= 10 {
        return failure(400, "Query contains too many special characters");
    }
    let filters = body["filters"].as_object().into_iter().flatten();
    let filters: Vec<_> = filters.filter_map(|(name, value)| Some((name, value.as_str()?))).collect();
    let tags: Vec<_> = body["filters"]["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let found = workspace.documents.iter().filter(|document| document.says(query) && document.has_one_of(&tags));
    let found: Vec<_> = found.filter(|document| filters.iter().all(|(filter, value)| document.meets(filter, value))).collect();
    let total: usize = found.iter().map(|document| document.attributions().as_array().map_or(1, |all| all.len().max(1))).sum();
    let limit = body["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(10);
    let hits: Vec<_> = found
        .into_iter()
        .take(limit)
        .zip([1.2, 0.575_990_885_495_396_1].into_iter().chain(std::iter::repeat(0.1)))
        .map(|(document, relevance)| {
            let record = &document.record;
            json!({
                "id": record["id"],
                "title": record["title"],
                "description": record["description"],
                "snippet": record["description"].as_str().or(record["title"].as_str()),
                "relevanceScore": relevance,
                "source": record["source"],
                "aiMetadata": record["aiMetadata"],
                "tags": record["tags"],
                "visibility": record["visibility"],
                "createdAt": record["createdAt"],
                "modelAttributions": document.attributions(),
            })
        })
        .collect();
    let more = total > hits.len();
    good(json!({"results": hits, "total": total.to_string(), "limit": limit, "offset": 0, "hasMore": more}))
}

fn create(workspace: &mut Workspace, body: &Value) -> Response {
    let (Some(title), Some(content)) = (body["title"].as_str(), body["content"].as_str()) else {
        let details = json!([{"path": "title", "message": "Required"}]);
        return refusal(400, json!({"error": "Invalid request data", "details": details}));
    };
    let format = body["format"].as_str().unwrap_or("md");
    let content = if matches!(format, "md" | "html") { sanitized(content) } else { content.to_owned() };
    let (model, category) = (&body["metadata"]["model"], body["category"].as_str().unwrap_or("other"));
    let name = model["name"].as_str().unwrap_or_default();
    let mime = match format {
        "txt" => "text/plain",
        "json" => "application/json",
        "html" => "text/html",
        _ => "text/markdown",
    };
    let members = json!({
        "title": title,
        "description": format!("AI-generated {category} by {name}"),
        "mimeType": mime,
        "tags": body["tags"].as_array().cloned().unwrap_or_default(),
        "source": "ai_generated",
        "visibility": body["metadata"]["visibility"].as_str().unwrap_or("private"),
        "aiMetadata": {"model": model, "timestamp": "2026-01-01T12:00:00.000Z"},
        "modelAttributions": [
            {"modelName": model["name"], "modelProvider": model["provider"], "contributionType": "created", "timestamp": "2026-01-01T12:00:00.000Z", "metadata": {"category": category}},
        ],
    });
    let id = workspace.file(&content, &members);
    let url = format!("/library/{id}");
    refusal(201, json!({"success": true, "documentId": id, "message": "Document successfully created", "url": url}))
}

fn show(workspace: &Workspace, id: &str, call: &Call) -> Response {
    let Some(document) = workspace.documents.iter().find(|document| document.record["id"] == id) else {
        return failure(404, "Document not found");
    };
    let mut shown = document.record.clone();
    if call.parameter("includeContent") == Some("true") {
        shown["content"] = json!(document.content);
        shown["contentEncoding"] = json!(document.encoding);
    }
    if call.parameter("includeVersions") == Some("true") {
        shown["versions"] = json!(document.versions);
    }
    good(shown)
}

/// Rules for browsers, which apply to everybody.
fn csrf(workspace: &Workspace, call: &Call) -> Option<Response> {
    let refused = |error: &str, code: &str| Some(refusal(403, json!({"error": error, "code": code})));
    let own = format!("http://{}", call.header("host").unwrap_or_default());
    let own = workspace.public_origin.as_deref().unwrap_or(&own);
    let origin = call.header("origin").unwrap_or_default();
    if origin != own && !["https://plugged.in", "https://www.plugged.in"].contains(&origin) {
        return refused("Invalid request origin", "CSRF_INVALID_ORIGIN");
    }
    if call.header("x-requested-with").is_none() {
        return refused("Missing required header for JSON requests", "CSRF_MISSING_HEADER");
    }
    None
}

fn update(workspace: &mut Workspace, id: &str, body: &Value) -> Response {
    let Some(document) = workspace.documents.iter_mut().find(|document| document.record["id"] == id) else {
        return failure(404, "Document not found");
    };
    if document.record["source"] != "ai_generated" {
        return failure(400, "Only AI-generated documents can be updated");
    }
    let content = body["content"].as_str().unwrap_or_default();
    if content.chars().any(|char| char.is_ascii_control() && !"\t\n\r".contains(char)) {
        return failure(400, "Content contains invalid control characters");
    }
    let operation = body["operation"].as_str().unwrap_or_default();
    let text = match operation {
        "append" => format!("{}\n\n{content}", document.content),
        "prepend" => format!("{content}\n\n{}", document.content),
        _ => content.to_owned(),
    };
    document.content = sanitized(&text);
    let version = document.record["version"].as_u64().unwrap_or(1) + 1;
    document.record["version"] = json!(version);
    let metadata = &body["metadata"];
    if metadata["tags"].is_array() {
        document.record["tags"] = metadata["tags"].clone();
    }
    let model = if metadata["model"].is_null() { json!({"name": "Unknown", "provider": "Unknown"}) } else { metadata["model"].clone() };
    let new = json!({
        "versionNumber": version,
        "createdAt": "2026-01-02T12:00:00.000Z",
        "createdByModel": model,
        "changeSummary": metadata["changeSummary"],
        "contentDiff": {"additions": 1, "deletions": 0},
    });
    document.versions.insert(0, new);
    good(json!({"success": true, "documentId": id, "version": version, "fileWritten": true, "message": "Document updated successfully"}))
}

/// What the sanitizer makes of a text.
fn sanitized(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
