//! The App fails.

use super::*;

#[test]
fn an_app_that_is_away_at_the_start_is_found_when_it_comes() {
    let alpha = Server::stdio("alpha", &[]);
    let mut app = App::start(Workspace::of(&[&alpha]));
    app.go_away();
    let mut client = Proxy::new().app(&app).arg(OFTEN).arg("--list-wait=0.3").start();
    let names = client.names(List::Tools);
    assert!(names.iter().all(|name| name.starts_with("pluggedin_")), "{names:?}");
    says(&mut client, "pluggedin_setup", &["unreachable", "cannot be reached", "could not", "not reach", "no connection", "refused"]);
    let mark = client.mark();
    app.come_back();
    client.notified(mark, "notifications/tools/list_changed");
    works(&mut client, &alpha);
}

#[test]
fn an_app_that_fails_at_the_start_is_explained_and_asked_again() {
    let alpha = Server::stdio("alpha", &[]);
    for failure in [Answer::Status(500), Answer::Later(1), Answer::Page, Answer::Torn, Answer::Status(404)] {
        let app = App::start(Workspace::of(&[&alpha]));
        app.answer(failure.clone());
        let mut client = Proxy::new().app(&app).arg(OFTEN).arg("--list-wait=0.3").start();
        let names = client.names(List::Tools);
        assert!(names.iter().all(|name| name.starts_with("pluggedin_")), "{failure:?}: {names:?}");
        says(&mut client, "pluggedin_setup", &["problem"]);
        app.answer(Answer::Normally);
        works(&mut client, &alpha);
    }
}

#[test]
fn an_app_that_never_answers_does_not_hold_up_the_end() {
    let app = App::start(Workspace::default());
    app.answer(Answer::Never);
    let client = Proxy::new().app(&app).start();
    eventually("the App is asked", || (!app.requests().is_empty()).then_some(()));
    let begin = Instant::now();
    assert_eq!(client.finish().code, Some(0));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[test]
fn an_app_that_fails_later_takes_nothing_away() {
    let alpha = Server::stdio("alpha", &[]);
    let beta = Server::stdio("beta", &[]);
    let failures: [fn(&mut App); 7] = [
        |app| app.answer(Answer::Status(500)),
        |app| app.answer(Answer::Status(503)),
        |app| app.answer(Answer::Later(1)),
        |app| app.answer(Answer::Page),
        |app| app.answer(Answer::Torn),
        |app| app.answer_at("/api/mcp-servers", Answer::Status(500)),
        App::go_away,
    ];
    for (n, fail) in failures.into_iter().enumerate() {
        let mut app = App::start(Workspace::of(&[&alpha]));
        let mut client = Proxy::new().app(&app).arg(OFTEN).start();
        works(&mut client, &alpha);
        let before = app.requests().len();
        fail(&mut app);
        if n < 6 {
            eventually("the App has failed at least once", || (app.requests().len() > before + 1).then_some(()));
        } else {
            says(&mut client, "pluggedin_discover_tools", &["app"]);
        }
        works(&mut client, &alpha);
        let names = client.names(List::Tools);
        assert!(names.contains(&"alpha__echo".to_owned()), "failure {n}: {names:?}");

        // When it is well again, what it says counts again.
        app.answer(Answer::Normally);
        app.answer_at("/api/mcp-servers", Answer::Normally);
        app.switch_to(Workspace::of(&[&beta]));
        app.come_back();
        works(&mut client, &beta);
        client.miss(List::Tools, "alpha__echo");
    }
}

#[test]
fn lists_of_the_app_that_fail_alone_do_not_hide_servers() {
    for path in ["tools?prefix_tools=true", "resources", "resource-templates", "prompts", "custom-instructions"] {
        // A malformed slug fails the list of tools with prefixes only. The list of resources answers 401 where no
        // workspace is active, which says nothing about the key.
        let failure = if path == "resources" { 401 } else { 500 };
        let alpha = Server::stdio("alpha", &[]);
        let app = App::start(Workspace::of(&[&alpha]));
        app.answer_at(&format!("/api/{path}"), Answer::Status(failure));
        let mut client = Proxy::new().app(&app).start();
        works(&mut client, &alpha);
    }
}

#[test]
fn a_wrong_key_is_explained() {
    let app = App::start(Workspace::default());
    let wrong = format!("{}x", &KEY[..KEY.len() - 1]);
    let mut client = Proxy::new().app(&app).env("PLUGGEDIN_API_KEY", &wrong).arg("--list-wait=1").start();
    for tool in ["pluggedin_setup", "pluggedin_discover_tools"] {
        says(&mut client, tool, &["401", "rejected", "not accepted", "invalid", "refused"]);
        assert!(!ask(&mut client, tool).contains(&wrong), "the key is shown");
    }
    assert!(!client.stderr().contains(&wrong), "the key is on stderr");
}

#[test]
fn a_key_that_is_revoked_takes_everything_away() {
    let alpha = Server::stdio("alpha", &[]);
    let app = App::start(Workspace::of(&[&alpha]));
    let mut client = Proxy::new().app(&app).arg(OFTEN).start();
    works(&mut client, &alpha);
    let process = client.call("alpha__process", json!({}));
    let pid = process["structuredContent"]["pid"].as_u64().expect("it is a number");
    let mark = client.mark();
    app.answer(Answer::Status(401));
    client.notified(mark, "notifications/tools/list_changed");
    client.miss(List::Tools, "alpha__echo");
    eventually("its child has ended", || has_ended(pid).then_some(()));
    let pending = client.send_call("alpha__echo", json!({}));
    assert_eq!(client.answer(&pending).code(), -32_602);
    says(&mut client, "pluggedin_setup", &["401", "rejected", "not accepted", "invalid", "refused"]);
    app.answer(Answer::Normally);
    works(&mut client, &alpha);
}

#[test]
fn an_app_that_asks_for_time_is_left_alone() {
    let app = App::start(Workspace::default());
    app.answer(Answer::Later(3600));
    let mut client = Proxy::new().app(&app).arg(OFTEN).start();
    client.complains("App");
    stays("it is not asked again", || app.count("GET /api/mcp-servers") == 1);
    // Not even if somebody is curious.
    client.call("pluggedin_discover_tools", json!({}));
    stays("it is not asked again", || app.count("GET /api/mcp-servers") == 1);
}

#[test]
fn the_app_is_asked_a_hundred_times_a_minute_at_most() {
    let app = App::start(Workspace::default());
    let begin = Instant::now();
    let _client = Proxy::new().app(&app).arg("--refresh-interval=0.01").start();
    eventually("the first hundred", || (app.requests().len() >= 100).then_some(()));
    stays("the limit is kept", || {
        let seconds = usize::try_from(begin.elapsed().as_secs()).expect("it is a short time");
        app.requests().len() <= 102 + (seconds + 1) * 100 / 60
    });
}

#[test]
fn no_call_asks_the_app() {
    let servers = [Server::stdio("alpha", &[]), Server::http("beta", &[])];
    let app = App::start(Workspace::of(&servers.each_ref()));
    let mut client = Proxy::new().app(&app).arg("--refresh-interval=3600").start();
    for server in &servers {
        works(&mut client, server);
    }
    client.find(List::Resources, "scripted://greeting");
    // Reports of what was done are no part of a call.
    let count = || {
        let reports = app.count("POST /api/notifications/mcp-activity");
        app.requests().len() - reports
    };
    let before = count();
    for n in 0..50 {
        let echo = client.call(&servers[n % 2].tool("echo"), json!({"n": n}));
        assert_eq!(echo["structuredContent"]["params"]["arguments"]["n"], n);
    }
    let prompts = client.names(List::Prompts);
    let params = json!({"name": prompts[0], "arguments": {"who": "you"}});
    client.request("prompts/get", params).result();
    let params = json!({"uri": "scripted://items/7"});
    client.request("resources/read", params).result();
    assert_eq!(count(), before, "{:?}", app.requests());
}
