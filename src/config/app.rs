//! The App's address and the proxy's own key: where they come from, and which belong together.

use std::{path::Path, sync::Arc, time::Duration};

use url::Url;

use super::{Given, Settings, bounded, cli::AppOptions, defaults, egress::plain_http, env, file, settings::some_time};
use crate::{
    secret::Secret,
    security::{
        Rule,
        egress::{self, Policy},
        token,
    },
    source,
};

/// Whose keys the App is asked with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Keys {
    #[default]
    Own,
    OfClients,
}

/// How the App is asked.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    pub(super) keys: Keys,
    /// Plain `http` to a public host is what the operator wants.
    pub(super) plain_http: bool,
    pub(super) egress: &'a Arc<Policy>,
}

/// What comes of it.
pub(super) struct AppAddress {
    /// That the operator names, or the default one.
    pub(super) app_base_url: Url,
    /// What the App takes for its own origin, where that is said.
    pub(super) app_origin: Option<String>,
    /// With the proxy's own key, if there is one.
    pub(super) app: Option<source::app::Config>,
}

/// A key has 256 bytes at most, and may end in a line break or two.
const MAX_KEY_FILE: usize = 1024;

impl Settings<'_> {
    /// The key that the operator gives, as text or in a file of its own. Of two, the one by option counts, then the text.
    fn key(&mut self, (key, file): (Option<String>, Option<String>)) -> Option<Given> {
        let by_option = |name: &str, value: Option<String>| {
            let text = value.map(|text| text.trim().to_owned()).filter(|text| env::says_something(text))?;
            Some(Given::new(text, format!("`{name}`")))
        };
        if let Some(key) = by_option("--pluggedin-api-key", key) {
            return Some(key);
        }
        if let Some(file) = by_option("--pluggedin-api-key-file", file) {
            return self.key_in(&file);
        }
        if let Some(key) = self.variable(env::API_KEY) {
            return Some(key);
        }
        let file = self.variable(env::API_KEY_FILE)?;
        self.key_in(&file)
    }

    /// A file that cannot be read is a problem: going on without its key, or with another one, is not what was asked for.
    fn key_in(&mut self, file: &Given) -> Option<Given> {
        let Given { text: path, from, in_env_file } = file;
        match bounded(Path::new(path), MAX_KEY_FILE).map(String::from_utf8) {
            Ok(Ok(text)) => {
                let key = Given::new(text.trim(), format!("the key in `{path}` of {from}"));
                Some(Given { in_env_file: *in_env_file, ..key })
            }
            Ok(Err(_)) => {
                self.problem(format!("{from}: `{path}` is not UTF-8 text"));
                None
            }
            Err(error) => {
                self.problem(format!("{from}: `{path}` cannot be read: {}", error.kind()));
                None
            }
        }
    }

    /// The address that the operator names, or the default one; and the App with the proxy's own key, if there is one.
    ///
    /// SECURITY: a key is sent only where its owner wants it. Options and environment are the operator's word; the env file
    /// and each credentials file are levels of their own. The address comes from the key's level or from the operator, so no
    /// file, and least of all one that lies in a project, can redirect another's key (threat model T18).
    /// Clients' keys go where the operator says; the proxy's own is not at hand then.
    pub(super) fn app(&mut self, options: AppOptions, asking: &Asking<'_>) -> AppAddress {
        let AppOptions { pluggedin_api_key, pluggedin_api_key_file, pluggedin_api_base_url, app_origin } = options;
        let key = self.key((pluggedin_api_key, pluggedin_api_key_file));
        let app_origin = self.app_origin(app_origin);
        let base_url = self.option("--pluggedin-api-base-url", pluggedin_api_base_url, env::API_BASE_URL);
        let key_is_elsewhere = asking.keys == Keys::Own && !key.as_ref().is_some_and(|key| key.in_env_file);
        let base_url = match base_url {
            Some(Given { from, in_env_file: true, .. }) if key_is_elsewhere => {
                self.warn(format!("{from} is ignored, because the API key comes from elsewhere"));
                None
            }
            base_url => base_url,
        };
        let operators = base_url.map(|given| {
            let from = given.from.clone();
            (self.parse(Some(given), default_base_url(), parse_base_url), from)
        });
        let operators_url = operators.as_ref().map(|(url, _)| url.clone());
        self.found.keys = asking.keys;
        self.found.plain_http = asking.plain_http;
        self.found.operators.clone_from(&operators);
        self.found.operators_key = key.as_ref().map(|key| key.from.clone());
        let app = match asking.keys {
            Keys::Own => self.own_app(key, operators_url.clone(), asking.egress),
            Keys::OfClients => {
                if let Some(Given { from, .. }) = key {
                    self.warn(format!("{from} is not used: with `--auth per-client` each client brings a key"));
                }
                None
            }
        };
        if let Some((url, from)) = &operators
            && (app.is_some() || asking.keys == Keys::OfClients)
        {
            self.judge_plain_http(url, from, asking.plain_http);
        }
        AppAddress {
            app_base_url: operators_url.unwrap_or_else(default_base_url),
            app: app.map(|app| source::app::Config { origin: app_origin.clone(), ..app }),
            app_origin,
        }
    }

    pub(super) fn refresh_interval(&mut self, option: Option<String>) -> Duration {
        let given = self.option("--refresh-interval", option, env::REFRESH_INTERVAL);
        self.parse(given, defaults::REFRESH_INTERVAL, some_time)
    }

    /// Whether and where the App's servers are kept between runs.
    pub(super) fn kept(
        &mut self,
        option: bool,
        keys: Keys,
        app: Option<&source::app::Config>,
        serves: bool,
    ) -> Option<source::kept::Config> {
        let keep = option || self.switch(env::CACHE_SERVERS);
        let cache_dir = self.environment.cache_dir();
        if keep && cache_dir.is_none() {
            self.problem("`--cache-servers` needs a directory to keep them in; hint: set `HOME` or `XDG_CACHE_HOME`");
        }
        if keep && keys == Keys::OfClients {
            self.warn("`--cache-servers` keeps nothing with `--auth per-client`: a client is let in only when the App knows its key");
        }
        // Only who serves takes away what an earlier run has kept.
        let path = source::kept::path(&cache_dir?, app?);
        (keep || serves).then_some(source::kept::Config { path, keep })
    }

    /// The origin that the App takes for its own.
    fn app_origin(&mut self, option: Option<String>) -> Option<String> {
        let given = self.option("--app-origin", option, env::APP_ORIGIN);
        self.parse(given, None, |text| {
            let url = parse_base_url(text)?;
            if url.path() == "/" {
                Ok(Some(url.origin().ascii_serialization()))
            } else {
                Err("must be scheme, host and port alone".to_owned())
            }
        })
    }

    fn own_app(&mut self, key: Option<Given>, operators: Option<Url>, egress: &Arc<Policy>) -> Option<source::app::Config> {
        let (files, warnings) = file::credentials(self.environment);
        self.problems.warnings.extend(warnings);

        let (key, own_url, place) = match key {
            Some(Given { text, from, in_env_file: _ }) => match token::api_key(text.trim()) {
                Ok(key) => (key, None, None),
                Err(why) => {
                    let problem = format!("{from} {why}");
                    self.found.bad_keys.operators.push(problem.clone());
                    self.problem(problem);
                    return None;
                }
            },
            None => files.iter().find_map(|file| self.file_key(file))?,
        };
        if place == Some(file::PROJECT_SETTINGS) {
            self.key_is_of_project = true;
            self.warn(format!(
                "the API key of the working directory, in `{}`, is used; unless `--stdio-servers on` is given, its STDIO servers are not started",
                file::PROJECT_SETTINGS
            ));
        }
        let operator_says = operators.is_some();
        let base_url = operators.or(own_url).unwrap_or_else(default_base_url);
        for file in files.iter().filter(|file| !operator_says && Some(file.place) != place) {
            if file.base_url.as_deref().is_some_and(|url| parse_base_url(url).as_ref() != Ok(&base_url)) {
                self.warn(format!("the base URL in `{}` is ignored, because the API key comes from elsewhere", file.place));
            }
        }
        let from = place.map(|place| format!("`{place}`")).or_else(|| self.found.operators_key.clone());
        self.found.key = from.map(|from| (from, base_url.clone()));
        Some(source::app::Config { base_url, key, rate: None, origin: None, egress: Arc::clone(egress) })
    }

    fn pass_over(&mut self, why: String) {
        self.found.bad_keys.of_files.push(why.clone());
        self.warn(why);
    }

    /// The key of a file with the file's own base URL, if both can be used.
    fn file_key(&mut self, file: &file::Credentials) -> Option<(Secret, Option<Url>, Option<&'static str>)> {
        let key = match token::api_key(file.api_key.as_deref()?.trim()) {
            Ok(key) => key,
            Err(why) => {
                self.pass_over(format!("the API key in `{}` is ignored: it {why}", file.place));
                return None;
            }
        };
        // SECURITY: a file forces nothing, so that plain `http` to a public host stays refused here.
        let secure = |url: Url| plain_http(&url).map(|()| url);
        match file.base_url.as_deref().map(|url| parse_base_url(url).and_then(secure)).transpose() {
            Ok(base_url) => Some((key, base_url, Some(file.place))),
            Err(why) => {
                // Its key is for another App than the default one.
                self.pass_over(format!("the API key in `{}` is ignored: the base URL beside it {why}", file.place));
                None
            }
        }
    }
}

pub(super) fn default_base_url() -> Url {
    Url::parse(defaults::BASE_URL).expect("the default is a URL")
}

/// SECURITY: refused rather than repaired, because a repaired address is another
/// address. Never shows the text, which may hold a password.
pub(super) fn parse_base_url(text: &str) -> Result<Url, String> {
    let text = text.trim();
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("holds a blank or control character".to_owned());
    }
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        return Err("must begin with `http://` or `https://`".to_owned());
    }
    let mut url = egress::parse(text).map_err(|refusal| match refusal.rule {
        Rule::Userinfo => "holds a user name or password, which does not belong there".to_owned(),
        _ => format!("cannot be used: {}", refusal.what),
    })?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("holds `?` or `#`; only scheme, host, port and a path are allowed".to_owned());
    }
    if egress::is_metadata(&url) {
        return Err("is an address of a cloud metadata service".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}
