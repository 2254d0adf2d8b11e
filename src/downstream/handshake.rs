//! How a connection begins: with `initialize` (up to 2025-11-25), or with the question what the server is
//! (`server/discover`, from 2026-07-28 on). Which of them is tried, and when, the supervisor decides.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    connection::{Link, error_code, error_message, malformed},
    error::{ConnectError, LinkError},
    mailbox::Caller,
};
use crate::{
    protocol::{
        declared::{CAPABILITIES_KEY, CLIENT_INFO_KEY, SERVER_INFO_KEY, VERSION_KEY},
        error::{HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION},
        json::{self, FromObject, Object},
        message::{Frame, Id, Kind, Message, present},
        revision::Revision,
    },
    security::redact,
};

/// What servers may ask for where a connection has several clients. Whether the client of the call has it is seen when
/// they do. No roots: servers read them outside of any call and go by them for all clients.
const OFFERED: &str = r#"{"sampling":{},"elicitation":{"form":{},"url":{}}}"#;

/// What the server said of itself.
#[derive(Debug, Clone)]
pub struct Peer {
    pub revision: Revision,
    pub capabilities: Capabilities,
    /// The capabilities as the server wrote them: a JSON object.
    pub declared: Bytes,
    /// Of `serverInfo`, `name version`.
    pub version: String,
    pub instructions: Option<String>,
}

/// Only what decides whether something is asked at all.
#[expect(clippy::struct_excessive_bools, reason = "each is one member of the protocol's capabilities")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub tools: bool,
    pub prompts: bool,
    pub resources: bool,
    /// Of single resources.
    pub subscriptions: bool,
    pub completions: bool,
    pub logging: bool,
    pub changes: Changes,
}

/// Which lists the server says that they have changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    pub tools: bool,
    pub prompts: bool,
    pub resources: bool,
}

/// What comes of asking a server what it is.
#[derive(Debug)]
pub(super) enum Discovery {
    /// It wants no handshake.
    Stateless(Peer),
    /// It wants a handshake.
    Older,
    /// It answers like a server that wants none, but does not say so.
    Unclear,
}

impl Link {
    /// `initialize` and `notifications/initialized` (lifecycle, 2025-11-25).
    pub(super) async fn initialize(self: &Arc<Self>, revision: Revision) -> Result<(), ConnectError> {
        let params = {
            let client = self.handler().only_client().declared();
            let offered = client.as_deref().map_or(OFFERED, |client| &client.capabilities_json);
            format!(r#"{{"protocolVersion":"{revision}","capabilities":{offered},"clientInfo":{}}}"#, own_info())
        };
        let reply = self.request("initialize", &params).await?;
        let body = reply.body().unwrap_or_default();
        if reply.kind() == Kind::Error {
            return Err(ConnectError::Rejected { message: error_message(body) });
        }
        self.settle(read_peer(body).map_err(|what| LinkError::Protocol { what })?);
        self.outbox().notify(Message::notification("notifications/initialized", None).into()).await?;
        self.outbox().listen();
        Ok(())
    }

    /// `server/discover` (2026-07-28, "Discovery").
    pub(super) async fn discover(self: &Arc<Self>) -> Result<Discovery, LinkError> {
        let params = format!(r#"{{"_meta":{}}}"#, own_envelope());
        let call = self.start(Caller::PROXY, |id| Frame::request(&Id::number(id), "server/discover", Some(&params))).await?;
        Ok(read_discovery(&call.reply().await?))
    }

    /// From now on the server is this one.
    pub(super) fn settle(&self, peer: Peer) {
        self.outbox().agreed(peer.revision);
        if !peer.revision.has_handshake() {
            self.handler().expect_no_requests();
        }
        self.peer.get_or_init(|| peer);
    }
}

fn own_info() -> String {
    format!(r#"{{"name":"pluggedin-mcp-proxy","version":"{}"}}"#, env!("CARGO_PKG_VERSION"))
}

/// `_meta` of requests of the proxy's own to a server without a handshake.
pub(super) fn own_envelope() -> String {
    format!(r#"{{"{VERSION_KEY}":"{}","{CAPABILITIES_KEY}":{OFFERED},"{CLIENT_INFO_KEY}":{}}}"#, Revision::STATELESS, own_info())
}

impl Peer {
    /// One that wants no handshake and says nothing of itself: it is asked for everything.
    pub(super) fn unknown() -> Self {
        let changes = Changes { tools: true, prompts: true, resources: true };
        let capabilities =
            Capabilities { tools: true, prompts: true, resources: true, subscriptions: true, completions: true, logging: true, changes };
        Self {
            revision: Revision::STATELESS,
            capabilities,
            declared: Bytes::from_static(b"{}"),
            version: "? ?".to_owned(),
            instructions: None,
        }
    }
}

fn read_discovery(reply: &Message) -> Discovery {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Discovered<'a> {
        supported_versions: Vec<String>,
        #[serde(borrow, default)]
        capabilities: FromObject<Offered<'a>>,
        #[serde(default)]
        instructions: Option<String>,
        #[serde(default, rename = "_meta")]
        meta: serde_json::Value,
    }
    let body = reply.body().unwrap_or_default();
    if reply.kind() == Kind::Error {
        return refused_discovery(body);
    }
    // An older server may answer anything to what it does not know.
    let Ok(Discovered { supported_versions, capabilities, instructions, meta }) = json::read(body) else {
        return Discovery::Older;
    };
    if !supported_versions.iter().any(|version| version == Revision::STATELESS.as_str()) {
        return Discovery::Older;
    }
    let revision = Revision::STATELESS;
    Discovery::Stateless(Peer {
        revision,
        capabilities: capabilities.0.read(revision),
        declared: capabilities_in(body),
        version: version_of(&meta[SERVER_INFO_KEY]),
        instructions,
    })
}

/// The codes tell of a newer server, but they are few, and older ones were free to use any.
fn refused_discovery(error: &str) -> Discovery {
    #[derive(Deserialize)]
    struct Refusal {
        data: FromObject<Data>,
    }
    #[derive(Deserialize)]
    struct Data {
        supported: Vec<String>,
    }
    if !matches!(error_code(error), Some(HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION)) {
        return Discovery::Older;
    }
    match json::read::<Refusal>(error) {
        Ok(refusal) if refusal.data.0.supported.iter().any(|version| version == Revision::STATELESS.as_str()) => {
            Discovery::Stateless(Peer::unknown())
        }
        Ok(_) => Discovery::Older,
        Err(_) => Discovery::Unclear,
    }
}

#[derive(Deserialize, Default)]
struct Offered<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    tools: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    prompts: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    resources: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    completions: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    logging: Option<&'a RawValue>,
}

impl Offered<'_> {
    fn read(&self, revision: Revision) -> Capabilities {
        let says = |area: Option<&RawValue>, member: &str| {
            area.and_then(|area| Object::parse(area.get()).ok()).is_some_and(|area| area.get(member) == Some("true"))
        };
        Capabilities {
            tools: self.tools.is_some(),
            prompts: self.prompts.is_some(),
            resources: self.resources.is_some(),
            subscriptions: says(self.resources, "subscribe"),
            logging: self.logging.is_some(),
            // Declared since 2025-03-26; before, servers simply answered.
            completions: self.completions.is_some() || revision == Revision::V2024_11_05,
            changes: Changes {
                tools: says(self.tools, "listChanged"),
                prompts: says(self.prompts, "listChanged"),
                resources: says(self.resources, "listChanged"),
            },
        }
    }
}

fn read_peer(result: &str) -> Result<Peer, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Initialized<'a> {
        protocol_version: String,
        #[serde(borrow, default)]
        capabilities: FromObject<Offered<'a>>,
        #[serde(default)]
        server_info: serde_json::Value,
        #[serde(default)]
        instructions: Option<String>,
    }
    let Initialized { protocol_version, capabilities, server_info, instructions } =
        json::read(result).map_err(|error| malformed("initialize", &error))?;
    let revision = Revision::parse(&protocol_version)
        .filter(|revision| revision.has_handshake())
        .ok_or_else(|| format!("it speaks revision `{}`, which we do not", redact::quote(&protocol_version, 40)))?;
    Ok(Peer {
        revision,
        capabilities: capabilities.0.read(revision),
        declared: capabilities_in(result),
        version: version_of(&server_info),
        instructions,
    })
}

fn capabilities_in(result: &str) -> Bytes {
    let declared = Object::parse(result).ok().and_then(|result| result.get("capabilities")).unwrap_or("{}");
    Bytes::copy_from_slice(declared.as_bytes())
}

/// Of an `Implementation`.
fn version_of(info: &serde_json::Value) -> String {
    let text = |member: &str| redact::quote(info[member].as_str().unwrap_or("?"), 100);
    format!("{} {}", text("name"), text("version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_speaks_no_known_revision_is_refused() {
        assert!(read_peer(r#"{"protocolVersion":"1999-01-01"}"#).is_err());
        assert!(read_peer(r#"{"protocolVersion":"2026-07-28"}"#).is_err());
        assert!(read_peer("[]").is_err());
        let peer =
            read_peer(r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{},"vendor":1},"serverInfo":{"name":"n","version":"1"}}"#);
        let peer = peer.expect("well formed");
        assert!(peer.capabilities.tools && !peer.capabilities.prompts);
        assert_eq!(peer.version, "n 1");
    }

    #[track_caller]
    fn check(answer: &str, expect: &str) {
        let reply = Message::parse(&format!(r#"{{"jsonrpc":"2.0","id":1,{answer}}}"#).into()).expect("an answer");
        let found = match read_discovery(&reply) {
            Discovery::Stateless(peer) => format!("{} {:?}", peer.version, peer.capabilities.changes),
            Discovery::Older => "older".to_owned(),
            Discovery::Unclear => "unclear".to_owned(),
        };
        assert_eq!(found, expect, "{answer}");
    }

    #[test]
    fn discovery_tells_servers_apart() {
        let info = format!(r#""_meta":{{"{SERVER_INFO_KEY}":{{"name":"n","version":"1"}}}}"#);
        let all = "Changes { tools: true, prompts: true, resources: true }";
        check(
            &format!(
                r#""result":{{"supportedVersions":["2099-01-01","2026-07-28"],"capabilities":{{"tools":{{"listChanged":true}}}},{info}}}"#
            ),
            "n 1 Changes { tools: true, prompts: false, resources: false }",
        );
        check(r#""result":{"supportedVersions":["2025-11-25"],"capabilities":{}}"#, "older");
        check(r#""result":{}"#, "older");
        check(r#""error":{"code":-32601,"message":"m"}"#, "older");
        check(r#""error":{"code":-32000,"message":"m","data":{"supported":["2026-07-28"]}}"#, "older");
        check(r#""error":{"code":-32022,"message":"m","data":{"supported":["2025-11-25"],"requested":"2026-07-28"}}"#, "older");
        check(r#""error":{"code":-32020,"message":"m","data":{"supported":["2026-07-28"]}}"#, &format!("? ? {all}"));
        check(r#""error":{"code":-32021,"message":"m","data":{"requiredCapabilities":{}}}"#, "unclear");
    }
}
