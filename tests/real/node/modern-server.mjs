// The reference server for revision 2026-07-28, on the second generation of the official TypeScript SDK: Streamable HTTP without
// sessions, on a loopback port that the system chooses, with the extensions for tasks and skills. It knows no older revision. It
// prints its URL and ends with its standard input.
//
// Everything that is named for the suite and stands here is asked for by this revision.

import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

import { localhostHostValidation, localhostOriginValidation, toNodeHandler } from "@modelcontextprotocol/node";
import {
  CLIENT_CAPABILITIES_META_KEY,
  McpServer,
  ProtocolError,
  ProtocolErrorCode,
  ResourceTemplate,
  createMcpHandler,
  createRequestStateCodec,
  inputRequired,
} from "@modelcontextprotocol/server";
import { SkillsExtension, memorySkillFiles } from "@modelcontextprotocol/server/ext/skills";

import * as common from "./fixtures.mjs";
import { WATCHED, ask, complete, fillTemplate, say, schema, template, text, unused } from "./fixtures.mjs";
import * as questions from "./questions.mjs";
import * as tasks from "./tasks.mjs";

const states = createRequestStateCodec({ key: randomBytes(32) });

/** Asks by asking to be called again, as often as something of a round is not answered. */
async function converse({ rounds, end, remembers }, given, { answers, capabilities, remembered }) {
  const { round, before } = remembered ?? { round: 0, before: {} };
  const asked = rounds[round](given, capabilities);
  const known = { ...before, ...answers };
  const isAnswered = Object.keys(asked).every((key) => key in answers) && (remembered !== undefined || !remembers);
  if (isAnswered && round + 1 === rounds.length) {
    return end(known);
  }
  const next = isAnswered ? { round: round + 1, before: known } : { round, before };
  const inputRequests = isAnswered ? rounds[round + 1](given, capabilities) : asked;
  return inputRequired({ inputRequests, ...(remembers && { requestState: await states.mint(next) }) });
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
    description: "Takes its time",
    run: async () => {
      // The proxy answers quick calls without a stream, and the suite judges streams.
      await sleep(1500);
      return say("Answered after a while.");
    },
  },
  test_trigger_tool_change: {
    description: "Adds a tool",
    run: () => {
      tools[unused(tools, "added_tool")] = { description: "Was not there before", run: () => say("new") };
      handler.notify.toolsChanged();
      return say("Added a tool.");
    },
  },
  test_trigger_prompt_change: {
    description: "Adds a prompt",
    run: () => {
      prompts[unused(prompts, "added_prompt")] = { description: "Was not there before", fill: () => ({ messages: [ask(text("new"))] }) };
      handler.notify.promptsChanged();
      return say("Added a prompt.");
    },
  },
  trigger_resource_update: {
    description: "Says that the watched resource has changed, to those who watch it",
    run: () => {
      handler.notify.resourceUpdated(WATCHED);
      return say("Said so.");
    },
  },
  greet: {
    description: "Greets somebody by name",
    inputSchema: schema({ name: { type: "string" } }),
    run: ({ name }) => say(`Hello, ${name}!`),
  },
  test_tool_with_task: {
    description: "Asks the user for a name, and works for them as a task",
    run: (given, call) => {
      const { rounds } = questions.tools.test_input_required_result_elicitation;
      const work = ({ user_name }) => say(`Worked for ${user_name.content?.name}.`);
      const end = (answers) => tasks.run({ required: true, work }, answers, call.context);
      return converse({ rounds, end }, given, call);
    },
  },
};

for (const [name, question] of Object.entries(questions.tools)) {
  tools[name] = { ...question, run: (given, call) => converse(question, given, call) };
}
for (const [name, task] of Object.entries(tasks.tools)) {
  tools[name] = { ...task, run: (given, { context }) => tasks.run(task, given, context) };
}

const prompts = { ...common.prompts };
for (const [name, question] of Object.entries(questions.prompts)) {
  prompts[name] = { ...question, fill: (given, call) => converse(question, given, call) };
}

const skill = (name, description) => `---\nname: ${name}\ndescription: ${description}\n---\n\n# ${name}\n\nRead references/GUIDE.md.\n`;

const skills = await SkillsExtension.load(
  memorySkillFiles({
    "git-workflow/SKILL.md": skill("git-workflow", "How commits are made here"),
    "git-workflow/references/GUIDE.md": "# Guide\n\nOne thing at a time.\n",
    "pdf-forms/SKILL.md": skill("pdf-forms", "How forms are filled in"),
    "pdf-forms/references/GUIDE.md": "# Guide\n\nField by field.\n",
    "pdf-forms/references/fields.json": '{"name":"text"}\n',
  }),
  // Less than there is, so that there is a next page.
  { pageSize: 1 },
);

function find(list, name, what) {
  if (!Object.hasOwn(list, name)) {
    throw new ProtocolError(ProtocolErrorCode.InvalidParams, `Unknown ${what}: ${name}`);
  }
  return list[name];
}

/** What a tool may do in the course of one call, and what came with it. */
const during = (context) => {
  const { _meta, envelope, inputResponses, log, notify, requestState } = context.mcpReq;
  return {
    context,
    answers: inputResponses ?? {},
    remembered: requestState(),
    capabilities: envelope?.[CLIENT_CAPABILITIES_META_KEY] ?? {},
    progressToken: _meta?.progressToken,
    notify: (method, params) => notify({ method, params }),
    log,
  };
};

/** One server for each request. Tools and prompts are answered as they stand here; the SDK's own lists would check and change them. */
class Reference extends McpServer {
  constructor() {
    super(
      { name: "modern-reference-server", version: "1.0.0" },
      {
        capabilities: {
          tools: { listChanged: true },
          resources: { subscribe: true, listChanged: true },
          prompts: { listChanged: true },
          completions: {},
          logging: {},
          extensions: { [tasks.TASKS]: {} },
        },
        requestState: states,
      },
    );
    const on = (method, answer) => this.server.setRequestHandler(method, ({ params }, context) => answer(params ?? {}, context));

    on("tools/list", () => ({
      tools: Object.entries(tools).map(([name, { description, inputSchema = schema() }]) => ({ name, description, inputSchema })),
    }));
    on("tools/call", ({ name, arguments: given }, context) => find(tools, name, "tool").run(given ?? {}, during(context)));

    on("prompts/list", () => ({
      prompts: Object.entries(prompts).map(([name, { description, arguments: args }]) => ({ name, description, arguments: args })),
    }));
    on("prompts/get", ({ name, arguments: given }, context) => find(prompts, name, "prompt").fill(given ?? {}, during(context)));
    on("completion/complete", ({ ref, argument }) =>
      complete(ref.type === "ref/prompt" ? find(prompts, ref.name, "prompt") : undefined, argument),
    );

    for (const [uri, { name, mimeType, content }] of Object.entries(common.resources)) {
      this.registerResource(name, uri, { mimeType }, () => ({ contents: [{ uri, mimeType, ...content }] }));
    }
    const { uriTemplate, name, mimeType } = template;
    this.registerResource(name, new ResourceTemplate(uriTemplate, { list: undefined }), { mimeType }, ({ href }, { id }) => ({
      contents: [{ uri: href, mimeType, text: fillTemplate(id) }],
    }));
    skills.attach(this);
    tasks.serveTasks(this.server);
  }

  /** By this the SDK compares headers with arguments. */
  toolInputSchemaJson(name) {
    return Object.hasOwn(tools, name) ? tools[name].inputSchema : undefined;
  }
}

const handler = createMcpHandler(() => new Reference(), { legacy: "reject" });

const serve = toNodeHandler(handler);
const guards = [localhostHostValidation(), localhostOriginValidation()];
const listener = createServer((request, response) => {
  if (guards.every((guard) => guard(request, response))) {
    void serve(request, response);
  }
});
listener.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${listener.address().port}/mcp`));
process.stdin.resume().on("end", () => process.exit());
