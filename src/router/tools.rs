//! `tools/call` (specification, server/tools).

use tokio::time::timeout;

use super::{Answer, CallError, Ctx, Router, activity::Subject, forward::Outgoing, measure};
use crate::{
    catalog::{Catalog, Change, Owner, Tool},
    protocol::message::Message,
    security::rate_limit::What,
    source::app::activity::Action,
};

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
                let _permit = self.admit(ctx, What::ToolCall, None)?;
                let catalog = self.catalog.current();
                let arguments = outgoing.params.get("arguments");
                let timed = self.calls.begin_builtin();
                let result = self.builtin.call(&original, arguments, &catalog);
                timed.end(measure::outcome_of_result(&result));
                Ok(Answer::Result(result))
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
