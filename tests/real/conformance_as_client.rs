//! The client scenarios of the official conformance suite, but for those about authorization: the suite is the server, and judges
//! what arrives. The official client passes all of them, and what it passes directly, it passes from behind the proxy.

use std::fmt::Write;

use anyhow::Result;
use futures_util::future::try_join_all;

use super::support::{
    PROXY,
    published::Node,
    suite::{Exception, Report, Status},
};

/// Each scenario, and the revision at which it runs.
const OLD: [(&str, &str); 6] = [
    ("initialize", "2025-11-25"),
    ("tools_call", "2025-06-18"),
    ("tools_call", "2025-11-25"),
    ("elicitation-sep1034-client-defaults", "2025-11-25"),
    ("sse-retry", "2025-11-25"),
    ("json-schema-2020-12-preservation", "2025-11-25"),
];

const MODERN: [(&str, &str); 8] = [
    ("tools_call", "2026-07-28"),
    ("request-metadata", "2026-07-28"),
    ("sep-2322-client-request-state", "2026-07-28"),
    ("http-standard-headers", "2026-07-28"),
    ("http-custom-headers", "2026-07-28"),
    ("http-invalid-tool-headers", "2026-07-28"),
    ("json-schema-ref-no-deref", "2026-07-28"),
    ("json-schema-2020-12-preservation", "2026-07-28"),
];

const SKILLS: [(&str, &str); 4] = [
    ("sep-2640-client-no-prefetch", "2026-07-28"),
    ("sep-2640-client-verify-digest", "2026-07-28"),
    ("sep-2640-client-verify-size", "2026-07-28"),
    ("sep-2640-client-verify-frontmatter", "2026-07-28"),
];

/// What is the proxy's own decision.
const NOT_OFFERED: Exception =
    Exception::never("request-metadata", "sep-2575-client-declares-roots-capability", "roots are not offered to servers");

/// What the proxy does not do yet, where a client asks first what it speaks: the SDK starts it twice for that, and the second finds
/// the tools that the first has kept. A call can then come before the server has listed them again.
const NOT_YET: Exception = Exception::sometimes("http-custom-headers", "*", "a kept listing says nothing of arguments with headers");

/// How a client speaks to the proxy.
#[derive(Clone, Copy, Debug)]
enum Client {
    Legacy,
    Modern,
}

impl Client {
    fn way(self) -> String {
        match self {
            Self::Legacy => format!("legacy {PROXY}"),
            Self::Modern => format!("auto {PROXY}"),
        }
    }
}

async fn reports(node: &Node, way: &str, scenarios: &[(&str, &str)]) -> Result<Option<Vec<Report>>> {
    let client = format!("node {} {way}", node.script("conformance-client.mjs").display());
    let reports = scenarios.iter().map(|(scenario, revision)| Report::of_client(node, &client, scenario, revision));
    Ok(try_join_all(reports).await?.into_iter().collect())
}

/// The official client passes, and so it does from behind the proxy.
async fn passes_through(clients: &[(Client, &[Exception])], scenarios: &[(&str, &str)]) -> Result<()> {
    let Some(node) = Node::installed() else { return Ok(()) };
    let Some(direct) = reports(node, "direct", scenarios).await? else { return Ok(()) };
    let worse = direct.iter().map(|report| report.worse_than(|_| Status::Skipped)).collect::<String>();
    assert!(worse.is_empty(), "the client is wrong, or the suite has changed:\n{worse}");

    let mut worse = String::new();
    for (client, exceptions) in clients {
        let Some(proxied) = reports(node, &client.way(), scenarios).await? else { return Ok(()) };
        for ((direct, proxied), (scenario, revision)) in direct.iter().zip(&proxied).zip(scenarios) {
            let exceptions = exceptions.iter().filter(|exception| exception.is_of(scenario)).copied().collect::<Vec<_>>();
            for line in proxied.worse_than_directly(direct, &exceptions).lines() {
                writeln!(worse, "{client:?} client, {revision}: {line}")?;
            }
        }
    }
    assert!(worse.is_empty(), "worse from behind the proxy than directly:\n{worse}");
    Ok(())
}

#[tokio::test]
async fn the_proxy_is_a_client_of_old_servers() -> Result<()> {
    passes_through(&[(Client::Legacy, &[]), (Client::Modern, &[])], &OLD).await
}

#[tokio::test]
async fn the_proxy_is_a_client_of_modern_servers() -> Result<()> {
    passes_through(&[(Client::Legacy, &[NOT_OFFERED]), (Client::Modern, &[NOT_OFFERED, NOT_YET])], &MODERN).await
}

#[tokio::test]
async fn the_proxy_is_a_client_of_servers_with_skills() -> Result<()> {
    passes_through(&[(Client::Modern, &[])], &SKILLS).await
}
