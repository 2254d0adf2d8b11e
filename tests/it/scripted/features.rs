//! What the server offers: its lists and what their entries do.

use super::session::{Call, Reply, parse};
use super::{Server, lock};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A result with everything that a proxy may be tempted to tidy up: an unknown content type, members of vendors, nulls,
/// members out of order, and numbers that change when they go through a double or through the other kind of number.
pub(crate) const ODD_RESULT: &str = concat!(
    r#"{"zeta":null,"content":[{"type":"hologram","frames":[1.0,1,-0.0,9007199254740993,18446744073709551615],"#,
    r#""x-depth":{"b":1,"a":2}},{"text":"\u00e9\u2028 \ud83d\ude00 </script>","type":"text","#,
    r#""annotations":{"priority":1.0,"audience":["user"],"x-seen":false}}],"structuredContent":{"empty":{},"#,
    r#""list":[],"deep":[[[[{"":""}]]]],"resultType":"mine"},"isError":false,"#,
    r#""_meta":{"vendor.example/trace":"00-4bf9","progressToken":"not one of yours"},"x-vendor":[true,null]}"#
);

impl Server {
    pub(crate) fn add(&self, list: &str, name: String) {
        {
            let mut added = lock(&self.added);
            match list {
                "prompts" => added.prompts.push(name),
                "resources" => added.resources.push(name),
                _ => added.tools.push(name),
            }
        }
        let method = format!("notifications/{list}/list_changed");
        self.broadcast(&json!({"jsonrpc": "2.0", "method": method}));
    }
}

impl Server {
    /// Tells that a resource has changed.
    pub(crate) fn touch(&self, uri: &str) {
        self.broadcast(&json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri, "x-vendor": 1.0}}));
    }
}

impl Call {
    pub(crate) async fn handle(&self) -> Reply {
        let script = &self.session.server.script;
        let params = parse(&self.params);
        let area = self.method.split('/').next();
        let capability = if area == Some("completion") { Some("completions") } else { area };
        if script.without.iter().any(|without| Some(without.as_str()) == capability) {
            return no_method(&self.method);
        }
        if self.method == "initialize"
            && let Some(text) = script.refusal()
        {
            return Reply::Error(json!({"code": -32_000, "message": text}));
        }
        match self.method.as_str() {
            "initialize" => result(&self.initialize(&params)),
            "ping" => result(&json!({})),
            "tools/list" => self.page("tools", &self.tools(), &params),
            "tools/call" => self.call_tool(&params).await,
            "prompts/list" => self.page("prompts", &self.prompts(), &params),
            "prompts/get" => self.get_prompt(&params),
            "resources/list" => self.page("resources", &self.resources(), &params),
            "resources/templates/list" => self.page("resourceTemplates", &[item_template()], &params),
            "resources/read" => self.read_resource(&params),
            "resources/subscribe" => self.subscribe('+', &params),
            "resources/unsubscribe" => self.subscribe('-', &params),
            "logging/setLevel" => {
                lock(&self.session.server.journal).levels.push(text_of(&params["level"]));
                result(&json!({}))
            }
            "completion/complete" => complete(&params),
            // Its own methods say what they were called with, to the letter.
            method if script.declares(area.unwrap_or_default()) => {
                Reply::Result(format!(r#"{{"server":{},"method":{},"params":{}}}"#, json!(script.name), json!(method), self.params.get()))
            }
            method => no_method(method),
        }
    }

    fn initialize(&self, params: &Value) -> Value {
        *lock(&self.session.introduced) = params.clone();
        let script = &self.session.server.script;
        let revision = match &script.revision {
            Some(revision) => json!(revision),
            None => params["protocolVersion"].clone(),
        };
        json!({
            "protocolVersion": revision,
            "capabilities": self.capabilities(),
            "serverInfo": {"name": script.name, "version": "0.1.0", "x-build": 7},
            "instructions": format!("Instructions of {}.", script.name),
        })
    }

    pub(crate) fn capabilities(&self) -> Value {
        let script = &self.session.server.script;
        let mut capabilities: Map<String, Value> =
            ["tools", "prompts", "resources"].map(|area| (area.to_owned(), json!({"listChanged": true}))).into_iter().collect();
        if !script.without.iter().any(|without| without == "subscribe") {
            capabilities["resources"]["subscribe"] = json!(true);
        }
        capabilities.insert("completions".to_owned(), json!({}));
        capabilities.insert("logging".to_owned(), json!({}));
        capabilities.insert("experimental".to_owned(), json!({"x-odd": {"deep": [1]}}));
        for without in &script.without {
            capabilities.remove(without);
        }
        for own in &script.declare {
            capabilities.entry("extensions").or_insert_with(|| json!({}))[format!("com.example/{own}")] = json!({"x": 1.0});
        }
        Value::Object(capabilities)
    }

    /// One page of a list, as the script cuts it.
    fn page(&self, member: &str, entries: &[Value], params: &Value) -> Reply {
        let script = &self.session.server.script;
        let size = script.page_size.unwrap_or(entries.len()).max(1);
        let from = match &params["cursor"] {
            Value::Null => 0,
            Value::String(cursor) => match cursor.strip_prefix("from ").map(str::parse) {
                Some(Ok(_)) if script.looping_cursor => 0,
                Some(Ok(from)) => from,
                _ => return invalid(&format!("no such cursor: {cursor}")),
            },
            other => return invalid(&format!("cursor is no string: {other}")),
        };
        let exact = script.entries.iter().filter_map(|text| text.split_once('=')).filter(|(list, _)| *list == member);
        let entries: Vec<String> = entries.iter().map(Value::to_string).chain(exact.map(|(_, entry)| entry.to_owned())).collect();
        let total = entries.len();
        let repeated = script.looping_cursor || script.endless_cursor;
        let first = if repeated { 0 } else { from };
        let page: Vec<String> = entries.into_iter().skip(first).take(size).collect();
        // Many servers say at the end that there is no next page, rather than nothing.
        let next = if repeated || from + size < total { json!(format!("from {}", from + size)) } else { Value::Null };
        Reply::Result(format!(r#"{{"{member}":[{}],"nextCursor":{next}}}"#, page.join(",")))
    }

    fn tools(&self) -> Vec<Value> {
        let server = &self.session.server;
        let mut tools = vec![
            json!({
                "name": "echo",
                "title": "Echo",
                "description": "Returns its parameters",
                "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
            }),
            json!({
                "x-vendor": {"rank": 1.0, "limit": 9_007_199_254_740_993_u64, "none": null},
                "name": "odd",
                "title": "Odd",
                "description": "Returns what is valid and unusual",
                "inputSchema": {
                    "$schema": "https://json-schema.org/draft/2020-12/schema",
                    "type": "object",
                    "properties": {"b": {"type": "number", "default": 1.0}, "a": true},
                    "x-order": ["b", "a"],
                },
                "outputSchema": {"type": "object"},
                "annotations": {"readOnlyHint": true, "x-cost": 0.10},
                "icons": [{"src": "data:image/png;base64,AA==", "mimeType": "image/png", "sizes": ["any"]}],
                "execution": {"taskSupport": "optional"},
                "_meta": {"vendor.example/version": 1},
            }),
        ];
        let plain = [
            ("slow", "Waits until it is released or cancelled"),
            ("release", "Ends the slow call with the same label"),
            ("calls", "Tells what happened to slow calls"),
            ("progress", "Reports progress, then answers"),
            ("add", "Adds an entry to a list"),
            ("describe", "Gives a tool another description"),
            ("process", "Shows identity, arguments, directory and environment"),
            ("fail", "Fails as a tool fails"),
            ("error", "Fails as a request fails"),
            ("crash", "Breaks the connection"),
            ("large", "Returns that many letters"),
            ("ask", "Sends the client a request and returns the answer"),
            ("talk", "Says what it is told to, line by line, and returns what it was answered"),
        ];
        tools.extend(plain.iter().map(|(name, description)| tool(name, description)));
        tools.extend((0..server.script.tools).map(|n| tool(&format!("tool-{n:04}"), "One of many")));
        if server.script.modern || server.script.dual {
            let asking = [
                ("ask-twice", "Asks in two rounds"),
                ("ask-all", "Asks for everything"),
                ("ask-model", "Asks for a sample"),
                ("ask-roots", "Asks for roots"),
                ("ask-again", "Wants to be called again"),
            ];
            tools.extend(asking.iter().map(|(name, description)| tool(name, description)));
        }
        for name in server.script.schemas.iter().filter_map(|text| Some(text.split_once('=')?.0)) {
            let mut tool = tool(name, "Has a schema");
            tool["inputSchema"] = server.script.schema_of(name);
            tools.push(tool);
        }
        let added = lock(&server.added);
        tools.extend(added.tools.iter().map(|name| tool(name, "Added")));
        for (name, description) in &added.descriptions {
            for tool in tools.iter_mut().filter(|tool| tool["name"] == *name) {
                tool["description"] = json!(description);
            }
        }
        tools
    }

    async fn call_tool(&self, params: &Value) -> Reply {
        let server = &self.session.server;
        let arguments = &params["arguments"];
        match params["name"].as_str().unwrap_or_default() {
            "odd" => Reply::Result(ODD_RESULT.to_owned()),
            "slow" => self.slow(arguments).await,
            "release" => {
                let label = text_of(&arguments["label"]);
                server.released.send_modify(|labels| {
                    labels.insert(label);
                });
                text("released")
            }
            "calls" => {
                let journal = server.journal();
                structured(&json!({
                    "started": journal.started,
                    "cancelled": journal.cancelled,
                    "finished": journal.finished,
                    "answers": journal.answers,
                    "levels": journal.levels,
                    "subscriptions": journal.subscriptions,
                    "listens": journal.listens,
                    "methods": journal.methods,
                    "notified": journal.notified,
                }))
            }
            "progress" => self.progress(params),
            "add" => {
                server.add(&text_of(&arguments["kind"]), text_of(&arguments["name"]));
                text("added")
            }
            "touch" if arguments["task"].is_string() => {
                server.broadcast(
                    &json!({"jsonrpc": "2.0", "method": "notifications/tasks", "params": {"taskId": arguments["task"], "x-vendor": 1.0}}),
                );
                text("touched")
            }
            "touch" => {
                server.touch(&text_of(&arguments["uri"]));
                text("touched")
            }
            // What the client of this very connection has said of itself.
            "introduced" => structured(&lock(&self.session.introduced)),
            // How often this very connection was asked.
            "count" => structured(&json!({"count": self.session.counted.fetch_add(1, Ordering::Relaxed) + 1})),
            "dismiss" => {
                server.dismissed.send_replace(());
                text("dismissed")
            }
            // Any result, to the letter: its own, or later that of a prompt or resource.
            "exact" => match arguments["of"].as_str() {
                Some(of) => {
                    lock(&server.added).exact.insert(of.to_owned(), text_of(&arguments["result"]));
                    text("kept")
                }
                None => Reply::Result(text_of(&arguments["result"])),
            },
            "raw" => Reply::Raw(text_of(&arguments["text"])),
            "describe" => {
                lock(&server.added).descriptions.push((text_of(&arguments["name"]), text_of(&arguments["text"])));
                server.broadcast(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
                text("described")
            }
            "process" => structured(&json!({
                "pid": std::process::id(),
                "grandchild": server.grandchild,
                "arguments": server.script.rest,
                "directory": std::env::current_dir().unwrap_or_default(),
                "environment": std::env::vars().collect::<BTreeMap<_, _>>(),
            })),
            "fail" => result(&json!({
                "content": [{"type": "text", "text": arguments["text"].as_str().unwrap_or("the printer is on fire")}],
                "isError": true,
                "x-code": 451,
            })),
            // Any error, where one is given.
            "error" if arguments["error"].is_object() => Reply::Error(arguments["error"].clone()),
            "error" => Reply::Error(json!({
                "code": -32_050,
                "message": "the moon is in the wrong phase",
                "data": {"phase": "waxing", "fraction": 1.0},
            })),
            "crash" => Reply::Break,
            "large" => {
                let bytes = arguments["bytes"].as_u64().unwrap_or(1 << 20);
                text(&"x".repeat(usize::try_from(bytes).expect("a test asks for less")))
            }
            "ask" => {
                let method = text_of(&arguments["method"]);
                structured(&self.ask(&method, arguments["params"].clone()).await)
            }
            "talk" => self.talk(params).await,
            name => self.echo(name),
        }
    }

    /// Follows `arguments.lines`, each of which is one of
    /// - `{"say": MESSAGE}`: sends it as a message of this call;
    /// - `{"progress": NUMBER}`: reports progress, if that was asked for;
    /// - `{"ask": METHOD, "params": TEXT, "id": TEXT}`: asks the client, both as JSON text, and waits for the answer; with
    ///   `"ms"`, only so long, and withdraws the request then;
    /// - `{"wait": LABEL}`: waits until the label is released;
    /// - `{"later": MESSAGE, "ms": NUMBER}`: sends it after so many milliseconds as a message of no call.
    async fn talk(&self, params: &Value) -> Reply {
        let mut answers = Vec::new();
        for line in params["arguments"]["lines"].as_array().into_iter().flatten() {
            if let Some(message) = line.get("say") {
                self.tell(message);
            } else if let Some(step) = line.get("progress") {
                let token = &params["_meta"]["progressToken"];
                let progress = json!({"progressToken": token, "progress": step});
                self.tell(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}));
            } else if let Some(method) = line.get("ask") {
                let id = line["id"].as_str().unwrap_or(r#""of talk""#);
                let method = text_of(method);
                let asking = self.ask_as(id, &method, line["params"].as_str().unwrap_or("{}"));
                tokio::select! {
                    answer = asking => answers.push(answer),
                    () = time(&line["ms"]) => {
                        let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
                        self.tell(&serde_json::from_str(&text).expect("the id is JSON"));
                        answers.push(json!("withdrawn"));
                    }
                }
            } else if let Some(label) = line.get("wait") {
                let mut released = self.session.server.released.subscribe();
                let _ = released.wait_for(|labels| labels.contains(&text_of(label))).await;
            } else if let Some(message) = line.get("later") {
                let (session, message, ms) = (self.session.clone(), message.clone(), line["ms"].clone());
                tokio::spawn(async move {
                    time(&ms).await;
                    session.tell(&message);
                });
            }
        }
        structured(&json!(answers))
    }

    /// Says who was asked for what, with the parameters to the letter.
    fn echo(&self, name: &str) -> Reply {
        let server = &self.session.server;
        let known = self.tools().iter().any(|tool| tool["name"] == name);
        if !known {
            return invalid(&format!("Unknown tool: {name}"));
        }
        Reply::Result(format!(
            r#"{{"content":[{{"type":"text","text":{}}}],"structuredContent":{{"server":{},"tool":{},"params":{}}}}}"#,
            json!(self.params.get()),
            json!(server.script.name),
            json!(name),
            self.params.get(),
        ))
    }

    async fn slow(&self, arguments: &Value) -> Reply {
        let server = &self.session.server;
        let label = text_of(&arguments["label"]);
        lock(&server.journal).started.push(label.clone());
        let mut released = server.released.subscribe();
        tokio::select! {
            () = self.cancelled.cancelled() => {
                lock(&server.journal).cancelled.push(label);
                Reply::Silence
            }
            _ = released.wait_for(|labels| labels.contains(&label)) => {
                lock(&server.journal).finished.push(label);
                text("finished")
            }
            () = time(&arguments["ms"]) => {
                lock(&server.journal).finished.push(label);
                text("finished in time")
            }
        }
    }

    fn progress(&self, params: &Value) -> Reply {
        let steps = params["arguments"]["steps"].as_u64().unwrap_or(3);
        let token = &params["_meta"]["progressToken"];
        if !token.is_null() {
            for step in 1..=steps {
                self.tell(&json!({
                    "jsonrpc": "2.0",
                    "method": "notifications/progress",
                    "params": {
                        "progressToken": token,
                        "progress": step,
                        "total": steps,
                        "message": format!("{} {step}", params["arguments"]["label"]),
                        "x-step": {"of": self.session.server.script.name, "share": 1.0},
                    },
                }));
            }
        }
        text(if token.is_null() { "nobody listened" } else { "done" })
    }

    fn prompts(&self) -> Vec<Value> {
        let mut prompts = vec![json!({
            "name": "greet",
            "title": "Greeting",
            "description": "Greets somebody",
            "arguments": [{"name": "who", "description": "Whom", "required": true, "x-hint": 1.0}],
            "x-vendor": {"tone": ["warm", null]},
        })];
        let added = lock(&self.session.server.added);
        prompts.extend(added.prompts.iter().map(|name| json!({"name": name})));
        prompts
    }

    fn get_prompt(&self, params: &Value) -> Reply {
        let name = &params["name"];
        if let Some(exact) = lock(&self.session.server.added).exact.get(name.as_str().unwrap_or_default()) {
            return Reply::Result(exact.clone());
        }
        let Some(prompt) = self.prompts().into_iter().find(|prompt| prompt["name"] == *name) else {
            return invalid(&format!("Unknown prompt: {name}"));
        };
        result(&json!({
            "description": prompt["description"],
            "messages": [{
                "role": "user",
                "content": {"type": "text", "text": self.session.server.script.name, "x-raw": params},
            }],
            "x-vendor": 1.0,
        }))
    }

    fn resources(&self) -> Vec<Value> {
        let mut resources = vec![json!({
            "uri": "scripted://greeting",
            "name": "greeting",
            "title": "Greeting",
            "mimeType": "text/plain",
            "size": 5,
            "annotations": {"priority": 1.0, "lastModified": "2025-01-12T15:00:58Z"},
            "x-vendor": null,
        })];
        let added = lock(&self.session.server.added);
        resources.extend(added.resources.iter().map(|uri| json!({"uri": uri, "name": uri})));
        resources
    }

    fn read_resource(&self, params: &Value) -> Reply {
        let script = &self.session.server.script;
        let uri = params["uri"].as_str().unwrap_or_default();
        if let Some(exact) = lock(&self.session.server.added).exact.get(uri) {
            return Reply::Result(exact.clone());
        }
        let listed = !uri.starts_with("gone:") && self.resources().iter().any(|known| known["uri"] == uri);
        let unlisted = script.unlisted.iter().any(|known| known == uri);
        let item = uri.strip_prefix("scripted://items/");
        if !listed && !unlisted && item.is_none() {
            return Reply::Error(json!({
                "code": -32_002,
                "message": "Resource not found",
                "data": {"uri": uri},
            }));
        }
        result(&json!({
            "contents": [{
                "uri": uri,
                "mimeType": "text/plain",
                "text": format!("{} of {}", item.unwrap_or("resource"), script.name),
                "x-vendor": {"rank": 1.0},
            }],
            "_meta": {"vendor.example/etag": "7"},
        }))
    }

    fn subscribe(&self, sign: char, params: &Value) -> Reply {
        let server = &self.session.server;
        if server.script.without.iter().any(|without| without == "subscribe") {
            return no_method(&self.method);
        }
        lock(&server.journal).subscriptions.push(format!("{sign}{}", text_of(&params["uri"])));
        result(&json!({}))
    }
}

fn tool(name: &str, description: &str) -> Value {
    json!({"name": name, "description": description, "inputSchema": {"type": "object"}})
}

fn item_template() -> Value {
    json!({
        "uriTemplate": "scripted://items/{id}",
        "name": "item",
        "title": "Item",
        "description": "Any item",
        "mimeType": "text/plain",
        "x-vendor": {"ids": 1.0},
    })
}

/// Completes every argument with three colours.
fn complete(params: &Value) -> Reply {
    let start = params["argument"]["value"].as_str().unwrap_or_default();
    let values: Vec<_> = ["red", "green", "grey"].iter().filter(|value| value.starts_with(start)).collect();
    result(&json!({
        "completion": {"values": values, "total": values.len(), "hasMore": false, "x-for": params["ref"]},
    }))
}

fn result(value: &Value) -> Reply {
    Reply::Result(value.to_string())
}

fn text(text: &str) -> Reply {
    result(&json!({"content": [{"type": "text", "text": text}]}))
}

fn structured(value: &Value) -> Reply {
    let text = value.to_string();
    result(&json!({"content": [{"type": "text", "text": text}], "structuredContent": value}))
}

pub(crate) fn invalid(message: &str) -> Reply {
    Reply::Error(json!({"code": -32_602, "message": message}))
}

pub(crate) fn no_method(method: &str) -> Reply {
    Reply::Error(json!({"code": -32_601, "message": format!("Method not found: {method}")}))
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Passes after so many milliseconds; never, when there is no number.
async fn time(ms: &Value) {
    match ms.as_u64() {
        Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        None => std::future::pending().await,
    }
}
