//! `completion/complete` (specification, server/utilities/completion).

use super::{
    Answer, CallError, Ctx, Router,
    forward::{Outgoing, string_in},
};
use crate::{
    catalog::{Owner, Prompt},
    protocol::{json::Object, message::Message, server::ServerId},
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
        let (server, original) = self.completion_owner(member, &name).await?;
        let catalog = self.catalog.current();
        let Some(server) = server.filter(|server| catalog.server(server).is_some_and(|server| server.completions)) else {
            return Ok(Answer::Result(NOTHING.into()));
        };
        if original != name {
            outgoing.rename(&reference, member, &original);
        }
        Ok(Answer::Forwarded(self.forward(ctx, &server, &outgoing).await?, None))
    }

    async fn completion_owner(&self, member: &str, name: &str) -> Result<(Option<ServerId>, String), CallError> {
        let catalog = self.catalog.settled().await;
        if member == "name" {
            let prompt = catalog.prompt(name).ok_or_else(|| CallError::UnknownPrompt { name: name.to_owned() })?;
            return Ok(match prompt {
                Prompt::Forwarded { owner, original } => (self.prompt_owner(owner, original).await, original.clone()),
                Prompt::Instructions { .. } => (None, name.to_owned()),
            });
        }
        let (owner, original) = match (catalog.template(name), catalog.resource(name)) {
            (Some(template), _) => (template.owner.clone(), template.original.clone()),
            (None, Some(target)) => (target.owner, target.original),
            (None, None) => return Err(CallError::UnknownResource { uri: name.to_owned() }),
        };
        let server = match owner {
            Owner::Server(server) => Some(server),
            Owner::Builtin | Owner::Unknown => None,
        };
        Ok((server, original))
    }
}
