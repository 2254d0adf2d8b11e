//! What operators and registries read: health, readiness, metrics, and where and what the endpoint is.
//! Nothing here changes anything.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router as Paths,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE},
        request::Parts as Head,
    },
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use serde_json::{Value, json};

use super::{
    Front,
    auth::{self, Denied, Gate},
    connections::Peer,
    reply,
};
use crate::{
    catalog::{Catalog, CatalogHandle},
    downstream::{Pool, Status},
    front::offer,
    protocol::revision::Revision,
    security::redact,
    telemetry::metrics::{self, Calls, Format, Page},
};

/// The parts behind the front, as far as an operator is shown them.
#[derive(Debug, Clone)]
pub struct View {
    pub pool: Pool,
    pub catalog: CatalogHandle,
    pub calls: Calls,
}

const METHODS: &str = "GET, HEAD, OPTIONS";

pub(super) fn paths() -> Paths<Arc<Front>> {
    /// Answers HEAD as well, without a body.
    fn page<H: axum::handler::Handler<T, Arc<Front>>, T: 'static>(handler: H) -> MethodRouter<Arc<Front>> {
        get(handler).fallback(other_method)
    }
    Paths::new()
        .route("/health", page(health))
        .route("/ready", page(ready))
        .route("/metrics", page(write_metrics))
        .route("/.well-known/mcp-config", page(session_schema))
        .route("/.well-known/mcp.json", page(card))
        // Registries that know nothing but the endpoint look below it.
        .route("/mcp/.well-known/mcp-config", page(session_schema))
        .route("/mcp/.well-known/mcp.json", page(card))
}

async fn other_method(method: Method) -> Response {
    match method {
        // Those of browsers were answered before.
        Method::OPTIONS => (StatusCode::NO_CONTENT, [(ALLOW, METHODS)]).into_response(),
        _ => reply::method_not_allowed(METHODS),
    }
}

/// The shape that the Node proxy gave its monitors, and more. 200 for as long as the process lives.
async fn health(State(front): State<Arc<Front>>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let Front { config, sessions, .. } = &*front;
    let (open, max) = if config.stateless { (0, 0) } else { (sessions.len(), sessions.max()) };
    let mut health = json!({
        "status": if front.is_draining() { "draining" } else { "ok" },
        "transport": "streamable-http",
        "sessions": open,
        "maxSessions": max,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": front.started.elapsed().as_secs(),
    });
    if front.admit_operator(&head).is_ok() {
        health["servers"] = servers(&front.view.pool);
    }
    json_page(StatusCode::OK, &health, NO_STORE)
}

fn servers(pool: &Pool) -> Value {
    let of_sessions = pool.own_counts();
    let servers = pool.servers().into_iter().map(|(config, status)| {
        let mut server = json!({ "name": redact::redact(&config.name), "state": status.label() });
        if let Some(count) = of_sessions.get(&config.id) {
            server["ofSessions"] = json!(count);
        }
        if let Some(error) = status.error() {
            server["error"] = redact::redact(&error.to_string()).into();
            let last_words = status.last_words();
            if !last_words.is_empty() {
                server["lastWords"] = last_words.into();
            }
        }
        server
    });
    servers.collect()
}

/// Whether clients should be sent here.
async fn ready(State(front): State<Arc<Front>>) -> Response {
    match front.unready() {
        None => json_page(StatusCode::OK, &json!({ "ready": true }), NO_STORE),
        Some(reason) => json_page(StatusCode::SERVICE_UNAVAILABLE, &json!({ "ready": false, "reason": reason }), NO_STORE),
    }
}

async fn write_metrics(State(front): State<Arc<Front>>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    if let Err(denied) = front.admit_operator(&head) {
        return denied.into_response(None);
    }
    let format = format(&head.headers);
    // It reads files.
    let Ok(page) = tokio::task::spawn_blocking(move || front.metrics(format)).await else {
        return reply::refuse(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written");
    };
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(format.content_type())), (CACHE_CONTROL, NO_STORE)];
    (headers, page).into_response()
}

/// What a user may set for a session, as Smithery reads it from servers that it does not run: a JSON Schema.
/// There is nothing but the key.
async fn session_schema(State(front): State<Arc<Front>>) -> Response {
    let properties = match front.config.auth {
        auth::Config::Open => json!({}),
        auth::Config::Key(_) | auth::Config::PerClient => json!({
            "pluggedinAuthorization": {
                "type": "string",
                "format": "password",
                "title": "plugged.in API key",
                "description": "`Bearer`, a space and your plugged.in API key. Without it tools can be listed, but not called.",
                // Smithery keeps `Authorization` for itself and does not take it from its users.
                "x-from": { "header": "pluggedin-authorization" },
                "x-to": { "header": "Authorization" },
            },
        }),
    };
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "plugged.in MCP proxy",
        "description": "Settings of one session.",
        "type": "object",
        "properties": properties,
        "required": [],
        "additionalProperties": false,
    });
    json_page(StatusCode::OK, &schema, PUBLIC)
}

/// The endpoint's card, in the shape of the proposal for MCP server cards (SEP-1649).
async fn card(State(front): State<Arc<Front>>) -> Response {
    let info = offer::server_info();
    let needs_key = !matches!(front.config.auth, auth::Config::Open);
    let versions: Vec<_> = Revision::ALL.iter().rev().map(|revision| revision.as_str()).collect();
    let card = json!({
        "name": info["name"],
        "version": info["version"],
        "description": env!("CARGO_PKG_DESCRIPTION"),
        "serverInfo": info,
        "protocolVersion": versions.first(),
        "supportedProtocolVersions": versions,
        "transport": { "type": "streamable-http", "endpoint": "/mcp" },
        "capabilities": offer::capabilities(&Catalog::default(), Revision::STATELESS),
        "authentication": { "required": needs_key, "schemes": if needs_key { vec!["bearer"] } else { Vec::new() } },
        "tools": ["dynamic"],
        "prompts": ["dynamic"],
        "resources": ["dynamic"],
    });
    json_page(StatusCode::OK, &card, PUBLIC)
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// It changes with the configuration, which takes a restart.
const PUBLIC: HeaderValue = HeaderValue::from_static("public, max-age=3600");

fn json_page(status: StatusCode, value: &Value, cache: HeaderValue) -> Response {
    let headers = [(CONTENT_TYPE, reply::JSON), (CACHE_CONTROL, cache)];
    (status, headers, Body::from(value.to_string())).into_response()
}

impl Front {
    /// Whether this client may see names, states and counts.
    fn admit_operator(&self, head: &Head) -> Result<(), Denied> {
        let from = head.extensions.get::<Peer>().expect("every connection says who it is").remote.ip();
        if is_local(from, &head.headers) {
            return Ok(());
        }
        self.gate.admit_operator(&head.headers, from)
    }

    /// Why clients should go elsewhere.
    fn unready(&self) -> Option<&'static str> {
        if self.is_draining() {
            return Some("the proxy is stopping");
        }
        match &self.gate {
            // Each client waits for its own servers.
            Gate::PerClient { .. } => None,
            Gate::Open(_) | Gate::Key { .. } => {
                (!self.view.catalog.current().settled).then_some("the servers have not all said yet what they offer")
            }
        }
    }

    fn metrics(&self, format: Format) -> String {
        let View { pool, catalog: _, calls } = &self.view;
        let mut page = Page::new(format);
        calls.write(&mut page);

        page.gauge("pluggedin_sessions", "Sessions that are open.").sample(&[], self.sessions.len());
        page.counter("pluggedin_sessions_begun", "Sessions that were begun.").sample(&[], self.sessions.begun.get());
        page.counter("pluggedin_sessions_evicted", "Idle sessions that were ended to make room for new ones.")
            .sample(&[], self.sessions.evicted.get());

        let mut pools = vec![pool.clone()];
        if let Gate::PerClient { tenants, .. } = &self.gate {
            let of_tenants = tenants.pools();
            page.gauge("pluggedin_workspaces", "Workspaces of clients that bring their keys.").sample(&[], of_tenants.len());
            pools.extend(of_tenants);
        }
        let states: Vec<_> = pools.iter().flat_map(Pool::servers).map(|(_, status)| status.label()).collect();
        let mut connections = page.gauge("pluggedin_downstream_connections", "Servers by the state of the connection to them.");
        for label in Status::LABELS {
            connections.sample(&[("state", label)], states.iter().filter(|state| **state == label).count());
        }

        let room = pool.room();
        page.gauge("pluggedin_own_connections", "Connections of single sessions to servers.").sample(&[], room.taken());
        page.counter(
            "pluggedin_own_connections_refused",
            "Times that a session shared a connection because there was no room for its own.",
        )
        .sample(&[], room.refused.get());

        metrics::write(&mut page);
        page.finish()
    }
}

/// Whether a request comes from this machine.
///
/// SECURITY: behind a reverse proxy on the same machine everybody seems to. Those that say for whom they ask are
/// recognised by that; one that says nothing (nginx does not by itself) must be kept from these paths by its own rules.
fn is_local(from: IpAddr, headers: &HeaderMap) -> bool {
    from.to_canonical().is_loopback() && !headers.keys().any(is_forwarding)
}

fn is_forwarding(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded-")
        || ["forwarded", "via", "x-real-ip", "x-client-ip", "x-original-forwarded-for", "true-client-ip", "cf-connecting-ip"]
            .contains(&name)
}

/// OpenMetrics for those who ask for it at least as much as for plain text.
fn format(headers: &HeaderMap) -> Format {
    let (mut open_metrics, mut text) = (0.0, 0.0);
    let ranges = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
        if kind.eq_ignore_ascii_case("application/openmetrics-text") {
            open_metrics = weight.max(open_metrics);
        } else if kind.eq_ignore_ascii_case("text/plain") {
            text = weight.max(text);
        }
    }
    if open_metrics > 0.0 && open_metrics >= text { Format::OpenMetrics } else { Format::Text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a header value"))).collect()
    }

    #[test]
    fn only_who_asks_directly_is_local() {
        let check = |from: &str, pairs: &[(&'static str, &str)], expect| {
            assert_eq!(is_local(from.parse().expect("an address"), &headers(pairs)), expect, "{from} {pairs:?}");
        };
        check("127.0.0.1", &[], true);
        check("127.9.9.9", &[("host", "localhost"), ("accept", "*/*")], true);
        check("::1", &[], true);
        check("::ffff:127.0.0.1", &[], true);
        check("10.0.0.1", &[], false);
        check("::ffff:10.0.0.1", &[], false);
        check("0.0.0.0", &[], false);
        for name in ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via", "cf-connecting-ip"] {
            check("127.0.0.1", &[(name, "127.0.0.1")], false);
        }
    }

    #[test]
    fn the_format_is_the_readers_choice() {
        let check = |accept: Option<&str>, expect| {
            let headers = accept.map(|accept| headers(&[("accept", accept)])).unwrap_or_default();
            assert_eq!(format(&headers), expect, "{accept:?}");
        };
        check(None, Format::Text);
        check(Some("*/*"), Format::Text);
        check(Some("text/plain;version=0.0.4"), Format::Text);
        check(Some("application/openmetrics-text"), Format::OpenMetrics);
        // As Prometheus asks.
        check(
            Some(
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            ),
            Format::OpenMetrics,
        );
        check(Some("text/plain, application/openmetrics-text; q=0.5"), Format::Text);
        check(Some("application/openmetrics-text;q=0"), Format::Text);
    }
}
