//! The thread that starts every child of the process, and the handle of a child with all that it has started.
//!
//! Linux sends the parent-death signal when the *thread* that forked ends, and a pool's threads come and go. This one lives as long
//! as the process. What the [guard](super::guard) is told goes through it, too, so that nothing else waits for that pipe.

use std::{
    fmt, io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread,
    time::Duration,
};

use process_wrap::tokio::{ChildWrapper, CommandWrap, KillOnDrop};
use secrecy::ExposeSecret;
use tokio::{
    process::{ChildStderr, ChildStdin, ChildStdout},
    runtime::Handle,
    sync::oneshot,
};

use super::{
    Program,
    audit::{Lines, Started},
};

/// How often it is looked whether a group has ended. Nothing tells.
const LOOK: Duration = Duration::from_millis(20);

/// Starts children. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Spawner {
    shared: Arc<Shared>,
    /// Where it is kept what the children of this clone write last.
    pub(super) last_words: Option<LastWords>,
}

/// What a child wrote last to standard error before its end, line by line.
#[derive(Debug, Clone, Default)]
pub struct LastWords(Arc<Mutex<Vec<String>>>);

impl LastWords {
    /// What is there once the child and its tasks have ended. SECURITY: without secrets already.
    pub fn get(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A child that says nothing leaves those of the one before it.
    pub(super) fn set(&self, words: Vec<String>) {
        if !words.is_empty() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = words;
        }
    }
}

struct Shared {
    /// The file of this program, which is its own guard. Without it there is none.
    guard: Option<PathBuf>,
    /// There from the first child on.
    jobs: OnceLock<mpsc::Sender<Job>>,
    lines: Lines,
}

enum Job {
    Spawn {
        program: Box<Program>,
        runtime: Handle,
        reply: oneshot::Sender<Result<Child, String>>,
    },
    /// Nothing is left of this group.
    Ended(u32),
    /// The guard with this process id has ended.
    #[cfg(unix)]
    Unguarded(u32),
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner").field("guard", &self.shared.guard).finish_non_exhaustive()
    }
}

impl Spawner {
    /// `guard` is the file of this program; without it children are not watched over after our own sudden end.
    pub fn new(guard: Option<PathBuf>) -> Self {
        Self { shared: Arc::new(Shared { guard, jobs: OnceLock::new(), lines: Lines::default() }), last_words: None }
    }

    /// A clone whose children's last words are kept.
    pub fn overheard(&self) -> (Self, LastWords) {
        let last_words = LastWords::default();
        (Self { shared: Arc::clone(&self.shared), last_words: Some(last_words.clone()) }, last_words)
    }

    /// The error says what went wrong without a path: clients see it.
    pub(super) async fn spawn(&self, program: Program, server: &str) -> Result<Child, String> {
        let started = Started::of(&program);
        let (reply, outcome) = oneshot::channel();
        let job = Job::Spawn { program: Box::new(program), runtime: Handle::current(), reply };
        let _ = self.jobs().send(job);
        let child = outcome.await.map_err(|_| "the proxy cannot start programs any more".to_owned())??;
        started.log(&self.shared.lines, server, child.group);
        Ok(child)
    }

    fn jobs(&self) -> &mpsc::Sender<Job> {
        self.shared.jobs.get_or_init(|| {
            let (jobs, queue) = mpsc::channel();
            #[cfg(unix)]
            let told = jobs.clone();
            let worker = Worker {
                // Held, so that the thread does not end before the process.
                jobs: jobs.clone(),
                #[cfg(unix)]
                guard: super::guard::Guard::new(self.shared.guard.clone(), move || {
                    let told = told.clone();
                    Box::new(move |pid| drop(told.send(Job::Unguarded(pid))))
                }),
            };
            // Without the thread no child can be started, and each attempt says so.
            if let Err(error) = thread::Builder::new().name("spawner".to_owned()).spawn(move || worker.run(&queue)) {
                tracing::error!(%error, "the thread that starts programs cannot be started");
            }
            jobs
        })
    }
}

struct Worker {
    jobs: mpsc::Sender<Job>,
    #[cfg(unix)]
    guard: super::guard::Guard,
}

impl Worker {
    fn run(mut self, queue: &mpsc::Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            match job {
                // Whoever asked may have gone: the child ends with its handle.
                Job::Spawn { program, runtime, reply } => drop(reply.send(self.spawn(&program, &runtime))),
                #[cfg(unix)]
                Job::Ended(group) => self.guard.remove(group),
                #[cfg(unix)]
                Job::Unguarded(pid) => self.guard.ended(pid),
                #[cfg(not(unix))]
                Job::Ended(_) => {}
            }
        }
    }

    fn spawn(&mut self, program: &Program, runtime: &Handle) -> Result<Child, String> {
        let _runtime = runtime.enter();
        let process = start(program).map_err(|error| plain(&error, program))?;
        let Some(group) = process.id() else { return Err("it ended at once".to_owned()) };
        #[cfg(unix)]
        self.guard.add(group);
        Ok(Child { process, group, jobs: self.jobs.clone(), finished: false })
    }
}

fn start(program: &Program) -> io::Result<Box<dyn ChildWrapper>> {
    let Program { command, base_env, cwd, server: _, origin: _ } = program;
    let mut wrap = CommandWrap::with_new(&command.program, |process| {
        // SECURITY: nothing of our own environment but the short list (threat model T15).
        process.args(&command.args).env_clear().envs(base_env.iter().map(|(name, value)| (name, value)));
        process.envs(command.env.iter().map(|(name, value)| (name, value.expose_secret())));
        if let Some(cwd) = cwd {
            process.current_dir(cwd);
        }
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(target_os = "linux")]
        super::parent_death::end_with_us(process);
    });
    #[cfg(unix)]
    wrap.wrap(process_wrap::tokio::ProcessGroup::leader());
    #[cfg(windows)]
    wrap.wrap(process_wrap::tokio::JobObject);
    wrap.wrap(KillOnDrop);
    wrap.spawn()
}

/// What went wrong and what to do, without a path: clients see this.
fn plain(error: &io::Error, program: &Program) -> String {
    if let Some(shortage) = shortage(error) {
        return shortage.to_owned();
    }
    let what = match (error.kind(), &program.cwd) {
        (_, Some(cwd)) if !cwd.is_dir() => "its `cwd` is not a directory".to_owned(),
        (io::ErrorKind::NotFound, _) => "there is no such file".to_owned(),
        (kind, _) => kind.to_string(),
    };
    format!("{what}; hint: check `command` and `cwd`")
}

/// Whether the machine has no more of something, and nothing is wrong with the program.
#[cfg(unix)]
fn shortage(error: &io::Error) -> Option<&'static str> {
    use nix::errno::Errno;
    Some(match Errno::from_raw(error.raw_os_error()?) {
        Errno::EMFILE | Errno::ENFILE => "the proxy has too many open files; hint: try again later, and raise the limit (`ulimit -n`)",
        Errno::EAGAIN => "there are too many processes; hint: try again later, and raise the limit (`ulimit -u`, or that of the container)",
        Errno::ENOMEM => "there is not enough memory; hint: try again later",
        _ => return None,
    })
}

#[cfg(not(unix))]
fn shortage(_: &io::Error) -> Option<&'static str> {
    None
}

/// A child and what it has started. Dropping it kills them all.
pub(super) struct Child {
    process: Box<dyn ChildWrapper>,
    /// The process's id, and its group's.
    group: u32,
    jobs: mpsc::Sender<Job>,
    finished: bool,
}

impl Child {
    pub(super) fn stdin(&mut self) -> &mut Option<ChildStdin> {
        self.process.stdin()
    }

    pub(super) fn stdout(&mut self) -> &mut Option<ChildStdout> {
        self.process.stdout()
    }

    pub(super) fn stderr(&mut self) -> &mut Option<ChildStderr> {
        self.process.stderr()
    }

    /// Waits for the child itself.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Waits for the child and for all that is left of its group.
    pub(super) async fn gone(&mut self) {
        let _ = self.wait().await;
        while self.has_left_others() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether anybody of the group is there, once the child itself has been waited for.
    pub(super) fn has_left_others(&self) -> bool {
        #[cfg(unix)]
        return super::guard::send(self.group, None);
        // A job object is ended as a whole.
        #[cfg(not(unix))]
        false
    }

    /// Asks the whole group. False where there is no such request.
    pub(super) fn terminate(&self) -> bool {
        #[cfg(unix)]
        super::guard::send(self.group, Some(nix::sys::signal::Signal::SIGTERM));
        cfg!(unix)
    }

    /// Kills the whole group.
    pub(super) fn kill(&mut self) {
        let _ = self.process.start_kill();
    }

    /// Kills what is left of the group, also when the child itself has ended. A group's id is not given away while a member lives;
    /// where none does, the id was free for no longer than it takes to get here from the child's end, and ids are handed out in turn.
    pub(super) fn finish(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.kill();
        let _ = self.jobs.send(Job::Ended(self.group));
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.finish();
    }
}
