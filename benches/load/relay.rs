//! The least that any process in the middle costs: it moves bytes and reads none of them.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::http::{self, Connection};
use crate::lines::Lines;

/// Between the standard streams and those of a child.
pub(crate) fn stdio(command: &[String]) -> Result<()> {
    let (program, args) = command.split_first().context("a relay needs a command")?;
    let mut child = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let to = child.stdin.take().context("piped")?;
    let from = child.stdout.take().context("piped")?;
    thread::spawn(move || pump(io::stdin().lock(), to));
    pump(from, io::stdout().lock())?;
    child.wait()?;
    Ok(())
}

/// Between the standard streams and an HTTP server: a line is posted, the body of the answer is moved as it arrives.
pub(crate) fn http(url: &str) -> Result<()> {
    let (host, path) = http::split(url)?;
    let mut out = io::stdout().lock();
    let mut connection = Connection::open(host)?;
    let mut lines = Lines::new(io::stdin().lock());
    if path.starts_with("/legacy") {
        let mut events = Connection::open(host)?.listen(path)?;
        let mut endpoint = Vec::new();
        ensure!(http::copy_event(&mut events, &mut endpoint)?, "no endpoint event");
        let endpoint = String::from_utf8(endpoint)?;
        drop(out);
        thread::spawn(move || while matches!(http::copy_event(&mut events, &mut io::stdout().lock()), Ok(true)) {});
        while let Some(line) = lines.next()? {
            let head = connection.post(endpoint.trim_end(), line)?;
            io::copy(&mut connection.body(&head), &mut io::sink())?;
        }
        return Ok(());
    }
    while let Some(line) = lines.next()? {
        let head = connection.post(path, line)?;
        let mut body = connection.body(&head);
        if head.event_stream {
            while http::copy_event(&mut body, &mut out)? {}
        } else if head.status == 200 {
            io::copy(&mut body, &mut out)?;
            out.write_all(b"\n")?;
            out.flush()?;
        } else {
            io::copy(&mut body, &mut io::sink())?;
        }
    }
    Ok(())
}

fn pump(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read])?;
        to.flush()?;
    }
}
