//! Where HTTP clients would reach the proxy: whether it is free, and who is there.

use super::report::{Check, Group, Status};
use crate::{app::health, config::Listens, front::http};

pub(super) async fn check(listens: &Listens) -> Check {
    let Listens { host, port, health, is_used } = listens;
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let Some(health) = health else { return Check::ok(Group::Port, &address, "any port that is free will do") };
    let error = match http::bind(host, *port).await {
        Ok(listener) => {
            drop(listener);
            return Check::ok(Group::Port, &address, "it is free");
        }
        Err(error) => error,
    };
    if error.kind() != std::io::ErrorKind::AddrInUse {
        let sentence = format!("it cannot be listened at: {}", error.kind());
        return judged(*is_used, &address, &sentence).hint("check `--host` and `--port`; ports below 1024 may need rights");
    }
    match health::version(health).await {
        Some(version) => {
            let sentence = format!("it is in use by a pluggedin-mcp-proxy ({version}) that runs already");
            let status = if *is_used { Status::Warn } else { Status::Ok };
            Check::new(Group::Port, &address, status, &sentence).hint("use that one, end it, or choose another `--port`")
        }
        None => judged(*is_used, &address, "it is in use by another program").hint("end that program, or choose another `--port`"),
    }
}

/// Over stdio nobody listens.
fn judged(is_used: bool, address: &str, sentence: &str) -> Check {
    if is_used {
        return Check::fail(Group::Port, address, sentence);
    }
    Check::ok(Group::Port, address, format!("{sentence}; that matters with `--transport streamable-http` only"))
}
