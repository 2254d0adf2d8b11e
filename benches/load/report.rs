//! Medians, and the table.

/// How a value is printed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    Micros,
    Millis,
    PerSecond,
    Mebibytes,
    Kibibytes,
    Times,
    Number,
}

/// What must be reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// One line of the table: the three that were measured side by side, and the figure that has a target.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) direct: Option<f64>,
    pub(crate) relay: Option<f64>,
    pub(crate) proxy: f64,
    /// What the figure is, for instance `over direct`.
    pub(crate) what: String,
    pub(crate) figure: f64,
    pub(crate) figure_unit: Unit,
    pub(crate) target: Target,
}

pub(crate) fn head() {
    println!("| cell | direct | relay | proxy | figure | target | |");
    println!("| --- | ---: | ---: | ---: | --- | --- | --- |");
}

impl Row {
    pub(crate) fn print(&self) {
        let Self { name, unit, direct, relay, proxy, what, figure, figure_unit, target } = self;
        let show = |value: &Option<f64>| value.map_or_else(|| "-".to_owned(), |value| unit.show(value));
        let (target, reached) = match *target {
            Target::AtMost(most) => (format!("≤ {}", figure_unit.show(most)), *figure <= most),
            Target::AtLeast(least) => (format!("≥ {}", figure_unit.show(least)), *figure >= least),
        };
        let verdict = if reached { "reached" } else { "MISSED" };
        let (direct, relay, proxy, figure) = (show(direct), show(relay), unit.show(*proxy), figure_unit.show(*figure));
        println!("| {name} | {direct} | {relay} | {proxy} | {figure} {what} | {target} | {verdict} |");
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Micros => format!("{value:.1} µs"),
            Self::Millis => format!("{value:.2} ms"),
            Self::PerSecond => format!("{value:.0}/s"),
            Self::Mebibytes => format!("{value:.1} MiB"),
            Self::Kibibytes => format!("{value:.2} KiB"),
            Self::Times => format!("{value:.2}×"),
            Self::Number => format!("{value:.0}"),
        }
    }
}

/// The middle one of at least one value.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    one_above(values, 2)
}

/// What one in a hundred of at least one value is above.
pub(crate) fn p99(values: &mut [f64]) -> f64 {
    one_above(values, 100)
}

/// What one in `many` is above.
fn one_above(values: &mut [f64], many: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() - 1 - (values.len() - 1) / many]
}
