//! Lines out of a byte stream, many from one read, without a copy of each.

use std::io::{self, Read};

#[derive(Debug)]
pub(crate) struct Lines<R> {
    from: R,
    buffer: Vec<u8>,
    /// What is read and not yet given out lies between these.
    start: usize,
    end: usize,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, buffer: vec![0; 1 << 17], start: 0, end: 0 }
    }

    /// The next line without its end, or nothing at the end of input.
    pub(crate) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let mut scanned = 0;
        loop {
            let unread = &self.buffer[self.start + scanned..self.end];
            if let Some(at) = memchr::memchr(b'\n', unread) {
                let line = self.start..self.start + scanned + at;
                self.start = line.end + 1;
                return Ok(Some(&self.buffer[line]));
            }
            scanned = self.end - self.start;
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Whether `next` has a line without reading.
    pub(crate) fn ready(&self) -> bool {
        memchr::memchr(b'\n', &self.buffer[self.start..self.end]).is_some()
    }

    fn fill(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.end, 0);
        }
        let read = self.from.read(&mut self.buffer[self.end..])?;
        self.end += read;
        Ok(read)
    }
}
