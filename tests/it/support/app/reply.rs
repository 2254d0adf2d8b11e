//! Answers of the App.

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Json, Response};
use serde_json::{Value, json};

pub(super) fn good(body: Value) -> Response {
    Json(body).into_response()
}

pub(super) fn failure(status: u16, text: &str) -> Response {
    refusal(status, json!({"error": text}))
}

pub(super) fn refusal(status: u16, body: Value) -> Response {
    let status = StatusCode::from_u16(status).expect("a test names real statuses");
    (status, Json(body)).into_response()
}

pub(super) fn page_not_found() -> Response {
    let page = "<!doctype html><title>404: This page could not be found.</title>";
    (StatusCode::NOT_FOUND, Html(page)).into_response()
}
