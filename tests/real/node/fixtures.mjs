// What both reference servers offer, whatever revision they speak. What is called `test_…` or `json_schema_…` and what is below
// `test://` is asked for by the conformance suite, by these names and mostly with these contents.

import { setTimeout as sleep } from "node:timers/promises";

// One red pixel.
const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg==";
// A header, and no samples.
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

export const WATCHED = "test://watched-resource";

export const text = (text) => ({ type: "text", text });
export const image = { type: "image", data: PNG, mimeType: "image/png" };
const embedded = (uri, mimeType, text) => ({ type: "resource", resource: { uri, mimeType, text } });
export const say = (words) => ({ content: [text(words)] });
export const ask = (content) => ({ role: "user", content });

export const schema = (properties = {}, required = Object.keys(properties)) => ({ type: "object", properties, required });

// Each tool: what the list says of it, and what a call does. `run(arguments, call)` gives the result, and `call` is what the server's
// own SDK offers: `notify(method, params)`, `log(level, data)` and `progressToken`. A prompt's `fill` is the same.
// The first stands first because the suite calls the first tool there is, without arguments.
export const tools = {
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
    run: async (_, { log }) => {
      for (const data of ["Tool execution started", "Tool processing data", "Tool execution completed"]) {
        await log("info", data);
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
  test_x_mcp_header: {
    description: "Wants its argument in a header too",
    inputSchema: schema({ region: { type: "string", "x-mcp-header": "Region" } }, []),
    run: ({ region }) => say(`In ${region}.`),
  },
  echo: {
    description: "Answers with its message",
    inputSchema: schema({ message: { type: "string" } }),
    run: ({ message }) => say(message),
  },
};

export const prompts = {
  test_simple_prompt: {
    description: "Without arguments",
    fill: () => ({ messages: [ask(text("This is a simple prompt for testing."))] }),
  },
  test_prompt_with_arguments: {
    description: "With two arguments",
    arguments: [
      { name: "arg1", description: "First test argument", required: true },
      { name: "arg2", description: "Second test argument", required: true },
    ],
    fill: ({ arg1, arg2 }) => ({ messages: [ask(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))] }),
    completions: { arg1: ["paris", "park", "party"], arg2: [] },
  },
  test_prompt_with_embedded_resource: {
    description: "With a resource in it",
    arguments: [{ name: "resourceUri", description: "URI of the resource to embed", required: true }],
    fill: ({ resourceUri }) => ({
      messages: [
        ask(embedded(resourceUri, "text/plain", "Embedded resource content for testing.")),
        ask(text("Please process the embedded resource above.")),
      ],
    }),
  },
  test_prompt_with_image: {
    description: "With an image in it",
    fill: () => ({ messages: [ask(image), ask(text("Please analyze the image above."))] }),
  },
};

export const resources = {
  "test://static-text": {
    name: "static-text",
    mimeType: "text/plain",
    content: { text: "This is the content of the static text resource." },
  },
  "test://static-binary": { name: "static-binary", mimeType: "image/png", content: { blob: PNG } },
  [WATCHED]: { name: "watched-resource", mimeType: "text/plain", content: { text: "Watched." } },
};

export const template = { uriTemplate: "test://template/{id}/data", name: "template", mimeType: "application/json" };

/** The text of a resource of the template. */
export const fillTemplate = (id) => JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` });

/** The values that complete an argument of a prompt, or of the template where there is none. */
export function complete(prompt, { name, value }) {
  const known = (prompt === undefined ? ["1", "2"] : prompt.completions?.[name]) ?? [];
  const values = known.filter((known) => known.startsWith(value));
  return { completion: { values, total: values.length, hasMore: false } };
}

/** A name that the list does not have yet: `name` itself, or with a number. A list that changes is then another list. */
export function unused(list, name) {
  const names = [name, ...Object.keys(list).map((_, index) => `${name}_${index + 2}`)];
  return names.find((name) => !Object.hasOwn(list, name));
}
