//! Whose a connection is, and what it may be told of its client.

use std::{fmt, sync::Arc};

use arc_swap::{ArcSwapOption, Guard};
use tokio_util::sync::CancellationToken;

use crate::protocol::{declared::Declared, server::ServerId};

/// Whose a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Seat {
    /// Of all who use the pool, be they one or many.
    Shared,
    /// Of this session alone.
    Session(u64),
}

/// Which connection: the server that it leads to, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub server: ServerId,
    pub seat: Seat,
}

impl Place {
    pub fn shared(server: ServerId) -> Self {
        Self { server, seat: Seat::Shared }
    }
}

/// For logs.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seat {
            Seat::Shared => write!(f, "{}", self.server),
            Seat::Session(session) => write!(f, "{} (session {session})", self.server),
        }
    }
}

/// A client that can have connections of its own.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Of its session.
    pub session: u64,
    pub declared: Arc<Declared>,
    /// Cancelled when the session ends, before the pool is told to [part](super::Pool::part) from it.
    pub over: CancellationToken,
}

/// The only client that a connection can have, once it is known. Where there may be several, it stays unknown.
#[derive(Debug, Clone, Default)]
pub struct OnlyClient(Arc<ArcSwapOption<Declared>>);

impl OnlyClient {
    pub fn known(declared: Arc<Declared>) -> Self {
        Self(Arc::new(ArcSwapOption::new(Some(declared))))
    }

    pub fn set(&self, declared: Arc<Declared>) {
        self.0.store(Some(declared));
    }

    pub fn is_known(&self) -> bool {
        self.0.load().is_some()
    }

    pub fn declared(&self) -> Guard<Option<Arc<Declared>>> {
        self.0.load()
    }
}
