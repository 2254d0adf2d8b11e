//! What scenarios are built from: servers to talk to, a stand-in for the App, the proxy itself and its client.

#![allow(clippy::needless_pass_by_value, reason = "`call(tool, json!({..}))` reads better than with a borrow in front of every value")]
#![allow(clippy::disallowed_methods, clippy::print_stderr, reason = "tests start processes, read their environment, and explain failures")]

pub(crate) mod app;
pub(crate) mod client;
pub(crate) mod http;
pub(crate) mod modern;
pub(crate) mod patience;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod relay;
pub(crate) mod server;
pub(crate) mod stderr;
pub(crate) mod tls;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use app::{Answer, App, Workspace};
pub(crate) use client::{Client, List};
pub(crate) use http::Front;
pub(crate) use patience::{eventually, stays};
pub(crate) use proxy::{Home, Proxy};
pub(crate) use server::{Kind, Server, file_of};

/// The key that the App accepts. It must never be seen in anything that the proxy prints.
pub(crate) const KEY: &str = "pg_in_7Kq2Xw9LmB4vTz6RnY8cJd1HsF3gPa5EuQ0oWiNtCxZbVkMjUyGrDeSfAhLpOlIq";

/// A lock that a panic elsewhere does not spoil.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a test of a body for every way in which a server can be reached: `body::over_stdio` and so on.
macro_rules! over_each_wire {
    ($($body:ident),+ $(,)?) => {$(
        mod $body {
            use crate::support::Kind;

            #[test]
            fn over_stdio() {
                super::$body(Kind::Stdio);
            }

            #[test]
            fn over_streamable_http() {
                super::$body(Kind::Http);
            }

            #[test]
            fn over_streamable_http_with_json_answers() {
                super::$body(Kind::HttpJson);
            }

            #[test]
            fn over_http_and_sse() {
                super::$body(Kind::Sse);
            }
        }
    )+};
}
pub(crate) use over_each_wire;
