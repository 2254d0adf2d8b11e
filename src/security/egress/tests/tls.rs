//! The same rules over TLS, whose connections reqwest makes, with a server that has a certificate of its own.

use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::StatusCode;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{
    connections::{Script, get, rule},
    *,
};
use crate::security::egress::{
    client::{build, tls},
    connect::Guard,
};

/// For `inside.example` and 127.0.0.1, until the year 2126. Made with `openssl req -x509`; its key opens nothing else.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBqDCCAU2gAwIBAgIUT3PX2G2XyRRE65WuMpgiKcqROvcwCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwOaW5zaWRlLmV4YW1wbGUwIBcNMjYxMTIzMTI0NjQ0WhgPMjEy
NjEwMzAxMjQ2NDRaMBkxFzAVBgNVBAMMDmluc2lkZS5leGFtcGxlMFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAE+nTp0MAQubyNSMUwApW3bAovnus/UdIOLXge6k54
gNLIb5N0ToyDCUPEvmzZ+arYGR4YAE2WG6KMh511cWf3E6NxMG8wHQYDVR0OBBYE
FBVxZy1OrctZjGXNIKWQ0DTWG34mMB8GA1UdIwQYMBaAFBVxZy1OrctZjGXNIKWQ
0DTWG34mMB8GA1UdEQQYMBaCDmluc2lkZS5leGFtcGxlhwR/AAABMAwGA1UdEwEB
/wQCMAAwCgYIKoZIzj0EAwIDSQAwRgIhALq/eWogsvTotOhaFWKBllDMTl+9LpOz
YwiehL/ylkc3AiEAyvGrtxG826rE9eAq3U0j1Pg7xyfTiotso62d77u81j0=
-----END CERTIFICATE-----
";
const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgseoWU+ArpqNHIZh8
iSVqho2yQytxD0GN27frNVuA+s2hRANCAAT6dOnQwBC5vI1IxTAClbdsCi+e6z9R
0g4teB7qTniA0shvk3ROjIMJQ8S+bNn5qtgZHhgATZYbooyHnXVxZ/cT
-----END PRIVATE KEY-----
";

/// A server that answers every request with `hello`, and counts those that it has read.
async fn serve() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let certificates = vec![CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("it has ciphers");
    let config = config.with_no_client_auth().with_single_cert(certificates, key).expect("they belong together");
    let (acceptor, asked) = (TlsAcceptor::from(Arc::new(config)), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = vec![0; 4096];
            if stream.read(&mut head).await.is_ok_and(|length| length > 0) {
                count.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").await;
                let _ = stream.shutdown().await;
            }
        }
    });
    (port, asked)
}

/// A policy whose clients accept the certificate above.
async fn trusting(config: Config, answers: &[&[&str]]) -> Policy {
    let policy = Policy::with_resolver(config, Script::new(answers));
    for clients in [&policy.app, &policy.owner] {
        let guard = Guard { rules: Arc::clone(&policy.rules), author: clients.author() };
        let certificate = reqwest::Certificate::from_pem(CERTIFICATE.as_bytes()).expect("a certificate");
        let client = build(tls(guard).tls_certs_only([certificate])).await.expect("a client");
        clients.tls.set(client).expect("none was made yet");
    }
    policy
}

#[tokio::test]
async fn a_name_is_judged_at_each_connection() {
    let (port, asked) = serve().await;
    let policy = trusting(open(&["127.0.0.1/32"]), &[&["127.0.0.1"], &["127.0.0.2"]]).await;
    let url = format!("https://inside.example:{port}/");
    assert_eq!(get(&policy, Author::App, &url).await, Ok((StatusCode::OK, b"hello".to_vec())));
    assert_eq!(rule(get(&policy, Author::App, &url).await), Rule::PrivateAddress);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

/// The resolver is not asked for it, so that nothing but the peer of the connection is left to judge.
#[tokio::test]
async fn a_literal_that_went_past_the_first_check_is_refused_at_its_connection() {
    let (port, asked) = serve().await;
    let policy = trusting(Config::default(), &[]).await;
    let owner = policy.allow(Author::Owner, &format!("https://127.0.0.1:{port}/")).expect("allowed");
    assert!(policy.send(Method::GET, &owner, HeaderMap::new, Bytes::new()).await.is_ok());
    let url = AllowedUrl { author: Author::App, ..owner };
    let outcome = policy.send(Method::GET, &url, HeaderMap::new, Bytes::new()).await;
    assert!(matches!(outcome, Err(SendError::Refused(refusal)) if refusal.rule == Rule::PrivateAddress));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_own_address_behind_a_name_shows_at_the_connection() {
    let (port, asked) = serve().await;
    let policy = trusting(Config::default(), &[&["127.0.0.1"]]).await;
    policy.listens_at(([0, 0, 0, 0], port).into());
    assert_eq!(rule(get(&policy, Author::Owner, &format!("https://inside.example:{port}/")).await), Rule::OwnAddress);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_told_as_such() {
    let (port, _) = serve().await;
    let policy = Policy::with_resolver(Config::default(), Script::new(&[&["127.0.0.1"]]));
    let outcome = get(&policy, Author::Owner, &format!("https://inside.example:{port}/")).await;
    assert_eq!(outcome, Err(SendError::Unreachable(Cause::Tls(Tls::UnknownIssuer))));
}
