//! Which programs may be started, with which arguments and variables (threat model T13 to T15).
//!
//! No shell is involved anywhere, so arguments are data: refused, or passed byte for byte, never rewritten. This is not a
//! sandbox: `npx -y any-package` runs code. The rules keep what the App says to programs that the operator has agreed to, and to
//! code that has a package, a file or a version behind it.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
};

use indexmap::IndexMap;

use super::{Author, Refusal, Rule};
use crate::secret::Secret;

mod environment;
mod inline;
mod name;

/// Arguments of one command. Far above what any server takes.
const MAX_ARGS: usize = 1024;

/// Bytes of one argument, and of one variable with its name: Linux starts nothing with a longer one (`MAX_ARG_STRLEN`, which counts
/// the NUL at its end).
const MAX_ARG: usize = 128 * 1024 - 1;

/// Bytes of all arguments together, and of all variables: together they stay below what Linux passes by default, 2 MiB.
const MAX_TOTAL: usize = 1024 * 1024 - 64 * 1024;

/// What the operator allows beyond the default.
#[derive(Debug, Clone)]
pub struct Config {
    /// Commands that the App may name beside the well-known ones: bare names, or absolute paths exactly as they will be written.
    pub allowed: Vec<String>,
    /// Whether the App may hand code to interpreters in their arguments.
    pub inline_code: bool,
    /// Whether programs that the App names are started at all.
    pub stdio_servers: bool,
    /// Where bare names are looked up: the proxy's own `PATH`, never the child's.
    pub path: Option<OsString>,
}

/// The rules, as this operator has set them.
#[derive(Debug, Clone)]
pub struct Policy {
    config: Config,
}

/// A command line that no rule forbids, on whatever machine it is.
#[derive(Clone)]
pub struct Judged<'a> {
    path: Option<&'a OsStr>,
    command: String,
    args: Vec<String>,
    env: Vec<(String, Secret)>,
}

/// A program that may be started: the file that will run, and what is handed to it.
#[derive(Clone)]
pub struct AllowedCommand {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, Secret)>,
}

/// SECURITY: arguments may be secrets (threat model T17).
impl fmt::Debug for Judged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path: _, command, args, env } = self;
        debug(f, "Judged", command, args, env)
    }
}

impl fmt::Debug for AllowedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, args, env } = self;
        debug(f, "AllowedCommand", program, args, env)
    }
}

/// The program, how many arguments, and the names of the variables.
fn debug(f: &mut fmt::Formatter<'_>, name: &str, program: &dyn fmt::Debug, args: &[String], env: &[(String, Secret)]) -> fmt::Result {
    let names: Vec<_> = env.iter().map(|(name, _)| name).collect();
    f.debug_struct(name).field("program", program).field("args", &args.len()).field("env", &names).finish_non_exhaustive()
}

impl AllowedCommand {
    /// An absolute path.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

impl Policy {
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// What the operator has set.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Judges a command line without looking for the program, so that the answer is the same on every machine.
    ///
    /// # Errors
    /// A [`Refusal`] by the first rule that forbids it.
    pub fn judge(&self, author: Author, command: &str, args: &[String], env: &IndexMap<String, Secret>) -> Result<Judged<'_>, Refusal> {
        // SECURITY: before anything is looked up, let alone run.
        if author == Author::App && !self.config.stdio_servers {
            return Err(Refusal::new(
                Rule::StdioServers,
                "STDIO servers of the App are not started by this proxy",
                "its operator may allow them with `--stdio-servers on`",
            ));
        }
        match author {
            Author::App => name::of_app(command, &self.config.allowed)?,
            Author::Owner => name::of_owner(command)?,
        }
        arguments(args)?;
        environment::allow(env)?;
        if author == Author::App && !self.config.inline_code {
            inline::refuse(command, args)?;
        }
        Ok(Judged {
            path: self.config.path.as_deref(),
            command: command.to_owned(),
            args: args.to_vec(),
            env: env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        })
    }

    /// Judges, and looks the program up.
    ///
    /// # Errors
    /// As [`Self::judge`] and [`Judged::resolve`].
    pub fn allow(
        &self,
        author: Author,
        command: &str,
        args: &[String],
        env: &IndexMap<String, Secret>,
        cwd: Option<&Path>,
    ) -> Result<AllowedCommand, Refusal> {
        self.judge(author, command, args, env)?.resolve(cwd)
    }
}

impl Judged<'_> {
    /// Finds the file that will run. `cwd` is the server's own working directory, which a relative path counts from.
    ///
    /// # Errors
    /// [`Rule::CommandNotFound`] if there is no such program here.
    pub fn resolve(self, cwd: Option<&Path>) -> Result<AllowedCommand, Refusal> {
        let Self { path, command, args, env } = self;
        match resolve(&command, path, cwd) {
            Some(program) => Ok(AllowedCommand { program, args, env }),
            None => Err(not_found(&command)),
        }
    }
}

/// Whether `--allow-command` can take this: a bare name, or an absolute path.
///
/// # Errors
/// What is wrong with it, for a sentence that begins with the option.
pub fn check_extra(command: &str) -> Result<(), &'static str> {
    let plain = !command.is_empty() && !command.chars().any(|c| c.is_control() || c.is_whitespace());
    if Path::new(command).is_absolute() && !command.chars().any(char::is_control) {
        return Ok(());
    }
    if plain && !name::is_path(command) {
        return Ok(());
    }
    Err("must be the name of a program without a path, or an absolute path")
}

fn not_found(command: &str) -> Refusal {
    let shown = name::shown(command);
    let (what, hint) = if name::is_path(command) {
        (format!("there is no program `{shown}`"), "check the path, and that the file may be executed")
    } else if command.contains(char::is_whitespace) {
        (format!("a command that begins with `{shown}` was not found in PATH"), "put the arguments into `args`")
    } else {
        (format!("`{shown}` was not found in PATH"), "install it, or see that the proxy's own PATH leads to it")
    };
    Refusal::new(Rule::CommandNotFound, what, hint)
}

fn arguments(args: &[String]) -> Result<(), Refusal> {
    // SECURITY: TAB and LF occur in real arguments (JSON, scripts); the other controls do not.
    let is_control = |c: char| c.is_ascii_control() && c != '\t' && c != '\n';
    if let Some(at) = args.iter().position(|arg| arg.chars().any(is_control)) {
        return Err(Refusal::new(
            Rule::ControlCharacter,
            format!("argument {} holds a control character, which no command line needs", at + 1),
            "remove it; of control characters only tab and line feed are passed on",
        ));
    }
    let size = |what: String| Refusal::new(Rule::ArgumentSize, what, "hand large data over in a file");
    if args.len() > MAX_ARGS {
        return Err(size(format!("there are {} arguments, more than {MAX_ARGS}", args.len())));
    }
    if let Some(at) = args.iter().position(|arg| arg.len() > MAX_ARG) {
        return Err(size(format!("argument {} has more than {MAX_ARG} bytes", at + 1)));
    }
    // Each has a NUL at its end.
    if args.iter().map(|arg| arg.len() + 1).sum::<usize>() > MAX_TOTAL {
        return Err(size(format!("the arguments have more than {MAX_TOTAL} bytes together")));
    }
    Ok(())
}

fn resolve(command: &str, path: Option<&OsStr>, cwd: Option<&Path>) -> Option<PathBuf> {
    if name::is_path(command) {
        // A relative one counts from where the program will run, as it always has on Unix; a relative `cwd` from where the proxy runs.
        let file = std::path::absolute(cwd.unwrap_or(Path::new("")).join(command)).ok()?;
        return candidates(&file).into_iter().find(|file| is_executable(file));
    }
    std::env::split_paths(path?)
        // SECURITY: an empty or relative entry means the working directory.
        .filter(|dir| dir.is_absolute())
        .flat_map(|dir| candidates(&dir.join(command)))
        .find(|file| is_executable(file))
}

/// On Windows `npx` and `uvx` are batch files; the standard library runs those
/// safely only when they are named in full.
fn candidates(file: &Path) -> Vec<PathBuf> {
    let suffixes: &[&str] = if cfg!(windows) { &["", ".exe", ".cmd", ".bat"] } else { &[""] };
    let with = |suffix: &&str| {
        let mut name = OsString::from(file);
        name.push(suffix);
        PathBuf::from(name)
    };
    suffixes.iter().map(with).collect()
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file() && file.extension().is_some()
}

#[cfg(test)]
mod tests;
