//! Where log lines go: to stderr, in one of two forms.
//!
//! Stdout belongs to the protocol, so nothing here can write to it.

use std::{
    io::{self, IsTerminal},
    panic,
    sync::OnceLock,
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::clean::Clean;

/// A few seconds of a chatty server.
const WAITING_LINES: usize = 4096;

/// Of the one writer that a process has.
static LOST: OnceLock<ErrorCounter> = OnceLock::new();

#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub filter: Filter,
    pub format: Format,
}

/// Which lines are written.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter(Targets);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

impl Default for Config {
    /// `info`, as text.
    fn default() -> Self {
        Self { filter: Filter::parse("info").expect("it is a level"), format: Format::Text }
    }
}

impl Config {
    /// What even those are told who asked for no log: that there is a fault in the proxy.
    pub fn of_panics() -> Self {
        Self { filter: Filter(Targets::new().with_target(module_path!(), LevelFilter::ERROR)), format: Format::Text }
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be `off`, `error`, `warn`, `info`, `debug` or `trace`, or a list such as `info,pluggedin_mcp_proxy::source=debug`")]
pub struct BadFilter;

impl Filter {
    /// A level, for our own lines (libraries keep to warnings), or directives that are
    /// taken as they are.
    pub fn parse(text: &str) -> Result<Self, BadFilter> {
        // An empty text would mean `error`.
        if let Ok(level) = text.parse::<LevelFilter>()
            && !text.is_empty()
        {
            let libraries = level.min(LevelFilter::WARN);
            return Ok(Self(Targets::new().with_default(libraries).with_target("pluggedin_mcp_proxy", level)));
        }
        // A single word would be taken for the name of a target.
        if !text.contains('=') {
            return Err(BadFilter);
        }
        text.parse().map(Self).map_err(|_| BadFilter)
    }
}

/// Writes what is left when it is dropped.
#[must_use = "lines that wait are lost without it"]
#[derive(Debug)]
pub struct Guard(#[expect(dead_code, reason = "it works by being dropped")] WorkerGuard);

/// Once a process; further calls change nothing.
///
/// Lines go through a thread of their own, and are dropped where too many wait: a
/// client that does not read our stderr must not stop the protocol. That thread also takes secrets out of them, which
/// costs the callers nothing. What a panic says is a line like any other.
pub fn init(config: &Config) -> Guard {
    let Config { filter: Filter(targets), format } = config;
    let terminal = io::stderr().is_terminal();
    let clean = Clean::new(io::stderr(), terminal && *format == Format::Text);
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_LINES).finish(clean);
    let _ = LOST.set(writer.error_counter());
    let lines = fmt::layer().with_writer(writer);
    // On a terminal the library decides, since it honours `NO_COLOR`.
    let lines = if terminal { lines } else { lines.with_ansi(false) };
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let _ = tracing_subscriber::registry().with(lines.with_filter(targets.clone())).try_init();
    // SECURITY: the usual hook writes to stderr itself, and a panic's text may quote anything.
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        tracing::error!(%place, "panicked: {}", text.unwrap_or("without a text"));
    }));
    Guard(guard)
}

/// Lines that were dropped so far.
pub fn lost_lines() -> u64 {
    LOST.get().map_or(0, |lost| lost.dropped_lines() as u64)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_level_is_for_our_own_lines() {
        let Filter(targets) = Filter::parse("Debug").expect("a level");
        assert!(targets.would_enable("pluggedin_mcp_proxy::source", &Level::DEBUG));
        assert!(!targets.would_enable("hyper", &Level::INFO));
        assert!(targets.would_enable("hyper", &Level::WARN));
        let Filter(targets) = Filter::parse("off").expect("a level");
        assert!(!targets.would_enable("pluggedin_mcp_proxy", &Level::ERROR));
        assert!(!targets.would_enable("hyper", &Level::ERROR));
    }

    #[test]
    fn panics_are_told_alone() {
        let Filter(targets) = Config::of_panics().filter;
        assert!(targets.would_enable(module_path!(), &Level::ERROR));
        assert!(!targets.would_enable("pluggedin_mcp_proxy::downstream", &Level::ERROR));
    }

    #[test]
    fn directives_are_taken_as_they_are() {
        let Filter(targets) = Filter::parse("info,hyper=trace").expect("directives");
        assert!(targets.would_enable("hyper", &Level::TRACE));
        assert!(!targets.would_enable("other", &Level::DEBUG));
        for bad in ["", "loud", "a=b=c", "x=loud"] {
            assert_eq!(Filter::parse(bad), Err(BadFilter), "{bad}");
        }
    }
}
