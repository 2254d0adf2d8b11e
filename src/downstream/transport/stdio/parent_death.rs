//! Linux only: a child is asked to end when we do, however that comes about (threat model T16).
//!
//! The one file with `unsafe`: what a process does to itself between fork and exec has no safe form.

#![expect(unsafe_code, reason = "`pre_exec` is unsafe to call, and the parent-death signal can only be set by the child itself")]

use std::io;

use nix::{
    errno::Errno,
    sys::{prctl, signal::Signal},
    unistd::{getpid, getppid},
};
use tokio::process::Command;

/// SIGTERM rather than SIGKILL: a server may have to close what it has opened elsewhere. The [guard](super::guard) kills what stays.
///
/// The signal comes when the *thread* that forks ends, so only the [spawner](super::spawner)'s may.
pub(super) fn end_with_us(process: &mut Command) {
    let parent = getpid();
    let in_child = move || {
        // Where it is forbidden the guard has to do.
        let _ = prctl::set_pdeathsig(Signal::SIGTERM);
        // We may have ended in between, and the signal would not come any more.
        if getppid() == parent { Ok(()) } else { Err(io::Error::from(Errno::ESRCH)) }
    };
    // SAFETY: the closure runs in the child between fork and exec, where only async-signal-safe functions may be called. It makes two
    // system calls, prctl(2) and getppid(2), allocates nothing, takes no lock and cannot panic; an `io::Error` of a number is plain data.
    unsafe { process.pre_exec(in_child) };
}
