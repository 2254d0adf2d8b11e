//! A small process that outlives us by a moment, if it must, and ends the process groups of our children.
//!
//! The parent-death signal reaches only the child itself, not what `npx` or a shell has started, and only on Linux. So this program
//! is started once more, with the first child, and reads from a pipe which groups there are: a line `+ID` or `-ID` each. The pipe ends
//! with us, however that comes about. Then what is still there is asked to end, and killed.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{SigSet, Signal, killpg},
    unistd::{Pid, close},
};

/// The first argument of the process. People have no use for it, so `--help` does not show it.
pub const COMMAND: &str = "guard-children";

/// From asking groups to end to killing them.
const GRACE: Duration = Duration::from_millis(700);

/// Our end of it.
#[derive(Debug)]
pub(super) struct Guard {
    program: Option<PathBuf>,
    running: Option<(Child, ChildStdin)>,
    groups: BTreeSet<u32>,
    warned: bool,
}

impl Guard {
    pub(super) fn new(program: Option<PathBuf>) -> Self {
        Self { program, running: None, groups: BTreeSet::new(), warned: false }
    }

    pub(super) fn add(&mut self, group: u32) {
        self.groups.insert(group);
        self.tell(&format!("+{group}\n"));
    }

    pub(super) fn remove(&mut self, group: u32) {
        self.groups.remove(&group);
        if self.running.is_some() {
            self.tell(&format!("-{group}\n"));
        }
    }

    fn tell(&mut self, line: &str) {
        // In one write: of half a line it would end half a number's group.
        if let Some((_, pipe)) = &mut self.running
            && pipe.write_all(line.as_bytes()).is_ok()
        {
            return;
        }
        if let Some((mut ended, _)) = self.running.take() {
            let _ = ended.kill();
            let _ = ended.wait();
        }
        let Some(program) = &self.program else { return };
        let all: Vec<_> = self.groups.iter().map(|group| format!("+{group}\n")).collect();
        match start(program).and_then(|(child, mut pipe)| pipe.write_all(all.concat().as_bytes()).map(|()| (child, pipe))) {
            Ok(running) => self.running = Some(running),
            Err(_) if self.warned => {}
            Err(error) => {
                self.warned = true;
                tracing::warn!(%error, "the guard of child processes cannot be started: if this process is killed, some may stay");
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it is this program itself, with fixed arguments")]
fn start(program: &Path) -> io::Result<(Child, ChildStdin)> {
    // An update may have replaced the file while we ran.
    let program = if program.exists() { program } else { Path::new("/proc/self/exe") };
    let mut child = Command::new(program)
        .arg(COMMAND)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        // Clients wait for the end of these.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What a terminal sends to us is not for it.
        .process_group(0)
        .spawn()?;
    let pipe = child.stdin.take().expect("stdin is piped");
    Ok((child, pipe))
}

/// The process itself: until its input ends and nothing is left to end.
pub fn run() {
    // Whoever ends a proxy by its name, or a whole service, asks the guard, too; it has to stay until the proxy has ended.
    let mut asked = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        asked.add(signal);
    }
    let _ = asked.thread_block();
    // What the proxy's own parent has left open in it is not ours to hold. Nothing here has opened a file yet.
    for inherited in 3..1024 {
        let _ = close(inherited);
    }
    end(watch(io::stdin().lock()));
}

/// Reads which groups there are, to the end.
fn watch(input: impl BufRead) -> BTreeSet<u32> {
    let mut groups = BTreeSet::new();
    for line in input.lines().map_while(Result::ok) {
        let Some(group) = line.get(1..).and_then(|id| id.parse().ok()) else { continue };
        if line.starts_with('+') {
            groups.insert(group);
        } else {
            groups.remove(&group);
        }
    }
    groups
}

/// Sends a signal to a group, or none. False if there is no such group.
pub(super) fn send(group: u32, signal: Option<Signal>) -> bool {
    // SECURITY: 0 would be our own group, and 1 everybody's.
    let Some(group) = i32::try_from(group).ok().filter(|group| *group > 1) else { return false };
    killpg(Pid::from_raw(group), signal) != Err(Errno::ESRCH)
}

fn end(mut groups: BTreeSet<u32>) {
    groups.retain(|group| send(*group, Some(Signal::SIGTERM)));
    let deadline = Instant::now() + GRACE;
    // A group that has ended is forgotten at once: its id may be somebody else's soon.
    while !groups.is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
        groups.retain(|group| send(*group, None));
    }
    for group in groups {
        send(group, Some(Signal::SIGKILL));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_and_go() {
        let groups = watch(&b"+10\n+11\n-10\n+12\n\nnonsense\n+-5\n+x\n-99\n+13"[..]);
        assert_eq!(groups, BTreeSet::from([11, 12, 13]));
    }

    #[test]
    fn nobody_is_taken_for_a_group() {
        for nobody in [0, 1, 1 << 31, u32::MAX] {
            assert!(!send(nobody, None), "{nobody}");
        }
    }

    #[test]
    fn without_a_program_nothing_is_started() {
        let mut guard = Guard::new(None);
        guard.add(10);
        guard.remove(10);
        assert!(guard.running.is_none() && guard.groups.is_empty());
    }
}
