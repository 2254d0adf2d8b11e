//! The last good catalog on disk, so that a client has its tools at once while the
//! servers still start, and while the App is away. Holds what servers say of themselves and
//! what the App says of them, no configuration and no secret. A file that is broken or of
//! another version counts as none.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{build::Listing, remembered::Remembered};
use crate::{
    downstream::Item,
    files,
    protocol::server::{Fingerprint, ServerId},
};

/// Changes with the format.
const VERSION: u32 = 1;

const PREFIX: &str = "catalog-";

/// A larger file is not ours.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// What was known at the end of the last run.
#[derive(Debug, Default)]
pub struct Stored {
    /// Each server's listing.
    pub servers: HashMap<ServerId, Kept>,
    /// Those without a listing that were waited for in vain.
    pub late: HashMap<ServerId, Fingerprint>,
    /// Absent where no App was asked, or it has not answered.
    pub app: Option<Arc<Remembered>>,
}

/// What was listed by a server of this shape.
#[derive(Debug, Clone)]
pub struct Kept {
    pub shape: Fingerprint,
    pub listing: Arc<Listing>,
}

#[derive(Serialize, Deserialize)]
struct File<'a> {
    version: u32,
    #[serde(borrow)]
    servers: HashMap<String, Server<'a>>,
    /// A list of an older proxy has it not.
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    late: HashMap<String, String>,
    /// A list of an older proxy has it not.
    #[serde(default)]
    app: Option<Cow<'a, Remembered>>,
}

#[derive(Serialize, Deserialize)]
struct Server<'a> {
    /// Of the configuration without its secrets: another program lists other tools.
    shape: String,
    #[serde(borrow)]
    tools: Vec<Record<'a>>,
    #[serde(borrow)]
    prompts: Vec<Record<'a>>,
    #[serde(borrow)]
    resources: Vec<Record<'a>>,
    #[serde(borrow)]
    templates: Vec<Record<'a>>,
    completions: bool,
    offers_resources: bool,
    /// A list of an older proxy has it not.
    #[serde(borrow, default)]
    declared: Option<&'a RawValue>,
}

/// Key and record, borrowed both ways: listings are large.
#[derive(Serialize, Deserialize)]
struct Record<'a>(Cow<'a, str>, #[serde(borrow)] &'a RawValue);

/// What the file holds; nothing where there is none to use.
pub fn load(path: &Path) -> Stored {
    match read(path) {
        Ok(stored) => stored,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::debug!(reason = %error.kind(), "the stored catalog is not used");
            }
            Stored::default()
        }
    }
}

fn read(path: &Path) -> io::Result<Stored> {
    if fs::metadata(path)?.len() > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let text = fs::read(path)?;
    let File { version, servers, late, app } = serde_json::from_slice(&text)?;
    if version != VERSION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let servers = servers.into_iter().filter_map(|(id, server)| Some((ServerId::new(&id), server.into_kept()?))).collect();
    let late = late.into_iter().filter_map(|(id, shape)| Some((ServerId::new(&id), Fingerprint::from_hex(&shape)?))).collect();
    Ok(Stored { servers, late, app: app.map(|app| Arc::new(app.into_owned())) })
}

/// Writes the file anew, readable by its owner alone; readers see the old one or
/// the new one. Where there is nothing to keep, there is no file.
///
/// # Errors
/// What the operating system says.
pub fn save(path: &Path, stored: &Stored) -> io::Result<()> {
    let Stored { servers, late, app } = stored;
    if servers.is_empty() && late.is_empty() && app.is_none() {
        return files::remove(path);
    }
    let servers = servers.iter().map(|(id, kept)| (id.to_string(), Server::of(kept))).collect();
    let late = late.iter().map(|(id, shape)| (id.to_string(), shape.to_hex())).collect();
    let file = File { version: VERSION, servers, late, app: app.as_deref().map(Cow::Borrowed) };
    let written = files::replace(path, |writer| Ok(serde_json::to_writer(writer, &file)?));
    files::forget_old(path.parent().unwrap_or(path), PREFIX);
    written
}

impl<'a> Server<'a> {
    fn of(kept: &'a Kept) -> Self {
        let Listing { tools, prompts, resources, templates, completions, offers_resources, declared, live: _ } = &*kept.listing;
        let records = |items: &'a [Item]| items.iter().filter_map(Record::of).collect();
        Self {
            shape: kept.shape.to_hex(),
            tools: records(tools),
            prompts: records(prompts),
            resources: records(resources),
            templates: records(templates),
            completions: *completions,
            offers_resources: *offers_resources,
            declared: serde_json::from_slice(declared).ok(),
        }
    }

    fn into_kept(self) -> Option<Kept> {
        let Self { shape, tools, prompts, resources, templates, completions, offers_resources, declared } = self;
        let items = |records: Vec<Record<'_>>| records.into_iter().map(Record::into_item).collect();
        let listing = Listing {
            tools: items(tools),
            prompts: items(prompts),
            resources: items(resources),
            templates: items(templates),
            completions,
            offers_resources,
            declared: declared.map(|declared| Bytes::copy_from_slice(declared.get().as_bytes())).unwrap_or_default(),
            live: false,
        };
        Some(Kept { shape: Fingerprint::from_hex(&shape)?, listing: Arc::new(listing) })
    }
}

impl<'a> Record<'a> {
    fn of(item: &'a Item) -> Option<Self> {
        Some(Self(Cow::Borrowed(&item.key), serde_json::from_slice(&item.json).ok()?))
    }

    fn into_item(self) -> Item {
        let Self(key, json) = self;
        Item { key: key.into_owned(), json: Bytes::copy_from_slice(json.get().as_bytes()) }
    }
}

/// Where the file for these sources is. `identity` tells one set of servers from
/// another and may hold a key: only its hash is in the name.
pub fn path(cache_dir: &Path, identity: &str) -> PathBuf {
    files::path_of(cache_dir, PREFIX, identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Stored {
        let tools = vec![Item { key: "a".to_owned(), json: r#"{"name":"a", "x":1.0}"#.into() }];
        let listing = Listing { tools, completions: true, declared: r#"{"x":1.0}"#.into(), ..Listing::default() };
        let servers = [(ServerId::of_file("s"), Kept { shape: Fingerprint::of(b"shape"), listing: Arc::new(listing) })].into();
        let late = [(ServerId::of_file("t"), Fingerprint::of(b"late"))].into();
        Stored { servers, late, app: None }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = path(dir.path(), "identity");
        save(&path, &kept()).expect("the directory can be written to");
        let loaded = load(&path);
        let (old, new) = (&kept().servers[&ServerId::of_file("s")], &loaded.servers[&ServerId::of_file("s")]);
        assert_eq!((old.shape, &old.listing), (new.shape, &new.listing));
        assert_eq!(loaded.late, kept().late);
        assert_eq!(fs::read_dir(path.parent().expect("a file has a parent")).expect("readable").count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        }
        save(&path, &Stored::default()).expect("the file can be removed");
        assert!(!path.exists());
        save(&path, &Stored::default()).expect("none is fine");
    }

    /// The format of the App's part, which derives of its types must not change unnoticed: then [`VERSION`] changes, too.
    #[test]
    fn what_the_app_said_is_read_as_it_was_written() {
        let text = r#"{"version":1,"servers":{},"app":{"servers":[{"id":"u-1","name":"One","slug":"one","instructions":[{"role":"System","text":"t"}]}],"records":{"tools":[{"server":"u-1","name":"a","listed":"one__a","description":null,"input_schema":{"x": 1.0}}],"resources":[{"uri":"r","name":null,"description":null,"mime_type":"m"}],"templates":[],"prompts":[{"name":"p","description":"d","arguments":[1.0]}],"instructions":[{"name":"i","description":null,"server":"u-1"}]},"recorded":["u-1"]}}"#;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("c.json");
        fs::write(&path, text).expect("writable");
        let stored = load(&path);
        assert!(stored.app.is_some());
        save(&path, &stored).expect("writable");
        assert_eq!(fs::read_to_string(&path).expect("readable"), text);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_none() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("c.json");
        let is_none = |stored: Stored| stored.servers.is_empty() && stored.app.is_none();
        assert!(is_none(load(&path)));
        for text in [
            "",
            "{",
            "[]",
            r#"{"version":999,"servers":{}}"#,
            r#"{"version":1,"servers":{"a":{}}}"#,
            r#"{"version":1,"servers":{},"app":{}}"#,
        ] {
            fs::write(&path, text).expect("writable");
            assert!(is_none(load(&path)), "{text}");
        }
    }
}
