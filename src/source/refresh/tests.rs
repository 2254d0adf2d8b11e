//! The client and the tasks against an App of a few lines.

use std::{
    collections::HashMap,
    fs, io,
    io::Write as _,
    num::NonZeroU32,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep, timeout},
};

use super::*;
use crate::{
    protocol::server::ServerId,
    security::rate_limit::Rate,
    source::{
        AppStatus, FileStatus,
        app::{self, AppError},
        file::{self, Variables},
    },
};

const KEY: &str = "pg_in_0123456789012345678901234567890123456789";
const INTERVAL: Duration = Duration::from_millis(50);

/// An App whose answers the test sets, and that counts what it is asked for.
#[derive(Clone)]
struct FakeApp {
    base: url::Url,
    state: Arc<Mutex<Answers>>,
}

#[derive(Default)]
struct Answers {
    by_path: HashMap<String, Answer>,
    asked: Vec<String>,
}

#[derive(Clone)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    delay: Duration,
}

impl Answer {
    fn json(body: &Value) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.to_string().into(),
            delay: Duration::ZERO,
        }
    }

    fn status(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), delay: Duration::ZERO }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

impl FakeApp {
    /// An App with no servers.
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("bound")).parse().expect("a URL");
        let app = Self { base, state: Arc::default() };
        for list in ["mcp-servers", "resources", "resource-templates", "prompts", "custom-instructions"] {
            app.set(&format!("/api/{list}"), Answer::json(&json!([])));
        }
        app.set("/api/tools?prefix_tools=true", Answer::json(&json!({ "tools": [] })));
        let router = Router::new().fallback(answer).with_state(app.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        app
    }

    fn set(&self, path: &str, answer: Answer) {
        self.state.lock().expect("no panic").by_path.insert(path.to_owned(), answer);
    }

    /// One STDIO server each, with one tool.
    fn set_servers(&self, names: &[&str]) {
        let servers: Vec<_> = names.iter().map(|name| json!({"uuid": format!("id-{name}"), "name": name, "command": "x"})).collect();
        let tools: Vec<_> =
            names.iter().map(|name| json!({"name": format!("id-{name}__t"), "_serverUuid": format!("id-{name}")})).collect();
        self.set("/api/mcp-servers", Answer::json(&json!(servers)));
        self.set("/api/tools?prefix_tools=true", Answer::json(&json!({ "tools": tools })));
    }

    fn asked(&self, path: &str) -> usize {
        self.state.lock().expect("no panic").asked.iter().filter(|asked| asked.ends_with(path)).count()
    }

    fn config(&self) -> app::Config {
        app::Config { base_url: self.base.clone(), key: KEY.into(), rate: None, origin: None, egress: Arc::default() }
    }

    fn client(&self) -> AppClient {
        AppClient::new(self.config())
    }
}

async fn answer(State(app): State<FakeApp>, request: Request) -> Response {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let key = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let answer = {
        let mut state = app.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked.push(format!("{} {path}", request.method()));
        state.by_path.get(&path).cloned()
    };
    let answer = match answer {
        _ if key != Some(&format!("Bearer {KEY}")) => Answer::status(401, r#"{"error": "Invalid API key"}"#),
        Some(answer) => answer,
        None => Answer::status(404, "<!DOCTYPE html><title>404</title>"),
    };
    sleep(answer.delay).await;
    let mut response = (axum::http::StatusCode::from_u16(answer.status).expect("a status"), answer.body).into_response();
    for (name, value) in answer.headers {
        response.headers_mut().insert(name, value.parse().expect("a header value"));
    }
    response
}

struct Running {
    handle: SourceHandle,
    token: CancellationToken,
    tracker: TaskTracker,
}

impl Running {
    fn start(app: Option<app::Config>, file: Option<PathBuf>) -> Self {
        let (tracker, token) = (TaskTracker::new(), CancellationToken::new());
        let file = file.map(|path| file::Config { path, variables: Variables::default() });
        let handle = Source::start(Config { app, file, kept: None, refresh_interval: INTERVAL }, &tracker, &token);
        Self { handle, token, tracker }
    }

    #[track_caller]
    fn names(&self) -> Vec<String> {
        self.handle.snapshot().servers.iter().map(|server| server.name.clone()).collect()
    }

    /// The one place of patience.
    async fn until(&self, what: &str, condition: impl Fn(&Snapshot) -> bool) {
        let mut snapshots = self.handle.snapshots();
        let waited = timeout(Duration::from_secs(10), snapshots.wait_for(|snapshot| condition(snapshot))).await;
        assert!(waited.is_ok(), "waited in vain for {what}: {:?}", self.handle.snapshot());
    }

    async fn until_names(&self, names: &[&str]) {
        self.until(&format!("{names:?}"), |snapshot| snapshot.servers.iter().map(|server| &server.name).eq(names)).await;
    }

    async fn stop(self) {
        self.token.cancel();
        self.tracker.close();
        assert!(timeout(Duration::from_secs(5), self.tracker.wait()).await.is_ok(), "the tasks did not end");
    }
}

fn away(snapshot: &Snapshot) -> bool {
    matches!(snapshot.app, AppStatus::Away { .. })
}

#[tokio::test]
async fn servers_and_tools_arrive_together() {
    let app = FakeApp::start().await;
    app.set_servers(&["b", "a"]);
    let running = Running::start(Some(app.config()), None);
    assert_eq!(running.handle.snapshot().app, AppStatus::Loading);
    running.until_names(&["a", "b"]).await;
    let snapshot = running.handle.snapshot();
    assert_eq!(snapshot.app, AppStatus::Current);
    let tools: Vec<_> = snapshot.records.tools.iter().map(|tool| (tool.server.as_str(), tool.name.as_str())).collect();
    assert_eq!(tools, [("id-a", "t"), ("id-b", "t")]);
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_published_without_a_change() {
    let app = FakeApp::start().await;
    app.set_servers(&["a", "b"]);
    let running = Running::start(Some(app.config()), None);
    running.until_names(&["a", "b"]).await;
    let mut snapshots = running.handle.snapshots();
    running.handle.refresh_and_wait().await;
    snapshots.mark_unchanged();
    let before = running.handle.snapshot();
    // Another order is no change, nor are members that mean nothing to us.
    app.set(
        "/api/mcp-servers",
        Answer::json(&json!([{"uuid": "id-b", "name": "b", "command": "x", "notes": "n"}, {"uuid": "id-a", "name": "a", "command": "x"}])),
    );
    running.handle.refresh_and_wait().await;
    assert!(!snapshots.has_changed().expect("running"));
    // A server that did not change is the same value in the next snapshot.
    app.set(
        "/api/mcp-servers",
        Answer::json(&json!([{"uuid": "id-b", "name": "b", "command": "y"}, {"uuid": "id-a", "name": "a", "command": "x"}])),
    );
    running.handle.refresh_and_wait().await;
    let after = running.handle.snapshot();
    assert!(Arc::ptr_eq(&before.servers[0], &after.servers[0]));
    assert!(!Arc::ptr_eq(&before.servers[1], &after.servers[1]));
    running.stop().await;
}

#[tokio::test]
async fn a_switch_of_the_workspace_is_seen() {
    let app = FakeApp::start().await;
    app.set_servers(&["a"]);
    let running = Running::start(Some(app.config()), None);
    running.until_names(&["a"]).await;
    app.set("/api/prompts", Answer::json(&json!([{"name": "p"}])));
    app.set_servers(&["b", "c"]);
    running.until_names(&["b", "c"]).await;
    running.until("the prompt", |snapshot| snapshot.records.prompts.len() == 1).await;
    assert_eq!(running.handle.snapshot().records.tools.len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn a_refused_key_takes_everything_away_and_it_comes_back() {
    let app = FakeApp::start().await;
    app.set_servers(&["a"]);
    let running = Running::start(Some(app.config()), None);
    running.until_names(&["a"]).await;
    app.set("/api/mcp-servers", Answer::status(401, r#"{"error": "Invalid API key"}"#));
    running.until("the refusal", |snapshot| matches!(snapshot.app, AppStatus::Refused { .. })).await;
    let snapshot = running.handle.snapshot();
    assert!(snapshot.servers.is_empty() && snapshot.records.tools.is_empty());
    app.set_servers(&["a"]);
    running.until_names(&["a"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_401_of_the_tools_refuses_and_one_of_the_resources_does_not() {
    let app = FakeApp::start().await;
    app.set_servers(&["a"]);
    app.set("/api/resources", Answer::status(401, r#"{"error": "no active profile"}"#));
    let running = Running::start(Some(app.config()), None);
    running.until_names(&["a"]).await;
    assert_eq!(running.handle.snapshot().app, AppStatus::Current);
    app.set("/api/tools?prefix_tools=true", Answer::status(401, "{}"));
    running.until("the refusal", |snapshot| matches!(snapshot.app, AppStatus::Refused { .. })).await;
    running.stop().await;
}

#[tokio::test]
async fn while_the_app_is_away_its_last_word_counts() {
    for trouble in [
        Answer::status(500, r#"{"error": "Internal", "details": "SELECT"}"#),
        Answer::status(503, "<html>"),
        Answer::status(429, r#"{"error": "slow down", "code": "RATE_LIMIT_EXCEEDED"}"#),
        Answer::status(200, "<html>captive portal</html>"),
        Answer::status(404, "<html>"),
        Answer::json(&json!({"success": false, "error": "Failed query: SELECT"})),
    ] {
        let app = FakeApp::start().await;
        app.set_servers(&["a"]);
        let running = Running::start(Some(app.config()), None);
        running.until_names(&["a"]).await;
        app.set("/api/mcp-servers", trouble);
        running.until("trouble", away).await;
        assert_eq!(running.names(), ["a"]);
        assert!(!format!("{:?}", running.handle.snapshot().app).contains("SELECT"));
        app.set_servers(&["a", "b"]);
        running.until_names(&["a", "b"]).await;
        assert_eq!(running.handle.snapshot().app, AppStatus::Current);
        running.stop().await;
    }
}

#[tokio::test]
async fn an_app_that_is_not_there_is_away() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base_url = format!("http://{}", listener.local_addr().expect("bound")).parse().expect("a URL");
    drop(listener);
    let running = Running::start(Some(app::Config { base_url, key: KEY.into(), rate: None, origin: None, egress: Arc::default() }), None);
    running.until("away", away).await;
    let AppStatus::Away { message } = running.handle.snapshot().app.clone() else { unreachable!() };
    assert_eq!(message, "the plugged.in App cannot be reached: the connection was refused");
    running.stop().await;
}

#[tokio::test]
async fn other_lists_fail_alone() {
    let app = FakeApp::start().await;
    app.set_servers(&["a"]);
    app.set("/api/prompts", Answer::json(&json!([{"name": "p"}])));
    let running = Running::start(Some(app.config()), None);
    running.until("the prompt", |snapshot| snapshot.records.prompts.len() == 1).await;
    app.set("/api/prompts", Answer::status(500, "{}"));
    app.set("/api/tools?prefix_tools=true", Answer::status(500, "{}"));
    app.set("/api/tools", Answer::status(500, "{}"));
    running.handle.refresh_and_wait().await;
    running.handle.refresh_and_wait().await;
    let snapshot = running.handle.snapshot();
    assert_eq!((&snapshot.app, snapshot.records.prompts.len(), snapshot.records.tools.len()), (&AppStatus::Current, 1, 1));
    // An App without such a list has none.
    app.set("/api/prompts", Answer::status(404, "<html>"));
    running.handle.refresh_and_wait().await;
    assert!(running.handle.snapshot().records.prompts.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn servers_whose_tools_are_unknown_wait() {
    let app = FakeApp::start().await;
    app.set_servers(&["a"]);
    app.set("/api/tools?prefix_tools=true", Answer::status(503, ""));
    let running = Running::start(Some(app.config()), None);
    running.until("away", away).await;
    assert!(running.names().is_empty());
    app.set_servers(&["a"]);
    running.until_names(&["a"]).await;
    assert_eq!(running.handle.snapshot().app, AppStatus::Current);
    running.stop().await;
}

#[tokio::test]
async fn a_hanging_list_delays_nothing() {
    let app = FakeApp::start().await;
    app.set_servers(&["a"]);
    app.set("/api/resources", Answer::json(&json!([{"uri": "r:1"}])).after(Duration::from_secs(2)));
    let begun = Instant::now();
    let running = Running::start(Some(app.config()), None);
    running.until_names(&["a"]).await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    running.until("the resource", |snapshot| snapshot.records.resources.len() == 1).await;
    running.stop().await;
}

#[tokio::test]
async fn many_callers_share_one_refresh() {
    let app = FakeApp::start().await;
    app.set("/api/mcp-servers", Answer::json(&json!([])).after(Duration::from_millis(100)));
    let config = Config { app: Some(app.config()), file: None, kept: None, refresh_interval: Duration::from_secs(3600) };
    let (tracker, token) = (TaskTracker::new(), CancellationToken::new());
    let handle = Source::start(config, &tracker, &token);
    handle.refresh_and_wait().await;
    let before = app.asked("/api/mcp-servers");
    let callers = (0..20).map(|_| {
        let handle = handle.clone();
        tokio::spawn(async move { handle.refresh_and_wait().await })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("no panic");
    }
    assert!(app.asked("/api/mcp-servers") - before <= 2);
    token.cancel();
    // A source that has stopped keeps nobody waiting.
    tracker.close();
    tracker.wait().await;
    timeout(Duration::from_secs(5), handle.refresh_and_wait()).await.expect("answered");
}

#[tokio::test]
async fn a_rest_that_the_app_asks_for_is_kept() {
    let app = FakeApp::start().await;
    app.set("/api/mcp-servers", Answer::status(429, "{}").header("retry-after", "3600"));
    let running = Running::start(Some(app.config()), None);
    running.until("away", away).await;
    for _ in 0..3 {
        running.handle.refresh_and_wait().await;
    }
    sleep(INTERVAL * 4).await;
    assert_eq!(app.asked("/api/mcp-servers"), 1);
    running.stop().await;
}

#[tokio::test]
async fn instructions_are_completed_from_their_own_list() {
    let app = FakeApp::start().await;
    app.set_servers(&["a", "b"]);
    app.set(
        "/api/custom-instructions",
        Answer::json(&json!([
            {"name": "a__system_context", "instruction": ["from the list"], "_serverUuid": "id-a"},
            {"name": "gone__system_context", "instruction": ["x"], "_serverUuid": "id-gone"},
            {"name": "empty", "_serverUuid": "id-b"},
        ])),
    );
    let running = Running::start(Some(app.config()), None);
    running.until("the instruction", |snapshot| snapshot.records.instructions.len() == 1).await;
    assert_eq!(running.handle.snapshot().servers[0].instructions[0].text, "from the list");
    running.stop().await;
}

#[tokio::test]
async fn requests_and_their_failures() {
    let app = FakeApp::start().await;
    let client = app.client();
    app.set("/api/resolve/resource?uri=a%3A%2F%2Fb%3Fc%3D1%26d", Answer::json(&json!({"uuid": "u", "command": "x"})));
    assert_eq!(client.resolve_resource("a://b?c=1&d").await, Ok(Some(ServerId::new("u"))));
    app.set("/api/resolve/prompt?name=p", Answer::status(404, r#"{"error": "Prompt not found"}"#));
    assert_eq!(client.resolve_prompt("p").await, Ok(None));
    assert_eq!(client.resolve_prompt("other").await, Err(AppError::TooOld));

    app.set("/api/discover/all", Answer::json(&json!({"message": "Discovery started."})));
    assert_eq!(client.discover(None, true).await.expect("an answer").message, "Discovery started.");
    assert_eq!(app.asked("POST /api/discover/all"), 1);
    app.set("/api/discover/u", Answer::status(405, ""));
    assert_eq!(client.discover(Some(&ServerId::new("u")), false).await, Err(AppError::TooOld));
    app.set("/api/discover/all", Answer::status(429, r#"{"error": "x", "retryAfter": 90}"#));
    let limited = client.discover(None, true).await.expect_err("limited");
    assert_eq!(limited.to_string(), "the plugged.in App allows no more requests at the moment; try again in 90 s");
    app.set("/api/discover/all", Answer::status(400, r#"{"error": "Bad input", "details": "SECRET"}"#));
    let rejected = client.discover(None, true).await.expect_err("rejected");
    assert_eq!(rejected.to_string(), "the plugged.in App refused the request (400): Bad input");
    app.set("/api/discover/all", Answer::status(500, r#"{"error": "SECRET", "details": "SECRET"}"#));
    let failing = client.discover(None, true).await.expect_err("failing");
    assert_eq!(failing.to_string(), "the plugged.in App failed (500): an internal error of the App");
    assert!(!format!("{client:?}{failing:?}").contains(KEY));
}

#[tokio::test]
async fn a_list_of_tools_that_fails_is_asked_for_without_prefixes() {
    let app = FakeApp::start().await;
    app.set("/api/tools?prefix_tools=true", Answer::status(500, "{}"));
    app.set("/api/tools", Answer::json(&json!({"tools": [{"name": "s__t", "_serverUuid": "u", "_serverSlug": "s"}]})));
    let tools = app.client().tools().await.expect("a list");
    assert_eq!(tools.items[0].name, "s__t");
}

#[tokio::test]
async fn only_harmless_redirects_are_followed() {
    let app = FakeApp::start().await;
    let client = app.client();
    let servers = async || client.servers().await.map(|listing| listing.items.len());
    app.set("/moved", Answer::json(&json!([{"uuid": "u", "command": "x"}])));
    for status in [307, 308] {
        app.set("/api/mcp-servers", Answer::status(status, "").header("location", "/moved"));
        assert_eq!(servers().await, Ok(1));
    }
    for (status, location, to) in [
        (301, "/moved", app.base.origin().ascii_serialization()),
        (302, "https://login.example/x?y", "https://login.example".to_owned()),
        (308, "https://plugged.example/api/mcp-servers", "https://plugged.example".to_owned()),
    ] {
        app.set("/api/mcp-servers", Answer::status(status, "").header("location", location));
        assert_eq!(servers().await, Err(AppError::Redirected { to }));
    }
    app.set("/api/mcp-servers", Answer::status(307, "").header("location", "/api/mcp-servers"));
    assert!(matches!(servers().await, Err(AppError::Redirected { .. })));
    app.set("/api/mcp-servers", Answer::status(307, ""));
    assert!(matches!(servers().await, Err(AppError::Unreadable { .. })));
}

#[tokio::test]
async fn a_path_prefix_is_kept() {
    let app = FakeApp::start().await;
    app.set("/plugged/in/api/mcp-servers", Answer::json(&json!([])));
    for base in ["plugged/in", "plugged/in/"] {
        let config = app::Config {
            base_url: app.base.join(base).expect("a URL"),
            key: KEY.into(),
            rate: None,
            origin: None,
            egress: Arc::default(),
        };
        assert!(AppClient::new(config).servers().await.is_ok());
    }
}

#[tokio::test]
async fn compressed_answers_are_read() {
    let app = FakeApp::start().await;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(br#"[{"uuid": "u", "command": "x"}]"#).expect("written");
    let mut answer = Answer::status(200, "").header("content-encoding", "gzip");
    answer.body = gzip.finish().expect("written");
    app.set("/api/mcp-servers", answer);
    assert_eq!(app.client().servers().await.expect("a list").items.len(), 1);
}

#[tokio::test]
async fn a_wrong_key_is_told_as_such() {
    let app = FakeApp::start().await;
    let wrong = |key: &str| {
        AppClient::new(app::Config { base_url: app.base.clone(), key: key.into(), rate: None, origin: None, egress: Arc::default() })
    };
    assert_eq!(wrong("no").servers().await.map(|_| ()), Err(AppError::Unauthorized));
    assert_eq!(wrong("line\nbreak").servers().await.map(|_| ()), Err(AppError::Unauthorized));
}

#[tokio::test]
async fn the_request_limit_is_kept() {
    let app = FakeApp::start().await;
    let rate = Rate::per_minute(NonZeroU32::new(100).expect("it is above zero"));
    let client = AppClient::new(app::Config { rate: Some(rate), ..app.config() });
    let begun = Instant::now();
    let endless = async {
        loop {
            client.prompts().await.expect("a list");
        }
    };
    let _ = timeout(Duration::from_secs(1), endless).await;
    // A hundred at once, then one every 600 ms.
    let later = begun.elapsed().as_millis() / 600 + 1;
    let asked = app.asked("/api/prompts") as u128;
    assert!((50..=100 + later).contains(&asked), "{asked}");
    // Who cannot wait so long is told at once.
    let path = ["api", "prompts"];
    for _ in 0..2 {
        let request = app::Request { timeout: Duration::from_millis(100), ..app::Request::get(&path) };
        let answer = client.request(request).await;
        assert!(matches!(answer, Err(AppError::RateLimited { retry_after: Some(_) })), "{answer:?}");
    }
}

#[tokio::test]
async fn lookups_leave_half_of_the_limit_to_the_lists() {
    let app = FakeApp::start().await;
    let rate = Rate::per_minute(NonZeroU32::new(4).expect("it is above zero"));
    let client = AppClient::new(app::Config { rate: Some(rate), ..app.config() });
    app.set("/api/resolve/prompt?name=p", Answer::status(404, r#"{"error": "Prompt not found"}"#));
    // What the App has just said is not asked again, and costs nothing.
    for _ in 0..10 {
        assert_eq!(client.resolve_prompt("p").await, Ok(None));
    }
    assert_eq!(app.asked("/api/resolve/prompt?name=p"), 1);
    app.set("/api/resolve/resource?uri=a", Answer::json(&json!({"uuid": "u"})));
    assert_eq!(client.resolve_resource("a").await, Ok(Some(ServerId::new("u"))));
    for uri in ["a", "b", "c", "d"] {
        let answer = client.resolve_resource(uri).await;
        assert!(matches!(answer, Err(AppError::RateLimited { retry_after: Some(_) })), "{answer:?}");
    }
    assert!(client.prompts().await.is_ok() && client.prompts().await.is_ok());
}

fn write(path: &std::path::Path, servers: &[(&str, &str)]) -> io::Result<()> {
    let servers: serde_json::Map<_, _> =
        servers.iter().map(|(name, command)| ((*name).to_owned(), json!({ "command": command }))).collect();
    fs::write(path, json!({ "mcpServers": servers }).to_string())
}

#[tokio::test]
async fn the_file_is_there_from_the_first_snapshot_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("mcp.json");
    write(&path, &[("b", "x"), ("a", "x")]).expect("written");
    let running = Running::start(None, Some(path));
    assert_eq!(running.names(), ["a", "b"]);
    assert_eq!(running.handle.snapshot().app, AppStatus::Unset);
    assert!(running.handle.app().is_none());
    running.handle.refresh_and_wait().await;
    running.stop().await;
}

#[tokio::test]
async fn both_sources_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("mcp.json");
    write(&path, &[("b", "x"), ("z", "x")]).expect("written");
    let app = FakeApp::start().await;
    app.set_servers(&["a", "b"]);
    let running = Running::start(Some(app.config()), Some(path));
    assert_eq!(running.names(), ["b", "z"]);
    running.until_names(&["a", "b", "b", "z"]).await;
    let ids: Vec<_> = running.handle.snapshot().servers.iter().map(|server| server.id.to_string()).collect();
    assert_eq!(ids, ["id-a", "file:b", "id-b", "file:z"]);
    app.set("/api/mcp-servers", Answer::status(401, ""));
    running.until_names(&["b", "z"]).await;
    running.stop().await;
}

#[tokio::test]
async fn edits_take_effect_however_they_are_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("mcp.json");
    write(&path, &[("a", "x")]).expect("written");
    let running = Running::start(None, Some(path.clone()));
    running.until_names(&["a"]).await;
    // In place.
    write(&path, &[("a", "x"), ("b", "x")]).expect("written");
    running.until_names(&["a", "b"]).await;
    // By a new file, as most editors do.
    let new = dir.path().join(".mcp.json.swp");
    write(&new, &[("c", "x")]).expect("written");
    fs::rename(&new, &path).expect("renamed");
    running.until_names(&["c"]).await;
    // With the file gone for a moment.
    fs::remove_file(&path).expect("removed");
    sleep(Duration::from_millis(150)).await;
    assert_eq!(running.names(), ["c"]);
    write(&path, &[("d", "x")]).expect("written");
    running.until_names(&["d"]).await;
    assert_eq!(running.handle.snapshot().file, FileStatus::Current { problems: Vec::new() });
    running.stop().await;
}

#[tokio::test]
async fn a_broken_file_keeps_its_last_good_state() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("mcp.json");
    write(&path, &[("a", "x")]).expect("written");
    let running = Running::start(None, Some(path.clone()));
    fs::write(&path, "{\n  \"mcpServers\": {,}}").expect("written");
    running.until("broken", |snapshot| matches!(snapshot.file, FileStatus::Broken { .. })).await;
    let FileStatus::Broken { message } = running.handle.snapshot().file.clone() else { unreachable!() };
    assert!(message.starts_with("the configuration file `mcp.json` cannot be used: line 2, column 18: "), "{message}");
    assert_eq!(running.names(), ["a"]);
    fs::remove_file(&path).expect("removed");
    running.until("gone", |s| matches!(&s.file, FileStatus::Broken { message } if message.contains("does not exist"))).await;
    assert_eq!(running.names(), ["a"]);
    write(&path, &[("b", "x")]).expect("written");
    running.until_names(&["b"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_comes_later_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("mcp.json");
    let running = Running::start(None, Some(path.clone()));
    assert!(matches!(running.handle.snapshot().file, FileStatus::Broken { .. }));
    write(&path, &[("a", "x")]).expect("written");
    running.until_names(&["a"]).await;
    running.stop().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_that_points_elsewhere_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("mcp.json");
    let (one, two) = (dir.path().join("one.json"), dir.path().join("two.json"));
    write(&one, &[("one", "x")]).expect("written");
    write(&two, &[("two", "x")]).expect("written");
    std::os::unix::fs::symlink(&one, &path).expect("linked");
    let running = Running::start(None, Some(path.clone()));
    running.until_names(&["one"]).await;
    let new = dir.path().join("new");
    std::os::unix::fs::symlink(&two, &new).expect("linked");
    fs::rename(&new, &path).expect("renamed");
    running.until_names(&["two"]).await;
    running.stop().await;
}
