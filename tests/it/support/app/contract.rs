//! What a request to the App may hold: paths, parameters, bodies, headers. It is stricter than the App, which ignores what it does
//! not know, so that a proxy cannot send something in vain.

mod routes; // the table

use super::Call;
use boon::{Compiler, SchemaIndex, Schemas};
use routes::{Body, Kind, ROUTES, Route};
use serde_json::json;
use std::collections::HashSet;
use std::sync::LazyLock;

/// The schemas of the table, in its order.
struct Bodies {
    schemas: Schemas,
    indices: Vec<Option<SchemaIndex>>,
}

static BODIES: LazyLock<Bodies> = LazyLock::new(|| {
    let mut schemas = Schemas::new();
    let mut compiler = Compiler::new();
    compiler.enable_format_assertions();
    let indices = ROUTES.iter().enumerate().map(|(number, route)| {
        let Body::Shape(shape) = route.body else {
            return None;
        };
        let address = format!("http://contract.example/{number}");
        compiler.add_resource(&address, shape()).expect("the address is new");
        let index = compiler.compile(&address, &mut schemas);
        Some(index.unwrap_or_else(|error| panic!("{} {}: {error:#}", route.method, route.path)))
    });
    let indices = indices.collect();
    Bodies { schemas, indices }
});

/// What the contract does not allow of a request.
pub(super) fn violations(call: &Call) -> Vec<String> {
    // Who lives below a path is not tested here.
    if !call.path.starts_with("/api/") {
        return Vec::new();
    }
    let mut found = Vec::new();
    match ROUTES.iter().position(|route| route.takes(call)) {
        Some(number) => look(call, number, &mut found),
        None => found.push("there is no such route".to_owned()),
    }
    let body: String = call.json().to_string().chars().take(300).collect();
    found.into_iter().map(|what| format!("{}: {what} (parameters {:?}, body {body})", call.line(), call.parameters)).collect()
}

fn look(call: &Call, number: usize, found: &mut Vec<String>) {
    let route = &ROUTES[number];
    let mut seen = HashSet::new();
    for (name, value) in &call.parameters {
        let known = route.parameters.iter().find(|(known, _)| known == name);
        let once = seen.insert(name) || matches!(known, Some((_, Kind::Texts)));
        match known {
            Some((_, kind)) if once && kind.takes(value) => {}
            Some(_) => found.push(format!("parameter `{name}` may not be {value:?} here")),
            None => found.push(format!("there is no parameter `{name}`")),
        }
    }
    for name in route.needed {
        if !call.parameters.iter().any(|(key, _)| key == name) {
            found.push(format!("parameter `{name}` is missing"));
        }
    }
    for name in route.headers {
        if call.header(name).is_none_or(str::is_empty) {
            found.push(format!("header `{name}` is missing"));
        }
    }
    let body = call.json();
    match BODIES.indices[number] {
        Some(index) => {
            if let Err(error) = BODIES.schemas.validate(&body, index) {
                found.push(format!("the body does not conform: {error:#}"));
            }
        }
        None if matches!(route.body, Body::Absent) && !(body.is_null() || body == json!({})) => found.push("it has no body".to_owned()),
        None => {}
    }
    if !body.is_null() && !call.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        found.push("a body without `Content-Type: application/json`".to_owned());
    }
}

impl Route {
    fn takes(&self, call: &Call) -> bool {
        let (wanted, path) = (self.path.split('/'), call.path.split('/'));
        self.method == call.method.as_str()
            && wanted.clone().count() == path.clone().count()
            && wanted.zip(path).all(|(wanted, step)| match wanted {
                "{uuid}" => Kind::Uuid.takes(step),
                "{target}" => step == "all" || Kind::Uuid.takes(step),
                "{session}" => !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)),
                fixed => fixed == step,
            })
    }
}

impl Kind {
    fn takes(self, value: &str) -> bool {
        match self {
            Self::Text(min, max) => (min..=max).contains(&value.chars().count()),
            Self::Texts => true,
            Self::OneOf(known) => known.contains(&value),
            Self::Integer => {
                let digits = value.strip_prefix('-').unwrap_or(value);
                !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
            }
            Self::Number(min, max) => value.parse::<i64>().is_ok_and(|number| (min..=max).contains(&number)),
            Self::Uuid => value.len() == 36 && uuid::Uuid::parse_str(value).is_ok(),
            // Offsets and bare dates give 400.
            Self::Time => value.ends_with('Z') && is_time(value),
        }
    }
}

/// Whether it has the shape of a time of day of a date.
fn is_time(value: &str) -> bool {
    let form: String = value.chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
    let (start, fraction) = form.trim_end_matches('Z').split_at_checked(19).unwrap_or_default();
    start == "0000-00-00T00:00:00" && (fraction.is_empty() || (fraction.starts_with('.') && fraction[1..].bytes().all(|byte| byte == b'0')))
}
