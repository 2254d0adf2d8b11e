//! `pluggedin-mcp-proxy health`: asks a proxy that serves HTTP how it is, for container engines and people. Starts
//! nothing of its own.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::call::{to_stderr, to_stdout};
use crate::security::egress;

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

/// The status that the proxy gives itself.
async fn ask(url: &Url) -> Result<String, String> {
    let url = egress::allow(url.as_str()).map_err(|refused| refused.to_string())?;
    let request = egress::client_for(&url).get(url.as_url().clone());
    let mut response = request.send().await.map_err(|error| reason(&error).to_owned())?;
    let status = response.status();
    if status != reqwest::StatusCode::OK {
        return Err(format!("HTTP {}", status.as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| "the answer broke off")? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY {
            return Err("the answer is too long to be that of a proxy".to_owned());
        }
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let said = body["status"].as_str().unwrap_or("HTTP 200");
    Ok(said.chars().filter(|c| !c.is_control()).take(MAX_WORD).collect())
}

fn reason(error: &reqwest::Error) -> &'static str {
    if error.is_connect() { "nobody answers there; is the proxy running?" } else { "the connection was lost, or it does not speak HTTP" }
}
