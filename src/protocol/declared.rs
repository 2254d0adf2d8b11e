//! What a client says of itself: once in `initialize`, or, from 2026-07-28 on, in the `_meta` of
//! every request ("Per-request metadata"). Names of all keys that the protocol has there.

use bytes::Bytes;
use serde_json::json;

use super::{
    capability::ClientCapabilities,
    error::{ErrorObject, INVALID_PARAMS, UNSUPPORTED_VERSION},
    json::Object,
    log_level::{LogLevel, Verbosity},
    message::{Message, splice},
    revision::Revision,
};

pub const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
pub const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
pub const CLIENT_INFO_KEY: &str = "io.modelcontextprotocol/clientInfo";
pub const LOG_LEVEL_KEY: &str = "io.modelcontextprotocol/logLevel";
pub const SERVER_INFO_KEY: &str = "io.modelcontextprotocol/serverInfo";
pub const SUBSCRIPTION_KEY: &str = "io.modelcontextprotocol/subscriptionId";

/// Tasks, as an extension (2026-07-28). Up to 2025-11-25 they are part of the protocol itself, and another thing.
pub const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// A client, as it declares itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    pub revision: Revision,
    pub capabilities: ClientCapabilities,
    /// The capabilities as the client wrote them: a JSON object.
    pub capabilities_json: Box<str>,
    /// `clientInfo` as the client wrote it: a JSON object.
    pub info_json: Option<Box<str>>,
}

impl Declared {
    /// One that has said nothing yet.
    pub fn nothing() -> Self {
        Self { revision: Revision::NEWEST, capabilities: ClientCapabilities::default(), capabilities_json: "{}".into(), info_json: None }
    }

    /// From the `params` of `initialize`. What cannot be read is not declared.
    pub fn in_handshake(params: &str, revision: Revision) -> Self {
        let object = Object::parse(params).ok();
        let member = |name: &str| object.as_ref().and_then(|params| params.get(name)).filter(|value| value.starts_with('{'));
        Self::of(revision, member("capabilities").unwrap_or("{}"), member("clientInfo"))
    }

    /// From the `_meta` of a request without a handshake.
    ///
    /// # Errors
    /// What is said to a request that does not declare enough, or another revision.
    pub fn in_request(request: &Message) -> Result<Self, ErrorObject> {
        let lacks = |what: &str| ErrorObject::new(INVALID_PARAMS, format!("`params._meta` must hold {what}"));
        let Some(meta) = meta(request) else { return Err(lacks(&format!("`{VERSION_KEY}`"))) };
        let version = meta.string(VERSION_KEY).ok_or_else(|| lacks(&format!("`{VERSION_KEY}`")))?;
        let revision = Revision::parse(&version).filter(|revision| !revision.has_handshake()).ok_or_else(|| {
            ErrorObject::new(UNSUPPORTED_VERSION, "this revision is not spoken without a handshake")
                .with_data(json!({ "supported": Revision::ALL.map(Revision::as_str), "requested": version }))
        })?;
        let object = |key: &str| meta.get(key).filter(|value| value.starts_with('{'));
        let capabilities = object(CAPABILITIES_KEY).ok_or_else(|| lacks(&format!("`{CAPABILITIES_KEY}`, an object")))?;
        Ok(Self::of(revision, capabilities, object(CLIENT_INFO_KEY)))
    }

    /// Whether the client has declared the extension of this name.
    pub fn has_extension(&self, name: &str) -> bool {
        let capabilities = Object::parse(&self.capabilities_json).ok();
        let extensions = capabilities.and_then(|capabilities| Object::parse(capabilities.get("extensions")?).ok());
        extensions.is_some_and(|extensions| extensions.get(name).is_some_and(|settings| settings != "null"))
    }

    fn of(revision: Revision, capabilities: &str, info: Option<&str>) -> Self {
        Self {
            revision,
            capabilities: ClientCapabilities::of(capabilities),
            capabilities_json: capabilities.into(),
            info_json: info.map(Into::into),
        }
    }

    /// A client with a handshake gets no task as the result of a call that did not ask for one, whatever extensions it names.
    fn capabilities_without_handshake(&self) -> String {
        let json = &*self.capabilities_json;
        let stripped = || {
            let capabilities = Object::parse(json).ok()?;
            let extensions = capabilities.get("extensions")?;
            let pieces = Object::parse(extensions).ok()?.without(json.as_bytes(), extensions, |name| name == TASKS_EXTENSION);
            let edits: Vec<_> = pieces.into_iter().map(|piece| (piece, Bytes::new())).collect();
            String::from_utf8(splice(json.as_bytes(), &edits).to_vec()).ok()
        };
        let stripped = if self.revision.has_handshake() { stripped() } else { None };
        stripped.unwrap_or_else(|| json.to_owned())
    }

    /// The members of `_meta` that say the same to a server without a handshake, as `(key, JSON text)`.
    pub fn members(&self, level: Option<LogLevel>) -> Vec<(&'static str, String)> {
        let mut members =
            vec![(VERSION_KEY, json!(Revision::STATELESS.as_str()).to_string()), (CAPABILITIES_KEY, self.capabilities_without_handshake())];
        members.extend(self.info_json.as_ref().map(|info| (CLIENT_INFO_KEY, info.to_string())));
        members.extend(level.map(|level| (LOG_LEVEL_KEY, json!(level.as_str()).to_string())));
        members
    }
}

/// The log messages that a request asks for. None are sent to one that does not say (2026-07-28, "Logging").
pub fn verbosity(request: &Message) -> Verbosity {
    let level = meta(request).and_then(|meta| LogLevel::parse(&meta.string(LOG_LEVEL_KEY)?));
    level.map_or(Verbosity::Nothing, Verbosity::From)
}

/// The revision that a message names in its `_meta`, known or not.
pub fn named_version(message: &Message) -> Option<String> {
    // Most messages have none, and are not read for it.
    memchr::memmem::find(message.text(), VERSION_KEY.as_bytes())?;
    Some(meta(message)?.string(VERSION_KEY)?.into_owned())
}

/// Whether a request declares its client by itself, well or badly. Other keys of `_meta` say nothing about that.
pub fn is_declaring(request: &Message) -> bool {
    const PREFIX: &[u8] = b"io.modelcontextprotocol/";
    // Most messages have none, and are not read for it.
    memchr::memmem::find(request.text(), PREFIX).is_some()
        && meta(request).is_some_and(|meta| [VERSION_KEY, CAPABILITIES_KEY].iter().any(|key| meta.get(key).is_some()))
}

/// `params._meta`
fn meta(message: &Message) -> Option<Object<'_>> {
    Object::parse(Object::parse(message.body()?).ok()?.get("_meta")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(meta: &str) -> Message {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{meta}}}}}"#);
        Message::parse(&text.into()).expect("a request")
    }

    #[test]
    fn a_request_declares_its_client() {
        let meta = format!(
            r#"{{"{VERSION_KEY}":"2026-07-28","{CAPABILITIES_KEY}":{{"sampling":{{}},"x":1.0}},"{CLIENT_INFO_KEY}":{{"name":"n"}},"{LOG_LEVEL_KEY}":"info"}}"#
        );
        let request = request(&meta);
        let declared = Declared::in_request(&request).expect("it is complete");
        assert!(declared.capabilities.sampling);
        assert_eq!(&*declared.capabilities_json, r#"{"sampling":{},"x":1.0}"#);
        assert_eq!(declared.info_json.as_deref(), Some(r#"{"name":"n"}"#));
        assert_eq!(verbosity(&request), Verbosity::From(LogLevel::Info));
        let members = declared.members(Some(LogLevel::Info));
        assert_eq!(members.len(), 4);
        assert!(members.iter().all(|(key, value)| meta.contains(&format!(r#""{key}":{value}"#))), "{members:?}");
    }

    #[test]
    fn a_client_with_a_handshake_declares_no_tasks_to_servers_without() {
        let told = |extensions: &str, revision| {
            let params = format!(r#"{{"capabilities":{{"roots":{{}},"extensions":{extensions}}}}}"#);
            let members = Declared::in_handshake(&params, revision).members(None);
            let capabilities = members.into_iter().find(|(key, _)| *key == CAPABILITIES_KEY).expect("it is said").1;
            capabilities.strip_prefix(r#"{"roots":{},"extensions":"#).and_then(|rest| rest.strip_suffix('}')).expect("as it was").to_owned()
        };
        let (tasks, other) = (format!(r#""{TASKS_EXTENSION}":{{}}"#), r#""a/ui":{"x":1.0}"#);
        let both = format!("{{{other},{tasks}}}");
        assert_eq!(told(&both, Revision::V2025_11_25), format!("{{{other}}}"));
        assert_eq!(told(&format!("{{{tasks}}}"), Revision::V2025_11_25), "{}");
        assert_eq!(told(&format!("{{{other}}}"), Revision::V2025_11_25), format!("{{{other}}}"));
        assert_eq!(told("null", Revision::V2025_11_25), "null");
        assert_eq!(told(&both, Revision::STATELESS), both);
    }

    #[test]
    fn an_incomplete_request_is_told_what_it_lacks() {
        for (meta, code) in [
            ("null".to_owned(), INVALID_PARAMS),
            ("{}".to_owned(), INVALID_PARAMS),
            (format!(r#"{{"{VERSION_KEY}":1}}"#), INVALID_PARAMS),
            (format!(r#"{{"{VERSION_KEY}":"2026-07-28"}}"#), INVALID_PARAMS),
            (format!(r#"{{"{VERSION_KEY}":"2026-07-28","{CAPABILITIES_KEY}":[]}}"#), INVALID_PARAMS),
            (format!(r#"{{"{VERSION_KEY}":"2025-11-25","{CAPABILITIES_KEY}":{{}}}}"#), UNSUPPORTED_VERSION),
            (format!(r#"{{"{VERSION_KEY}":"2099-01-01","{CAPABILITIES_KEY}":{{}}}}"#), UNSUPPORTED_VERSION),
        ] {
            assert_eq!(Declared::in_request(&request(&meta)).expect_err("it is incomplete").code, code, "{meta}");
        }
    }
}
