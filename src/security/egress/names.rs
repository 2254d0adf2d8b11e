//! Which names and ports are refused before anybody is asked where they lead.

/// Names of services where clouds hand out credentials.
const METADATA: [&str; 5] = ["metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"];

/// Names below these never leave a local network; for telling whose eyes plain HTTP has to fear, not for allowing.
const LOCAL: [&str; 7] = [".localhost", ".local", ".internal", ".lan", ".home", ".home.arpa", ".test"];

/// The ports of the Node proxy's list that the other one has not.
const SERVICES: [u16; 6] = [1433, 1521, 3306, 5432, 6379, 27017];

/// "Bad ports" of the Fetch standard: other protocols listen there, and an HTTP request may mean something to them.
const BAD: [u16; 83] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110, 111, 113, 115,
    117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601,
    636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697,
    10080,
];

/// Takes names in lower case, as the URL parser gives them.
pub(super) fn is_metadata(name: &str) -> bool {
    METADATA.contains(&name.trim_end_matches('.'))
}

pub(super) fn is_localhost(name: &str) -> bool {
    let name = without_root(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// `intranet`: what it means is the local network's to say.
pub(super) fn is_single_label(name: &str) -> bool {
    !without_root(name).contains('.')
}

pub(super) fn has_empty_label(name: &str) -> bool {
    without_root(name).split('.').any(str::is_empty)
}

pub(super) fn is_local(name: &str) -> bool {
    let name = without_root(name);
    is_single_label(name) || LOCAL.iter().any(|suffix| name.ends_with(suffix))
}

pub(super) fn is_bad_port(port: u16) -> bool {
    BAD.contains(&port) || SERVICES.contains(&port)
}

/// One dot at the end means that the name is complete, and is no part of it.
fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["localhost", "localhost.", "a.localhost", "a.b.localhost."] {
            assert!(is_localhost(name), "{name}");
        }
        for name in ["localhosts", "mylocalhost", "localhost.example.com", "example.com"] {
            assert!(!is_localhost(name), "{name}");
        }
        for name in ["intranet", "intranet.", "localhost"] {
            assert!(is_single_label(name), "{name}");
        }
        assert!(!is_single_label("a.b") && !is_single_label("a.b."));
        assert!(has_empty_label("a..b") && has_empty_label("a.b..") && has_empty_label(".") && !has_empty_label("a.b."));
        assert!(is_metadata("metadata.google.internal.") && is_metadata("metadata") && !is_metadata("metadata.example.com"));
    }

    /// Each port with its neighbours, so that a slip in the list is seen.
    #[test]
    fn ports() {
        for port in [22, 23, 25, 53, 110, 143, 993, 995, 1433, 1521, 3306, 5432, 6379, 27017, 0, 1, 6665, 6669, 10080] {
            assert!(is_bad_port(port), "{port}");
        }
        let free = [
            2, 24, 26, 52, 54, 80, 81, 108, 142, 144, 443, 992, 994, 996, 1432, 1434, 1520, 1522, 3000, 3305, 3307, 5431, 5433, 6378, 6380,
            6664, 6670, 8080, 8443, 10079, 10081, 12005, 27016, 27018, 65535,
        ];
        for port in free {
            assert!(!is_bad_port(port), "{port}");
        }
        assert_eq!((0..=u16::MAX).filter(|port| is_bad_port(*port)).count(), BAD.len() + SERVICES.len());
    }
}
