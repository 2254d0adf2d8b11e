// The official TypeScript client at an MCP endpoint over Streamable HTTP, with the reference server behind it. `node client.mjs
// STORY URL` tells one of the stories below, and fails where it goes otherwise. A story that waits for something to be done outside
// prints a line, and goes on when it reads one.

import assert from "node:assert/strict";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ErrorCode,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  PromptListChangedNotificationSchema,
  ResourceListChangedNotificationSchema,
  ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";

const [story, url] = process.argv.slice(2);

const WATCHED = "test://watched-resource";

/** How long a story waits for something that it cannot await. Only a failure ever waits this long. */
const PATIENCE = 30_000;

async function eventually(what, ask) {
  for (const end = Date.now() + PATIENCE; Date.now() < end; await sleep(20)) {
    if (await ask()) {
      return;
    }
  }
  assert.fail(`no ${what} within ${PATIENCE} ms`);
}

/** A connected client, and what it sees. */
class Session {
  /** Every event stream: the request that opened it, and how it is cut: `{method, call, cut}`. */
  opened = [];
  /** Every message that came on a stream: `{stream, message}`. */
  received = [];
  /** Whether the stream for what belongs to no call is open. */
  listening = false;
  errors = [];
  /** What the client waits for before it opens a stream for news. */
  gate = undefined;

  static async open({ capabilities = {}, answers = [] } = {}) {
    const session = new Session();
    session.client = new Client({ name: "official-client", version: "1.0.0" }, { capabilities });
    session.client.onerror = (error) => session.errors.push(error);
    for (const [schema, answer] of answers) {
      session.client.setRequestHandler(schema, answer);
    }
    session.transport = new StreamableHTTPClientTransport(new URL(url), { fetch: (...request) => session.#fetch(...request) });
    await session.client.connect(session.transport);
    return session;
  }

  /** Notes what arrives, and changes nothing. */
  async #fetch(target, init) {
    if (init.method === "GET") {
      await this.gate;
    }
    const response = await fetch(target, init);
    if (response.headers.get("content-type") !== "text/event-stream" || !response.ok) {
      return response;
    }
    this.listening ||= init.method === "GET";
    const stream = { method: init.method, call: init.body && JSON.parse(init.body) };
    this.opened.push(stream);
    const decoder = new TextDecoder();
    let rest = "";
    const start = (controller) => {
      stream.cut = () => controller.terminate();
    };
    const transform = (chunk, controller) => {
      controller.enqueue(chunk);
      const lines = (rest + decoder.decode(chunk, { stream: true })).split(/\r?\n/);
      rest = lines.pop();
      for (const [, data] of lines.map((line) => /^data: *(\S.*)$/.exec(line)).filter(Boolean)) {
        this.received.push({ stream, message: JSON.parse(data) });
      }
    };
    return new Response(response.body.pipeThrough(new TransformStream({ start, transform })), response);
  }

  /** Calls a tool that answers with one text. */
  async say(name, given, options) {
    const result = await this.client.callTool({ name, arguments: given }, undefined, options);
    assert.notEqual(result.isError, true, JSON.stringify(result));
    return result.content[0].text;
  }

  /** The streams on which messages of this method came. */
  streams(method) {
    return this.received.filter(({ message }) => message.method === method).map(({ stream }) => stream);
  }

  /** Counts the notifications of this kind, from now on. */
  count(schema) {
    const counted = { times: 0, last: undefined };
    this.client.setNotificationHandler(schema, ({ params }) => {
      counted.times += 1;
      counted.last = params;
    });
    return counted;
  }

  listens() {
    return eventually("stream for notifications", () => this.listening);
  }

  async close() {
    await this.client.close();
    assert.deepEqual(this.errors, []);
  }
}

/** A client that answers what a server may ask; its name is in the answers. */
const obliging = (name) => ({
  capabilities: { sampling: {}, elicitation: {}, roots: {} },
  answers: [
    [
      CreateMessageRequestSchema,
      async ({ params }) => {
        assert.equal(params.maxTokens, 100);
        const { text } = params.messages[0].content;
        return { role: "assistant", model: "none", content: { type: "text", text: `${name} thinks of ${text}` } };
      },
    ],
    [
      ElicitRequestSchema,
      async ({ params }) => {
        assert.deepEqual(params.requestedSchema.required, ["username", "email"]);
        return params.message === "No?"
          ? { action: "decline" }
          : { action: "accept", content: { username: name, email: `${name}@example.com` } };
      },
    ],
    [ListRootsRequestSchema, async () => ({ roots: [{ uri: `file:///home/${name}` }, { uri: "file:///srv" }] })],
  ],
});

const stories = {
  async connects() {
    const session = await Session.open();
    assert.match(session.transport.sessionId, /^[\x21-\x7e]{16,}$/);
    assert.equal(session.transport.protocolVersion, "2025-11-25");
    assert.equal(session.client.getServerVersion().name, "PluggedinMCP");
    const { tools, resources, prompts, completions, logging } = session.client.getServerCapabilities();
    assert.ok(tools.listChanged && resources.listChanged && resources.subscribe && prompts.listChanged && completions && logging);
    assert.deepEqual(await session.client.ping(), {});
    await session.listens();
    await session.close();
  },

  async lists_tools() {
    const session = await Session.open();
    const { tools } = await session.client.listTools();
    const echo = tools.find(({ name }) => name === "echo");
    assert.equal(echo.description, "Answers with its message");
    assert.deepEqual(echo.inputSchema, { type: "object", properties: { message: { type: "string" } }, required: ["message"] });
    assert.ok(tools.some(({ name }) => name === "pluggedin_setup"));
    assert.equal(new Set(tools.map(({ name }) => name)).size, tools.length);
    await session.close();
  },

  async calls_tools() {
    const session = await Session.open();
    assert.equal(await session.say("echo", { message: "grüß dich \u2028 🦀" }), "grüß dich \u2028 🦀");
    const large = "0123456789abcde\n".repeat(4096);
    assert.equal(await session.say("echo", { message: large }), large);
    const { content } = await session.client.callTool({ name: "test_multiple_content_types" });
    assert.deepEqual(content.map(({ type }) => type), ["text", "image", "resource"]);
    const failed = await session.client.callTool({ name: "test_error_handling" });
    assert.equal(failed.isError, true);
    await session.close();
  },

  async sees_progress() {
    const session = await Session.open();
    const steps = [];
    const onprogress = ({ progress, total }) => steps.push([progress, total]);
    assert.equal(await session.say("test_tool_with_progress", {}, { onprogress }), "Reported three times.");
    assert.deepEqual(steps, [[0, 100], [50, 100], [100, 100]]);
    for (const { method, call } of session.streams("notifications/progress")) {
      assert.deepEqual([method, call.method], ["POST", "tools/call"]);
    }
    await session.close();
  },

  async sees_logs() {
    const session = await Session.open();
    await session.client.setLoggingLevel("info");
    const logged = session.count(LoggingMessageNotificationSchema);
    await session.say("test_tool_with_logging");
    await eventually("log messages", () => logged.times === 3);
    assert.equal(logged.last.data, "Tool execution completed");
    await session.close();
  },

  async cancels_a_call() {
    const session = await Session.open();
    const before = Number(await session.say("count_cancelled"));
    const cancel = new AbortController();
    const call = session.say("wait_until_cancelled", {}, { signal: cancel.signal, onprogress: () => cancel.abort("changed my mind") });
    await assert.rejects(call, /changed my mind/);
    await eventually("cancelled call", async () => Number(await session.say("count_cancelled")) === before + 1);
    await session.close();
  },

  /** No answer goes to another's question, though all clients count their requests from the same number. */
  async shares_with_many_clients() {
    const sessions = await Promise.all(Array.from({ length: 8 }, () => Session.open()));
    assert.equal(new Set(sessions.map(({ transport }) => transport.sessionId)).size, 8);
    const calls = sessions.flatMap((session, who) =>
      Array.from({ length: 25 }, async (_, which) => {
        const message = `${who}: ${which}`;
        assert.equal(await session.say("echo", { message }), message);
      }),
    );
    const watched = sessions.map(async (session) => {
      const steps = [];
      await session.say("test_tool_with_progress", {}, { onprogress: ({ progress }) => steps.push(progress) });
      assert.deepEqual(steps, [0, 50, 100]);
    });
    await Promise.all([...calls, ...watched]);
    await Promise.all(sessions.map((session) => session.close()));
  },

  async reads_resources() {
    const session = await Session.open();
    const { resources } = await session.client.listResources();
    assert.ok(resources.some(({ uri, mimeType }) => uri === "test://static-text" && mimeType === "text/plain"));
    const { resourceTemplates } = await session.client.listResourceTemplates();
    assert.deepEqual(resourceTemplates.map(({ uriTemplate }) => uriTemplate), ["test://template/{id}/data"]);

    const read = async (uri) => (await session.client.readResource({ uri })).contents[0];
    const text = await read("test://static-text");
    assert.deepEqual(text, { uri: "test://static-text", mimeType: "text/plain", text: "This is the content of the static text resource." });
    assert.match((await read("test://static-binary")).blob, /^iVBOR/);
    assert.equal(JSON.parse((await read("test://template/7/data")).text).id, "7");
    await assert.rejects(read("test://nowhere"), { name: "McpError" });
    await session.close();
  },

  async watches_a_resource() {
    const [watching, other] = await Promise.all([Session.open(), Session.open()]);
    await Promise.all([watching.listens(), other.listens()]);
    const seen = watching.count(ResourceUpdatedNotificationSchema);
    const unseen = other.count(ResourceUpdatedNotificationSchema);

    await watching.client.subscribeResource({ uri: WATCHED });
    await other.say("trigger_resource_update");
    await eventually("update", () => seen.times === 1);
    assert.equal(seen.last.uri, WATCHED);

    // What is announced afterwards comes on the same streams, so both would have seen an update by then.
    await watching.client.unsubscribeResource({ uri: WATCHED });
    await other.say("trigger_resource_update");
    await Promise.all([watching, other].map(({ client }) => client.listTools()));
    const changed = [watching, other].map((session) => session.count(ToolListChangedNotificationSchema));
    await other.say("test_trigger_tool_change");
    await eventually("news of the tools", () => changed.every(({ times }) => times > 0));
    assert.deepEqual([seen.times, unseen.times], [1, 0]);
    await Promise.all([watching.close(), other.close()]);
  },

  async fills_in_prompts() {
    const session = await Session.open();
    const { prompts } = await session.client.listPrompts();
    const filled = prompts.find(({ name }) => name === "test_prompt_with_arguments");
    assert.deepEqual(filled.arguments.map(({ name, required }) => [name, required]), [["arg1", true], ["arg2", true]]);

    const { messages } = await session.client.getPrompt({ name: filled.name, arguments: { arg1: "hello", arg2: "wörld" } });
    assert.equal(messages[0].content.text, "Prompt with arguments: arg1='hello', arg2='wörld'");
    await assert.rejects(session.client.getPrompt({ name: "no_such_prompt" }), { name: "McpError" });
    await session.close();
  },

  async completes_arguments() {
    const session = await Session.open();
    const complete = async (ref, name, value) => (await session.client.complete({ ref, argument: { name, value } })).completion.values;
    assert.deepEqual(await complete({ type: "ref/prompt", name: "test_prompt_with_arguments" }, "arg1", "par"), ["paris", "park", "party"]);
    assert.deepEqual(await complete({ type: "ref/resource", uri: "test://template/{id}/data" }, "id", "2"), ["2"]);
    await session.close();
  },

  /** Every client is told on its own stream, also the one that did nothing. */
  async hears_of_changed_lists() {
    const [acting, idle] = await Promise.all([Session.open(), Session.open()]);
    await Promise.all([acting.listens(), idle.listens()]);
    const news = [ToolListChangedNotificationSchema, PromptListChangedNotificationSchema, ResourceListChangedNotificationSchema];
    const heard = [acting, idle].flatMap((session) => news.map((schema) => session.count(schema)));
    // Only who has read a list is told that it has changed.
    for (const { client } of [acting, idle]) {
      await Promise.all([client.listTools(), client.listPrompts(), client.listResources()]);
    }

    for (const trigger of ["test_trigger_tool_change", "test_trigger_prompt_change", "trigger_resource_change"]) {
      await acting.say(trigger);
    }
    await eventually("news of all lists for both clients", () => heard.every(({ times }) => times > 0));
    for (const { client } of [acting, idle]) {
      assert.ok((await client.listTools()).tools.some(({ name }) => name === "added_tool"));
      assert.ok((await client.listPrompts()).prompts.some(({ name }) => name === "added_prompt"));
      assert.ok((await client.listResources()).resources.some(({ uri }) => uri === "test://added"));
    }
    for (const list of ["tools", "prompts", "resources"]) {
      for (const { method } of [acting, idle].flatMap((session) => session.streams(`notifications/${list}/list_changed`))) {
        assert.equal(method, "GET");
      }
    }
    assert.equal(await idle.say("added_tool"), "new");
    await Promise.all([acting.close(), idle.close()]);
  },

  /** What a server asks in the course of a call is asked on the stream of that call, and of that client alone. */
  async answers_servers() {
    const [ada, bob] = await Promise.all([Session.open(obliging("ada")), Session.open(obliging("bob"))]);
    const conversation = async (session, name) => {
      assert.equal(await session.say("test_sampling", { prompt: "rain" }), `LLM response: ${name} thinks of rain`);
      const content = JSON.stringify({ username: name, email: `${name}@example.com` });
      assert.equal(
        await session.say("test_elicitation", { message: "Who are you?" }),
        `Elicitation completed: action=accept, content=${content}`,
      );
      assert.match(await session.say("test_elicitation", { message: "No?" }), /action=decline/);
      assert.equal(await session.say("test_list_roots"), `file:///home/${name}\nfile:///srv`);
    };
    await Promise.all([ada, bob].flatMap((session, who) => Array.from({ length: 3 }, () => conversation(session, ["ada", "bob"][who]))));

    const expected = [
      ["sampling/createMessage", "test_sampling", 3],
      ["elicitation/create", "test_elicitation", 6],
      ["roots/list", "test_list_roots", 3],
    ];
    for (const [asked, tool, times] of expected) {
      for (const session of [ada, bob]) {
        const streams = session.streams(asked);
        assert.equal(streams.length, times, asked);
        for (const { method, call } of streams) {
          assert.deepEqual([method, call.params?.name], ["POST", tool]);
        }
      }
    }
    await Promise.all([ada.close(), bob.close()]);
  },

  /** A client that has no model and no user is not asked, and no call waits for its answer. */
  async answers_nothing() {
    const session = await Session.open();
    await assert.rejects(session.say("test_sampling", { prompt: "rain" }), { code: ErrorCode.MethodNotFound });
    await assert.rejects(session.say("test_elicitation", { message: "Who?" }), { code: ErrorCode.MethodNotFound });
    for (const asked of ["sampling/createMessage", "elicitation/create"]) {
      assert.deepEqual(session.streams(asked), []);
    }
    await session.close();
  },

  /** Its calls end at their servers, its id is worth nothing any more, and nobody else notices. */
  async ends_its_session() {
    const [ending, other] = await Promise.all([Session.open(), Session.open()]);
    const { sessionId } = ending.transport;
    const before = Number(await other.say("count_cancelled"));
    const begun = new Promise((resolve) => {
      const call = ending.say("wait_until_cancelled", {}, { onprogress: resolve });
      // It has no answer; that it ends with the client is enough.
      call.catch(() => {});
    });
    await begun;

    await ending.transport.terminateSession();
    assert.equal(ending.transport.sessionId, undefined);
    await eventually("cancelled call", async () => Number(await other.say("count_cancelled")) === before + 1);
    const ping = { jsonrpc: "2.0", id: 1, method: "ping" };
    const headers = { "content-type": "application/json", accept: "application/json, text/event-stream", "mcp-session-id": sessionId };
    assert.equal((await fetch(url, { method: "POST", headers, body: JSON.stringify(ping) })).status, 404);
    await ending.client.close();
    await other.close();
  },

  /** A connection is lost in the middle of a call: nothing of the call is lost, and nothing comes twice. */
  async resumes_a_call() {
    const session = await Session.open();
    const steps = [];
    const onprogress = ({ progress }) => {
      if (steps.push(progress) === 1) {
        session.streams("notifications/progress")[0].cut();
      }
    };
    assert.equal(await session.say("test_tool_with_progress", {}, { onprogress }), "Reported three times.");
    assert.deepEqual(steps, [0, 50, 100]);
    assert.deepEqual(new Set(session.streams("notifications/progress").map(({ method }) => method)), new Set(["POST", "GET"]));
    await session.close();
  },

  /** News that come while nobody listens wait for the client to come back. */
  async resumes_the_stream_for_news() {
    const [away, other] = await Promise.all([Session.open(), Session.open()]);
    await away.listens();
    await away.client.listTools();
    const news = away.count(ToolListChangedNotificationSchema);
    away.gate = other.say("test_trigger_tool_change");
    const [stream] = away.opened.filter(({ method }) => method === "GET");
    stream.cut();
    await eventually("news of the tools", () => news.times > 0);
    assert.notEqual(away.streams("notifications/tools/list_changed")[0], stream);
    await Promise.all([away.close(), other.close()]);
  },

  /** The proxy forgets its sessions: the client learns it as the specification says, and begins a new one. */
  async survives_a_restart() {
    const session = await Session.open();
    await session.listens();
    console.log("connected");
    await once(process.stdin, "data");

    await assert.rejects(session.say("echo", { message: "first" }), { code: 404 });
    await session.client.close();
    const again = await Session.open();
    assert.notEqual(again.transport.sessionId, session.transport.sessionId);
    assert.equal(await again.say("echo", { message: "second" }), "second");
    await again.close();
  },

  async needs_no_session() {
    const sessions = await Promise.all([Session.open(), Session.open()]);
    for (const session of sessions) {
      assert.equal(session.transport.sessionId, undefined);
      assert.ok((await session.client.listTools()).tools.some(({ name }) => name === "echo"));
      const steps = [];
      await session.say("test_tool_with_progress", {}, { onprogress: ({ progress }) => steps.push(progress) });
      assert.deepEqual(steps, [0, 50, 100]);
      const { prompts } = await session.client.listPrompts();
      assert.ok(prompts.some(({ name }) => name === "test_simple_prompt"));
      assert.equal((await session.client.readResource({ uri: "test://template/7/data" })).contents.length, 1);
      await assert.rejects(session.say("test_sampling", { prompt: "rain" }), { code: ErrorCode.MethodNotFound });
      await session.transport.terminateSession();
    }
    const calls = sessions.flatMap((session, who) =>
      Array.from({ length: 25 }, async (_, which) => {
        const message = `${who}: ${which}`;
        assert.equal(await session.say("echo", { message }), message);
      }),
    );
    await Promise.all(calls);
    await Promise.all(sessions.map((session) => session.close()));
  },
};

await stories[story]();
// Otherwise standard input would keep the process.
process.exit();
