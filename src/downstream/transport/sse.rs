//! A server over HTTP+SSE (MCP transports, 2024-11-05): one event stream brings
//! everything; its first event names the address that messages are posted to.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use reqwest::{Response, StatusCode, header::HeaderMap};
use sse_stream::SseStream;
use tokio::{sync::oneshot, task::AbortHandle};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use super::{
    Outbox, deliver, heard,
    http::{Endpoint, EventSize, refusal},
    too_large,
};
use crate::{
    downstream::{
        connection::Wiring,
        error::{ConnectError, LinkError},
        handler::Handler,
    },
    lasting::caught,
    protocol::message::Frame,
};

/// How long requests that are on their way when the connection turns out to be lost may take to hear it themselves.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// For a notification that nobody waits for.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Where messages go.
    post: Endpoint,
    handler: Arc<Handler>,
    tracker: TaskTracker,
    /// Holds a token for each notification on its way.
    sending: TaskTracker,
    /// And one for each request.
    asking: TaskTracker,
    closed: CancellationToken,
}

/// Opens the stream and waits for its `endpoint` event.
///
/// # Errors
/// [`ConnectError`] where there is no stream, or the endpoint is on another origin.
pub async fn open(endpoint: Endpoint, wiring: Wiring<'_>) -> Result<Outbox, ConnectError> {
    let Wiring { handler, closed, tracker } = wiring;
    let response = endpoint.get_stream(HeaderMap::new).await?;
    if !response.status().is_success() {
        return Err(refusal(response.status()).into());
    }
    let (found, address) = oneshot::channel();
    let (ready, client) = oneshot::channel();
    let asking = TaskTracker::new();
    tracker.spawn({
        let (handler, closed, asking) = (Arc::clone(&handler), closed.clone(), asking.clone());
        async move {
            let ended = tokio::select! {
                () = closed.cancelled() => handler.ended().unwrap_or(LinkError::Closed),
                done = caught("events", read(response, found, client, &handler)) => {
                    // It has said why already where it knows.
                    let ended = || LinkError::Lost { reason: "the server ended its event stream".to_owned() };
                    handler.retire(&done.map_or(LinkError::Defect, |()| ended()));
                    closed.cancel();
                    handler.ended().unwrap_or(LinkError::Closed)
                }
            };
            if ended != LinkError::Closed {
                // Those that the server does not take any more are sent again, unlike those that it has taken.
                asking.close();
                let _ = tokio::time::timeout(LAST_REQUESTS, asking.wait()).await;
            }
            handler.end(&ended);
        }
    });
    let address = address.await.map_err(|_| LinkError::Protocol { what: "its event stream names no endpoint".to_owned() })?;
    // SECURITY: the server names the address; it may only name one of its own.
    let post = endpoint.at(&address).map_err(LinkError::Refused)?;
    let client = Client(Arc::new(Inner { post, handler, tracker: tracker.clone(), sending: TaskTracker::new(), asking, closed }));
    // The reader holds its end as long as the stream lives; if not, requests fail on their own.
    let _ = ready.send(client.clone());
    Ok(Outbox::Sse(client))
}

async fn read(response: Response, found: oneshot::Sender<String>, client: oneshot::Receiver<Client>, handler: &Handler) {
    let size = EventSize::new(handler.limits().message);
    let mut events = SseStream::from_bytes_stream(size.limited(response));
    let address = loop {
        let Some(Ok(event)) = events.next().await else { return };
        if event.event.as_deref() == Some("endpoint") {
            break event.data.unwrap_or_default();
        }
    };
    if found.send(address).is_err() {
        return;
    }
    let Ok(client) = client.await else { return };
    while let Some(Ok(event)) = heard(handler, events.next()).await {
        size.start_anew();
        let Some(data) = event.data.filter(|data| !data.is_empty()) else { continue };
        if event.event.as_deref().is_none_or(|event| event == "message") {
            for answer in deliver(handler, &data.into(), None) {
                client.notify_soon(answer);
            }
        }
    }
    if size.is_exceeded() {
        handler.end(&too_large(handler));
    }
}

impl Client {
    pub fn request(&self, id: u64, frame: Frame) -> AbortHandle {
        let client = self.clone();
        let asking = self.0.asking.token();
        let send = async move {
            let _asking = asking;
            let mut posting = std::pin::pin!(caught("exchange", client.post(frame)));
            let sent = tokio::select! {
                sent = &mut posting => sent,
                () = client.0.closed.cancelled() => {
                    if client.0.handler.ended().is_none_or(|ended| ended == LinkError::Closed) || !client.0.handler.is_waiting(id) {
                        return;
                    }
                    // It is not known yet whether the server takes this one.
                    let silent = |_| LinkError::Lost { reason: "the server ended its event stream".to_owned() };
                    tokio::time::timeout(LAST_REQUESTS, posting).await.unwrap_or_else(|elapsed| Some(Err(silent(elapsed))))
                }
            };
            if let Err(error) = sent.unwrap_or(Err(LinkError::Defect)) {
                let gone = error == LinkError::SessionGone;
                client.0.handler.fail(id, error);
                if gone {
                    client.0.handler.retire(&LinkError::SessionGone);
                    client.0.closed.cancel();
                }
            }
        };
        self.0.tracker.spawn(send).abort_handle()
    }

    pub async fn notify(&self, frame: Frame) -> Result<(), LinkError> {
        tokio::select! {
            () = self.0.closed.cancelled() => Err(LinkError::Closed),
            sent = self.post(frame) => sent,
        }
    }

    async fn post(&self, frame: Frame) -> Result<(), LinkError> {
        match self.0.post.post(frame.into_bytes(), HeaderMap::new).await?.status() {
            status if status.is_success() => Ok(()),
            // The address was the server's own word: it has forgotten us.
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(LinkError::SessionGone),
            status => Err(refusal(status)),
        }
    }

    /// Until no notification is on its way any more.
    pub async fn settled(&self) {
        self.0.sending.close();
        self.0.sending.wait().await;
    }

    /// There may be more to send until this is dropped.
    pub fn sending(&self) -> TaskTrackerToken {
        self.0.sending.token()
    }

    pub fn notify_soon(&self, frame: Frame) {
        let client = self.clone();
        let sending = self.sending();
        self.0.tracker.spawn(async move {
            let _sending = sending;
            let sent = tokio::time::timeout(NOTIFY_TIMEOUT, client.notify(frame)).await;
            if !matches!(sent, Ok(Ok(()))) {
                tracing::debug!(server = client.0.handler.server(), "a notification did not reach the server");
            }
        });
    }
}
