//! One attempt to connect: the way to the server, and the first words there.
//!
//! A server is asked first whether it wants a handshake (2026-07-28, "Versioning"), because those that want one answer
//! that question somehow, while those that want none need not know `initialize`. What was found is remembered.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Supervisor;
use crate::{
    downstream::{
        allowed_headers,
        connection::{Link, Wiring},
        error::{ConnectError, LinkError},
        handler::Handler,
        handshake::{Discovery, Peer},
        transport::{
            Outbox,
            http::{self, Manner},
            sse, stdio,
        },
    },
    protocol::{
        revision::Revision,
        server::{HttpConfig, HttpKind, Origin, StdioConfig, TransportConfig},
    },
    security::Author,
};

/// The first start of `npx some-package` downloads the package.
const STDIO_HANDSHAKE: Duration = Duration::from_secs(60);
const HTTP_HANDSHAKE: Duration = Duration::from_secs(30);
/// A server that is silent for so long does not know the question, or has not started yet.
const SILENCE: Duration = Duration::from_secs(5);

/// What is said first.
#[derive(Debug, Clone, Copy)]
enum Opening {
    /// `initialize`, with this revision and nothing else: it was configured.
    Handshake(Revision),
    /// `initialize`, and the question only if that is refused: the server wanted a handshake the last time.
    Remembered,
    /// The question, then `initialize` unless the answer says that there is no handshake.
    Question,
    /// Nothing must be said: it was configured that there is no handshake. What the server offers is asked all the same.
    Nothing,
}

/// A connection that ends again unless it is [kept](Self::keep).
struct Opened {
    link: Arc<Link>,
    guard: DropGuard,
}

impl Opened {
    fn keep(self) -> Arc<Link> {
        self.guard.disarm();
        self.link
    }
}

/// How a child took the question.
enum Asked {
    /// The connection is ready.
    Ready { wants_handshake: Option<bool> },
    /// It has ended and said nothing: some do at the first message that is not `initialize`.
    Died,
}

impl Supervisor {
    pub(super) async fn connect(&self) -> Result<Arc<Link>, ConnectError> {
        match &self.config.transport {
            TransportConfig::Stdio(stdio) => self.connect_stdio(stdio).await,
            TransportConfig::Http(http) => match http.kind {
                HttpKind::Streamable => self.connect_http(http).await,
                HttpKind::Sse => self.connect_sse(http).await,
                HttpKind::Auto => match self.connect_http(http).await {
                    // MCP transports, "backwards compatibility": an old server refuses the POST.
                    Err(ConnectError::Link(LinkError::Status { status: 400..500 })) => self.connect_sse(http).await,
                    outcome => outcome,
                },
            },
        }
    }

    fn opening(&self) -> Opening {
        match self.config.revision {
            Some(revision) if revision.has_handshake() => Opening::Handshake(revision),
            Some(_) => Opening::Nothing,
            None if self.shared.config.eras.wants_handshake(self.config.shape()) => Opening::Remembered,
            None => Opening::Question,
        }
    }

    /// The server has shown what it wants.
    fn remember(&self, wants_handshake: bool) {
        let eras = Arc::clone(&self.shared.config.eras);
        if eras.note(self.config.shape(), wants_handshake) {
            self.shared.tracker.spawn_blocking(move || eras.save());
        }
    }

    // A child process.

    async fn connect_stdio(&self, config: &StdioConfig) -> Result<Arc<Link>, ConnectError> {
        let opened = self.start(config).await?;
        let link = &opened.link;
        match self.opening() {
            Opening::Handshake(revision) => within(STDIO_HANDSHAKE, link.initialize(revision)).await?,
            Opening::Remembered => match within(STDIO_HANDSHAKE, link.initialize(Revision::NEWEST)).await {
                Err(refusal) if refusal.is_refusal() => {
                    let Ok(Ok(Discovery::Stateless(peer))) = timeout(SILENCE, link.discover()).await else { return Err(refusal) };
                    link.settle(peer);
                    self.remember(false);
                }
                outcome => outcome?,
            },
            Opening::Question => match ask(link).await? {
                Asked::Ready { wants_handshake } => {
                    if let Some(wants_handshake) = wants_handshake {
                        self.remember(wants_handshake);
                    }
                }
                Asked::Died => {
                    drop(opened);
                    tracing::debug!("the process ended at a question that it did not know; it is started again without");
                    let opened = self.start(config).await?;
                    within(STDIO_HANDSHAKE, opened.link.initialize(Revision::NEWEST)).await?;
                    self.remember(true);
                    return Ok(opened.keep());
                }
            },
            Opening::Nothing => {
                let peer = match timeout(HTTP_HANDSHAKE, link.discover()).await {
                    Ok(Ok(Discovery::Stateless(peer))) => peer,
                    Ok(Err(error)) => return Err(error.into()),
                    Ok(Ok(Discovery::Older | Discovery::Unclear)) | Err(_) => Peer::unknown(),
                };
                link.settle(peer);
            }
        }
        Ok(opened.keep())
    }

    async fn start(&self, config: &StdioConfig) -> Result<Opened, ConnectError> {
        let StdioConfig { command, args, env, cwd } = config;
        let downstream = &self.shared.config;
        let allowed = downstream.commands.allow(author(self.config.origin), command, args, env, cwd.as_deref());
        let program = stdio::Program {
            server: self.config.id.clone(),
            origin: self.config.origin,
            command: allowed?,
            base_env: Arc::clone(&downstream.base_env),
            cwd: cwd.clone(),
        };
        let (handler, closed) = self.wiring();
        let guard = closed.clone().drop_guard();
        let wiring = Wiring { handler: Arc::clone(&handler), closed: closed.clone(), tracker: &self.shared.tracker };
        let outbox = stdio::open(program, &self.spawner, wiring).await?;
        Ok(Opened { link: Link::new(handler, outbox, closed), guard })
    }

    // Streamable HTTP.

    async fn connect_http(&self, config: &HttpConfig) -> Result<Arc<Link>, ConnectError> {
        match self.opening() {
            Opening::Handshake(revision) => self.initialize_http(config, revision).await,
            Opening::Remembered => match self.initialize_http(config, Revision::NEWEST).await {
                Err(refusal) if refusal.is_refusal() => match self.discover_http(config).await? {
                    (opened, Discovery::Stateless(peer)) => {
                        self.remember(false);
                        Ok(settled(opened, peer))
                    }
                    (_, Discovery::Older | Discovery::Unclear) => Err(refusal),
                },
                outcome => outcome,
            },
            Opening::Question => match self.discover_http(config).await? {
                (opened, Discovery::Stateless(peer)) => {
                    self.remember(false);
                    Ok(settled(opened, peer))
                }
                (asked, discovery) => match self.initialize_http(config, Revision::NEWEST).await {
                    Ok(link) => {
                        self.remember(true);
                        Ok(link)
                    }
                    Err(refusal) if refusal.is_refusal() && matches!(discovery, Discovery::Unclear) => Ok(settled(asked, Peer::unknown())),
                    Err(error) => Err(error),
                },
            },
            Opening::Nothing => match self.discover_http(config).await? {
                (opened, Discovery::Stateless(peer)) => Ok(settled(opened, peer)),
                (opened, Discovery::Older | Discovery::Unclear) => Ok(settled(opened, Peer::unknown())),
            },
        }
    }

    /// On a connection of its own: nothing of what the question has led to is left.
    async fn initialize_http(&self, config: &HttpConfig, revision: Revision) -> Result<Arc<Link>, ConnectError> {
        let opened = self.open_http(config, Manner::session())?;
        within(HTTP_HANDSHAKE, opened.link.initialize(revision)).await?;
        Ok(opened.keep())
    }

    /// # Errors
    /// Only where `initialize` would fare no better.
    async fn discover_http(&self, config: &HttpConfig) -> Result<(Opened, Discovery), ConnectError> {
        let opened = self.open_http(config, Manner::stateless())?;
        let discovery = match timeout(SILENCE, opened.link.discover()).await {
            Ok(Ok(discovery)) => discovery,
            Ok(Err(error)) if error.is_of_the_way() => return Err(error.into()),
            Ok(Err(_)) | Err(_) => Discovery::Older,
        };
        Ok((opened, discovery))
    }

    fn open_http(&self, config: &HttpConfig, manner: Manner) -> Result<Opened, ConnectError> {
        let endpoint = self.endpoint(config)?;
        let (handler, closed) = self.wiring();
        let wiring = Wiring { handler: Arc::clone(&handler), closed: closed.clone(), tracker: &self.shared.tracker };
        let outbox = http::open(endpoint, manner, wiring);
        Ok(opened(handler, outbox, closed))
    }

    // HTTP+SSE.

    async fn connect_sse(&self, config: &HttpConfig) -> Result<Arc<Link>, ConnectError> {
        let revision = match self.config.revision {
            None => Revision::NEWEST,
            Some(revision) if revision.has_handshake() => revision,
            // It was tried as what it is said to be, and is not; the older transport cannot be it.
            Some(_) => return Err(LinkError::Protocol { what: "there is no such revision over HTTP+SSE".to_owned() }.into()),
        };
        let endpoint = self.endpoint(config)?;
        let (handler, closed) = self.wiring();
        let guard = closed.clone().drop_guard();
        let wiring = Wiring { handler: Arc::clone(&handler), closed: closed.clone(), tracker: &self.shared.tracker };
        let outbox = within(HTTP_HANDSHAKE, sse::open(endpoint, wiring)).await?;
        let opened = Opened { link: Link::new(handler, outbox, closed), guard };
        within(HTTP_HANDSHAKE, opened.link.initialize(revision)).await?;
        Ok(opened.keep())
    }

    fn endpoint(&self, config: &HttpConfig) -> Result<http::Endpoint, ConnectError> {
        let egress = &self.shared.config.egress;
        let url = egress.allow(author(self.config.origin), &config.url)?;
        // Says what is wrong with them; those that are sent may be newer.
        allowed_headers(config)?;
        Ok(http::Endpoint::new(Arc::clone(egress), url, Arc::clone(&self.headers)))
    }

    fn wiring(&self) -> (Arc<Handler>, CancellationToken) {
        let handler = Handler::new(self.config.id.clone(), self.config.name.clone(), self.shared.config.limits, self.news.clone());
        (Arc::new(handler), CancellationToken::new())
    }
}

fn opened(handler: Arc<Handler>, outbox: Outbox, closed: CancellationToken) -> Opened {
    let guard = closed.clone().drop_guard();
    Opened { link: Link::new(handler, outbox, closed), guard }
}

fn settled(opened: Opened, peer: Peer) -> Arc<Link> {
    opened.link.settle(peer);
    opened.keep()
}

fn author(origin: Origin) -> Author {
    match origin {
        Origin::App => Author::App,
        Origin::File => Author::Owner,
    }
}

/// Asks a child what it is. One that does not answer may not have started yet, so that it is told `initialize` as well,
/// and what it makes of that counts.
async fn ask(link: &Arc<Link>) -> Result<Asked, ConnectError> {
    let mut asking = std::pin::pin!(link.discover());
    let unclear = match timeout(SILENCE, &mut asking).await {
        Ok(Ok(Discovery::Stateless(peer))) => {
            link.settle(peer);
            return Ok(Asked::Ready { wants_handshake: Some(false) });
        }
        Ok(Ok(Discovery::Older)) => false,
        Ok(Ok(Discovery::Unclear)) => true,
        Ok(Err(_)) => return Ok(Asked::Died),
        Err(_) => return Box::pin(ask_both(link, asking)).await,
    };
    match within(STDIO_HANDSHAKE, link.initialize(Revision::NEWEST)).await {
        Ok(()) => Ok(Asked::Ready { wants_handshake: Some(true) }),
        Err(refusal) if refusal.is_refusal() && unclear => {
            link.settle(Peer::unknown());
            Ok(Asked::Ready { wants_handshake: Some(false) })
        }
        Err(error) => Err(error),
    }
}

/// `initialize`, while the question is still open.
async fn ask_both(link: &Arc<Link>, mut asking: impl Future<Output = Result<Discovery, LinkError>> + Unpin) -> Result<Asked, ConnectError> {
    let mut answer = None;
    let outcome = {
        let mut initializing = std::pin::pin!(within(STDIO_HANDSHAKE, link.initialize(Revision::NEWEST)));
        loop {
            let patience = if matches!(answer, Some(Ok(Discovery::Stateless(_)))) { SILENCE } else { Duration::MAX };
            tokio::select! {
                outcome = &mut initializing => break outcome,
                found = &mut asking, if answer.is_none() => answer = Some(found),
                // It wants no handshake, and does not even refuse one.
                () = tokio::time::sleep(patience) => break Err(ConnectError::Timeout { after: SILENCE }),
            }
        }
    };
    let error = match outcome {
        // One that took both may be asked again the next time, when it starts sooner.
        Ok(()) => return Ok(Asked::Ready { wants_handshake: (!matches!(answer, Some(Ok(Discovery::Stateless(_))))).then_some(true) }),
        Err(error) => error,
    };
    let answer = match answer {
        Some(answer) => Some(answer),
        None => timeout(SILENCE, asking).await.ok(),
    };
    match answer {
        Some(Ok(Discovery::Stateless(peer))) => {
            link.settle(peer);
            Ok(Asked::Ready { wants_handshake: Some(false) })
        }
        Some(Err(_)) => Ok(Asked::Died),
        Some(Ok(Discovery::Older | Discovery::Unclear)) | None => Err(error),
    }
}

async fn within<T, E>(time: Duration, step: impl Future<Output = Result<T, E>>) -> Result<T, ConnectError>
where
    ConnectError: From<E>,
{
    match timeout(time, step).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(ConnectError::Timeout { after: time }),
    }
}
