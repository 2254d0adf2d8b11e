//! Servers and clients of different revisions of the protocol behind and before one proxy.

mod downstream; // servers: how they are found out, and what they hear
mod front; // clients: what they get on both fronts
