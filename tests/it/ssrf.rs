//! Where requests may go: servers of the App stay off private networks unless the operator opens them, nobody is sent elsewhere by a
//! server, and what is compressed does not blow up.

use crate::support::app::bomb;
use crate::support::{Answer, App, Client, Kind, List, Proxy, Server, Workspace, file_of};
use axum::Router;
use axum::http::header;
use serde_json::json;
use std::net::SocketAddr;
use tokio::runtime::Runtime;

/// The text of `pluggedin_discover_tools` once it holds all of these words.
#[track_caller]
fn told(client: &mut Client, words: &[&str]) -> String {
    let what = format!("it is told of {words:?}");
    let told = client.call_until(&what, "pluggedin_discover_tools", &json!({}), |told| {
        let text = told["content"][0]["text"].as_str().unwrap_or_default();
        words.iter().all(|word| text.contains(word))
    });
    told["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn works(client: &mut Client, server: &Server) {
    client.find(List::Tools, &server.tool("echo"));
    let echo = client.call(&server.tool("echo"), json!({}));
    assert_eq!(echo["structuredContent"]["server"], server.name, "{echo}");
}

/// A workspace in which the App says that the server is at this URL.
fn moved(server: &Server, url: &str) -> Workspace {
    let mut workspace = Workspace::of(&[server]);
    workspace.servers[0]["url"] = json!(url);
    workspace
}

#[test]
fn a_server_of_the_app_on_this_machine_disables_itself_alone() {
    let near = Server::http("near", &[]);
    let older = Server::sse("older", &[]);
    let honest = Server::stdio("honest", &[]);
    let app = App::start(Workspace::of(&[&near, &honest, &older]));
    let mut client = Proxy::new().guarded().app(&app).start();
    works(&mut client, &honest);
    let text = told(&mut client, &["near", "older", "is a loopback address (127.0.0.0/8)", "--allow-private-network loopback"]);
    assert!(text.contains("disabled"), "{text}");
    for server in [&near, &older] {
        assert!(server.running().seen().is_empty(), "{} was asked", server.name);
    }
}

#[test]
fn the_operator_opens_a_network() {
    let near = Server::http("near", &[]);
    let app = App::start(Workspace::of(&[&near]));
    for network in ["loopback", "127.0.0.0/8", "127.0.0.1"] {
        let mut client = Proxy::new().guarded().app(&app).arg("--allow-private-network").arg(network).start();
        works(&mut client, &near);
    }
}

#[test]
fn a_server_of_the_owners_file_may_be_anywhere() {
    let near = Server::http("near", &[]);
    let mut client = Proxy::new().guarded().file(&file_of(&[&near])).start();
    works(&mut client, &near);
}

#[test]
fn a_name_is_no_way_around() {
    let near = Server::http("near", &[]);
    let url = near.running().url().replace("127.0.0.1", "localhost");
    let app = App::start(moved(&near, &url));
    let mut client = Proxy::new().guarded().app(&app).start();
    told(&mut client, &["near", "`localhost` is this machine", "--allow-private-network loopback"]);
    // By another range it is not opened, and neither is what it resolves to.
    let mut client = Proxy::new().guarded().app(&app).arg("--allow-private-network=10.0.0.0/8").start();
    told(&mut client, &["near", "`localhost` is this machine"]);
    assert!(near.running().seen().is_empty());
    let mut client = Proxy::new().app(&app).start();
    works(&mut client, &near);
}

#[test]
fn metadata_services_are_closed_to_everybody() {
    let urls = [
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:a9fe:a9fe]/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://[fd00:ec2::254]/",
    ];
    for url in urls {
        let mut client =
            Proxy::new().arg("--allow-private-network=0.0.0.0/0,::/0").file(&json!({"mcpServers": {"cloud": {"url": url}}})).start();
        told(&mut client, &["cloud", "cloud metadata service"]);
    }
}

#[test]
fn a_redirect_to_a_metadata_service_is_not_followed() {
    let lured = Server::http("lured", &["--redirect=http://169.254.169.254/latest/meta-data?x"]);
    let honest = Server::http("honest", &[]);
    let app = App::start(Workspace::of(&[&lured, &honest]));
    let mut client = Proxy::new().app(&app).start();
    works(&mut client, &honest);
    told(&mut client, &["lured", "redirects to another origin, `http://169.254.169.254`"]);
}

#[test]
fn a_redirect_on_the_same_origin_is_followed() {
    let server = Server::http("moved", &["--redirect=/mcp?behind"]);
    let mut file = file_of(&[&server]);
    file["mcpServers"]["moved"]["headers"] = json!({"X-Api-Key": "s3cr3t"});
    let mut client = Proxy::new().file(&file).start();
    works(&mut client, &server);
    assert!(server.running().seen().iter().all(|seen| seen.headers["x-api-key"] == "s3cr3t"));
}

#[test]
fn headers_are_not_carried_to_another_origin() {
    let other = Server::http("other", &[]);
    let target = other.running().url();
    let redirect = format!("--redirect={target}");
    let endpoint = format!("--endpoint={target}");
    let cases = [
        (Server::http("redirecting", &[&redirect]), "redirects to another origin"),
        (Server::sse("luring", &[&endpoint]), "names an address on another origin"),
    ];
    for (server, words) in cases {
        let mut file = file_of(&[&server]);
        file["mcpServers"][&server.name]["headers"] = json!({"X-Api-Key": "s3cr3t"});
        let mut client = Proxy::new().file(&file).start();
        let text = told(&mut client, &[&server.name, words]);
        assert!(!text.contains("s3cr3t"), "{text}");
        assert!(other.running().seen().is_empty(), "{}", server.name);
    }
}

#[test]
fn the_proxy_is_no_server_of_its_own() {
    let server = Server::new(Kind::Http, "mirror", &[]);
    let app = App::start(Workspace::default());
    for host in ["127.0.0.1", "0.0.0.0", "localhost"] {
        let front = Proxy::new().app(&app).arg("--refresh-interval=0.2").arg("--host=0.0.0.0").arg("--allowed-host=localhost").serve();
        app.switch_to(moved(&server, &format!("http://{host}:{}/mcp", front.address.port())));
        front.complains("the proxy's own address");
        app.switch_to(Workspace::default());
    }
}

/// Answers everything with this.
fn answering(coding: &'static str, body: Vec<u8>) -> (Runtime, SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be built");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let body = axum::body::Bytes::from(body);
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CONTENT_ENCODING, coding)];
    let routes = Router::new().fallback(move || async move { (headers, body) });
    runtime.spawn(async move { axum::serve(listener, routes).await });
    (runtime, address)
}

#[test]
fn a_compressed_answer_of_a_server_is_not_unpacked() {
    let (_runtime, address) = answering("gzip", bomb(128 << 20));
    let honest = Server::stdio("honest", &[]);
    let mut file = file_of(&[&honest]);
    file["mcpServers"]["bomb"] = json!({"type": "http", "url": format!("http://{address}/mcp")});
    let mut client = Proxy::new().file(&file).start();
    works(&mut client, &honest);
    told(&mut client, &["bomb", "compressed answer, which was not asked for"]);
}

#[test]
fn a_bomb_of_the_app_does_not_go_off() {
    let server = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&server]));
    let mut client = Proxy::new().app(&app).arg("--refresh-interval=0.2").start();
    works(&mut client, &server);
    app.answer_at("/api/mcp-servers", Answer::Packed(bomb(128 << 20)));
    client.complains("more than 64 MiB");
    works(&mut client, &server);
}
