//! The proxy's own files: small, private, written anew as a whole. What stands in them is their owners' business.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::protocol::server::Fingerprint;

/// A file that was not written for so long belongs to nobody.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Writes a file anew, readable by its owner alone; readers see the old one or the new one.
///
/// # Errors
/// What the operating system says.
pub fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<fs::File>) -> io::Result<()>) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(dir)?;
    let new = dir.join(format!(".{}.tmp", uuid::Uuid::new_v4()));
    let written = create_private(&new).and_then(|file| {
        let mut writer = BufWriter::new(file);
        write(&mut writer)?;
        writer.flush()?;
        fs::rename(&new, path)
    });
    if written.is_err() {
        // It may never have come to be.
        let _ = fs::remove_file(&new);
    }
    written
}

/// Removes a file, if it is there.
///
/// # Errors
/// What the operating system says.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Every set of sources has a file of its own, so that old ones would pile up.
pub fn forget_old(dir: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(prefix);
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|written| written.elapsed().ok());
        if ours && age.is_some_and(|age| age > FORGOTTEN_AFTER) {
            // Another proxy may have been quicker.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn create_private(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

/// Where the proxy keeps a file of this name.
pub fn path(base_dir: &Path, name: &str) -> PathBuf {
    base_dir.join("pluggedin-mcp-proxy").join(name)
}

/// Where the file of this set of servers is. `identity` tells it from every other and may hold a key: only its hash is in the name.
pub fn path_of(base_dir: &Path, prefix: &str, identity: &str) -> PathBuf {
    let hash = Fingerprint::of(identity.as_bytes()).to_hex();
    path(base_dir, &format!("{prefix}{}.json", &hash[..32]))
}
