//! Where people's own programs lie that a client started from the desktop does not find: its `PATH` is the system's, while shells add
//! to theirs. Pure but for looking into directories.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Below the home directory, with who puts programs there. A `*` is a version; the newest counts.
const OF_HOME: [(&str, &str); 15] = [
    ("nvm", ".nvm/versions/node/*/bin"),
    ("fnm", ".local/share/fnm/node-versions/*/installation/bin"),
    ("fnm", ".fnm/node-versions/*/installation/bin"),
    ("fnm", "Library/Application Support/fnm/node-versions/*/installation/bin"),
    ("Volta", ".volta/bin"),
    ("asdf", ".asdf/shims"),
    ("mise", ".local/share/mise/shims"),
    ("n", "n/bin"),
    ("Bun", ".bun/bin"),
    ("pyenv", ".pyenv/shims"),
    ("Homebrew", ".linuxbrew/bin"),
    ("Cargo", ".cargo/bin"),
    ("pip, pipx or uv", ".local/bin"),
    ("npm", ".npm-global/bin"),
    ("you", "bin"),
];

/// Of the machine.
const OF_SYSTEM: [(&str, &str); 5] = [
    ("Homebrew", "/opt/homebrew/bin"),
    ("Homebrew", "/home/linuxbrew/.linuxbrew/bin"),
    ("the machine's administrator", "/usr/local/bin"),
    ("Snap", "/snap/bin"),
    ("Node", "C:\\Program Files\\nodejs"),
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Who puts programs there.
    pub(super) owner: &'static str,
    pub(super) dir: PathBuf,
}

/// Every directory of these that is there, the likeliest first.
pub(super) fn all(home: Option<&Path>) -> Vec<Place> {
    let of_home = OF_HOME.iter().flat_map(|(owner, pattern)| home.into_iter().flat_map(|home| of_pattern(home, owner, pattern)));
    let of_system = OF_SYSTEM.iter().map(|(owner, dir)| Place { owner, dir: dir.into() }).filter(|place| place.dir.is_dir());
    of_home.chain(of_system).collect()
}

/// Who has put a program of this directory there, if it is one that a shell has to add to `PATH`.
pub(super) fn owner(dir: &Path, home: Option<&Path>) -> Option<&'static str> {
    let known = all(home).into_iter().find(|place| place.dir == dir).map(|place| place.owner);
    let of_shell = home.is_some_and(|home| dir.starts_with(home)) || dir.starts_with("/opt/homebrew") || dir.starts_with("/home/linuxbrew");
    of_shell.then(|| known.unwrap_or("your shell"))
}

fn of_pattern(home: &Path, owner: &'static str, pattern: &str) -> Vec<Place> {
    let Some((before, after)) = pattern.split_once("/*/") else {
        let dir = home.join(pattern);
        return dir.is_dir().then_some(Place { owner, dir }).into_iter().collect();
    };
    let entries = fs::read_dir(home.join(before)).into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    versions.sort_by_key(|dir| std::cmp::Reverse(numbers(&dir.file_name().unwrap_or_default().to_string_lossy())));
    versions.into_iter().map(|dir| Place { owner, dir: dir.join(after) }).filter(|place| place.dir.is_dir()).collect()
}

/// `v20.11.1` is newer than `v9.9.9`.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_managers_are_found_and_the_newest_comes_first() {
        let home = tempfile::tempdir().expect("a folder");
        let home = home.path();
        let dirs = [
            ".local/bin",
            ".nvm/versions/node/v9.11.2/bin",
            ".nvm/versions/node/v20.3.0/bin",
            ".nvm/versions/node/broken",
            ".local/share/fnm/node-versions/v18.0.0/installation/bin",
            ".volta/bin",
            ".other/bin",
        ];
        for dir in dirs {
            fs::create_dir_all(home.join(dir)).expect("it can be made");
        }
        let found = all(Some(home)).into_iter().filter(|place| place.dir.starts_with(home));
        let found: Vec<_> = found.map(|place| (place.owner, place.dir.strip_prefix(home).expect("it is").display().to_string())).collect();
        let expect = [
            ("nvm", ".nvm/versions/node/v20.3.0/bin"),
            ("nvm", ".nvm/versions/node/v9.11.2/bin"),
            ("fnm", ".local/share/fnm/node-versions/v18.0.0/installation/bin"),
            ("Volta", ".volta/bin"),
            ("pip, pipx or uv", ".local/bin"),
        ];
        assert_eq!(found, expect.map(|(owner, dir)| (owner, dir.to_owned())));
        for (dir, expect) in
            [(home.join(".volta/bin"), Some("Volta")), (home.join(".other/bin"), Some("your shell")), (PathBuf::from("/usr/bin"), None)]
        {
            assert_eq!(owner(&dir, Some(home)), expect, "{}", dir.display());
        }
        assert!(all(None).iter().all(|place| !place.dir.starts_with(home)));
    }
}
