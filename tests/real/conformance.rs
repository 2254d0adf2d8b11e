//! The server scenarios of the official conformance suite: the reference servers pass all of them, and what they pass directly, they
//! pass behind the proxy.

use anyhow::Result;
use tokio::sync::OnceCell;

use super::support::{
    front::Front,
    published::Node,
    reference::Reference,
    suite::{Exception, Report, Scenarios, Status},
};

/// Scenarios of the pinned version of the suite, and the reference server that is made for them.
#[derive(Debug)]
struct Suite {
    scenarios: Scenarios,
    count: usize,
    made_for: Generation,
    direct: OnceCell<Option<Report>>,
}

/// A server speaks the revisions with sessions, or the one without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Generation {
    Old,
    Modern,
}

static REVISION_2025_06_18: Suite = Suite::new(Scenarios::Of("2025-06-18"), 27, Generation::Old);

/// 30 that count for conformance, and 3 that came later.
static REVISION_2025_11_25: Suite = Suite::new(Scenarios::Required("2025-11-25"), 33, Generation::Old);

/// 37 that count for conformance, 3 that came later, and the 10 of the extension for tasks.
static REVISION_2026_07_28: Suite = Suite::new(Scenarios::Required("2026-07-28"), 50, Generation::Modern);

static SKILLS: Suite = Suite::new(
    Scenarios::Named(&["sep-2640-skills-directory", "sep-2640-skills-enumeration", "sep-2640-skills-manifest"]),
    3,
    Generation::Modern,
);

/// `(scenario, check)` that the suite itself does not do yet.
const SKIPPED: [(&str, &str); 1] = [("tasks-status-notifications", "tasks-status-notifications")];

/// What the suite leaves to a server, which it then notes and does not judge. The proxy is a server of its own.
const NOT_OURS: [Exception; 2] = [
    Exception::noted(
        "server-sse-polling",
        "server-sse-disconnect-resume",
        "a stream that the server closes is none of the proxy's clients'",
    ),
    Exception::noted("server-sse-multiple-streams", "server-sse-streams-functional", "quick calls are answered without a stream"),
];

/// What an old server cannot do for a modern client, whatever stands between them.
const BEYOND_OLD_SERVERS: [Exception; 5] = [
    Exception::never("tasks-*", "*", "the extension for tasks is younger than the server"),
    Exception::never("server-stateless", "sep-2575-server-rejects-undeclared-capability", NO_CODE),
    Exception::never("server-stateless", "sep-2575-missing-capability-http-400", NO_CODE),
    Exception::never("input-required-result-basic-elicitation", "*", "an old server's questions have no names"),
    Exception::never("input-required-result-ignore-extra-params", "*", "answers to what was not asked reach nobody"),
];

const NO_CODE: &str = "an old server knows no error for what its client cannot do";

impl Generation {
    async fn start(self, node: &Node) -> Result<Reference> {
        match self {
            Self::Old => Reference::start(node).await,
            Self::Modern => Reference::start_modern(node).await,
        }
    }
}

impl Suite {
    const fn new(scenarios: Scenarios, count: usize, made_for: Generation) -> Self {
        Self { scenarios, count, made_for, direct: OnceCell::const_new() }
    }

    /// The reference server's own report, made once for all tests; `None` where this machine cannot have the suite.
    async fn direct(&self, node: &Node) -> Result<Option<&Report>> {
        let report = self.direct.get_or_try_init(async || {
            let reference = self.made_for.start(node).await?;
            Report::of_server(node, reference.url(), self.scenarios).await
        });
        Ok(report.await?.as_ref())
    }
}

async fn passes_directly(suite: &Suite) -> Result<()> {
    let Some(node) = Node::installed() else { return Ok(()) };
    let Some(direct) = suite.direct(node).await? else { return Ok(()) };
    assert_eq!(direct.scenarios().len(), suite.count, "{:?}", direct.scenarios());
    let worse = direct.worse_than(|check| if is_one_of(&SKIPPED, check) { Status::Skipped } else { Status::Info });
    assert!(worse.is_empty(), "the reference server is wrong, or the suite has changed:\n{worse}");
    Ok(())
}

fn is_one_of(list: &[(&str, &str)], (scenario, check): &(String, String)) -> bool {
    list.contains(&(scenario.as_str(), check.as_str()))
}

#[tokio::test]
async fn the_reference_server_passes_2025_06_18() -> Result<()> {
    passes_directly(&REVISION_2025_06_18).await
}

#[tokio::test]
async fn the_reference_server_passes_2025_11_25() -> Result<()> {
    passes_directly(&REVISION_2025_11_25).await
}

#[tokio::test]
async fn the_modern_reference_server_passes_2026_07_28_and_tasks() -> Result<()> {
    passes_directly(&REVISION_2026_07_28).await
}

#[tokio::test]
async fn the_modern_reference_server_passes_skills() -> Result<()> {
    passes_directly(&SKILLS).await
}

/// Whatever passes directly passes behind the proxy, with this server at its other end.
async fn passes_through(server: Generation, suites: &[&Suite], exceptions: &[Exception]) -> Result<()> {
    let Some(node) = Node::installed() else { return Ok(()) };
    let reference = server.start(node).await?;
    let front = Front::start(&reference, &[]).await?;
    let url = front.url();
    let mut worse = String::new();
    for suite in suites {
        let (direct, proxied) = tokio::try_join!(suite.direct(node), Report::of_server(node, &url, suite.scenarios))?;
        let (Some(direct), Some(proxied)) = (direct, proxied) else { return Ok(()) };
        assert_eq!(proxied.scenarios(), direct.scenarios());
        worse += &proxied.worse_than_directly(direct, exceptions);
    }
    assert!(worse.is_empty(), "worse through the proxy than directly:\n{worse}");
    front.close().await
}

#[tokio::test]
async fn the_proxy_carries_old_clients_to_an_old_server() -> Result<()> {
    passes_through(Generation::Old, &[&REVISION_2025_06_18, &REVISION_2025_11_25], &NOT_OURS).await
}

#[tokio::test]
async fn the_proxy_carries_old_clients_to_a_modern_server() -> Result<()> {
    passes_through(Generation::Modern, &[&REVISION_2025_06_18, &REVISION_2025_11_25], &NOT_OURS).await
}

#[tokio::test]
async fn the_proxy_carries_modern_clients_to_a_modern_server() -> Result<()> {
    passes_through(Generation::Modern, &[&REVISION_2026_07_28], &NOT_OURS).await
}

#[tokio::test]
async fn the_proxy_carries_skills_to_a_modern_server() -> Result<()> {
    passes_through(Generation::Modern, &[&SKILLS], &[]).await
}

#[tokio::test]
async fn the_proxy_carries_modern_clients_to_an_old_server() -> Result<()> {
    passes_through(Generation::Old, &[&REVISION_2026_07_28], &[&NOT_OURS[..], &BEYOND_OLD_SERVERS].concat()).await
}
