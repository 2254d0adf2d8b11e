//! TLS in front of a server that has none, with a certificate that may be no good.
//!
//! The certificates are made with `openssl ca`, for `localhost` and 127.0.0.1 unless they say otherwise. All have the one key, which
//! opens nothing else; that of their authority is gone.

use super::lock;
use crate::scripted::Port;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// What whoever connects is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A certificate that is as it should be.
    Good,
    /// Signed by itself.
    Itself,
    /// That of an authority, signed by itself.
    Authority,
    Expired,
    /// Valid from the year 2125 on.
    Early,
    /// For another host.
    Elsewhere,
    /// The end of the connection, in the middle of the handshake.
    End,
    /// Nothing, for good.
    Nothing,
    /// Only what no client offers.
    OldProtocol,
}

/// A port at which TLS is spoken.
#[derive(Debug)]
pub(crate) struct Door {
    port: Port,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    shown: Mutex<Shown>,
    /// Handshakes that came to nothing.
    failed: AtomicUsize,
    /// Ends the connections of now.
    cut: Mutex<CancellationToken>,
}

impl Door {
    pub(crate) fn before(server: SocketAddr, shown: Shown) -> Self {
        let port = Port::reserve(0);
        let shared = Arc::new(Shared { server, shown: Mutex::new(shown), failed: AtomicUsize::new(0), cut: Mutex::default() });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be built");
        let (listener, accepting) = (port.listen(&runtime), shared.clone());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().serve(stream));
            }
        });
        Self { port, shared, runtime: Some(runtime) }
    }

    /// `https://localhost:1234`
    pub(crate) fn origin(&self) -> String {
        format!("https://localhost:{}", self.port.address.port())
    }

    /// From now on, and to everybody: connections of before end.
    pub(crate) fn shows(&self, shown: Shown) {
        *lock(&self.shared.shown) = shown;
        std::mem::take(&mut *lock(&self.shared.cut)).cancel();
    }

    /// Handshakes that came to nothing, as clients do not like what they were shown.
    pub(crate) fn failed(&self) -> usize {
        self.shared.failed.load(Ordering::Relaxed)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let (shown, cut) = (*lock(&self.shown), lock(&self.cut).clone());
        let _ = cut.run_until_cancelled(self.speak(stream, shown)).await;
    }

    async fn speak(&self, mut stream: TcpStream, shown: Shown) -> std::io::Result<()> {
        match shown {
            Shown::End => {
                hear(&mut stream).await?;
                self.failed.fetch_add(1, Ordering::Relaxed);
                return stream.shutdown().await;
            }
            Shown::Nothing => return std::future::pending().await,
            // The alert `protocol_version`, as a server says it that has nothing newer than TLS 1.1.
            Shown::OldProtocol => {
                hear(&mut stream).await?;
                return stream.write_all(&[21, 3, 1, 0, 2, 2, 70]).await;
            }
            _ => {}
        }
        let accepting = TlsAcceptor::from(Arc::new(config(shown))).accept(stream).await;
        let mut client = accepting.inspect_err(|_| _ = self.failed.fetch_add(1, Ordering::Relaxed))?;
        let mut server = TcpStream::connect(self.server).await?;
        server.set_nodelay(true)?;
        copy_bidirectional(&mut client, &mut server).await.map(drop)
    }
}

/// The first words of a client. What is left unread would turn the end of the connection into a reset.
async fn hear(stream: &mut TcpStream) -> std::io::Result<usize> {
    stream.read_buf(&mut Vec::with_capacity(16 * 1024)).await
}

fn config(shown: Shown) -> ServerConfig {
    let name = match shown {
        Shown::Itself => "itself",
        Shown::Authority => "authority",
        Shown::Expired => "expired",
        Shown::Early => "early",
        Shown::Elsewhere => "elsewhere",
        Shown::Good | Shown::End | Shown::Nothing | Shown::OldProtocol => "good",
    };
    let certificate = CertificateDer::from_pem_file(path(name)).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(path("key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("it has ciphers");
    config.with_no_client_auth().with_single_cert(vec![certificate], key).expect("they belong together")
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/certificates").join(name).with_extension("pem")
}

/// The certificate of the authority that has signed the good ones.
pub(crate) fn authority() -> String {
    path("ca").display().to_string()
}
