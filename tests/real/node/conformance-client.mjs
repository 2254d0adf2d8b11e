// What a client does in the client scenarios of the conformance suite, on the official SDK. The suite starts it with the address of
// its own server, and watches what arrives there:
//
//     node conformance-client.mjs direct URL
//     node conformance-client.mjs legacy PROXY URL
//     node conformance-client.mjs auto PROXY URL
//
// The last two put the proxy in between, over stdio, so that the suite judges the proxy's side towards servers: for a client that opens
// a session, and for one that asks the proxy first what it speaks.

import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { SkillVerificationError, SkillsClient } from "@modelcontextprotocol/client/ext/skills";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const [way, ...rest] = process.argv.slice(2);
const [url, proxy] = rest.reverse();
const { MCP_CONFORMANCE_SCENARIO: scenario, MCP_CONFORMANCE_PROTOCOL_VERSION: revision, MCP_CONFORMANCE_CONTEXT: context } = process.env;

const isModern = revision >= "2026-07-28";
/** The server of this scenario refuses the first request, whatever it is, so that the client has to ask for the revision. */
const isPinned = isModern && scenario !== "request-metadata";

/**
 * The proxy in front of the suite's server, with a home in the directory for temporary files, which the test clears. The server's
 * revision is not asked for: some of these servers answer nothing but the test.
 */
function throughProxy() {
  const scratch = mkdtempSync(join(tmpdir(), "conformance-"));
  const suite = { type: "streamable-http", url, ...(isPinned && { protocolVersion: revision }) };
  const config = join(scratch, "mcp.json");
  writeFileSync(config, JSON.stringify({ mcpServers: { suite } }));
  const args = ["--config", config, "--tool-prefix", "none", "--list-wait", "20"];
  return new StdioClientTransport({ command: proxy, args, env: { PATH: process.env.PATH, HOME: scratch }, cwd: scratch, stderr: "inherit" });
}

async function open(answers = {}) {
  const capabilities = { elicitation: { form: { applyDefaults: true } }, sampling: {}, roots: {} };
  const mode = way === "direct" ? (isModern ? "auto" : "legacy") : way;
  const client = new Client({ name: "conformance-client", version: "1.0.0" }, { capabilities, versionNegotiation: { mode } });
  for (const [method, answer] of Object.entries(answers)) {
    client.setRequestHandler(method, () => answer);
  }
  await client.connect(way === "direct" ? new StreamableHTTPClientTransport(new URL(url)) : throughProxy());
  return client;
}

/** The tools of the suite's server, without the proxy's own. */
async function listTools(client) {
  const { tools } = await client.listTools();
  return tools.filter(({ name }) => !name.startsWith("pluggedin_"));
}

const accept = (content) => ({ "elicitation/create": { action: "accept", content } });

const scenarios = {
  initialize: async (client) => {
    await listTools(client);
  },

  tools_call: async (client) => {
    await listTools(client);
    await client.callTool({ name: "add_numbers", arguments: { a: 5, b: 3 } });
  },

  "elicitation-sep1034-client-defaults": async (client) => {
    await listTools(client);
    await client.callTool({ name: "test_client_elicitation_defaults" });
  },

  "sse-retry": async (client) => {
    await listTools(client);
    await client.callTool({ name: "test_reconnection" });
  },

  "request-metadata": async (client) => {
    await listTools(client);
  },

  "sep-2322-client-request-state": async (client) => {
    await listTools(client);
    for (const name of ["test_mrtr_echo_state", "test_mrtr_no_state", "test_mrtr_unrelated"]) {
      await client.callTool({ name });
    }
    // This one breaks the rules, and a client need not take it.
    await client.callTool({ name: "test_mrtr_no_result_type" }).catch(() => {});
  },

  "http-standard-headers": async (client) => {
    const [{ name }] = await listTools(client);
    await client.callTool({ name });
    const { resources } = await client.listResources();
    await client.readResource({ uri: resources.find(({ uri }) => uri.startsWith("file:")).uri });
    const { prompts } = await client.listPrompts();
    await client.getPrompt({ name: prompts.find(({ name }) => !name.startsWith("pluggedin_")).name });
  },

  "http-custom-headers": async (client) => {
    await listTools(client);
    for (const call of JSON.parse(context).toolCalls) {
      await client.callTool(call);
    }
  },

  "http-invalid-tool-headers": async (client) => {
    for (const { name, inputSchema } of await listTools(client)) {
      const given = Object.keys(inputSchema.properties).map((property) => [property, "given"]);
      await client.callTool({ name, arguments: Object.fromEntries(given) });
    }
  },

  "json-schema-ref-no-deref": async (client) => {
    await listTools(client);
  },

  "json-schema-2020-12-preservation": async (client) => {
    const { inputSchema: schema } = (await listTools(client)).find(({ name }) => name === "json_schema_2020_12_tool");
    await client.callTool({ name: "json_schema_echo", arguments: { schema } });
  },
};

/** Loads a skill, and what belongs to it, as far as it can be trusted. */
async function loadSkill(client) {
  const skills = new SkillsClient(client);
  const [skill] = (await skills.list()).skills;
  await skills.read(skill);
  for (const { uri } of skill.resources) {
    await skills.read(skill, uri);
  }
}

/** The same, of a skill that cannot be trusted. */
const refuseSkill = async (client) => {
  const error = await loadSkill(client).catch((error) => error);
  if (!(error instanceof SkillVerificationError)) {
    throw error ?? new Error("the skill was loaded");
  }
};

scenarios["sep-2640-client-no-prefetch"] = async (client) => {
  await new SkillsClient(client).list();
};
for (const what of ["digest", "size", "frontmatter"]) {
  scenarios[`sep-2640-client-verify-${what}`] = refuseSkill;
}

const answers = { "sep-2322-client-request-state": accept({ confirmed: true }), "elicitation-sep1034-client-defaults": accept({}) };

const client = await open(answers[scenario]);
await scenarios[scenario](client);
await client.close();
process.exit();
