//! The user's credentials file, as `login` and `logout` change it. What else stands in it is kept; readers see the old file
//! or the new one. `config::file` reads it when the proxy starts.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use crate::{
    config::{
        env::says_something,
        regular::{self, Links, Unread},
    },
    secret::Secret,
    security::payload,
};

const API_KEY: &str = "api_key";
const BASE_URL: &str = "base_url";

/// Where these stand instead, in a file of the form that Claude Code's settings have. It is read in the same way.
const ENV: &str = "env";
const ENV_API_KEY: &str = crate::config::env::API_KEY;
const ENV_BASE_URL: &str = crate::config::env::API_BASE_URL;

/// The file's members. It holds keys, so that it is not printed.
pub(super) struct CredentialsFile(Map<String, Value>);

/// Why the file is left as it is.
#[derive(Debug, thiserror::Error)]
#[error("the credentials file `{}` {what}", path.display())]
pub(super) struct FileError {
    path: PathBuf,
    what: What,
}

#[derive(Debug, thiserror::Error)]
enum What {
    #[error("is a symbolic link; hint: put the file itself there, or set `XDG_CONFIG_HOME`")]
    Link,
    #[error("is no file")]
    NoFile,
    #[error("is larger than 1 MiB")]
    TooLarge,
    #[error("is not a JSON object; hint: mend it, or move it out of the way")]
    Malformed,
    #[error("cannot be read: {}", .0.kind())]
    Unreadable(io::Error),
    #[error("cannot be written: {}", .0.kind())]
    Unwritable(io::Error),
}

impl CredentialsFile {
    /// Whether a key can be stored, found out by doing everything but that.
    pub(super) fn prepare(path: &Path) -> Result<(), FileError> {
        let check = || {
            Self::read(path)?;
            let draft = Draft::new(path)?;
            drop(draft);
            Ok(())
        };
        check().map_err(|what| FileError { path: path.to_owned(), what })
    }

    /// Puts the key in the place of the one that was there, and the address of its App beside it, where it is not the usual one.
    pub(super) fn store(path: &Path, key: &Secret, base_url: Option<&str>) -> Result<(), FileError> {
        let store = || {
            let mut file = Self::read(path)?.unwrap_or(Self(Map::new()));
            let (members, api_key, base) = file.place();
            members.insert(api_key.to_owned(), key.expose_secret().into());
            match base_url {
                Some(url) => members.insert(base.to_owned(), url.into()),
                None => members.shift_remove(base),
            };
            file.write(path)
        };
        store().map_err(|what| FileError { path: path.to_owned(), what })
    }

    /// Takes the key out, wherever it stands, and the file away if nothing is left. Whether there was a key.
    pub(super) fn forget(path: &Path) -> Result<bool, FileError> {
        let forget = || {
            let Some(mut file) = Self::read(path)? else { return Ok(false) };
            // One that does not count is still a key.
            let own = file.0.shift_remove(API_KEY);
            let in_env = file.0.get_mut(ENV).and_then(Value::as_object_mut).and_then(|env| env.shift_remove(ENV_API_KEY));
            if !own.iter().chain(&in_env).any(is_key) {
                return Ok(false);
            }
            if file.0.is_empty() {
                fs::remove_file(path).map_err(What::Unwritable)?;
            } else {
                file.write(path)?;
            }
            Ok(true)
        };
        forget().map_err(|what| FileError { path: path.to_owned(), what })
    }

    /// `None` if there is no file.
    fn read(path: &Path) -> Result<Option<Self>, What> {
        // SECURITY: a link would be replaced, or lead the key to where somebody else reads it.
        let text = match regular::read(path, payload::CREDENTIALS_FILE, Links::Refused) {
            Ok(text) => text,
            Err(Unread::Failed(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(Unread::Failed(error)) => return Err(What::Unreadable(error)),
            Err(Unread::Link) => return Err(What::Link),
            Err(Unread::NoFile) => return Err(What::NoFile),
            Err(Unread::TooLarge) => return Err(What::TooLarge),
        };
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text);
        let members: Map<String, Value> = serde_json::from_slice(text).map_err(|_| What::Malformed)?;
        match members.get(ENV) {
            None | Some(Value::Object(_)) => Ok(Some(Self(members))),
            Some(_) => Err(What::Malformed),
        }
    }

    /// Where the key and its address are looked for.
    fn place(&mut self) -> (&mut Map<String, Value>, &'static str, &'static str) {
        if self.0.contains_key(ENV) {
            let env = self.0.get_mut(ENV).and_then(Value::as_object_mut).expect("it was read as an object");
            return (env, ENV_API_KEY, ENV_BASE_URL);
        }
        (&mut self.0, API_KEY, BASE_URL)
    }

    fn write(self, path: &Path) -> Result<(), What> {
        let mut text = serde_json::to_string_pretty(&self.0).expect("this is JSON");
        text.push('\n');
        Draft::new(path)?.replace(text.as_bytes()).map_err(What::Unwritable)
    }
}

/// As the proxy sees it, but for what is no text: that may be one that somebody has written wrong.
fn is_key(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => says_something(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => true,
    }
}

/// The file's folder and its mode, if others can write there: they can put another file in its place.
#[cfg(unix)]
pub(super) fn shared_folder(path: &Path) -> Option<(&Path, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path.parent()?;
    let mode = fs::metadata(folder).ok()?.permissions().mode() & 0o7777;
    (mode & 0o022 != 0).then_some((folder, mode))
}

#[cfg(not(unix))]
pub(super) fn shared_folder(_: &Path) -> Option<(&Path, u32)> {
    None
}

/// A new file beside the one that it will replace. Gone if it does not.
struct Draft<'a> {
    path: &'a Path,
    own: PathBuf,
    file: fs::File,
}

impl<'a> Draft<'a> {
    fn new(path: &'a Path) -> Result<Self, What> {
        let make = || {
            let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
            make_private_folder(folder)?;
            let own = folder.join(format!(".credentials.{}.tmp", uuid::Uuid::new_v4().simple()));
            Ok(Self { path, file: make_private_file(&own)?, own })
        };
        make().map_err(What::Unwritable)
    }

    fn replace(mut self, content: &[u8]) -> io::Result<()> {
        self.file.write_all(content)?;
        self.file.sync_all()?;
        fs::rename(&self.own, self.path)?;
        // The name, too, outlasts a power cut. Not every file system lets a folder be synchronised.
        if let Some(folder) = self.path.parent().and_then(|folder| fs::File::open(folder).ok()) {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // It may have become the file itself.
        let _ = fs::remove_file(&self.own);
    }
}

/// As it is where it is there already.
fn make_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn make_private_file(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const KEY: &str = "pg_in_0123456789012345678901234567890123456789";

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder can be made"))
        }

        fn file(&self) -> PathBuf {
            self.0.path().join("pluggedin").join("credentials.json")
        }

        fn with(text: &str) -> Self {
            let folder = Self::new();
            make_private_folder(folder.file().parent().expect("it has one")).expect("a folder can be made");
            fs::write(folder.file(), text).expect("a file can be written");
            folder
        }

        fn text(&self) -> String {
            fs::read_to_string(self.file()).unwrap_or_default()
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.file().parent().expect("it has one")).expect("it is there");
            entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned()).collect()
        }
    }

    #[test]
    fn a_key_is_stored_beside_what_was_there() {
        #[track_caller]
        #[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
        fn check(before: &str, base_url: Option<&str>, expect: Expect) {
            let folder = if before.is_empty() { Folder::new() } else { Folder::with(before) };
            CredentialsFile::store(&folder.file(), &Secret::certain(KEY), base_url).expect("it can be stored");
            expect.assert_eq(folder.text().replace(KEY, "KEY").trim_end());
            assert_eq!(folder.names(), ["credentials.json"]);
        }
        let own = Some("http://localhost:12005");
        check(
            "",
            None,
            expect![[r#"
            {
              "api_key": "KEY"
            }"#]],
        );
        check(
            "\u{feff}{\"mcp_endpoint\": \"x\", \"api_key\": \"old\", \"base_url\": \"y\", \"more\": {\"a\": [1.0]}}",
            None,
            expect![[r#"
            {
              "mcp_endpoint": "x",
              "api_key": "KEY",
              "more": {
                "a": [
                  1.0
                ]
              }
            }"#]],
        );
        check(
            "{}",
            own,
            expect![[r#"
            {
              "api_key": "KEY",
              "base_url": "http://localhost:12005"
            }"#]],
        );
        check(
            r#"{"env": {"A": "b", "PLUGGEDIN_API_BASE_URL": "y"}}"#,
            None,
            expect![[r#"
            {
              "env": {
                "A": "b",
                "PLUGGEDIN_API_KEY": "KEY"
              }
            }"#]],
        );
    }

    #[test]
    fn a_key_is_forgotten_and_nothing_else() {
        let check = |before: &str, had: bool, after: &str| {
            let folder = Folder::with(before);
            assert_eq!(CredentialsFile::forget(&folder.file()).expect("it can be written"), had, "{before}");
            let text: String = folder.text().split_whitespace().collect();
            assert_eq!(text, after, "{before}");
            assert_eq!(folder.file().exists(), !after.is_empty());
        };
        check(r#"{"api_key": "a"}"#, true, "");
        check(r#"{"api_key": "a", "base_url": "b"}"#, true, r#"{"base_url":"b"}"#);
        check(r#"{"base_url":"b"}"#, false, r#"{"base_url":"b"}"#);
        check(r#"{"env":{"PLUGGEDIN_API_KEY":"a"}}"#, true, r#"{"env":{}}"#);
        check(r#"{"api_key":"a","env":{}}"#, true, r#"{"env":{}}"#);
        check(r#"{"api_key":"a","env":{"PLUGGEDIN_API_KEY":"b","C":"d"}}"#, true, r#"{"env":{"C":"d"}}"#);
        check(r#"{"api_key":"","env":{"PLUGGEDIN_API_KEY":"b"}}"#, true, r#"{"env":{}}"#);
        check(r#"{"api_key":["a"]}"#, true, "");
        for nothing in ["''", "null", "'${PLUGGEDIN_API_KEY}'"] {
            let text = format!("{{'api_key':{nothing}}}").replace('\'', "\"");
            check(&text, false, &text);
        }
        assert!(!CredentialsFile::forget(&Folder::new().file()).expect("there is nothing to do"));
    }

    #[test]
    fn what_cannot_be_kept_is_left_alone() {
        for text in ["", "{", "[]", "\"text\"", r#"{"env": 7}"#, "\u{fffd}"] {
            let folder = Folder::with(text);
            let error = CredentialsFile::prepare(&folder.file()).expect_err(text).to_string();
            assert!(error.contains("is not a JSON object"), "{error}");
            assert!(CredentialsFile::store(&folder.file(), &Secret::certain(KEY), None).is_err());
            assert!(CredentialsFile::forget(&folder.file()).is_err());
            assert_eq!(folder.text(), text);
        }
        let folder = Folder::with(&format!("{{\"a\":\"{}\"}}", "x".repeat(payload::CREDENTIALS_FILE)));
        assert!(CredentialsFile::prepare(&folder.file()).expect_err("too large").to_string().ends_with("is larger than 1 MiB"));
        let folder = Folder::new();
        fs::create_dir_all(folder.file()).expect("a folder can be made");
        assert!(CredentialsFile::prepare(&folder.file()).expect_err("a folder").to_string().ends_with("is no file"));
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_reads_it_and_links_are_refused() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        let folder = Folder::new();
        CredentialsFile::prepare(&folder.file()).expect("it can be stored");
        assert!(folder.names().is_empty(), "{:?}", folder.names());
        CredentialsFile::store(&folder.file(), &Secret::certain(KEY), None).expect("it can be stored");
        assert_eq!((mode(&folder.file()), mode(folder.file().parent().expect("it has one"))), (0o600, 0o700));
        fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o644)).expect("it is ours");
        CredentialsFile::store(&folder.file(), &Secret::certain(KEY), None).expect("it can be stored");
        assert_eq!(mode(&folder.file()), 0o600);

        let other = Folder::with("{}");
        symlink(other.file(), folder.file().with_file_name("link.json")).expect("a link can be made");
        fs::rename(folder.file().with_file_name("link.json"), folder.file()).expect("it can be renamed");
        let error = CredentialsFile::prepare(&folder.file()).expect_err("a link").to_string();
        assert!(error.contains("is a symbolic link"), "{error}");
        assert!(CredentialsFile::store(&folder.file(), &Secret::certain(KEY), None).is_err());
        assert_eq!(other.text(), "{}");
    }
}
