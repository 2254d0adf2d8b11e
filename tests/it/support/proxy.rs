//! The proxy as a program: where it lives, how it is started.

use super::patience::patiently;
use super::server::program;
use super::{App, Client, Front, KEY, Server, file_of};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use tempfile::TempDir;

/// A home directory of its own, where the proxy finds nothing but what a test puts there.
#[derive(Debug, Clone)]
pub(crate) struct Home(Arc<TempDir>);

impl Home {
    pub(crate) fn new() -> Self {
        Self(Arc::new(TempDir::new().expect("a directory can be made")))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file below the home directory and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        let folder = path.parent().expect("it is below the home directory");
        std::fs::create_dir_all(folder).expect("a folder can be made");
        std::fs::write(&path, text).expect("a file can be written");
        path
    }

    /// Replaces a file in one step, as careful editors do.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        let draft = self.write(&format!("{name}.draft"), text);
        std::fs::rename(draft, self.path().join(name)).expect("a file can be renamed");
    }
}

/// One way to start the proxy.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    home: Home,
    /// Where it is started, below the home directory.
    folder: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// How many files it may have open.
    files: Option<usize>,
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The proxy, where Cargo has built it.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_pluggedin-mcp-proxy");

const OPEN_NETWORKS: &str = "PLUGGEDIN_ALLOW_PRIVATE_NETWORKS";

/// The name of the configuration file in the home directory.
pub(crate) const FILE: &str = "mcp.json";

impl Proxy {
    pub(crate) fn new() -> Self {
        Self::at(&Home::new())
    }

    /// In a home directory that has been lived in.
    pub(crate) fn at(home: &Home) -> Self {
        Self { home: home.clone(), folder: PathBuf::new(), arguments: Vec::new(), environment: Vec::new(), files: None }
    }

    /// With a file of these servers and nothing else, initialised.
    pub(crate) fn before(servers: &[&Server]) -> Client {
        Self::new().file(&file_of(servers)).start()
    }

    /// The same for a client that can be asked.
    #[track_caller]
    pub(crate) fn before_able(servers: &[&Server], capabilities: Value) -> Client {
        let mut client = Self::new().file(&file_of(servers)).launch();
        client.initialize_able(capabilities);
        client
    }

    pub(crate) fn home(&self) -> Home {
        self.home.clone()
    }

    pub(crate) fn file(self, file: &Value) -> Self {
        self.file_text(&file.to_string())
    }

    pub(crate) fn file_text(self, text: &str) -> Self {
        let path = self.home.write(FILE, text);
        self.arg("--config").arg(&path.display().to_string())
    }

    /// Its servers may be scripted ones, and tests ask as often as they like; other programs are what they are to anybody's proxy.
    pub(crate) fn app(self, app: &App) -> Self {
        self.app_with_limits(app).env("PLUGGEDIN_RATE_LIMIT_TOOLS", "0")
    }

    /// With the limits that everybody has.
    pub(crate) fn app_with_limits(self, app: &App) -> Self {
        let url = app.url();
        self.allowing_scripted_servers().env("PLUGGEDIN_API_KEY", KEY).env("PLUGGEDIN_API_BASE_URL", &url)
    }

    pub(crate) fn allowing_scripted_servers(self) -> Self {
        self.arg(&format!("--allow-command={}", program().display()))
    }

    /// As people start it: servers of the App may not use this machine, unlike in all other tests.
    pub(crate) fn guarded(self) -> Self {
        self.env(OPEN_NETWORKS, "")
    }

    /// With the program's own rules for servers of the App, and not those under which most scenarios run.
    pub(crate) fn without_permissions(mut self) -> Self {
        self.arguments.retain(|argument| !argument.starts_with("--allow-command="));
        self.guarded()
    }

    pub(crate) fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With so many descriptors and no more.
    #[cfg(unix)]
    pub(crate) fn limited_to(mut self, files: usize) -> Self {
        self.files = Some(files);
        self
    }

    /// In a folder of the home directory.
    pub(crate) fn in_folder(mut self, folder: &str) -> Self {
        self.folder = folder.into();
        self
    }

    /// Starts it and shakes hands.
    #[track_caller]
    pub(crate) fn start(self) -> Client {
        let mut client = self.launch();
        client.initialize();
        client
    }

    /// Starts it and says nothing yet.
    #[track_caller]
    pub(crate) fn launch(self) -> Client {
        let child = self.command(&[]).stdin(Stdio::piped()).spawn().expect("the proxy can be started");
        Client::new(child, self.home)
    }

    /// Starts it as an HTTP server, and waits until it serves.
    #[track_caller]
    pub(crate) fn serve(self) -> Front {
        let proxy = self.arg("--transport=streamable-http").arg("--port=0");
        let child = proxy.command(&[]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the proxy can be started");
        Front::new(child, proxy.home)
    }

    /// As an HTTP server with a file of these servers and nothing else.
    #[track_caller]
    pub(crate) fn serving(servers: &[&Server]) -> Front {
        Self::new().file(&file_of(servers)).serve()
    }

    /// Runs it to its end with nothing on stdin: one of the commands for people, or a start that fails.
    #[track_caller]
    pub(crate) fn run(&self, command: &[&str]) -> Finished {
        self.begin(command).finish()
    }

    /// Starts what [`Self::run`] runs.
    #[track_caller]
    pub(crate) fn begin(&self, command: &[&str]) -> Begun {
        let mut child = self.command(command).stdin(Stdio::null()).spawn().expect("the proxy can be started");
        let mut stdout = child.stdout.take().expect("it is piped");
        let mut stderr = child.stderr.take().expect("it is piped");
        Begun {
            what: command.join(" "),
            child,
            stdout: std::thread::spawn(move || read(&mut stdout)),
            stderr: std::thread::spawn(move || read(&mut stderr)),
        }
    }

    fn command(&self, command: &[&str]) -> Command {
        let home = self.home.path();
        let mut proxy = match self.files {
            None => Command::new(PROGRAM),
            Some(files) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\""), PROGRAM]);
                shell
            }
        };
        proxy
            .args(command)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("XDG_STATE_HOME", home.join("state"))
            .env("XDG_DATA_HOME", home.join("data"))
            // Where the servers of all tests are. The policy is never switched off.
            .env(OPEN_NETWORKS, "loopback")
            .envs(self.environment.iter().cloned())
            .current_dir(home.join(&self.folder))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        proxy
    }
}

/// A command that has not ended yet.
#[derive(Debug)]
pub(crate) struct Begun {
    what: String,
    child: Child,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
}

impl Begun {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub(crate) fn finish(mut self) -> Finished {
        let status = patiently(|| self.child.try_wait().expect("it is ours"));
        let Some(status) = status else {
            self.child.kill().expect("it is ours");
            panic!("`{}` does not end", self.what);
        };
        let finished = Finished {
            code: status.code(),
            stdout: self.stdout.join().expect("reading does not panic"),
            stderr: self.stderr.join().expect("reading does not panic"),
        };
        assert!(!finished.stdout.contains(KEY), "the key is on stdout");
        assert!(!finished.stderr.contains(KEY), "the key is on stderr");
        finished
    }
}

fn read(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("a pipe can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}
