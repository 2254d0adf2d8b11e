//! `tools/call` (specification, server/tools).

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::time::timeout;

use super::{Answer, CallError, Ctx, Router, activity::Subject, forward::Outgoing};
use crate::{
    builtin::{Call, Ended, How, Progress},
    catalog::{Catalog, Change, Owner, Tool},
    protocol::{json::with_member, message::Message},
    security::rate_limit::{Permit, What},
    source::app::activity::Action,
    telemetry::metrics::Outcome,
};

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
    /// # Errors
    /// [`CallError`]; a tool's own failure is an answer.
    pub async fn call_tool(&self, ctx: &Ctx, request: &Message) -> Result<Answer, CallError> {
        let mut outgoing = Outgoing::of(request)?;
        let name = outgoing.string("name")?;
        if outgoing.params.get("arguments").is_some_and(|arguments| !arguments.starts_with('{') && arguments != "null") {
            return Err(CallError::InvalidParams("`arguments` must be an object".to_owned()));
        }
        let Tool { owner, original, change } = self.resolve_tool(&name).await?;
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
                Ok(Answer::Forwarded(self.forward(permit, ctx, &server, &mut outgoing).await?, None))
            }
            Owner::Unknown => Err(CallError::UnknownTool { name }),
        }
    }

    async fn call_builtin(&self, _: Permit, ctx: &Ctx, name: &str, outgoing: &Outgoing<'_>) -> Bytes {
        let news = outgoing.token().map(|token| News { ctx, token });
        let catalog = self.catalog.current();
        let call = Call {
            name,
            arguments: outgoing.params.get("arguments"),
            catalog: &catalog,
            progress: news.as_ref().map(|news| news as &dyn Progress),
        };
        let timed = self.calls.begin_builtin();
        let Ended { result, how } = self.builtin.call(call).await;
        let (took, outcome) = (timed.elapsed(), if how == How::Done { Outcome::Ok } else { Outcome::ToolError });
        timed.end(outcome);
        if let Some(activities) = &self.activities {
            activities.note_builtin(name, took, how);
        }
        result
    }

    /// A client may call by a list of its last run, so that an unknown name waits
    /// until all servers have been asked, and for the very server that it names.
    async fn resolve_tool(&self, name: &str) -> Result<Tool, CallError> {
        let find = |catalog: &Catalog| catalog.tool(name).map(Option::<&Tool>::cloned).map_err(|error| CallError::ambiguous(name, error));
        if let Some(tool) = find(&self.catalog.current())? {
            return Ok(tool);
        }
        let catalog = self.catalog.settled().await;
        if let Some(tool) = find(&catalog)? {
            return Ok(tool);
        }
        let unknown = || CallError::UnknownTool { name: name.to_owned() };
        let server = catalog.unlisted_server(name).cloned().ok_or_else(unknown)?;
        let patience = self.config.call_timeout;
        let server_name = || catalog.server(&server).map_or_else(|| server.to_string(), |server| server.name.clone());
        match timeout(patience, self.pool.link(&server)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(CallError::Unavailable { server: server_name(), error }),
            Err(_) => return Err(CallError::ConnectTimeout { server: server_name(), after: patience }),
        }
        let catalog = timeout(patience, self.catalog.listed(&server)).await;
        find(&catalog.unwrap_or_else(|_| self.catalog.current()))?.ok_or_else(unknown)
    }
}
