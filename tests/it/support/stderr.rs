//! What a process says on stderr, read as it comes so that nothing blocks it.

use super::lock;
use std::io::{BufRead, BufReader};
use std::process::ChildStderr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

#[derive(Debug)]
pub(crate) struct Stderr {
    text: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Stderr {
    pub(crate) fn of(stderr: ChildStderr) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(stderr);
        let heard = text.clone();
        let reader = std::thread::spawn(move || {
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                lock(&heard).push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { text, reader }
    }

    pub(crate) fn text(&self) -> String {
        lock(&self.text).clone()
    }

    /// Whether everything was read.
    pub(crate) fn has_ended(&self) -> bool {
        self.reader.is_finished()
    }
}
