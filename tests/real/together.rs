//! Six servers in one configuration: three of them list the same names, and the end of one is nobody else's trouble.

use std::{collections::HashSet, path::Path};

use anyhow::{Context, Result};
use rmcp::model::{GetPromptRequestParams, ReadResourceRequestParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{
    arguments, eventually,
    published::{Node, Python},
    server::{self, Listening, Listens},
    session::Session,
    within,
};

/// The six servers, and what has to live as long as they do.
struct Six {
    session: Session,
    _listening: [Listening; 2],
    _directory: TempDir,
}

impl Six {
    async fn open() -> Result<Option<Self>> {
        let (Some(node), Some(python)) = (Node::installed(), Python::installed()) else {
            return Ok(None);
        };
        let directory = tempfile::tempdir()?;
        let listening = [Listening::start(node, Listens::Sse).await?, Listening::start(node, Listens::StreamableHttp).await?];
        let servers = Self::entries(node, python, &listening, &directory.path().canonicalize()?);
        let session = Session::proxied(servers).await?;
        // On a busy machine the first list may leave out who is slow to start; what comes later is announced, and listed then.
        let slugs = ["everything__", "everything-sse__", "everything-http__", "files__", "memory__", "time__"];
        let all = eventually("tools of all six servers", async || {
            let tools = session.peer().list_all_tools().await.ok()?;
            slugs.iter().all(|slug| tools.iter().any(|tool| tool.name.starts_with(slug))).then_some(())
        });
        Box::pin(all).await?;
        Ok(Some(Self { session, _listening: listening, _directory: directory }))
    }

    fn entries(node: &Node, python: &Python, [sse, http]: &[Listening; 2], directory: &Path) -> Value {
        json!({
            "Everything": server::everything(node),
            "Everything SSE": sse.entry(),
            "everything.http": http.entry(),
            "files": server::filesystem(node, directory),
            "memory": server::memory(node, &directory.join("graph.jsonl")),
            "time": server::time(python),
        })
    }
}

#[tokio::test]
async fn every_tool_has_a_name_of_its_own() -> Result<()> {
    let Some(six) = Six::open().await? else {
        return Ok(());
    };
    let tools = within("tools", six.session.peer().list_all_tools()).await??;
    let names = tools.iter().map(|tool| tool.name.as_ref()).collect::<HashSet<_>>();
    assert_eq!(names.len(), tools.len(), "a name stands twice: {names:?}");
    for name in &names {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        assert!((1..=60).contains(&name.len()) && name.bytes().all(legal), "`{name}` is a name that some clients refuse");
    }
    for name in [
        "everything__echo",
        "everything-sse__echo",
        "everything-http__echo",
        "files__read_text_file",
        "memory__read_graph",
        "time__convert_time",
        "pluggedin_setup",
        "pluggedin_discover_tools",
    ] {
        assert!(names.contains(name), "no {name}: {names:?}");
    }
    six.session.close().await
}

#[tokio::test]
async fn every_server_answers_at_once() -> Result<()> {
    let Some(six) = Six::open().await? else {
        return Ok(());
    };
    let session = &six.session;
    let noon = json!({"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"});
    let (stdio, sse, http, files, graph, time) = tokio::try_join!(
        session.say("everything__echo", json!({"message": "stdio"})),
        session.say("everything-sse__echo", json!({"message": "sse"})),
        session.say("everything-http__echo", json!({"message": "http"})),
        session.say("files__list_allowed_directories", json!({})),
        session.call("memory__read_graph", json!({})),
        session.say("time__convert_time", noon),
    )?;
    assert_eq!([stdio, sse, http], ["Echo: stdio", "Echo: sse", "Echo: http"]);
    assert!(files.starts_with("Allowed directories:"), "{files}");
    assert_eq!(graph.structured_content, Some(json!({"entities": [], "relations": []})));
    assert!(time.contains("+9.0h"), "{time}");
    six.session.close().await
}

#[tokio::test]
async fn what_three_servers_list_is_reachable_three_times() -> Result<()> {
    let Some(six) = Six::open().await? else {
        return Ok(());
    };
    let peer = six.session.peer();

    let prompts = within("prompts", peer.list_all_prompts()).await??;
    let alike = prompts.iter().filter(|prompt| prompt.title.as_deref() == Some("Arguments Prompt"));
    let names = alike.map(|prompt| &prompt.name).collect::<HashSet<_>>();
    assert_eq!(names.len(), 3, "{names:?}");
    for name in names {
        let params = GetPromptRequestParams::new(name).with_arguments(arguments(json!({"city": "Pisa"})));
        let prompt = within(name, peer.get_prompt(params)).await??;
        assert_eq!(serde_json::to_value(prompt)?["messages"][0]["content"]["text"], "What's weather in Pisa?");
    }

    let resources = within("resources", peer.list_all_resources()).await??;
    let alike = resources.iter().filter(|resource| resource.name == "features.md");
    let uris = alike.map(|resource| &resource.uri).collect::<HashSet<_>>();
    assert_eq!(uris.len(), 3, "{uris:?}");
    for uri in uris {
        let read = within(uri, peer.read_resource(ReadResourceRequestParams::new(uri))).await??;
        let content = serde_json::to_value(read)?["contents"][0].take();
        assert_eq!(content["uri"], *uri);
        assert!(content["text"].as_str().context("a text")?.contains("Server Features"));
    }
    six.session.close().await
}

/// Which processes the proxy has started can be asked on Linux, in `/proc`.
#[cfg(target_os = "linux")]
mod processes {
    use std::{fs, process::Command};

    use super::*;
    use crate::support::text;

    #[tokio::test]
    async fn a_killed_server_comes_back_and_the_others_do_not_notice() -> Result<()> {
        let Some(six) = Six::open().await? else {
            return Ok(());
        };
        let session = &six.session;
        let ada = json!({"name": "Ada", "entityType": "person", "observations": []});
        session.call("memory__create_entities", json!({"entities": [ada]})).await?;

        let memory = child(session.process(), "server-memory").context("the proxy has started server-memory")?;
        assert!(Command::new("kill").args(["-KILL", &memory.to_string()]).status()?.success());

        assert_eq!(session.say("everything__echo", json!({"message": "hello"})).await?, "Echo: hello");
        assert_eq!(session.say("everything-sse__echo", json!({"message": "hello"})).await?, "Echo: hello");
        assert_eq!(session.say("everything-http__echo", json!({"message": "hello"})).await?, "Echo: hello");
        session.say("files__list_allowed_directories", json!({})).await?;
        session.say("time__get_current_time", json!({"timezone": "UTC"})).await?;

        // A call may fail while the server is away, in one sentence; it does not hang, and the session goes on.
        let graph = Box::pin(eventually("server-memory", async || {
            let result = session.call("memory__read_graph", json!({})).await.ok()?;
            text(&result).is_ok().then_some(result)
        }));
        assert_eq!(graph.await?.structured_content, Some(json!({"entities": [ada], "relations": []})));
        let again = child(session.process(), "server-memory").context("server-memory runs again")?;
        assert_ne!(again, memory);
        six.session.close().await
    }

    #[tokio::test]
    async fn no_process_outlives_the_proxy() -> Result<()> {
        let Some(six) = Six::open().await? else {
            return Ok(());
        };
        within("tools", six.session.peer().list_all_tools()).await??;
        let started = descendants(six.session.process());
        assert!(started.len() >= 4, "four servers are the proxy's own: {started:?}");
        six.session.close().await?;
        eventually("end of every server", async || started.iter().all(|&process| is_gone(process)).then_some(())).await
    }

    fn child(of: u32, word: &str) -> Option<u32> {
        descendants(of).into_iter().find(|process| {
            let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(word)
        })
    }

    /// Children, their children, and so on.
    fn descendants(of: u32) -> Vec<u32> {
        let threads = fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten();
        let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let children = lists.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>());
        children.flat_map(|child| [vec![child], descendants(child)].concat()).collect()
    }

    /// A zombie is gone too: it only waits for somebody to ask how it ended.
    fn is_gone(process: u32) -> bool {
        fs::read_to_string(format!("/proc/{process}/stat")).map_or(true, |stat| stat.contains(") Z "))
    }
}
