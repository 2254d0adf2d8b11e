//! The proxy as a program, seen from outside: what a client sees over its pipes, servers over each of their wires, and
//! the App over HTTP.

mod scripted; // the servers, also a program of their own
mod support; // what scenarios are built from

mod activity; // what the App is told of calls
mod admin; // health, readiness, metrics, and what registries read
mod app; // servers that the App names, and an App that fails
mod auth; // who may do what over HTTP
mod away; // an App that is away or slow at the start
mod builtin; // tools, resources and the prompt that the proxy has itself
mod cancel; // a cancellation reaches the server that works on the call, and only that
mod check; // verdicts of the policy, over large tables of cases
mod cli; // commands, options, exit codes, bad input on stdin, the end
mod commands; // what may be started, with which arguments and variables
mod doctor; // what is wrong, and what to do about it
mod elicitation; // what servers ask the user, by form and by URL
mod faults; // servers that are dead, slow, rude or forgetful
mod file; // servers that a local file names, and edits of it
mod headers; // headers that are configured for servers
mod integrity; // tools that are not what they were
mod isolation; // what a server sees of its clients, and whom it reaches outside of calls
mod lenient; // clients with curl, and several messages at once
mod limits; // what one HTTP client may use, and requests that are no good
mod lists; // pages, changes, order
mod logging; // log messages of servers and the level that a client wants
mod login; // a key by way of the browser, and what becomes of it
mod modern; // clients of 2026-07-28
mod names; // how tools, prompts and resources are called when servers disagree
mod old_proxy; // what the Node proxy got wrong
mod origin; // names of the proxy, and web pages
mod orphans; // nothing that a server has started outlives the proxy
mod payload; // how large messages may be
mod progress; // progress arrives at its call, in order, before the answer
mod prompts; // prompts, completion, instructions as prompts
mod rate_limits; // how often clients may call
mod recovery; // when servers that fail are tried again
mod redaction; // what servers say comes into logs and errors without secrets
mod resources; // resources and templates
mod revisions; // servers and clients of different revisions together
mod sampling; // what servers ask of the client while a call runs
mod secrets; // nothing secret in the log, in what is shown, in errors
mod sessions; // sessions of HTTP clients
mod shutdown; // the end of a proxy that serves HTTP
mod ssrf; // where requests may go
mod stand_in; // whether the App of these tests is as strict and as odd as it should be
mod stateless; // requests that stand alone
mod streams; // event streams and how they are resumed
mod subscriptions; // changes of single resources
mod tenants; // clients that bring their own keys
mod tools; // tools, and that nothing is changed on the way
