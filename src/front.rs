//! The faces to clients. Which server answers is none of their business.

mod announced;
mod asked;
mod batch;
pub mod http;
mod listen;
mod modern;
mod offer;
mod rescue;
pub mod session;
pub mod stdio;
