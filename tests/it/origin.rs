//! Who may ask from where: the names under which the proxy may be addressed, and web pages.

use crate::support::Proxy;
use crate::support::http::{Front, REVISION, Reply, Request, initialize, message};
use serde_json::json;

const PATHS: [&str; 8] = ["/mcp", "/", "/mcp/", "/health", "/ready", "/metrics", "/.well-known/mcp.json", "/no/such"];

fn ping(front: &Front) -> Request {
    front.post(&message(1, "ping", json!({})))
}

/// Asks every path by every method whether it is refused like this.
#[track_caller]
fn is_refused_everywhere(front: &Front, what: &str, change: impl Fn(Request) -> Request) {
    for path in PATHS {
        for request in [ping(front).at(path), front.request("GET", path), front.request("DELETE", path), front.request("OPTIONS", path)] {
            let reply = change(request).send();
            assert!(matches!(reply.status, 400 | 403 | 421), "{what} at {path}: {reply:?}");
            reply.error();
            assert_eq!(reply.header("access-control-allow-origin"), None, "{what} at {path}: {reply:?}");
            assert_eq!(reply.header("mcp-session-id"), None, "{what} at {path}: {reply:?}");
        }
    }
}

#[track_caller]
fn is_served(reply: &Reply, what: &str) {
    assert_eq!(reply.status, 200, "{what}: {reply:?}");
}

// Hosts.

#[test]
fn names_of_this_machine_are_served() {
    let front = Proxy::new().serve();
    let port = front.address.port();
    for host in ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "LocalHost"] {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            is_served(&ping(&front).header("Host", &host).send(), &host);
        }
    }
}

const FOREIGN_HOSTS: [&str; 16] = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example:PORT",
    "xlocalhost",
    "localhostx",
    "127.0.0.10.evil.example",
    "192.168.1.10",
    "10.0.0.1:PORT",
    "[2001:db8::1]",
    "169.254.169.254",
    "localhost@evil.example",
    "evil.example#localhost",
    "localhost, evil.example",
    "evil.example localhost",
    "",
];

#[test]
fn other_names_are_refused_on_every_path() {
    let front = Proxy::new().serve();
    for host in FOREIGN_HOSTS {
        let host = host.replace("PORT", &front.address.port().to_string());
        is_refused_everywhere(&front, &host, |request| request.header("Host", &host));
    }
}

#[test]
fn a_host_must_be_said_once() {
    let front = Proxy::new().serve();
    is_refused_everywhere(&front, "two hosts", |request| request.and("Host", "evil.example"));
    is_refused_everywhere(&front, "two hosts", |request| request.header("Host", "evil.example").and("Host", "localhost"));
    for request in [ping(&front), front.request("GET", "/health")] {
        let reply = request.without("Host").send();
        assert!(matches!(reply.status, 400 | 403 | 421), "{reply:?}");
    }
}

#[test]
fn a_target_with_a_host_of_its_own_is_judged_by_it() {
    let front = Proxy::new().serve();
    let reply = ping(&front).at("http://evil.example/mcp").send();
    assert!(matches!(reply.status, 400 | 403 | 421), "{reply:?}");
    let reply = ping(&front).at("http://localhost/mcp").header("Host", "evil.example").send();
    assert!(matches!(reply.status, 200 | 400 | 403 | 421), "{reply:?}");
}

#[test]
fn forwarded_names_count_for_nothing() {
    let front = Proxy::new().serve();
    for (name, value) in [("X-Forwarded-Host", "localhost"), ("Forwarded", "host=localhost"), ("X-Original-Host", "localhost")] {
        let reply = ping(&front).header("Host", "evil.example").header(name, value).send();
        assert!(matches!(reply.status, 403 | 421), "{reply:?}");
    }
}

#[test]
fn hosts_can_be_allowed() {
    let front = Proxy::new().arg("--allowed-host=proxy.example").arg("--allowed-host=other.example").serve();
    for host in ["proxy.example", "proxy.example:8443", "PROXY.example", "other.example", "localhost", "127.0.0.1"] {
        is_served(&ping(&front).header("Host", host).send(), host);
    }
    for host in ["sub.proxy.example", "proxy.example.evil.example", "xproxy.example", "example"] {
        is_refused_everywhere(&front, host, |request| request.header("Host", host));
    }
}

#[test]
fn a_local_client_must_name_this_machine_wherever_the_proxy_listens() {
    let front = Proxy::new().arg("--host=0.0.0.0").serve();
    is_served(&ping(&front).send(), "by its address");
    for host in ["evil.example", "192.168.1.10", "10.0.0.1", "localhost.evil.example"] {
        is_refused_everywhere(&front, host, |request| request.header("Host", host));
    }
}

// Web pages.

const FOREIGN_ORIGINS: [&str; 14] = [
    "http://evil.example",
    "https://evil.example:12006",
    "null",
    "NULL",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example",
    "http://evil.example/localhost",
    "http://localhost@evil.example",
    "http://evil.example, http://localhost",
    "http://192.168.1.10",
    "file://",
    "chrome-extension://abcdefghijklmnop",
    "localhost",
    "",
];

#[test]
fn pages_from_elsewhere_are_refused_on_every_path() {
    let front = Proxy::new().serve();
    for origin in FOREIGN_ORIGINS {
        is_refused_everywhere(&front, origin, |request| request.header("Origin", origin));
    }
    is_refused_everywhere(&front, "two origins", |request| {
        request.header("Origin", "http://localhost").and("Origin", "http://evil.example")
    });
}

#[test]
fn a_foreign_page_is_forbidden() {
    let front = Proxy::new().serve();
    for origin in ["http://evil.example", "null"] {
        ping(&front).header("Origin", origin).send().is(403);
    }
}

#[test]
fn pages_of_this_machine_are_served_and_may_read_the_answer() {
    let front = Proxy::new().serve();
    for origin in ["http://localhost:3000", "http://localhost", "https://localhost:8443", "http://127.0.0.1:5173", "http://[::1]:8080"] {
        for request in [ping(&front), front.post(&initialize(REVISION, json!({})))] {
            let reply = request.header("Origin", origin).send();
            is_served(&reply, origin);
            may_read(&reply, origin);
        }
    }
}

#[track_caller]
fn may_read(reply: &Reply, origin: &str) {
    assert_eq!(reply.header("access-control-allow-origin"), Some(origin), "{reply:?}");
    let vary = reply.header("vary").unwrap_or_default().to_lowercase();
    assert!(vary.contains("origin"), "{reply:?}");
    assert_eq!(reply.header("access-control-allow-credentials"), None, "{reply:?}");
    let exposed = reply.header("access-control-expose-headers").unwrap_or_default().to_lowercase();
    assert!(exposed.contains("mcp-session-id") && exposed.contains("mcp-protocol-version"), "{reply:?}");
}

#[test]
fn origins_can_be_allowed() {
    let front = Proxy::new().arg("--allowed-origin=https://app.example").arg("--allowed-origin=http://dev.example:3000").serve();
    for origin in ["https://app.example", "http://dev.example:3000"] {
        let reply = ping(&front).header("Origin", origin).send();
        is_served(&reply, origin);
        may_read(&reply, origin);
    }
    let others = [
        "http://app.example",
        "https://app.example:8443",
        "https://app.example.evil.example",
        "https://sub.app.example",
        "http://dev.example",
        "http://dev.example:3001",
        "https://dev.example:3000",
    ];
    for origin in others {
        is_refused_everywhere(&front, origin, |request| request.header("Origin", origin));
    }
}

#[test]
fn a_page_may_read_why_it_was_refused() {
    let front = Proxy::new().arg("--allowed-origin=https://app.example").arg("--max-body=1k").serve();
    let origin = |request: Request| request.header("Origin", "https://app.example").send();
    let large = message(1, "ping", json!({"x": "x".repeat(2000)}));
    let refused = [
        (404, origin(ping(&front).at("/no/such"))),
        (404, origin(ping(&front).in_session("x"))),
        (413, origin(front.post(&large))),
        (415, origin(ping(&front).header("Content-Type", "text/plain"))),
        (406, origin(ping(&front).accept("text/html"))),
        (405, origin(front.request("PUT", "/mcp"))),
        (400, origin(ping(&front).body("{"))),
    ];
    for (status, reply) in refused {
        reply.is(status);
        may_read(&reply, "https://app.example");
    }
}

#[test]
fn who_is_no_page_is_told_nothing_of_pages() {
    let front = Proxy::new().serve();
    let reply = ping(&front).send();
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[test]
fn browsers_may_ask_first() {
    let front = Proxy::new().arg("--allowed-origin=https://app.example").serve();
    for origin in ["https://app.example", "http://localhost:3000"] {
        for (path, method) in [("/mcp", "POST"), ("/mcp", "GET"), ("/mcp", "DELETE"), ("/", "POST"), ("/mcp/", "POST")] {
            let asked = "content-type, accept, authorization, mcp-session-id, mcp-protocol-version, last-event-id, mcp-method, mcp-name";
            let request = front.request("OPTIONS", path).header("Origin", origin).header("Access-Control-Request-Method", method);
            let reply = request.header("Access-Control-Request-Headers", asked).send();
            assert!(matches!(reply.status, 200 | 204), "{reply:?}");
            assert_eq!(reply.body, "");
            assert_eq!(reply.header("access-control-allow-origin"), Some(origin));
            assert_eq!(reply.header("access-control-allow-credentials"), None);
            let methods = reply.header("access-control-allow-methods").expect("it is asked for");
            assert!(methods.contains(method), "{methods}");
            let headers = reply.header("access-control-allow-headers").expect("it is asked for").to_lowercase();
            assert!(asked.split(", ").all(|asked| headers.split(", ").any(|allowed| allowed.trim() == asked)), "{headers}");
        }
    }
    for origin in ["http://evil.example", "null"] {
        let request = front.request("OPTIONS", "/mcp").header("Origin", origin).header("Access-Control-Request-Method", "POST");
        let reply = request.send();
        reply.is(403);
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
}

#[test]
fn no_page_can_ask_without_asking_first() {
    let front = Proxy::new().serve();
    // What a page may send anywhere: forms and plain text.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain; application/json"] {
        ping(&front).header("Content-Type", kind).send().is(415);
    }
    ping(&front).without("Content-Type").send().is(415);
}
