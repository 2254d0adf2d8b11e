//! `completion/complete` (specification, server/utilities/completion).

use super::{
    Answer, CallError, Ctx, Router,
    forward::{Outgoing, string_in},
};
use crate::{
    catalog::{Owner, Prompt},
    protocol::{json::Object, message::Message, server::ServerId},
    security::rate_limit::What,
};

/// What is answered where the owner cannot complete anything.
const NOTHING: &[u8] = br#"{"completion":{"values":[],"total":0,"hasMore":false}}"#;

impl Router {
    /// # Errors
    /// [`CallError`]
    pub async fn complete(&self, ctx: &Ctx, request: &Message) -> Result<Answer, CallError> {
        let mut outgoing = Outgoing::of(request)?;
        let reference = outgoing.params.get("ref").ok_or_else(|| CallError::InvalidParams("`ref` is missing".to_owned()))?;
        let reference = Object::parse(reference).map_err(|error| CallError::malformed(&error))?;
        let (member, name) = match reference.string("type").as_deref() {
            Some("ref/prompt") => ("name", string_in(&reference, "name")?),
            Some("ref/resource") => ("uri", string_in(&reference, "uri")?),
            _ => return Err(CallError::InvalidParams("`ref.type` must be `ref/prompt` or `ref/resource`".to_owned())),
        };
        let Some((server, original)) = self.completion_owner(member, &name).await? else {
            return Ok(Answer::Result(NOTHING.into()));
        };
        let permit = self.admit(ctx, What::Other, Some(&server))?;
        if original != name {
            outgoing.rename(&reference, member, &original);
        }
        Ok(Answer::Forwarded(self.forward(permit, ctx, &server, &mut outgoing).await?, None))
    }

    /// The server that completes this, and the name that it knows; `None` if its
    /// owner completes nothing.
    async fn completion_owner(&self, member: &str, name: &str) -> Result<Option<(ServerId, String)>, CallError> {
        let catalog = self.catalog.settled().await;
        let (owner, original) = if member == "name" {
            match catalog.prompt(name).ok_or_else(|| CallError::UnknownPrompt { name: name.to_owned() })? {
                Prompt::Forwarded { owner, original } => (owner.clone(), original.clone()),
                Prompt::Builtin | Prompt::Instructions { .. } => return Ok(None),
            }
        } else {
            match (catalog.template(name), catalog.resource(name)) {
                (Some(template), _) => (template.owner.clone(), template.original.clone()),
                (None, Some(target)) => (target.owner, target.original),
                (None, None) => return Err(CallError::UnknownResource { uri: name.to_owned() }),
            }
        };
        match owner {
            Owner::Server(server) if catalog.server(&server).is_some_and(|server| server.completions) => Ok(Some((server, original))),
            Owner::Server(_) | Owner::Builtin | Owner::Unknown => Ok(None),
        }
    }
}
