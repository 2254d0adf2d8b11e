//! What the operator says, wherever it stands: an option, a variable of the environment, or one of the env file. Nothing here
//! knows what a setting means.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Environment, Problems, account::Found, defaults, env};
use crate::security::dotenv;

/// A file, up to one byte more than it may have.
pub(super) fn bounded(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    fs::File::open(path)?.take(max as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// A value, and where it comes from as messages put it.
pub(super) struct Given {
    pub(super) text: String,
    pub(super) from: String,
    /// It stands in the file of `--env-file`.
    pub(super) in_env_file: bool,
}

impl Given {
    /// By option or by a variable of the environment.
    pub(super) fn new(text: impl Into<String>, from: impl Into<String>) -> Self {
        Self { text: text.into(), from: from.into(), in_env_file: false }
    }
}

/// What the operator says: options are handed in, the rest is here.
pub(super) struct Settings<'a> {
    pub(super) environment: &'a Environment,
    pub(super) env_file: HashMap<String, String>,
    /// The API key comes from a file that came with a project.
    pub(super) key_is_of_project: bool,
    pub(super) found: Found,
    pub(super) problems: Problems,
}

impl<'a> Settings<'a> {
    pub(super) fn new(environment: &'a Environment, env_file: Option<&Path>, mut problems: Problems) -> Self {
        let named = env_file.map(PathBuf::from).or_else(|| environment.get(env::ENV_FILE).map(PathBuf::from));
        let mut variables = HashMap::new();
        if let Some(path) = named {
            match bounded(&path, dotenv::MAX_FILE).map(|content| dotenv::read(&content)) {
                Ok(Ok(all)) => {
                    for (name, text) in all {
                        if env::SETTINGS.contains(&name.as_str()) {
                            variables.insert(name, text);
                        } else if env::OPERATORS.contains(&name.as_str()) {
                            problems.warnings.push(format!(
                                "`{name}` of the env file is ignored: what it opens is for an option or a variable of the environment to open"
                            ));
                        }
                    }
                }
                Ok(Err(refusal)) => problems.problems.push(format!("`--env-file`: `{}`: {refusal}", path.display())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    problems.problems.push(format!("`--env-file`: `{}` does not exist", path.display()));
                }
                Err(error) => problems.problems.push(format!("`--env-file`: `{}` cannot be read: {}", path.display(), error.kind())),
            }
        }
        Self { environment, env_file: variables, key_is_of_project: false, found: Found::default(), problems }
    }

    pub(super) fn check_depth(&mut self) {
        if self.environment.depth() > defaults::MAX_DEPTH {
            let problem =
                "this proxy was started by a proxy that was started by a proxy; hint: does the file of `--config` name the proxy itself?";
            self.problem(problem);
        }
    }

    pub(super) fn problem(&mut self, text: impl Into<String>) {
        self.problems.problems.push(text.into());
    }

    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.problems.warnings.push(text.into());
    }

    pub(super) fn variable(&self, name: &str) -> Option<Given> {
        if let Some(text) = self.environment.get(name) {
            return Some(Given::new(text, format!("`{name}`")));
        }
        let text = self.env_file.get(name).map(|text| text.trim()).filter(|text| env::says_something(text))?;
        Some(Given { in_env_file: true, ..Given::new(text, format!("`{name}` of the env file")) })
    }

    pub(super) fn option(&self, option: &str, value: Option<String>, variable: &str) -> Option<Given> {
        let value = value.map(|text| text.trim().to_owned()).filter(|text| env::says_something(text));
        value.map(|text| Given::new(text, format!("`{option}`"))).or_else(|| self.variable(variable))
    }

    /// Never shows the value: people put keys in the strangest places.
    pub(super) fn parse<T>(&mut self, given: Option<Given>, default: T, parse: impl FnOnce(&str) -> Result<T, String>) -> T {
        let Some(Given { text, from, in_env_file: _ }) = given else { return default };
        parse(&text).unwrap_or_else(|why| {
            self.problem(format!("{from} {why}"));
            default
        })
    }

    pub(super) fn switch(&mut self, name: &str) -> bool {
        let given = self.variable(name);
        self.parse(given, false, |text| on_or_off(text).ok_or_else(|| "must be `true` or `false`".to_owned()))
    }
}

pub(super) fn on_or_off(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// `30`, `0.5`, `500ms`, `30s`, `10m`, `2h`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let bad = || "must be a time such as `30`, `0.5`, `500ms`, `10m` or `2h`, a week at most".to_owned();
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let factor = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let seconds = number.trim().parse::<f64>().map_err(|_| bad())? * factor;
    let time = Duration::try_from_secs_f64(seconds).map_err(|_| bad())?;
    if time > Duration::from_secs(7 * 24 * 3600) { Err(bad()) } else { Ok(time) }
}

/// As [`time`], and at least ten milliseconds.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        time if time < Duration::from_millis(10) => Err("must be a time above 0, such as `30` or `10m`".to_owned()),
        time => Ok(time),
    }
}
