//! Each revision as it is written, on every wire.

mod front;
