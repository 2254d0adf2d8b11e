//! `server-filesystem` writes and reads through the proxy, and its own limits hold.

use std::fs;

use anyhow::Result;
use serde_json::json;

use super::support::{published::Node, server, session::Session};

#[tokio::test]
async fn a_file_is_written_and_read() -> Result<()> {
    let Some(node) = Node::installed() else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let root = directory.path().canonicalize()?;
    let session = Session::proxied(json!({"Files": server::filesystem(node, &root)})).await?;

    let file = root.join("note.txt");
    session.say("files__write_file", json!({"path": file, "content": "äöü\n🦀"})).await?;
    assert_eq!(fs::read_to_string(&file)?, "äöü\n🦀");
    assert_eq!(session.say("files__read_text_file", json!({"path": file})).await?, "äöü\n🦀");
    assert_eq!(session.say("files__list_directory", json!({"path": root})).await?, "[FILE] note.txt");

    let outside = session.call("files__read_text_file", json!({"path": "/etc/hostname"})).await?;
    assert_eq!(outside.is_error, Some(true), "{outside:?}");
    session.close().await
}

/// A mebibyte each way: more than any pipe or buffer on the path holds at once.
#[tokio::test]
async fn a_large_file_is_written_and_read() -> Result<()> {
    let Some(node) = Node::installed() else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let root = directory.path().canonicalize()?;
    let session = Session::proxied(json!({"files": server::filesystem(node, &root)})).await?;

    let file = root.join("large.txt");
    let content = "0123456789abcde\n".repeat(65_536);
    session.say("files__write_file", json!({"path": file, "content": content})).await?;
    assert_eq!(fs::metadata(&file)?.len(), 1 << 20);
    assert!(session.say("files__read_text_file", json!({"path": file})).await? == content, "the file came back changed");
    session.close().await
}
