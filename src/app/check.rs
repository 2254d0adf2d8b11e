//! `pluggedin-mcp-proxy check`: what the security rules say of a URL, a command line, a header or a file of variables. Takes the
//! options of serving, starts nothing, and connects to nothing but the name server.

use std::{fs, time::Duration};

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::terminal::{to_stderr, to_stdout};
use crate::{
    config::{Asked, Check},
    security::{
        Refusal,
        check::{Case, Rules, Verdict},
        dotenv,
        egress::{self, AllowedUrl, Unresolved},
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
    let (verdict, note) = match &check.asked {
        Asked::Batch => return batch::run(rules, std::io::stdin().lock()),
        Asked::Case(case) => judge(rules, case).await,
        Asked::EnvFile(path) => match fs::read(path) {
            Ok(content) => (dotenv::read(&content).map_or_else(Verdict::Refused, Verdict::Variables), None),
            Err(error) => {
                to_stderr(&format!("error: `{}` cannot be read: {}", path.display(), error.kind()));
                return Outcome::Misused;
            }
        },
    };
    let note = note.as_deref();
    to_stdout(&if check.json { decision(&verdict, note).to_string() } else { to_text(&verdict, note) });
    match verdict {
        Verdict::Allowed | Verdict::Variables(_) => Outcome::Allowed,
        Verdict::Refused(_) => Outcome::Refused,
    }
}

/// The verdict of the rules, and what this machine adds to it.
async fn judge(rules: Rules<'_>, case: &Case) -> (Verdict, Option<String>) {
    let verdict = rules.judge(case);
    if verdict != Verdict::Allowed {
        return (verdict, None);
    }
    match case {
        Case::Url { url, source } => match rules.egress.allow((*source).into(), url) {
            Ok(url) => look_up(rules.egress, &url).await,
            Err(refusal) => (Verdict::Refused(refusal), None),
        },
        Case::Command { command, args, env: _, source } => {
            let here = rules.commands.allow((*source).into(), command, args, &IndexMap::new(), None);
            (verdict, Some(here.map_or_else(|refusal| refusal.to_string(), |allowed| format!("it is {}", allowed.program().display()))))
        }
        Case::Header { .. } | Case::EnvFile { .. } => (verdict, None),
    }
}

/// Where the name leads at this moment. It is asked again at every connection.
async fn look_up(egress: &egress::Policy, url: &AllowedUrl) -> (Verdict, Option<String>) {
    match tokio::time::timeout(LOOKUP, egress.resolve(url)).await {
        Ok(Ok(_)) => (Verdict::Allowed, None),
        Ok(Err(Unresolved::Refused(refusal))) => (Verdict::Refused(refusal), None),
        Ok(Err(Unresolved::Unknown)) | Err(_) => {
            (Verdict::Allowed, Some("the name was not found from here; the address is judged when it is connected to".to_owned()))
        }
    }
}

fn to_text(verdict: &Verdict, note: Option<&str>) -> String {
    let note = note.map(|note| format!("\nnote: {note}")).unwrap_or_default();
    match verdict {
        Verdict::Allowed => format!("allowed{note}"),
        Verdict::Refused(Refusal { rule, what, hint }) => format!("refused: {what}\nrule: {}\nhint: {hint}{note}", rule.name()),
        // SECURITY: names only. Who wants the values on a terminal asks for JSON.
        Verdict::Variables(values) => {
            let names: Vec<_> = values.keys().map(|name| format!("\n{name}")).collect();
            format!("allowed{}", names.concat())
        }
    }
}

/// Of one case: the decision, its rule and hint, whatever was asked.
fn decision(verdict: &Verdict, note: Option<&str>) -> Value {
    let mut json = to_json(verdict, note);
    if let Verdict::Variables(_) = verdict {
        json["allowed"] = true.into();
        json["rule"] = Value::Null;
        json["hint"] = Value::Null;
    }
    json
}

/// A line of a batch.
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
