//! HTTP+SSE of revision 2024-11-05: GET opens a stream whose first event says where to POST, and every answer comes
//! on that stream.

use super::http::{Host, Opening, SessionGuard};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) fn routes() -> Router<Arc<Host>> {
    // A POST to the first of these is answered with 405, which tells newer clients what this server is.
    Router::new().route("/sse", get(open)).route("/messages", post(receive))
}

async fn open(State(host): State<Arc<Host>>) -> Response {
    let (id, _session) = host.open_session();
    let own = format!("/messages?session={id}");
    let endpoint = host.server.script.endpoint.as_deref().unwrap_or(&own);
    let opening = Opening {
        event: Some(format!("event: endpoint\r\ndata: {endpoint}\r\n\r\n")),
        guard: Some(SessionGuard { host: host.clone(), id: id.clone() }),
    };
    host.stream(&id, opening).unwrap_or_else(|| StatusCode::GONE.into_response())
}

async fn receive(State(host): State<Arc<Host>>, Query(query): Query<HashMap<String, String>>, body: String) -> Response {
    let id = query.get("session").cloned().unwrap_or_default();
    let Some(session) = host.session(&id) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    session.receive(&body, session.outbox(), session.outbox());
    (StatusCode::ACCEPTED, "Accepted").into_response()
}
