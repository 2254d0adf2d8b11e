//! The entry for every call: from a request of a client to its answer, whichever
//! server or built-in tool gives it. Knows neither HTTP nor stdio.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{
    builtin::Builtin,
    catalog::{CatalogHandle, ListKind},
    downstream::Pool,
    protocol::{
        json::Object,
        message::{Frame, Id, Message},
    },
    source::SourceHandle,
};

mod completion;
pub mod error;
pub mod events;
mod forward;
mod prompts;
mod relay;
mod resources;
mod tools;

pub use error::{Blame, CallError};

#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How long a call may be silent, if the server's configuration says nothing else.
    pub call_timeout: Duration,
}

/// Cheap to clone; one for the whole process.
#[derive(Debug, Clone)]
pub struct Router {
    config: Config,
    catalog: CatalogHandle,
    pool: Pool,
    source: SourceHandle,
    builtin: Arc<Builtin>,
}

/// Who calls, and how the caller is reached while the call runs.
#[derive(Debug, Clone)]
pub struct Ctx {
    pub client: Arc<dyn ClientPeer>,
}

/// The client as the router sees it.
pub trait ClientPeer: fmt::Debug + Send + Sync {
    /// Sends a notification that belongs to a call. Waits while the client is slow.
    fn notify(&self, frame: Frame) -> BoxFuture<'_, ()>;
}

/// The answer to a request.
#[derive(Debug)]
pub enum Answer {
    /// A server's response, result or error, as it came. Another body replaces
    /// its own where names had to be changed.
    Forwarded(Message, Option<Bytes>),
    /// A `result` of the proxy's own, as JSON text.
    Result(Bytes),
}

impl Answer {
    pub fn into_frame(self, id: &Id) -> Frame {
        match self {
            Self::Forwarded(message, body) => message.with(id, body),
            Self::Result(result) => Frame::result(id, result),
        }
    }
}

impl Router {
    pub fn new(config: Config, catalog: CatalogHandle, pool: Pool, source: SourceHandle, builtin: Arc<Builtin>) -> Self {
        Self { config, catalog, pool, source, builtin }
    }

    /// A client is there: servers may be connected.
    pub fn begin(&self) {
        self.pool.begin();
    }

    pub fn catalog(&self) -> &CatalogHandle {
        &self.catalog
    }

    /// One page of a list and the list's generation. The first one waits a little for servers that nobody
    /// knows yet; later ones never wait.
    ///
    /// # Errors
    /// [`CallError::BadCursor`], [`CallError::InvalidParams`]
    pub async fn list(&self, kind: ListKind, request: &Message) -> Result<(Answer, u64), CallError> {
        let cursor = match request.body() {
            Some(params) => {
                let params = Object::parse(params).map_err(|error| CallError::malformed(&error))?;
                match params.get("cursor") {
                    None | Some("null") => None,
                    Some(_) => Some(
                        params
                            .string("cursor")
                            .ok_or_else(|| CallError::InvalidParams("`cursor` must be a string".to_owned()))?
                            .into_owned(),
                    ),
                }
            }
            None => None,
        };
        let catalog = self.catalog.settled().await;
        Ok((Answer::Result(catalog.page(kind, cursor.as_deref())?), catalog.generation(kind)))
    }
}
