//! The scripted server as a program: `scripted-server --name alpha --tools 30`.
//!
//! Cargo builds it as an example, beside the tests that start it.

mod scripted;

use clap::Parser;

fn main() -> std::io::Result<()> {
    scripted::run(scripted::Script::parse())
}
