use super::*;

fn item(name: &str, description: &str) -> Item {
    Item { key: name.to_owned(), json: format!(r#"{{"name":"{name}","description":"{description}"}}"#).into() }
}

fn server() -> ServerId {
    ServerId::of_file("s")
}

#[test]
fn days_are_dates() {
    for (day, date) in [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (19_722, "2023-12-31"), (20_777, "2026-11-20")] {
        assert_eq!(Day(day).to_string(), date);
    }
    assert!(Day::today() > Day(20_000));
}

#[test]
fn changes_outlast_the_process_and_are_accepted_by_another() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = path(dir.path(), "identity");
    let open = || Integrity::new(path.clone());
    assert!(open().judge(&server(), "s", &[item("a", "1"), item("b", "1")]).is_empty());
    let running = open();
    assert_eq!(running.judge(&server(), "s", &[item("a", "2"), item("b", "1")]).into_keys().collect::<Vec<_>>(), ["a"]);
    assert!(!running.is_outdated());
    assert_eq!(open().pending()[&server()].len(), 1);

    let command = open();
    assert_eq!(command.judge(&server(), "s", &[item("a", "2"), item("b", "1")]).len(), 1);
    assert_eq!(command.accept(&[ServerId::of_file("other")]).expect("writable"), 0);
    assert_eq!(command.accept(&[server()]).expect("writable"), 1);
    assert!(running.is_outdated());
    assert!(running.pending().is_empty() && !running.is_outdated());
    assert!(running.judge(&server(), "s", &[item("a", "2"), item("b", "1")]).is_empty());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn what_one_process_has_seen_is_not_lost_by_another() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = path(dir.path(), "identity");
    let (one, other) = (Integrity::new(path.clone()), Integrity::new(path.clone()));
    let names = |n: usize| ServerId::of_file(&format!("{n}"));
    std::thread::scope(|scope| {
        for (integrity, from) in [(&one, 0), (&other, 20)] {
            scope.spawn(move || (from..from + 20).for_each(|n| drop(integrity.judge(&names(n), "s", &[item("a", "1")]))));
        }
    });
    let last = Integrity::new(path);
    assert!((0..40).all(|n| last.judge(&names(n), "s", &[item("a", "2")]).len() == 1));
}

#[test]
fn a_file_that_cannot_be_used_is_put_aside() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = path(dir.path(), "identity");
    fs::create_dir_all(path.parent().expect("a file has a parent")).expect("writable");
    for text in ["", "{", "[]", r#"{"version":2,"servers":{}}"#] {
        fs::write(&path, text).expect("writable");
        let integrity = Integrity::new(path.clone());
        assert!(integrity.judge(&server(), "s", &[item("a", text.len().to_string().as_str())]).is_empty(), "{text}");
        assert_eq!(fs::read_to_string(path.with_extension("broken")).expect("it is there"), text);
        assert!(Integrity::new(path.clone()).judge(&server(), "s", &[item("a", "other")]).len() == 1);
    }
}

#[test]
fn without_a_file_changes_are_noticed_within_the_run() {
    let integrity = Integrity::new(PathBuf::from("/dev/null/nowhere/tools.json"));
    assert!(integrity.judge(&server(), "s", &[item("a", "1")]).is_empty());
    assert_eq!(integrity.judge(&server(), "s", &[item("a", "2")]).len(), 1);
    assert!(integrity.accept(&[server()]).is_err());
}

#[test]
#[cfg(unix)]
fn a_file_that_cannot_be_read_for_a_moment_is_not_replaced() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = path(dir.path(), "identity");
    let open = || Integrity::new(path.clone());
    assert!(open().judge(&server(), "s", &[item("a", "1")]).is_empty());
    // What is read is a directory meanwhile, which is no file without meaning.
    let aside = path.with_extension("aside");
    fs::rename(&path, &aside).expect("writable");
    fs::create_dir(&path).expect("writable");
    let running = open();
    assert!(running.judge(&server(), "s", &[item("a", "2")]).is_empty());
    fs::remove_dir(&path).expect("still there, and empty");
    fs::rename(&aside, &path).expect("writable");
    assert_eq!(running.judge(&server(), "s", &[item("a", "2")]).len(), 1);
}

#[test]
fn a_lock_that_somebody_keeps_stops_nobody() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = path(dir.path(), "identity");
    let kept = lock(&path).expect("nobody has it");
    assert!(lock(&path).is_none());
    let integrity = Integrity::new(path.clone());
    assert!(integrity.judge(&server(), "s", &[item("a", "1")]).is_empty());
    drop(kept);
    assert_eq!(Integrity::new(path.clone()).judge(&server(), "s", &[item("a", "2")]).len(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(path.with_extension("lock")).expect("it is there").permissions().mode() & 0o777, 0o600);
    }
}
