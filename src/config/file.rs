//! The files that may hold a key: the user's credentials file, and the local settings
//! of Claude Code in the working directory and in the home directory.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    env::{self, Environment, says_something},
    regular::{self, Links, Unread},
};
use crate::security::payload;

/// One file's key and base URL. They belong together.
pub(super) struct Credentials {
    /// As people know the file, for messages.
    pub(super) place: &'static str,
    pub(super) api_key: Option<String>,
    pub(super) base_url: Option<String>,
}

/// The files that are there, strongest first, and a warning for each that cannot be
/// read.
pub(super) fn credentials(environment: &Environment) -> (Vec<Credentials>, Vec<String>) {
    let home = environment.home.as_deref();
    let settings = |dir: &Path| dir.join(".claude").join("settings.local.json");
    // In the home directory the two settings files are one, and it is the user's.
    let working_dir = environment.working_dir.as_deref().filter(|dir| Some(*dir) != home);
    let files = [
        (CREDENTIALS, path(environment)),
        ("~/.claude/settings.local.json", home.map(settings)),
        // SECURITY: last, since it may have come with a project of others (threat model, boundary B6).
        (PROJECT_SETTINGS, working_dir.map(settings)),
    ];
    let mut found = Vec::new();
    let mut warnings = Vec::new();
    for (place, path) in files {
        let Some(path) = path else { continue };
        match read(&path) {
            Ok(None) => {}
            Ok(Some(content)) => found.push(interpret(place, &content)),
            Err(why) => warnings.push(format!("the file `{}` is ignored: {why}", path.display())),
        }
    }
    (found, warnings)
}

/// The user's credentials file, which `login` writes.
pub(super) const CREDENTIALS: &str = "pluggedin/credentials.json";

/// Where that is, by the XDG base directory specification.
pub(super) fn path(environment: &Environment) -> Option<PathBuf> {
    let named = environment.get(env::XDG_CONFIG_HOME).map(PathBuf::from).filter(|path| path.is_absolute());
    let config_home = named.or_else(|| Some(environment.home.as_ref()?.join(".config")))?;
    Some(config_home.join("pluggedin").join("credentials.json"))
}

/// A file that came with a project, perhaps a foreign one.
pub(super) const PROJECT_SETTINGS: &str = "./.claude/settings.local.json";

fn read(path: &Path) -> Result<Option<Value>, &'static str> {
    let text = match regular::read(path, payload::CREDENTIALS_FILE, Links::Followed) {
        Ok(text) => text,
        Err(Unread::TooLarge) => return Err("it is larger than 1 MiB"),
        Err(Unread::Failed(error)) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(Unread::Failed(_)) => return Err("it cannot be read"),
        Err(Unread::NoFile | Unread::Link) => return Err("it is no file"),
    };
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text);
    serde_json::from_slice(text).map(Some).map_err(|_| "it is not valid JSON")
}

/// Values that are not text, or say nothing, count as absent.
fn interpret(place: &'static str, content: &Value) -> Credentials {
    let text = |value: &Value| value.as_str().map(str::trim).filter(|text| says_something(text)).map(str::to_owned);
    let (api_key, base_url) = match content.get("env") {
        Some(variables) => (&variables[env::API_KEY], &variables[env::API_BASE_URL]),
        None => (&content["api_key"], &content["base_url"]),
    };
    Credentials { place, api_key: text(api_key), base_url: text(base_url) }
}
