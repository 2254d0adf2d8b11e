//! A small process that outlives us by a moment, if it must, and ends the process groups of our children.
//!
//! The parent-death signal reaches only the child itself, not what `npx` or a shell has started, and only on Linux. So this program
//! is started once more, with the first child. Its arguments say which groups there are, and what it reads from a pipe, which come and
//! go: a line `+ID` or `-ID` each. The pipe ends with us, however that comes about. Then what is still there is asked to end, and killed.
//!
//! A guard that ends before us is replaced at once: a thread waits for the end of its output, which comes with its own. One that does
//! not read any more is replaced, too, rather than waited for.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{self, BufRead, ErrorKind, Read, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::signal::{SigSet, Signal, killpg},
    unistd::{Pid, close},
};

/// The first argument of the process. People have no use for it, so `--help` does not show it.
pub const COMMAND: &str = "guard-children";

/// From asking groups to end to killing them.
const GRACE: Duration = Duration::from_millis(700);

/// How long a guard may leave its pipe full.
const READS_WITHIN: Duration = Duration::from_millis(500);

/// Between a replacement that ended soon and the next one.
const PAUSE: Duration = Duration::from_secs(5);

/// Told that the guard with this process id has ended.
pub(super) type OnEnd = Box<dyn FnOnce(u32) + Send>;

/// Our end of it.
pub(super) struct Guard {
    program: Option<PathBuf>,
    on_end: Box<dyn Fn() -> OnEnd + Send>,
    running: Option<(Child, ChildStdin)>,
    groups: BTreeSet<u32>,
    warned: bool,
}

impl Guard {
    /// `on_end` makes what is called, on a thread of its own, when a guard has ended; it is to lead to [`Self::ended`].
    pub(super) fn new(program: Option<PathBuf>, on_end: impl Fn() -> OnEnd + Send + 'static) -> Self {
        Self { program, on_end: Box::new(on_end), running: None, groups: BTreeSet::new(), warned: false }
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

    /// Replaces the guard with this process id, if it is still ours and there is something to guard.
    pub(super) fn ended(&mut self, pid: u32) {
        if self.running.as_ref().is_none_or(|(guard, _)| guard.id() != pid) {
            return;
        }
        self.forget();
        if !self.groups.is_empty() {
            self.restart(PAUSE);
        }
    }

    fn tell(&mut self, line: &str) {
        if let Some((_, pipe)) = &mut self.running
            && write(pipe, line).is_ok()
        {
            return;
        }
        self.forget();
        self.restart(Duration::ZERO);
    }

    fn forget(&mut self) {
        if let Some((mut guard, _)) = self.running.take() {
            let _ = guard.kill();
            let _ = guard.wait();
        }
    }

    /// `lives` is how long it should live: of the end of one that lived shorter we are told that much later.
    fn restart(&mut self, lives: Duration) {
        let Some(program) = &self.program else { return };
        match start(program, &self.groups, lives, (self.on_end)()) {
            Ok(running) => self.running = Some(running),
            Err(_) if self.warned => {}
            Err(error) => {
                self.warned = true;
                tracing::warn!(%error, "the guard of child processes cannot be started: if this process is killed, some may stay");
            }
        }
    }
}

/// Writes a line, which never waits for long. The pipe takes a line whole or not at all: of half a one the guard would end half a
/// number's group.
fn write(pipe: &mut ChildStdin, line: &str) -> io::Result<()> {
    let deadline = Instant::now() + READS_WITHIN;
    loop {
        match pipe.write_all(line.as_bytes()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            outcome => return outcome,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it is this program itself, with fixed arguments")]
fn start(program: &Path, groups: &BTreeSet<u32>, lives: Duration, on_end: OnEnd) -> io::Result<(Child, ChildStdin)> {
    // An update may have replaced the file while we ran.
    let program = if program.exists() { program } else { Path::new("/proc/self/exe") };
    let mut child = Command::new(program)
        .arg(COMMAND)
        // Not through the pipe: we may be killed before we have written.
        .args(groups.iter().map(u32::to_string))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        // Its end is how we learn of its own. Clients wait for the end of ours, and of the next.
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // What a terminal sends to us is not for it.
        .process_group(0)
        .spawn()?;
    let pipe = child.stdin.take().expect("stdin is piped");
    let output = child.stdout.take().expect("stdout is piped");
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let pid = child.id();
    thread::Builder::new().name("guard's end".to_owned()).spawn(move || wait(output, pid, lives, on_end))?;
    Ok((child, pipe))
}

fn wait(mut output: ChildStdout, pid: u32, lives: Duration, on_end: OnEnd) {
    let begun = Instant::now();
    let _ = output.read(&mut [0]);
    if begun.elapsed() < lives {
        thread::sleep(lives);
    }
    on_end(pid);
}

/// The process itself, with the groups that there are: until its input ends and nothing is left to end.
pub fn run(groups: impl Iterator<Item = OsString>) {
    let groups = groups.filter_map(|group| group.to_str()?.parse().ok()).collect();
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
    end(watch(groups, io::stdin().lock()));
}

/// Reads which groups come and go, to the end, and gives those that are left.
fn watch(mut groups: BTreeSet<u32>, input: impl BufRead) -> BTreeSet<u32> {
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
        let groups = watch(BTreeSet::from([8, 9]), &b"-9\n+10\n+11\n-10\n+12\n\nnonsense\n+-5\n+x\n-99\n+13"[..]);
        assert_eq!(groups, BTreeSet::from([8, 11, 12, 13]));
    }

    #[test]
    fn nobody_is_taken_for_a_group() {
        for nobody in [0, 1, 1 << 31, u32::MAX] {
            assert!(!send(nobody, None), "{nobody}");
        }
    }

    #[test]
    fn without_a_program_nothing_is_started() {
        let mut guard = Guard::new(None, || Box::new(|_| {}));
        guard.add(10);
        guard.remove(10);
        assert!(guard.running.is_none() && guard.groups.is_empty());
    }

    /// A guard that does not read does not hold up whoever starts programs.
    #[test]
    fn a_full_pipe_is_not_waited_for() {
        #[expect(clippy::disallowed_methods, reason = "it reads nothing and ends soon")]
        let mut deaf = Command::new("sleep").arg("60").stdin(Stdio::piped()).spawn().expect("every Unix has it");
        let mut pipe = deaf.stdin.take().expect("stdin is piped");
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("it is ours");
        let begun = Instant::now();
        let written = (0..100_000).try_for_each(|_| write(&mut pipe, "+1000\n"));
        deaf.kill().expect("it is ours");
        deaf.wait().expect("it is ours");
        assert!(written.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
