//! Servers and clients of different revisions of the protocol behind and before one proxy.

mod rounds; // what servers ask: while the call runs, or by its results
