//! Any arguments: nothing panics, nothing hangs, and nothing reaches the App that its contract forbids. The App of the tests notes that.

use super::facts::{Fact, TOOLS, arguments};
use super::{Desk, stocked};
use crate::support::client::Mark;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

/// Any JSON, with numbers at their limits and text that is good for surprises.
fn any_json() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), number(), text()];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let members = btree_map(any::<String>(), inner.clone(), 0..4).prop_map(|members| json!(members));
        prop_oneof![vec(inner, 0..4).prop_map(Value::from), members]
    })
    .boxed()
}

fn number() -> BoxedStrategy<Value> {
    let odd = prop::sample::select(vec![
        json!(0),
        json!(1),
        json!(1.0),
        json!(-1),
        json!(1e30),
        json!(100),
        json!(101),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(0.5),
    ]);
    prop_oneof![odd, any::<i64>().prop_map(Value::from), any::<f64>().prop_map(|number| json!(number))].boxed()
}

fn text() -> BoxedStrategy<Value> {
    let odd = [
        "",
        " ",
        "x",
        "../../x",
        "a/b?c=d#e&f",
        "%2e%2e%2f",
        "\u{0}",
        "\r\nX: y",
        "550e8400-e29b-41d4-a716-446655440000",
        "550E8400E29B41D4A716446655440000",
        "{550e8400-e29b-41d4-a716-446655440000}",
        "urn:uuid:550e8400-e29b-41d4-a716-446655440000",
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00z",
        "2026-01-01t00:00:00+14:00",
        "2016-12-31T23:59:60Z",
        "0000-01-01T00:00:00-00:01",
        "9999-12-31T23:59:59-23:59",
        "2026-01-01",
        "^\\",
        "image/png",
        "all",
        "\u{1f600}\u{202e}",
    ];
    let odd = prop::sample::select(odd.map(Value::from).to_vec());
    let long = (1_usize..60_000).prop_map(|length| json!("ü".repeat(length)));
    prop_oneof![4 => odd, 4 => any::<String>().prop_map(Value::from), 1 => long].boxed()
}

/// A value that a schema might allow, or nearly.
fn like(schema: &Value) -> BoxedStrategy<Value> {
    let meant: BoxedStrategy<Value> = match (schema["enum"].as_array(), schema["type"].as_str()) {
        (Some(values), _) => prop::sample::select(values.clone()).boxed(),
        (None, Some("string")) => match schema["format"].as_str() {
            Some("uuid") => {
                prop::sample::select(vec![json!("550e8400-e29b-41d4-a716-446655440000"), json!("0B9B7C64-4B43-4F0A-8A37-9A0A3C9B2F10")])
                    .boxed()
            }
            Some(_) => prop::sample::select(vec![
                json!("2026-01-01T00:00:00Z"),
                json!("2026-01-01T00:00:00.123456789+05:30"),
                json!("2026-01-01t00:00:00z"),
            ])
            .boxed(),
            None => text(),
        },
        (None, Some("integer" | "number")) => prop_oneof![(0_i64..120).prop_map(Value::from), number()].boxed(),
        (None, Some("boolean")) => any::<bool>().prop_map(Value::from).boxed(),
        (None, Some("array")) => vec(like(&schema["items"]), 0..23).prop_map(Value::from).boxed(),
        (None, Some("object")) => object(schema),
        _ => any_json(),
    };
    prop_oneof![12 => meant, 1 => any_json()].boxed()
}

/// An object with most of the members that a schema wants, and sometimes others.
fn object(schema: &Value) -> BoxedStrategy<Value> {
    let needed: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let members = schema["properties"].as_object().into_iter().flatten();
    let members: Vec<_> = members
        .map(|(name, schema)| {
            let often = if needed.contains(&name.as_str()) { 0.97 } else { 0.4 };
            let name = name.clone();
            prop::option::weighted(often, like(schema)).prop_map(move |value| value.map(|value| (name.clone(), value)))
        })
        .collect();
    let others = prop::option::weighted(0.05, (any::<String>(), any_json()));
    (members, others).prop_map(|(members, others)| members.into_iter().flatten().chain(others).collect::<Value>()).boxed()
}

#[track_caller]
fn survive(desk: &mut Desk, fact: &Fact, arguments: &Value) -> Result<(), TestCaseError> {
    let pending = desk.client.send_call(&fact.full_name(), arguments.clone());
    let answer = desk.client.hear(Mark::START, "an answer", |value| value["method"].is_null() && value["id"] == pending.0);
    desk.client.forget();
    let violations = desk.app.violations();
    prop_assert!(violations.is_empty(), "{}: {violations:#?}", fact.name);
    let code = answer["error"]["code"].as_i64();
    prop_assert!(code.is_none() || code == Some(-32_602), "{}: {answer}", fact.name);
    if code.is_none() {
        desk.shapes.check(fact.name, answer["result"].clone());
    }
    Ok(())
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() })
}

#[test]
fn arguments_that_are_nearly_right_never_break_the_contract() {
    let mut desk = Desk::with(stocked().0);
    for fact in &TOOLS {
        let strategy = object(&fact.input());
        let desk = std::cell::RefCell::new(&mut desk);
        let outcome = runner(40).run(&strategy, |arguments| survive(*desk.borrow_mut(), fact, &arguments));
        outcome.unwrap_or_else(|error| panic!("{}: {error}", fact.name));
    }
}

#[test]
fn any_json_is_survived() {
    let mut desk = Desk::with(stocked().0);
    for fact in &TOOLS {
        let desk = std::cell::RefCell::new(&mut desk);
        let outcome = runner(12).run(&any_json(), |arguments| survive(*desk.borrow_mut(), fact, &arguments));
        outcome.unwrap_or_else(|error| panic!("{}: {error}", fact.name));
    }
}

/// One member at a time, all others as they should be.
#[test]
fn one_wrong_member_never_breaks_the_contract() {
    let (workspace, ids) = stocked();
    let mut desk = Desk::with(workspace);
    for fact in &TOOLS {
        let input = fact.input();
        for (member, schema) in input["properties"].as_object().into_iter().flatten() {
            let desk = std::cell::RefCell::new(&mut desk);
            let good = arguments(fact.name, &ids);
            let outcome = runner(8).run(&prop_oneof![like(schema), any_json()], |value| {
                let mut arguments = good.clone();
                arguments[member] = value;
                survive(*desk.borrow_mut(), fact, &arguments)
            });
            outcome.unwrap_or_else(|error| panic!("{} {member}: {error}", fact.name));
        }
    }
}
