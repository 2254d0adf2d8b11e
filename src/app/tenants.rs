//! The workspaces of clients that bring their own keys: one for each key, started when
//! the key first comes and ended some time after its last client has gone. They share
//! nothing but the process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use secrecy::ExposeSecret;
use tokio::{sync::OnceCell, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::workspace::Workspace;
use crate::{
    config::Parts,
    downstream::Pool,
    front::http::auth::{self, Refused},
    secret::Secret,
    security::{rate_limit::Limiter, token::KeyDigest},
    source::AppStatus,
    telemetry::metrics::Calls,
};

/// Workspaces at once. Each holds its connections, and an App is asked for each twice a minute.
const MAX_TENANTS: usize = 1_000;

/// A workspace that nobody uses is ended after this. A client that comes back later waits for
/// its servers to be connected again.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// The App has this long to say whether it knows a key.
const VERIFY: Duration = Duration::from_secs(10);

/// All of them.
#[derive(Debug)]
pub(super) struct Tenants {
    parts: Parts,
    calls: Calls,
    limiter: Limiter,
    table: Mutex<HashMap<KeyDigest, Arc<Tenant>>>,
    tracker: TaskTracker,
    token: CancellationToken,
}

#[derive(Debug)]
struct Tenant {
    /// There once the App has said that it knows the key. Asked by one client at a time.
    running: OnceCell<Running>,
    used: Mutex<Instant>,
}

#[derive(Debug)]
struct Running {
    workspace: Workspace,
    /// Held by every session and request of the key.
    served: Arc<auth::Workspace>,
    token: CancellationToken,
}

impl Tenant {
    fn touch(&self) {
        *self.used() = Instant::now();
    }

    fn used(&self) -> MutexGuard<'_, Instant> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_refused(&self) -> bool {
        self.running.get().is_some_and(|running| matches!(running.workspace.source.snapshot().app, AppStatus::Refused { .. }))
    }

    fn is_idle(&self) -> bool {
        let held = self.running.get().is_some_and(|running| Arc::strong_count(&running.served) > 1);
        !held && self.used().elapsed() >= IDLE
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        if let Some(running) = self.running.get() {
            running.token.cancel();
        }
    }
}

impl Tenants {
    /// Cancelling `token` ends all workspaces; `tracker` waits for that.
    pub(super) fn new(parts: Parts, calls: Calls, limiter: Limiter, tracker: TaskTracker, token: CancellationToken) -> Arc<Self> {
        Arc::new(Self { parts, calls, limiter, table: Mutex::default(), tracker, token })
    }

    /// Ends what nobody uses any more, until the proxy ends.
    pub(super) async fn sweep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(IDLE / 10);
        loop {
            tokio::select! {
                () = self.token.cancelled() => return,
                _ = ticks.tick() => {}
            }
            // A session that still holds a refused key's workspace finds it without servers.
            self.table().retain(|_, tenant| !tenant.is_idle() && !tenant.is_refused());
        }
    }

    async fn admit(&self, key: Secret) -> Result<Arc<auth::Workspace>, Refused> {
        let digest = KeyDigest::of(key.expose_secret().as_bytes());
        let tenant = {
            let mut table = self.table();
            if table.get(&digest).is_some_and(|tenant| tenant.is_refused()) {
                // It may have been mended in the App meanwhile.
                table.remove(&digest);
            }
            if !table.contains_key(&digest) && table.len() >= MAX_TENANTS {
                return Err(Refused::Full);
            }
            let new = || Arc::new(Tenant { running: OnceCell::new(), used: Mutex::new(Instant::now()) });
            Arc::clone(table.entry(digest).or_insert_with(new))
        };
        let outcome = tenant.running.get_or_try_init(|| self.start(key, digest)).await.map(|running| Arc::clone(&running.served));
        if outcome.is_err() {
            let mut table = self.table();
            if table.get(&digest).is_some_and(|present| Arc::ptr_eq(present, &tenant)) {
                table.remove(&digest);
            }
        }
        outcome
    }

    async fn start(&self, key: Secret, digest: KeyDigest) -> Result<Running, Refused> {
        let token = self.token.child_token();
        // Whatever comes of it: a workspace that is not kept is ended.
        let unwanted = token.clone().drop_guard();
        let workspace =
            Workspace::start(self.parts.for_key(key), self.calls.clone(), self.limiter.of_one_principal(), &self.tracker, &token);
        let mut snapshots = workspace.source.snapshots();
        let known = tokio::time::timeout(VERIFY, snapshots.wait_for(|snapshot| snapshot.app != AppStatus::Loading)).await;
        match known.ok().and_then(Result::ok).map(|snapshot| snapshot.app.clone()) {
            Some(AppStatus::Current) => {}
            Some(AppStatus::Refused { .. }) => return Err(Refused::Key),
            Some(AppStatus::Unset | AppStatus::Loading | AppStatus::Away { .. }) | None => return Err(Refused::Away),
        }
        unwanted.disarm();
        let served = Arc::new(auth::Workspace { router: workspace.router.clone(), key: Some(digest) });
        Ok(Running { workspace, served, token })
    }

    fn table(&self) -> MutexGuard<'_, HashMap<KeyDigest, Arc<Tenant>>> {
        // Whole entries go in and out, so a panic leaves nothing half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl auth::Tenants for Tenants {
    fn known(&self, key: KeyDigest) -> Option<Arc<auth::Workspace>> {
        let table = self.table();
        let tenant = table.get(&key).filter(|tenant| !tenant.is_refused())?;
        // Under the lock, so that it cannot be ended for being idle in between.
        tenant.touch();
        Some(Arc::clone(&tenant.running.get()?.served))
    }

    fn start(&self, key: Secret) -> BoxFuture<'_, Result<Arc<auth::Workspace>, Refused>> {
        self.admit(key).boxed()
    }

    fn pools(&self) -> Vec<Pool> {
        self.table().values().filter_map(|tenant| Some(tenant.running.get()?.workspace.pool.clone())).collect()
    }
}
