//! What the process tells its operator.

mod clean;
pub mod logging;
pub mod metrics;
