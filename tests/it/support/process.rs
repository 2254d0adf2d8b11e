//! Processes that are not ours to wait for: the children of the proxy.

use std::process::{Command, Output};

/// Whether a process has ended, be it that nobody has collected it yet.
pub(crate) fn has_ended(pid: u64) -> bool {
    if cfg!(target_os = "linux") {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The state is the first word after the name, which stands in brackets.
        let state = status.rsplit(')').next().unwrap_or_default().trim_start();
        state.is_empty() || state.starts_with('Z')
    } else {
        let pid = pid.to_string();
        let output = Command::new("ps").args(["-o", "stat=", "-p", &pid]).output().expect("ps can be started");
        let state = String::from_utf8_lossy(&output.stdout);
        state.trim().is_empty() || state.starts_with('Z')
    }
}

/// Sends a signal to one process.
#[cfg(unix)]
#[track_caller]
pub(crate) fn signal(pid: u32, signal: &str) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(status.expect("kill can be started").success(), "{signal} cannot be sent to {pid}");
}

/// Runs a line as people type it.
pub(crate) fn shell(line: &str) -> Output {
    Command::new("sh").args(["-c", line]).output().expect("there is a shell")
}
