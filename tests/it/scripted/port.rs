//! A port that stays ours while nobody listens on it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;

/// Other tests get other ports, even while the server behind this one is away.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    /// Bound and not listening, so that connections are refused and the system gives the port to nobody.
    _reserved: Option<TcpSocket>,
}

impl Port {
    /// This port of the loopback interface, or any if it is 0.
    pub(crate) fn reserve(port: u16) -> Self {
        let reserved = bind(SocketAddr::from(([127, 0, 0, 1], port)));
        let address = reserved.local_addr().expect("it is bound");
        // Elsewhere two sockets cannot be bound to one port, and a little luck is needed.
        let reserved = cfg!(target_os = "linux").then_some(reserved);
        Self { address, _reserved: reserved }
    }

    pub(crate) fn listen(&self, runtime: &Runtime) -> TcpListener {
        let _entered = runtime.enter();
        bind(self.address).listen(1024).expect("nobody else listens there")
    }
}

fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket.set_reuseaddr(true).expect("it is a TCP socket");
    // The server that was here before may not have let go of it yet.
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = socket.bind(address) {
        let is_taken = error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline;
        assert!(is_taken, "a port of this machine is free: {error}");
        std::thread::sleep(Duration::from_millis(10));
    }
    socket
}
