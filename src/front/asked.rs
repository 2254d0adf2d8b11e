//! The requests of servers that wait for one client's answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use tokio::sync::oneshot;

use crate::{
    protocol::{
        json::Object,
        message::{Frame, Id, Invalid, Message, Span},
    },
    router::{AskError, Report},
};

/// One for a session. Each request goes out under an id of this table's own, which is its progress token too: servers
/// count theirs without knowing of each other.
#[derive(Debug, Default)]
pub struct Asked(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    last: u64,
    waiting: HashMap<Id, Waiting>,
    ended: bool,
}

/// What becomes of a client's response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    Taken,
    /// It was asked, and nobody waits for it any more: the server has taken it back, or it is answered already.
    Late,
    /// Nothing was ever asked under this id.
    Unasked,
}

/// A server that waits.
#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Result<Message, AskError>>,
    /// The token that the server has given, as JSON text, and who passes progress on to it.
    progress: Option<(Bytes, Arc<dyn Report>)>,
}

impl Asked {
    /// Sends the request by `send`, which tells whether the client can still be reached, and waits for
    /// the answer. What the client reports meanwhile goes to `report`. If the future is dropped, `withdraw` gets the notification that says so.
    ///
    /// # Errors
    /// [`AskError::Gone`]
    pub async fn ask(
        &self,
        request: &Message,
        report: Option<Arc<dyn Report>>,
        send: impl AsyncFnOnce(Frame) -> bool,
        withdraw: impl FnOnce(Frame),
    ) -> Result<Message, AskError> {
        let (answer, answered) = oneshot::channel();
        let token = progress_token(request);
        let progress = token.clone().map(|span| request.text().slice(span)).zip(report);
        let id = self.enter(Waiting { answer, progress })?;
        // One that nobody listens for is replaced as well: it must not be taken for one of ours.
        let edits = token.map(|span| (span, id.as_json().clone())).into_iter().collect();
        let mut asking = Asking { asked: self, id, withdraw: None };
        if !send(request.edited(&asking.id, edits)).await {
            return Err(AskError::Gone);
        }
        asking.withdraw = Some(withdraw);
        let answer = answered.await;
        // Whatever it was, there is nothing to withdraw any more.
        asking.withdraw = None;
        answer.unwrap_or(Err(AskError::Gone))
    }

    /// Takes the client's response. A server could not read one with a [flaw](Message::flaw), and is told so.
    pub fn answered(&self, message: Message) -> Answered {
        let Some(id) = message.id() else { return Answered::Unasked };
        let answer = if message.flaw().is_none() { Ok(message) } else { Err(AskError::Malformed) };
        self.settle(&id, answer)
    }

    /// Takes what was meant as a response and cannot be read.
    pub fn unreadable(&self, invalid: &Invalid) -> Answered {
        match &invalid.id {
            Some(id) if invalid.is_response => self.settle(id, Err(AskError::Malformed)),
            Some(_) | None => Answered::Unasked,
        }
    }

    fn settle(&self, id: &Id, answer: Result<Message, AskError>) -> Answered {
        let (waiting, last) = {
            let mut table = self.table();
            (table.waiting.remove(id), table.last)
        };
        match waiting {
            Some(waiting) => match waiting.answer.send(answer) {
                Ok(()) => Answered::Taken,
                // The server has taken the request back in this moment.
                Err(_) => Answered::Late,
            },
            None if number_of(id).is_some_and(|number| (1..=last).contains(&number)) => Answered::Late,
            None => Answered::Unasked,
        }
    }

    /// Passes on the client's progress, under the token of the server that has asked. False if no server waits for it.
    pub fn progressed(&self, message: &Message) -> bool {
        let params = message.body().and_then(|params| Object::parse(params).ok());
        let token = params.as_ref().and_then(|params| Id::parse(params.get("progressToken")?));
        let progress = token.and_then(|token| self.table().waiting.get(&token)?.progress.clone());
        let span = params.and_then(|params| params.span(message.text(), "progressToken"));
        let Some(((token, report), span)) = progress.zip(span) else { return false };
        report.report(Frame::spliced(message.text(), vec![(span, token)]));
        true
    }

    /// The client is gone: who waits for it learns so, and nobody is asked any more.
    pub fn end(&self) {
        let mut table = self.table();
        table.ended = true;
        table.waiting.clear();
    }

    fn enter(&self, waiting: Waiting) -> Result<Id, AskError> {
        let mut table = self.table();
        if table.ended {
            return Err(AskError::Gone);
        }
        table.last += 1;
        let id = id_of(table.last);
        table.waiting.insert(id.clone(), waiting);
        Ok(id)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the request asks for progress.
fn progress_token(request: &Message) -> Option<Span> {
    let params = Object::parse(request.body()?).ok()?;
    let meta = Object::parse(params.get("_meta")?).ok()?;
    Id::parse(meta.get("progressToken")?)?;
    meta.span(request.text(), "progressToken")
}

/// Takes a request off the table when nobody waits for its answer any more.
struct Asking<'a, W: FnOnce(Frame)> {
    asked: &'a Asked,
    id: Id,
    /// Present while the client has the request.
    withdraw: Option<W>,
}

impl<W: FnOnce(Frame)> Drop for Asking<'_, W> {
    fn drop(&mut self) {
        self.asked.table().waiting.remove(&self.id);
        if let Some(withdraw) = self.withdraw.take() {
            let id = std::str::from_utf8(self.id.as_json()).expect("ids are text");
            let params = format!(r#"{{"requestId":{id},"reason":"the server does not wait for the answer any more"}}"#);
            withdraw(Message::notification("notifications/cancelled", Some(&params)).into());
        }
    }
}

/// Text, so that not even a careless client takes it for one of its own numbers.
fn id_of(number: u64) -> Id {
    Id::parse(&format!("\"asked-{number}\"")).expect("this is a JSON string")
}

fn number_of(id: &Id) -> Option<u64> {
    std::str::from_utf8(id.as_json()).ok()?.strip_prefix("\"asked-")?.strip_suffix('"')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(&text.to_owned().into()).expect("a message")
    }

    fn text(frame: Frame) -> String {
        String::from_utf8(frame.into_bytes().into()).expect("UTF-8")
    }

    const REQUEST: &str = r#"{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{"x":1.0}}"#;

    #[tokio::test]
    async fn an_answer_reaches_who_asked() {
        let asked = Asked::default();
        let written = Mutex::new(Vec::new());
        let send = async |frame: Frame| {
            written.lock().expect("nobody panics").push(text(frame));
            true
        };
        let request = message(REQUEST);
        let answering = async {
            tokio::task::yield_now().await;
            assert_eq!(asked.answered(message(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#)), Answered::Unasked);
            assert_eq!(asked.answered(message(r#"{"jsonrpc":"2.0","id":"asked-2","result":{}}"#)), Answered::Unasked);
            assert_eq!(asked.answered(message(r#"{"jsonrpc":"2.0","id":"asked-1","result":{"y":2.0}}"#)), Answered::Taken);
            assert_eq!(asked.answered(message(r#"{"jsonrpc":"2.0","id":"asked-1","result":{"y":3.0}}"#)), Answered::Late);
        };
        let (answer, ()) = tokio::join!(asked.ask(&request, None, send, |_| panic!("it is answered")), answering);
        assert_eq!(answer.expect("an answer").body(), Some(r#"{"y":2.0}"#));
        let expect = r#"{"jsonrpc":"2.0","id":"asked-1","method":"sampling/createMessage","params":{"x":1.0}}"#;
        assert_eq!(*written.lock().expect("nobody panics"), [expect]);
    }

    #[tokio::test]
    async fn a_malformed_answer_ends_the_wait() {
        for text in [
            r#"{"jsonrpc":"2.0","id":"asked-1","result":{},"error":{"code":1,"message":"m"}}"#,
            r#"{"jsonrpc":"2.0","id":"asked-1"}"#,
            r#"{"jsonrpc":"2.0","id":"asked-1","result":5}"#,
            r#"{"jsonrpc":"2.0","id":"asked-1","error":{"code":"x"}}"#,
        ] {
            let asked = Asked::default();
            let request = message(REQUEST);
            let answering = async {
                tokio::task::yield_now().await;
                let answered = match Message::parse(&Bytes::from_static(text.as_bytes())) {
                    Ok(answer) => asked.answered(answer),
                    Err(invalid) => asked.unreadable(&invalid),
                };
                assert_eq!(answered, Answered::Taken, "{text}");
            };
            let asking = asked.ask(&request, None, async |_| true, |_| panic!("it is answered"));
            let (answer, ()) = tokio::join!(asking, answering);
            assert_eq!(answer.err(), Some(AskError::Malformed), "{text}");
        }
    }

    #[tokio::test]
    async fn dropping_the_wait_withdraws_the_request() {
        let asked = Asked::default();
        let withdrawn = Mutex::new(None);
        let request = message(REQUEST);
        let mut asking =
            Box::pin(asked.ask(&request, None, async |_| true, |frame| *withdrawn.lock().expect("nobody panics") = Some(text(frame))));
        assert!(futures_util::poll!(&mut asking).is_pending());
        drop(asking);
        let withdrawn = withdrawn.lock().expect("nobody panics").take().expect("it is withdrawn");
        assert!(
            withdrawn.contains(r#""method":"notifications/cancelled""#) && withdrawn.contains(r#""requestId":"asked-1""#),
            "{withdrawn}"
        );
        assert_eq!(asked.answered(message(r#"{"jsonrpc":"2.0","id":"asked-1","result":{}}"#)), Answered::Late);
    }

    #[tokio::test]
    async fn a_client_that_is_gone_answers_nothing() {
        let asked = Asked::default();
        let request = message(REQUEST);
        assert_eq!(asked.ask(&request, None, async |_| false, |_| panic!("it was not sent")).await.err(), Some(AskError::Gone));
        let ending = async {
            tokio::task::yield_now().await;
            asked.end();
        };
        let (answer, ()) = tokio::join!(asked.ask(&request, None, async |_| true, |_| panic!("nobody is there")), ending);
        assert_eq!(answer.err(), Some(AskError::Gone));
        assert_eq!(asked.ask(&request, None, async |_| true, |_| panic!("nobody is there")).await.err(), Some(AskError::Gone));
    }
}
