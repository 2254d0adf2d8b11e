//! The two text forms that are read by Prometheus and its kin: its own, 0.0.4, and OpenMetrics 1.0.

use std::fmt::{Display, Write};

use super::Histogram;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

/// All families of one reading.
#[derive(Debug)]
pub struct Page {
    format: Format,
    text: String,
}

/// The series of one name. They are written before another family begins.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut Page,
    /// Without the ending that its kind has.
    name: &'static str,
    kind: Kind,
}

/// Names and values. Values may be any text.
type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    pub fn new(format: Format) -> Self {
        Self { format, text: String::new() }
    }

    /// `name` is without `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(name, help, Kind::Counter)
    }

    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(name, help, Kind::Gauge)
    }

    pub fn histogram(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(name, help, Kind::Histogram)
    }

    /// `name` is without `_info`; the value is 1.
    pub fn info(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(name, help, Kind::Info)
    }

    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn family(&mut self, name: &'static str, help: &'static str, kind: Kind) -> Family<'_> {
        // OpenMetrics names the family, the older format each of its series.
        let (ending, word) = match (self.format, kind) {
            (Format::Text, Kind::Counter) => ("_total", "counter"),
            (Format::OpenMetrics, Kind::Counter) => ("", "counter"),
            (Format::Text, Kind::Info) => ("_info", "gauge"),
            (Format::OpenMetrics, Kind::Info) => ("", "info"),
            (_, Kind::Gauge) => ("", "gauge"),
            (_, Kind::Histogram) => ("", "histogram"),
        };
        self.line(format_args!("# HELP {name}{ending} {help}"));
        self.line(format_args!("# TYPE {name}{ending} {word}"));
        Family { page: self, name, kind }
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.text, "{line}").expect("a string takes everything");
    }
}

impl Family<'_> {
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        let ending = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.series(ending, labels, None, value);
    }

    /// All series of one histogram.
    pub fn distribution(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        let mut count = 0;
        for (edge, up_to) in histogram.cumulated() {
            self.series("_bucket", labels, Some(("le", edge)), up_to);
            count = up_to;
        }
        self.series("_sum", labels, None, histogram.sum());
        self.series("_count", labels, None, count);
    }

    fn series(&mut self, ending: &str, labels: Labels<'_>, last: Option<(&str, &str)>, value: impl Display) {
        let text = &mut self.page.text;
        text.push_str(self.name);
        text.push_str(ending);
        let mut separator = '{';
        for (name, value) in labels.iter().copied().chain(last) {
            text.push(separator);
            text.push_str(name);
            text.push_str("=\"");
            escape(text, value);
            text.push('"');
            separator = ',';
        }
        if separator == ',' {
            text.push('}');
        }
        self.page.line(format_args!(" {value}"));
    }
}

/// The three signs that a label's value cannot hold as they are.
fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}
