// The tasks extension for `modern-server.mjs`, which the official SDK leaves to servers: calls that go on after they are answered,
// and are asked about by the id of their task. Everything is kept in memory, and nothing is forgotten.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import {
  CLIENT_CAPABILITIES_META_KEY,
  MissingRequiredClientCapabilityError,
  ProtocolError,
  ProtocolErrorCode,
} from "@modelcontextprotocol/server";

import { say, schema } from "./fixtures.mjs";

export const TASKS = "io.modelcontextprotocol/tasks";

/** How often a client may ask. Short, because the suite goes by it. */
const POLL_INTERVAL = 100;

const confirm = (message) => ({
  method: "elicitation/create",
  params: { mode: "form", message, requestedSchema: schema({ confirm: { type: "boolean" } }) },
});

// Each tool does `work(arguments, task)`, as a task where the client knows tasks. With `required` it does nothing for others.
export const tools = {
  slow_compute: {
    description: "Computes for a number of seconds",
    inputSchema: schema({ seconds: { type: "number" }, label: { type: "string" } }, ["seconds"]),
    work: async ({ seconds, label }, { signal }) => {
      await sleep(seconds * 1000, undefined, { signal });
      return say(`Computed ${label} for ${seconds} s.`);
    },
  },
  failing_job: {
    description: "Fails after a while",
    required: true,
    work: async (_, { signal }) => {
      await sleep(100, undefined, { signal });
      return { ...say("This job fails."), isError: true };
    },
  },
  protocol_error_job: {
    description: "Ends in an error of the protocol",
    required: true,
    work: async () => {
      throw new ProtocolError(ProtocolErrorCode.InternalError, "This job breaks down.");
    },
  },
  confirm_delete: {
    description: "Asks before it deletes nothing",
    inputSchema: schema({ filename: { type: "string" } }),
    required: true,
    work: async ({ filename }, { ask }) => {
      const { answer } = await ask({ answer: confirm(`Delete ${filename}?`) });
      return say(`${filename}: ${JSON.stringify(answer)}`);
    },
  },
  multi_input: {
    description: "Asks two things at once",
    required: true,
    work: async (_, { ask }) => say(JSON.stringify(await ask({ first: confirm("The one?"), second: confirm("The other?") }))),
  },
};

const tasks = new Map();

class Task {
  #id = randomUUID();
  #createdAt = new Date().toISOString();
  #lastUpdatedAt = this.#createdAt;
  /** What depends on the status, `status` included. */
  #state = { status: "working" };
  #abort = new AbortController();
  #answers = {};
  #answered = undefined;

  /** A task that is there before anybody hears of it. */
  static start(work) {
    const task = new Task();
    tasks.set(task.#id, task);
    const { signal } = task.#abort;
    const ask = (requests) => task.#ask(requests);
    Promise.resolve()
      .then(() => work({ signal, ask }))
      .then((result) => task.#become({ status: "completed", result }))
      .catch(({ code = ProtocolErrorCode.InternalError, message }) => task.#become({ status: "failed", error: { code, message } }));
    return { resultType: "task", ...task.#about(), status: "working" };
  }

  #about() {
    const times = { createdAt: this.#createdAt, lastUpdatedAt: this.#lastUpdatedAt };
    return { taskId: this.#id, ...times, ttlMs: 600_000, pollIntervalMs: POLL_INTERVAL };
  }

  /** What has ended stays as it is. */
  #become(state) {
    if (["working", "input_required"].includes(this.#state.status)) {
      this.#state = state;
      this.#lastUpdatedAt = new Date().toISOString();
    }
  }

  async #ask(inputRequests) {
    this.#become({ status: "input_required", inputRequests });
    await new Promise((resolve) => {
      this.#answered = resolve;
    });
    this.#become({ status: "working" });
    return this.#answers;
  }

  detailed() {
    return { ...this.#about(), ...this.#state };
  }

  /** Takes answers to what is asked, and nothing else. */
  update(responses) {
    if (this.#state.status !== "input_required") {
      return;
    }
    const open = Object.entries(this.#state.inputRequests);
    const [answered, still] = [open.filter(([key]) => key in responses), open.filter(([key]) => !(key in responses))];
    Object.assign(this.#answers, Object.fromEntries(answered.map(([key]) => [key, responses[key]])));
    if (still.length === 0) {
      this.#answered();
    } else {
      this.#become({ status: "input_required", inputRequests: Object.fromEntries(still) });
    }
  }

  cancel() {
    this.#become({ status: "cancelled" });
    this.#abort.abort();
  }
}

export const knowsTasks = ({ mcpReq }) => mcpReq.envelope?.[CLIENT_CAPABILITIES_META_KEY]?.extensions?.[TASKS] !== undefined;

function needTasks(context) {
  if (!knowsTasks(context)) {
    throw new MissingRequiredClientCapabilityError({ requiredCapabilities: { extensions: { [TASKS]: {} } } });
  }
}

/** Calls one of the tools above, or another that works in the same way. */
export async function run({ required, work }, given, context) {
  if (required) {
    needTasks(context);
  }
  return knowsTasks(context) ? Task.start((task) => work(given, task)) : work(given, { signal: context.mcpReq.signal });
}


/** The extension's own methods. */
export function serveTasks(server) {
  const anything = { "~standard": { version: 1, vendor: "reference", validate: (value) => ({ value }) } };
  const on = (method, answer) =>
    server.setRequestHandler(method, { params: anything }, (params, context) => {
      needTasks(context);
      const task = tasks.get(params.taskId);
      if (task === undefined) {
        throw new ProtocolError(ProtocolErrorCode.InvalidParams, `Unknown task: ${params.taskId}`);
      }
      return answer(task, params, context) ?? {};
    });
  on("tasks/get", (task) => task.detailed());
  on("tasks/update", (task, { inputResponses }, { mcpReq }) => task.update(inputResponses ?? mcpReq.inputResponses ?? {}));
  on("tasks/cancel", (task) => task.cancel());
}
