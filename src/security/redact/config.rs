//! The secrets that stand in a server's address and command line, where no name sets them apart.

use url::Url;

use crate::secret::{Secret, tells_of_secret};

/// A path's segment of this length with letters and digits is a key, not a word.
const LONG_SEGMENT: usize = 20;

/// User name, password, the query's values, and long segments of the path: some services put the key there.
/// They are known as secrets for as long as the result is held.
pub fn secrets_of_url(text: &str) -> Vec<Secret> {
    let Ok(url) = Url::parse(text.trim()) else {
        // Refused elsewhere; what is wrong with it may be what is in it.
        return vec![Secret::from(text)];
    };
    let userinfo = [Some(url.username()), url.password()].into_iter().flatten().filter(|part| !part.is_empty());
    let mut secrets: Vec<Secret> = userinfo.map(Secret::certain).collect();
    for pair in url.query().unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        secrets.push(Secret::named(name, value));
    }
    let segments = url.path_segments().into_iter().flatten().filter(|segment| is_key(segment));
    secrets.extend(segments.map(Secret::certain));
    secrets
}

/// The values of options whose names say that they are secrets, as `--token x` and `--token=x`, and values set for
/// variables. URLs and headers among the arguments are searched for what looks like a secret.
/// They are known as secrets for as long as the result is held.
pub fn secrets_of_args(args: &[String]) -> Vec<Secret> {
    let mut secrets = Vec::new();
    let mut before = "";
    for arg in args {
        if before.starts_with('-') && !arg.starts_with('-') && tells_of_secret(before) {
            secrets.push(Secret::certain(arg.as_str()));
        } else if let Some((name, value)) = arg.split_once(['=', ':']).filter(|(name, _)| tells_of_secret(name)) {
            secrets.push(Secret::named(name, value.trim_start()));
        } else if arg.contains("://") {
            secrets.extend(
                arg.split_once("://").map(|(_, rest)| rest).filter(|rest| rest.contains(['@', '?'])).map(|_| Secret::from(arg.as_str())),
            );
        }
        before = arg;
    }
    secrets
}

fn is_key(segment: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| segment.bytes().any(|byte| kind(&byte));
    segment.len() >= LONG_SEGMENT && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn texts(secrets: &[Secret]) -> Vec<&str> {
        secrets.iter().map(ExposeSecret::expose_secret).filter(|text| !text.is_empty()).collect()
    }

    #[test]
    fn addresses_hold_secrets() {
        let secrets = secrets_of_url("https://user:p%40ss@h.example/api/mcp/s/ZGVhZGJlZWYtMTIzNDU2Nzg5MA/mcp?key=abc&plain=words+and");
        assert_eq!(texts(&secrets), ["user", "p%40ss", "abc", "words+and", "ZGVhZGJlZWYtMTIzNDU2Nzg5MA"]);
        assert_eq!(texts(&secrets_of_url("https://h.example/mcp")), Vec::<&str>::new());
    }

    #[test]
    fn arguments_hold_secrets() {
        let args = [
            "-y",
            "pkg@1",
            "--token",
            "s3cr3t",
            "--api-key=k3y",
            "--header",
            "Authorization: Bearer t0k3n",
            "--port",
            "80",
            "postgres://u:p@h/d",
        ];
        let secrets = secrets_of_args(&args.map(str::to_owned));
        assert_eq!(texts(&secrets), ["s3cr3t", "k3y", "Bearer t0k3n", "postgres://u:p@h/d"]);
    }
}
