//! Names: what clients accept, how a server's names become ours, and the
//! matching of URI templates. Lookup is by map, never by splitting a name.

use sha2::{Digest, Sha256};

pub mod template;

/// Between a server's slug and its tool's name, as the App writes it.
pub const SEPARATOR: &str = "__";

/// `prefix__name` in the letters that every client takes, `^[A-Za-z0-9_-]{1,max}$`.
/// What is too long is cut and ends in a hash of `identity`, so that the name is the
/// same after every start.
pub fn exposed(prefix: Option<&str>, name: &str, identity: &str, max: usize) -> String {
    let joined = match prefix {
        Some(prefix) => format!("{prefix}{SEPARATOR}{name}"),
        None => name.to_owned(),
    };
    let mut clean: String = joined.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect();
    if clean.is_empty() {
        clean.push('_');
    }
    if clean.len() <= max { clean } else { with_hash(&clean, identity, max) }
}

/// `name`, cut so that `_` and six hexadecimal digits of `identity`'s hash fit.
pub fn with_hash(name: &str, identity: &str, max: usize) -> String {
    let digest = Sha256::digest(identity);
    let hash = u32::from_be_bytes([0, digest[0], digest[1], digest[2]]);
    let keep = max.saturating_sub("_012345".len()).min(name.len());
    format!("{}_{hash:06x}", &name[..keep])
}

/// A slug as the App makes it: lower-case letters, digits and single hyphens,
/// at most 50 characters, `server` when nothing is left.
pub fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for c in name.to_ascii_lowercase().chars() {
        let c = if c.is_ascii_alphanumeric() { c } else { '-' };
        if c != '-' || !(slug.is_empty() || slug.ends_with('-')) {
            slug.push(c);
        }
    }
    slug.truncate(50);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "server".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_the_letters_that_clients_take() {
        #[track_caller]
        fn check(prefix: Option<&str>, name: &str, max: usize, expect: &str) {
            let name = exposed(prefix, name, "id", max);
            assert_eq!(name, expect);
            assert!(name.len() <= max && !name.is_empty());
        }
        check(Some("git"), "status", 60, "git__status");
        check(None, "status", 60, "status");
        check(Some("a"), "files/read.all", 60, "a__files_read_all");
        check(Some("a"), "größe", 60, "a__gr__e");
        check(None, "", 60, "_");
        check(Some("server"), "a-very-long-tool-name", 20, "server__a-ver_a56145");
    }

    #[test]
    fn slugs_are_those_of_the_app() {
        for (name, expect) in [("My Server", "my-server"), ("  --x--  y ", "x-y"), ("日本", "server"), ("a_b.c", "a-b-c"), ("", "server")]
        {
            assert_eq!(slug(name), expect, "{name:?}");
        }
        assert_eq!(slug(&"ab ".repeat(40)).len(), 50);
    }
}
