use axum::http::Request;

use super::*;

const LOOPBACK: &str = "127.0.0.1";
const LAN: &str = "192.168.1.5";

fn guard(hosts: &[&str], origins: &[&str]) -> Guard {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    Guard::new(&Config { allowed_hosts: owned(hosts), allowed_origins: owned(origins) })
}

fn request(method: &str, headers: &[(&'static str, &[u8])]) -> request::Parts {
    let (mut parts, ()) = Request::builder().method(method).uri("/any/path").body(()).expect("a request").into_parts();
    for (name, value) in headers {
        parts.headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).expect("a value"));
    }
    parts
}

fn admit(guard: &Guard, local: &str, request: &request::Parts) -> Result<Cors, Response> {
    guard.admit(request, local.parse().expect("an address"))
}

/// 200 where the request goes on.
fn status<T>(outcome: &Result<T, Response>) -> u16 {
    outcome.as_ref().map_or_else(|answer| answer.status().as_u16(), |_| 200)
}

async fn message(answer: Response) -> String {
    let body = axum::body::to_bytes(answer.into_body(), 10_000).await.expect("a body");
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    body["error"]["message"].as_str().expect("a message").to_owned()
}

#[test]
fn hosts_of_a_loopback_connection() {
    let default = guard(&[], &[]);
    let named = guard(&["mcp.example.com", "fd00::1", "10.0.0.7"], &[]);
    for (host, expected, expected_with_names) in [
        ("localhost", 200, 200),
        ("localhost:12006", 200, 200),
        ("localhost:", 200, 200),
        ("LocalHost:1", 200, 200),
        ("localhost.", 200, 200),
        ("localhost.:12006", 200, 200),
        ("127.0.0.1", 200, 200),
        ("127.0.0.1:65535", 200, 200),
        ("127.0.0.1.", 200, 200),
        ("127.255.255.254:1", 200, 200),
        ("[::1]", 200, 200),
        ("[::1]:12006", 200, 200),
        ("[0:0:0:0:0:0:0:1]", 200, 200),
        ("[::ffff:127.0.0.1]:1", 200, 200),
        ("mcp.example.com", 403, 200),
        ("MCP.Example.com.:443", 403, 200),
        ("[fd00:0::1]:1", 403, 200),
        ("10.0.0.7", 403, 200),
        ("10.0.0.8", 403, 403),
        ("evil.com", 403, 403),
        ("evil.com:12006", 403, 403),
        ("localhost.evil.com", 403, 403),
        ("evil.localhost", 403, 403),
        ("127.0.0.1.evil.com", 403, 403),
        ("sub.mcp.example.com", 403, 403),
        ("localhosts", 403, 403),
        ("128.0.0.1", 403, 403),
        ("126.255.255.255", 403, 403),
        ("[::2]", 403, 403),
        ("0.0.0.0", 403, 403),
        ("0.0.0.0:12006", 403, 403),
        ("0.0.0.0.", 403, 403),
        ("[::]", 403, 403),
        ("[::ffff:0.0.0.0]", 403, 403),
        ("", 400, 400),
        (":12006", 400, 400),
        (".", 400, 400),
        ("localhost..", 400, 400),
        (".localhost", 400, 400),
        ("localhost:x", 400, 400),
        ("localhost:-1", 400, 400),
        ("localhost:+1", 400, 400),
        ("localhost:65536", 400, 400),
        ("localhost:1:2", 400, 400),
        ("127.0.0.1:1@evil.com", 400, 400),
        ("localhost@evil.com", 400, 400),
        ("evil.com@localhost", 400, 400),
        ("localhost/", 400, 400),
        ("localhost evil.com", 400, 400),
        ("localhost,evil.com", 400, 400),
        ("http://localhost", 400, 400),
        ("%6cocalhost", 400, 400),
        ("2130706433", 400, 400),
        ("0x7f000001", 400, 400),
        ("0x7f.1", 400, 400),
        ("0177.0.0.1", 400, 400),
        ("127.1", 400, 400),
        ("0", 400, 400),
        ("127.0.0.1.1", 400, 400),
        ("::1", 400, 400),
        ("[::1", 400, 400),
        ("[::1]x", 400, 400),
        ("[::1%25lo]", 400, 400),
        ("[localhost]", 400, 400),
    ] {
        let request = request("POST", &[("host", host.as_bytes())]);
        assert_eq!(status(&admit(&default, LOOPBACK, &request)), expected, "{host}");
        assert_eq!(status(&admit(&named, LOOPBACK, &request)), expected_with_names, "{host}, with names");
        assert_eq!(status(&admit(&default, "::1", &request)), expected, "{host}, over IPv6");
        assert_eq!(status(&admit(&default, "::ffff:127.0.0.1", &request)), expected, "{host}, over a socket of both kinds");
    }
    assert_eq!(status(&admit(&default, LOOPBACK, &request("GET", &[("host", "löcalhost".as_bytes())]))), 400);
}

#[test]
fn hosts_of_other_connections() {
    let (default, named) = (guard(&[], &[]), guard(&["mcp.example.com"], &[]));
    for (host, expected, expected_with_names) in [
        ("mcp.example.com:443", 200, 200),
        ("192.168.1.5:12006", 200, 200),
        ("localhost:12006", 200, 403),
        ("127.0.0.1", 200, 403),
        ("192.168.1.6", 200, 403),
        ("evil.com", 200, 403),
        ("0.0.0.0:12006", 403, 403),
        ("[::]", 403, 403),
        ("evil.com@mcp.example.com", 400, 400),
        ("0", 400, 400),
        ("", 400, 400),
    ] {
        let request = request("POST", &[("host", host.as_bytes())]);
        assert_eq!(status(&admit(&default, LAN, &request)), expected, "{host}");
        assert_eq!(status(&admit(&named, LAN, &request)), expected_with_names, "{host}, with names");
        assert_eq!(status(&admit(&named, "::ffff:192.168.1.5", &request)), expected_with_names, "{host}, over a socket of both kinds");
    }
    let unusable = guard(&["https://mcp.example.com"], &[]);
    assert_eq!(status(&admit(&unusable, LAN, &request("POST", &[("host", b"evil.com")]))), 403, "a mistake opens nothing");
    let request = request("GET", &[("host", b"[FD00::5]:1")]);
    assert_eq!(status(&admit(&named, "fd00::5", &request)), 200);
}

#[test]
fn there_is_one_host() {
    let guard = guard(&[], &[]);
    for (uri, version, hosts, expected) in [
        ("/", Version::HTTP_11, &["localhost"][..], 200),
        ("/", Version::HTTP_11, &[], 400),
        ("/", Version::HTTP_10, &[], 400),
        ("/", Version::HTTP_11, &["localhost", "localhost"], 400),
        ("/", Version::HTTP_11, &["localhost", "evil.com"], 400),
        ("http://localhost:1/", Version::HTTP_11, &["localhost:1"], 200),
        ("http://localhost:1/", Version::HTTP_11, &["LOCALHOST:1"], 200),
        ("http://evil.com/", Version::HTTP_11, &["localhost"], 400),
        ("http://localhost/", Version::HTTP_11, &["evil.com"], 400),
        ("http://localhost/", Version::HTTP_11, &[], 400),
        ("http://localhost:1/", Version::HTTP_2, &[], 200),
        ("http://localhost:1/", Version::HTTP_2, &["localhost:1"], 200),
        ("http://localhost:1/", Version::HTTP_2, &["evil.com"], 400),
        ("http://evil.com/", Version::HTTP_2, &["localhost"], 400),
        ("http://evil.com/", Version::HTTP_2, &[], 403),
        ("http://localhost@evil.com/", Version::HTTP_2, &[], 400),
        ("/", Version::HTTP_2, &["localhost"], 200),
        ("/", Version::HTTP_2, &[], 400),
    ] {
        let hosts = hosts.iter().map(|host| ("host", host.as_bytes())).collect::<Vec<_>>();
        let mut request = request("POST", &hosts);
        (request.uri, request.version) = (uri.parse().expect("a URI"), version);
        assert_eq!(status(&admit(&guard, LOOPBACK, &request)), expected, "{uri} {version:?} {hosts:?}");
    }
}

#[test]
fn origins() {
    let default = guard(&[], &[]);
    let allowing = guard(&[], &["https://App.example.com", "http://10.0.0.7:3000/", "https://[fd00::1]", "chrome-extension://abc"]);
    // On loopback, on loopback with allowed origins, on another address with allowed origins.
    for (origin, expected) in [
        ("http://localhost", [200, 200, 403]),
        ("http://localhost:6274", [200, 200, 403]),
        ("https://LOCALHOST:1", [200, 200, 403]),
        ("http://localhost.:1", [200, 200, 403]),
        ("http://127.0.0.1:6274", [200, 200, 403]),
        ("http://127.3.2.1", [200, 200, 403]),
        ("http://[::1]:6274", [200, 200, 403]),
        ("https://app.example.com", [403, 200, 200]),
        ("https://APP.example.com:443", [403, 200, 200]),
        ("https://app.example.com.", [403, 200, 200]),
        ("http://10.0.0.7:3000", [403, 200, 200]),
        ("https://[fd00:0::1]:443", [403, 200, 200]),
        ("chrome-extension://abc", [403, 200, 200]),
        ("chrome-extension://abd", [403, 403, 403]),
        ("http://app.example.com", [403, 403, 403]),
        ("https://app.example.com:444", [403, 403, 403]),
        ("http://10.0.0.7", [403, 403, 403]),
        ("https://app.example.com.evil.com", [403, 403, 403]),
        ("https://evil.com", [403, 403, 403]),
        ("http://localhost.evil.com", [403, 403, 403]),
        ("http://evil.localhost", [403, 403, 403]),
        ("http://localhost@evil.com", [403, 403, 403]),
        ("http://evil.com@localhost", [403, 403, 403]),
        ("http://@localhost", [403, 403, 403]),
        ("http://localhost/path", [403, 403, 403]),
        ("http://localhost?", [403, 403, 403]),
        ("http://localhost#", [403, 403, 403]),
        ("http://localhost\\evil.com", [403, 403, 403]),
        ("http:localhost", [403, 403, 403]),
        ("http:///localhost", [403, 403, 403]),
        ("http://%6cocalhost", [403, 403, 403]),
        ("http://local\thost", [403, 403, 403]),
        ("http://localhost http://evil.com", [403, 403, 403]),
        ("http://localhost, http://evil.com", [403, 403, 403]),
        ("http://localhost:", [200, 200, 403]),
        ("http://localhost:65536", [403, 403, 403]),
        ("http://0.0.0.0:1", [403, 403, 403]),
        ("http://[::]:1", [403, 403, 403]),
        ("ftp://localhost", [403, 403, 403]),
        ("ws://localhost", [403, 403, 403]),
        ("file://", [403, 403, 403]),
        ("localhost", [403, 403, 403]),
        ("null", [403, 403, 403]),
        ("", [403, 403, 403]),
        ("*", [403, 403, 403]),
    ] {
        let request = |host: &'static [u8]| request("POST", &[("host", host), ("origin", origin.as_bytes())]);
        let statuses = [
            status(&admit(&default, LOOPBACK, &request(b"localhost"))),
            status(&admit(&allowing, LOOPBACK, &request(b"localhost"))),
            status(&admit(&allowing, LAN, &request(b"192.168.1.5"))),
        ];
        assert_eq!(statuses, expected, "{origin}");
    }
    for twice in [[b"http://localhost".as_slice(), b"http://localhost"], [b"http://localhost", b"http://evil.com"]] {
        let request = request("POST", &[("host", b"localhost"), ("origin", twice[0]), ("origin", twice[1])]);
        assert_eq!(status(&admit(&default, LOOPBACK, &request)), 403);
    }
    let not_text = request("POST", &[("host", b"localhost"), ("origin", "http://löcalhost".as_bytes())]);
    assert_eq!(status(&admit(&default, LOOPBACK, &not_text)), 403);
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let guard = guard(&[], &[]);
    for (host, origin, expected) in [
        (
            "Mcp.Example.com:1",
            None,
            "the host `mcp.example.com` is not served; to serve it, start the proxy with `--allowed-host mcp.example.com`",
        ),
        ("[fd00::1]:1", None, "the host `[fd00::1]` is not served; to serve it, start the proxy with `--allowed-host [fd00::1]`"),
        ("0.0.0.0", None, "`0.0.0.0` is no host to ask for; use `localhost` or an address of this machine"),
        (
            "localhost",
            Some("https://App.example.com:8443"),
            "pages of `https://app.example.com:8443` are not served; to serve them, start the proxy with `--allowed-origin https://app.example.com:8443`",
        ),
        (
            "localhost",
            Some("https://app.example.com:443"),
            "pages of `https://app.example.com` are not served; to serve them, start the proxy with `--allowed-origin https://app.example.com`",
        ),
        ("localhost", Some("null"), "pages without an origin of their own are not served"),
    ] {
        let mut headers = vec![("host", host.as_bytes())];
        headers.extend(origin.map(|origin| ("origin", origin.as_bytes())));
        let answer = admit(&guard, LOOPBACK, &request("GET", &headers)).expect_err("it is refused");
        assert_eq!(message(answer).await, expected);
    }
}

/// What the messages tell people to write is what is understood.
#[test]
fn settings_are_judged() {
    for (text, expected) in [
        ("mcp.example.com", true),
        ("localhost", true),
        ("10.0.0.7", true),
        ("fd00::1", true),
        ("[fd00::1]", true),
        ("mcp.example.com:443", false),
        ("[fd00::1]:443", false),
        ("https://mcp.example.com", false),
        ("*", false),
        ("", false),
    ] {
        assert_eq!(is_host(text), expected, "{text}");
    }
    for (text, expected) in [
        ("https://app.example.com", true),
        ("https://app.example.com:8443/", true),
        ("vscode-webview://abc", true),
        ("app.example.com", false),
        ("https://app.example.com/path", false),
        ("*", false),
        ("null", false),
        ("", false),
    ] {
        assert_eq!(is_origin(text), expected, "{text}");
    }
}

#[test]
fn browsers_are_told_of_allowed_origins_alone() {
    let guard = guard(&[], &["https://app.example.com"]);
    let headers_for = |headers: &[(&'static str, &[u8])]| {
        let mut answer = HeaderMap::from_iter([(VARY, HeaderValue::from_static("Accept"))]);
        admit(&guard, LOOPBACK, &request("POST", headers)).expect("it goes on").apply(&mut answer);
        answer
    };
    let answer = headers_for(&[("host", b"localhost"), ("origin", b"https://app.example.com")]);
    let varies = answer.get_all(VARY).iter().collect::<Vec<_>>();
    assert_eq!(varies, ["Accept", "Origin"]);
    assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example.com");
    assert_eq!(answer[ACCESS_CONTROL_EXPOSE_HEADERS], "Mcp-Session-Id, MCP-Protocol-Version");
    assert_eq!(answer.len(), 4, "nothing else, and above all no credentials: {answer:?}");
    assert_eq!(headers_for(&[("host", b"localhost")]).len(), 1);
}

#[test]
fn preflights() {
    let guard = guard(&[], &["https://app.example.com"]);
    let ask = |more: &[(&'static str, &[u8])]| {
        let headers = [&[("host", b"localhost".as_slice()), ("origin", b"https://app.example.com")], more].concat();
        admit(&guard, LOOPBACK, &request("OPTIONS", &headers))
    };
    let method = ("access-control-request-method", b"POST".as_slice());
    let answer = ask(&[method]).expect_err("it is answered");
    assert_eq!(answer.status(), 204);
    let value = |answer: &Response, name: &str| answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    let known = "content-type, accept, authorization, mcp-session-id, mcp-protocol-version, last-event-id, mcp-method, mcp-name";
    for (name, expected) in [
        ("access-control-allow-origin", Some("https://app.example.com")),
        ("access-control-allow-methods", Some("GET, POST, DELETE, OPTIONS")),
        ("access-control-allow-headers", Some(known)),
        ("access-control-max-age", Some("7200")),
        ("vary", Some("Origin")),
        ("access-control-allow-credentials", None),
        ("access-control-allow-private-network", None),
    ] {
        assert_eq!(value(&answer, name).as_deref(), expected, "{name}");
    }

    let asked = ("access-control-request-headers", b"content-type, Mcp-Param-City,x-evil, mcp-param-a b".as_slice());
    let more = ("access-control-request-headers", b"mcp-param-2".as_slice());
    let private = ("access-control-request-private-network", b"true".as_slice());
    let answer = ask(&[method, asked, more, private]).expect_err("it is answered");
    assert_eq!(value(&answer, "access-control-allow-headers"), Some(format!("{known}, mcp-param-city, mcp-param-2")));
    assert_eq!(value(&answer, "access-control-allow-private-network").as_deref(), Some("true"));

    assert_eq!(status(&ask(&[])), 200, "no preflight");
    let foreign = request("OPTIONS", &[("host", b"localhost"), ("origin", b"https://evil.com"), method, private]);
    let answer = admit(&guard, LOOPBACK, &foreign).expect_err("it is refused");
    assert_eq!((answer.status().as_u16(), value(&answer, "access-control-allow-origin")), (403, None));
    assert_eq!(value(&answer, "access-control-allow-private-network"), None);
}
