//! What is remembered of each tool, and what follows from seeing it again. No file, no clock.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, Write},
};

use serde::{Deserialize, Serialize};

use super::{Changes, Day};

/// Changes with the format.
const VERSION: u32 = 1;

/// A tool or a server that was not there for so many days is forgotten. A tool that is taken away and comes back within this
/// time is still the same one, or a changed one.
const FORGOTTEN_AFTER: u32 = 90;

/// Tools of one server that are remembered though it does not list them.
const ABSENT_TOOLS: usize = 10_000;
/// A longer name is not remembered, so that records stay as small as lists are long. The specification allows 128.
const NAME: usize = 1024;
/// Servers that are remembered.
const SERVERS: usize = 1_000;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Records {
    version: u32,
    servers: BTreeMap<String, Server>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Server {
    /// The last day on which it listed tools.
    seen: Day,
    tools: BTreeMap<String, Tool>,
    /// Tools that were ever recorded.
    #[serde(default)]
    count: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Tool {
    /// Of the tool as it is trusted.
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed: Option<Change>,
    /// The last day on which it was listed.
    seen: Day,
    /// Which of the server's tools it was, in the order in which they were seen first.
    #[serde(default)]
    number: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Change {
    /// Of the tool as it was listed last.
    digest: String,
    since: Day,
}

/// What came of a listing.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Noted {
    /// Tools that are not as they are trusted.
    pub(super) changes: Changes,
    /// Those of them that were otherwise the last time.
    pub(super) changed: Vec<String>,
    /// The records have changed.
    pub(super) dirty: bool,
}

impl Default for Records {
    fn default() -> Self {
        Self { version: VERSION, servers: BTreeMap::new() }
    }
}

impl Records {
    /// `None` where the text is none of ours.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok().filter(|records: &Self| records.version == VERSION)
    }

    pub(super) fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        Ok(serde_json::to_writer(writer, self)?)
    }

    /// Takes in what a server lists: names and digests.
    pub(super) fn note(&mut self, server: &str, tools: &[(&str, String)], today: Day) -> Noted {
        let mut noted = Noted::default();
        let record = self.servers.entry(server.to_owned()).or_default();
        noted.dirty |= std::mem::replace(&mut record.seen, today) != today;
        let mut listed = HashSet::new();
        for (name, digest) in tools {
            // Of several of one name clients see the first.
            if listed.insert(*name) {
                record.note(name, digest, today, &mut noted);
            }
        }
        noted.dirty |= record.forget_absent(&listed, today);
        if noted.dirty {
            self.forget_servers(today);
        }
        noted
    }

    pub(super) fn pending(&self) -> BTreeMap<String, Changes> {
        let pending = self.servers.iter().map(|(id, server)| (id.clone(), server.pending()));
        pending.filter(|(_, changes)| !changes.is_empty()).collect()
    }

    /// Trusts all tools of these servers as they were listed last; gives how many had changed.
    pub(super) fn accept<'a>(&mut self, servers: impl Iterator<Item = &'a str>) -> usize {
        let mut accepted = 0;
        for server in servers {
            for tool in self.servers.get_mut(server).into_iter().flat_map(|server| server.tools.values_mut()) {
                if let Some(change) = tool.changed.take() {
                    tool.digest = change.digest;
                    accepted += 1;
                }
            }
        }
        accepted
    }

    fn forget_servers(&mut self, today: Day) {
        self.servers.retain(|_, server| !is_old(server.seen, today));
        while self.servers.len() > SERVERS {
            let Some(oldest) = self.servers.iter().min_by_key(|(_, server)| server.seen).map(|(id, _)| id.clone()) else { return };
            self.servers.remove(&oldest);
        }
    }
}

impl Server {
    fn note(&mut self, name: &str, digest: &str, today: Day, noted: &mut Noted) {
        if name.len() > NAME {
            // SECURITY: what cannot be remembered is not trusted.
            noted.changes.insert(name.to_owned(), today);
            return;
        }
        let Some(tool) = self.tools.get_mut(name) else {
            self.count += 1;
            self.tools.insert(name.to_owned(), Tool { digest: digest.to_owned(), changed: None, seen: today, number: self.count });
            noted.dirty = true;
            return;
        };
        noted.dirty |= std::mem::replace(&mut tool.seen, today) != today;
        if tool.digest == digest {
            noted.dirty |= tool.changed.take().is_some();
            return;
        }
        let is_new = tool.changed.as_ref().is_none_or(|change| change.digest != digest);
        let since = tool.changed.as_ref().map_or(today, |change| change.since);
        if is_new {
            tool.changed = Some(Change { digest: digest.to_owned(), since });
            noted.changed.push(name.to_owned());
            noted.dirty = true;
        }
        noted.changes.insert(name.to_owned(), since);
    }

    fn pending(&self) -> Changes {
        self.tools.iter().filter_map(|(name, tool)| Some((name.clone(), tool.changed.as_ref()?.since))).collect()
    }

    /// True if any was forgotten.
    fn forget_absent(&mut self, listed: &HashSet<&str>, today: Day) -> bool {
        let before = self.tools.len();
        let absent = self.tools.iter().filter(|(name, _)| !listed.contains(name.as_str()));
        let mut absent: Vec<_> = absent.map(|(name, tool)| (tool.number, tool.seen, name.clone())).collect();
        // SECURITY: the latest go first. Otherwise a server that lists enough other names makes us forget what a tool was.
        absent.sort_unstable_by_key(|(number, _, _)| std::cmp::Reverse(*number));
        let too_many = absent.len().saturating_sub(ABSENT_TOOLS);
        for (at, (_, seen, name)) in absent.into_iter().enumerate() {
            if at < too_many || is_old(seen, today) {
                self.tools.remove(&name);
            }
        }
        self.tools.len() != before
    }
}

fn is_old(seen: Day, today: Day) -> bool {
    today.0.saturating_sub(seen.0) > FORGOTTEN_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Listings of one server, a day each: `name=text name=text`. What each shows as changed, and which of it is new.
    #[track_caller]
    fn check(days: &[(u32, &str, &str)]) -> Records {
        let mut records = Records::default();
        for (day, listing, expect) in days {
            if *listing == "ACCEPT" {
                assert_eq!(records.accept(["s"].into_iter()).to_string(), *expect);
                continue;
            }
            let tools: Vec<_> =
                listing.split(' ').filter_map(|tool| tool.split_once('=')).map(|(name, text)| (name, text.to_owned())).collect();
            let noted = records.note("s", &tools, Day(*day));
            let changes: Vec<_> = noted
                .changes
                .iter()
                .map(|(name, since)| format!("{name}@{}{}", since.0, if noted.changed.contains(name) { "!" } else { "" }))
                .collect();
            assert_eq!(changes.join(" "), *expect, "on day {day}");
            assert!(records.pending().remove("s").unwrap_or_default().len() >= noted.changes.len());
            // Who sees the same again has nothing to write.
            assert!(!records.note("s", &tools, Day(*day)).dirty);
        }
        records
    }

    #[test]
    fn the_first_sight_is_trusted_and_a_change_stays_until_it_is_accepted() {
        check(&[
            (1, "a=1 b=1", ""),
            (2, "a=1 b=1 c=1", ""),
            (3, "a=2 b=1 c=1", "a@3!"),
            (4, "a=2 b=1 c=1", "a@3"),
            (5, "a=3 b=2 c=1", "a@3! b@5!"),
            (6, "ACCEPT", "2"),
            (7, "a=3 b=2 c=1", ""),
            (8, "a=1 b=2 c=1", "a@8!"),
        ]);
    }

    #[test]
    fn what_becomes_again_what_it_was_is_no_change() {
        check(&[(1, "a=1", ""), (2, "a=2", "a@2!"), (3, "a=1", ""), (4, "a=2", "a@4!")]);
    }

    #[test]
    fn a_tool_that_was_away_is_still_known() {
        check(&[(1, "a=1 b=1", ""), (2, "b=1", ""), (80, "a=2 b=1", "a@80!")]);
        // Until nobody remembers it.
        check(&[(1, "a=1 b=1", ""), (92, "b=1", ""), (93, "a=2 b=1", "")]);
    }

    #[test]
    fn of_two_of_one_name_the_first_counts() {
        check(&[(1, "a=1 a=2", ""), (2, "a=1", ""), (3, "a=2 a=1", "a@3!")]);
    }

    #[test]
    fn records_do_not_grow_without_end() {
        let mut records = Records::default();
        for day in 0..30 {
            let names: Vec<_> = (0..1000).map(|n| format!("{day}-{n}")).collect();
            let tools: Vec<_> = names.iter().map(|name| (name.as_str(), "1".to_owned())).collect();
            records.note("s", &tools, Day(day));
        }
        assert_eq!(records.servers["s"].tools.len(), ABSENT_TOOLS + 1000);
        for n in 0..SERVERS + 100 {
            records.note(&format!("server {n}"), &[], Day(50));
        }
        assert_eq!(records.servers.len(), SERVERS);
        records.note("late", &[], Day(1000));
        assert_eq!(records.servers.len(), 1);
    }

    #[test]
    fn a_flood_of_names_makes_no_other_tool_forgotten() {
        let mut records = Records::default();
        let one = |text: &str| [("m", text.to_owned())];
        records.note("s", &one("1"), Day(1));
        for flood in ["a", "z"] {
            let names: Vec<_> = (0..=ABSENT_TOOLS).map(|n| format!("{flood}{n}")).collect();
            let tools: Vec<_> = names.iter().map(|name| (name.as_str(), "1".to_owned())).collect();
            records.note("s", &tools, Day(1));
        }
        assert_eq!(records.note("s", &one("2"), Day(1)).changed, ["m"]);
    }

    #[test]
    fn what_cannot_be_remembered_is_not_trusted() {
        let mut records = Records::default();
        let name = "n".repeat(NAME + 1);
        for _ in 0..2 {
            let noted = records.note("s", &[(&name, "1".to_owned()), (&name[1..], "1".to_owned())], Day(1));
            assert_eq!(noted.changes.into_keys().collect::<Vec<_>>(), [name.as_str()]);
            assert!(noted.changed.is_empty());
        }
        assert_eq!(records.servers["s"].tools.len(), 1);
    }

    #[test]
    fn servers_are_told_apart() {
        let mut records = Records::default();
        records.note("s", &[("a", "1".to_owned())], Day(1));
        assert_eq!(records.note("t", &[("a", "2".to_owned())], Day(1)).changes, Changes::new());
        records.note("s", &[("a", "2".to_owned())], Day(1));
        assert_eq!(records.accept(["t", "unknown"].into_iter()), 0);
        assert_eq!(records.pending().len(), 1);
    }
}
