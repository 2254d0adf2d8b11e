//! What the commands `login`, `logout` and `whoami` need to know: where keys stand, and which App they are for.

use std::path::PathBuf;

use url::Url;

use super::{
    BadKeys, Settings,
    app::{Keys, default_base_url, parse_base_url},
    defaults,
    egress::plain_http,
    file,
};

/// The proxy's own key, as far as settings go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user's credentials file, be it there or not.
    pub file: PathBuf,
    /// The App that a key is or would be for.
    pub base_url: Url,
    /// Where the key stands that counts.
    pub key: Option<String>,
    /// A place that counts before the file, and holds a key.
    pub stronger: Option<String>,
    /// The same of those that count after it.
    pub weaker: Vec<String>,
}

impl Account {
    /// Nobody needs to write its address down.
    pub fn is_default(&self) -> bool {
        self.base_url.as_str().trim_end_matches('/') == defaults::BASE_URL
    }
}

/// What was found while the App's own settings were read.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The address that the operator names, and how.
    pub(super) operators: Option<(Url, String)>,
    /// Where the operator's key comes from, good or bad.
    pub(super) operators_key: Option<String>,
    /// Where the key comes from that counts, and its App.
    pub(super) key: Option<(String, Url)>,
    /// Plain `http` to a public host is what the operator wants.
    pub(super) plain_http: bool,
    /// Clients use HTTP.
    pub(super) over_http: bool,
    pub(super) keys: Keys,
    /// The operator names an HTTP proxy.
    pub(super) outer_proxy: bool,
    /// What is wrong with keys, as it stands among the problems and warnings.
    pub(super) bad_keys: BadKeys,
}

impl Settings<'_> {
    /// For `login`, which goes to the address that the operator names, or else that of the file that will hold the key.
    pub(super) fn login(&mut self) -> Account {
        let Found { operators, key, plain_http: allowed, .. } = &self.found;
        let (allowed, has_key) = (*allowed, key.is_some());
        let base_url = if let Some((url, from)) = operators.clone() {
            // With a key it has been judged already.
            if !has_key {
                self.judge_plain_http(&url, &from, allowed);
            }
            url
        } else {
            self.base_url_of_file()
        };
        Account { base_url, ..self.logout() }
    }

    pub(super) fn logout(&mut self) -> Account {
        if file::path(self.environment).is_none() {
            self.problem("there is no directory for the credentials file; hint: set `HOME` or `XDG_CONFIG_HOME`");
        }
        self.account()
    }

    /// For `whoami`, which does not need the file.
    pub(super) fn account(&self) -> Account {
        let (files, _) = file::credentials(self.environment);
        let others = files.iter().filter(|file| file.place != file::CREDENTIALS && file.api_key.is_some());
        let Found { operators, operators_key, key, .. } = &self.found;
        let named = operators.as_ref().map(|(url, _)| url.clone());
        Account {
            file: file::path(self.environment).unwrap_or_default(),
            base_url: key.as_ref().map(|(_, url)| url.clone()).or(named).unwrap_or_else(default_base_url),
            key: key.as_ref().map(|(from, _)| from.clone()),
            stronger: operators_key.clone(),
            weaker: others.map(|file| format!("`{}`", file.place)).collect(),
        }
    }

    /// SECURITY: as for its key, plain `http` to a public host stays refused.
    fn base_url_of_file(&mut self) -> Url {
        let (files, _) = file::credentials(self.environment);
        let own = files.into_iter().find(|file| file.place == file::CREDENTIALS).and_then(|file| file.base_url);
        let secure = |url: Url| plain_http(&url).map(|()| url);
        match own.map(|text| parse_base_url(&text).and_then(secure)).transpose() {
            Ok(url) => url.unwrap_or_else(default_base_url),
            Err(why) => {
                self.problem(format!("the base URL in `{}` {why}; hint: name another with `--pluggedin-api-base-url`", file::CREDENTIALS));
                default_base_url()
            }
        }
    }
}
