//! What a client gets through the proxy is what the server says: every record of every list, and the answers to a set of requests,
//! compared as JSON with what the same server answers without a proxy. Tool names are the one difference.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::support::{
    published::{Node, Python},
    raw::Raw,
    server::{self, Listening, Listens},
    session,
};

/// The methods that list, what the list is called, and the member that tells its records apart.
const LISTS: [(&str, &str, &str); 4] = [
    ("tools/list", "tools", "name"),
    ("resources/list", "resources", "uri"),
    ("resources/templates/list", "resourceTemplates", "uriTemplate"),
    ("prompts/list", "prompts", "name"),
];

/// `direct` is started here; `proxied` is the entry by which the proxy reaches the same server, over whichever transport.
async fn check(direct: &Value, proxied: &Value, requests: &[(&str, Value)]) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut server = Raw::open(session::direct(direct)).await?;
    let mut proxy = Raw::open(session::proxy(scratch.path(), &json!({"it": proxied}))?).await?;

    for (method, member, key) in LISTS {
        // A server may lack a whole feature; the proxy has them all, and then lists nothing.
        let has = server.request(method, json!({})).await?.outcome.get("result").is_some();
        let said = if has { server.list(method, member).await? } else { Vec::new() };
        let relayed = proxy.list(method, member).await?;
        let (relayed, said) = (server_names(key, relayed)?, by_key(key, said)?);
        assert_eq!(relayed.keys().collect::<Vec<_>>(), said.keys().collect::<Vec<_>>(), "{method}");
        for (name, record) in &said {
            assert_eq!(&relayed[name], record, "{method}: {name}");
        }
    }

    for (method, params) in requests {
        let said = server.request(method, params.clone()).await?;
        let mut params = params.clone();
        if *method == "tools/call" {
            params["name"] = json!(format!("it__{}", params["name"].as_str().context("a tool has a name")?));
        }
        let relayed = proxy.request(method, params.clone()).await?;
        assert_eq!(relayed, said, "{method} {params}");
    }
    Ok(())
}

/// The proxy's records by the server's own names for them, without what the proxy adds of its own.
fn server_names(key: &str, records: Vec<Value>) -> Result<BTreeMap<String, Value>> {
    let mut servers = Vec::new();
    for mut record in records {
        let name = record[key].as_str().context("a record has a name")?;
        if ["pluggedin_", "pluggedin://"].iter().any(|own| name.starts_with(own)) {
            continue;
        }
        if let Some(own) = name.strip_prefix("it__") {
            record[key] = json!(own);
        }
        servers.push(record);
    }
    by_key(key, servers)
}

fn by_key(key: &str, records: Vec<Value>) -> Result<BTreeMap<String, Value>> {
    let count = records.len();
    let named = |record: Value| Some((record[key].as_str()?.to_owned(), record));
    let records = records.into_iter().map(named).collect::<Option<BTreeMap<_, _>>>().with_context(|| format!("a record has no {key}"))?;
    assert_eq!(records.len(), count, "two records of one {key}: {records:?}");
    Ok(records)
}

fn call(name: &str, arguments: Value) -> (&'static str, Value) {
    let mut params = json!({"name": name});
    params["arguments"] = arguments;
    ("tools/call", params)
}

/// Whatever `server-everything` answers alike each time: texts, images, links, structured content, both kinds of errors, progress, and
/// what it asks the client.
fn everything() -> Vec<(&'static str, Value)> {
    let mut counted = call("trigger-long-running-operation", json!({"duration": 0.2, "steps": 20}));
    counted.1["_meta"] = json!({"progressToken": "step by step", "example.com/mine": {"kept": 0.1}});
    vec![
        call("echo", json!({"message": "\u{0}\u{2028}\"\\/ 🦀"})),
        call("get-sum", json!({"a": 0.1, "b": 9_007_199_254_740_993_u64})),
        call("get-tiny-image", json!({})),
        call("get-annotated-message", json!({"messageType": "error", "includeImage": true})),
        call("get-structured-content", json!({"location": "New York"})),
        call("get-resource-links", json!({"count": 10})),
        call("get-sum", json!({"a": "two"})),
        call("get-resource-reference", json!({"resourceType": "Text", "resourceId": -1})),
        counted,
        call("trigger-sampling-request", json!({"prompt": "say something", "maxTokens": 7})),
        call("trigger-elicitation-request", json!({})),
        ("resources/read", json!({"uri": "demo://resource/static/document/features.md"})),
        ("resources/read", json!({"uri": "demo://resource/dynamic/text/none"})),
        ("prompts/get", json!({"name": "simple-prompt"})),
        ("prompts/get", json!({"name": "args-prompt", "arguments": {"city": "Pisa"}})),
        ("prompts/get", json!({"name": "args-prompt", "arguments": {}})),
        (
            "completion/complete",
            json!({
                "ref": {"type": "ref/prompt", "name": "completable-prompt"},
                "argument": {"name": "name", "value": "J"},
                "context": {"arguments": {"department": "Support"}},
            }),
        ),
    ]
}

#[tokio::test]
async fn everything_over_stdio() -> Result<()> {
    let Some(node) = Node::installed() else {
        return Ok(());
    };
    let entry = server::everything(node);
    check(&entry, &entry, &everything()).await
}

#[tokio::test]
async fn everything_over_sse() -> Result<()> {
    let Some(node) = Node::installed() else {
        return Ok(());
    };
    let listening = Listening::start(node, Listens::Sse).await?;
    check(&server::everything(node), &listening.entry(), &everything()).await
}

#[tokio::test]
async fn everything_over_streamable_http() -> Result<()> {
    let Some(node) = Node::installed() else {
        return Ok(());
    };
    let listening = Listening::start(node, Listens::StreamableHttp).await?;
    check(&server::everything(node), &listening.entry(), &everything()).await
}

#[tokio::test]
async fn filesystem() -> Result<()> {
    let Some(node) = Node::installed() else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let root = directory.path().canonicalize()?;
    std::fs::write(root.join("note.txt"), "one\ntwo\n")?;
    let entry = server::filesystem(node, &root);
    let requests = [
        call("list_allowed_directories", json!({})),
        call("read_text_file", json!({"path": root.join("note.txt"), "head": 1})),
        call("read_media_file", json!({"path": root.join("note.txt")})),
        call("directory_tree", json!({"path": root})),
        call("read_text_file", json!({"path": root.join("missing.txt")})),
    ];
    check(&entry, &entry, &requests).await
}

#[tokio::test]
async fn memory() -> Result<()> {
    let Some(node) = Node::installed() else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let graph = directory.path().join("graph.jsonl");
    std::fs::write(&graph, r#"{"type":"entity","name":"Ada","entityType":"person","observations":["wrote the first program"]}"#)?;
    let entry = server::memory(node, &graph);
    let requests = [
        call("read_graph", json!({})),
        call("search_nodes", json!({"query": "program"})),
        call("open_nodes", json!({"names": ["Ada", "Charles"]})),
        call("add_observations", json!({"observations": [{"entityName": "Charles", "contents": ["is not there"]}]})),
    ];
    check(&entry, &entry, &requests).await
}

#[tokio::test]
async fn time() -> Result<()> {
    let Some(python) = Python::installed() else {
        return Ok(());
    };
    let entry = server::time(python);
    let requests = [
        call("convert_time", json!({"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"})),
        call("convert_time", json!({"source_timezone": "UTC", "time": "25:61", "target_timezone": "Asia/Tokyo"})),
        call("get_current_time", json!({"timezone": "Nowhere/Else"})),
        call("get_current_time", json!({})),
    ];
    check(&entry, &entry, &requests).await
}
