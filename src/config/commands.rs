//! What the operator lets be started here.

use std::path::Path;

use super::{Given, Settings, cli::CommandOptions, env, on_or_off};
use crate::security::command;

impl Settings<'_> {
    /// `per_client`: clients bring keys of their own.
    pub(super) fn commands(&mut self, options: CommandOptions, per_client: bool) -> command::Config {
        let CommandOptions { stdio_servers, allow_command, allow_inline_code } = options;
        let stdio_servers = self.option("--stdio-servers", stdio_servers, env::STDIO_SERVERS);
        // SECURITY: where every holder of a key writes servers, or a project has brought the key, nobody starts programs unasked.
        let default = !(per_client || self.key_is_of_project);
        command::Config {
            allowed: self.allowed_commands(allow_command),
            inline_code: allow_inline_code || self.own_switch(env::ALLOW_INLINE_CODE),
            stdio_servers: self.parse(stdio_servers, default, |text| on_or_off(text).ok_or_else(|| "must be `on` or `off`".to_owned())),
            path: self.environment.path(),
        }
    }

    /// A switch of the environment itself. SECURITY: no file speaks for it.
    fn own_switch(&mut self, name: &str) -> bool {
        let given = self.environment.get(name).map(|text| Given::new(text, format!("`{name}`")));
        self.parse(given, false, |text| on_or_off(text).ok_or_else(|| "must be `true` or `false`".to_owned()))
    }

    /// Of options, or else of the environment itself. SECURITY: no file speaks for them.
    fn allowed_commands(&mut self, options: Vec<String>) -> Vec<String> {
        let (texts, from) = if options.is_empty() {
            let listed = self.environment.get(env::ALLOW_COMMANDS).unwrap_or_default();
            (listed.split(',').map(str::to_owned).collect::<Vec<_>>(), format!("`{}`", env::ALLOW_COMMANDS))
        } else {
            // A name holds no comma, and people write lists.
            let names =
                |text: String| if Path::new(&text).is_absolute() { vec![text] } else { text.split(',').map(str::to_owned).collect() };
            (options.into_iter().flat_map(names).collect::<Vec<_>>(), "`--allow-command`".to_owned())
        };
        let mut allowed = Vec::new();
        for text in texts.iter().map(|text| text.trim()).filter(|text| env::says_something(text)) {
            match command::check_extra(text) {
                Ok(()) => allowed.push(text.to_owned()),
                Err(why) => self.problem(format!("{from} {why}")),
            }
        }
        allowed
    }
}
