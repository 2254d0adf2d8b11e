use super::*;
use crate::downstream::mailbox::Post;

struct Wired {
    handler: Handler,
    _events: mpsc::Receiver<Event>,
    notices: mpsc::Receiver<Notice>,
}

fn wired() -> Wired {
    let (events, event_receiver) = mpsc::channel(1);
    let (notices, notice_receiver) = mpsc::channel(1);
    let handler = Handler::new(
        ServerId::new("s"),
        "s".to_owned(),
        Limits::default(),
        News { events, notices, seat: Seat::Shared, client: OnlyClient::default() },
    );
    Wired { handler, _events: event_receiver, notices: notice_receiver }
}

fn message(text: &str) -> Message {
    Message::parse(&text.to_owned().into()).expect("a message")
}

impl Wired {
    fn register(&self, session: Option<u64>) -> (u64, Arc<Mailbox>) {
        self.handler.register(Caller { session, wants_progress: false }).expect("the connection is open")
    }

    /// What is answered at once to a request on the stream of `call`.
    fn ask(&self, call: Option<u64>) -> Option<String> {
        let answer = self.handler.receive(message(r#"{"jsonrpc":"2.0","id":"x","method":"sampling/createMessage"}"#), call)?;
        Some(String::from_utf8_lossy(&answer.into_bytes()).into_owned())
    }

    #[track_caller]
    fn refuses(&self, call: Option<u64>, why: &str) {
        let answer = self.ask(call).expect("an answer");
        assert!(answer.contains(r#""id":"x","error":{"code":-32600"#) && answer.contains(why), "{answer}");
    }
}

#[track_caller]
fn was_asked(mailbox: &Mailbox, times: usize) {
    assert_eq!(mailbox.close().iter().filter(|said| matches!(said, Said::Ask(_))).count(), times);
}

#[test]
fn a_request_goes_to_the_call_on_whose_stream_it_comes() {
    let wired = wired();
    let (first, first_mailbox) = wired.register(Some(1));
    let (second, second_mailbox) = wired.register(Some(2));
    assert_eq!(wired.ask(Some(first)), None);
    assert_eq!(wired.ask(Some(second)), None);
    assert_eq!(wired.ask(Some(second)), None);
    wired.refuses(Some(77), "no call in flight");
    was_asked(&first_mailbox, 1);
    was_asked(&second_mailbox, 2);
}

#[test]
fn without_a_stream_it_goes_to_the_latest_call_of_the_only_session() {
    let wired = wired();
    wired.refuses(None, "no call in flight");
    let (_, own) = wired.register(None);
    wired.refuses(None, "no call in flight");
    let (_, first) = wired.register(Some(1));
    let (_, second) = wired.register(Some(1));
    assert_eq!(wired.ask(None), None);
    was_asked(&own, 0);
    was_asked(&first, 0);
    was_asked(&second, 1);
}

#[test]
fn where_several_clients_have_calls_nobody_is_asked() {
    let wired = wired();
    let (one, first) = wired.register(Some(1));
    let (_, second) = wired.register(Some(2));
    wired.refuses(None, "several clients");
    // Answered calls are done; the server may go on with one that was given up.
    wired.handler.receive(message(&format!(r#"{{"jsonrpc":"2.0","id":{one},"result":{{}}}}"#)), None);
    assert_eq!(wired.ask(None), None);
    let (three, _) = wired.register(Some(3));
    assert!(wired.handler.give_up(three));
    wired.refuses(None, "several clients");
    // Its answer comes for nobody, but shows that the server is done with it.
    wired.handler.receive(message(&format!(r#"{{"jsonrpc":"2.0","id":{three},"result":{{}}}}"#)), None);
    assert_eq!(wired.ask(None), None);
    was_asked(&first, 0);
    was_asked(&second, 2);
}

#[test]
fn a_session_that_has_given_up_a_call_can_be_asked_in_its_next() {
    let wired = wired();
    let (one, _) = wired.register(Some(1));
    assert!(wired.handler.give_up(one));
    let (_, mailbox) = wired.register(Some(1));
    assert_eq!(wired.ask(None), None);
    was_asked(&mailbox, 1);
}

#[tokio::test]
async fn a_withdrawal_finds_its_call_and_a_reply_is_the_last() {
    let wired = wired();
    let (one, first) = wired.register(Some(1));
    let (two, second) = wired.register(Some(2));
    assert_eq!(wired.ask(Some(two)), None);
    assert!(matches!(second.next().await, Post::Said(Said::Ask(_))));
    wired.handler.receive(message(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}"#), None);
    for call in [one, two] {
        wired.handler.receive(message(&format!(r#"{{"jsonrpc":"2.0","id":{call},"result":{{}}}}"#)), None);
    }
    assert!(matches!(first.next().await, Post::Reply(Ok(_))));
    assert!(matches!(second.next().await, Post::Said(Said::Withdrawn(id)) if id.as_json() == "\"x\""));
    assert!(matches!(second.next().await, Post::Reply(Ok(_))));
}

impl Wired {
    /// A call that is answered after it was asked something on no stream.
    async fn asked_and_answered(&self, session: u64) -> Arc<Mailbox> {
        let (id, mailbox) = self.register(Some(session));
        assert_eq!(self.ask(None), None);
        assert!(matches!(mailbox.next().await, Post::Said(Said::Ask(_))));
        self.handler.receive(message(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)), None);
        mailbox
    }

    fn withdraw(&self) {
        self.handler.receive(message(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}"#), None);
    }
}

#[tokio::test]
async fn no_withdrawal_is_lost_between_an_answer_and_its_reader() {
    let wired = wired();
    let (other, _) = wired.register(Some(1));
    let mailbox = wired.asked_and_answered(1).await;
    wired.withdraw();
    assert!(matches!(mailbox.next().await, Post::Said(Said::Withdrawn(_))), "before the reply is read");
    assert!(matches!(mailbox.next().await, Post::Reply(Ok(_))));
    wired.withdraw();
    assert!(wired.handler.linger(&mailbox));
    assert!(matches!(mailbox.next().await, Post::Said(Said::Withdrawn(_))), "after the reply is read");
    wired.withdraw();
    assert!(matches!(mailbox.next().await, Post::Said(Said::Withdrawn(_))), "while it lingers");
    wired.handler.forget(other);
    assert!(matches!(mailbox.next().await, Post::Reply(Err(LinkError::Closed))));
}

#[tokio::test]
async fn nothing_is_asked_of_a_call_that_lingers() {
    let wired = wired();
    wired.register(Some(1));
    let mailbox = wired.asked_and_answered(1).await;
    assert!(matches!(mailbox.next().await, Post::Reply(Ok(_))));
    assert!(wired.handler.linger(&mailbox));
    // Where the server's streams are read side by side, a request may come late.
    assert!(!mailbox.put(Said::Log(message(r#"{"jsonrpc":"2.0","method":"notifications/message"}"#))));
}

#[tokio::test]
async fn so_many_answered_calls_of_a_session_linger_and_no_more() {
    let wired = wired();
    let mut lingering = Vec::new();
    for (session, count) in [(1, 3), (2, LINGERING + 2)] {
        let (running, _) = wired.register(Some(session));
        for _ in 0..count {
            let mailbox = wired.asked_and_answered(session).await;
            assert!(matches!(mailbox.next().await, Post::Reply(Ok(_))));
            assert!(wired.handler.linger(&mailbox));
            lingering.push(mailbox);
        }
        let was_abandoned = |mailbox: &Arc<Mailbox>| {
            let next = std::pin::pin!(mailbox.next());
            let step = futures_util::FutureExt::now_or_never(next);
            matches!(step, Some(Post::Reply(Err(LinkError::Closed))))
        };
        let abandoned: Vec<_> = lingering.iter().map(was_abandoned).collect();
        let expect: Vec<_> = (0..count).map(|n| count > LINGERING && n < 2).collect();
        assert_eq!(abandoned, expect, "session {session}");
        lingering.clear();
        wired.handler.forget(running);
    }
}

#[test]
fn what_belongs_to_no_call_is_a_notice() {
    let mut wired = wired();
    let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b"}}"#;
    assert!(wired.handler.receive(message(updated), None).is_none());
    assert!(matches!(wired.notices.try_recv(), Ok(Notice::Updated(_, message)) if message.text() == updated));
}

#[test]
fn what_belongs_to_no_call_is_for_the_only_client() {
    let mut wired = wired();
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}"#;
    let other = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
    for text in [log, other] {
        wired.handler.receive(message(text), None);
        assert!(wired.notices.try_recv().is_err(), "nobody knows whose it is");
    }
    wired.handler.only_client().set(Arc::new(crate::protocol::declared::Declared::nothing()));
    wired.handler.receive(message(log), None);
    assert!(matches!(wired.notices.try_recv(), Ok(Notice::Logged(place, _)) if place == Place::shared(ServerId::new("s"))));
    wired.handler.receive(message(other), None);
    assert!(matches!(wired.notices.try_recv(), Ok(Notice::Said(..))));
    let (_, mailbox) = wired.register(Some(1));
    wired.handler.receive(message(other), None);
    assert!(wired.notices.try_recv().is_err(), "it belongs to the call");
    assert!(matches!(mailbox.close().front(), Some(Said::Other(_))));
}

#[track_caller]
fn ended(mailbox: &Mailbox) -> Option<Result<Message, LinkError>> {
    match futures_util::FutureExt::now_or_never(mailbox.next()) {
        Some(Post::Reply(reply)) => Some(reply),
        Some(Post::Said(_)) => panic!("nothing was said"),
        None => None,
    }
}

#[test]
fn on_the_stream_of_a_call_nothing_is_for_another_one() {
    let wired = wired();
    let (one, first) = wired.register(Some(1));
    let (two, second) = wired.register(Some(2));
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{one},"result":{{"x":"of two"}}}}"#);
    wired.handler.receive(message(&answer), Some(two));
    wired.handler.unreadable(&Id::number(one), Some(two), LinkError::Closed);
    assert!(ended(&first).is_none() && ended(&second).is_none());
    assert!(wired.handler.is_doubtful(two) && !wired.handler.is_doubtful(one));
    let doubt = wired.handler.doubt(two).expect("it is remembered");
    assert!(doubt.to_string().contains("under another id"), "{doubt}");
    wired.handler.receive(message(&answer), Some(one));
    assert!(matches!(ended(&first), Some(Ok(_))));
}

#[test]
fn an_id_that_was_made_a_text_is_ours() {
    let wired = wired();
    let (one, mailbox) = wired.register(Some(1));
    wired.handler.receive(message(&format!(r#"{{"jsonrpc":"2.0","id":"{one}","result":{{}}}}"#)), None);
    assert!(matches!(ended(&mailbox), Some(Ok(_))));
}

#[test]
fn an_answer_that_no_client_could_read_is_told() {
    let wired = wired();
    for error in ["{}", r#"{"code":"x","message":"so"}"#, r#""boom""#] {
        let (one, mailbox) = wired.register(Some(1));
        wired.handler.receive(message(&format!(r#"{{"jsonrpc":"2.0","id":{one},"error":{error}}}"#)), None);
        assert!(matches!(ended(&mailbox), Some(Err(LinkError::Protocol { .. }))), "{error}");
    }
}

#[test]
fn the_only_call_is_doubted_after_an_answer_for_nobody() {
    for text in [
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"unreadable"}}"#,
        r#"{"jsonrpc":"2.0","id":"x","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":4242,"result":{}}"#,
    ] {
        let wired = wired();
        let (_, first) = wired.register(Some(1));
        let (two, second) = wired.register(Some(2));
        wired.handler.receive(message(text), None);
        assert!(wired.handler.doubtful_until().is_none(), "it can be for either: {text}");
        wired.handler.receive(message(&format!(r#"{{"jsonrpc":"2.0","id":{two},"result":{{}}}}"#)), None);
        assert!(matches!(ended(&second), Some(Ok(_))));
        // Ids that were ours once say nothing of other calls.
        wired.handler.receive(message(&format!(r#"{{"jsonrpc":"2.0","id":{two},"result":{{}}}}"#)), None);
        assert!(wired.handler.doubtful_until().is_none());
        wired.handler.receive(message(text), None);
        assert!(wired.handler.doubtful_until().is_some(), "{text}");
        wired.handler.fail_doubtful();
        assert!(matches!(ended(&first), Some(Err(LinkError::Protocol { .. }))), "{text}");
    }
}

#[test]
fn an_answer_settles_every_doubt() {
    let wired = wired();
    let (one, mailbox) = wired.register(Some(1));
    wired.handler.receive(message(r#"{"jsonrpc":"2.0","id":"x","result":{}}"#), None);
    wired.handler.receive(message(r#"{"jsonrpc":"2.0","id":"x","result":{}}"#), Some(one));
    wired.handler.receive(message(&format!(r#"{{"jsonrpc":"2.0","id":{one},"result":{{}}}}"#)), None);
    assert!(matches!(ended(&mailbox), Some(Ok(_))));
    assert!(wired.handler.doubtful_until().is_none() && !wired.handler.is_doubtful(one));
}

#[test]
fn what_is_asked_for_no_client_is_not_doubted() {
    let wired = wired();
    let (own, _) = wired.register(None);
    let refused = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"what?"}}"#;
    for call in [None, Some(own)] {
        wired.handler.receive(message(refused), call);
        assert!(wired.handler.doubtful_until().is_none() && !wired.handler.is_doubtful(own));
    }
}
