//! `prompts/get` (specification, server/prompts): a server's prompts, and the
//! instructions of a server's owner as one.

use bytes::Bytes;
use serde_json::json;

use super::{Answer, CallError, Ctx, Router, activity::Subject, forward::Outgoing};
use crate::{
    catalog::{Catalog, Owner, Prompt},
    protocol::{
        message::Message,
        server::{InstructionRole, ServerId},
    },
    security::rate_limit::{Permit, What},
    source::app::{AppError, activity::Action},
};

impl Router {
    /// # Errors
    /// [`CallError`]
    pub async fn get_prompt(&self, ctx: &Ctx, request: &Message) -> Result<Answer, CallError> {
        let mut outgoing = Outgoing::of(request)?;
        let name = outgoing.string("name")?;
        let catalog = self.catalog.settled().await;
        let unknown = || CallError::UnknownPrompt { name: name.clone() };
        match catalog.prompt(&name).ok_or_else(unknown)? {
            Prompt::Builtin => {
                let _permit = self.admit(ctx, What::Other, None)?;
                if let Some(activities) = &self.activities {
                    activities.note_own_prompt(&name);
                }
                Ok(Answer::Result(self.builtin.prompt()))
            }
            Prompt::Instructions { server, description } => {
                let _permit = self.admit(ctx, What::Other, Some(server))?;
                let result = instructions(&catalog, server, description.as_deref()).ok_or_else(unknown)?;
                if let (Some(activities), Some(config)) = (&self.activities, self.known_to_app(server)) {
                    activities.note_instructions(config, &name);
                }
                Ok(Answer::Result(result))
            }
            Prompt::Forwarded { owner, original } => {
                // SECURITY: before the App is asked, whose limit all clients and the lists share (threat model T23).
                let permit = self.admit(ctx, What::Other, owner.server())?;
                let server = self.prompt_owner(&permit, owner, original).await?.ok_or_else(unknown)?;
                if *original != name {
                    let params = outgoing.params.clone();
                    outgoing.rename(&params, "name", original);
                }
                outgoing.subject = Some(Subject { action: Action::PromptGet, item: original.clone() });
                Ok(Answer::Forwarded(self.forward(permit, ctx, &server, &mut outgoing).await?, None))
            }
        }
    }

    /// Only a prompt that no connected server has claimed is looked up in the App.
    async fn prompt_owner(&self, _: &Permit, owner: &Owner, name: &str) -> Result<Option<ServerId>, CallError> {
        match owner {
            Owner::Server(server) => Ok(Some(server.clone())),
            Owner::Builtin => Ok(None),
            Owner::Unknown => match self.source.app() {
                Some(app) => looked_up(app.resolve_prompt(name).await),
                None => Ok(None),
            },
        }
    }
}

/// What the App says of an owner. It not knowing, and it being away, are the same to a client.
pub(super) fn looked_up(answer: Result<Option<ServerId>, AppError>) -> Result<Option<ServerId>, CallError> {
    match answer {
        Ok(owner) => Ok(owner),
        Err(AppError::RateLimited { retry_after: Some(wait) }) => Err(CallError::AppTooOften { wait }),
        Err(_) => Ok(None),
    }
}

/// Clients know the roles `user` and `assistant`; a system text is marked as one.
fn instructions(catalog: &Catalog, server: &ServerId, description: Option<&str>) -> Option<Bytes> {
    let messages: Vec<_> = catalog
        .server(server)?
        .instructions
        .iter()
        .map(|message| {
            let (role, text) = match message.role {
                InstructionRole::System => ("user", format!("System: {}", message.text)),
                InstructionRole::User => ("user", message.text.clone()),
                InstructionRole::Assistant => ("assistant", message.text.clone()),
            };
            json!({ "role": role, "content": { "type": "text", "text": text } })
        })
        .collect();
    Some(json!({ "description": description, "messages": messages }).to_string().into())
}
