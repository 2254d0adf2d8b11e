//! pluggedin-mcp-proxy: one MCP server in front of many.
//!
//! A client talks to one program; the program takes the list of servers from the
//! plugged.in App or a local file, shows everything they offer under one roof, and
//! forwards each call to its owner. This page is the map; each module's own page says
//! what it is for and what it is not.
//!
//! # Words, used the same way everywhere
//!
//! - *client*: the MCP client that talks to us. *server*: an MCP server that we talk to.
//! - *downstream*: towards servers. (*upstream* is not used: it means both ways elsewhere.)
//! - *App*: the plugged.in App, a REST service. *source*: where server configurations come
//!   from, the App, a local file, or both.
//! - *workspace*: the set of servers that one API key selects at the moment. It can
//!   change under us at any time.
//! - *catalog*: the immutable picture of all tools, resources, templates and prompts, with
//!   their owners. *listing*: what one server says it offers.
//! - *session*: one client's stay. *call*: one client request. *reverse request*: sampling,
//!   elicitation or roots, asked by a server.
//! - *stay*: a session as HTTP sees it, with its id, its owner and its event streams. *tenant*: the
//!   workspace of one client's own key.
//! - *connection*: one place in the pool, of a server and of all sessions or one. *link*: a live one, after its handshake.
//!
//! # Layers: a module uses only what is lower
//!
//! | layer | modules | may not know |
//! | --- | --- | --- |
//! | 9 | [`app`] (and `main`) | |
//! | 8 | [`config`] | how any part works: it only fills the parts' own `Config`s |
//! | 7 | [`front`] | which server answers |
//! | 6 | [`router`] | HTTP, stdio, how sessions are stored |
//! | 5 | [`builtin`] | router, front |
//! | 4 | [`catalog`] | who asks |
//! | 3 | [`source`] and [`downstream`] | each other, the catalog, names |
//! | 2 | [`telemetry`], [`lines`], [`files`] | what messages and files say |
//! | 1 | [`protocol`], [`security`], [`shutdown`], [`lasting`] | each other; any I/O but the requests of `security::egress` and signals |
//! | 0 | [`secret`] | what a secret is for |
//!
//! Lower code cannot reach an option or the environment. What must travel upward goes
//! through a value handed down ([`router::Ctx`]) or a channel that the caller owns.
//! `tests/layering.rs` checks this table.
//!
//! # In reading order
//!
//! [`protocol::message`] (what a message is, and the measurement behind it),
//! [`downstream`] (pool, supervisor, link, call in flight), [`downstream::transport`],
//! [`source`], [`catalog::build`] (names), [`catalog::keeper`], [`builtin`], [`router`],
//! [`front::session`], [`front::stdio`], [`front::http`] (its page says in which order a request
//! passes), [`config`], [`app`].
//!
//! # A call goes one way
//!
//! ```text
//! bytes - front/stdio (a task for each call) or front/http (inside the request) - Message::parse - Session
//!  1 resolve  one catalog snapshot, name -> owner
//!  2 admit    the client's rate and everybody's  -> Permit, without which nothing is started
//!  3 start    builtin.call(..), or pool.link(server) or the session's own, and link.start(request)  -> InFlight
//!  4 relay    until the reply: progress and log messages out in order, what the server asks to the client and
//!             back, silence ends it, dropping it cancels at the server
//!  5 finish   names and URIs back, counted, a note for the App's activity log
//!       - front/rescue on Err - Frame - bytes
//! ```
//!
//! What a server asks or says during a call goes through the same loop to the client of that call,
//! and never to another: where it cannot be told whose it is, it is refused ([`router`]). On a connection that
//! has one client only, what belongs to no call is for that client (`router::outside`).
//!
//! Messages outside a call take one of two other paths: handler -> `Event` -> keeper -> a new
//! catalog -> [`router::events`] -> session for lists, and handler -> `Notice` -> router -> the
//! sessions that have subscribed for single resources. There is no request to the App in a call's path,
//! but for the App's own services ([`builtin`]), and prompts and resources that the App lists and no connected
//! server has claimed. Of a finished call the App is told later, by a task of its own.
//!
//! # Invariants
//!
//! - What is forwarded stays the text that came; only ids, progress tokens, renamed names
//!   and URIs are replaced, in place. A member that we do not know is not touched.
//! - Ids and progress tokens are different spaces on both sides and are mapped, never reused.
//!   No token is sent to a server that the client did not give.
//! - Progress, log messages and requests of a call reach its client before its reply, in order.
//! - A reverse request goes to the client whose call caused it. Where that cannot be told, it is
//!   refused, never broadcast or guessed.
//! - One task owns each connection; whoever spawns uses the tracker, so that the end waits.
//! - No lock is held across an await. Readers take an `Arc` snapshot and keep it to the
//!   end of their step.
//! - Stdout belongs to the protocol. Secrets are types that do not print themselves.
//!
//! # Decisions
//!
//! - **Names.** `{slug}__{tool}` in `^[A-Za-z0-9_-]{1,60}$`; too long ones are cut and end in a
//!   stable hash. Lookup is by map, never by splitting: the listed name, `{uuid}__{tool}`,
//!   `{slug}__{tool}`, and the bare name where one server has it. Prompts and URIs keep their names
//!   until they collide.
//! - **App first, then live.** The App says which servers exist and which of their tools are
//!   switched on; a connected server's own listing completes the record.
//! - **Nobody waits for the slowest.** Servers connect in the background. The first list waits
//!   for servers that nobody knows yet, and not for stragglers; listings are kept between runs.
//! - **The App may be away.** What it said last is kept without secrets (`catalog::store`) and stands in for it, in lists, until it has
//!   said everything; calls wait for it. How servers are reached is kept only where the operator asks for it ([`source::kept`]).
//! - **Revisions.** What differs between them is said by [`protocol::revision`] and bridged by the router: a client without a
//!   handshake is asked in rounds, an older server's call being parked meanwhile; an older client is asked while its call runs, the
//!   proxy going through a newer server's rounds. What a client carries between rounds is sealed.
//! - **What servers ask.** Where a connection has one client, its server is offered what that client can do, and reaches it
//!   outside of calls: over STDIO, and on connections of single sessions over HTTP (`downstream::own`), which by default
//!   remote servers with a handshake have. Where a connection is shared, its server is offered sampling and elicitation, and
//!   is refused at the time where the client of the call has them not. Roots are not offered there: servers ask for them
//!   outside of calls, and go by them for everybody. What servers offer is listed through the shared connection.
//! - **A server's trouble is its own.** One supervisor a connection, with a breaker: what was of use is made again at once, what fails
//!   is given pauses, and refuses callers after five failures in a row (`downstream::supervisor`). What did not reach a server, or may be done twice,
//!   is sent once more; all else is answered with what is not known.
//! - **The stdio front never dies of a server or the App.** It ends at the end of input or a signal.
//! - **A call over HTTP has no task of its own** until it needs one: the request that brought it drives it.
//!   An event stream is begun when there is something to say before the answer, or nothing for a second;
//!   a lost connection does not cancel a call of a session, and its stream can be taken up again.
//! - **Who has no key sees another workspace,** one that holds the proxy's own entries alone. What a client
//!   must not see is not filtered out; it is not there.
//! - **Errors to the model.** A failed tool call is a result with `isError` and one sentence;
//!   protocol mistakes are JSON-RPC errors. Neither holds a secret or a path.

pub mod app;
pub mod builtin;
pub mod catalog;
pub mod config;
pub mod downstream;
pub mod files;
pub mod front;
pub mod lasting;
pub mod lines;
pub mod protocol;
pub mod router;
pub mod secret;
pub mod security;
pub mod shutdown;
pub mod source;
pub mod telemetry;
