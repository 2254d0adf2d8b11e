//! The options of limits that hold for every front, judged. What a limit does is `security`'s to say.

use std::num::NonZeroU32;

use super::{Settings, cli::RateOptions, defaults, env, http::size};
use crate::security::{
    payload::Limits,
    rate_limit::{Rate, Rates},
};

/// Who is there to be limited.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// There may be servers of the App.
    pub(super) app: bool,
    /// Any number of clients may come.
    pub(super) http: bool,
}

impl Settings<'_> {
    /// How large messages may be.
    pub(super) fn limits(&mut self, max_message: Option<String>) -> Limits {
        let given = self.option("--max-message", max_message, env::MAX_MESSAGE);
        let limits = Limits::default();
        Limits { message: self.parse(given, limits.message, size), ..limits }
    }

    /// The limits of calls, and that of requests to the App.
    ///
    /// What nobody asked for holds for servers of the App alone: nobody limits their own machine unasked.
    pub(super) fn rates(&mut self, options: RateOptions, reach: Reach) -> (Rates, Option<Rate>) {
        let RateOptions { rate_limit_tools, rate_limit_burst, rate_limit_global, rate_limit_api } = options;
        let tools = self.option("--rate-limit-tools", rate_limit_tools, env::RATE_LIMIT_TOOLS);
        let burst = self.option("--rate-limit-burst", rate_limit_burst, env::RATE_LIMIT_BURST);
        let global = self.option("--rate-limit-global", rate_limit_global, env::RATE_LIMIT_GLOBAL);
        let api = self.option("--rate-limit-api", rate_limit_api, env::RATE_LIMIT_API);

        let (owners_tools, owners_global) = (tools.is_some(), global.is_some());
        let tools = self.parse(tools, reach.app.then_some(defaults::RATE_LIMIT_TOOLS), count);
        let burst = self.parse(burst, None, |text| count(text)?.map(Some).ok_or_else(bad_burst));
        let of_clients = tools.filter(|_| reach.http).map(|tools| tools.saturating_mul(defaults::RATE_LIMIT_CLIENTS));
        let global = self.parse(global, of_clients, count);
        let api = self.parse(api, Some(defaults::RATE_LIMIT_API), count);
        let rates = Rates {
            tools: tools.map(|tools| Rate { burst: burst.unwrap_or(tools), ..Rate::per_minute(tools) }),
            global: global.map(Rate::per_minute),
            owners_tools,
            owners_global: owners_global || owners_tools,
        };
        (rates, api.map(Rate::per_minute))
    }
}

/// `None` is no limit.
fn count(text: &str) -> Result<Option<NonZeroU32>, String> {
    let number = text.parse().ok().filter(|number: &u32| *number <= 1_000_000);
    number.map(NonZeroU32::new).ok_or_else(|| "must be a number from 0 to 1000000; 0 is no limit".to_owned())
}

fn bad_burst() -> String {
    "must be a number from 1 to 1000000".to_owned()
}
