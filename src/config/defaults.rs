//! Every default, with its reason.

use std::{num::NonZeroU32, time::Duration};

/// The hosted service. Not the `www` host, which redirects.
pub const BASE_URL: &str = "https://plugged.in";

/// For one server of `doctor`: the first start of an `npx` server downloads it, and a handshake may take a minute.
pub const DOCTOR_PATIENCE: Duration = Duration::from_secs(90);

/// The port that the container image has always published.
pub const PORT: u16 = 12006;

/// Reachable from this machine only.
pub const HOST: &str = "127.0.0.1";

/// Clients allow 64 characters, and some of them put a few of their own in front.
pub const MAX_TOOL_NAME: usize = 60;

/// Below, hardly anything of a name is left beside its hash; above, no known client
/// follows.
pub const MAX_TOOL_NAME_RANGE: std::ops::RangeInclusive<usize> = 16..=128;

/// Soon enough for someone who has just changed the workspace, and 12 requests a
/// minute of the 100 that the App allows.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// Most servers are connected by then. The most impatient client known gives up a
/// server that has not listed its tools within 10 seconds.
pub const LIST_WAIT: Duration = Duration::from_secs(9);

/// Long enough to cost nothing, and shorter than the pauses in which servers are replaced.
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(30);

/// The time-out of the official client libraries.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Builds and researches take minutes; what takes longer than this has been forgotten.
pub const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(30 * 60);

/// Longer than the pauses of someone who works with a client that is open.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// At up to 20 KiB for one that is idle, this is 200 MiB.
pub const MAX_SESSIONS: usize = 10_000;

/// None would serve nobody, and no machine that we know of bears more.
pub const COUNT_RANGE: std::ops::RangeInclusive<usize> = 1..=1_000_000;

/// Below, no handshake fits; above, one request could take all memory.
pub const MAX_BODY_RANGE: std::ops::RangeInclusive<usize> = 1024..=1024 * 1024 * 1024;

/// Most calls are done by then, and the farewell to servers still fits into the 30 seconds that Kubernetes gives.
pub const GRACE: Duration = Duration::from_secs(10);

/// Tool calls a minute of one client: more than an agent makes that thinks in between, and less than one that runs in
/// circles.
pub const RATE_LIMIT_TOOLS: NonZeroU32 = NonZeroU32::new(60).expect("it is above zero");

/// Requests a minute to the App: it allows as many for each address and path.
pub const RATE_LIMIT_API: NonZeroU32 = NonZeroU32::new(100).expect("it is above zero");

/// All clients together may call so many times as often as one.
pub const RATE_LIMIT_CLIENTS: NonZeroU32 = NonZeroU32::new(100).expect("it is above zero");

/// A proxy behind a proxy makes sense; one more is a file that names itself.
pub const MAX_DEPTH: u32 = 1;

pub const LOG_LEVEL: &str = "info";
