//! Everything that an App can answer, for every tool: each failure is an answer with a hint, nothing raw, and nothing is done twice.

use super::facts::{Fact, arguments, services};
use super::{Desk, Ids, Said, stocked};
use crate::support::{Answer, KEY, eventually};
use serde_json::{Value, json};

/// What must not be shown of an answer.
const RAW: [&str; 4] = ["zx_secret", "stack_frame", "10.1.2.3", "Failed query"];

/// How a tool fails by an answer.
struct Case {
    what: &'static str,
    answer: Answer,
    /// One of these is said.
    says: &'static [&'static str],
}

fn sql() -> &'static str {
    "Failed query: select \"zx_secret\" from \"users\" at stack_frame (10.1.2.3)"
}

fn cases() -> Vec<Case> {
    let limited = json!({"error": "Too many requests. Please slow down.", "retryAfter": 3571});
    let case = |what, answer, says| Case { what, answer, says };
    vec![
        case("a key that is not known", Answer::Refuse(401, json!({"error": "Invalid API key"})), &["API key"]),
        case(
            "a memory route without a key",
            Answer::Refuse(401, json!({"success": false, "error": "Authentication required"})),
            &["API key"],
        ),
        case("forbidden", Answer::Refuse(403, json!({"error": "Forbidden", "code": "X"})), &["403", "refus", "forbid", "allow"]),
        case("an App that is too old", Answer::Refuse(405, Value::Null), &["too old", "older", "version", "not support"]),
        case("too large", Answer::Refuse(413, json!({"error": "Request body too large. Maximum size is 10MB"})), &["large"]),
        case("too often, in the header", Answer::Later(271), &["271"]),
        case("too often, in the body", Answer::Refuse(429, limited), &["3571"]),
        case(
            "too often for all",
            Answer::Refuse(429, json!({"error": "Too many requests.", "code": "RATE_LIMIT_EXCEEDED"})),
            &["too many", "limit", "later", "minute"],
        ),
        case(
            "a failure with raw details",
            Answer::Refuse(500, json!({"error": "Internal Server Error", "details": sql()})),
            &["App", "plugged.in"],
        ),
        case("a failure that is raw itself", Answer::Refuse(500, json!({"error": sql()})), &["App", "plugged.in"]),
        case("a raw failure of a memory route", Answer::Refuse(500, json!({"success": false, "error": sql()})), &["App", "plugged.in"]),
        case("a failure in between", Answer::Refuse(502, json!("zx_secret")), &["App", "plugged.in"]),
        case("not available", Answer::Status(503), &["App", "plugged.in"]),
        case(
            "an odd status",
            Answer::Refuse(418, json!({"error": ["zx_secret"], "details": {"stack_frame": 1}})),
            &["418", "App", "plugged.in"],
        ),
        case("an answer that breaks off", Answer::Torn, &["App", "plugged.in"]),
        case("a page for people", Answer::Page, &["App", "plugged.in"]),
        case("a list", Answer::Instead(json!([])), &["App", "plugged.in"]),
        case("a number", Answer::Instead(json!(7)), &["App", "plugged.in"]),
        case("a redirect", Answer::Elsewhere("http://127.0.0.1:9".to_owned()), &["App", "plugged.in"]),
    ]
}

/// Every path that is not about servers is answered like this.
fn answer_services(desk: &Desk, answer: &Answer, ids: &Ids) {
    for path in paths(ids) {
        desk.app.answer_at(&path, answer.clone());
    }
}

fn paths(ids: &Ids) -> Vec<String> {
    let fixed = [
        "rag/query",
        "notifications",
        "notifications/custom",
        "documents",
        "documents/search",
        "documents/ai",
        "clipboard",
        "clipboard/push",
        "clipboard/pop",
        "memory/sessions",
        "memory/search",
        "memory/search/details",
        "memory/cbp",
        "memory/cbp/feedback",
        "memory/archetype/inject",
        "memory/individuation",
    ];
    let varying = [
        format!("notifications/{}", ids.notification),
        format!("notifications/{}/completed", ids.notification),
        format!("documents/{}", ids.document),
        format!("memory/sessions/{}", ids.memory_session),
        format!("memory/sessions/{}/observations", ids.session),
    ];
    fixed.iter().map(|path| (*path).to_owned()).chain(varying).map(|path| format!("/api/{path}")).collect()
}

fn call(desk: &mut Desk, fact: &Fact, ids: &Ids) -> Said {
    desk.call(fact.name, arguments(fact.name, ids))
}

#[test]
fn every_tool_works_in_a_stocked_workspace() {
    let (workspace, ids) = stocked();
    for fact in services() {
        let mut desk = Desk::with(workspace.clone());
        call(&mut desk, fact, &ids).good();
        assert!(desk.asked().iter().any(|request| request.line.starts_with(fact.line)), "{}: {:?}", fact.name, desk.asked());
    }
}

#[test]
fn each_failure_is_an_answer_with_a_hint() {
    let (workspace, ids) = stocked();
    for case in cases() {
        let mut desk = Desk::with(workspace.clone());
        answer_services(&desk, &case.answer, &ids);
        for fact in services() {
            let said = call(&mut desk, fact, &ids);
            assert!(said.is_error(), "{} of {}: {said:?}", case.what, fact.name);
            let text = said.text.to_lowercase();
            assert!(case.says.iter().any(|words| text.contains(&words.to_lowercase())), "{} of {}: {said:?}", case.what, fact.name);
            said.hides(&RAW);
            assert!(said.text.len() < 2000, "{} of {}: {} bytes", case.what, fact.name, said.text.len());
        }
        // What changes something was tried once, and nothing has come of it.
        for fact in services().filter(|fact| !fact.reads() && fact.name != "mark_notification_done") {
            let line = fact.line;
            let tried = desk.asked().iter().filter(|request| request.line.starts_with(line) && is_of(line, &request.line)).count();
            assert_eq!(tried, 1, "{} of {}: {:?}", case.what, fact.name, desk.asked());
        }
        assert_eq!(desk.app.count("PATCH /api/notifications/"), 0, "{}", case.what);
    }
}

/// Whether a request is of the line itself and not of one below it.
fn is_of(line: &str, request: &str) -> bool {
    let rest = &request[line.len()..];
    let depth = |text: &str| text.split('/').count();
    if line.ends_with('/') { line != "POST /api/memory/sessions/" || depth(rest) == 2 } else { rest.is_empty() || rest.starts_with('?') }
}

/// Of what the App does not know.
#[test]
fn a_route_that_is_not_there_is_an_old_app() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    answer_services(&desk, &Answer::Refuse(404, Value::Null), &ids);
    for fact in services() {
        call(&mut desk, fact, &ids).bad().says_one_of(&["old", "version", "not found", "no such", "does not know", "not support"]);
    }
}

/// Validation failures of the App name members, not people or tables.
#[test]
fn what_the_app_does_not_accept_is_said() {
    let (workspace, ids) = stocked();
    let bodies = [
        json!({"error": "Invalid request data", "details": [{"code": "too_small", "path": ["title"], "message": "Title cannot be empty"}]}),
        json!({"error": "Invalid request data", "details": [{"path": "metadata.model", "message": "Required"}]}),
        json!({"success": false, "error": "Invalid request body", "details": {"formErrors": [], "fieldErrors": {"content": ["too long"]}}}),
        json!({"error": "Content is not acceptable"}),
        json!({"error": sql(), "details": sql()}),
        json!({"details": [sql()]}),
        json!("zx_secret"),
        Value::Null,
    ];
    for body in bodies {
        let mut desk = Desk::with(workspace.clone());
        answer_services(&desk, &Answer::Refuse(400, body.clone()), &ids);
        for fact in services() {
            let said = call(&mut desk, fact, &ids);
            assert!(said.is_error(), "{body} of {}: {said:?}", fact.name);
            said.hides(&RAW);
        }
    }
}

/// Members that are missing, of another type, or new.
#[test]
fn answers_that_are_not_as_expected_harm_nobody() {
    let (workspace, ids) = stocked();
    let odd =
        json!({"id": 7, "uuid": [], "title": {}, "name": 7, "idx": "x", "value": null, "createdAt": "soon", "tags": "t", "content": 1});
    let bodies = [
        json!({}),
        json!({"success": true}),
        json!({"success": true, "data": null, "message": null, "entry": null, "entries": null, "documents": null, "notifications": null, "results": null}),
        json!({"success": true, "data": {}, "message": 7, "entry": {}, "entries": {}, "documents": {}, "notifications": {}, "results": {}}),
        json!({"success": true, "data": [odd], "entry": odd, "entries": [odd], "documents": [odd], "notifications": [odd], "results": [odd], "total": "x"}),
        json!({"success": true, "data": [null, 7, "x"], "entries": [null, 7], "documents": ["x"], "notifications": [null], "results": [7]}),
        json!({"success": "true", "data": "x"}),
        json!(null),
        json!("text"),
    ];
    for body in bodies {
        let mut desk = Desk::with(workspace.clone());
        answer_services(&desk, &Answer::Instead(body.clone()), &ids);
        for fact in services() {
            let said = call(&mut desk, fact, &ids);
            said.hides(&["undefined", "[object", "panicked", "expected struct"]);
            // A tool that shows what is there must not make something up; old Apps answered questions with plain text.
            let is_answer = fact.name == "ask_knowledge_base" && body.is_string();
            let invents = fact.reads() && !said.is_error() && !body.is_object() && !is_answer;
            assert!(!invents, "{} of {body}: {said:?}", fact.name);
        }
        // The proxy lives.
        desk.call("setup", json!({})).good();
    }
}

#[test]
fn success_that_is_false_is_a_failure() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    answer_services(&desk, &Answer::Instead(json!({"success": false, "error": "It did not work out"})), &ids);
    for fact in services() {
        call(&mut desk, fact, &ids).bad();
    }
    answer_services(&desk, &Answer::Instead(json!({"success": false, "error": sql()})), &ids);
    for fact in services() {
        call(&mut desk, fact, &ids).bad().hides(&RAW);
    }
}

/// The key, once more in what others say.
#[test]
fn a_key_in_an_answer_is_not_shown() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    for status in [400, 401, 403, 409, 500] {
        answer_services(&desk, &Answer::Refuse(status, json!({"error": format!("the key {KEY} is wrong")})), &ids);
        for fact in services() {
            call(&mut desk, fact, &ids).bad();
        }
    }
}

#[test]
fn an_app_that_is_away_is_named() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    desk.app.go_away();
    for fact in services() {
        call(&mut desk, fact, &ids).bad().says_one_of(&["reach", "connect", "away"]);
    }
    desk.app.come_back();
    for fact in services().filter(|fact| fact.reads()) {
        eventually("it works again", || (!call(&mut desk, fact, &ids).is_error()).then_some(()));
    }
}

#[test]
fn answers_that_are_too_large_are_not_kept() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    answer_services(&desk, &Answer::Packed(crate::support::app::bomb(256 << 20)), &ids);
    for fact in services() {
        call(&mut desk, fact, &ids).bad().says_one_of(&["large", "bytes", "MiB", "MB", "size"]);
    }
}

/// A call that nobody wants any more leaves nothing behind.
#[test]
fn a_cancellation_ends_the_request() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    answer_services(&desk, &Answer::Never, &ids);
    for fact in services() {
        let before = (desk.asked().len(), desk.app.abandoned().len());
        let pending = desk.client.send_call(&fact.full_name(), arguments(fact.name, &ids));
        eventually("the App is asked", || (desk.asked().len() > before.0).then_some(()));
        desk.client.cancel(&pending);
        eventually(fact.name, || (desk.app.abandoned().len() > before.1).then_some(()));
        assert!(!desk.client.has_answered(&pending), "{} was answered", fact.name);
    }
}

/// Who tries again what was done does it twice.
#[test]
fn what_may_have_been_done_is_not_simply_tried_again() {
    let (workspace, ids) = stocked();
    let answers =
        [Answer::Status(502), Answer::Refuse(500, json!({"error": "Internal Server Error"})), Answer::Torn, Answer::Instead(json!({}))];
    for answer in answers {
        let mut desk = Desk::with(workspace.clone());
        answer_services(&desk, &answer, &ids);
        // To mark one, it must be seen.
        desk.app.answer_at("GET /api/notifications", Answer::Normally);
        for fact in services().filter(|fact| !fact.reads()) {
            // These answers of the App mean something else: a clash of indexes, and that all is well.
            let is_known = match (fact.name, &answer) {
                ("clipboard_push", Answer::Refuse(..)) => true,
                (name, Answer::Instead(_)) => {
                    ["send_notification", "mark_notification_done", "delete_notification", "update_document"].contains(&name)
                }
                _ => false,
            };
            let said = call(&mut desk, fact, &ids);
            assert_eq!(said.text.contains("may have been done"), !is_known, "{answer:?}: {said:?}");
        }
    }
}
