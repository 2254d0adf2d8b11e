// The server that the conformance suite and the official client meet behind the proxy, on the official TypeScript SDK: Streamable
// HTTP with sessions, on a loopback port that the system chooses. It prints its URL and ends with its standard input.
//
// Everything that is named for the suite and not in `fixtures.mjs` is asked for by the revisions up to 2025-11-25. The low-level
// `Server` is used because the suite compares schemas, and only there they are sent as they stand here.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { createMcpExpressApp } from "@modelcontextprotocol/sdk/server/express.js";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import {
  CallToolRequestSchema,
  CompleteRequestSchema,
  ErrorCode,
  GetPromptRequestSchema,
  ListPromptsRequestSchema,
  ListResourceTemplatesRequestSchema,
  ListResourcesRequestSchema,
  ListToolsRequestSchema,
  McpError,
  ReadResourceRequestSchema,
  ResultSchema,
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";

import * as common from "./fixtures.mjs";
import { WATCHED, ask, complete, fillTemplate, say, schema, template, text, unused } from "./fixtures.mjs";
import * as questions from "./questions.mjs";

/** Asks on the stream of the call, everything of a round at once. */
async function converse({ rounds, end, lenient }, given, { capabilities, request }) {
  const answers = {};
  for (const round of rounds) {
    const asked = Object.entries(round(given, capabilities)).map(async ([key, question]) => {
      answers[key] = await request(question, ResultSchema);
    });
    await (lenient ? Promise.allSettled(asked) : Promise.all(asked));
  }
  return end(answers);
}

// Its own tools, besides those that both servers have; `call` is below.
const tools = {
  ...common.tools,
  test_logging_tool: {
    description: "Logs once, and at once",
    run: async (_, { log }) => {
      await log("info", "Logged");
      return say("Logged once.");
    },
  },
  test_reconnection: {
    description: "Closes the stream of its call before it answers",
    run: async (_, { closeStream }) => {
      closeStream?.();
      // The proxy answers quick calls without a stream, and the suite judges streams.
      await sleep(1500);
      return say("Answered after the stream was closed.");
    },
  },
  wait_until_cancelled: {
    description: "Answers nothing, until it is cancelled",
    run: async (_, { signal, notify, progressToken }) => {
      // The sign for the client that the call has arrived.
      await notify("notifications/progress", { progressToken, progress: 0 });
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
      cancelled += 1;
      return say("Nobody reads this.");
    },
  },
  count_cancelled: {
    description: "How many calls were cancelled so far",
    run: () => say(String(cancelled)),
  },
  test_trigger_tool_change: {
    description: "Adds a tool",
    run: () => add(tools, "added_tool", { description: "Was not there before", run: () => say("new") }, "tools/list_changed"),
  },
  test_trigger_prompt_change: {
    description: "Adds a prompt",
    run: () =>
      add(prompts, "added_prompt", { description: "Was not there before", fill: () => ({ messages: [ask(text("new"))] }) }, "prompts/list_changed"),
  },
  trigger_resource_change: {
    description: "Adds a resource",
    run: () =>
      add(resources, "test://added", { name: "added", mimeType: "text/plain", content: { text: "new" } }, "resources/list_changed"),
  },
  trigger_resource_update: {
    description: "Says that the watched resource has changed, to those who watch it",
    run: async () => {
      for (const { server, watched } of sessions.values()) {
        if (watched.has(WATCHED)) {
          await server.sendResourceUpdated({ uri: WATCHED });
        }
      }
      return say("Said so.");
    },
  },
};

for (const [name, question] of Object.entries(questions.tools)) {
  tools[name] = { ...question, run: (given, call) => converse(question, given, call) };
}

const prompts = { ...common.prompts };
for (const [name, question] of Object.entries(questions.prompts)) {
  prompts[name] = { ...question, fill: (given, call) => converse(question, given, call) };
}

const resources = { ...common.resources };

let cancelled = 0;

/** Of each session its server, its transport, and the resources that its client watches. */
const sessions = new Map();

/** Adds a record to one of the lists above, and tells every client of it. */
async function add(list, wanted, record, event) {
  const name = unused(list, wanted);
  list[name] = record;
  for (const { server } of sessions.values()) {
    await server.notification({ method: `notifications/${event}` });
  }
  return say(`Added ${name}.`);
}

function find(list, name, what) {
  if (!Object.hasOwn(list, name)) {
    throw new McpError(ErrorCode.InvalidParams, `Unknown ${what}: ${name}`);
  }
  return list[name];
}

function read(uri) {
  const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
  if (id !== undefined) {
    return { uri, mimeType: template.mimeType, text: fillTemplate(id) };
  }
  const { mimeType, content } = find(resources, uri, "resource");
  return { uri, mimeType, ...content };
}

/** What a tool may do in the course of one call; all of it travels on the stream of that call. */
const during = (server, { _meta, signal, sendNotification, sendRequest, closeSSEStream }) => ({
  capabilities: server.getClientCapabilities(),
  signal,
  progressToken: _meta?.progressToken,
  notify: (method, params) => sendNotification({ method, params }),
  log: (level, data) => sendNotification({ method: "notifications/message", params: { level, data } }),
  request: sendRequest,
  closeStream: closeSSEStream,
});

function createServer(watched) {
  const server = new Server(
    { name: "reference-server", version: "1.0.0" },
    {
      capabilities: {
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        prompts: { listChanged: true },
        completions: {},
        logging: {},
      },
    },
  );
  const on = (requestSchema, answer) =>
    server.setRequestHandler(requestSchema, ({ params }, extra) => answer(params ?? {}, extra));

  on(ListToolsRequestSchema, () => ({
    tools: Object.entries(tools).map(([name, { description, inputSchema = schema() }]) => ({ name, description, inputSchema })),
  }));
  on(CallToolRequestSchema, (params, extra) => find(tools, params.name, "tool").run(params.arguments ?? {}, during(server, extra)));

  on(ListPromptsRequestSchema, () => ({
    prompts: Object.entries(prompts).map(([name, { description, arguments: args }]) => ({ name, description, arguments: args })),
  }));
  on(GetPromptRequestSchema, (params, extra) => find(prompts, params.name, "prompt").fill(params.arguments ?? {}, during(server, extra)));
  on(CompleteRequestSchema, ({ ref, argument }) =>
    complete(ref.type === "ref/prompt" ? find(prompts, ref.name, "prompt") : undefined, argument),
  );

  on(ListResourcesRequestSchema, () => ({
    resources: Object.entries(resources).map(([uri, { name, mimeType }]) => ({ uri, name, mimeType })),
  }));
  on(ListResourceTemplatesRequestSchema, () => ({ resourceTemplates: [template] }));
  on(ReadResourceRequestSchema, ({ uri }) => ({ contents: [read(uri)] }));
  on(SubscribeRequestSchema, ({ uri }) => {
    watched.add(uri);
    return {};
  });
  on(UnsubscribeRequestSchema, ({ uri }) => {
    watched.delete(uri);
    return {};
  });
  return server;
}

/** The events of one session's streams, for clients that come back for the rest. */
class Events {
  #events = [];

  async storeEvent(stream, message) {
    return String(this.#events.push({ stream, message }) - 1);
  }

  async getStreamIdForEventId(id) {
    return this.#events[id]?.stream;
  }

  async replayEventsAfter(id, { send }) {
    const { stream } = this.#events[id];
    for (let next = Number(id) + 1; next < this.#events.length; next += 1) {
      if (this.#events[next].stream === stream) {
        await send(String(next), this.#events[next].message);
      }
    }
    return stream;
  }
}

/** A session that begins when its transport is asked to initialize, and ends with it. */
async function createSession() {
  const watched = new Set();
  const server = createServer(watched);
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => void sessions.set(id, { server, transport, watched }),
    eventStore: new Events(),
    retryInterval: 100,
  });
  server.onclose = () => sessions.delete(transport.sessionId);
  await server.connect(transport);
  return { transport };
}

// It refuses foreign names in `Host`, which the suite tries.
const app = createMcpExpressApp();
app.all("/mcp", async (request, response) => {
  const id = request.headers["mcp-session-id"];
  const session = id === undefined ? await createSession() : sessions.get(id);
  if (session === undefined) {
    response.status(404).json({ jsonrpc: "2.0", error: { code: -32001, message: "Session not found" }, id: null });
    return;
  }
  await session.transport.handleRequest(request, response, request.body);
});

const listener = app.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${listener.address().port}/mcp`));
process.stdin.resume().on("end", () => process.exit());
