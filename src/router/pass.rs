//! Methods that nothing else here knows: extensions, and what servers have of their own. Each goes to
//! the one server that it can be meant for, to the letter; where there are several, to none.

use super::{Answer, CallError, Ctx, Router, SessionPeer, forward::Outgoing, tasks};
use crate::{
    catalog::{Catalog, Owner, Target},
    protocol::{declared::TASKS_EXTENSION, message::Message, server::ServerId},
    security::rate_limit::What,
};

impl Router {
    /// Whether a request of this method has a server that it can be meant for.
    pub fn passes(&self, method: &str) -> bool {
        is_of_task(method) || meant(&self.catalog.current(), method).is_some()
    }

    /// # Errors
    /// [`CallError`]
    pub async fn pass(&self, ctx: &Ctx, request: &Message) -> Result<Answer, CallError> {
        let method = request.method();
        let catalog = self.catalog.settled().await;
        let mut outgoing = Outgoing::of_any(request)?;
        let declared = ctx.session.declared();
        if is_of_task(method) && !declared.revision.has_handshake() && !declared.has_extension(TASKS_EXTENSION) {
            return Err(CallError::MissingCapability { path: &["extensions", TASKS_EXTENSION] });
        }
        let server = addressee(&catalog, &mut outgoing)?;
        let permit = self.admit(ctx, What::Other, Some(&server))?;
        let reply = self.forward(permit, ctx, &server, &mut outgoing).await?;
        Ok(Answer::Forwarded(tasks::exposed(&server, &reply).unwrap_or(reply), None))
    }

    /// Passes on a notification that the proxy itself has no use for. It is lost where it is not clear for whom it is.
    pub fn pass_notification(&self, session: &dyn SessionPeer, notification: &Message) {
        let catalog = self.catalog.current();
        let Some(server) = meant(&catalog, notification.method().trim_start_matches("notifications/")) else { return };
        if let Some(link) = self.current_link(session, server) {
            link.notify_soon(notification.clone().into());
        }
    }
}

/// The server of the task or the resource that the request names, which it is made to name as that server does; else the
/// one that its method can be meant for.
fn addressee(catalog: &Catalog, outgoing: &mut Outgoing<'_>) -> Result<ServerId, CallError> {
    if is_of_task(outgoing.method()) && outgoing.params.get("taskId").is_some() {
        return tasks::resolve(catalog, outgoing);
    }
    let named = outgoing.params.string("uri").and_then(|uri| catalog.resource(&uri));
    if let Some(Target { owner: Owner::Server(server), original }) = named {
        let params = outgoing.params.clone();
        outgoing.rename(&params, "uri", &original);
        return Ok(server);
    }
    meant(catalog, outgoing.method()).cloned().ok_or_else(|| CallError::UnknownMethod(outgoing.method().to_owned()))
}

fn is_of_task(method: &str) -> bool {
    method.starts_with("tasks/")
}

/// The only server that has declared what the method belongs to; where none has, the only server.
fn meant<'a>(catalog: &'a Catalog, method: &str) -> Option<&'a ServerId> {
    let group = method.split('/').next().unwrap_or_default();
    let mut capable = catalog.servers().filter(|(_, server)| server.declares(group)).map(|(id, _)| id);
    let mut all = catalog.servers().map(|(id, _)| id);
    match (capable.next(), capable.next()) {
        (Some(only), None) => Some(only),
        (Some(_), Some(_)) => None,
        (None, _) => all.next().filter(|_| all.next().is_none()),
    }
}
