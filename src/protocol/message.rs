//! A JSON-RPC message as the text it came as, and where its parts are.
//!
//! What is forwarded stays the bytes that were received: a message keeps its
//! text and the positions of `id`, `method`, `params`, `result` and `error`,
//! found in one borrowed pass of `serde_json`. Rewriting replaces a part in place
//! ([`Message::edited`]), so members that we do not know, number precision, key order
//! and white space survive without anybody having thought of them.
//!
//! # Why not rmcp's loop
//!
//! Measured, stdio to stdio, a minimal proxy around each core, 64-byte echo on one
//! machine in one run:
//!
//! | core | 1 in flight, over direct | 32 in flight | 1 MiB | instructions a call | of 200 progress before the response |
//! | --- | --- | --- | --- | --- | --- |
//! | byte relay | 9.4 us | 460 000/s | 0.5 ms | | 200 in order |
//! | rmcp's generic loop, `Value` | 23.0 us | 38 000/s | 3.0 ms | 71 800 | 0.4 |
//! | rmcp's generic loop, own transport, raw bytes | 19.0 us | 74 000/s | 1.5 ms | 36 400 | 0.8 |
//! | a link of our own, a task and a oneshot a call | 10.3 us | 224 000/s | 1.0 ms | 11 800 | 200 in order |
//!
//! rmcp starts a task for every inbound notification, so order is lost; a link reads
//! sequentially and hands on notifications before it completes the call's oneshot. Hence
//! the link (`downstream::connection`), and rmcp for its models and as an independent peer in tests.
//! A multi-threaded runtime cost 9 us more and blocking stdin 19 us more, hence the
//! single-threaded runtime behind the stdio front.

use std::{collections::HashMap, ops::Range};

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{
    error::{ErrorObject, INVALID_REQUEST, PARSE_ERROR},
    json,
};

/// A valid JSON-RPC message.
#[derive(Clone)]
pub struct Message {
    text: Bytes,
    kind: Kind,
    /// Absent from notifications.
    id: Option<Span>,
    /// `params`, `result` or `error`, whichever the kind has.
    body: Option<Span>,
    /// Of requests and notifications.
    method: Option<Method>,
}

#[derive(Debug, Clone)]
enum Method {
    /// Between the quotes.
    Plain(Span),
    /// Was written with escapes, which nobody does.
    Unescaped(Box<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Request,
    Notification,
    Result,
    Error,
}

/// A piece of a text, in bytes.
pub type Span = Range<usize>;

/// Why a line is not a message, with the id to answer under where there is one.
#[derive(Debug)]
pub struct Invalid {
    pub id: Option<Id>,
    /// It was meant as the answer to `id`, which is one that the receiver has given. The id of anything else is the sender's own.
    pub is_response: bool,
    pub error: ErrorObject,
}

/// A request id as its JSON text (`7`, `"7"`, `1.0`), so that it goes back
/// exactly as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Id(Bytes);

impl Id {
    pub fn number(id: u64) -> Self {
        Self(Bytes::from(id.to_string()))
    }

    /// From the JSON text of a string or a number.
    pub fn parse(json: &str) -> Option<Self> {
        is_id(json).then(|| Self(Bytes::copy_from_slice(json.as_bytes())))
    }

    pub fn as_json(&self) -> &Bytes {
        &self.0
    }

    /// The number, if it is one that we could have given ourselves.
    pub fn as_u64(&self) -> Option<u64> {
        std::str::from_utf8(&self.0).ok()?.parse().ok()
    }
}

#[derive(Deserialize, Clone, Copy)]
struct Envelope<'a> {
    // Raw values, because serde does not borrow an optional `Cow`.
    #[serde(borrow, default)]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// A member that is there is `Some`, `null` included.
pub fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Message {
    /// Reads one message. `text` may have white space around it and, where it
    /// came over HTTP, line breaks between tokens.
    ///
    /// # Errors
    /// [`Invalid`] with the JSON-RPC error to answer: not UTF-8 or not JSON, a batch,
    /// members that contradict each other, an id that is neither a string nor a number.
    pub fn parse(text: &Bytes) -> Result<Self, Box<Invalid>> {
        let parse_error = |what: &dyn std::fmt::Display| {
            let error = ErrorObject::new(PARSE_ERROR, format!("this is not a JSON-RPC message: {what}"));
            Box::new(Invalid { id: None, is_response: false, error })
        };
        let utf8 = std::str::from_utf8(text).map_err(|error| parse_error(&error))?;
        let envelope: Envelope<'_> = match json::read(utf8) {
            Ok(envelope) => envelope,
            Err(error) if error.is_data() => return Err(Box::new(not_a_request(utf8, &error))),
            Err(error) => return Err(parse_error(&error)),
        };
        classify(text, envelope)
    }

    /// A notification that the proxy itself sends. `params` is JSON text.
    pub fn notification(method: &str, params: Option<&str>) -> Self {
        let params = params.map_or_else(String::new, |params| format!(r#","params":{params}"#));
        let text = format!(r#"{{"jsonrpc":"2.0","method":"{method}"{params}}}"#);
        Self::parse(&text.into()).expect("method is a constant and params is JSON")
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn text(&self) -> &Bytes {
        &self.text
    }

    pub fn id(&self) -> Option<Id> {
        self.id.clone().map(|span| Id(self.text.slice(span)))
    }

    /// Of requests and notifications; empty for responses.
    pub fn method(&self) -> &str {
        match &self.method {
            Some(Method::Plain(span)) => std::str::from_utf8(&self.text[span.clone()]).expect("parse checked the text"),
            Some(Method::Unescaped(name)) => name,
            None => "",
        }
    }

    /// `params`, `result` or `error` as JSON text.
    pub fn body(&self) -> Option<&str> {
        let span = self.body.clone()?;
        Some(std::str::from_utf8(&self.text[span]).expect("parse checked the text"))
    }

    /// `body` as a cheap slice of the message's own memory.
    pub fn body_bytes(&self) -> Option<Bytes> {
        Some(self.text.slice(self.body.clone()?))
    }

    /// What makes a response no response for those who read it: a result or error that is no object, an error without a code and
    /// a message. Official clients take a line with such an error for no message at all, and wait on.
    pub fn flaw(&self) -> Option<&'static str> {
        let body = self.body().unwrap_or_default();
        if !body.starts_with('{') {
            return Some("its answer is no object");
        }
        if self.kind != Kind::Error {
            return None;
        }
        let error = json::Object::parse(body).ok();
        let is_whole = error
            .is_some_and(|error| error.get("code").is_some_and(|code| code.parse::<i64>().is_ok()) && error.string("message").is_some());
        (!is_whole).then_some("its error has no code and message")
    }

    /// The message with another id and, if given, another body.
    pub fn with(&self, id: &Id, body: Option<Bytes>) -> Frame {
        let body = self.body.clone().zip(body);
        self.edited(id, body.into_iter().collect())
    }

    /// The message with another id and these pieces of its [text](Self::text) replaced.
    pub fn edited(&self, id: &Id, mut edits: Vec<(Span, Bytes)>) -> Frame {
        if let Some(span) = &self.id {
            edits.push((span.clone(), id.0.clone()));
        }
        Frame::spliced(&self.text, edits)
    }

    /// The message with another body.
    pub fn with_body(&self, body: Bytes) -> Frame {
        match &self.body {
            Some(span) => Frame::spliced(&self.text, vec![(span.clone(), body)]),
            None => Frame::from(self.text.clone()),
        }
    }
}

impl std::fmt::Debug for Message {
    /// Never the payload: it may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("kind", &self.kind)
            .field("method", &self.method())
            .field("bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

/// Where the parts of a message stand, if they make one.
fn classify(text: &Bytes, envelope: Envelope<'_>) -> Result<Message, Box<Invalid>> {
    let Envelope { jsonrpc, id, method, params, result, error } = envelope;
    let span = |part: &RawValue| span_in(text, part.get());
    let id_text = id.filter(|id| is_id(id.get()));
    let invalid = |message: &str| {
        let id = id_text.map(|id| Id(text.slice(span(id))));
        let is_response = id.is_some() && method.is_none();
        Box::new(Invalid { id, is_response, error: ErrorObject::new(INVALID_REQUEST, message) })
    };
    if jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
        return Err(invalid("`jsonrpc` must be \"2.0\""));
    }
    let params = params.filter(|params| params.get() != "null");
    if params.is_some_and(|params| !params.get().starts_with(['{', '['])) {
        return Err(invalid("`params` must be an object"));
    }
    let (kind, body) = match (method, result, error) {
        (Some(_), None, None) if id_text.is_some() => (Kind::Request, params),
        (Some(_), None, None) if id.is_some() => return Err(invalid("`id` must be a string or a number")),
        (Some(_), None, None) => (Kind::Notification, params),
        (None, Some(result), None) if id_text.is_some() => (Kind::Result, Some(result)),
        // An error without a usable id answers a message that could not be read.
        (None, None, Some(error)) => (Kind::Error, Some(error)),
        _ => return Err(invalid("a message has either `method`, or `id` and one of `result` and `error`")),
    };
    let method = match method {
        Some(method) => Some(read_method(method.get(), &span(method)).ok_or_else(|| invalid("`method` must be a string"))?),
        None => None,
    };
    Ok(Message { text: text.clone(), kind, id: id_text.map(span), body: body.map(span), method })
}

fn read_method(json: &str, span: &Span) -> Option<Method> {
    if !json.starts_with('"') {
        return None;
    }
    if json.contains('\\') {
        return Some(Method::Unescaped(serde_json::from_str(json).ok()?));
    }
    Some(Method::Plain(span.start + 1..span.end - 1))
}

fn is_id(json: &str) -> bool {
    json.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

/// Valid JSON, but no message. The id is looked for, so that the sender learns
/// which of its requests was wrong.
fn not_a_request(text: &str, error: &serde_json::Error) -> Invalid {
    // A map, because a member may stand twice.
    let members: HashMap<String, &RawValue> = serde_json::from_str(text).unwrap_or_default();
    let id = members.get("id").map(|id| id.get()).filter(|id| is_id(id));
    let message = if text.trim_start().starts_with('[') {
        "JSON-RPC batches are not supported; send one message at a time".to_owned()
    } else {
        format!("this is not a JSON-RPC message: {error}")
    };
    let is_response = id.is_some() && !members.contains_key("method");
    Invalid { id: id.map(|id| Id(Bytes::copy_from_slice(id.as_bytes()))), is_response, error: ErrorObject::new(INVALID_REQUEST, message) }
}

/// Where `part`, borrowed from `text`, stands in it.
pub fn span_in(text: &[u8], part: &str) -> Span {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    debug_assert!(start + part.len() <= text.len(), "part is borrowed from text");
    start..start + part.len()
}

/// What goes on the wire: a message in up to a few pieces, so that a large body
/// is not copied because its id changes.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    pieces: Vec<Bytes>,
    alone: bool,
}

impl Frame {
    /// `text` with each span replaced. Spans must not overlap.
    pub fn spliced(text: &Bytes, mut edits: Vec<(Span, Bytes)>) -> Self {
        /// Below this a copy is cheaper than another piece.
        const COPIED: usize = 4096;
        // What is put in before a piece that goes comes first.
        edits.sort_unstable_by_key(|(span, _)| (span.start, span.end));
        if text.len() + edits.iter().map(|(_, new)| new.len()).sum::<usize>() <= COPIED {
            return Self::from(splice(text, &edits));
        }
        let mut pieces = Vec::with_capacity(2 * edits.len() + 1);
        let mut at = 0;
        for (span, new) in edits {
            pieces.push(text.slice(at..span.start));
            pieces.push(new);
            at = span.end;
        }
        pieces.push(text.slice(at..));
        Self { pieces, alone: false }
    }

    /// A request of our own. `params` is JSON text.
    pub fn request(id: &Id, method: &str, params: Option<&str>) -> Self {
        let mut text = Vec::with_capacity(64 + method.len() + params.map_or(0, str::len));
        text.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        text.extend_from_slice(&id.0);
        text.extend_from_slice(br#","method":""#);
        text.extend_from_slice(method.as_bytes());
        text.push(b'"');
        if let Some(params) = params {
            text.extend_from_slice(br#","params":"#);
            text.extend_from_slice(params.as_bytes());
        }
        text.push(b'}');
        Self::from(Bytes::from(text))
    }

    pub fn result(id: &Id, result: Bytes) -> Self {
        let mut head = Vec::with_capacity(40 + id.0.len());
        head.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        head.extend_from_slice(&id.0);
        head.extend_from_slice(br#","result":"#);
        Self { pieces: vec![head.into(), result, Bytes::from_static(b"}")], alone: false }
    }

    /// `id` is `None` where the request's own could not be read.
    pub fn error(id: Option<&Id>, error: &ErrorObject) -> Self {
        let id = id.map_or("null", |id| std::str::from_utf8(&id.0).expect("ids come from checked text"));
        Self::from(Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{}}}"#, error.to_json())))
    }

    /// Several messages as one JSON-RPC batch.
    pub fn batch(frames: Vec<Self>) -> Self {
        let mut pieces = vec![Bytes::from_static(b"[")];
        for (index, frame) in frames.into_iter().enumerate() {
            if index > 0 {
                pieces.push(Bytes::from_static(b","));
            }
            pieces.extend(frame.pieces);
        }
        pieces.push(Bytes::from_static(b"]"));
        Self { pieces, alone: false }
    }

    /// To be written by itself: the official TypeScript client loses a progress
    /// notification that it reads together with the result.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    pub fn is_alone(&self) -> bool {
        self.alone
    }

    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    pub fn into_pieces(self) -> Vec<Bytes> {
        self.pieces
    }

    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.iter().all(Bytes::is_empty)
    }

    /// The whole text in one piece, for transports that send a body.
    pub fn into_bytes(self) -> Bytes {
        match <[Bytes; 1]>::try_from(self.pieces) {
            Ok([only]) => only,
            Err(pieces) => pieces.concat().into(),
        }
    }
}

impl From<Bytes> for Frame {
    fn from(text: Bytes) -> Self {
        Self { pieces: vec![text], alone: false }
    }
}

impl From<Message> for Frame {
    fn from(message: Message) -> Self {
        Self::from(message.text)
    }
}

/// `text` with each span replaced; spans are sorted and do not overlap.
pub fn splice(text: &[u8], edits: &[(Span, Bytes)]) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + edits.iter().map(|(_, new)| new.len()).sum::<usize>());
    let mut at = 0;
    for (span, new) in edits {
        out.extend_from_slice(&text[at..span.start]);
        out.extend_from_slice(new);
        at = span.end;
    }
    out.extend_from_slice(&text[at..]);
    out.into()
}

#[cfg(test)]
mod tests;
