//! What servers declare that they can do, beyond what the proxy itself knows: extensions, experiments,
//! capabilities of revisions to come.

use serde_json::{Map, Value};

/// Capabilities that the proxy has itself, whatever its servers have.
const OWN: [&str; 5] = ["tools", "prompts", "resources", "completions", "logging"];

/// Capabilities whose members are named by those who make them.
const OPEN: [&str; 2] = ["extensions", "experimental"];

/// Names of capabilities, and of extensions, in one server's object.
pub(super) fn names(declared: &[u8]) -> Vec<String> {
    let declared = read(declared);
    let open = OPEN.iter().filter_map(|name| declared.get(*name)?.as_object()).flat_map(Map::keys);
    declared.keys().chain(open).cloned().collect()
}

/// What any of the servers has declared. Where several have declared the same, it is as the first one has it.
pub(super) fn together<'a>(servers: impl Iterator<Item = &'a [u8]>) -> Map<String, Value> {
    let mut all = Map::new();
    for server in servers {
        for (name, value) in read(server).into_iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
            match (all.get_mut(&name), value) {
                (Some(Value::Object(known)), Value::Object(more)) if OPEN.contains(&name.as_str()) => {
                    for (name, value) in more {
                        known.entry(name).or_insert(value);
                    }
                }
                (Some(_), _) => {}
                (None, value) => drop(all.insert(name, value)),
            }
        }
    }
    all
}

fn read(declared: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(declared).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_of_all_are_offered_together() {
        let one = br#"{"tools":{},"extensions":{"a/ui":{"x":1.0}},"tasks":{"list":{}}}"#.as_slice();
        let two = br#"{"extensions":{"a/ui":{},"b/skills":{}},"experimental":{"e":{}},"tasks":{}}"#.as_slice();
        let all = together([one, b"", two, b"[1]"].into_iter());
        let expect = r#"{"extensions":{"a/ui":{"x":1.0},"b/skills":{}},"tasks":{"list":{}},"experimental":{"e":{}}}"#;
        assert_eq!(Value::Object(all).to_string(), expect);
        assert_eq!(names(one), ["tools", "extensions", "tasks", "a/ui"]);
    }
}
