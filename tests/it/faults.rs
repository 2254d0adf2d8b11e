//! Servers and an App that are dead, slow, rude or forgetful: the others do not notice, and whoever recovers is used again.
//!
//! Most of it is data: a [`scenario`] says what goes wrong, what the affected call is answered and when, and how soon the next one
//! works. One body runs each of them, on both fronts, beside servers and a session that must not notice anything.

mod answers; // answers that are none, and what is no message
mod app; // an App that fails
mod bystanders; // those who must not notice
mod caller; // a client that several threads may use
#[cfg(target_os = "linux")]
mod descriptors; // a proxy that has none left
mod http; // what HTTP servers answer that is no answer, connections, sessions
mod process; // servers that end, freeze or leave somebody behind
mod recovery; // servers that come and go
mod repeats; // what is called a second time, and what is not
mod scenario; // what a scenario is, and the body of all
mod slow; // servers that hang or take their time
mod soak; // thousands of calls among faults, and a long time with them
mod sse; // the one stream of HTTP+SSE
mod stdio_text; // what servers write that is no message, or not the right one
mod tls; // certificates that are no good, and handshakes that fail
