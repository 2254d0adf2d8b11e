//! What a server asks while it works on a call: sampling, elicitation, roots. Each
//! request goes to the client of that call, if it has declared that it can be asked.

use std::collections::HashMap;

use futures_util::{
    StreamExt,
    future::{BoxFuture, Either, select},
    stream::FuturesUnordered,
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{AskError, Ctx};
use crate::{
    downstream::{Ask, Lingering, Step},
    protocol::{
        capability::ClientCapabilities,
        error::{ErrorObject, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND},
        json::Object,
        message::{Id, Message},
    },
};

/// Requests of one call that may wait for the client at once. A person answers one after the other.
const OPEN: usize = 64;

/// The open requests of one call. Dropping them withdraws them at the client.
#[derive(Default)]
pub(super) struct Asks {
    open: FuturesUnordered<BoxFuture<'static, Id>>,
    withdraw: HashMap<Id, oneshot::Sender<()>>,
    /// One of them may belong to another call of the session.
    is_shared: bool,
}

impl Asks {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn is_shared(&self) -> bool {
        self.is_shared && !self.is_empty()
    }

    /// Asks the client, or refuses to.
    pub(super) fn add(&mut self, ctx: &Ctx, ask: Ask) {
        if self.open.len() >= OPEN {
            return ask.refuse(&ErrorObject::new(INVALID_REQUEST, format!("{OPEN} requests of this call wait for the client already")));
        }
        if let Some(refusal) = refusal(ctx.session.declared().capabilities, ask.request()) {
            tracing::debug!(method = ask.request().method(), "what the server asked was refused: {}", refusal.message);
            return ask.refuse(&refusal);
        }
        let (withdraw, withdrawn) = oneshot::channel();
        self.withdraw.insert(ask.id(), withdraw);
        self.is_shared |= ask.is_shared();
        self.open.push(Box::pin(put(ctx.clone(), ask, withdrawn)));
    }

    /// The server does not wait for this answer any more.
    pub(super) fn withdraw(&mut self, id: &Id) {
        if let Some(withdraw) = self.withdraw.remove(id) {
            // An error means that the answer is on its way to the server.
            let _ = withdraw.send(());
        }
    }

    /// Goes on after the answer to the call that they were put to, as long as another call of the session may have caused them
    /// and `token` is not cancelled.
    pub(super) async fn linger(mut self, mut call: Lingering, token: CancellationToken) {
        while !self.is_empty() {
            tokio::select! {
                step = call.next() => match step {
                    Step::Withdrawn(id) => self.withdraw(&id),
                    Step::Reply(_) => return,
                    Step::Progress(_) | Step::Log(_) | Step::Ask(_) => {}
                },
                () = self.next() => {}
                () = token.cancelled() => return,
            }
        }
    }

    /// Until one of the requests is done. Never, where there is none.
    pub(super) async fn next(&mut self) {
        match self.open.next().await {
            Some(id) => drop(self.withdraw.remove(&id)),
            None => std::future::pending().await,
        }
    }
}

/// Puts the server's request to the client, and the client's answer to the server.
async fn put(ctx: Ctx, ask: Ask, withdrawn: oneshot::Receiver<()>) -> Id {
    let id = ask.id();
    let answering = ctx.client.ask(ask.request());
    match select(answering, withdrawn).await {
        Either::Left((Ok(answer), _)) => ask.answer(Ok(&answer)).await,
        Either::Left((Err(error), _)) => {
            let code = match error {
                AskError::Gone => INTERNAL_ERROR,
                AskError::Unsupported => METHOD_NOT_FOUND,
            };
            ask.answer(Err(&ErrorObject::new(code, error.to_string()))).await;
        }
        Either::Right((_, answering)) => {
            drop(answering);
            ask.withdrawn();
        }
    }
    id
}

/// Why the client cannot be asked this. Servers are offered what any client may have.
fn refusal(client: ClientCapabilities, request: &Message) -> Option<ErrorObject> {
    let lacks = |capability: &str| {
        Some(ErrorObject::new(METHOD_NOT_FOUND, format!("the client of this call has not declared the capability `{capability}`")))
    };
    match request.method() {
        "sampling/createMessage" if !client.sampling => lacks("sampling"),
        "roots/list" if !client.roots => lacks("roots"),
        "elicitation/create" => {
            let params = request.body().and_then(|params| Object::parse(params).ok());
            let by_url = params.is_some_and(|params| params.string("mode").as_deref() == Some("url"));
            match (client.elicitation_form, client.elicitation_url) {
                (false, false) => lacks("elicitation"),
                // A mode that is not declared is a matter of parameters (client/elicitation, "error handling").
                (false, true) if !by_url => {
                    Some(ErrorObject::new(INVALID_PARAMS, "the client of this call has not declared the capability `elicitation.form`"))
                }
                (true, false) if by_url => {
                    Some(ErrorObject::new(INVALID_PARAMS, "the client of this call has not declared the capability `elicitation.url`"))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_asked_only_what_it_has_declared() {
        let none = ClientCapabilities::default();
        let form = ClientCapabilities { elicitation_form: true, ..none };
        let url = ClientCapabilities { elicitation_url: true, ..none };
        let elicit = |mode: &str| format!(r#""elicitation/create","params":{{{mode}"message":"m"}}"#);
        let (plain, by_form, by_url) = (elicit(""), elicit(r#""mode":"form","#), elicit(r#""mode":"url","#));
        for (client, method, expect) in [
            (none, r#""sampling/createMessage""#, Some((METHOD_NOT_FOUND, "`sampling`"))),
            (ClientCapabilities { sampling: true, ..none }, r#""sampling/createMessage""#, None),
            (none, r#""roots/list""#, Some((METHOD_NOT_FOUND, "`roots`"))),
            (ClientCapabilities { roots: true, ..none }, r#""roots/list""#, None),
            (none, &plain, Some((METHOD_NOT_FOUND, "`elicitation`"))),
            (none, &by_url, Some((METHOD_NOT_FOUND, "`elicitation`"))),
            (form, &plain, None),
            (form, &by_form, None),
            (form, &by_url, Some((INVALID_PARAMS, "`elicitation.url`"))),
            (url, &by_url, None),
            (url, &plain, Some((INVALID_PARAMS, "`elicitation.form`"))),
        ] {
            let request = Message::parse(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":{method}}}"#).into()).expect("a request");
            let refusal = refusal(client, &request);
            match expect {
                None => assert_eq!(refusal, None, "{client:?} {method}"),
                Some((code, named)) => {
                    let refusal = refusal.unwrap_or_else(|| panic!("{client:?} is asked {method}"));
                    assert_eq!(refusal.code, code, "{client:?} {method}");
                    assert!(refusal.message.ends_with(named), "{}", refusal.message);
                }
            }
        }
    }
}
