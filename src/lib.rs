//! x
pub mod app;
pub mod builtin;
pub mod catalog;
pub mod config;
pub mod downstream;
pub mod front;
pub mod protocol;
pub mod router;
pub mod security;
pub mod shutdown;
pub mod source;
pub mod telemetry;
