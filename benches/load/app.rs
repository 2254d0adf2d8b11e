//! A stand-in for the App that keeps a clipboard and knows no servers. It counts what it is asked.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::extract::{Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{Json, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use axum::{Router, http::StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[derive(Default)]
struct App {
    entries: HashMap<String, Value>,
    requests: u64,
}

type Shared = State<Arc<Mutex<App>>>;

/// Serves a free port until standard input ends, and prints its `127.0.0.1:PORT`.
pub(crate) fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let app = Arc::new(Mutex::new(App::default()));
        let routes = Router::new()
            .route("/api/clipboard", post(set).get(find))
            .route("/api/{list}", get(nothing))
            .layer(middleware::from_fn_with_state(Arc::clone(&app), count))
            .route("/requests", get(requests))
            .with_state(app);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(io::stdout(), "{}", listener.local_addr()?)?;
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        tokio::spawn(async { axum::serve(listener, routes).await });
        tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await??;
        Ok(())
    })
}

async fn count(State(app): Shared, request: Request, next: Next) -> Response {
    app.lock().unwrap_or_else(PoisonError::into_inner).requests += 1;
    next.run(request).await
}

async fn requests(State(app): Shared) -> String {
    app.lock().unwrap_or_else(PoisonError::into_inner).requests.to_string()
}

/// Every list that a proxy reads is empty.
async fn nothing() -> Json<Value> {
    Json(json!([]))
}

async fn set(State(app): Shared, Json(mut entry): Json<Value>) -> Json<Value> {
    let name = entry["name"].as_str().unwrap_or_default().to_owned();
    let size = entry["value"].as_str().map_or(0, str::len);
    let time = "2026-01-01T12:00:00.000Z";
    let rest = json!({"uuid": "550e8400-e29b-41d4-a716-446655440000", "idx": null, "sizeBytes": size, "createdAt": time,
        "updatedAt": time, "expiresAt": "2999-01-02T12:00:00.000Z"});
    if let (Value::Object(entry), Value::Object(rest)) = (&mut entry, rest) {
        entry.extend(rest);
    }
    app.lock().unwrap_or_else(PoisonError::into_inner).entries.insert(name, entry.clone());
    Json(json!({"success": true, "entry": entry}))
}

async fn find(State(app): Shared, Query(query): Query<HashMap<String, String>>) -> Result<Json<Value>, StatusCode> {
    let name = query.get("name").ok_or(StatusCode::BAD_REQUEST)?;
    let app = app.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = app.entries.get(name).ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(json!({ "entry": entry })))
}
