// The server that the conformance suite and the official client meet behind the proxy, on the official TypeScript SDK: Streamable
// HTTP with sessions, on a loopback port that the system chooses. It prints its URL and ends with its standard input.
//
// What is called `test_…` or `json_schema_…` and what is below `test://` is asked for by the suite (revision 2025-11-25), by these
// names. The low-level `Server` is used because the suite compares schemas, and only there they are sent as they stand here.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { createMcpExpressApp } from "@modelcontextprotocol/sdk/server/express.js";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import {
  CallToolRequestSchema,
  CompleteRequestSchema,
  CreateMessageResultSchema,
  ElicitResultSchema,
  ErrorCode,
  GetPromptRequestSchema,
  ListPromptsRequestSchema,
  ListResourceTemplatesRequestSchema,
  ListResourcesRequestSchema,
  ListRootsResultSchema,
  ListToolsRequestSchema,
  McpError,
  ReadResourceRequestSchema,
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";

// One red pixel.
const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg==";
// A header, and no samples.
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";
const WATCHED = "test://watched-resource";

const text = (text) => ({ type: "text", text });
const image = { type: "image", data: PNG, mimeType: "image/png" };
const embedded = (uri, mimeType, text) => ({ type: "resource", resource: { uri, mimeType, text } });
const say = (words) => ({ content: [text(words)] });
const ask = (content) => ({ role: "user", content });

const schema = (properties = {}, required = Object.keys(properties)) => ({ type: "object", properties, required });
const choices = (...pairs) => pairs.map(([value, title]) => ({ const: value, title }));

/** Asks the user, on the stream of the call. */
async function elicit({ request }, message, requestedSchema) {
  const params = { mode: "form", message, requestedSchema };
  const { action, content } = await request({ method: "elicitation/create", params }, ElicitResultSchema);
  return say(`Elicitation completed: action=${action}, content=${JSON.stringify(content)}`);
}

// Each tool: what the list says of it, and what a call does. `run(arguments, call)` gives the result; `call` is below.
const tools = {
  echo: {
    description: "Answers with its message",
    inputSchema: schema({ message: { type: "string" } }),
    run: ({ message }) => say(message),
  },
  test_simple_text: {
    description: "Answers with a text",
    run: () => say("This is a simple text response for testing."),
  },
  test_image_content: {
    description: "Answers with an image",
    run: () => ({ content: [image] }),
  },
  test_audio_content: {
    description: "Answers with a sound",
    run: () => ({ content: [{ type: "audio", data: WAV, mimeType: "audio/wav" }] }),
  },
  test_embedded_resource: {
    description: "Answers with a resource",
    run: () => ({
      content: [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")],
    }),
  },
  test_multiple_content_types: {
    description: "Answers with a text, an image and a resource",
    run: () => ({
      content: [
        text("Multiple content types test:"),
        image,
        embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
      ],
    }),
  },
  test_tool_with_logging: {
    description: "Logs three times while it runs",
    run: async (_, { notify }) => {
      for (const data of ["Tool execution started", "Tool processing data", "Tool execution completed"]) {
        await notify("notifications/message", { level: "info", data });
        await sleep(50);
      }
      return say("Logged three times.");
    },
  },
  test_tool_with_progress: {
    description: "Reports progress three times while it runs",
    run: async (_, { notify, progressToken }) => {
      for (const progress of [0, 50, 100]) {
        if (progressToken !== undefined) {
          await notify("notifications/progress", { progressToken, progress, total: 100 });
        }
        await sleep(50);
      }
      return say("Reported three times.");
    },
  },
  test_error_handling: {
    description: "Fails",
    run: () => ({ ...say("This tool intentionally returns an error for testing"), isError: true }),
  },
  test_sampling: {
    description: "Asks the client's model",
    inputSchema: schema({ prompt: { type: "string" } }),
    run: async ({ prompt }, { request }) => {
      const params = { messages: [ask(text(prompt))], maxTokens: 100 };
      const { content } = await request({ method: "sampling/createMessage", params }, CreateMessageResultSchema);
      return say(`LLM response: ${content.text}`);
    },
  },
  test_elicitation: {
    description: "Asks the user who they are",
    inputSchema: schema({ message: { type: "string" } }),
    run: ({ message }, call) =>
      elicit(
        call,
        message,
        schema({
          username: { type: "string", description: "User's response" },
          email: { type: "string", description: "User's email address" },
        }),
      ),
  },
  test_elicitation_sep1034_defaults: {
    description: "Asks the user, with a default for every primitive type",
    run: (_, call) =>
      elicit(
        call,
        "Please review and update the form fields with defaults",
        schema(
          {
            name: { type: "string", description: "User name", default: "John Doe" },
            age: { type: "integer", description: "User age", default: 30 },
            score: { type: "number", description: "User score", default: 95.5 },
            status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
            verified: { type: "boolean", description: "Verification status", default: true },
          },
          [],
        ),
      ),
  },
  test_elicitation_sep1330_enums: {
    description: "Asks the user, with every kind of choice",
    run: (_, call) =>
      elicit(
        call,
        "Please select options from the enum fields",
        schema(
          {
            untitledSingle: { type: "string", enum: ["option1", "option2", "option3"] },
            titledSingle: {
              type: "string",
              oneOf: choices(["value1", "First Option"], ["value2", "Second Option"], ["value3", "Third Option"]),
            },
            legacyEnum: {
              type: "string",
              enum: ["opt1", "opt2", "opt3"],
              enumNames: ["Option One", "Option Two", "Option Three"],
            },
            untitledMulti: { type: "array", items: { type: "string", enum: ["option1", "option2", "option3"] } },
            titledMulti: {
              type: "array",
              items: {
                anyOf: choices(["value1", "First Choice"], ["value2", "Second Choice"], ["value3", "Third Choice"]),
              },
            },
          },
          [],
        ),
      ),
  },
  test_list_roots: {
    description: "Asks for the client's roots",
    run: async (_, { request }) => {
      const { roots } = await request({ method: "roots/list" }, ListRootsResultSchema);
      return say(roots.map(({ uri }) => uri).join("\n"));
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
  json_schema_2020_12_tool: {
    description: "Tool with JSON Schema 2020-12 features",
    inputSchema: {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      type: "object",
      $defs: {
        address: {
          $anchor: "addressDef",
          type: "object",
          properties: { street: { type: "string" }, city: { type: "string" } },
        },
      },
      properties: {
        name: { type: "string" },
        address: { $ref: "#/$defs/address" },
        contactMethod: { type: "string", enum: ["phone", "email"] },
        phone: { type: "string" },
        email: { type: "string" },
      },
      allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
      if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
      then: { required: ["phone"] },
      else: { required: ["email"] },
      additionalProperties: false,
    },
    run: (given) => say(JSON.stringify(given)),
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
      add(prompts, "added_prompt", { description: "Was not there before", fill: () => [ask(text("new"))] }, "prompts/list_changed"),
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

const prompts = {
  test_simple_prompt: {
    description: "Without arguments",
    fill: () => [ask(text("This is a simple prompt for testing."))],
  },
  test_prompt_with_arguments: {
    description: "With two arguments",
    arguments: [
      { name: "arg1", description: "First test argument", required: true },
      { name: "arg2", description: "Second test argument", required: true },
    ],
    fill: ({ arg1, arg2 }) => [ask(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))],
    completions: { arg1: ["paris", "park", "party"], arg2: [] },
  },
  test_prompt_with_embedded_resource: {
    description: "With a resource in it",
    arguments: [{ name: "resourceUri", description: "URI of the resource to embed", required: true }],
    fill: ({ resourceUri }) => [
      ask(embedded(resourceUri, "text/plain", "Embedded resource content for testing.")),
      ask(text("Please process the embedded resource above.")),
    ],
  },
  test_prompt_with_image: {
    description: "With an image in it",
    fill: () => [ask(image), ask(text("Please analyze the image above."))],
  },
};

const resources = {
  "test://static-text": {
    name: "static-text",
    mimeType: "text/plain",
    content: { text: "This is the content of the static text resource." },
  },
  "test://static-binary": { name: "static-binary", mimeType: "image/png", content: { blob: PNG } },
  [WATCHED]: { name: "watched-resource", mimeType: "text/plain", content: { text: "Watched." } },
};

const template = { uriTemplate: "test://template/{id}/data", name: "template", mimeType: "application/json" };

let cancelled = 0;

/** Of each session its server, its transport, and the resources that its client watches. */
const sessions = new Map();

/** Adds a record to one of the lists above, and tells every client of it. */
async function add(list, name, record, event) {
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
    const content = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` });
    return { uri, mimeType: template.mimeType, text: content };
  }
  const { mimeType, content } = find(resources, uri, "resource");
  return { uri, mimeType, ...content };
}

/** What a tool may do in the course of one call; all of it travels on the stream of that call. */
const during = ({ _meta, signal, sendNotification, sendRequest, closeSSEStream }) => ({
  signal,
  progressToken: _meta?.progressToken,
  notify: (method, params) => sendNotification({ method, params }),
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
  on(CallToolRequestSchema, (params, extra) => find(tools, params.name, "tool").run(params.arguments ?? {}, during(extra)));

  on(ListPromptsRequestSchema, () => ({
    prompts: Object.entries(prompts).map(([name, { description, arguments: args }]) => ({ name, description, arguments: args })),
  }));
  on(GetPromptRequestSchema, (params) => ({ messages: find(prompts, params.name, "prompt").fill(params.arguments ?? {}) }));
  on(CompleteRequestSchema, ({ ref, argument }) => {
    const known = ref.type === "ref/prompt" ? find(prompts, ref.name, "prompt").completions?.[argument.name] : ["1", "2"];
    const values = (known ?? []).filter((value) => value.startsWith(argument.value));
    return { completion: { values, total: values.length, hasMore: false } };
  });

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
