//! Changes of single resources: who has subscribed is told, under the URI that the client knows.

use crate::support::client::Mark;
use crate::support::http::Session;
use crate::support::{Client, Kind, List, Proxy, Server, eventually, file_of, over_each_wire, stays};
use serde_json::{Value, json};
use std::time::Duration;

over_each_wire!(changes_are_told_from_the_subscription_to_its_end, a_part_of_what_is_subscribed_to_counts,);

const UPDATED: &str = "notifications/resources/updated";
const GREETING: &str = "scripted://greeting";

fn updated(uri: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": uri, "x-vendor": 1.0}})
}

/// Lets the server say that a resource has changed.
#[track_caller]
fn change(client: &mut Client, server: &str, uri: &str) {
    client.call(&format!("{server}__talk"), json!({"lines": [{"say": updated(uri)}]}));
}

#[track_caller]
fn subscribe(client: &mut Client, uri: &str) {
    assert_eq!(client.request("resources/subscribe", json!({"uri": uri})).result(), json!({}), "{uri}");
}

#[track_caller]
fn unsubscribe(client: &mut Client, uri: &str) {
    assert_eq!(client.request("resources/unsubscribe", json!({"uri": uri})).result(), json!({}), "{uri}");
}

#[track_caller]
fn journal(client: &mut Client, server: &str) -> Value {
    client.call(&format!("{server}__calls"), json!({}))["structuredContent"]["subscriptions"].take()
}

fn updates(client: &Client, mark: Mark) -> Vec<Value> {
    client.since(mark).into_iter().filter(|value| value["method"] == UPDATED).collect()
}

fn changes_are_told_from_the_subscription_to_its_end(kind: Kind) {
    let server = Server::new(kind, "alpha", &["--resource=scripted://second"]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Resources, "scripted://second");
    let mark = client.mark();
    subscribe(&mut client, GREETING);
    subscribe(&mut client, GREETING);
    change(&mut client, "alpha", "scripted://second");
    change(&mut client, "alpha", GREETING);
    assert_eq!(client.notified(mark, UPDATED), updated(GREETING));
    unsubscribe(&mut client, GREETING);
    unsubscribe(&mut client, GREETING);
    change(&mut client, "alpha", GREETING);
    stays("nothing more is told", || updates(&client, mark).len() == 1);
    assert_eq!(journal(&mut client, "alpha"), json!([format!("+{GREETING}"), format!("-{GREETING}")]));
}

fn a_part_of_what_is_subscribed_to_counts(kind: Kind) {
    let server = Server::new(kind, "alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Templates, "scripted://items/{id}");
    let mark = client.mark();
    subscribe(&mut client, "scripted://items/7");
    for uri in ["scripted://items/70", "scripted://items/7/part", "scripted://items/7#x"] {
        change(&mut client, "alpha", uri);
    }
    client.hear(mark, "the last one", |value| value["params"]["uri"] == "scripted://items/7#x");
    assert_eq!(updates(&client, mark), [updated("scripted://items/7/part"), updated("scripted://items/7#x")]);
}

#[test]
fn servers_with_the_same_uri_are_told_apart() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::stdio("beta", &[]);
    let mut client = Proxy::before(&[&alpha, &beta]);
    client.find(List::Tools, "alpha__talk");
    client.find(List::Tools, "beta__talk");
    let resources = eventually("both are listed", || {
        let names = client.names(List::Resources);
        (names.iter().filter(|name| name.ends_with(GREETING)).count() == 2).then_some(names)
    });
    let other = resources.iter().find(|name| name.ends_with(GREETING) && *name != GREETING).expect("one has a name of its own").clone();
    subscribe(&mut client, &other);
    let subscribed = ["alpha", "beta"].map(|server| journal(&mut client, server).as_array().expect("a list").len());
    assert_eq!(subscribed.iter().sum::<usize>(), 1, "one server knows");
    let mark = client.mark();
    change(&mut client, "alpha", GREETING);
    change(&mut client, "beta", GREETING);
    assert_eq!(client.notified(mark, UPDATED), updated(&other));
    stays("only one is told", || updates(&client, mark).len() == 1);
}

#[test]
fn sessions_subscribe_each_for_itself() {
    let server = Server::stdio("alpha", &[]);
    let front = Proxy::serving(&[&server]);
    let mut first = front.session();
    let mut second = front.session();
    let mut third = front.session();
    third.find(List::Resources, GREETING);
    let (mut first_news, mut second_news, mut third_news) = (first.listen(), second.listen(), third.listen());
    for session in [&mut first, &mut second] {
        assert_eq!(session.request("resources/subscribe", json!({"uri": GREETING})), json!({}));
    }
    let subscriptions = |session: &mut Session| session.journal("alpha", "subscriptions");
    assert_eq!(subscriptions(&mut third), [format!("+{GREETING}")], "the server has one subscriber");
    third.call("alpha__talk", json!({"lines": [{"say": updated(GREETING)}]}));
    assert_eq!(first_news.hear(UPDATED), updated(GREETING));
    assert_eq!(second_news.hear(UPDATED), updated(GREETING));

    first.end();
    third.call("alpha__talk", json!({"lines": [{"say": updated(GREETING)}]}));
    assert_eq!(second_news.hear(UPDATED), updated(GREETING));
    second.end();
    eventually("the server has no subscriber", || {
        (subscriptions(&mut third) == [format!("+{GREETING}"), format!("-{GREETING}")]).then_some(())
    });
    third_news.is_silent(Duration::from_millis(50));
}

#[test]
fn a_server_that_comes_back_is_subscribed_to_again() {
    let mut server = Server::http("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Resources, GREETING);
    subscribe(&mut client, GREETING);
    server.running_mut().restart();
    client.call_until("it is told again", "alpha__calls", &json!({}), |result| {
        result["structuredContent"]["subscriptions"] == json!([format!("+{GREETING}")])
    });
    let mark = client.mark();
    change(&mut client, "alpha", GREETING);
    assert_eq!(client.notified(mark, UPDATED), updated(GREETING));
}

#[test]
fn a_server_whose_news_are_waited_for_is_not_stopped() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::new().file(&file_of(&[&server])).arg("--idle-timeout=0.3").start();
    client.find(List::Resources, GREETING);
    subscribe(&mut client, GREETING);
    let pid = |client: &mut Client| client.call("alpha__process", json!({}))["structuredContent"]["pid"].clone();
    let running = pid(&mut client);
    stays("it runs", || true);
    assert_eq!(pid(&mut client), running);
    unsubscribe(&mut client, GREETING);
    stays("it may stop", || true);
    assert_ne!(pid(&mut client), running);
}

#[test]
fn what_cannot_be_subscribed_to_is_an_error() {
    let server = Server::stdio("alpha", &["--without=subscribe"]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Resources, GREETING);
    let refused = client.request("resources/subscribe", json!({"uri": GREETING})).error();
    assert_eq!(refused["code"], -32_601, "{refused}");
    assert!(refused["message"].as_str().expect("a text").contains("alpha"), "{refused}");
    let unknown = client.request("resources/subscribe", json!({"uri": "scripted://nothing/at/all"}));
    // The only server with resources may have more than it lists.
    assert_eq!(unknown.code(), -32_601);
    for params in [json!({}), json!({"uri": 7})] {
        assert_eq!(client.request("resources/subscribe", params.clone()).code(), -32_602, "{params}");
        assert_eq!(client.request("resources/unsubscribe", params.clone()).code(), -32_602, "{params}");
    }
}
