//! What the tools ask the App with.

use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::timeout,
};
use url::Url;

use super::outcome::Failure;
use crate::source::app::{AppClient, AppError, Request};

/// The App, as a tool sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Services<'a> {
    app: &'a AppClient,
    /// Of each request, whatever the request itself says.
    limit: Duration,
    toggling: &'a Mutex<()>,
}

impl<'a> Services<'a> {
    /// `toggling` is the workspace's own.
    pub(super) fn new(app: &'a AppClient, limit: Duration, toggling: &'a Mutex<()>) -> Self {
        Self { app, limit, toggling }
    }

    /// Asks once, and reads the answer. Nothing is tried again: it may have been done.
    pub(super) async fn ask<T: DeserializeOwned>(self, request: Request<'_>) -> Result<T, AppError> {
        serde_json::from_str(&self.text(request).await?).map_err(|_| unreadable())
    }

    /// The same, where the answer may be no JSON.
    pub(super) async fn text(self, request: Request<'_>) -> Result<String, AppError> {
        self.app.request(Request { timeout: self.limit, ..request }).await
    }

    /// While this is held, nobody else of the workspace looks at what can only be toggled. It is held across both requests on purpose:
    /// two that had both looked before would undo each other. Only calls that toggle wait for it, and none for longer than a request.
    pub(super) async fn alone(self) -> Result<MutexGuard<'a, ()>, Failure> {
        timeout(self.limit, self.toggling.lock()).await.map_err(|_| {
            Failure::new("others are being marked at the moment, and plugged.in did not answer them in time; hint: try again in a minute")
        })
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
    use std::{net::TcpListener, sync::Arc};

    use tokio::time::Instant;

    use super::*;
    use crate::source::app::Config;

    /// Whatever a request says itself.
    #[tokio::test(start_paused = true)]
    async fn an_app_that_never_answers_is_given_up() {
        let silent = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let base_url = format!("http://{}", silent.local_addr().expect("it has one"));
        let base_url = Url::parse(&base_url).expect("it is one");
        let app = AppClient::new(Config { base_url, key: "k".to_owned().into(), rate: None, origin: None, egress: Arc::default() });
        let toggling = Mutex::default();
        let services = Services::new(&app, Duration::from_secs(7), &toggling);
        let start = Instant::now();
        let answer = services.text(Request { timeout: Duration::MAX, ..Request::get(&["api", "x"]) }).await;
        assert!(matches!(answer, Err(AppError::Network { .. })), "{answer:?}");
        assert_eq!(start.elapsed().as_secs(), 7);
        let alone = services.alone().await.expect("nobody else is there");
        assert!(services.alone().await.is_err_and(|failure| !failure.is_mistake()));
        assert_eq!(start.elapsed().as_secs(), 14);
        drop(alone);
        assert!(services.alone().await.is_ok());
    }

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
