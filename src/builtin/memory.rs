//! Memory: sessions with their observations, and what the App has made of them.

mod recall;
mod session;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use reqwest::Method;
use serde_json::Value;

use super::{outcome::Failure, services::Services};
use crate::source::app::{AppError, Request, again};

pub(super) use recall::{DETAILS, SEARCH};
pub(super) use session::{OBSERVE, SESSION_END, SESSION_START};

/// Searches wait for the App's provider.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks a route of memory or the collective, which have a limit in common.
pub(super) async fn ask(services: Services<'_>, request: Request<'_>) -> Result<Value, Failure> {
    ask_or(services, request, Failure::from).await
}

/// As [`ask`], where failures mean something of their own, except for the limit that lets nobody through.
pub(super) async fn ask_or(
    services: Services<'_>,
    request: Request<'_>,
    failed: impl FnOnce(AppError) -> Failure,
) -> Result<Value, Failure> {
    /// Whether the App's limit has ever let a request through. All workspaces of this process are on the same App.
    static LET_THROUGH: AtomicBool = AtomicBool::new(false);
    let answer = services.ask(request).await;
    // The limit is looked at before anything else, so that every other word of a route's own proves it.
    if matches!(answer, Ok(_) | Err(AppError::NotFound { .. } | AppError::Rejected { .. } | AppError::Unconfigured)) {
        LET_THROUGH.store(true, Ordering::Relaxed);
    }
    answer.map_err(|error| match error {
        AppError::RateLimited { retry_after } if !LET_THROUGH.load(Ordering::Relaxed) => never_let_through(retry_after),
        error => failed(error),
    })
}

/// An App in production that has no Redis to count in refuses everything.
fn never_let_through(retry_after: Option<Duration>) -> Failure {
    Failure::refused(format!(
        "plugged.in refused this memory request because of its limit (429), and has let none through yet; hint: {}; if it stays so, this App may have no Redis, without which it refuses every memory request, and its operator has to set it up",
        again(retry_after)
    ))
}

/// A request with a body.
pub(super) fn post<'a>(path: &'a [&'a str], body: Value) -> Request<'a> {
    Request { method: Method::POST, body: Some(body), ..Request::get(path) }
}

/// What is known of something, behind its name.
pub(super) fn in_brackets<const N: usize>(about: [Option<String>; N]) -> String {
    let about: Vec<_> = about.into_iter().flatten().collect();
    if about.is_empty() { String::new() } else { format!(" ({})", about.join(", ")) }
}
