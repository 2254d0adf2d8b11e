//! A wire between the proxy and a server of an HTTP kind, which can be cut, stopped and garbled.

use super::lock;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use url::Url;

/// What the wire does with what goes towards the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Line {
    #[default]
    Open,
    /// Takes it and hands nothing on, in either direction.
    Silent,
    /// Ends new connections without having read them, which resets them.
    Reset,
    /// Ends the connection with no word.
    Closed,
    /// Answers itself.
    Says(&'static [u8]),
}

#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    line: Line,
    ended: bool,
    /// Both ends of each connection.
    open: Vec<TcpStream>,
}

impl Relay {
    /// To the server with this URL.
    pub(crate) fn to(url: &str) -> Self {
        let url = Url::parse(url).expect("a URL");
        let server = url.socket_addrs(|| None).expect("an address")[0];
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared { server, state: Mutex::default() });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if lock(&accepting.state).ended {
                    return;
                }
                let shared = accepting.clone();
                std::thread::spawn(move || shared.serve(&stream));
            }
        });
        Self { address, shared }
    }

    /// A URL of the server, by way of this wire.
    pub(crate) fn url_of(&self, url: &str) -> String {
        let mut url = Url::parse(url).expect("a URL");
        url.set_port(Some(self.address.port())).expect("it has a host");
        url.to_string()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:1234`
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn is(&self, line: Line) {
        lock(&self.shared.state).line = line;
    }

    /// Ends every connection of now.
    pub(crate) fn cut(&self) {
        for stream in lock(&self.shared.state).open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        lock(&self.shared.state).ended = true;
        self.cut();
        // So that the listener looks up.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn line(&self) -> Line {
        lock(&self.state).line
    }

    fn serve(self: Arc<Self>, client: &TcpStream) {
        // Until there is something, it is not known what becomes of it.
        if client.peek(&mut [0]).unwrap_or(0) == 0 {
            return;
        }
        if self.line() == Line::Reset {
            // What was not read makes it a reset.
            return;
        }
        let Ok(server) = TcpStream::connect(self.server) else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let both = || Some((client.try_clone().ok()?, server.try_clone().ok()?));
        let (Some((mut from, mut to)), Some((kept_client, kept_server))) = (both(), both()) else { return };
        lock(&self.state).open.extend([kept_client, kept_server]);
        let back = self.clone();
        let answers = both();
        std::thread::spawn(move || {
            let Some((mut to, mut from)) = answers else { return };
            back.copy(&mut from, &mut to, false);
            let _ = to.shutdown(Shutdown::Both);
        });
        self.copy(&mut from, &mut to, true);
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }

    fn copy(&self, from: &mut TcpStream, to: &mut TcpStream, towards_server: bool) {
        let mut piece = [0; 16 * 1024];
        loop {
            let Ok(length @ 1..) = from.read(&mut piece) else { return };
            match self.line() {
                Line::Open => {
                    if to.write_all(&piece[..length]).is_err() {
                        return;
                    }
                }
                Line::Silent => {}
                Line::Reset | Line::Closed => return,
                Line::Says(words) => {
                    let _ = if towards_server { from.write_all(words) } else { Ok(()) };
                    return;
                }
            }
        }
    }
}
