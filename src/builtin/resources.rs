//! The proxy's own resources: the guide, and the state of what the App and the servers hold.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Area, Builtin, Call, Offer, guide,
    outcome::{Ended, How},
    setup,
};
use crate::{
    catalog::{Catalog, ListKind},
    protocol::server::ServerId,
    security::{line, redact},
};

/// One of them.
struct Resource {
    uri: &'static str,
    name: &'static str,
    description: &'static str,
    mime_type: &'static str,
    of: Of,
}

/// Where its content comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Guide,
    Servers,
    /// A tool without arguments.
    Tool(&'static str, Area),
}

const JSON: &str = "application/json";

const RESOURCES: [Resource; 4] = [
    Resource {
        uri: "pluggedin://setup",
        name: "Set-up guide",
        description: "How to connect this proxy to plugged.in or to a local file, and its present state",
        mime_type: "text/markdown",
        of: Of::Guide,
    },
    Resource {
        uri: "pluggedin://mcp-servers",
        name: "MCP servers",
        description: "The servers behind this proxy, with their state and the number of their tools",
        mime_type: JSON,
        of: Of::Servers,
    },
    Resource {
        uri: "pluggedin://documents",
        name: "Documents",
        description: "The newest documents of the library; needs an API key",
        mime_type: JSON,
        of: Of::Tool("pluggedin_list_documents", Area::Documents),
    },
    Resource {
        uri: "pluggedin://notifications",
        name: "Notifications",
        description: "The user's notifications; needs an API key",
        mime_type: JSON,
        of: Of::Tool("pluggedin_list_notifications", Area::Notifications),
    },
];

/// URIs and records for lists.
pub(super) fn records(offer: Offer) -> Vec<(String, Bytes)> {
    let is_offered = |resource: &&Resource| match offer {
        Offer::All => true,
        Offer::Minimal => !matches!(resource.of, Of::Tool(..)),
        Offer::None => false,
    };
    let record = |Resource { uri, name, description, mime_type, of: _ }: &Resource| {
        let record = json!({ "uri": uri, "name": name, "title": name, "description": description, "mimeType": mime_type });
        ((*uri).to_owned(), record.to_string().into())
    };
    RESOURCES.iter().filter(is_offered).map(record).collect()
}

pub(super) fn area(uri: &str) -> Option<Area> {
    RESOURCES.iter().find(|resource| resource.uri == uri).map(|resource| match resource.of {
        Of::Guide => Area::Setup,
        Of::Servers => Area::Discovery,
        Of::Tool(_, area) => area,
    })
}

/// A list that cannot be had is a content that says why, so that the rest of the content is of use.
pub(super) async fn read(builtin: &Builtin, uri: &str) -> Ended {
    let Some(Resource { mime_type, of, .. }) = RESOURCES.iter().find(|resource| resource.uri == uri) else {
        return Ended { result: json!({ "contents": [] }).to_string().into(), how: How::Mistake };
    };
    let (text, how) = match *of {
        Of::Guide => (setup::guide(builtin), How::Done),
        Of::Servers => (pretty(&servers(builtin, &builtin.catalog.current())), How::Done),
        Of::Tool(name, area) => {
            let outcome = builtin.run(Call { name, arguments: None, progress: None }).await;
            let (message, data) = match &outcome {
                Ok(output) => (format!("What `{name}` says without arguments."), output.data().cloned()),
                Err(failure) => (failure.said.clone(), None),
            };
            let text = pretty(&json!({ "message": message, "available_tools": guide::available(area), "content": data }));
            (text, Ended::from(outcome).how)
        }
    };
    Ended { result: json!({ "contents": [{ "uri": uri, "mimeType": mime_type, "text": text }] }).to_string().into(), how }
}

fn servers(builtin: &Builtin, catalog: &Catalog) -> Value {
    let tools = |id: &ServerId| catalog.tools().filter(|(_, tool)| tool.owner.server() == Some(id)).count();
    let mut servers: Vec<_> = builtin
        .pool
        .servers()
        .into_iter()
        .map(|(config, status)| {
            json!({
                "name": redact::quote(&config.name, 200),
                "id": config.id.as_str(),
                "prefix": catalog.server(&config.id).map(|server| server.slug.as_str()),
                "transport": config.transport.label(),
                "state": status.label(),
                "revision": status.link().map(|link| link.peer().revision.as_str()),
                "problem": status.error().map(|error| line::escape(&redact::redact(&error.to_string())).into_owned()),
                "tools": tools(&config.id),
            })
        })
        .collect();
    servers.extend(catalog.servers().filter(|(_, server)| !server.configured).map(|(id, server)| {
        json!({
            "name": redact::quote(&server.name, 200),
            "id": id.as_str(),
            "prefix": server.slug,
            "state": "unknown",
            "problem": "as last listed; how it is reached is not known until plugged.in answers",
            "tools": tools(id),
        })
    }));
    let listed = catalog.descriptions(ListKind::Tools).len();
    json!({
        "message": format!("{} servers; {listed} tools are listed in all.", servers.len()),
        "available_tools": guide::available(Area::Discovery),
        "servers": servers,
    })
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("a value is always JSON")
}
