//! The last good listings on disk, so that a client has its tools at once while the
//! servers still start. Holds what servers say of themselves, no configuration and no
//! secret. A file that is broken or of another version counts as none.

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

use super::build::Listing;
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

/// Each server's listing of the last run.
pub type Stored = HashMap<ServerId, Kept>;

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
        Ok(servers) => servers,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::debug!(reason = %error.kind(), "the stored catalog is not used");
            }
            HashMap::new()
        }
    }
}

fn read(path: &Path) -> io::Result<HashMap<ServerId, Kept>> {
    if fs::metadata(path)?.len() > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let text = fs::read(path)?;
    let File { version, servers } = serde_json::from_slice(&text)?;
    if version != VERSION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(servers.into_iter().filter_map(|(id, server)| Some((ServerId::new(&id), server.into_kept()?))).collect())
}

/// Writes the file anew, readable by its owner alone; readers see the old one or
/// the new one.
///
/// # Errors
/// What the operating system says.
pub fn save(path: &Path, servers: &Stored) -> io::Result<()> {
    let servers = servers.iter().map(|(id, kept)| (id.to_string(), Server::of(kept))).collect();
    let file = File { version: VERSION, servers };
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

    fn kept() -> HashMap<ServerId, Kept> {
        let tools = vec![Item { key: "a".to_owned(), json: r#"{"name":"a", "x":1.0}"#.into() }];
        let listing = Listing { tools, completions: true, declared: r#"{"x":1.0}"#.into(), ..Listing::default() };
        [(ServerId::of_file("s"), Kept { shape: Fingerprint::of(b"shape"), listing: Arc::new(listing) })].into()
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = path(dir.path(), "identity");
        save(&path, &kept()).expect("the directory can be written to");
        let loaded = load(&path);
        let (old, new) = (&kept()[&ServerId::of_file("s")], &loaded[&ServerId::of_file("s")]);
        assert_eq!((old.shape, &old.listing), (new.shape, &new.listing));
        assert_eq!(fs::read_dir(path.parent().expect("a file has a parent")).expect("readable").count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_none() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("c.json");
        assert!(load(&path).is_empty());
        for text in ["", "{", "[]", r#"{"version":999,"servers":{}}"#, r#"{"version":1,"servers":{"a":{}}}"#] {
            fs::write(&path, text).expect("writable");
            assert!(load(&path).is_empty(), "{text}");
        }
    }
}
