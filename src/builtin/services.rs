//! What the tools ask the App with.

use serde::de::DeserializeOwned;
use url::Url;

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
        absolute(self.app.base_url(), url)
    }
}

/// The base URL's own path stays in front: the App does not know of it.
fn absolute(base: &Url, url: &str) -> Option<String> {
    let mut base = base.clone();
    base.set_path(&format!("{}/", base.path().trim_end_matches('/')));
    let is_path = url.starts_with('/') && !url.starts_with("//");
    // A step with a colon would be a scheme without the dot.
    let url = base.join(&if is_path { format!(".{url}") } else { url.to_owned() }).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.into())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_app_lead_to_it() {
        for (base, url, expect) in [
            ("https://plugged.in", "/library/1", Some("https://plugged.in/library/1")),
            ("http://localhost:12005", "library/1?a=b#c", Some("http://localhost:12005/library/1?a=b#c")),
            ("https://host/app", "/library/1", Some("https://host/app/library/1")),
            ("https://host/app", "https://else.example/x", Some("https://else.example/x")),
            ("https://host/app", "//else.example/x", Some("https://else.example/x")),
            ("https://plugged.in", "javascript:alert(1)", None),
            ("https://plugged.in", "/:80", Some("https://plugged.in/:80")),
            ("https://plugged.in", "/a:b/c", Some("https://plugged.in/a:b/c")),
            ("https://plugged.in", "http://", None),
        ] {
            let base = Url::parse(base).expect("it is one");
            assert_eq!(absolute(&base, url).as_deref(), expect, "{base} {url}");
        }
    }
}
