//! Reads a file that is one. A pipe or a device in its place would keep whoever opens or reads it, for ever; one may have
//! come with a project of others.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    Followed,
    Refused,
}

#[derive(Debug)]
pub(crate) enum Unread {
    /// Only where links are refused.
    Link,
    NoFile,
    TooLarge,
    Failed(io::Error),
}

/// The content, of `most` bytes.
pub(crate) fn read(path: &Path, most: usize, links: Links) -> Result<Vec<u8>, Unread> {
    let metadata = match links {
        Links::Followed => fs::metadata(path),
        Links::Refused => fs::symlink_metadata(path),
    };
    let kind = metadata.map_err(Unread::Failed)?.file_type();
    if kind.is_symlink() {
        return Err(Unread::Link);
    }
    // Devices are not even opened: that may do something.
    if !kind.is_file() {
        return Err(Unread::NoFile);
    }
    read_now(path, most, links)
}

/// SECURITY: something else may stand there by now, so what was opened is looked at again.
fn read_now(path: &Path, most: usize, links: Links) -> Result<Vec<u8>, Unread> {
    let file = open(path, links)?;
    if !file.metadata().map_err(Unread::Failed)?.is_file() {
        return Err(Unread::NoFile);
    }
    let mut content = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut content).map_err(Unread::Failed)?;
    if content.len() > most { Err(Unread::TooLarge) } else { Ok(content) }
}

/// Waits for nobody at the other end of a pipe.
#[cfg(unix)]
fn open(path: &Path, links: Links) -> Result<fs::File, Unread> {
    use std::os::unix::fs::OpenOptionsExt;

    use nix::{errno::Errno, fcntl::OFlag};

    let no_links = match links {
        Links::Followed => OFlag::empty(),
        Links::Refused => OFlag::O_NOFOLLOW,
    };
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | no_links;
    fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(|error| {
        match error.raw_os_error().map(Errno::from_raw) {
            // FreeBSD says the second.
            Some(Errno::ELOOP | Errno::EMLINK) if links == Links::Refused => Unread::Link,
            _ => Unread::Failed(error),
        }
    })
}

/// Pipes have names of their own there, and links are for those who administer the machine.
#[cfg(not(unix))]
fn open(path: &Path, _: Links) -> Result<fs::File, Unread> {
    fs::File::open(path).map_err(Unread::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let read_up_to = |most| read(&path, most, Links::Refused);
        assert!(matches!(read_up_to(4), Err(Unread::Failed(error)) if error.kind() == io::ErrorKind::NotFound));
        fs::write(&path, "text").expect("written");
        assert_eq!(read_up_to(4).expect("it fits"), b"text");
        assert!(matches!(read_up_to(3), Err(Unread::TooLarge)));
        assert!(matches!(read(folder.path(), 4, Links::Followed), Err(Unread::NoFile)));
    }

    #[cfg(unix)]
    #[test]
    fn what_takes_the_place_of_a_file_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe can be made");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).expect("made");
        for links in [Links::Followed, Links::Refused] {
            assert!(matches!(read(&pipe, 4, links), Err(Unread::NoFile)));
            assert!(matches!(read_now(&pipe, 4, links), Err(Unread::NoFile)));
        }
        for read in [read, read_now] {
            assert!(matches!(read(&link, 4, Links::Followed), Err(Unread::NoFile)));
            assert!(matches!(read(&link, 4, Links::Refused), Err(Unread::Link)));
        }
        assert!(matches!(read_now(Path::new("/dev/null"), 4, Links::Refused), Err(Unread::NoFile)));
    }
}
