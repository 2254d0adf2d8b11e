//! What is judged at connections, with servers on loopback and a resolver that says what it is told to.

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Request as Received, response::IntoResponse};
use futures_util::{FutureExt, future::BoxFuture};
use hyper::{
    StatusCode,
    header::{CONTENT_ENCODING, LOCATION},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower_layer::Layer;
use tower_service::Service;

use super::*;
use crate::security::egress::connect::Guard;

/// Gives one answer after the other, and the last one from then on.
#[derive(Debug)]
pub(super) struct Script {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Script {
    pub(super) fn new(answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers.iter().rev().map(|answer| answer.iter().map(|ip| ip.parse().expect("an address")).collect());
        Arc::new(Self { answers: Mutex::new(answers.collect()), asked: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Resolve for Script {
    fn resolve(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().expect("no panic");
        let answer = if answers.len() > 1 { answers.pop() } else { answers.last().cloned() };
        async move { answer.ok_or_else(|| io::ErrorKind::NotFound.into()) }.boxed()
    }
}

/// A server at 127.0.0.1, with what it was asked.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(String, HeaderMap)>>>);

impl Seen {
    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no panic").iter().map(|(line, _)| line.clone()).collect()
    }
}

async fn serve<R: IntoResponse>(answer: impl Fn(&str) -> R + Clone + Send + Sync + 'static) -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let seen = Seen::default();
    let log = seen.clone();
    let paths = Router::new().fallback(move |request: Received| {
        let line = format!("{} {}", request.method(), request.uri());
        let response = answer(&request.uri().to_string()).into_response();
        log.0.lock().expect("no panic").push((line, request.headers().clone()));
        async move { response }
    });
    tokio::spawn(async move { axum::serve(listener, paths).await });
    (port, seen)
}

pub(super) async fn get(policy: &Policy, author: Author, url: &str) -> Result<(StatusCode, Vec<u8>), SendError> {
    let url = policy.allow(author, url).map_err(SendError::Refused)?;
    let secret = || HeaderMap::from_iter([("x-api-key".parse().expect("a name"), "SECRET".parse().expect("a value"))]);
    let response = policy.send(Method::GET, &url, secret, Bytes::new()).await?;
    let status = response.status();
    Ok((status, read(response, 1 << 20).await.expect("a body")))
}

#[track_caller]
pub(super) fn rule(outcome: Result<(StatusCode, Vec<u8>), SendError>) -> Rule {
    match outcome {
        Err(SendError::Refused(refusal)) => refusal.rule,
        other => panic!("{other:?} is not a refusal"),
    }
}

/// A name that leads to a good address at the first lookup and to a bad one at the second.
#[tokio::test]
async fn a_name_that_changes_its_address_is_judged_at_each_connection() {
    // Each answer ends its connection.
    let (port, seen) = serve(|_| ([("connection", "close")], "hello")).await;
    let script = Script::new(&[&["127.0.0.1"], &["127.0.0.2"], &["10.0.0.1", "192.168.0.1"], &["127.0.0.1"]]);
    let policy = Policy::with_resolver(open(&["127.0.0.1/32"]), script.clone());
    let url = format!("http://rebinding.example:{port}/");
    assert_eq!(get(&policy, Author::App, &url).await, Ok((StatusCode::OK, b"hello".to_vec())));
    let Err(SendError::Refused(refusal)) = get(&policy, Author::App, &url).await else { panic!("not refused") };
    assert_eq!(
        refusal.to_string(),
        "`rebinding.example` resolves to a loopback address (127.0.0.0/8), which servers of the App may not use (rule `private-address`); \
         hint: start the proxy with `--allow-private-network loopback` if you trust it"
    );
    assert_eq!(rule(get(&policy, Author::App, &url).await), Rule::PrivateAddress);
    // And when it is good again, it is.
    assert!(get(&policy, Author::App, &url).await.is_ok());
    assert_eq!((script.asked(), seen.lines().len()), (4, 2));
}

#[tokio::test]
async fn a_connection_that_is_kept_is_used_again() {
    let (port, _) = serve(|_| "hello").await;
    let script = Script::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let policy = Policy::with_resolver(open(&["127.0.0.1/32"]), script.clone());
    for _ in 0..3 {
        assert!(get(&policy, Author::App, &format!("http://kept.example:{port}/")).await.is_ok());
    }
    assert_eq!(script.asked(), 1);
}

#[tokio::test]
async fn connections_of_the_owner_do_not_serve_the_app() {
    let (port, seen) = serve(|_| "hello").await;
    let policy = Policy::with_resolver(Config::default(), Script::new(&[&["127.0.0.1"]]));
    let url = format!("http://shared.example:{port}/");
    assert!(get(&policy, Author::Owner, &url).await.is_ok());
    assert_eq!(rule(get(&policy, Author::App, &url).await), Rule::PrivateAddress);
    assert!(get(&policy, Author::Owner, &url).await.is_ok());
    assert_eq!(seen.lines().len(), 2);
}

#[tokio::test]
async fn each_address_of_a_name_is_judged_by_itself() {
    let (port, _) = serve(|_| "hello").await;
    let answer: &[&str] = &["10.0.0.1", "::ffff:192.168.0.1", "127.0.0.1", "169.254.169.254"];
    let policy = Policy::with_resolver(open(&["127.0.0.1/32"]), Script::new(&[answer]));
    let url = policy.allow(Author::App, &format!("http://mixed.example:{port}/")).expect("allowed");
    assert_eq!(policy.resolve(&url).await, Ok(vec!["127.0.0.1".parse().expect("an address")]));
    assert!(get(&policy, Author::App, url.as_url().as_str()).await.is_ok());
    // The owner's go anywhere but there.
    let url = policy.allow(Author::Owner, "http://mixed.example/").expect("allowed");
    assert_eq!(policy.resolve(&url).await.expect("three").len(), 3);
    let policy = Policy::with_resolver(Config::default(), Script::new(&[&["169.254.169.254"]]));
    for scheme in ["http", "https"] {
        for author in [Author::App, Author::Owner] {
            assert_eq!(rule(get(&policy, author, &format!("{scheme}://meta.example/")).await), Rule::MetadataAddress);
        }
    }
}

#[tokio::test]
async fn unknown_names_are_told_as_such() {
    let policy = Policy::with_resolver(Config::default(), Script::new(&[]));
    for scheme in ["http", "https"] {
        let outcome = get(&policy, Author::App, &format!("{scheme}://nowhere.example/")).await;
        assert_eq!(outcome, Err(SendError::Unreachable(Cause::UnknownName)));
    }
}

#[tokio::test]
async fn tls_connections_are_judged_by_the_same_rules() {
    let policy = Policy::with_resolver(Config::default(), Script::new(&[&["127.0.0.1"]]));
    let Err(SendError::Refused(refusal)) = get(&policy, Author::App, "https://inside.example/").await else { panic!("not refused") };
    assert!(refusal.what.starts_with("`inside.example` resolves to a loopback address"), "{refusal}");
    assert_eq!(judged(&policy, Author::App, "https://127.0.0.1/"), Some(Rule::PrivateAddress));
}

/// Connects to this, whatever it is asked for.
#[derive(Clone)]
struct Dialer(SocketAddr);
impl Service<()> for Dialer {
    type Response = hyper_util::rt::TokioIo<TcpStream>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let address = self.0;
        async move { Ok(hyper_util::rt::TokioIo::new(TcpStream::connect(address).await?)) }.boxed()
    }
}

/// A URL that has gone past the first check, as if that had a hole.
#[tokio::test]
async fn the_connector_judges_literals_and_peers_itself() {
    let (port, seen) = serve(|_| "hello").await;
    let policy = policy(&[]);
    let owner = policy.allow(Author::Owner, &format!("http://127.0.0.1:{port}/")).expect("allowed");
    let url = AllowedUrl { author: Author::App, ..owner };
    let outcome = policy.send(Method::GET, &url, HeaderMap::new, Bytes::new()).await;
    assert!(matches!(outcome, Err(SendError::Refused(refusal)) if refusal.rule == Rule::PrivateAddress));
    assert!(seen.lines().is_empty());

    // What is put around reqwest's connector.
    let guarded = |author| Guard { rules: Arc::clone(&policy.rules), author }.layer(Dialer(([127, 0, 0, 1], port).into()));
    assert!(guarded(Author::Owner).call(()).await.is_ok());
    let refused = guarded(Author::App).call(()).await.expect_err("refused");
    assert_eq!(refused.downcast_ref::<Refusal>().map(|refusal| refusal.rule), Some(Rule::PrivateAddress));
}

#[tokio::test]
async fn redirects_are_followed_where_they_keep_message_and_origin() {
    let (elsewhere, foreign) = serve(|_| "foreign").await;
    let answer = move |path: &str| {
        let (status, to) = match path {
            "/a" => (307, "/b".to_owned()),
            "/b" => (308, "c?x=1".to_owned()),
            "/c?x=1" => return (StatusCode::OK, [(LOCATION, String::new())]),
            "/foreign" => (307, format!("http://127.0.0.1:{elsewhere}/")),
            "/metadata" => (307, "http://169.254.169.254/latest".to_owned()),
            "/other" => (302, "/c?x=1".to_owned()),
            "/user" => (307, "//u:p@127.0.0.1/".to_owned()),
            "/loop" => (307, "/loop".to_owned()),
            _ => (307, String::new()),
        };
        (StatusCode::from_u16(status).expect("a status"), [(LOCATION, to)])
    };
    let (port, seen) = serve(answer).await;
    let policy = policy(&["loopback"]);
    let ask = async |path: &str| get(&policy, Author::App, &format!("http://127.0.0.1:{port}{path}")).await;
    let how = async |path: &str| match ask(path).await {
        Err(SendError::Redirected { how, to }) => (how, to),
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(ask("/a").await.map(|(status, _)| status), Ok(StatusCode::OK));
    assert_eq!(seen.lines(), ["GET /a", "GET /b", "GET /c?x=1"]);
    assert!(seen.0.lock().expect("no panic").iter().all(|(_, headers)| headers["x-api-key"] == "SECRET"));
    assert_eq!(how("/foreign").await, (Redirect::OtherOrigin, format!("http://127.0.0.1:{elsewhere}")));
    assert_eq!(how("/metadata").await, (Redirect::OtherOrigin, "http://169.254.169.254".to_owned()));
    assert_eq!(how("/user").await.0, Redirect::OtherOrigin);
    assert_eq!(how("/other").await.0, Redirect::Lossy(StatusCode::FOUND));
    assert_eq!(how("/loop").await.0, Redirect::TooMany);
    assert_eq!(seen.lines().iter().filter(|line| *line == "GET /loop").count(), 4);
    assert!(foreign.lines().is_empty());
}

#[tokio::test]
async fn what_is_compressed_unasked_is_refused() {
    let (port, seen) = serve(|_| ([(CONTENT_ENCODING, "gzip")], vec![0_u8; 100])).await;
    let policy = policy(&["loopback"]);
    assert_eq!(get(&policy, Author::App, &format!("http://127.0.0.1:{port}/")).await, Err(SendError::Encoded));
    assert_eq!(seen.0.lock().expect("no panic")[0].1["accept-encoding"], "identity");
}

#[tokio::test]
async fn an_egress_proxy_gets_what_leaves_this_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = vec![0; 4096];
        let length = stream.read(&mut head).await.expect("a head");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nproxy").await.expect("written");
        String::from_utf8_lossy(&head[..length]).into_owned()
    });
    let (port, _) = serve(|_| "direct").await;
    let script = Script::new(&[&["127.0.0.1"]]);
    let proxy = Some(format!("http://user:pass@{address}").into());
    let policy = Policy::with_resolver(Config { proxy, ..open(&["loopback"]) }, script.clone());
    assert_eq!(get(&policy, Author::App, &format!("http://127.0.0.1:{port}/")).await.map(|(_, body)| body), Ok(b"direct".to_vec()));
    assert_eq!(get(&policy, Author::App, "http://far.example/mcp").await.map(|(_, body)| body), Ok(b"proxy".to_vec()));
    assert_eq!(rule(get(&policy, Author::App, "http://10.0.0.1/").await), Rule::PrivateAddress);
    let head = asked.await.expect("no panic");
    assert!(head.starts_with("GET http://far.example/mcp HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic"), "{head}");
    assert_eq!(script.asked(), 0);
}

/// A resolver that has gone.
#[derive(Debug)]
struct Silent;

impl Resolve for Silent {
    fn resolve(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        std::future::pending().boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_without_an_answer_ends() {
    let policy = Policy::with_resolver(open(&[]), Arc::new(Silent));
    for url in ["http://silent.example/", "https://silent.example/"] {
        let begun = tokio::time::Instant::now();
        let outcome = tokio::time::timeout(Duration::from_secs(60), get(&policy, Author::App, url)).await;
        let outcome = outcome.unwrap_or_else(|_| panic!("{url} is waited for"));
        assert_eq!(outcome, Err(SendError::Unreachable(Cause::Slow)), "{url}");
        assert!(begun.elapsed() <= Duration::from_secs(11), "{url}");
    }
}
