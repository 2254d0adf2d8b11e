//! Device authorization: a person approves in the browser, and the App hands out a key here, exactly once. It knows how to
//! ask; who is told and where the key goes is `app::login`'s to say.

use std::{sync::Arc, time::Duration};

use reqwest::{
    Method,
    header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderValue},
};
use secrecy::ExposeSecret;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::{Answer, AppError, judge, network, take, url};
use crate::{
    secret::Secret,
    security::{Author, egress::Policy, token},
};

/// For one request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What holds where the App does not say it, and what makes sense.
const LIFETIME: Seconds = Seconds { default: 300.0, least: 1.0, most: 3_600.0 };
const INTERVAL: Seconds = Seconds { default: 5.0, least: 1.0, most: 60.0 };

/// Where the App asks for a pause and does not say how long. It counts 100 polls in five minutes.
const PAUSE: Duration = Duration::from_secs(15);

/// Characters of a code that a person can compare.
const MAX_CODE: usize = 40;

/// A login that waits for its person.
#[derive(Debug)]
pub struct Login {
    base_url: Url,
    egress: Arc<Policy>,
    /// SECURITY: whoever has it gets the key.
    device_code: Secret,
    interval: Duration,
    deadline: Instant,
    /// For the person to compare.
    pub user_code: String,
    /// For the person to open.
    pub verification_url: Url,
    pub lifetime: Duration,
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    #[error("the login was denied in the browser")]
    Denied,
    #[error("nobody approved the login in time{}; hint: run `pluggedin-mcp-proxy login` again", after(.last.as_ref()))]
    Expired {
        /// What went wrong at the end, if something did.
        last: Option<AppError>,
    },
    #[error("the plugged.in App does not know this login any more; hint: run `pluggedin-mcp-proxy login` again")]
    Unknown,
    #[error("the plugged.in App has handed the key out already, and it did not arrive; hint: run `pluggedin-mcp-proxy login` again")]
    Delivered,
    #[error("the plugged.in App allows no more logins from this address at the moment; hint: try again in a quarter of an hour")]
    TooMany,
    #[error("the plugged.in App sent something that is no API key; does the base URL lead to it?")]
    BadKey,
    #[error(transparent)]
    App(#[from] AppError),
}

fn after(last: Option<&AppError>) -> String {
    last.map(|error| format!(" ({error})")).unwrap_or_default()
}

/// What one question has brought.
enum Polled {
    Pending,
    Approved(Secret),
}

/// Asks the App to begin.
///
/// # Errors
/// [`LoginError`]
pub async fn begin(base_url: &Url, egress: Arc<Policy>) -> Result<Login, LoginError> {
    #[derive(Deserialize)]
    struct Codes {
        device_code: String,
        user_code: String,
        verification_url: String,
        expires_in: Option<f64>,
        interval: Option<f64>,
    }
    let begun = Instant::now();
    let answer = ask(&egress, Method::POST, &url(base_url, &["api", "cli", "auth", "initiate"], &[])).await?;
    let body = judge(answer).map_err(|error| match error {
        AppError::RateLimited { .. } => LoginError::TooMany,
        error => error.into(),
    })?;
    let unreadable = || AppError::Unreadable { what: "no codes for a login" };
    let codes: Codes = serde_json::from_str(&body).map_err(|_| unreadable())?;
    let Codes { device_code, user_code, verification_url, expires_in, interval } = codes;
    let plain = !user_code.is_empty() && user_code.len() <= MAX_CODE && user_code.chars().all(|c| c.is_ascii_graphic());
    if device_code.is_empty() || !plain {
        return Err(unreadable().into());
    }
    let lifetime = LIFETIME.read(expires_in);
    Ok(Login {
        base_url: base_url.clone(),
        egress,
        device_code: Secret::certain(device_code),
        interval: INTERVAL.read(interval),
        deadline: begun + lifetime,
        user_code,
        verification_url: page(&verification_url).ok_or(AppError::Unreadable { what: "no address to open in a browser" })?,
        lifetime,
    })
}

/// SECURITY: a person opens it, so it is one that a browser shows as a page, and names no user.
fn page(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_page = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    is_page.then_some(url)
}

impl Login {
    /// The page is not the App's own, as far as can be told from its address.
    pub fn leads_elsewhere(&self) -> bool {
        self.verification_url.origin() != self.base_url.origin()
    }

    /// Waits for the person. `news` is told after every question: `None` where all is well, or why there was no answer.
    ///
    /// # Errors
    /// [`LoginError`]; an App that is away for a while is none.
    pub async fn key(&self, mut news: impl FnMut(Option<&AppError>)) -> Result<Secret, LoginError> {
        let mut wait = self.interval;
        let mut last = None;
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            sleep(wait.min(left)).await;
            if wait >= left {
                return Err(LoginError::Expired { last });
            }
            wait = self.interval;
            last = match self.poll().await {
                Ok(Polled::Approved(key)) => return Ok(key),
                Ok(Polled::Pending) => None,
                Err(LoginError::App(error)) if passes(&error) => {
                    let pause = matches!(error, AppError::RateLimited { .. }).then_some(PAUSE);
                    wait = error.retry_after().or(pause).unwrap_or_default().max(self.interval);
                    Some(error)
                }
                Err(error) => return Err(error),
            };
            news(last.as_ref());
        }
    }

    async fn poll(&self) -> Result<Polled, LoginError> {
        #[derive(Default, Deserialize)]
        struct Said {
            status: Option<String>,
            api_key: Option<String>,
        }
        let query = [("device_code", self.device_code.expose_secret())];
        let answer = ask(&self.egress, Method::GET, &url(&self.base_url, &["api", "cli", "auth", "poll"], &query)).await?;
        let Said { status, api_key } = serde_json::from_str(&answer.body).unwrap_or_default();
        match (answer.status.as_u16(), status.as_deref(), api_key) {
            (403, Some("denied"), _) => Err(LoginError::Denied),
            (410, _, _) => Err(LoginError::Expired { last: None }),
            (200, Some("authorization_pending"), _) => Ok(Polled::Pending),
            (200, Some("approved"), None) => Err(LoginError::Delivered),
            (200, Some("approved"), Some(key)) => token::api_key(key.trim()).map(Polled::Approved).map_err(|_| LoginError::BadKey),
            _ => match judge(answer) {
                Ok(_) => Err(AppError::Unreadable { what: "an answer that is none to a login" }.into()),
                Err(AppError::NotFound { .. }) => Err(LoginError::Unknown),
                Err(error) => Err(error.into()),
            },
        }
    }
}

/// The next question may be answered: the App restarts, or the machine has changed its network and sees somebody's sign-in page.
fn passes(error: &AppError) -> bool {
    error.is_transient() || matches!(error, AppError::Unreadable { .. })
}

/// One request without a key.
async fn ask(egress: &Policy, method: Method, url: &Url) -> Result<Answer, AppError> {
    let url = egress.allow(Author::Owner, url.as_str()).map_err(AppError::Refused)?;
    let headers = || {
        let named = [(ACCEPT, HeaderValue::from_static("application/json")), (ACCEPT_ENCODING, HeaderValue::from_static("gzip"))];
        HeaderMap::from_iter(named)
    };
    let asking = async {
        let response = egress.send(method, &url, headers, bytes::Bytes::new()).await.map_err(|error| network(&error))?;
        take(response).await
    };
    timeout(TIMEOUT, asking).await.unwrap_or(Err(AppError::Network { what: "it did not answer in time" }))
}

struct Seconds {
    default: f64,
    least: f64,
    most: f64,
}

impl Seconds {
    fn read(&self, said: Option<f64>) -> Duration {
        Duration::from_secs_f64(said.unwrap_or(self.default).clamp(self.least, self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_are_opened() {
        for good in ["https://plugged.in/cli/authorize?code=ABCD-2345", "http://localhost:12005/cli"] {
            assert_eq!(page(good).expect(good).as_str(), good);
        }
        for bad in
            ["", "plugged.in", "javascript:alert(1)", "file:///etc/passwd", "ssh://h", "https://plugged.in@evil.example/", "https://:p@h/"]
        {
            assert_eq!(page(bad), None, "{bad}");
        }
        let shown = page("https://plugged.in/\u{1b}[2J\u{202e}?x=\u{7}").expect("it is a page");
        assert!(shown.as_str().is_ascii() && !shown.as_str().contains(char::is_control), "{shown}");
    }

    #[test]
    fn times_make_sense() {
        let check = |said, expect: u64| assert_eq!(INTERVAL.read(said), Duration::from_secs(expect), "{said:?}");
        check(None, 5);
        check(Some(2.0), 2);
        check(Some(0.0), 1);
        check(Some(-1.0), 1);
        check(Some(1e300), 60);
        assert_eq!(LIFETIME.read(None), Duration::from_secs(300));
    }
}
