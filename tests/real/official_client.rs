//! The official TypeScript client on the proxy's Streamable HTTP, with the reference server behind it. `node/client.mjs` tells what
//! happens; here a story gets its proxy, and its end is judged.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
};

use super::support::{front::Front, published::Node, reference::Reference, within};

/// Tells one story, to a proxy with these options besides.
async fn tell(story: &str, args: &[&'static str]) -> Result<()> {
    let Some(node) = Node::installed() else { return Ok(()) };
    let reference = Reference::start(node).await?;
    let front = Front::start(&reference, args).await?;
    ends_well(begin(node, story, &front)?).await?;
    front.close().await
}

fn begin(node: &Node, story: &str, front: &Front) -> Result<Child> {
    let mut client = Command::new("node");
    client.arg(node.script("client.mjs")).args([story, &front.url()]);
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    Ok(client.spawn()?)
}

async fn ends_well(client: Child) -> Result<()> {
    let output = within("end of the client", client.wait_with_output()).await??;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A test for each story that needs nothing but a proxy.
macro_rules! stories {
    ($($story:ident)*) => {
        $(#[tokio::test]
        async fn $story() -> Result<()> {
            tell(stringify!($story), &[]).await
        })*
    };
}

stories!(
    connects lists_tools calls_tools sees_progress sees_logs cancels_a_call shares_with_many_clients reads_resources watches_a_resource
    fills_in_prompts completes_arguments hears_of_changed_lists answers_servers answers_nothing ends_its_session resumes_a_call
    resumes_the_stream_for_news);

#[tokio::test]
async fn needs_no_session() -> Result<()> {
    tell("needs_no_session", &["--stateless"]).await
}

#[tokio::test]
async fn survives_a_restart() -> Result<()> {
    let Some(node) = Node::installed() else { return Ok(()) };
    let reference = Reference::start(node).await?;
    let front = Front::start(&reference, &[]).await?;
    let mut client = begin(node, "survives_a_restart", &front)?;
    let mut stdout = BufReader::new(client.stdout.take().context("stdout is piped")?).lines();
    within("connection of the client", stdout.next_line()).await??;

    let front = front.restart().await?;
    client.stdin.as_mut().context("stdin is piped")?.write_all(b"restarted\n").await?;
    ends_well(client).await?;
    front.close().await
}
