//! `tools/call` (specification, server/tools).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{Answer, CallError, Ctx, Router, activity::Subject, forward::Outgoing, tasks};
use crate::{
    builtin::{Call, Ended, How, Progress},
    catalog::{Catalog, Change, Owner, Tool},
    protocol::{header::ParamHeader, json::with_member, message::Message},
    security::rate_limit::{Permit, What},
    source::app::activity::Action,
    telemetry::metrics::Outcome,
};

/// How long a call with an unknown name waits for the App to say what is new.
const REFRESH: Duration = Duration::from_secs(10);
/// How long it waits then for what is new to be listed.
const APPLIED: Duration = Duration::from_millis(500);
/// The App is asked regularly anyway; this is half of the usual time between.
const BETWEEN_REFRESHES: Duration = Duration::from_secs(15);

/// How far one of our own tools is, told to the client that has given a token for it.
struct News<'a> {
    ctx: &'a Ctx,
    /// JSON text.
    token: &'a Bytes,
}

impl Progress for News<'_> {
    fn tell(&self, done: usize, total: usize, message: &str) -> BoxFuture<'_, ()> {
        let params = json!({ "progress": done, "total": total, "message": message }).to_string();
        let params = with_member(&params.into(), "progressToken", &String::from_utf8_lossy(self.token));
        let params = String::from_utf8_lossy(&params);
        self.ctx.client.notify(Message::notification("notifications/progress", Some(&params)).into())
    }
}

impl Router {
    /// The arguments that a call of this tool repeats in headers of HTTP, as the tool is listed now.
    pub fn param_headers(&self, tool: &str) -> Option<Arc<[ParamHeader]>> {
        self.catalog.current().tool(tool).ok().flatten()?.headers.clone()
    }

    /// # Errors
    /// [`CallError`]; a tool's own failure is an answer.
    pub async fn call_tool(&self, ctx: &Ctx, request: &Message) -> Result<Answer, CallError> {
        let mut outgoing = Outgoing::of(request)?;
        let name = outgoing.string("name")?;
        if outgoing.params.get("arguments").is_some_and(|arguments| !arguments.starts_with('{') && arguments != "null") {
            return Err(CallError::InvalidParams("`arguments` must be an object".to_owned()));
        }
        let Tool { owner, original, change, is_repeatable, headers: _ } = self.resolve_tool(&name).await?;
        if let Some(Change { since, withheld: true }) = change {
            return Err(CallError::ChangedTool { name, since });
        }
        match owner {
            Owner::Builtin => {
                let permit = self.admit(ctx, What::ToolCall, None)?;
                // Boxed, because it would set the size of every call's task.
                Ok(Answer::Result(Box::pin(self.call_builtin(permit, ctx, &original, &outgoing)).await))
            }
            Owner::Server(server) => {
                let permit = self.admit(ctx, What::ToolCall, Some(&server))?;
                if original != name {
                    let params = outgoing.params.clone();
                    outgoing.rename(&params, "name", &original);
                }
                outgoing.subject = Some(Subject { action: Action::ToolCall, item: original });
                outgoing.is_repeatable = is_repeatable;
                let reply = self.forward(permit, ctx, &server, &mut outgoing).await?;
                // A client with a handshake has asked for a task, or gets none.
                let may_be_task = outgoing.params.get("task").is_some() || !ctx.session.declared().revision.has_handshake();
                let named = if may_be_task { tasks::exposed(&server, &reply) } else { None };
                Ok(Answer::Forwarded(named.unwrap_or(reply), None))
            }
            Owner::Unknown => Err(CallError::UnknownTool { name }),
        }
    }

    async fn call_builtin(&self, _: Permit, ctx: &Ctx, name: &str, outgoing: &Outgoing<'_>) -> Bytes {
        let news = outgoing.token().map(|token| News { ctx, token });
        let call = Call { name, arguments: outgoing.params.get("arguments"), progress: news.as_ref().map(|news| news as &dyn Progress) };
        let timed = self.calls.begin_builtin();
        let Ended { result, how } = self.builtin.call(call).await;
        let (took, outcome) = (timed.elapsed(), if how == How::Done { Outcome::Ok } else { Outcome::ToolError });
        timed.end(outcome);
        if let Some(activities) = &self.activities {
            activities.note_builtin(name, took, how);
        }
        result
    }

    /// A name that nobody knows has the App asked once more, where a tool may have been added a moment ago.
    async fn resolve_tool(&self, name: &str) -> Result<Tool, CallError> {
        match find(&self.catalog.current(), name)? {
            Some(tool) => Ok(tool),
            // Boxed, because it would set the size of every call's task.
            None => Box::pin(self.look_for_tool(name)).await,
        }
    }

    async fn look_for_tool(&self, name: &str) -> Result<Tool, CallError> {
        if let Some(tool) = self.known_tool(name).await? {
            return Ok(tool);
        }
        let unknown = || CallError::UnknownTool { name: name.to_owned() };
        if self.source.app().is_none() || !self.refreshes.take() {
            return Err(unknown());
        }
        let mut catalogs = self.catalog.subscribe();
        catalogs.mark_unchanged();
        // Whatever comes of it: what is not there then is not there.
        let _ = timeout(REFRESH, self.source.refresh_and_wait()).await;
        let _ = timeout(APPLIED, catalogs.changed()).await;
        self.known_tool(name).await?.ok_or_else(unknown)
    }

    /// A client may call by a list of its last run, so that an unknown name waits
    /// until all servers have been asked, and for the very server that it names.
    async fn known_tool(&self, name: &str) -> Result<Option<Tool>, CallError> {
        let catalog = self.catalog.settled().await;
        if let Some(tool) = find(&catalog, name)? {
            return Ok(Some(tool));
        }
        let Some(server) = catalog.unlisted_server(name).cloned() else { return Ok(None) };
        self.configured(&server).await?;
        let patience = self.config.call_timeout;
        let server_name = || catalog.server(&server).map_or_else(|| server.to_string(), |server| server.name.clone());
        let deadline = Instant::now() + patience;
        loop {
            let link = match timeout_at(deadline, self.pool.link(&server)).await {
                Ok(Ok(link)) => link,
                Ok(Err(error)) => return Err(CallError::Unavailable { server: server_name(), error }),
                Err(_) => return Err(CallError::ConnectTimeout { server: server_name(), after: patience }),
            };
            tokio::select! {
                catalog = self.catalog.listed(&server) => return find(&catalog, name),
                // It died before it had said what it offers. The next connection is asked, until there is none.
                () = link.ended() => {}
                () = sleep_until(deadline) => return find(&self.catalog.current(), name),
            }
        }
    }
}

fn find(catalog: &Catalog, name: &str) -> Result<Option<Tool>, CallError> {
    catalog.tool(name).map(Option::<&Tool>::cloned).map_err(|error| CallError::ambiguous(name, error))
}

/// When the App was last asked because of a name that nobody knew.
#[derive(Debug, Default)]
pub(super) struct Refreshes(Mutex<Option<Instant>>);

impl Refreshes {
    /// SECURITY: clients make up names as they like, and must not use up how often the App may be asked (threat model T23).
    pub(super) fn take(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= BETWEEN_REFRESHES);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}
