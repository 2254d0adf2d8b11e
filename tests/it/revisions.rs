//! Servers and clients of different revisions of the protocol behind and before one proxy.

mod downstream; // servers: how they are found out, and what they hear
mod extensions; // what nobody here knows passes through
mod front; // clients of 2026-07-28, on both fronts
mod lossless; // nothing is written anew, text for text
mod matrix; // the same scenarios over each front, client, wire and server
mod peer; // a client of any revision, on any front
mod rounds; // what servers ask: while the call runs, or by its results
mod together; // two clients at one server
