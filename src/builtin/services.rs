//! What the tools ask the App with.

use serde::de::DeserializeOwned;

use super::outcome::Failure;
use crate::source::app::{AppClient, AppError, Request};

/// The App, as a tool sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Services<'a> {
    pub(super) app: &'a AppClient,
}

impl Services<'_> {
    /// Asks once, and reads the answer. Nothing is tried again: it may have been done.
    pub(super) async fn ask<T: DeserializeOwned>(self, request: Request<'_>) -> Result<T, AppError> {
        let body = self.app.request(request).await?;
        serde_json::from_str(&body).map_err(|_| unreadable())
    }

    /// An address of the App, which often names only the path.
    pub(super) fn absolute(self, url: &str) -> Option<String> {
        let url = self.app.base_url().join(url).ok()?;
        matches!(url.scheme(), "http" | "https").then(|| url.into())
    }
}

pub(super) fn unreadable() -> AppError {
    AppError::Unreadable { what: "an answer of another form than expected" }
}

/// Without a key nothing can be asked.
pub(super) fn no_key() -> Failure {
    Failure::mistake(
        "this tool needs a plugged.in API key, and none is set; hint: make one at https://plugged.in/api-keys, give it to the proxy as `PLUGGEDIN_API_KEY` in the environment or by `--pluggedin-api-key`, or run `pluggedin-mcp-proxy login`, and restart the MCP client; `pluggedin_setup` with the topic `api_key` says more",
    )
}
