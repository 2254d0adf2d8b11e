//! What the operating system says of this process, by the names that Prometheus has for it.
//! It is read from `/proc`; elsewhere there is none, and what reads it does without.

use std::fs;

use super::Page;

/// The unit of times in `/proc`, a second's part. It belongs to Linux's interface and is 100 wherever Rust runs on it.
const TICKS_A_SECOND: f64 = 100.0;

/// What could be read.
#[derive(Debug, Default, PartialEq)]
pub struct Figures {
    /// Seconds.
    cpu: Option<f64>,
    threads: Option<u64>,
    /// Seconds since 1970.
    started: Option<f64>,
    /// Bytes.
    resident: Option<u64>,
    /// Bytes.
    address_space: Option<u64>,
    open_files: Option<usize>,
    max_files: Option<u64>,
}

/// `None` where there is no `/proc`.
pub fn read() -> Option<Figures> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut figures = Figures::of(&stat, &text("/proc/self/status"), &text("/proc/self/limits"), &text("/proc/stat"));
    // The directory that is read is open meanwhile.
    figures.open_files = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1));
    Some(figures)
}

impl Figures {
    fn of(stat: &str, status: &str, limits: &str, machine: &str) -> Self {
        // The second field is a name in brackets and may hold anything; they are counted from the third (proc_pid_stat(5)).
        let fields: Vec<_> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let booted = value_of(machine, "btime ").and_then(|value| value.parse::<f64>().ok());
        let kib = |name| value_of(status, name)?.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024);
        Self {
            cpu: field(14).zip(field(15)).map(|(user, system)| (user + system) / TICKS_A_SECOND),
            threads: value_of(status, "Threads:").and_then(|value| value.parse().ok()),
            started: booted.zip(field(22)).map(|(booted, after)| booted + after / TICKS_A_SECOND),
            resident: kib("VmRSS:"),
            address_space: kib("VmSize:"),
            open_files: None,
            max_files: value_of(limits, "Max open files").and_then(|values| values.split_ascii_whitespace().next()?.parse().ok()),
        }
    }

    pub(super) fn write(&self, page: &mut Page) {
        let Self { cpu, threads, started, resident, address_space, open_files, max_files } = self;
        if let Some(seconds) = cpu {
            page.counter("process_cpu_seconds", "Time that the processors spent on this process.").sample(&[], seconds);
        }
        if let Some(threads) = threads {
            page.gauge("process_threads", "Threads of this process.").sample(&[], threads);
        }
        if let Some(seconds) = started {
            page.gauge("process_start_time_seconds", "When this process began, in seconds since 1970.").sample(&[], seconds);
        }
        if let Some(bytes) = resident {
            page.gauge("process_resident_memory_bytes", "Memory of this process, without its children's.").sample(&[], bytes);
        }
        if let Some(bytes) = address_space {
            page.gauge("process_virtual_memory_bytes", "Addresses that this process has set aside.").sample(&[], bytes);
        }
        if let Some(count) = open_files {
            page.gauge("process_open_fds", "Open file descriptors of this process.").sample(&[], count);
        }
        if let Some(count) = max_files {
            page.gauge("process_max_fds", "File descriptors that this process may have open.").sample(&[], count);
        }
    }
}

/// What stands behind a name at the start of a line.
fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 3 0 1000 5000000 600 18446744073709551615";
        let status = "Name:\ta\nVmSize:\t    2048 kB\nVmRSS:\t     512 kB\nThreads:\t3\n";
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
            Max open files            1024                 524288               files\n";
        let expected = Figures {
            cpu: Some(2.0),
            threads: Some(3),
            started: Some(1_700_000_010.0),
            resident: Some(512 * 1024),
            address_space: Some(2048 * 1024),
            open_files: None,
            max_files: Some(1024),
        };
        assert_eq!(Figures::of(stat, status, limits, "cpu 1 2\nbtime 1700000000\n"), expected);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(Figures::of("", "VmRSS: 1 MB", "Max open files unlimited", "btime x"), Figures::default());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_figures() {
        let Some(Figures { cpu, threads, started, resident, address_space, open_files, max_files: _ }) = read() else {
            panic!("Linux has /proc")
        };
        assert!(cpu.is_some_and(|seconds| seconds < 86_400.0));
        assert!(threads >= Some(1));
        // After the day on which this was written, which no clock that is set is before.
        assert!(started > Some(1_760_000_000.0), "{started:?}");
        assert!(resident > Some(64 * 1024) && resident < address_space, "{resident:?} of {address_space:?}");
        assert!(open_files >= Some(3));
    }
}
