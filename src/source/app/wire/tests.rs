#![expect(clippy::format_push_string, reason = "brevity counts for more than speed here")]

use expect_test::{Expect, expect};
use secrecy::ExposeSecret;

use super::*;

/// One line a server or warning, secrets included.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
fn check_servers(body: &str, expect: Expect) {
    let listing = servers(body).expect("the body is a list");
    let servers = listing.items.iter().map(|server| {
        let secrets = |map: &IndexMap<String, Secret>| {
            let pairs: Vec<String> = map.iter().map(|(name, value)| format!("{name}={}", value.expose_secret())).collect();
            pairs.join(",")
        };
        let transport = match &server.transport {
            TransportConfig::Stdio(stdio) => format!("{} {:?} [{}]", stdio.command, stdio.args, secrets(&stdio.env)),
            TransportConfig::Http(http) => {
                format!("{:?} {} [{}]", http.kind, http.url, secrets(&http.headers))
            }
        };
        let mut line = format!("{} `{}` {:?}: {transport}", server.id, server.name, server.slug.as_deref().unwrap_or("-"));
        if let Some(timeout) = server.timeout {
            line += &format!(" timeout {timeout:?}");
        }
        if server.requires_auth {
            line += " requires auth";
        }
        for message in &server.instructions {
            line += &format!(" {:?}({})", message.role, message.text);
        }
        line
    });
    let lines: Vec<String> = servers.chain(listing.warnings.iter().map(|warning| format!("! {warning}"))).collect();
    expect.assert_eq(&lines.join("\n"));
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
fn check_tools(body: &str, prefixed: bool, expect: Expect) {
    let listing = tools(body, prefixed).expect("the body is a list");
    let tools = listing.items.iter().map(|tool| {
        let schema = tool.input_schema.as_ref().map_or("-", |raw| raw.get());
        format!("{} {} <- {} {schema}", tool.server, tool.name, tool.listed)
    });
    let lines: Vec<String> = tools.chain(listing.warnings.iter().map(|warning| format!("! {warning}"))).collect();
    expect.assert_eq(&lines.join("\n"));
}

#[test]
fn the_usual_server_of_each_type() {
    check_servers(
        r#"[
            {"uuid": "u1", "name": "Files", "type": "STDIO", "command": "npx", "args": ["-y", "pkg", "/data"], "env": {"A": "b"},
             "url": null, "slug": "files", "status": "ACTIVE", "config": null, "customInstructions": [{"role": "system", "content": "Read."}]},
            {"uuid": "u2", "name": "Hub", "type": "STREAMABLE_HTTP", "command": null, "args": [], "env": {}, "url": "https://a.example/mcp",
             "transport": "streamable_http", "streamableHTTPOptions": {"headers": {"Authorization": "Bearer t"}, "sessionId": "s", "timeout": 2500},
             "config": {"requires_auth": true}, "slug": null},
            {"uuid": "u3", "name": "Old", "type": "SSE", "url": "https://b.example/sse", "args": [], "env": {}}
        ]"#,
        expect![[r#"
            u1 `Files` "files": npx ["-y", "pkg", "/data"] [A=b] System(Read.)
            u2 `Hub` "-": Streamable https://a.example/mcp [Authorization=Bearer t] timeout 2.5s requires auth
            u3 `Old` "-": Sse https://b.example/sse []"#]],
    );
}

#[test]
fn a_missing_type_is_stdio_unless_there_is_only_a_url() {
    check_servers(
        r#"[{"uuid": "a", "name": "a", "type": null, "command": "node", "url": "https://x.example"},
            {"uuid": "b", "name": "b", "url": "https://x.example"},
            {"uuid": "c", "name": "c", "type": "streamable-http", "url": "https://x.example"},
            {"uuid": "d", "name": "d", "type": "STREAMABLE_HTTP", "transport": "sse", "url": "https://x.example"}]"#,
        expect![[r#"
            a `a` "-": node [] []
            b `b` "-": Auto https://x.example []
            c `c` "-": Streamable https://x.example []
            d `d` "-": Auto https://x.example []"#]],
    );
}

#[test]
fn scalars_where_text_belongs() {
    check_servers(
        r#"[{"uuid": "a", "name": 42, "command": true, "args": [1, 1.50, false, "x"], "env": {"N": 7, "B": true, "Z": null, "O": {"k":1}}},
            {"uuid": "b", "name": "b", "command": 123, "args": "-y", "env": null},
            {"uuid": "c", "name": "c", "command": "x", "args": null, "env": "{\"STORED\":\"as text\"}"}]"#,
        expect![[r#"
            a `42` "-": true ["1", "1.50", "false", "x"] [B=true,N=7,O={"k":1}]
            b `b` "-": 123 ["-y"] []
            c `c` "-": x [] [STORED=as text]"#]],
    );
}

#[test]
fn arguments_that_are_no_text_are_refused() {
    check_servers(
        r#"[{"uuid": "a", "name": "a", "command": "x", "args": ["--key", null, "SECRET"]},
            {"uuid": "b", "name": "b", "command": "x", "args": ["a", "b", {"k": "SECRET"}]},
            {"uuid": "c", "name": "c", "command": "x", "args": [["SECRET"]]},
            {"uuid": "d", "name": "d", "command": "x", "args": {"0": "SECRET"}},
            {"uuid": "e", "name": "e", "command": "x", "args": {}},
            {"uuid": "f", "name": "f", "command": "x", "args": ["", "null", "{}"]}]"#,
        expect![[r#"
            e `e` "-": x [] []
            f `f` "-": x ["", "null", "{}"] []
            ! server `a` of the App has null as item 2 of `args`, which must be texts; it is left out
            ! server `b` of the App has an object as item 3 of `args`, which must be texts; it is left out
            ! server `c` of the App has a list as item 1 of `args`, which must be texts; it is left out
            ! server `d` of the App has an object as `args`, which must be a list of texts; it is left out"#]],
    );
}

#[test]
fn the_unusable_is_left_out_with_its_name() {
    check_servers(
        r#"[{"uuid": "a", "name": "no command", "type": "STDIO"},
            {"uuid": "b", "name": "no url", "type": "SSE", "url": ""},
            {"name": "no id", "command": "x"},
            {"uuid": "file:x", "name": "poser", "command": "x"},
            {"uuid": "c", "name": "odd\nname", "type": "CARRIER_PIGEON", "command": "SECRET"},
            7, null,
            {"uuid": "off", "name": "off", "command": "x", "status": "INACTIVE"},
            {"uuid": "ok", "command": "x", "slug": "Bad__Slug"},
            {"uuid": "ok", "name": "again", "command": "y"}]"#,
        expect![[r#"
            ok `ok` "-": x [] []
            ! server `no command` of the App has no command; it is left out
            ! server `no url` of the App has no URL; it is left out
            ! the App lists the server `no id` without a usable identifier; it is left out
            ! the App lists the server `poser` without a usable identifier; it is left out
            ! server `odd\nname` of the App has the unknown type `CARRIER_PIGEON`; it is left out
            ! the App lists a server that is not an object; it is left out
            ! the App lists a server that is not an object; it is left out"#]],
    );
}

#[test]
fn where_headers_come_from() {
    check_servers(
        r#"[{"uuid": "a", "type": "SSE", "url": "u", "streamableHTTPOptions":
              {"headers": {"authorization": "new"}, "requestInit": {"headers": {"Authorization": "stale"}}}, "headers": {"X-Top": "1", "AUTHORIZATION": "weak"}},
            {"uuid": "b", "type": "SSE", "url": "u", "streamableHTTPOptions": {"requestInit": {"headers": [["Authorization", "only"]]}}},
            {"uuid": "c", "type": "SSE", "url": "u", "streamableHTTPOptions": {"headers": {}, "requestInit": {"headers": {"Authorization": "signed out"}}}},
            {"uuid": "d", "type": "SSE", "url": "u", "oauthToken": "tok", "sessionId": "top"},
            {"uuid": "e", "type": "SSE", "url": "u", "streamableHTTPOptions": null, "oauth": {"x": 1}}]"#,
        expect![[r#"
            a `a` "-": Sse u [authorization=new,X-Top=1]
            b `b` "-": Sse u [Authorization=only]
            c `c` "-": Sse u []
            d `d` "-": Sse u [Authorization=Bearer tok]
            e `e` "-": Sse u []"#]],
    );
}

#[test]
fn notes_of_old_rows_are_lifted_out_of_env() {
    check_servers(
        r#"[{"uuid": "a", "name": "a", "type": "STREAMABLE_HTTP", "url": "u", "env":
              {"__transport": "streamable_http", "__streamableHTTPOptions": "{\"headers\":{\"H\":\"v\"},\"sessionId\":\"s\"}"}},
            {"uuid": "b", "name": "b", "command": "x", "env": {"__transport": "stdio", "__else": "1", "_ONE": "kept"}},
            {"uuid": "c", "name": "c", "type": "STDIO", "url": "u", "env": {"__transport": "sse"}}]"#,
        expect![[r#"
            a `a` "-": Streamable u [H=v]
            b `b` "-": x [] [_ONE=kept]
            c `c` "-": Sse u []"#]],
    );
}

#[test]
fn mcp_remote_is_run_as_a_program() {
    check_servers(
        r#"[{"uuid": "a", "name": "a", "type": "SSE", "url": "u", "args": ["-y", "mcp-remote@0.1", "https://x.example"]},
            {"uuid": "b", "name": "b", "type": "STREAMABLE_HTTP", "command": "pnpm", "args": ["mcp-remote"]},
            {"uuid": "c", "name": "c", "type": "SSE", "url": "u", "args": ["mcp-remote-not"]}]"#,
        expect![[r#"
            a `a` "-": npx ["-y", "mcp-remote@0.1", "https://x.example"] []
            b `b` "-": pnpm ["mcp-remote"] []
            c `c` "-": Sse u []"#]],
    );
}

#[test]
fn lists_come_bare_or_wrapped() {
    for body in [
        r#"[{"uuid": "a", "command": "x"}]"#,
        r#"{"servers": [{"uuid": "a", "command": "x"}]}"#,
        r#"{"mcpServers": [{"uuid": "a", "command": "x"}], "message": "m", "other": 1}"#,
    ] {
        check_servers(body, expect![[r#"a `a` "-": x [] []"#]]);
    }
    for body in ["[]", "{}", "null", r#"{"servers": null}"#, r#"{"message": "none"}"#] {
        check_servers(body, expect![""]);
    }
}

#[test]
fn what_is_no_list() {
    let what = |body: &str| servers(body).expect_err("not a list").to_string();
    expect!["the plugged.in App sent a web page instead of JSON; does the base URL lead to it?"].assert_eq(&what("<!DOCTYPE html>"));
    expect!["the plugged.in App sent an empty body; does the base URL lead to it?"].assert_eq(&what(" "));
    expect!["the plugged.in App sent something that is not the expected JSON; does the base URL lead to it?"].assert_eq(&what("[1,"));
    expect!["the plugged.in App sent JSON that holds no list; does the base URL lead to it?"].assert_eq(&what(r#"{"status": "ok"}"#));
}

#[test]
fn exactly_the_known_prefix_is_cut() {
    check_tools(
        r#"{"tools": [
            {"name": "github__create__issue", "_serverUuid": "u1", "_serverSlug": "github", "inputSchema": {"type": "object"}},
            {"name": "u2__files/read", "_serverUuid": "u2", "inputSchema": {"b": 1.0, "a": 2}},
            {"name": "other__thing", "_serverUuid": "u1", "_serverSlug": "github", "inputSchema": "nonsense"},
            {"name": "github__", "_serverUuid": "u1", "_serverSlug": "github"}
        ]}"#,
        true,
        expect![[r#"
            u1 github__ <- github__ -
            u1 create__issue <- github__create__issue {"type": "object"}
            u1 other__thing <- other__thing -
            u2 files/read <- u2__files/read {"b": 1.0, "a": 2}"#]],
    );
    check_tools(
        r#"{"tools": [{"name": "github__x", "_serverUuid": "u1", "_serverSlug": "github"}]}"#,
        false,
        expect!["u1 github__x <- github__x -"],
    );
}

#[test]
fn unusable_tools_are_named() {
    check_tools(
        r#"{"tools": [{"_serverUuid": "u"}, {"name": "orphan"}, {"name": "t", "_serverUuid": "u"}, {"name": "t", "_serverUuid": "u"}], "message": "m"}"#,
        true,
        expect![[r#"
            u t <- t -
            ! the App lists a tool without a name; it is left out
            ! the App lists the tool `orphan` without its server; it is left out"#]],
    );
}

#[test]
fn schemas_stay_on_one_line() {
    check_tools(
        "[{\"name\": \"t\", \"_serverUuid\": \"u\", \"inputSchema\": {\r\n  \"a\": \"x\\ny\"\n}}]",
        true,
        expect![[r#"u t <- t {    "a": "x\ny" }"#]],
    );
}

#[test]
fn names_of_the_first_apps_lose_their_server() {
    let servers = servers(r#"[{"uuid": "u", "name": "My Server", "command": "x"}, {"uuid": "v", "name": "é", "command": "x"}]"#);
    let mut listing = tools(
        r#"[{"name": "My_Server_read_file", "_serverUuid": "u"}, {"name": "my_server_list", "_serverUuid": "u"},
            {"name": "other", "_serverUuid": "u"}, {"name": "My_Server_", "_serverUuid": "u"}, {"name": "é_x", "_serverUuid": "v"}]"#,
        true,
    )
    .expect("a list");
    assert!(listing.bare);
    restore_tool_names(&mut listing.items, &servers.expect("a list").items);
    let names: Vec<_> = listing.items.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["My_Server_", "read_file", "list", "other", "x"]);
}

#[test]
fn resources_templates_and_prompts() {
    let listing = resources(r#"[{"uri": "a:1", "name": "A", "mimeType": "text/plain"}, {"uri": "a:1", "name": "B"}, {"name": "no uri"}]"#);
    let listing = listing.expect("a list");
    assert_eq!(listing.items.len(), 1);
    assert_eq!(listing.warnings, ["the App lists a resource without `uri`; it is left out"]);
    assert_eq!(listing.items[0].mime_type.as_deref(), Some("text/plain"));

    let listing = templates(r#"[{"uriTemplate": "a:{x}", "mediaType": "text/html"}]"#).expect("a list");
    assert_eq!((listing.items[0].uri.as_str(), listing.items[0].name.as_deref()), ("a:{x}", None));
    assert_eq!(listing.items[0].mime_type.as_deref(), Some("text/html"));

    let listing = prompts(r#"[{"name": "p", "arguments": []}, {"name": "q", "arguments": {}}, {"name": "p"}, 3]"#).expect("a list");
    let shown: Vec<_> = listing.items.iter().map(|p| (p.name.as_str(), p.arguments.as_ref().map(|a| a.get()))).collect();
    assert_eq!(shown, [("p", Some("[]")), ("q", None)]);
}

#[test]
fn instructions_of_both_spellings() {
    let listing = instruction_list(
        r#"[{"name": "a__system_context", "instruction": [{"role": "system", "content": "x"}], "arguments": [], "_serverUuid": "u"},
            {"name": "pluggedin_instruction_a_default", "description": "d", "_serverUuid": "u"}, {"name": "lost"}]"#,
    )
    .expect("a list");
    let shown: Vec<_> = listing.items.iter().map(|i| (i.record.name.as_str(), i.messages.len())).collect();
    assert_eq!(shown, [("a__system_context", 1), ("pluggedin_instruction_a_default", 0)]);
    assert_eq!(listing.warnings.len(), 1);
}

#[test]
fn failures_inside_a_success() {
    let message = |body: &str| in_band_failure(body).map(|error| error.to_string());
    assert_eq!(
        message(r#"{"success": false, "error": "no provider"}"#).as_deref(),
        Some("the plugged.in App refused the request (200): no provider")
    );
    assert_eq!(
        message(r#"{"success": false, "error": "Failed query: select 1"}"#).as_deref(),
        Some("the plugged.in App refused the request (200): an internal error of the App")
    );
    assert!(message(r#"{"error": "x"}"#).is_some());
    for fine in [r#"{"success": true, "error": "x"}"#, r#"{"error": null}"#, "[]", "", "{}", r#"{"tools": []}"#] {
        assert_eq!(message(fine), None, "{fine}");
    }
}

#[test]
fn details_are_never_read() {
    let failure = failure(r#"{"error": "Bad\nrequest", "details": "SELECT secret", "retryAfter": 7}"#).expect("an object");
    assert_eq!(failure.message.as_deref(), Some("Bad request"));
    assert_eq!(failure.retry_after.as_deref(), Some("7"));
    assert!(super::failure("<html>").is_none());
}

#[test]
fn no_json_makes_it_panic() {
    let values = ["null", "true", "1e999", "\"\"", "\"\\ud800\"", "[]", "[[]]", "{}", "{\"a\":{}}", "{\"text\":{}}"];
    let members = [
        "uuid",
        "name",
        "type",
        "status",
        "command",
        "args",
        "env",
        "url",
        "slug",
        "timeout",
        "headers",
        "oauthToken",
        "transport",
        "streamableHTTPOptions",
        "customInstructions",
        "config",
        "uri",
        "uriTemplate",
        "arguments",
        "_serverUuid",
        "_serverSlug",
        "inputSchema",
        "instruction",
        "description",
    ];
    for member in members {
        for value in values {
            for base in [r#""uuid":"u","name":"n","_serverUuid":"u","command":"x","uri":"u","uriTemplate":"u""#, r#""x":0"#] {
                let body = format!("[{{{base},\"{member}\":{value}}}]");
                let _ = (servers(&body), tools(&body, true), resources(&body), templates(&body), prompts(&body));
                let _ = (instruction_list(&body), resolved(&body), message(&body), failure(&body), in_band_failure(&body));
            }
        }
    }
    for value in values {
        let _ = (servers(value), tools(value, false), resolved(value), message(value), failure(value));
    }
}
