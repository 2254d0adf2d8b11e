//! What `doctor` is told. Mistakes in settings, which stop every other command, are what it is there to show.

use std::{path::PathBuf, time::Duration};

use url::Url;

use super::{Account, Command, Given, Parts, Problems, Settings, account::Found, app::Keys, defaults, env, settings::some_time};
use crate::front::http;

/// What the command `doctor` needs to know beside the parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doctor {
    pub json: bool,
    /// How long each server may take in all.
    pub patience: Duration,
    pub account: Account,
    /// Sentences about keys that cannot be used.
    pub keys: BadKeys,
    /// Clients bring keys of their own.
    pub keys_of_clients: bool,
    pub listens: Listens,
    pub outer_proxy: OuterProxy,
    /// Where the person's own programs are looked for.
    pub home: Option<PathBuf>,
    /// With any of them the proxy does not start.
    pub problems: Vec<String>,
    pub warnings: Vec<String>,
}

/// Why keys that stand somewhere do not count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BadKeys {
    /// That the operator gives.
    pub operators: Vec<String>,
    /// Of files, which are passed over.
    pub of_files: Vec<String>,
    /// The variable that a client has not filled in.
    pub unfilled: Option<&'static str>,
}

/// Where HTTP clients would reach the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listens {
    pub host: String,
    pub port: u16,
    /// Where a proxy that is there tells of itself; absent where any port will do.
    pub health: Option<Url>,
    /// False over stdio.
    pub is_used: bool,
}

/// An HTTP proxy between this machine and the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OuterProxy {
    None,
    Used,
    /// This variable names one and is not heeded.
    Ignored(&'static str),
}

/// What other programs heed.
const PROXY_VARIABLES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"];

impl Settings<'_> {
    /// What was found wrong is filled in at the end: see [`Settings::conclude`].
    pub(super) fn doctor(&mut self, json: bool, timeout: Option<String>, front: &http::Config) -> Doctor {
        let timeout = timeout.map(|text| Given::new(text, "`--timeout`"));
        Doctor {
            json,
            patience: self.parse(timeout, defaults::DOCTOR_PATIENCE, some_time),
            account: self.account(),
            keys: BadKeys::default(),
            keys_of_clients: self.found.keys == Keys::OfClients,
            listens: Listens {
                host: front.host.clone(),
                port: front.port,
                health: (front.port != 0).then(|| self.health_url(None, front)),
                is_used: self.found.over_http,
            },
            outer_proxy: self.outer_proxy(),
            home: self.environment.home.clone(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Gives what is to be told before anything is done; for the doctor that is part of what it tells, each sentence once.
    pub(super) fn conclude(mut self, command: &mut Command, parts: &mut Parts) -> Problems {
        self.check_depth();
        let Command::Doctor(doctor) = command else { return self.problems };
        let Self { environment, found: Found { bad_keys, .. }, problems: Problems { problems, warnings }, .. } = self;
        doctor.problems = problems.into_iter().filter(|problem| !bad_keys.operators.contains(problem)).collect();
        doctor.warnings = warnings.into_iter().filter(|warning| !bad_keys.of_files.contains(warning)).collect();
        let is_set = environment.variables.get(env::API_KEY).is_some_and(|text| !text.trim().is_empty());
        let unfilled = (is_set && environment.get(env::API_KEY).is_none()).then_some(env::API_KEY);
        doctor.keys = BadKeys { unfilled, ..bad_keys };
        if !doctor.starts() {
            // SECURITY: where settings are wrong, nobody knows where the key may go.
            parts.source.app = None;
        }
        Problems::default()
    }

    fn outer_proxy(&self) -> OuterProxy {
        if self.found.outer_proxy {
            return OuterProxy::Used;
        }
        let ignored = PROXY_VARIABLES.into_iter().find(|name| self.environment.get(name).is_some());
        ignored.map_or(OuterProxy::None, OuterProxy::Ignored)
    }
}

impl Doctor {
    /// Whether the proxy would start.
    pub fn starts(&self) -> bool {
        self.problems.is_empty() && self.keys.operators.is_empty()
    }
}
