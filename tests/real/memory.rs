//! `server-memory` keeps a graph across sessions of the proxy.

use anyhow::Result;
use serde_json::json;

use super::support::{published::Node, server, session::Session};

#[tokio::test]
async fn a_graph_is_kept() -> Result<()> {
    let Some(node) = Node::installed() else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let servers = json!({"memory": server::memory(node, &directory.path().join("graph.jsonl"))});

    let session = Session::proxied(servers.clone()).await?;
    let ada = json!({"name": "Ada", "entityType": "person", "observations": ["wrote the first program"]});
    session.call("memory__create_entities", json!({"entities": [ada]})).await?;
    session.close().await?;

    let session = Session::proxied(servers).await?;
    let graph = session.call("memory__read_graph", json!({})).await?.structured_content;
    assert_eq!(graph, Some(json!({"entities": [ada], "relations": []})));
    session.close().await
}
