// Tools that ask the client before they answer, for both reference servers: how a question travels differs between the revisions, and
// what is asked does not. A tool asks in `rounds`, each `(arguments, capabilities)` giving the requests by their keys, and ends with
// `end(answers)`. With `remembers`, a server without sessions leaves what it knows with the client between rounds. With `lenient`, it
// does without what is refused.
//
// `test_input_required_…` and what has its keys is asked for by the suite for revision 2026-07-28, the others by the older ones.

import { ask, say, schema, text } from "./fixtures.mjs";

const choices = (...pairs) => pairs.map(([value, title]) => ({ const: value, title }));

export const elicit = (message, requestedSchema) => ({
  method: "elicitation/create",
  params: { mode: "form", message, requestedSchema },
});
const sample = (words, maxTokens) => ({ method: "sampling/createMessage", params: { messages: [ask(text(words))], maxTokens } });
const roots = { method: "roots/list", params: {} };

const NAME = schema({ name: { type: "string" } });
const OK = schema({ ok: { type: "boolean" } });

const askName = () => ({ user_name: elicit("What is your name?", NAME) });
const confirm = () => ({ confirm: elicit("Please confirm", OK) });

const filledIn = ({ form: { action, content } }) => say(`Elicitation completed: action=${action}, content=${JSON.stringify(content)}`);
const said = ({ reply }) => say(`LLM response: ${reply.content.text}`);
const greet = ({ user_name }) => say(`Hello, ${user_name.content?.name}!`);

export const tools = {
  test_sampling: {
    description: "Asks the client's model",
    inputSchema: schema({ prompt: { type: "string" } }),
    rounds: [({ prompt }) => ({ reply: sample(prompt, 100) })],
    end: said,
  },
  test_elicitation: {
    description: "Asks the user who they are",
    inputSchema: schema({ message: { type: "string" } }),
    rounds: [
      ({ message }) => ({
        form: elicit(
          message,
          schema({
            username: { type: "string", description: "User's response" },
            email: { type: "string", description: "User's email address" },
          }),
        ),
      }),
    ],
    end: filledIn,
  },
  test_elicitation_sep1034_defaults: {
    description: "Asks the user, with a default for every primitive type",
    rounds: [
      () => ({
        form: elicit(
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
      }),
    ],
    end: filledIn,
  },
  test_elicitation_sep1330_enums: {
    description: "Asks the user, with every kind of choice",
    rounds: [
      () => ({
        form: elicit(
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
      }),
    ],
    end: filledIn,
  },
  test_list_roots: {
    description: "Asks for the client's roots",
    rounds: [() => ({ client_roots: roots })],
    end: ({ client_roots }) => say(client_roots.roots.map(({ uri }) => uri).join("\n")),
  },
  test_missing_capability: {
    description: "Asks a model that the client may not have",
    rounds: [() => ({ reply: sample("Are you there?", 10) })],
    end: said,
  },
  test_streaming_elicitation: { description: "Asks the user for a name", rounds: [askName], end: greet },
  test_input_required_result_elicitation: { description: "Asks the user for a name", rounds: [askName], end: greet },
  test_input_required_result_sampling: {
    description: "Asks the client's model for a capital",
    rounds: [() => ({ capital_question: sample("What is the capital of France?", 100) })],
    end: ({ capital_question }) => said({ reply: capital_question }),
  },
  test_input_required_result_list_roots: {
    description: "Asks for the client's roots",
    rounds: [() => ({ client_roots: roots })],
    end: ({ client_roots }) => say(client_roots.roots.map(({ uri }) => uri).join("\n")),
  },
  test_input_required_result_request_state: {
    description: "Asks the user, and remembers it with the client",
    remembers: true,
    rounds: [confirm],
    end: () => say("state-ok"),
  },
  test_input_required_result_tampered_state: {
    description: "Asks the user, and trusts nothing that comes back changed",
    remembers: true,
    rounds: [confirm],
    end: () => say("state-ok"),
  },
  test_input_required_result_multiple_inputs: {
    description: "Asks the user, the model and for roots at once",
    remembers: true,
    rounds: [() => ({ ...askName(), greeting: sample("Generate a greeting", 50), client_roots: roots })],
    end: ({ user_name, greeting, client_roots }) =>
      say(`${greeting.content.text}, ${user_name.content?.name} of ${client_roots.roots.length} roots`),
  },
  test_input_required_result_multi_round: {
    description: "Asks the user twice, one after the other",
    remembers: true,
    rounds: [
      () => ({ step1: elicit("Step 1: What is your name?", NAME) }),
      () => ({ step2: elicit("Step 2: What is your favorite color?", schema({ color: { type: "string" } })) }),
    ],
    end: ({ step1, step2 }) => say(`${step1.content?.name} likes ${step2.content?.color}.`),
  },
  test_input_required_result_capabilities: {
    description: "Asks only what the client can answer",
    lenient: true,
    rounds: [
      (_, { elicitation, sampling }) => ({
        ...(elicitation && askName()),
        ...(sampling && { greeting: sample("Generate a greeting", 50) }),
      }),
    ],
    end: (answers) => say(JSON.stringify(answers)),
  },
};

export const prompts = {
  test_input_required_result_prompt: {
    description: "Asks the user before it is filled in",
    rounds: [() => ({ user_context: elicit("What context should the prompt use?", schema({ context: { type: "string" } })) })],
    end: ({ user_context }) => ({ messages: [ask(text(`In the context of ${user_context.content?.context}.`))] }),
  },
};
