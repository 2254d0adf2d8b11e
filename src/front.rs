//! The faces to clients. Which server answers is none of their business.

pub mod announced;
pub mod asked;
pub mod http;
mod rescue;
pub mod session;
pub mod stdio;
