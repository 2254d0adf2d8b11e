//! `pluggedin-mcp-proxy call NAME [JSON]`: one tool call from the command line, by
//! the same path as a client's.

use std::{io::IsTerminal, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::{
    App,
    terminal::{self, to_stderr, to_stdout},
    tools,
};
use crate::{
    catalog::Owner,
    protocol::{
        declared::Declared,
        error::ErrorObject,
        log_level::Verbosity,
        message::{Frame, Id, Message},
    },
    router::{AskError, ClientPeer, Ctx, Report, SessionPeer},
    security::rate_limit::Allowance,
};

/// Calls the tool and prints its result. True if it succeeded.
pub async fn run(app: &App, name: &str, arguments: Option<&str>, as_json: bool) -> bool {
    let arguments: Value = match serde_json::from_str(arguments.unwrap_or("{}")) {
        Ok(arguments) => arguments,
        Err(error) => {
            to_stderr(&format!(
                "error: the arguments are not JSON: {error}; hint: quote them for the shell, as in '{{\"message\": \"hi\"}}'"
            ));
            return false;
        }
    };
    // The built-in tools tell how everything is, so they wait for everything.
    tools::watch(app, |catalog| matches!(catalog.tool(name), Ok(Some(tool)) if tool.owner != Owner::Builtin)).await;
    let spinner = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    spinner.set_message(terminal::cell(name));
    spinner.enable_steady_tick(Duration::from_millis(100));
    let params = json!({ "name": name, "arguments": arguments, "_meta": { "progressToken": 1 } });
    let id = Id::number(1);
    let request = Frame::request(&id, "tools/call", Some(&params.to_string())).into_bytes();
    let request = Message::parse(&request).expect("the request was made of JSON");
    let terminal = Arc::new(Terminal(spinner.clone()));
    let ctx = Ctx { session: Arc::clone(&terminal) as _, client: terminal };
    let outcome = app.workspace.router.call_tool(&ctx, &request).await;
    spinner.finish_and_clear();
    let response: Value = match outcome {
        Ok(answer) => serde_json::from_slice(&answer.into_frame(&id).into_bytes()).unwrap_or_default(),
        Err(error) => json!({ "error": ErrorObject::new(0, error.to_string()).to_json() }),
    };
    print(&response, as_json)
}

fn print(response: &Value, as_json: bool) -> bool {
    if let Some(error) = response.get("error") {
        to_stderr(&format!("error: {}", error["message"].as_str().unwrap_or("the server gave no message")));
        return false;
    }
    let result = &response["result"];
    let text = if as_json { terminal::json(result) } else { terminal::result(readable(result)) };
    to_stdout(&text);
    result["isError"] != true
}

/// The text of a result; other content is named.
fn readable(result: &Value) -> String {
    let blocks = result["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    let lines: Vec<String> = blocks
        .iter()
        .map(|block| match block["text"].as_str() {
            Some(text) => text.to_owned(),
            None => format!("[{} {}]", block["type"].as_str().unwrap_or("content"), block["mimeType"].as_str().unwrap_or_default()),
        })
        .collect();
    if lines.is_empty() { terminal::json(result) } else { lines.join("\n") }
}

/// Progress of the call as the spinner's text.
#[derive(Debug)]
struct Terminal(ProgressBar);

impl ClientPeer for Terminal {
    fn notify(&self, frame: Frame) -> BoxFuture<'_, ()> {
        let message: Value = serde_json::from_slice(&frame.into_bytes()).unwrap_or_default();
        let params = &message["params"];
        let said = terminal::cell(params["message"].as_str().unwrap_or_default());
        self.0.set_message(format!(
            "{} of {} {said}",
            terminal::cell(&params["progress"].to_string()),
            terminal::cell(&params["total"].to_string())
        ));
        Box::pin(std::future::ready(()))
    }

    fn ask(&self, _: &Message, _: Option<Arc<dyn Report>>) -> BoxFuture<'_, Result<Message, AskError>> {
        Box::pin(std::future::ready(Err(AskError::Unsupported)))
    }
}

/// The whole process is one call.
impl SessionPeer for Terminal {
    fn number(&self) -> u64 {
        1
    }

    fn declared(&self) -> Arc<Declared> {
        Arc::new(Declared::nothing())
    }

    fn announce(&self, _: Frame) {}

    fn verbosity(&self) -> Verbosity {
        Verbosity::All
    }

    fn allowance(&self) -> &Allowance {
        &Allowance::Unlimited
    }
}
