//! The API key: where it was found, never what it is, and whether the App accepts it.

use super::report::{Check, Group, Status};
use crate::{
    config::Doctor,
    source::app::{AppError, Probe, api_keys},
};

/// `has_file` tells whether there are other servers than the App's.
pub(super) fn checks(doctor: &Doctor, has_file: bool, probe: Option<&Probe>) -> Vec<Check> {
    let keys = &doctor.keys;
    let form = |status, sentence: &String| Check::new(Group::Key, "form", status, sentence).hint(get_one(doctor));
    let mut checks: Vec<_> = keys.operators.iter().map(|sentence| form(Status::Fail, sentence)).collect();
    checks.extend(keys.of_files.iter().map(|sentence| form(Status::Warn, sentence)));
    if let Some(name) = keys.unfilled {
        let sentence = format!("`{name}` holds a placeholder that nobody has filled in, and counts as not set");
        let hint = format!("set `{name}` where your client is started, or write the key into its configuration");
        checks.push(Check::warn(Group::Key, "form", sentence).hint(hint));
    }
    checks.extend(place(doctor, has_file));
    checks.extend(probe.and_then(|probe| accepted(doctor, probe)));
    checks
}

fn place(doctor: &Doctor, has_file: bool) -> Option<Check> {
    const PLACE: &str = "place";
    if doctor.keys_of_clients {
        return Some(Check::ok(Group::Key, PLACE, "with `--auth per-client` each client brings its own"));
    }
    if let Some(place) = &doctor.account.key {
        return Some(Check::ok(Group::Key, PLACE, format!("it comes from {}", place_name(place))));
    }
    if !doctor.keys.operators.is_empty() {
        return None;
    }
    if has_file {
        return Some(Check::ok(Group::Key, PLACE, "there is none; the servers of the file need none"));
    }
    Some(
        Check::fail(Group::Key, PLACE, "there is neither an API key nor a file of servers")
            .hint(format!("{}, or name a file with `--config`", get_one(doctor))),
    )
}

/// Places are named as `the key in …` or by the option, the variable, the file.
fn place_name(place: &str) -> &str {
    place.strip_prefix("the key in ").unwrap_or(place)
}

fn get_one(doctor: &Doctor) -> String {
    let page = api_keys(&doctor.account.base_url);
    format!("run `pluggedin-mcp-proxy login`, or make a key at {page} and set `PLUGGEDIN_API_KEY`")
}

/// `None` where the App could not be asked, which is not the key's fault.
fn accepted(doctor: &Doctor, probe: &Probe) -> Option<Check> {
    const ACCEPTED: &str = "accepted";
    let refused = |how: &str| {
        let sentence = format!("the App at {} refused it ({how})", doctor.account.base_url);
        let hint = format!(
            "make a new one at {}, and see that `--pluggedin-api-base-url` is the App that made it",
            api_keys(&doctor.account.base_url)
        );
        Some(Check::fail(Group::Key, ACCEPTED, sentence).hint(hint))
    };
    match &probe.servers {
        Ok((1, _)) => Some(Check::ok(Group::Key, ACCEPTED, "the App accepts it; its workspace has 1 server")),
        Ok((count, _)) => Some(Check::ok(Group::Key, ACCEPTED, format!("the App accepts it; its workspace has {count} servers"))),
        Err(AppError::Unauthorized) => refused("HTTP 401"),
        Err(AppError::Rejected { status: 403, .. }) => refused("HTTP 403"),
        Err(_) => None,
    }
}
