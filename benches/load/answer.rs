//! What the measured MCP server answers, without I/O: the same bytes over every transport.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The text of the large result: 1 MiB of lines, as a file would be. Its line ends are escapes in JSON.
pub(crate) const BLOB_BYTES: usize = 1 << 20;
const BLOB_LINE: &str = "0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789_-";

/// How long `sleep` takes.
pub(crate) const SLEEP: Duration = Duration::from_secs(2);

/// A server with the tools `echo` (gives back its `text`), `blob` (1 MiB) and `sleep` (an `echo` that takes [`SLEEP`]), and more to fill its list.
#[derive(Debug)]
pub(crate) struct Server {
    tools: String,
    blob: String,
}

/// How an answer goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Now,
    /// With it a session begins, for a transport that has sessions.
    Opening,
    /// [`SLEEP`] after the call.
    Late,
    /// There is none: nobody answers a notification.
    Never,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: &'a str,
    #[serde(borrow, default)]
    params: Params<'a>,
}

/// Of the parameters of every method, what is looked at.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Params<'a> {
    name: &'a str,
    #[serde(borrow)]
    arguments: Arguments<'a>,
    #[serde(rename = "protocolVersion")]
    version: &'a str,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Arguments<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

impl Server {
    /// A server that lists `tools` tools; the first are those that do something.
    pub(crate) fn new(tools: usize) -> Self {
        let listed: Vec<String> = (0..tools).map(tool).collect();
        Self { tools: format!(r#"{{"tools":[{}]}}"#, listed.join(",")), blob: format!(r#""{}""#, blob("\\n")) }
    }

    /// Appends the answer to one message, without a line end.
    pub(crate) fn answer(&self, message: &[u8], into: &mut Vec<u8>) -> Delivery {
        let Ok(Message { id, method, params }) = serde_json::from_slice(message) else {
            into.extend_from_slice(br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}"#);
            return Delivery::Now;
        };
        let Some(id) = id.map(RawValue::get) else { return Delivery::Never };
        let mut write = |parts: &[&str]| parts.iter().for_each(|part| into.extend_from_slice(part.as_bytes()));
        write(&[r#"{"jsonrpc":"2.0","id":"#, id]);
        match (method, params.name, params.arguments.text) {
            ("tools/call", "echo" | "sleep", Some(text)) => write(&[HEAD, text.get(), TAIL]),
            ("tools/call", "blob", _) => write(&[HEAD, &self.blob, TAIL]),
            ("tools/call", _, _) => write(&[r#","error":{"code":-32602,"message":"unknown tool"}}"#]),
            ("tools/list", _, _) => write(&[r#","result":"#, &self.tools, "}"]),
            ("initialize", _, _) => {
                write(&[r#","result":{"protocolVersion":""#, params.version]);
                write(&[r#"","capabilities":{"tools":{}},"serverInfo":{"name":"load","version":"1"}}}"#]);
            }
            ("ping", _, _) => write(&[r#","result":{}}"#]),
            _ => write(&[r#","error":{"code":-32601,"message":"method not found"}}"#]),
        }
        match (method, params.name) {
            ("initialize", _) => Delivery::Opening,
            ("tools/call", "sleep") => Delivery::Late,
            _ => Delivery::Now,
        }
    }
}

/// What stands around the text of a result, from the id on.
const HEAD: &str = r#","result":{"content":[{"type":"text","text":"#;
const TAIL: &str = r#"}],"isError":false}}"#;

/// The text of the large result, its lines ended by `line_end`.
pub(crate) fn blob(line_end: &str) -> String {
    let lines = BLOB_BYTES / (BLOB_LINE.len() + 1);
    let mut text = [BLOB_LINE, line_end].concat().repeat(lines);
    text.push_str(&BLOB_LINE[..BLOB_BYTES - lines * (BLOB_LINE.len() + 1)]);
    text
}

/// The tool at a place in the list, about 600 bytes.
fn tool(at: usize) -> String {
    let name = match at {
        0 => "echo".to_owned(),
        1 => "blob".to_owned(),
        2 => "sleep".to_owned(),
        _ => format!("tool_{at:03}"),
    };
    let mut tool = format!(r#"{{"name":"{name}","description":"Tool {at} of a server that is here to be listed. "#);
    let _ = write!(tool, "It finds the entries that fit a question, leaves out what the caller may not see, ");
    tool.push_str(r#"and gives one page of them, newest first.","inputSchema":{"type":"object","properties":{"#);
    tool.push_str(r#""text":{"type":"string","description":"What is asked, in plain words"},"#);
    tool.push_str(r#""kind":{"type":"string","enum":["note","task","file"],"description":"Only entries of this kind"},"#);
    tool.push_str(r#""count":{"type":"integer","minimum":1,"maximum":50,"description":"How many on a page"},"#);
    tool.push_str(r#""after":{"type":"string","description":"Where the page before ended"}},"additionalProperties":false}}"#);
    tool
}
