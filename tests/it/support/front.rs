//! The proxy as an HTTP server, and a client that writes its requests by hand, so that nothing is tidied up on the way.

use super::patience::{PATIENCE, eventually, patiently};
use super::{KEY, Proxy, lock};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Child;
use std::sync::{Arc, Mutex};

/// A proxy that listens at a port of its own.
#[derive(Debug)]
pub(crate) struct Front {
    child: Child,
    address: SocketAddr,
    stderr: Arc<Mutex<String>>,
    /// It was stopped by the test.
    ended: bool,
    /// Its home directory lives as long.
    _proxy: Proxy,
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

/// A request whose answer is not awaited yet. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Open(TcpStream);

impl Front {
    /// Starts the proxy with the options of `proxy`.
    #[track_caller]
    pub(crate) fn start(proxy: Proxy) -> Self {
        let proxy = ["--transport", "streamable-http", "--port", "0"].into_iter().fold(proxy, Proxy::arg);
        let mut child = proxy.spawn();
        let stderr = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().expect("it is piped"));
        std::thread::spawn({
            let stderr = stderr.clone();
            move || {
                for line in lines.lines().map_while(Result::ok) {
                    lock(&stderr).extend([line.as_str(), "\n"]);
                }
            }
        });
        let address = patiently(|| {
            let said = lock(&stderr);
            let (_, after) = said.split_once("serving Streamable HTTP at http://")?;
            after.split_once("/mcp")?.0.parse().ok()
        });
        let Some(address) = address else {
            let _ = child.kill();
            panic!("it does not listen; stderr:\n{}", lock(&stderr));
        };
        Self { child, address, stderr, ended: false, _proxy: proxy }
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.ask("GET", path, headers, "")
    }

    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        self.open(method, path, headers, body).reply()
    }

    /// Sends a request and leaves the answer for later.
    #[track_caller]
    pub(crate) fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Open {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is above zero");
        let fields = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat();
        let (address, length) = (self.address, body.len());
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n{body}");
        stream.write_all(request.as_bytes()).expect("it reads requests");
        Open(stream)
    }

    /// Posts one request of JSON-RPC in a session of its own, and takes JSON alone as the answer.
    #[track_caller]
    pub(crate) fn post(&self, headers: &[(&str, &str)], method: &str, params: &Value) -> Reply {
        self.open_post(headers, method, params).reply()
    }

    #[track_caller]
    pub(crate) fn open_post(&self, headers: &[(&str, &str)], method: &str, params: &Value) -> Open {
        let plain = [("Content-Type", "application/json"), ("Accept", "application/json")];
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.open("POST", "/mcp", &[headers, &plain].concat(), &message.to_string())
    }

    /// Calls a tool and returns the whole answer.
    #[track_caller]
    pub(crate) fn call(&self, headers: &[(&str, &str)], tool: &str) -> Value {
        self.post(headers, "tools/call", &json!({"name": tool})).json()
    }

    /// Sends a signal by its name as `kill` knows it.
    #[cfg(unix)]
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        super::process::signal(self.child.id(), name);
    }

    /// Waits for the end and gives the exit code.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.ended = true;
        eventually("the proxy ends", || self.child.try_wait().expect("it is ours")).code()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let stderr = lock(&self.stderr);
        if std::thread::panicking() {
            eprintln!("stderr of the proxy:\n{stderr}");
        } else {
            assert!(!stderr.contains(KEY), "the key is on stderr");
        }
    }
}

impl Open {
    #[track_caller]
    pub(crate) fn reply(mut self) -> Reply {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).expect("it answers and closes the connection");
        let text = String::from_utf8(bytes).expect("answers are UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("there is a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("there is a status");
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "its length is known: {head}");
        assert!(!text.contains(KEY), "the key is in an answer");
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }
}

impl Reply {
    /// A field of the head; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}
