use std::sync::Arc;

use super::*;
use crate::security::egress::Policy;

const KEY: &str = "pg_in_0123456789012345678901234567890123456789";

fn app(base_url: &str, key: &str) -> app::Config {
    let base_url = base_url.parse().expect("a URL");
    app::Config { base_url, key: Secret::certain(key), rate: None, origin: None, egress: Arc::new(Policy::default()) }
}

fn lists() -> Lists {
    let body = r#"[{"uuid":"u","name":"n","command":"c","args":["--a"],"env":{"TOKEN":"hidden-1"}},
        {"uuid":"v","name":"m","url":"http://h/hidden-2","streamableHTTPOptions":{"headers":{"X":"hidden-3"},"timeout":5000}}]"#;
    Lists { servers: app::wire::servers(body).expect("a list").items, ..Lists::default() }
}

/// A file written at this time, in seconds.
fn written(dir: &Path, said: u64) -> Kept {
    let app = app("http://a", KEY);
    let mut kept = Kept::new(path(dir, &app), &app);
    let text = kept.text(&lists(), Duration::from_secs(said)).expect("it is new");
    files::replace(&kept.path, |writer| io::Write::write_all(writer, text.as_bytes())).expect("writable");
    kept
}

#[test]
fn what_is_kept_is_what_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut kept = written(dir.path(), 1_000);
    let text = std::fs::read_to_string(&kept.path).expect("readable");
    assert!(!text.contains("hidden"), "{text}");
    let read = kept.read(Duration::from_secs(1_000)).expect("it is good").expect("it is new");
    for (old, new) in lists().servers.iter().zip(&read.servers) {
        assert!(old.fingerprint() == new.fingerprint() && old.same_headers(new), "{new:?}");
        assert_eq!((&old.id, &old.name, old.timeout), (&new.id, &new.name, new.timeout));
    }
    assert_eq!(read.servers.len(), 2);
    assert!(kept.text(&read, now()).is_none(), "the same is not written again");
}

#[test]
fn what_is_too_old_or_of_another_is_not_opened() {
    let dir = tempfile::tempdir().expect("a directory");
    let kept = written(dir.path(), 1_000_000);
    let is_read_at = |seconds: u64| kept.read(Duration::from_secs(seconds)).expect("it can be read").is_some();
    let age = MAX_AGE.as_secs();
    assert!(is_read_at(1_000_000 + age) && !is_read_at(1_000_001 + age));
    assert!(is_read_at(1_000_000 - 3_600) && !is_read_at(1_000_000 - 100_000), "a clock may be wrong, but not by far");
    for other in [app("http://b", KEY), app("http://a", &KEY.replace('0', "1"))] {
        let other = Kept::new(kept.path.clone(), &other);
        assert!(other.read(Duration::from_secs(1_000_000)).is_err());
    }
    let text = std::fs::read_to_string(&kept.path).expect("readable");
    for broken in [String::new(), text[..text.len() / 2].to_owned(), text.replace("\"version\":1", "\"version\":2"), "{}".to_owned()] {
        std::fs::write(&kept.path, broken).expect("writable");
        assert!(kept.load().is_none());
    }
}
