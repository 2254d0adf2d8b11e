//! The sessions of all clients, by their ids.

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Config {
    /// A session that is unused for this long ends.
    pub timeout: Duration,
    /// Sessions at once. A new one takes the place of the one that is unused for the longest time.
    pub max: usize,
}
