//! `pluggedin-mcp-proxy health`: asks a proxy that serves HTTP how it is, for container engines and people. Starts
//! nothing of its own.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, header::HeaderMap};
use serde_json::Value;
use url::Url;

use super::terminal::{to_stderr, to_stdout};
use crate::security::{
    Author,
    egress::{self, Cause, Policy, ReadError, SendError},
};

/// A proxy that takes longer is in trouble. Container engines give a check 30 seconds, and some of them fewer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Far more than a state has.
const MAX_BODY: usize = 64 * 1024;

/// The longest word of another program that is shown.
const MAX_WORD: usize = 40;

/// Asks and prints one line. True if the answer was 200.
pub async fn run(url: &Url) -> bool {
    let outcome = match tokio::time::timeout(TIMEOUT, ask(url)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
    };
    match &outcome {
        Ok(status) => to_stdout(&format!("ok: {url}: {status}")),
        Err(why) => to_stderr(&format!("error: {url}: {why}")),
    }
    outcome.is_ok()
}

/// Who answers there, if it is one of us.
pub(super) async fn version(url: &Url) -> Option<String> {
    let body = tokio::time::timeout(TIMEOUT, fetch(url)).await.ok()?.ok()?;
    // What the Node proxy said, too.
    let is_ours = body["status"].is_string() && body["transport"] == "streamable-http" && body["maxSessions"].is_number();
    is_ours.then(|| body["version"].as_str().map_or_else(|| "of unknown version".to_owned(), word))
}

/// The status that the proxy gives itself.
async fn ask(url: &Url) -> Result<String, String> {
    Ok(word(fetch(url).await?["status"].as_str().unwrap_or("HTTP 200")))
}

fn word(said: &str) -> String {
    said.chars().filter(|c| !c.is_control()).take(MAX_WORD).collect()
}

async fn fetch(url: &Url) -> Result<Value, String> {
    let egress = Policy::default();
    let url = egress.allow(Author::Owner, url.as_str()).map_err(|refused| refused.to_string())?;
    let response = egress.send(Method::GET, &url, HeaderMap::new, Bytes::new()).await.map_err(|error| reason(&error))?;
    let status = response.status();
    if status != reqwest::StatusCode::OK {
        return Err(format!("HTTP {}", status.as_u16()));
    }
    let body = egress::read(response, MAX_BODY).await.map_err(|error| match error {
        ReadError::TooLong => "the answer is too long to be that of a proxy",
        ReadError::Broken | ReadError::Encoding => "the answer broke off",
    })?;
    Ok(serde_json::from_slice(&body).unwrap_or_default())
}

fn reason(error: &SendError) -> String {
    match error {
        SendError::Unreachable(Cause::UnknownName | Cause::Tls(_) | Cause::NoClient)
        | SendError::Refused(_)
        | SendError::Redirected { .. } => error.to_string(),
        SendError::Unreachable(_) => "nobody answers there; is the proxy running?".to_owned(),
        SendError::Lost | SendError::NotHttp | SendError::Encoded => "the connection was lost, or it does not speak HTTP".to_owned(),
    }
}
