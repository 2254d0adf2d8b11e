//! `pluggedin-mcp-proxy check`: what the security rules say of a URL, a command line, a header or a file of variables. Takes the
//! options of serving, starts nothing, and connects to nothing but the name server.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::call::{to_stderr, to_stdout};
use crate::{
    config::{Asked, Check},
    security::{
        Refusal, command, dotenv, egress,
        check::{Case, Rules, Verdict},
    },
};

mod batch;

/// How long the name server may take. Whether a name leads to an allowed address is asked again at every connection.
const LOOKUP: Duration = Duration::from_secs(3);

/// How a check ends, as its exit code tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Allowed,
    Refused,
    Misused,
}

impl Outcome {
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Allowed => 0,
            Self::Refused => 1,
            Self::Misused => 2,
        }
    }
}

/// Judges what was asked, and prints it.
pub async fn run(check: &Check, rules: Rules<'_>) -> Outcome {
    let case = match &check.asked {
        Asked::Batch => return batch::run(rules, std::io::stdin().lock()),
        Asked::Case(case) => case.clone(),
        Asked::EnvFile(path) => match read(path) {
            Ok(case) => case,
            Err(outcome) => return outcome,
        },
    };
    let (verdict, note) = judge(rules, &case).await;
    let text = if check.json { to_json(&verdict, note.as_deref()).to_string() } else { to_text(&verdict, note.as_deref()) };
    to_stdout(&text);
    match verdict {
        Verdict::Allowed | Verdict::Variables(_) => Outcome::Allowed,
        Verdict::Refused(_) => Outcome::Refused,
    }
}

/// The verdict of the rules, and what could be found out beyond them.
async fn judge(rules: Rules<'_>, case: &Case) -> (Verdict, Option<String>) {
    match (rules.judge(case), case) {
        (Verdict::Allowed, Case::Url { url, source }) => look_up(rules.egress, url, (*source).into()).await,
        (Verdict::Allowed, Case::Command { command, .. }) => (Verdict::Allowed, Some(resolved(rules.commands, command))),
        (verdict, _) => (verdict, None),
    }
}

/// Where the name leads at this moment.
async fn look_up(egress: &egress::Policy, url: &str, author: Author) -> (Verdict, Option<String>) {
    let url = egress.allow(author, url).expect("it was allowed a moment ago");
    match tokio::time::timeout(LOOKUP, egress.resolve(&url)).await {
        Ok(Ok(_)) => (Verdict::Allowed, None),
        Ok(Err(refusal)) => (Verdict::Refused(refusal), None),
        Err(_) => (Verdict::Allowed, Some("the name was not looked up in time; its address is judged when it is connected to".to_owned())),
    }
}

fn read(path: &Path) -> Result<Case, Outcome> {
    dotenv::read(path).map(|text| Case::EnvFile { text }).map_err(|refusal| {
        to_stderr(&format!("error: {refusal}"));
        Outcome::Misused
    })
}

fn to_text(verdict: &Verdict, note: Option<&str>) -> String {
    let note = note.map(|note| format!("\nnote: {note}")).unwrap_or_default();
    match verdict {
        Verdict::Allowed => format!("allowed{note}"),
        Verdict::Refused(Refusal { rule, what, hint }) => format!("refused: {what}\nrule: {}\nhint: {hint}{note}", rule.name()),
        // SECURITY: names only. Who wants the values on a terminal asks for JSON.
        Verdict::Variables(values) => {
            let names: Vec<_> = values.keys().map(|name| format!("\n{name}")).collect();
            format!("{} variables{}", values.len(), names.concat())
        }
    }
}

fn to_json(verdict: &Verdict, note: Option<&str>) -> Value {
    let mut json = match verdict {
        Verdict::Allowed => json!({ "allowed": true, "rule": null, "hint": null }),
        Verdict::Refused(Refusal { rule, what, hint }) => json!({ "allowed": false, "rule": rule.name(), "hint": hint, "reason": what }),
        Verdict::Variables(values) => json!({ "values": values }),
    };
    if let Some(note) = note {
        json["note"] = note.into();
    }
    json
}
