//! What a server asks while it works on a call: sampling, elicitation, roots. Each
//! request goes to the client of that call, if it has declared that it can be asked.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::{BoxFuture, Either, select, try_join_all},
    stream::FuturesUnordered,
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{AskError, Ctx, Report};
use crate::{
    downstream::{Ask, Lingering, Link, Step, error_message},
    protocol::{
        declared::Declared,
        error::{ErrorObject, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND},
        json::{Object, with_member},
        message::{Frame, Id, Kind, Message},
    },
};

/// Requests of one call that may wait for the client at once. A person answers one after the other.
const OPEN: usize = 64;

/// The open requests of one call. Dropping them withdraws them at the client.
#[derive(Default)]
pub(super) struct Asks {
    /// Each gives its number.
    open: FuturesUnordered<BoxFuture<'static, u64>>,
    /// By number, with the server's own id: a server may use one again before we are done with its last use.
    withdraw: HashMap<u64, (Id, oneshot::Sender<()>)>,
    last: u64,
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
        if let Some(refusal) = refusal(&ctx.session.declared(), ask.request()) {
            tracing::debug!(method = ask.request().method(), "what the server asked was refused: {}", refusal.message);
            return ask.refuse(&refusal);
        }
        let (withdraw, withdrawn) = oneshot::channel();
        self.last += 1;
        let number = self.last;
        self.withdraw.insert(number, (ask.id(), withdraw));
        self.is_shared |= ask.is_shared();
        let ctx = ctx.clone();
        self.open.push(Box::pin(async move {
            put(ctx, ask, withdrawn).await;
            number
        }));
    }

    /// The server does not wait for this answer any more.
    pub(super) fn withdraw(&mut self, id: &Id) {
        for (_, (_, withdraw)) in self.withdraw.extract_if(|_, (other, _)| other == id) {
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
                    Step::Progress(_) | Step::Log(_) | Step::Other(_) | Step::Ask(_) => {}
                },
                () = self.next() => {}
                () = token.cancelled() => return,
            }
        }
    }

    /// Until one of the requests is done. Never, where there is none.
    pub(super) async fn next(&mut self) {
        match self.open.next().await {
            Some(number) => drop(self.withdraw.remove(&number)),
            None => std::future::pending().await,
        }
    }
}

impl Report for Link {
    fn report(&self, progress: Frame) {
        self.notify_soon(progress);
    }
}

/// Puts the server's request to the client, and the client's answer to the server. Only what is sent to `withdrawn` withdraws it.
pub(super) async fn put(ctx: Ctx, ask: Ask, withdrawn: oneshot::Receiver<()>) {
    let withdrawn = std::pin::pin!(async {
        if withdrawn.await.is_err() {
            std::future::pending::<()>().await;
        }
    });
    let report = Arc::clone(ask.link()) as Arc<dyn Report>;
    let answering = ctx.client.ask(ask.request(), Some(report));
    match select(answering, withdrawn).await {
        Either::Left((Ok(answer), _)) => ask.answer(Ok(&answer)).await,
        Either::Left((Err(error), _)) => {
            let code = match error {
                AskError::Gone | AskError::Malformed => INTERNAL_ERROR,
                AskError::Unsupported => METHOD_NOT_FOUND,
                AskError::NotListening => INVALID_REQUEST,
            };
            ask.answer(Err(&ErrorObject::new(code, error.to_string()))).await;
        }
        Either::Right(((), answering)) => {
            drop(answering);
            ask.withdrawn();
        }
    }
}

/// Why the client cannot be asked this. Servers are offered what any client may have.
pub(super) fn refusal(client: &Declared, request: &Message) -> Option<ErrorObject> {
    let Declared { revision, capabilities: client, .. } = client;
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
        "sampling/createMessage" | "roots/list" => None,
        // Rounds hold nothing else.
        method if !revision.has_handshake() => {
            Some(ErrorObject::new(METHOD_NOT_FOUND, format!("the client of this call has no `{method}`")))
        }
        _ => None,
    }
}

/// Puts what an interim result of a server asks to a client of an older revision, and gives the members of the next round's
/// `params` as JSON text.
///
/// # Errors
/// Why there are no answers, for people.
pub(super) async fn answer_round(ctx: &Ctx, reply: &Message) -> Result<String, String> {
    let unclear = || "it cannot be read".to_owned();
    let result = reply.body().and_then(|result| Object::parse(result).ok()).ok_or_else(unclear)?;
    let state = result.get("requestState").map(|state| format!(r#""requestState":{state}"#));
    let Some(requests) = result.get("inputRequests") else {
        // The server wants no more than to be called again.
        return state.ok_or_else(unclear);
    };
    let requests = Object::parse(requests).map_err(|_| unclear())?;
    if requests.iter().count() > OPEN {
        return Err(format!("it is more than {OPEN} requests"));
    }
    let answering = requests.iter().map(async |(key, request)| {
        let answer = answer(ctx, request).await?;
        Ok::<_, String>(format!("{}:{answer}", serde_json::Value::from(key)))
    });
    let answers = try_join_all(answering).await?.join(",");
    let answers = format!(r#""inputResponses":{{{answers}}}"#);
    Ok(answers + &state.map_or_else(String::new, |state| format!(",{state}")))
}

/// The client's result, as JSON text.
async fn answer(ctx: &Ctx, request: &str) -> Result<String, String> {
    let object = Object::parse(request).map_err(|_| "it cannot be read".to_owned())?;
    let method = object.get("method").ok_or("it names no method")?;
    let params = object.get("params").map_or_else(String::new, |params| format!(r#","params":{}"#, identified(params)));
    let text = format!(r#"{{"jsonrpc":"2.0","id":0,"method":{method}{params}}}"#);
    let request = Message::parse(&text.into()).map_err(|_| "it is no request".to_owned())?;
    if let Some(refusal) = refusal(&ctx.session.declared(), &request) {
        return Err(refusal.message);
    }
    let answer = ctx.client.ask(&request, None).await.map_err(|error| error.to_string())?;
    match (answer.kind(), answer.body()) {
        (Kind::Result, Some(result)) => Ok(result.to_owned()),
        _ => Err(format!("the client refused: {}", error_message(answer.body().unwrap_or_default()))),
    }
}

/// Until 2025-11-25 an elicitation by URL has an id of its own.
fn identified(params: &str) -> String {
    match Object::parse(params) {
        Ok(object) if object.string("mode").as_deref() == Some("url") && object.get("elicitationId").is_none() => {
            let id = serde_json::Value::from(Uuid::new_v4().to_string()).to_string();
            let params = with_member(&Bytes::copy_from_slice(params.as_bytes()), "elicitationId", &id);
            String::from_utf8_lossy(&params).into_owned()
        }
        _ => params.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{capability::ClientCapabilities, revision::Revision};

    #[test]
    fn a_client_is_asked_only_what_it_has_declared() {
        let none = ClientCapabilities::default();
        let form = ClientCapabilities { elicitation_form: true, ..none };
        let url = ClientCapabilities { elicitation_url: true, ..none };
        let elicit = |mode: &str| format!(r#""elicitation/create","params":{{{mode}"message":"m"}}"#);
        let (plain, by_form, by_url) = (elicit(""), elicit(r#""mode":"form","#), elicit(r#""mode":"url","#));
        let custom = r#""x/ask""#;
        let with = |revision, capabilities| Declared { revision, capabilities, ..Declared::nothing() };
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
            (none, custom, None),
        ] {
            let request = Message::parse(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":{method}}}"#).into()).expect("a request");
            let refusal = refusal(&with(Revision::NEWEST, client), &request);
            match expect {
                None => assert_eq!(refusal, None, "{client:?} {method}"),
                Some((code, named)) => {
                    let refusal = refusal.unwrap_or_else(|| panic!("{client:?} is asked {method}"));
                    assert_eq!(refusal.code, code, "{client:?} {method}");
                    assert!(refusal.message.ends_with(named), "{}", refusal.message);
                }
            }
        }
        let request = Message::parse(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":{custom}}}"#).into()).expect("a request");
        assert!(refusal(&with(Revision::STATELESS, none), &request).is_some(), "rounds hold nothing else");
    }
}
