//! A program that is no server: it prints something, as `--version` makes programs do, and ends.

use super::{Program, Spawner};
use crate::{
    downstream::error::{ConnectError, LinkError},
    lines::{Line, Lines},
    security::redact,
};

/// Far above what a version has.
const MAX_LINE: usize = 4096;

/// Characters of it that are shown.
const MAX_SHOWN: usize = 100;

/// Starts the program, as every server is started, and gives the first line of its output, fit to be shown. Dropping it, as the end,
/// leaves no process behind.
///
/// # Errors
/// [`ConnectError`] where it cannot be started or says nothing.
pub async fn first_line(program: Program, spawner: &Spawner) -> Result<String, ConnectError> {
    let name = program.server.as_str().to_owned();
    let mut child = spawner.spawn(program, &name).await.map_err(|reason| ConnectError::Spawn { reason })?;
    drop(child.stdin().take());
    let stdout = child.stdout().take().expect("stdout is piped");
    match Lines::new(stdout, MAX_LINE).next().await {
        Ok(Some(Line::Text(text))) => Ok(redact::quote(&String::from_utf8_lossy(&text), MAX_SHOWN)),
        Ok(Some(Line::TooLong(_)) | None) | Err(_) => Err(LinkError::Lost { reason: "it said nothing".to_owned() }.into()),
    }
}
