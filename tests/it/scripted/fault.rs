//! Faults that happen in the middle of something: `--fault METHOD=KIND[:ARG]` for each request of a method, and the tool
//! `fault` with such a `kind` for one call.
//!
//! Those of a process or of the text of an answer are the same on every wire; those of HTTP replace the response.

use super::http::{EVENTS, Host, broken};
use super::session::{Call, Outgoing, Reply, parse};
use super::{Script, Wire};
use axum::body::{Body, Bytes};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Bytes of a flood that are sent at once.
const WAVE: usize = 64 * 1024;
/// How many pieces an answer that drips has.
const DROPS: usize = 20;

impl Script {
    /// What is to go wrong with a request.
    pub(crate) fn fault(&self, method: &str, params: &Value) -> Option<String> {
        if method == "tools/call" && params["name"] == "fault" {
            return params["arguments"]["kind"].as_str().map(str::to_owned);
        }
        if self.fault_while.as_ref().is_some_and(|file| !file.exists()) {
            return None;
        }
        let faults = self.faults.iter().filter_map(|fault| fault.split_once('='));
        faults.filter(|(of, _)| *of == method).map(|(_, kind)| kind.to_owned()).next()
    }
}

/// The kind and its argument.
fn split(fault: &str) -> (&str, &str) {
    fault.split_once(':').unwrap_or((fault, ""))
}

fn number(argument: &str, default: u64) -> u64 {
    argument.parse().unwrap_or(default)
}

// On every wire.

impl Call {
    /// How the request ends, if its fault is one of those that every wire has.
    pub(crate) async fn fail(&self, fault: &str) -> Option<Reply> {
        let (kind, argument) = split(fault);
        let answer = || format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[{{"type":"text","text":"all the same"}}]}}}}"#, self.id);
        Some(match kind {
            "silence" => {
                self.cancelled.cancelled().await;
                Reply::Silence
            }
            "break" => Reply::Break,
            // So often, whichever process it is: each leaves a letter in the file of `--fault-while`.
            "breaks" => {
                let file = self.session.server.script.fault_while.as_ref().expect("it is named");
                let mut letters = std::fs::read(file).expect("a file");
                if letters.len() as u64 >= number(argument, 1) {
                    return None;
                }
                letters.push(b'x');
                std::fs::write(file, letters).expect("a file");
                Reply::Break
            }
            // Ends in the middle of the answer, with no sign of it.
            "half" => Reply::Wire(vec![piece(&answer()[..30]), Outgoing::Break]),
            // Says half of it and then nothing.
            "stuck" => Reply::Wire(vec![piece(&answer()[..30]), Outgoing::Pause(Duration::from_secs(3600))]),
            "close" => Reply::Wire(vec![Outgoing::End]),
            "flood" => {
                let wave = Bytes::from(vec![b'x'; WAVE]);
                let waves = usize::try_from(number(argument, 200 << 20)).expect("a test asks for less") / WAVE;
                Reply::Wire(std::iter::repeat_with(|| Outgoing::Bytes(wave.clone())).take(waves).collect())
            }
            "drip" => {
                let (answer, pause) = (self.framed(&answer()), Duration::from_millis(number(argument, 20)));
                let drops =
                    answer.as_bytes().chunks(answer.len().div_ceil(DROPS)).map(|drop| Outgoing::Bytes(Bytes::copy_from_slice(drop)));
                Reply::Wire(drops.flat_map(|drop| [Outgoing::Pause(pause), drop]).collect())
            }
            // Bytes that are no text, and then the answer.
            "binary" => {
                let noise: Vec<u8> = (0..=255).filter(|byte| *byte != b'{').cycle().take(100_000).collect();
                let end: &[u8] = if self.is_stdio() { b"\n" } else { b"\n\n" };
                Reply::Wire(vec![Outgoing::Bytes([&noise, end].concat().into()), Outgoing::Message(answer())])
            }
            "exit" => {
                std::process::exit(i32::try_from(number(argument, 0)).expect("an exit code"));
            }
            "signal" => {
                signal_self(argument);
                // One that goes on after a pause is as it was.
                Reply::Wire(vec![Outgoing::Message(answer())])
            }
            // Answers, and ends as soon as the answer is out.
            "last" => Reply::Wire(vec![Outgoing::Message(answer()), Outgoing::Break]),
            // Leaves somebody behind who holds on to stdout.
            "orphan" => {
                // It outlives us: nobody waits for it.
                let held = Command::new("sleep").arg("60").stdin(Stdio::null()).stderr(Stdio::null()).spawn();
                let _ = held.expect("sleep is everywhere").id();
                Reply::Break
            }
            "stderr" => {
                let line = format!("{}\n", "chatter ".repeat(1000));
                for _ in 0..number(argument, 10 << 20) / 8001 {
                    let _ = std::io::stderr().write_all(line.as_bytes());
                }
                Reply::Wire(vec![Outgoing::Message(answer())])
            }
            _ => return None,
        })
    }

    fn is_stdio(&self) -> bool {
        self.session.server.script.wire == Wire::Stdio
    }

    /// A message as it goes over the wire.
    fn framed(&self, message: &str) -> String {
        let script = &self.session.server.script;
        match script.wire {
            Wire::Stdio => format!("{message}\n"),
            Wire::Http if script.json_answers => message.to_owned(),
            Wire::Http | Wire::Sse => format!("event: message\ndata: {message}\n\n"),
        }
    }
}

fn piece(text: &str) -> Outgoing {
    Outgoing::Bytes(Bytes::copy_from_slice(text.as_bytes()))
}

fn signal_self(signal: &str) {
    let _ = Command::new("kill").args([&format!("-{signal}"), &std::process::id().to_string()]).status();
}

// Of HTTP.

/// The response to a request that is to go wrong, if its fault is one of HTTP.
pub(crate) async fn response(host: &Host, message: &Value) -> Option<Response> {
    let method = message["method"].as_str().unwrap_or_default();
    let fault = host.server.script.fault(method, &message["params"])?;
    let (kind, argument) = split(&fault);
    let answer =
        json!({"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": "all the same"}]}}).to_string();
    let json = [(header::CONTENT_TYPE, "application/json")];
    let status = |default: u16| StatusCode::from_u16(argument.parse().unwrap_or(default)).expect("a status");
    Some(match kind {
        "status" => status(500).into_response(),
        "html" => (status(200), [(header::CONTENT_TYPE, "text/html")], "<!doctype html><title>Welcome</title>").into_response(),
        "later" => (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")]).into_response(),
        "challenge" => (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, r#"Bearer error="invalid_token""#)]).into_response(),
        "gzip-cut" => {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(answer.as_bytes()).expect("a vector takes everything");
            let mut packed = packed.finish().expect("a vector takes everything");
            packed.truncate(packed.len() / 2);
            (json, [(header::CONTENT_ENCODING, "gzip")], packed).into_response()
        }
        "gzip-none" => (json, [(header::CONTENT_ENCODING, "gzip")], answer).into_response(),
        // Says that more will come than does.
        "short" => {
            let more = (answer.len() * 2).to_string();
            (json, [(header::CONTENT_LENGTH, more)], ending(answer)).into_response()
        }
        "half-json" => (json, answer[..answer.len() / 2].to_owned()).into_response(),
        "no-json" => (json, "all the same").into_response(),
        "empty" => (json, "").into_response(),
        "plain" => ([(header::CONTENT_TYPE, "text/plain")], answer).into_response(),
        "events-end" => ([(header::CONTENT_TYPE, EVENTS)], ": bye\n\n").into_response(),
        "half-event" => ([(header::CONTENT_TYPE, EVENTS)], format!("data: {}", &answer[..20])).into_response(),
        "bad-event" => ([(header::CONTENT_TYPE, EVENTS)], format!("data: {{\"oops\"\n\ndata: {answer}\n\n")).into_response(),
        "other-event" => ([(header::CONTENT_TYPE, EVENTS)], format!("event: weather\ndata: rain\n\ndata: {answer}\n\n")).into_response(),
        "cut" => broken(),
        "loop" => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/mcp")]).into_response(),
        "redirect" => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, argument)]).into_response(),
        "headless" => std::future::pending().await,
        "bodyless" => (json, Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>())).into_response(),
        "odd-session" => (json, [(HeaderName::from_static("mcp-session-id"), "\u{7f} \t")], answer).into_response(),
        _ => return None,
    })
}

/// A body of unknown length that ends as if all had been said.
fn ending(text: String) -> Body {
    Body::from_stream(
        stream::iter([Ok::<_, std::io::Error>(text)]).chain(stream::iter([Err(std::io::Error::other("scripted to end here"))])),
    )
}

/// The parameters of a request are looked at for its fault.
pub(crate) fn of(call: &Call) -> Option<String> {
    call.session.server.script.fault(&call.method, &parse(&call.params))
}
