use std::future::poll_fn;

use super::*;

fn frame(text: &str) -> Frame {
    Frame::from(Bytes::copy_from_slice(text.as_bytes()))
}

fn numbered() -> Settings {
    Settings { numbered: true, ..Settings::default() }
}

/// What the reader gets without waiting.
async fn ready(events: &mut Events) -> Vec<String> {
    let mut pieces = Vec::new();
    while let Poll::Ready(piece) = poll_fn(|context| Poll::Ready(events.poll_next(context))).await {
        let Some(piece) = piece else {
            pieces.push("END".to_owned());
            break;
        };
        pieces.push(String::from_utf8(piece.to_vec()).expect("UTF-8").replace("event: message\n", "").replace('\n', "|"));
    }
    pieces
}

#[tokio::test]
async fn a_client_that_comes_back_goes_on_after_its_last_event() {
    let streams = Streams::new();
    let stream = streams.open();
    let mut first = stream.read(None, numbered());
    stream.push(frame("1"));
    stream.push(frame("{\n2\r}"));
    assert_eq!(ready(&mut first).await, ["id: 1-1|data: 1||", "id: 1-2|data: { 2 }||"]);
    drop(first);
    stream.push(frame("3"));
    stream.finish();

    let last = EventId::parse("1-1").expect("an id");
    let found = streams.find(last).expect("it is kept");
    let mut again = found.read(Some(last.event), numbered());
    assert_eq!(ready(&mut again).await, ["id: 1-2|data: { 2 }||", "id: 1-3|data: 3||", "END"]);
    assert!(streams.find(EventId::parse("2-1").expect("an id")).is_none());
}

#[tokio::test]
async fn the_newest_reader_is_served() {
    let streams = Streams::new();
    let mut old = streams.standalone().read(None, numbered());
    assert_eq!(ready(&mut old).await, Vec::<String>::new());
    let mut new = streams.standalone().read(None, numbered());
    streams.standalone().push(frame("1"));
    assert_eq!(ready(&mut old).await, ["END"]);
    drop(old);
    assert_eq!(ready(&mut new).await, ["id: 0-1|data: 1||"]);
}

#[tokio::test]
async fn a_stream_that_nobody_reads_stays_bounded() {
    let stream = Stream::alone();
    for number in 0..WAITING + 10 {
        stream.push(frame(&number.to_string()));
    }
    let mut events = stream.read(None, numbered());
    let got = ready(&mut events).await;
    assert_eq!((got.len(), got[0].as_str()), (WAITING, "id: 0-11|data: 10||"));
    assert!(stream.state().events.len() <= KEPT_EVENTS);
}

#[tokio::test]
async fn a_call_waits_for_a_reader_that_is_slow_and_not_for_one_that_is_gone() {
    let stream = Stream::alone();
    let events = stream.read(None, numbered());
    for _ in 0..WAITING {
        stream.send(frame("x")).await;
    }
    let mut more = Box::pin(stream.send(frame("y")));
    assert!(futures_util::poll!(&mut more).is_pending());
    drop(events);
    more.await;
}

#[tokio::test]
async fn large_events_count_for_many() {
    let stream = Stream::alone();
    let mut events = stream.read(None, numbered());
    let large = frame(&"x".repeat(payload::STREAM_WAITING / 4));
    for _ in 0..4 {
        stream.send(large.clone()).await;
    }
    let mut more = Box::pin(stream.send(large.clone()));
    assert!(futures_util::poll!(&mut more).is_pending());
    assert_eq!(ready(&mut events).await.len(), 4);
    more.await;
    // One that is away misses the rest, and not its answer.
    drop(events);
    for _ in 0..100 {
        stream.send(large.clone()).await;
    }
    stream.push(frame("answer"));
    assert!(stream.state().bytes <= payload::STREAM_WAITING + large.len(), "{}", stream.state().bytes);
    let got = ready(&mut stream.read(None, numbered())).await;
    assert!(got.last().is_some_and(|event| event.contains("answer")), "{} events", got.len());
}

#[tokio::test]
async fn a_primed_stream_can_be_resumed_from_its_start() {
    let stream = Stream::alone();
    let mut events = stream.read(None, Settings { numbered: true, primed: true, ..Settings::default() });
    assert_eq!(ready(&mut events).await, ["id: 0-0|retry: 1000|data: ||"]);
    stream.push(frame("1"));
    stream.finish();
    assert_eq!(ready(&mut stream.read(Some(0), numbered())).await, ["id: 0-1|data: 1||", "END"]);
}

#[tokio::test]
async fn a_primed_stream_repeats_nothing() {
    let stream = Stream::alone();
    stream.push(frame("1"));
    assert_eq!(ready(&mut stream.read(None, numbered())).await, ["id: 0-1|data: 1||"]);
    stream.push(frame("2"));
    let mut events = stream.read(None, Settings { numbered: true, primed: true, ..Settings::default() });
    assert_eq!(ready(&mut events).await, ["id: 0-1|retry: 1000|data: ||", "id: 0-2|data: 2||"]);
}

#[tokio::test]
async fn finished_streams_are_let_go() {
    let streams = Streams::new();
    for _ in 0..3 * KEPT_STREAMS {
        streams.open().finish();
    }
    assert!(streams.calls().len() <= KEPT_STREAMS);
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_comments() {
    let stream = Stream::alone();
    let mut events = stream.read(None, numbered());
    let piece = poll_fn(|context| events.poll_next(context)).await;
    assert_eq!(piece.as_deref(), Some(&b": keep-alive\n\n"[..]));
}

#[tokio::test]
async fn no_place_is_behind_the_last_one_that_can_be_named() {
    let streams = Streams::new();
    let stream = streams.open();
    stream.push(frame("1"));
    let last = EventId::parse(&format!("1-{}", u64::MAX)).expect("an id");
    let mut events = streams.find(last).expect("it is kept").read(Some(last.event), numbered());
    assert!(ready(&mut events).await.is_empty(), "nothing comes after it");
}
