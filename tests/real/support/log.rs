//! What a process writes to stderr, shown where the scenario fails.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::Result;

/// Shows the text when it is dropped, unless [`Log::forget`] was called first.
#[derive(Debug)]
pub(crate) struct Log(Option<PathBuf>);

impl Log {
    /// The log, and where the process has to write.
    pub(crate) fn open(scratch: &Path) -> Result<(Self, File)> {
        let path = scratch.join("stderr");
        let file = File::create(&path)?;
        Ok((Self(Some(path)), file))
    }

    /// What has been written so far.
    pub(crate) fn text(&self) -> String {
        let Some(path) = &self.0 else { return String::new() };
        fs::read_to_string(path).unwrap_or_else(|error| error.to_string())
    }

    /// The scenario ended in good order.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }
}

impl Drop for Log {
    #[expect(clippy::print_stderr, reason = "the test runner shows it with the failure")]
    fn drop(&mut self) {
        if self.0.is_some() {
            eprintln!("--- stderr of the process\n{}---", self.text());
        }
    }
}
