//! `resources/read` (specification, server/resources).

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Answer, CallError, Ctx, Router, activity::Subject, forward::Outgoing, prompts::looked_up};
use crate::{
    builtin::{Ended, How},
    catalog::{Catalog, Owner, Target},
    protocol::{
        json::{self, Object, quoted},
        message::{Frame, Kind, Message},
        server::ServerId,
    },
    security::rate_limit::{Permit, What},
    source::app::activity::Action,
    telemetry::metrics::Outcome,
};

impl Router {
    /// # Errors
    /// [`CallError`]
    pub async fn read_resource(&self, ctx: &Ctx, request: &Message) -> Result<Answer, CallError> {
        let mut outgoing = Outgoing::of(request)?;
        let uri = outgoing.string("uri")?;
        if let Some(Target { owner: Owner::Builtin, original }) = self.catalog.current().resource(&uri) {
            let permit = self.admit(ctx, What::Other, None)?;
            return Ok(Answer::Result(self.read_own(permit, &original).await));
        }
        let (permit, server, original) = self.admit_uri(ctx, &uri).await?;
        outgoing.subject = Some(Subject { action: Action::ResourceRead, item: original.clone() });
        if original == uri {
            return Ok(Answer::Forwarded(self.forward(permit, ctx, &server, &mut outgoing).await?, None));
        }
        let params = outgoing.params.clone();
        outgoing.rename(&params, "uri", &original);
        let reply = self.forward(permit, ctx, &server, &mut outgoing).await?;
        let body = renamed(&reply, &original, &uri);
        Ok(Answer::Forwarded(reply, body))
    }

    async fn read_own(&self, _: Permit, uri: &str) -> Bytes {
        let timed = self.calls.begin_builtin();
        let Ended { result, how } = self.builtin.read(uri).await;
        let (took, outcome) = (timed.elapsed(), if how == How::Done { Outcome::Ok } else { Outcome::Error });
        timed.end(outcome);
        if let Some(activities) = &self.activities {
            activities.note_own_resource(uri, took, how);
        }
        result
    }

    /// The server that a URI belongs to, what it is called there, and the permit to ask for it.
    pub(super) async fn admit_uri(&self, ctx: &Ctx, uri: &str) -> Result<(Permit, ServerId, String), CallError> {
        let unknown = || CallError::UnknownResource { uri: uri.to_owned() };
        let Target { owner, original } = self.find_uri(uri).await.ok_or_else(unknown)?;
        // SECURITY: before the App is asked, whose limit all clients and the lists share (threat model T23).
        let permit = self.admit(ctx, What::Other, owner.server())?;
        let server = self.resource_owner(&permit, owner, &original).await?.ok_or_else(unknown)?;
        Ok((permit, server, original))
    }

    async fn find_uri(&self, uri: &str) -> Option<Target> {
        let mut catalog = self.catalog.current();
        if catalog.resource(uri).is_none() {
            catalog = self.catalog.settled().await;
        }
        catalog.resource(uri).or_else(|| unlisted(&catalog, uri))
    }

    /// Only what no connected server has claimed is looked up in the App.
    async fn resource_owner(&self, _: &Permit, owner: Owner, original: &str) -> Result<Option<ServerId>, CallError> {
        match owner {
            Owner::Server(server) => Ok(Some(server)),
            Owner::Builtin => Ok(None),
            Owner::Unknown => match self.source.app() {
                Some(app) => looked_up(app.resolve_resource(original).await),
                None => Ok(None),
            },
        }
    }
}

/// Some servers read more than they list. Where there is but one, it is asked.
fn unlisted(catalog: &Catalog, uri: &str) -> Option<Target> {
    let server = catalog.only_resource_server()?.clone();
    Some(Target { owner: Owner::Server(server), original: uri.to_owned() })
}

/// The result with the URI that the client knows, where the server's own stands.
fn renamed(reply: &Message, original: &str, uri: &str) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Contents<'a> {
        #[serde(borrow)]
        contents: Vec<&'a RawValue>,
    }
    if reply.kind() != Kind::Result {
        return None;
    }
    let body = reply.body_bytes()?;
    let text = std::str::from_utf8(&body).ok()?;
    let Contents { contents } = json::read(text).ok()?;
    let objects = contents.into_iter().filter_map(|content| Object::parse(content.get()).ok());
    let edits =
        objects.filter(|content| content.string("uri").as_deref() == Some(original)).filter_map(|content| content.span(&body, "uri"));
    Some(Frame::spliced(&body, edits.map(|span| (span, quoted(uri))).collect()).into_bytes())
}
