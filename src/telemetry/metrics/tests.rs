use std::time::Duration;

use super::*;

/// The lines of a page that hold `part`.
fn lines(page: &str, part: &str) -> Vec<String> {
    page.lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
}

fn page_of(format: Format, calls: &Calls) -> String {
    let mut page = Page::new(format);
    calls.write(&mut page);
    page.finish()
}

#[test]
fn both_formats_name_the_same_series() {
    let write = |format| {
        let mut page = Page::new(format);
        page.info("build", "The program.").sample(&[("version", "1.2.3")], 1);
        let mut requests = page.counter("requests", "All requests.");
        requests.sample(&[("status", "2xx"), ("path", "a\\b\"c\nd")], 7);
        requests.sample(&[], 8);
        page.gauge("open", "Open now.").sample(&[], 0.25);
        page.finish()
    };
    let series = "build_info{version=\"1.2.3\"} 1\n";
    let more = "requests_total{status=\"2xx\",path=\"a\\\\b\\\"c\\nd\"} 7\nrequests_total 8\n";
    let text = format!(
        "# HELP build_info The program.\n# TYPE build_info gauge\n{series}\
         # HELP requests_total All requests.\n# TYPE requests_total counter\n{more}\
         # HELP open Open now.\n# TYPE open gauge\nopen 0.25\n"
    );
    let open_metrics = format!(
        "# HELP build The program.\n# TYPE build info\n{series}\
         # HELP requests All requests.\n# TYPE requests counter\n{more}\
         # HELP open Open now.\n# TYPE open gauge\nopen 0.25\n# EOF\n"
    );
    assert_eq!(write(Format::Text), text);
    assert_eq!(write(Format::OpenMetrics), open_metrics);
}

#[test]
fn buckets_hold_what_took_at_most_their_edge() {
    let histogram = Histogram::default();
    for took in [
        Duration::ZERO,
        Duration::from_millis(1),
        Duration::from_nanos(1_000_001),
        Duration::from_secs(60),
        Duration::from_nanos(60_000_000_001),
    ] {
        histogram.observe(took);
    }
    let mut page = Page::new(Format::Text);
    page.histogram("took_seconds", "How long.").distribution(&[("owner", "a")], &histogram);
    let page = page.finish();
    let samples: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(samples.len(), 18, "15 edges, the rest, sum and count:\n{page}");
    assert_eq!(samples[0], "took_seconds_bucket{owner=\"a\",le=\"0.001\"} 2");
    assert_eq!(samples[1], "took_seconds_bucket{owner=\"a\",le=\"0.0025\"} 3");
    assert_eq!(samples[9], "took_seconds_bucket{owner=\"a\",le=\"1.0\"} 3");
    assert_eq!(
        samples[14..],
        [
            "took_seconds_bucket{owner=\"a\",le=\"60.0\"} 4",
            "took_seconds_bucket{owner=\"a\",le=\"+Inf\"} 5",
            "took_seconds_sum{owner=\"a\"} 120.002",
            "took_seconds_count{owner=\"a\"} 5",
        ]
    );
}

#[test]
fn edges_grow() {
    let edges: Vec<f64> =
        Histogram::default().cumulated().map(|(edge, _)| edge.trim_start_matches('+').parse().expect("a number")).collect();
    assert!(edges.is_sorted_by(|a, b| a < b), "{edges:?}");
    assert!(edges.last().is_some_and(|last| last.is_infinite()));
}

#[test]
fn a_call_counts_once_with_its_outcome() {
    let calls = Calls::default();
    for outcome in [Outcome::Ok, Outcome::Ok, Outcome::ToolError, Outcome::Error] {
        calls.begin(Some("time")).end(outcome);
    }
    drop(calls.begin(Some("time")));
    calls.begin_builtin().end(Outcome::Ok);
    let page = page_of(Format::Text, &calls);
    assert_eq!(
        lines(&page, "pluggedin_calls_total{owner=\"time\""),
        [
            r#"pluggedin_calls_total{owner="time",outcome="ok"} 2"#,
            r#"pluggedin_calls_total{owner="time",outcome="tool_error"} 1"#,
            r#"pluggedin_calls_total{owner="time",outcome="error"} 1"#,
            r#"pluggedin_calls_total{owner="time",outcome="cancelled"} 1"#,
        ]
    );
    // The cancelled one says nothing of how long the server takes.
    assert_eq!(
        lines(&page, "seconds_count"),
        [r#"pluggedin_call_duration_seconds_count{owner="builtin"} 1"#, r#"pluggedin_call_duration_seconds_count{owner="time"} 4"#,]
    );
}

#[test]
fn the_number_of_labels_is_limited() {
    let calls = Calls::default();
    for number in 0..1_000 {
        calls.begin(Some(&format!("s{number:03}"))).end(Outcome::Ok);
    }
    calls.begin(Some("s000")).end(Outcome::Ok);
    calls.begin(None).end(Outcome::Ok);
    let page = page_of(Format::Text, &calls);
    let totals = lines(&page, "outcome=\"ok\"");
    assert_eq!(totals.len(), 202, "200 servers, builtin and other");
    assert_eq!(totals[1], r#"pluggedin_calls_total{owner="s000",outcome="ok"} 2"#);
    assert_eq!(totals[201], r#"pluggedin_calls_total{owner="other",outcome="ok"} 801"#);
}

#[test]
fn threads_that_see_a_server_first_count_in_one_place() {
    let calls = Calls::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|number| calls.begin(Some(&number.to_string())).end(Outcome::Ok)));
        }
    });
    let page = page_of(Format::Text, &calls);
    let totals = lines(&page, "outcome=\"ok\"");
    assert_eq!(totals.len(), 101);
    assert!(totals[1..].iter().all(|line| line.ends_with(" 4")), "{totals:?}");
}

#[test]
fn a_server_cannot_take_the_place_of_another_owner() {
    let calls = Calls::default();
    calls.begin(Some("builtin")).end(Outcome::Ok);
    calls.begin(Some("tenant")).end(Outcome::Ok);
    let page = page_of(Format::Text, &calls);
    assert_eq!(
        lines(&page, "outcome=\"ok\""),
        [
            r#"pluggedin_calls_total{owner="builtin",outcome="ok"} 0"#,
            r#"pluggedin_calls_total{owner="builtin_",outcome="ok"} 1"#,
            r#"pluggedin_calls_total{owner="tenant_",outcome="ok"} 1"#,
        ]
    );
}

#[test]
fn tenants_servers_are_not_told_apart() {
    let own = Calls::default();
    let tenants = own.of_tenant();
    tenants.begin(Some("private-server")).end(Outcome::Ok);
    tenants.begin(None).end(Outcome::Error);
    tenants.begin_builtin().end(Outcome::Ok);
    let page = page_of(Format::Text, &own);
    assert!(!page.contains("private"), "{page}");
    assert_eq!(
        lines(&page, "} 1").into_iter().filter(|line| line.contains("calls")).collect::<Vec<_>>(),
        [
            r#"pluggedin_calls_total{owner="builtin",outcome="ok"} 1"#,
            r#"pluggedin_calls_total{owner="tenant",outcome="ok"} 1"#,
            r#"pluggedin_calls_total{owner="tenant",outcome="error"} 1"#,
        ]
    );
}

/// Others count in the same place meanwhile, so it is told what has been added at least.
#[test]
fn what_the_process_counts_is_on_the_page() {
    let count = |part: &str| {
        let mut page = Page::new(Format::Text);
        write(&mut page);
        let page = page.finish();
        lines(&page, part).first().and_then(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
    };
    let drops = r#"pluggedin_dropped_total{what="late_answer"}"#;
    let before = count(drops).expect("it is shown from the start");
    dropped(Dropped::LateAnswer);
    assert!(count(drops) > Some(before));

    let refused = r#"pluggedin_app_requests_total{request="discover",outcome="unauthorized"}"#;
    let before = count(refused).unwrap_or(0);
    app_request(AppRequest::Discover, AppOutcome::Unauthorized);
    assert!(count(refused) > Some(before));
    let refused = r#"pluggedin_http_requests_total{status="4xx"}"#;
    let before = count(refused).expect("it is shown from the start");
    [0, 99, 404, 999].into_iter().for_each(http_request);
    assert!(count(refused) > Some(before));
    assert!(count(r#"pluggedin_app_requests_total{request="other",outcome="ok"}"#).is_some());
    assert!(count(r#"pluggedin_dropped_total{what="log_line"}"#).is_some());
    assert_eq!(count("pluggedin_build_info{version="), Some(1));
}
