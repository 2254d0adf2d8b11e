//! What the process tells its operator.

pub mod logging;
pub mod metrics;
