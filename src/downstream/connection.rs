//! A live connection: the handshake, calls, and complete listings.

use std::{
    borrow::Cow,
    collections::HashSet,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    ListKind,
    error::LinkError,
    handler::Handler,
    handshake::{self, Peer},
    inflight::{self, InFlight},
    listening::Interest,
    mailbox::Caller,
    seat::Place,
    transport::Outbox,
};
use crate::protocol::{
    error::METHOD_NOT_FOUND,
    json::{self, with_member},
    message::{Frame, Id, Kind, Message, span_in},
};
use crate::security::redact;

/// The time for one page of tools.
const TOOLS_TIMEOUT: Duration = Duration::from_secs(30);
/// The time for one page of anything else, for which the tools wait.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// For last words to a server.
const LETTING_GO: Duration = Duration::from_secs(1);

/// Characters of a server's words in a sentence of ours.
const MAX_QUOTE: usize = 300;

/// A server that has answered the handshake, or has shown that it wants none.
#[derive(Debug)]
pub struct Link {
    handler: Arc<Handler>,
    outbox: Outbox,
    /// Cancelled when the connection ends, by either side.
    closed: CancellationToken,
    pub(super) peer: OnceLock<Peer>,
    /// Somebody waits for news from the server, though no call may be in flight.
    held: AtomicBool,
    /// What the server has asked and was not answered, within calls and outside of them.
    pub(super) asks: AtomicUsize,
    /// What is to be heard from a server without a handshake.
    pub(super) interest: Interest,
}

/// One entry of a listing, as the server wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// A tool's or prompt's `name`, a resource's `uri`, a template's `uriTemplate`.
    pub key: String,
    /// The whole record.
    pub json: Bytes,
}

impl Link {
    pub(super) fn new(handler: Arc<Handler>, outbox: Outbox, closed: CancellationToken) -> Arc<Self> {
        let interest = Interest::default();
        let link = Arc::new(Self {
            handler,
            outbox,
            closed,
            peer: OnceLock::new(),
            held: AtomicBool::new(false),
            asks: AtomicUsize::new(0),
            interest,
        });
        link.handler.lead_back_to(&link);
        link
    }

    pub(super) fn handler(&self) -> &Handler {
        &self.handler
    }

    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    pub(super) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Where it leads, and whose it is.
    pub fn place(&self) -> &Place {
        self.handler.place()
    }

    pub fn peer(&self) -> &Peer {
        self.peer.get().expect("a link is handed out after its handshake")
    }

    /// Starts a request. `frame` makes it for the id that it gets; the same number
    /// is the progress token, if the caller wants progress.
    ///
    /// # Errors
    /// [`LinkError`] where the server cannot have seen it.
    pub async fn start(self: &Arc<Self>, caller: Caller, frame: impl FnOnce(u64) -> Frame) -> Result<InFlight, LinkError> {
        InFlight::start(Arc::clone(self), caller, frame).await
    }

    /// A request of the proxy's own, without a deadline.
    ///
    /// # Errors
    /// [`LinkError`]; what the server refuses is an answer.
    pub async fn request(self: &Arc<Self>, method: &str, params: &str) -> Result<Message, LinkError> {
        let params = self.introduced(params);
        self.start(Caller::PROXY, |id| Frame::request(&Id::number(id), method, Some(&params))).await?.reply().await
    }

    /// `params` of a request of the proxy's own, with what a server without a handshake must be told in each.
    pub(super) fn introduced<'a>(&self, params: &'a str) -> Cow<'a, str> {
        if self.peer.get().is_none_or(|peer| peer.revision.has_handshake()) {
            return Cow::Borrowed(params);
        }
        let params = with_member(&Bytes::copy_from_slice(params.as_bytes()), "_meta", &handshake::own_envelope());
        Cow::Owned(String::from_utf8_lossy(&params).into_owned())
    }

    /// Every page of one list.
    ///
    /// # Errors
    /// [`LinkError`] where the list could not be read to its end.
    pub async fn list(self: &Arc<Self>, kind: ListKind) -> Result<Vec<Item>, LinkError> {
        let mut items = self.read_list(kind).await?;
        if kind == ListKind::Tools
            && let Some(annotated) = self.outbox.annotated()
        {
            let bad = annotated.learn(items.iter().map(|item| (item.key.as_str(), &item.json)));
            for (tool, problem) in &bad {
                tracing::warn!(server = self.handler.server(), tool = redact::quote(tool, 100), "a tool was left out: {problem}");
            }
            items.retain(|item| !bad.contains_key(&item.key));
        }
        Ok(items)
    }

    async fn read_list(self: &Arc<Self>, kind: ListKind) -> Result<Vec<Item>, LinkError> {
        let patience = if kind == ListKind::Tools { TOOLS_TIMEOUT } else { PAGE_TIMEOUT };
        let silent = |_| LinkError::Protocol { what: format!("no answer to `{}` within {} s", kind.method(), patience.as_secs()) };
        let mut items: Vec<Item> = Vec::new();
        let mut keys: HashSet<String> = HashSet::new();
        let mut cursors = HashSet::new();
        let mut params = "{}".to_owned();
        let limits = self.handler.limits();
        let mut bytes = 0;
        while cursors.len() < limits.listing_pages && items.len() < limits.listing_entries && bytes < limits.message {
            let reply = tokio::time::timeout(patience, self.request(kind.method(), &params)).await.map_err(silent)??;
            let known = items.len();
            bytes += reply.text().len();
            let Some(cursor) = read_page(kind, &reply, &mut items)? else { return Ok(items) };
            let new = items[known..].iter().filter(|item| keys.insert(item.key.clone())).count();
            // A page may be empty, but one that only repeats what was there leads nowhere.
            let repeats = new == 0 && items.len() > known;
            if repeats || !cursors.insert(cursor.clone()) {
                break;
            }
            params = serde_json::json!({ "cursor": cursor }).to_string();
        }
        tracing::warn!(server = self.handler.server(), list = kind.method(), items = items.len(), "the list does not end; it was cut");
        Ok(items)
    }

    /// Sends a notification of a client, if the server takes it.
    pub fn notify_soon(&self, frame: Frame) {
        self.outbox.notify_soon(frame);
    }

    /// Keeps the server running while no call is in flight, or does so no more.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether anybody needs the connection now.
    pub(super) fn is_needed(&self) -> bool {
        self.is_held() || self.handler.is_busy() || self.asks.load(Ordering::Relaxed) > 0
    }

    /// Tells the server, before the connection ends, that nobody waits for what it still works on: the end alone does not stop
    /// every server.
    pub(super) async fn let_go(&self) {
        let telling = async {
            if !self.outbox.cancels_by_closing() {
                join_all(self.handler.give_up_all().into_iter().map(|id| self.outbox.notify(inflight::cancellation(id)))).await;
            }
            self.outbox.settled().await;
        };
        // One that does not listen is left all the same.
        let _ = tokio::time::timeout(LETTING_GO, telling).await;
    }

    /// Until the connection has ended.
    pub async fn ended(&self) {
        self.closed.cancelled().await;
    }

    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }
}

/// What a transport needs to run.
#[derive(Debug)]
pub struct Wiring<'a> {
    pub handler: Arc<Handler>,
    pub closed: CancellationToken,
    pub tracker: &'a TaskTracker,
}

/// Adds the page's items; gives the cursor of the next page.
fn read_page(kind: ListKind, reply: &Message, items: &mut Vec<Item>) -> Result<Option<String>, LinkError> {
    let body = reply.body().unwrap_or_default();
    if reply.kind() == Kind::Error {
        // Capabilities and methods do not always agree; what is not there is empty.
        if items.is_empty() && error_code(body) == Some(METHOD_NOT_FOUND) {
            return Ok(None);
        }
        return Err(LinkError::Protocol { what: format!("it refused `{}`: {}", kind.method(), error_message(body)) });
    }
    let page: Page<'_> = json::read(body).map_err(|error| LinkError::Protocol { what: malformed(kind.method(), &error) })?;
    let list = match kind {
        ListKind::Tools => page.tools,
        ListKind::Prompts => page.prompts,
        ListKind::Resources => page.resources,
        ListKind::Templates => page.resource_templates,
    };
    let bytes = reply.body_bytes().unwrap_or_default();
    for record in list.unwrap_or_default() {
        let Some(key) = json::read::<Key>(record.get()).ok().and_then(|key| key.of(kind)) else {
            tracing::warn!(list = kind.method(), "an entry without its name was left out");
            continue;
        };
        items.push(Item { key, json: bytes.slice(span_in(&bytes, record.get())) });
    }
    Ok(page.next_cursor.filter(|cursor| !cursor.is_empty()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow, default)]
    tools: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    prompts: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    resources: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    resource_templates: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    uri: Option<String>,
    #[serde(default)]
    uri_template: Option<String>,
}

impl Key {
    fn of(self, kind: ListKind) -> Option<String> {
        match kind {
            ListKind::Tools | ListKind::Prompts => self.name,
            ListKind::Resources => self.uri,
            ListKind::Templates => self.uri_template,
        }
    }
}

/// The library quotes values that it did not expect.
pub(super) fn malformed(method: &str, error: &serde_json::Error) -> String {
    format!("its answer to `{method}` is malformed: {}", redact::quote(&error.to_string(), MAX_QUOTE))
}

pub(super) fn error_code(error: &str) -> Option<i32> {
    #[derive(Deserialize)]
    struct ErrorCode {
        code: i32,
    }
    json::read::<ErrorCode>(error).ok().map(|error| error.code)
}

/// The `message` of an error object, as it may be shown: a server's words, for a sentence of ours.
pub fn error_message(error: &str) -> String {
    #[derive(Deserialize)]
    struct ErrorText {
        message: String,
    }
    let message = json::read::<ErrorText>(error).map_or_else(|_| "an error without a message".to_owned(), |error| error.message);
    redact::quote(&message, MAX_QUOTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(kind: ListKind, result: &str) -> (Vec<String>, Option<String>) {
        let reply = Message::parse(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#).into()).expect("valid");
        let mut items = Vec::new();
        let cursor = read_page(kind, &reply, &mut items).expect("readable");
        (items.into_iter().map(|item| format!("{} {}", item.key, String::from_utf8_lossy(&item.json))).collect(), cursor)
    }

    #[test]
    fn records_keep_their_text() {
        let (items, cursor) = page(ListKind::Tools, r#"{"tools":[{"x":1.0,"name":"a"},{"noname":1},{ "name" : "b" }],"nextCursor":"c"}"#);
        assert_eq!(items, [r#"a {"x":1.0,"name":"a"}"#, r#"b { "name" : "b" }"#]);
        assert_eq!(cursor.as_deref(), Some("c"));
        assert_eq!(
            page(ListKind::Templates, r#"{"resourceTemplates":[{"uriTemplate":"t://{x}"}]}"#).0,
            [r#"t://{x} {"uriTemplate":"t://{x}"}"#]
        );
        assert_eq!(page(ListKind::Resources, "{}"), (Vec::new(), None));
    }
}
