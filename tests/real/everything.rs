//! `server-everything`, one scenario a function, each told of the server itself and of the proxy in front of it over every
//! transport that the server has.

use std::collections::HashMap;

use anyhow::{Context, Result};
use rmcp::model::{CompletionContext, GetPromptRequestParams, ProgressToken, ReadResourceRequestParams};
use serde_json::{Value, json};

use super::support::{
    arguments, eventually,
    published::Node,
    raw::Raw,
    server::{self, Listening, Listens},
    session::{self, Session},
    within,
};

/// How the client reaches the server.
#[derive(Clone, Copy, Debug)]
enum Way {
    Direct,
    Stdio,
    Sse,
    StreamableHttp,
}

async fn tell(way: Way, scenario: impl AsyncFnOnce(&mut Session) -> Result<()>) -> Result<()> {
    let Some(node) = Node::installed() else {
        return Ok(());
    };
    // Held to the end of the scenario: dropping it ends the server.
    let listening = match way {
        Way::Direct | Way::Stdio => None,
        Way::Sse => Some(Listening::start(node, Listens::Sse).await?),
        Way::StreamableHttp => Some(Listening::start(node, Listens::StreamableHttp).await?),
    };
    let entry = listening.as_ref().map_or_else(|| server::everything(node), Listening::entry);
    let mut session = match way {
        Way::Direct => Session::direct(&entry).await?,
        Way::Stdio | Way::Sse | Way::StreamableHttp => Session::proxied_everything(entry).await?,
    };
    scenario(&mut session).await?;
    session.close().await
}

async fn its_tools_are_listed(session: &mut Session) -> Result<()> {
    let tools = within("tools", session.peer().list_all_tools()).await??;
    for name in ["echo", "get-sum", "trigger-long-running-operation"] {
        let tool = tools.iter().find(|tool| tool.name == session.tool(name)).with_context(|| format!("no {name}: {tools:?}"))?;
        assert!(tool.description.is_some() && tool.title.is_some() && tool.annotations.is_some(), "{tool:?}");
    }
    Ok(())
}

async fn its_tools_answer(session: &mut Session) -> Result<()> {
    assert_eq!(session.say("echo", json!({"message": "grüß dich"})).await?, "Echo: grüß dich");
    assert_eq!(session.say("get-sum", json!({"a": 2, "b": 40})).await?, "The sum of 2 and 40 is 42.");

    let weather = session.call("get-structured-content", json!({"location": "Chicago"})).await?;
    assert_eq!(weather.structured_content.context("structured content")?["temperature"], 36);

    let wrong = session.call("get-sum", json!({"a": "two"})).await?;
    assert_eq!(wrong.is_error, Some(true), "{wrong:?}");
    Ok(())
}

async fn its_resources_are_read(session: &mut Session) -> Result<()> {
    let resources = within("resources", session.peer().list_all_resources()).await??;
    let features = resources.iter().find(|resource| resource.uri.ends_with("/features.md")).context("features.md is listed")?;
    assert!(read(session, &features.uri).await?["text"].as_str().context("a text")?.contains("Server Features"));

    // In no list, only in a template.
    let templates = within("templates", session.peer().list_all_resource_templates()).await??;
    assert!(templates.iter().any(|template| template.uri_template == "demo://resource/dynamic/text/{resourceId}"));
    assert!(read(session, "demo://resource/dynamic/text/7").await?["text"].as_str().context("a text")?.starts_with("Resource 7:"));
    assert!(read(session, "demo://resource/dynamic/blob/7").await?["blob"].is_string());
    Ok(())
}

async fn read(session: &Session, uri: &str) -> Result<Value> {
    let read = session.peer().read_resource(ReadResourceRequestParams::new(uri));
    let content = serde_json::to_value(within(uri, read).await??)?["contents"][0].take();
    assert_eq!(content["uri"], uri);
    Ok(content)
}

async fn its_prompts_are_filled_in(session: &mut Session) -> Result<()> {
    let prompts = within("prompts", session.peer().list_all_prompts()).await??;
    assert!(prompts.iter().any(|prompt| { prompt.name == "args-prompt" && prompt.arguments.as_ref().is_some_and(|args| args.len() == 2) }));

    let params = GetPromptRequestParams::new("args-prompt").with_arguments(arguments(json!({"city": "Pisa", "state": "Tuscany"})));
    let prompt = within("prompt", session.peer().get_prompt(params)).await??;
    assert_eq!(serde_json::to_value(prompt)?["messages"][0]["content"]["text"], "What's weather in Pisa, Tuscany?");

    let incomplete = session.peer().get_prompt(GetPromptRequestParams::new("args-prompt"));
    assert!(within("error", incomplete).await?.is_err(), "`city` is required");
    Ok(())
}

async fn its_arguments_are_completed(session: &mut Session) -> Result<()> {
    let department = session.peer().complete_prompt_argument("completable-prompt", "department", "E", None);
    assert_eq!(within("completion", department).await??.values, ["Engineering"]);

    let sales = CompletionContext::with_arguments(HashMap::from([("department".to_owned(), "Sales".to_owned())]));
    let name = session.peer().complete_prompt_argument("completable-prompt", "name", "", Some(sales));
    assert_eq!(within("completion", name).await??.values, ["David", "Eve", "Frank"]);

    let resource = session.peer().complete_resource_argument("demo://resource/dynamic/text/{resourceId}", "resourceId", "7", None);
    assert_eq!(within("completion", resource).await??.values, ["7"]);
    Ok(())
}

async fn its_progress_arrives(session: &mut Session) -> Result<()> {
    let call = session.begin("trigger-long-running-operation", json!({"duration": 0.5, "steps": 5})).await?;
    let token = call.progress_token.clone();
    let mut steps = Vec::new();
    for _ in 0..5 {
        let progress = session.next_progress().await?;
        assert_eq!((&progress.progress_token, progress.total), (&token, Some(5.0)));
        steps.push(progress.progress);
    }
    // Each notification runs in a task of its own in this client, so the order is not ours to check here; `same.rs` does.
    steps.sort_by(f64::total_cmp);
    assert_eq!(steps, [1.0, 2.0, 3.0, 4.0, 5.0]);
    within("result", call.await_response()).await??;
    Ok(())
}

async fn a_cancelled_call_is_over(session: &mut Session) -> Result<()> {
    let call = session.begin("trigger-long-running-operation", json!({"duration": 600, "steps": 6000})).await?;
    let cancelled = call.progress_token.clone();
    assert_eq!(session.next_progress().await?.progress_token, cancelled);
    call.cancel(Some("changed my mind".to_owned())).await?;
    assert_eq!(session.say("echo", json!({"message": "still here"})).await?, "Echo: still here");
    Ok(())
}

/// The server goes on sending progress of what was cancelled; the proxy knows that nobody waits for it.
async fn a_cancelled_call_is_silent(session: &mut Session) -> Result<()> {
    let call = session.begin("trigger-long-running-operation", json!({"duration": 600, "steps": 6000})).await?;
    let cancelled = call.progress_token.clone();
    assert_eq!(session.next_progress().await?.progress_token, cancelled);
    call.cancel(None).await?;

    // A second call is the clock: ten notifications of the first would fall into the time between two of its steps.
    let clock = session.begin("trigger-long-running-operation", json!({"duration": 3, "steps": 3})).await?;
    let count = clock.progress_token.clone();
    first_of(session, &count).await?;
    for _ in 0..2 {
        assert_eq!(session.next_progress().await?.progress_token, count);
    }
    within("result", clock.await_response()).await??;
    Ok(())
}

async fn first_of(session: &mut Session, token: &ProgressToken) -> Result<()> {
    while session.next_progress().await?.progress_token != *token {}
    Ok(())
}

/// Every scenario in a module for each way to reach the server.
macro_rules! told {
    ($module:ident: $way:expr; $($scenario:ident)*) => {
        mod $module {
            use super::*;

            $(#[tokio::test]
            async fn $scenario() -> Result<()> {
                tell($way, super::$scenario).await
            })*
        }
    };
}

told!(direct: Way::Direct;
    its_tools_are_listed its_tools_answer its_resources_are_read its_prompts_are_filled_in its_arguments_are_completed
    its_progress_arrives a_cancelled_call_is_over);
told!(over_stdio: Way::Stdio;
    its_tools_are_listed its_tools_answer its_resources_are_read its_prompts_are_filled_in its_arguments_are_completed
    its_progress_arrives a_cancelled_call_is_over a_cancelled_call_is_silent);
told!(over_sse: Way::Sse;
    its_tools_are_listed its_tools_answer its_resources_are_read its_prompts_are_filled_in its_arguments_are_completed
    its_progress_arrives a_cancelled_call_is_over a_cancelled_call_is_silent);
told!(over_streamable_http: Way::StreamableHttp;
    its_tools_are_listed its_tools_answer its_resources_are_read its_prompts_are_filled_in its_arguments_are_completed
    its_progress_arrives a_cancelled_call_is_over a_cancelled_call_is_silent);

/// The server does not know the proxy's session any more, and says so with a status 400 of its own instead of the specification's
/// 404. The client's session goes on.
async fn it_is_found_again(transport: Listens) -> Result<()> {
    let Some(node) = Node::installed() else { return Ok(()) };
    let listening = Listening::start(node, transport).await?;
    let session = Session::proxied_everything(listening.entry()).await?;
    assert_eq!(session.say("echo", json!({"message": "first"})).await?, "Echo: first");

    let _listening = listening.restart(node).await?;
    let again = eventually("answer of the new server", async || session.say("echo", json!({"message": "second"})).await.ok());
    assert_eq!(Box::pin(again).await?, "Echo: second");
    session.close().await
}

#[tokio::test]
async fn a_restarted_sse_server_is_found_again() -> Result<()> {
    it_is_found_again(Listens::Sse).await
}

#[tokio::test]
async fn a_restarted_streamable_http_server_is_found_again() -> Result<()> {
    it_is_found_again(Listens::StreamableHttp).await
}

/// A published server prints its environment: the proxy's own must not be in it, what is configured must.
#[tokio::test]
async fn it_sees_nothing_of_the_environment_of_the_proxy() -> Result<()> {
    let Some(node) = Node::installed() else { return Ok(()) };
    let scratch = tempfile::tempdir()?;
    let mut entry = server::everything(node);
    entry["env"] = json!({"CONFIGURED": "with ${SECRET}"});
    let mut proxy = session::proxy(scratch.path(), &json!({"everything": entry}))?;
    proxy.env("SECRET", "hidden").env("NODE_OPTIONS", "--no-warnings").env("AWS_SECRET_ACCESS_KEY", "hidden");

    let mut client = Raw::open(proxy).await?;
    let answer = client.request("tools/call", json!({"name": "everything__get-env", "arguments": {}})).await?;
    let text = answer.outcome["result"]["content"][0]["text"].as_str().context("a text")?;
    let environment = serde_json::from_str::<HashMap<String, String>>(text)?;
    assert_eq!(environment.get("CONFIGURED").map(String::as_str), Some("with hidden"));
    assert!(environment.contains_key("PATH"), "{environment:?}");
    for name in ["SECRET", "NODE_OPTIONS", "AWS_SECRET_ACCESS_KEY"] {
        assert!(!environment.contains_key(name), "{environment:?}");
    }
    Ok(())
}
