//! `pluggedin-mcp-proxy login`, `logout` and `whoami`: the proxy's own key, for people. The key goes from the App into the
//! user's credentials file; no line on a terminal and no error holds it.

mod file;

use std::{io::IsTerminal, sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use url::Url;

use self::file::CredentialsFile;
use super::terminal::{self, to_stderr, to_stdout};
use crate::{
    config::Account,
    security::egress::Policy,
    shutdown::Signals,
    source::{
        self,
        app::{
            AppClient, AppError, api_keys,
            device::{self, Login, LoginError},
        },
    },
};

/// How a login ends, as its exit code tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    LoggedIn,
    Failed,
    /// By Ctrl-C or another signal.
    Interrupted,
}

impl Outcome {
    pub fn exit_code(self) -> u8 {
        match self {
            Self::LoggedIn => 0,
            Self::Failed => 1,
            // As shells have it: 128 and the number of SIGINT.
            Self::Interrupted => 130,
        }
    }
}

/// Gets a key and stores it.
pub async fn login(account: &Account, egress: &Arc<Policy>) -> Outcome {
    let (signals, over) = (Signals::default(), CancellationToken::new());
    let watching = async {
        // Where signals cannot be received, they end the process as they always do.
        let _ = signals.watch(&over).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        // What was finished counts, even if a signal came with it.
        biased;
        outcome = log_in(account, egress) => outcome,
        () = signals.asked.cancelled() => {
            to_stderr("interrupted; nothing was stored");
            Outcome::Interrupted
        }
        () = watching => Outcome::Interrupted,
    }
}

async fn log_in(account: &Account, egress: &Arc<Policy>) -> Outcome {
    // Before anybody is bothered: the App hands the key out once.
    let outcome = match CredentialsFile::prepare(&account.file) {
        Ok(()) => {
            warn_of_shared_folder(account);
            get_key(account, egress).await
        }
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(()) => Outcome::LoggedIn,
        Err(error) => {
            to_stderr(&format!("error: {error}"));
            Outcome::Failed
        }
    }
}

/// SECURITY: whoever writes there can read nothing, but can make the proxy use a key and an App of theirs.
fn warn_of_shared_folder(account: &Account) {
    if let Some((folder, mode)) = file::shared_folder(&account.file) {
        let folder = folder.display();
        to_stderr(&format!(
            "warning: others can write to the folder `{folder}` (mode {mode:o}) and replace the key; hint: `chmod go-w` it"
        ));
    }
}

async fn get_key(account: &Account, egress: &Arc<Policy>) -> Result<(), String> {
    if let Some(stronger) = &account.stronger {
        to_stderr(&format!("warning: {stronger} names a key, which counts before the one that will be stored"));
    }
    let base_url = shown(&account.base_url);
    to_stderr(&format!("logging in at {base_url}"));
    let login = device::begin(&account.base_url, Arc::clone(egress)).await.map_err(|error| error.to_string())?;
    ask_person(&login);
    let key = wait(&login).await.map_err(|error| error.to_string())?;

    let base_url = (!account.is_default()).then_some(base_url.as_str());
    CredentialsFile::store(&account.file, &key, base_url).map_err(|error| format!("{error}; the key is lost, delete it in the App"))?;
    to_stderr(&format!("logged in; the key is stored in `{}`", account.file.display()));
    if let Some(stronger) = &account.stronger {
        to_stderr(&format!("warning: it does not count as long as {stronger} names another"));
    }
    Ok(())
}

fn ask_person(login: &Login) {
    if login.leads_elsewhere() {
        to_stderr("warning: the App sends you to another address than its own; open it only if you know it");
    }
    to_stderr(&format!("open this address in a browser: {}", login.verification_url));
    to_stderr(&format!("and compare the code: {}", login.user_code));
    to_stderr(&format!("it is valid for {} s", login.lifetime.as_secs()));
}

async fn wait(login: &Login) -> Result<crate::secret::Secret, LoginError> {
    const WAITING: &str = "waiting for your approval";
    let spinner = Spinner::new(WAITING);
    login
        .key(|news| {
            spinner.0.set_message(match news {
                None => WAITING.to_owned(),
                Some(error) => format!("still trying: {}", terminal::cell(&error.to_string())),
            });
        })
        .await
}

/// Gone when it is dropped; nothing turns where nobody looks.
struct Spinner(ProgressBar);

impl Spinner {
    fn new(message: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("the template is a constant"));
        bar.set_message(message.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Takes the key out of the credentials file. True also if there was none.
pub fn logout(account: &Account) -> bool {
    let file = account.file.display();
    match CredentialsFile::forget(&account.file) {
        Ok(true) => {
            to_stderr(&format!("logged out; the key is gone from `{file}`"));
            to_stderr(&format!("hint: the App still knows it; delete it at {} if nobody else needs it", api_keys(&account.base_url)));
        }
        Ok(false) => to_stderr(&format!("there is no key in `{file}`")),
        Err(error) => {
            to_stderr(&format!("error: {error}"));
            return false;
        }
    }
    for place in account.stronger.iter().chain(&account.weaker) {
        to_stderr(&format!("warning: {place} still names a key"));
    }
    true
}

/// Says which key counts and asks the App what it thinks of it. True if it accepts it.
pub async fn whoami(account: &Account, app: Option<source::app::Config>, as_json: bool) -> bool {
    let base_url = shown(&account.base_url);
    let (Some(app), Some(place)) = (app, &account.key) else {
        if as_json {
            to_stdout(&terminal::json(&json!({ "key": null, "app": base_url, "accepted": null, "servers": null, "error": null })));
        }
        let page = api_keys(&account.base_url);
        to_stderr(&format!(
            "error: there is no API key; hint: run `pluggedin-mcp-proxy login`, or make one at {page} and set `PLUGGEDIN_API_KEY`"
        ));
        return false;
    };
    let servers = AppClient::new(app).servers().await.map(|servers| servers.items.len() + servers.warnings.len());
    if as_json {
        to_stdout(&terminal::json(&answer(place, &base_url, &servers)));
    }
    match servers {
        Ok(count) if !as_json => to_stdout(&terminal::lines(&format!(
            "the key of {place} is accepted by {base_url}; its workspace has {count} server{}",
            if count == 1 { "" } else { "s" }
        ))),
        Ok(_) => {}
        Err(error) => {
            to_stderr(&format!("error: the key of {place}, for {base_url}: {error}"));
            return false;
        }
    }
    true
}

fn answer(place: &str, base_url: &str, servers: &Result<usize, AppError>) -> Value {
    let accepted = match servers {
        Ok(_) => Some(true),
        Err(AppError::Unauthorized) => Some(false),
        // Nobody knows.
        Err(_) => None,
    };
    let error = servers.as_ref().err().map(ToString::to_string);
    json!({ "key": place.replace('`', ""), "app": base_url, "accepted": accepted, "servers": servers.as_ref().ok(), "error": error })
}

/// As people write it.
fn shown(base_url: &Url) -> String {
    base_url.as_str().trim_end_matches('/').to_owned()
}
