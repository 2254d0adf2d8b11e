//! Real sockets on loopback, with limits of tenths of a second.

use std::collections::VecDeque;

use axum::{
    extract::{Extension, State},
    http::StatusCode,
    routing::{get, post},
};
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::*;
use crate::front::http::{origin, reply};

/// Longer than anything here takes unless it is broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the slow answers wait.
const SLOW: Duration = Duration::from_millis(400);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// No limit that a test could reach by accident.
fn limits() -> limits::Config {
    limits::Config { header_read: PATIENCE, idle: PATIENCE, write: PATIENCE, half_closed: PATIENCE, ..limits::Config::default() }
}

struct Server {
    address: SocketAddr,
    closing: CancellationToken,
    task: JoinHandle<()>,
    /// Says each time that the body of `/forever` or of `/endless` was dropped.
    dropped: mpsc::UnboundedReceiver<()>,
}

impl Server {
    async fn start(limits: limits::Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (drops, dropped) = mpsc::unbounded_channel();
        let closing = CancellationToken::new();
        let task = tokio::spawn(serve(
            listener,
            Edge { limits, guard: Guard::new(&origin::Config::default()) },
            app(drops),
            TaskTracker::new(),
            closing.clone(),
        ));
        Self { address, closing, task, dropped }
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.expect("it listens"))
    }

    async fn connect_http2(&self, window: u32) -> (http2::SendRequest<Body>, JoinHandle<Result<(), hyper::Error>>) {
        let stream = TokioIo::new(TcpStream::connect(self.address).await.expect("it listens"));
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let connected = builder.initial_stream_window_size(window).handshake(stream).await;
        let (requests, connection) = connected.expect("it speaks HTTP/2");
        (requests, tokio::spawn(connection))
    }

    /// Waits until a body was dropped.
    async fn drops_a_body(&mut self) {
        patiently(self.dropped.recv()).await.expect("the app lives");
    }

    async fn ends(self) {
        patiently(self.task).await.expect("it does not panic");
    }
}

async fn patiently<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it does not take so long")
}

/// A connection that writes and reads text.
struct Client(TcpStream);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("it is open");
    }

    async fn get(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
    }

    /// Reads until this comes.
    async fn reads(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let byte = patiently(self.0.read_u8()).await;
            text.push(byte.unwrap_or_else(|error| panic!("{error} after {}", String::from_utf8_lossy(&text))));
        }
        String::from_utf8(text).expect("text")
    }

    /// Reads until the server closes its side, or resets.
    async fn reads_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = patiently(self.0.read_to_end(&mut bytes)).await;
        bytes
    }
}

fn app(drops: mpsc::UnboundedSender<()>) -> Router {
    Router::new()
        .route("/fast", get(async || "fast"))
        .route(
            "/slow",
            get(async || {
                sleep(SLOW).await;
                "slow"
            }),
        )
        .route("/defect", get(async || -> &'static str { panic!("an invariant does not hold") }))
        .route("/large", get(async || vec![b'x'; LARGE]))
        .route("/peer", get(async |Extension(peer): Extension<Peer>| format!("{} {}", peer.remote, peer.local)))
        .route("/forever", get(async |State(drops): State<mpsc::UnboundedSender<()>>| Body::new(Script::new(false, drops))))
        .route("/endless", get(async |State(drops): State<mpsc::UnboundedSender<()>>| Body::new(Script::new(true, drops))))
        .route("/echo", post(async |body: Body| limits::read_body(body, limits::Room::Full, &limits()).await))
        .route(
            "/slow",
            post(async |body: Body| {
                let body = limits::read_body(body, limits::Room::Full, &limits()).await;
                sleep(SLOW).await;
                body
            }),
        )
        .route("/refuse", post(async || reply::refuse(StatusCode::PAYLOAD_TOO_LARGE, "refused")))
        .with_state(drops)
}

const LARGE: usize = 8 * 1024 * 1024;

/// A body that begins at once, and then has either no end or nothing more.
struct Script {
    chunks: VecDeque<Bytes>,
    endless: bool,
    drops: mpsc::UnboundedSender<()>,
}

impl Script {
    fn new(endless: bool, drops: mpsc::UnboundedSender<()>) -> Self {
        Self { chunks: [Bytes::from_static(b"begun")].into(), endless, drops }
    }
}

impl HttpBody for Script {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
        let chunk = self.chunks.pop_front().or_else(|| self.endless.then(|| Bytes::from_static(&ZEROS)));
        chunk.map_or(Poll::Pending, |chunk| Poll::Ready(Some(Ok(Frame::data(chunk)))))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.drops.send(());
    }
}

#[tokio::test]
async fn requests_are_answered_one_after_the_other() {
    let server = Server::start(limits()).await;
    let mut client = server.connect().await;
    client.get("/peer").await;
    let own = client.0.local_addr().expect("an address");
    client.reads(&format!("\r\n\r\n{own} {}", server.address)).await;
    client.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n").await;
    client.reads("\r\n\r\nabc").await;
    client.send(&"GET /fast HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2)).await;
    client.reads("fast").await;
    client.reads("fast").await;
}

#[tokio::test]
async fn a_request_that_panics_is_answered_and_its_connection_goes_on() {
    let server = Server::start(limits()).await;
    let mut client = server.connect().await;
    client.get("/defect").await;
    let answer = client.reads("its log says where\"}}").await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains(r#""id":null,"error":{"code":-32603"#), "{answer}");
    client.get("/fast").await;
    client.reads("fast").await;
}

#[tokio::test]
async fn heads_are_judged_before_they_are_routed() {
    let server = Server::start(limits::Config { header_bytes: 1000, header_fields: 5, ..limits() }).await;
    for (head, status) in [
        ("Host: localhost", "404"),
        ("Host: evil.com", "403"),
        ("Host: localhost\r\nOrigin: https://evil.com", "403"),
        ("X-A: localhost", "400"),
        (&format!("Host: localhost\r\nX-A: {}", "a".repeat(1000)), "431"),
        (&format!("Host: localhost\r\nX-A: {}", "a".repeat(100_000)), "431"),
        (&format!("Host: localhost{}", "\r\nX-A: a".repeat(5)), "431"),
        (&format!("Host: localhost{}", "\r\nX-A: a".repeat(99)), "431"),
    ] {
        let mut client = server.connect().await;
        client.send(&format!("GET /nowhere HTTP/1.1\r\n{head}\r\n\r\n")).await;
        let answer = client.reads("\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(answer.contains("content-type: application/json\r\n"), status != "404", "{answer}");
    }
    // An allowed page can read why it was refused.
    for more in ["", &format!("\r\nX-A: {}", "a".repeat(1000))] {
        let mut client = server.connect().await;
        client.send(&format!("GET /fast HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000{more}\r\n\r\n")).await;
        let answer = client.reads("\r\n\r\n").await;
        assert!(answer.contains("access-control-allow-origin: http://localhost:3000\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn silence_is_cut_off() {
    let server = Server::start(limits::Config { header_read: millis(300), ..limits() }).await;
    let begun = Instant::now();
    let mut client = server.connect().await;
    assert_eq!(client.reads_all().await, b"");
    assert!(begun.elapsed() >= millis(250), "{:?}", begun.elapsed());
    // What looks like HTTP/2 at first is no way around it.
    let mut client = server.connect().await;
    client.send("PRI * HTTP/2.0\r\n").await;
    assert_eq!(client.reads_all().await, b"");
}

#[tokio::test]
async fn a_slow_head_is_cut_off_though_it_goes_on() {
    let server = Server::start(limits::Config { header_read: millis(300), ..limits() }).await;
    let mut client = server.connect().await;
    // The time of the second head begins with its first byte.
    client.get("/fast").await;
    client.reads("fast").await;
    sleep(millis(400)).await;
    let begun = Instant::now();
    while client.0.write_all(b"G").await.is_ok() && begun.elapsed() < PATIENCE {
        sleep(millis(20)).await;
    }
    assert!(begun.elapsed() >= millis(250) && begun.elapsed() < millis(2000), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let server = Server::start(limits::Config { header_read: millis(200), idle: millis(600), ..limits() }).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.get("/fast").await;
        client.reads("fast").await;
        sleep(millis(350)).await;
    }
    client.get("/fast").await;
    client.reads("fast").await;
    let begun = Instant::now();
    assert_eq!(client.reads_all().await, b"");
    assert!(begun.elapsed() >= millis(500), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn connections_with_an_answer_under_way_are_not_idle() {
    let short = millis(100);
    let mut server = Server::start(limits::Config { header_read: short, idle: short, write: short, half_closed: short, ..limits() }).await;
    let (mut waiting, mut streaming) = (server.connect().await, server.connect().await);
    waiting.get("/slow").await;
    streaming.get("/forever").await;
    waiting.reads("slow").await;
    streaming.reads("begun\r\n").await;
    sleep(SLOW).await;
    assert!(server.dropped.try_recv().is_err(), "the stream still runs");
}

#[tokio::test]
async fn half_closed_clients_get_their_answers() {
    let server = Server::start(limits()).await;
    for (path, length) in [("/slow", 4), ("/large", LARGE)] {
        let mut client = server.connect().await;
        client.get(path).await;
        client.0.shutdown().await.expect("it is open");
        let answer = client.reads_all().await;
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
        assert_eq!(answer.len() - head - 4, length, "{path}");
    }
    for body in ["Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"] {
        let mut client = server.connect().await;
        client.send(&format!("POST /slow HTTP/1.1\r\nHost: localhost\r\n{body}")).await;
        client.0.shutdown().await.expect("it is open");
        let answer = client.reads_all().await;
        assert!(answer.ends_with(b"\r\n\r\nabc"), "{}", String::from_utf8_lossy(&answer));
    }
    // One that goes on taking an answer is there for as long as it lasts.
    let short = Server::start(limits::Config { half_closed: millis(300), ..limits() }).await;
    let mut client = short.connect().await;
    client.get("/endless").await;
    client.0.shutdown().await.expect("it is open");
    let begun = Instant::now();
    let mut buffer = vec![0; 256 * 1024];
    while begun.elapsed() < millis(900) {
        assert_ne!(patiently(client.0.read(&mut buffer)).await.expect("it is served"), 0);
        sleep(millis(10)).await;
    }
    // A body that breaks off is no request that could be answered later.
    let mut client = server.connect().await;
    client.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc").await;
    client.0.shutdown().await.expect("it is open");
    let answer = client.reads_all().await;
    assert!(answer.starts_with(b"HTTP/1.1 400 ") || answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn clients_that_are_gone_are_noticed() {
    let mut server = Server::start(limits::Config { half_closed: millis(200), ..limits() }).await;
    let mut client = server.connect().await;
    client.get("/forever").await;
    client.reads("begun\r\n").await;
    let begun = Instant::now();
    drop(client);
    server.drops_a_body().await;
    assert!(begun.elapsed() >= millis(150), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn clients_that_take_nothing_are_cut_off() {
    let mut server = Server::start(limits::Config { write: millis(500), ..limits() }).await;
    let mut client = server.connect().await;
    client.get("/endless").await;
    let mut buffer = vec![0; 256 * 1024];
    let begun = Instant::now();
    while begun.elapsed() < millis(1200) {
        assert_ne!(patiently(client.0.read(&mut buffer)).await.expect("who takes a little is served"), 0);
        sleep(millis(20)).await;
    }
    assert!(server.dropped.try_recv().is_err(), "who takes a little is served");
    server.drops_a_body().await;
}

#[tokio::test]
async fn more_clients_than_allowed_wait() {
    let server = Server::start(limits::Config { connections: 1, ..limits() }).await;
    let mut first = server.connect().await;
    first.get("/fast").await;
    first.reads("fast").await;
    let mut second = server.connect().await;
    second.get("/fast").await;
    let early = timeout(millis(300), second.0.readable()).await;
    assert!(early.is_err(), "it waits");
    drop(first);
    second.reads("fast").await;
}

#[tokio::test]
async fn who_still_sends_can_read_why_it_was_refused() {
    let server = Server::start(limits()).await;
    let mut client = server.connect().await;
    client.send(&format!("POST /refuse HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    client.0.write_all(&vec![b'x'; LARGE]).await.expect("it is taken, and thrown away");
    let answer = String::from_utf8(client.reads_all().await).expect("text");
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("}}"), "{answer}");
}

#[tokio::test]
async fn closing_waits_for_answers() {
    let server = Server::start(limits()).await;
    let (mut idle, mut silent, mut busy) = (server.connect().await, server.connect().await, server.connect().await);
    idle.get("/fast").await;
    idle.reads("fast").await;
    busy.get("/slow").await;
    let (mut requests, connection) = server.connect_http2(65535).await;
    let slow = tokio::spawn(requests.send_request(http2_get("/slow")));
    requests.send_request(http2_get("/fast")).await.expect("an answer");
    sleep(millis(100)).await;

    server.closing.cancel();
    assert_eq!(idle.reads_all().await, b"");
    assert_eq!(silent.reads_all().await, b"");
    let answer = String::from_utf8(busy.reads_all().await).expect("text");
    assert!(answer.ends_with("slow") && answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(patiently(slow).await.expect("no panic").expect("an answer").status(), 200);
    patiently(connection).await.expect("no panic").expect("it ends in order");
    let address = server.address;
    server.ends().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_is_dropped_is_cut_off() {
    let mut server = Server::start(limits()).await;
    let mut client = server.connect().await;
    client.get("/forever").await;
    client.reads("begun\r\n").await;
    server.task.abort();
    server.drops_a_body().await;
    assert_eq!(client.reads_all().await, b"");
}

fn http2_get(path: &str) -> Request<Body> {
    Request::get(format!("http://localhost{path}")).body(Body::empty()).expect("a request")
}

#[tokio::test]
async fn http2_is_spoken() {
    let server = Server::start(limits()).await;
    let (mut requests, _connection) = server.connect_http2(65535).await;
    let slow = requests.send_request(http2_get("/slow"));
    let fast = requests.send_request(http2_get("/fast"));
    let begun = Instant::now();
    let fast = patiently(fast).await.expect("an answer").into_body();
    assert!(begun.elapsed() < SLOW, "it does not wait for the slow one");
    assert_eq!(axum::body::to_bytes(Body::new(fast), 100).await.expect("a body"), "fast");
    assert_eq!(patiently(slow).await.expect("an answer").status(), 200);
    let large = Request::post("http://localhost/echo").body(Body::from(vec![b'x'; 1_000_000])).expect("a request");
    let large = patiently(requests.send_request(large)).await.expect("an answer").into_body();
    assert_eq!(axum::body::to_bytes(Body::new(large), LARGE).await.expect("a body").len(), 1_000_000);
    let evil = Request::get("http://evil.com/fast").body(Body::empty()).expect("a request");
    assert_eq!(patiently(requests.send_request(evil)).await.expect("an answer").status(), 403);
}

#[tokio::test]
async fn idle_http2_connections_are_closed() {
    let server = Server::start(limits::Config { header_read: millis(200), idle: millis(600), ..limits() }).await;
    let (mut requests, connection) = server.connect_http2(65535).await;
    for _ in 0..2 {
        patiently(requests.send_request(http2_get("/fast"))).await.expect("an answer");
        sleep(millis(350)).await;
    }
    patiently(connection).await.expect("no panic").expect("it ends in order");
}

#[tokio::test]
async fn http2_clients_that_take_nothing_are_cut_off() {
    let mut server = Server::start(limits::Config { write: millis(300), ..limits() }).await;
    let (mut requests, _connection) = server.connect_http2(1000).await;
    let waiting = patiently(requests.send_request(http2_get("/forever"))).await.expect("an answer");
    sleep(millis(600)).await;
    assert!(server.dropped.try_recv().is_err(), "who waits for us is not to blame");
    // It has a window of 1000 bytes and does not widen it.
    let stalled = patiently(requests.send_request(http2_get("/endless"))).await.expect("an answer");
    server.drops_a_body().await;
    drop((waiting, stalled));
}

/// What has its limit is not set by accident, and nobody waits for a limit that began to run late.
#[tokio::test(start_paused = true)]
async fn a_limit_ends_when_it_should() {
    let limits = limits::Config { header_read: millis(3000), idle: millis(50_000), write: millis(7000), ..limits() };
    let pulse = Pulse::default();
    let begun = Instant::now();
    assert_eq!(pulse.watch(&limits, Some(&CancellationToken::new())).await, Sign::Cut("no request came"));
    assert_eq!(begun.elapsed(), millis(3000));

    let pulse = Pulse::default();
    let begun = Instant::now();
    let watching = async { (pulse.watch(&limits, Some(&CancellationToken::new())).await, begun.elapsed()) };
    let stuck = async {
        sleep(millis(2500)).await;
        pulse.received();
        sleep(millis(400)).await;
        // Each time it takes something, it has all its time again.
        pulse.send_blocked();
        pulse.sent(1);
    };
    let (outcome, ()) = tokio::join!(watching, stuck);
    assert_eq!(outcome, (Sign::Cut("the head of a request takes too long"), millis(5500)));
}
