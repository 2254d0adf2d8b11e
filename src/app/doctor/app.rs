//! The App: whether it can be reached and answers as an App does.

use std::time::Duration;

use super::report::{Check, Group};
use crate::{
    config::{Doctor, OuterProxy},
    source::{
        AppStatus,
        app::{AppError, Probe, REFUSED, UNKNOWN_NAME},
    },
};

/// People notice.
const SLOW: Duration = Duration::from_secs(3);

/// Of the App that was asked.
pub(super) fn checks(doctor: &Doctor, probe: &Probe) -> Vec<Check> {
    let Probe { servers, date: _, took } = probe;
    let url = doctor.account.base_url.as_str().trim_end_matches('/');
    let check = match servers {
        // What it says of the key is another matter.
        Ok(_) | Err(AppError::Unauthorized | AppError::Rejected { status: 403, .. }) if *took < SLOW => {
            Check::ok(Group::App, "answer", format!("{url} answers"))
        }
        Ok(_) | Err(AppError::Unauthorized | AppError::Rejected { status: 403, .. }) => {
            Check::warn(Group::App, "answer", format!("{url} answers slowly")).hint("look at the network, or at the App's own load")
        }
        Err(error) => Check::fail(Group::App, "answer", format!("{url}: {error}")).hint(hint(error, doctor.outer_proxy)),
    };
    let left_out = servers.iter().flat_map(|(_, warnings)| warnings);
    let left_out = left_out.map(|warning| Check::warn(Group::App, "servers", warning).hint("mend its entry in the App"));
    std::iter::once(check.took(*took)).chain(left_out).chain(outer_proxy(doctor.outer_proxy, servers.is_ok())).collect()
}

/// What it has failed at since it answered.
pub(super) fn lists(probe: &Probe, status: &AppStatus) -> Option<Check> {
    match status {
        AppStatus::Away { message } | AppStatus::Refused { message } if probe.servers.is_ok() => {
            let hint = "servers may be missing below; look into the App's own log";
            Some(Check::warn(Group::App, "lists", message).hint(hint))
        }
        AppStatus::Unset | AppStatus::Loading | AppStatus::Current | AppStatus::Away { .. } | AppStatus::Refused { .. } => None,
    }
}

/// Of one that is not.
pub(super) fn not_asked(doctor: &Doctor) -> Check {
    const ANSWER: &str = "answer";
    if !doctor.starts() {
        return Check::warn(Group::App, ANSWER, "it is not asked before key and settings are right");
    }
    if doctor.keys_of_clients {
        return Check::ok(Group::App, ANSWER, "it is not asked: with `--auth per-client` each client brings its own key");
    }
    Check::ok(Group::App, ANSWER, "it is not asked: there is no key")
}

fn outer_proxy(outer: OuterProxy, works: bool) -> Option<Check> {
    const PROXY: &str = "proxy";
    match outer {
        OuterProxy::Used => Some(Check::ok(Group::App, PROXY, "requests go through the HTTP proxy of `--egress-proxy`")),
        // Where it goes without, nobody needs to know.
        OuterProxy::Ignored(name) if !works => Some(
            Check::warn(Group::App, PROXY, format!("`{name}` names an HTTP proxy, and is not used")).hint("name it with `--egress-proxy`"),
        ),
        OuterProxy::Ignored(_) | OuterProxy::None => None,
    }
}

fn hint(error: &AppError, outer: OuterProxy) -> &'static str {
    match error {
        AppError::Network { .. } if outer == OuterProxy::Used => {
            "see that the proxy of `--egress-proxy` runs and lets requests to the App pass"
        }
        AppError::Network { what: UNKNOWN_NAME } => {
            "check the host name of `--pluggedin-api-base-url`, and that this machine has a name server"
        }
        AppError::Network { what: REFUSED } => "nothing listens there: start the App, or check host and port of `--pluggedin-api-base-url`",
        AppError::Tls(tls) => tls.hint(),
        AppError::Network { .. } => "check the network, and whether the address opens in a browser on this machine",
        AppError::RateLimited { .. } => "wait; other programs with this key or address ask the App, too",
        AppError::Failing { .. } => "look into the App's own log, or try again later",
        AppError::Redirected { .. } => "set `--pluggedin-api-base-url` to that address, if you trust it",
        AppError::Unreadable { .. } | AppError::TooOld | AppError::NotFound { .. } => {
            "check `--pluggedin-api-base-url`: a page to sign in to a network, or another program, may answer there"
        }
        AppError::Unauthorized | AppError::Unconfigured | AppError::Origin | AppError::Rejected { .. } | AppError::Refused(_) => {
            "check `--pluggedin-api-base-url`, and the App's own log"
        }
    }
}
