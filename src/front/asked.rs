//! The requests of servers that wait for one client's answer.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::{
    protocol::message::{Frame, Id, Message},
    router::AskError,
};

/// One for a session. Each request goes out under an id of this table's own: servers
/// count theirs without knowing of each other.
#[derive(Debug, Default)]
pub struct Asked(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    last: u64,
    waiting: HashMap<Id, oneshot::Sender<Message>>,
    ended: bool,
}

impl Asked {
    /// Sends the request by `send`, which tells whether the client can still be reached, and waits for
    /// the answer. If the future is dropped meanwhile, `withdraw` gets the notification that says so.
    ///
    /// # Errors
    /// [`AskError::Gone`]
    pub async fn ask(
        &self,
        request: &Message,
        send: impl AsyncFnOnce(Frame) -> bool,
        withdraw: impl FnOnce(Frame),
    ) -> Result<Message, AskError> {
        let (answer, answered) = oneshot::channel();
        let id = self.enter(answer)?;
        let mut asking = Asking { asked: self, id, withdraw: None };
        if !send(request.edited(&asking.id, Vec::new())).await {
            return Err(AskError::Gone);
        }
        asking.withdraw = Some(withdraw);
        let answer = answered.await;
        // Whatever it was, there is nothing to withdraw any more.
        asking.withdraw = None;
        answer.map_err(|_| AskError::Gone)
    }

    /// Takes the client's response. False if nobody waits for it.
    pub fn answered(&self, message: Message) -> bool {
        let waiting = message.id().and_then(|id| self.table().waiting.remove(&id));
        waiting.is_some_and(|waiting| waiting.send(message).is_ok())
    }

    /// The client is gone: who waits for it learns so, and nobody is asked any more.
    pub fn end(&self) {
        let mut table = self.table();
        table.ended = true;
        table.waiting.clear();
    }

    fn enter(&self, answer: oneshot::Sender<Message>) -> Result<Id, AskError> {
        let mut table = self.table();
        if table.ended {
            return Err(AskError::Gone);
        }
        table.last += 1;
        // Text, so that not even a careless client takes it for one of its own numbers.
        let id = Id::parse(&format!("\"asked-{}\"", table.last)).expect("this is a JSON string");
        table.waiting.insert(id.clone(), answer);
        Ok(id)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
            assert!(!asked.answered(message(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#)));
            assert!(asked.answered(message(r#"{"jsonrpc":"2.0","id":"asked-1","result":{"y":2.0}}"#)));
            assert!(!asked.answered(message(r#"{"jsonrpc":"2.0","id":"asked-1","result":{"y":3.0}}"#)));
        };
        let (answer, ()) = tokio::join!(asked.ask(&request, send, |_| panic!("it is answered")), answering);
        assert_eq!(answer.expect("an answer").body(), Some(r#"{"y":2.0}"#));
        let expect = r#"{"jsonrpc":"2.0","id":"asked-1","method":"sampling/createMessage","params":{"x":1.0}}"#;
        assert_eq!(*written.lock().expect("nobody panics"), [expect]);
    }

    #[tokio::test]
    async fn dropping_the_wait_withdraws_the_request() {
        let asked = Asked::default();
        let withdrawn = Mutex::new(None);
        let request = message(REQUEST);
        let mut asking =
            Box::pin(asked.ask(&request, async |_| true, |frame| *withdrawn.lock().expect("nobody panics") = Some(text(frame))));
        assert!(futures_util::poll!(&mut asking).is_pending());
        drop(asking);
        let withdrawn = withdrawn.lock().expect("nobody panics").take().expect("it is withdrawn");
        assert!(
            withdrawn.contains(r#""method":"notifications/cancelled""#) && withdrawn.contains(r#""requestId":"asked-1""#),
            "{withdrawn}"
        );
        assert!(!asked.answered(message(r#"{"jsonrpc":"2.0","id":"asked-1","result":{}}"#)));
    }

    #[tokio::test]
    async fn a_client_that_is_gone_answers_nothing() {
        let asked = Asked::default();
        let request = message(REQUEST);
        assert_eq!(asked.ask(&request, async |_| false, |_| panic!("it was not sent")).await.err(), Some(AskError::Gone));
        let ending = async {
            tokio::task::yield_now().await;
            asked.end();
        };
        let (answer, ()) = tokio::join!(asked.ask(&request, async |_| true, |_| panic!("nobody is there")), ending);
        assert_eq!(answer.err(), Some(AskError::Gone));
        assert_eq!(asked.ask(&request, async |_| true, |_| panic!("nobody is there")).await.err(), Some(AskError::Gone));
    }
}
