//! `pluggedin_setup`: how to set the proxy up, and how it is set up now.

use futures_util::FutureExt;

use super::{
    Builtin, Call,
    arguments::Arguments,
    definition::{Area, Definition, Hints, Run, Running},
    outcome::Output,
};
use crate::{
    security::{line, redact},
    source::{AppStatus, FileStatus, Snapshot, app},
};

pub(super) const DEFINITION: Definition = Definition {
    name: "pluggedin_setup",
    title: "Set up plugged.in",
    description: "Explains how to connect this proxy to plugged.in or to a local file of MCP servers, and shows what is wrong with the present set-up. Works without an API key.",
    area: Area::Setup,
    input_schema: r#"{"type":"object","properties":{"topic":{"type":"string","enum":["getting_started","api_key","configuration","troubleshooting"],"description":"What to explain","default":"getting_started"}}}"#,
    output_schema: None,
    hints: Hints { read_only: true, destructive: false, idempotent: true },
    run: Run::Here(run),
};

#[expect(clippy::needless_pass_by_value, reason = "as all tools have them")]
fn run<'a>(builtin: &'a Builtin, _: &'a Call<'a>, arguments: Arguments) -> Running<'a> {
    let text = match arguments.required("topic") {
        "api_key" => API_KEY,
        "configuration" => CONFIGURATION,
        "troubleshooting" => TROUBLESHOOTING,
        _ => GETTING_STARTED,
    };
    async move { Ok(Output::text(with_state(builtin, text))) }.boxed()
}

/// All topics.
pub(super) fn guide(builtin: &Builtin) -> String {
    with_state(builtin, &[GETTING_STARTED, API_KEY, CONFIGURATION, TROUBLESHOOTING].join("\n\n"))
}

fn with_state(builtin: &Builtin, text: &str) -> String {
    let address =
        builtin.source.app().map_or_else(|| "https://plugged.in/api-keys".to_owned(), |app| app::api_keys(app.base_url()).to_string());
    format!("{}\n\n## The present state\n\n{}", text.replace("{api_keys}", &address), state(&builtin.source.snapshot()))
}

/// What the sources say of themselves, a line each.
pub(super) fn state(snapshot: &Snapshot) -> String {
    let said = |text: &str| line::escape(&redact::redact(text)).into_owned();
    let app = match &snapshot.app {
        AppStatus::Unset => "no API key is set".to_owned(),
        AppStatus::Loading => "the plugged.in App has not answered yet".to_owned(),
        AppStatus::Current => "connected to the plugged.in App".to_owned(),
        AppStatus::Refused { message } => format!("**problem:** {}", said(message)),
        AppStatus::Away { message } => format!("**problem:** {}. What it said last is used meanwhile.", said(message)),
    };
    let mut lines = vec![format!("- App: {app}")];
    match &snapshot.file {
        FileStatus::Unset => lines.push("- Local file: none".to_owned()),
        FileStatus::Current { problems } => {
            lines.push("- Local file: in use".to_owned());
            lines.extend(problems.iter().map(|problem| format!("  - **problem:** {}", said(problem))));
        }
        FileStatus::Broken { message } => {
            lines.push(format!("- Local file: **problem:** {}. Its last good state is used meanwhile.", said(message)));
        }
    }
    lines.push(format!("- Servers: {}", snapshot.servers.len()));
    lines.join("\n")
}

const GETTING_STARTED: &str = "# Getting started

This proxy brings many MCP servers together behind one. It takes the list of servers from plugged.in, from a local file, or from both.

**With plugged.in**
1. Create an account at https://plugged.in and add MCP servers to your workspace.
2. Run `pluggedin-mcp-proxy login` in a terminal and approve it in the browser. Or make an API key at {api_keys}, and give it to the proxy: `--pluggedin-api-key KEY`, or `PLUGGEDIN_API_KEY` in its environment.
3. Restart the MCP client.

**With a local file**
1. Write the servers into a JSON file in the form that Claude Desktop and Cursor use: `{\"mcpServers\": {\"NAME\": {\"command\": \"npx\", \"args\": [\"-y\", \"PACKAGE\"]}}}`.
2. Start the proxy with `--config FILE`. Edits take effect without a restart.

Then call `pluggedin_discover_tools` to see what is there.";

const API_KEY: &str = "# The API key

1. Sign in to plugged.in and open {api_keys}.
2. Make a key. It begins with `pg_in_` and is shown once.
3. Give it to the proxy, strongest first:
   - `--pluggedin-api-key KEY`
   - `--pluggedin-api-key-file FILE`: a file that holds the key alone, such as a Docker secret
   - `PLUGGEDIN_API_KEY` in the environment (the `env` of the client's configuration)
   - a file `~/.config/pluggedin/credentials.json`: `{\"api_key\": \"KEY\"}`; `pluggedin-mcp-proxy login` makes the key and the file
4. Restart the MCP client.

For an App of your own, also set `--pluggedin-api-base-url URL` or `PLUGGEDIN_API_BASE_URL`.";

const CONFIGURATION: &str = "# Configuration

In the MCP client's configuration:

```json
{
  \"mcpServers\": {
    \"pluggedin\": {
      \"command\": \"pluggedin-mcp-proxy\",
      \"env\": { \"PLUGGEDIN_API_KEY\": \"YOUR_KEY\" }
    }
  }
}
```

Useful options: `--config FILE` (local servers), `--tool-prefix slug|uuid|none`, `--max-tool-name N`, `--connect eager|lazy`, `--refresh-interval SECONDS`, `--log-level debug`. `pluggedin-mcp-proxy --help` lists all.";

const TROUBLESHOOTING: &str = "# Troubleshooting

- **No tools of a server:** call `pluggedin_discover_tools`; it shows the state of each server and why one does not connect. On the command line `pluggedin-mcp-proxy tools` shows the same.
- **The key is refused:** make a new one at {api_keys}, and check that the base URL is the App that made the key.
- **A command is not found:** programs started from a desktop often have a shorter PATH. Give the full path, or set PATH in the `env` of the client's configuration.
- **The App cannot be reached:** check the base URL. Tools of the last answer stay usable.
- **More detail:** start with `--log-level debug`; messages go to standard error, which most clients write into a log file.";
