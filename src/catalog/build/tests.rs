use super::*;
use crate::catalog::{BadCursor, integrity::Day};
use crate::{
    protocol::server::{HttpConfig, HttpKind, InstructionMessage, InstructionRole, ToolFilter, TransportConfig},
    secret::Secret,
    source::{InstructionRecord, PromptRecord, Records, Snapshot},
};

const NAMING: Naming = Naming { prefix: ToolPrefix::Slug, max: 60 };

fn server(origin: Origin, name: &str) -> ServerConfig {
    let http = HttpConfig { url: "http://h/mcp".to_owned(), kind: HttpKind::Auto, headers: [("a".to_owned(), Secret::from("b"))].into() };
    ServerConfig {
        id: if origin == Origin::App { ServerId::new(&format!("uuid-{name}")) } else { ServerId::of_file(name) },
        name: name.to_owned(),
        slug: None,
        origin,
        transport: TransportConfig::Http(http),
        timeout: None,
        tools: ToolFilter::default(),
        isolation: None,
        revision: None,
        instructions: Vec::new(),
        requires_auth: false,
    }
}

fn item(member: &str, key: &str) -> Item {
    Item { key: key.to_owned(), json: format!(r#"{{"x":1.0,"{member}":"{key}"}}"#).into() }
}

fn tools(names: &[&str]) -> Listing {
    Listing { tools: names.iter().map(|name| item("name", name)).collect(), ..Listing::default() }
}

fn record(server: &ServerConfig, name: &str) -> ToolRecord {
    ToolRecord {
        server: server.id.clone(),
        name: name.to_owned(),
        listed: format!("x__{name}"),
        description: Some("d".to_owned()),
        input_schema: None,
    }
}

struct Scene {
    snapshot: Snapshot,
    listings: HashMap<ServerId, Arc<Listing>>,
    recorded: HashSet<ServerId>,
    naming: Naming,
    changes: HashMap<ServerId, Changes>,
    pin: bool,
}

fn scene(servers: Vec<(ServerConfig, Option<Listing>)>) -> Scene {
    let mut listings = HashMap::new();
    let mut configs = Vec::new();
    for (config, listing) in servers {
        if let Some(listing) = listing {
            listings.insert(config.id.clone(), Arc::new(listing));
        }
        configs.push(Arc::new(config));
    }
    Scene {
        snapshot: Snapshot { servers: configs, ..Snapshot::default() },
        listings,
        recorded: HashSet::new(),
        naming: NAMING,
        changes: HashMap::new(),
        pin: false,
    }
}

impl Scene {
    fn build(&self) -> Catalog {
        let tools = vec![("pluggedin_setup".to_owned(), Bytes::from_static(br#"{"name":"pluggedin_setup"}"#))];
        let builtin = Own { tools, ..Own::default() };
        let servers: Vec<_> = self.snapshot.servers.iter().map(|config| Face::of(config)).collect();
        build(Inputs {
            servers: &servers,
            records: &self.snapshot.records,
            listings: &self.listings,
            recorded: &self.recorded,
            builtin: &builtin,
            naming: self.naming,
            changes: &self.changes,
            pin: self.pin,
            settled: true,
        })
    }

    fn names(&self) -> Vec<String> {
        self.build().tools().map(|(name, _)| name.to_owned()).skip(1).collect()
    }
}

#[test]
fn tools_carry_the_slug_of_their_server_and_nothing_else_changes() {
    let scene = scene(vec![(server(Origin::File, "My Git"), Some(tools(&["status"])))]);
    let page = scene.build().page(ListKind::Tools, None).expect("the first page is always there");
    assert_eq!(page, r#"{"tools":[{"name":"pluggedin_setup"},{"x":1.0,"name":"my-git__status"}]}"#);
}

#[test]
fn changed_tools_are_marked_and_where_they_are_pinned_not_listed() {
    let mut scene = scene(vec![(server(Origin::File, "s"), Some(tools(&["a", "b"]))), (server(Origin::File, "t"), Some(tools(&["a"])))]);
    scene.naming.prefix = ToolPrefix::None;
    let id = scene.snapshot.servers[0].id.clone();
    let since = Day::today();
    scene.changes.insert(id, [("a".to_owned(), since)].into());
    let listed = |scene: &Scene| scene.build().descriptions(ListKind::Tools).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let free = listed(&scene);
    assert_eq!(free[1..3], ["a", "b"]);
    assert_eq!(scene.build().tool("a").expect("one").expect("it is there").change, Some(Change { since, withheld: false }));
    scene.pin = true;
    // Nobody else takes its name meanwhile.
    assert_eq!(listed(&scene), [&free[..1], &free[2..]].concat());
    assert_eq!(scene.build().tool("a").expect("one").expect("it is there").change, Some(Change { since, withheld: true }));
    assert_eq!(scene.build().tool("b").expect("one").expect("it is there").change, None);
}

#[test]
fn equal_slugs_are_numbered_and_equal_names_hashed() {
    let scene =
        scene(vec![(server(Origin::File, "a b"), Some(tools(&["t", "x/y", "x.y"]))), (server(Origin::File, "a.b"), Some(tools(&["t"])))]);
    let names = scene.names();
    assert_eq!(names[..2], ["a-b__t", "a-b__x_y"]);
    assert!(names[2].starts_with("a-b__x_y_") && names[2].len() == "a-b__x_y_".len() + 6);
    assert_eq!(names[3], "a-b-1__t");
    assert_eq!(names, scene.names());
}

#[test]
fn a_tool_is_found_by_each_of_its_names() {
    let mut scene = scene(vec![
        (server(Origin::App, "one"), Some(tools(&["t", "files/read", "only"]))),
        (server(Origin::App, "two"), Some(tools(&["t"]))),
    ]);
    for prefix in [ToolPrefix::Slug, ToolPrefix::Uuid, ToolPrefix::None] {
        scene.naming.prefix = prefix;
        let catalog = scene.build();
        for name in ["one__files/read", "uuid-one__files/read", "files/read"] {
            assert_eq!(catalog.tool(name).expect("one server has it").expect(name).original, "files/read");
        }
        assert_eq!(
            catalog.tool("only").expect("one server has it").map(|tool| tool.owner.clone()),
            Some(Owner::Server(ServerId::new("uuid-one")))
        );
        assert!(catalog.tool("one__nothing").expect("nobody has it").is_none());
        if prefix == ToolPrefix::Slug {
            assert_eq!(catalog.tool("t").expect_err("both have it").names, ["one__t", "two__t"]);
        }
    }
}

#[test]
fn long_names_are_cut_the_same_way_every_time() {
    let mut scene = scene(vec![(server(Origin::App, "one"), Some(tools(&["a-tool-with-a-long-name", "a-tool-with-a-long-nose"])))]);
    scene.naming.max = 20;
    let names = scene.names();
    assert!(names.iter().all(|name| name.len() == 20 && name.starts_with("one__a-tool-w")));
    assert_ne!(names[0], names[1]);
    assert_eq!(names, scene.names());
}

#[test]
fn the_app_decides_which_tools_are_on() {
    let config = server(Origin::App, "one");
    let on = record(&config, "on");
    let mut scene = scene(vec![(config, None)]);
    scene.snapshot.records.tools = vec![on];
    assert_eq!(scene.names(), ["one__on"]);
    let id = ServerId::new("uuid-one");
    scene.recorded.insert(id.clone());
    scene.listings.insert(id, Arc::new(tools(&["off", "on"])));
    assert_eq!(scene.names(), ["one__on"]);
    scene.recorded.insert(ServerId::new("uuid-one"));
    scene.snapshot.records.tools.clear();
    assert_eq!(scene.names(), [] as [&str; 0], "the last one was switched off");
    // Nobody has ever discovered the server: what it says itself is all there is.
    scene.recorded.clear();
    assert_eq!(scene.names(), ["one__off", "one__on"]);
}

#[test]
fn filters_hold_for_records_and_listings() {
    let mut config = server(Origin::File, "one");
    config.tools = ToolFilter { allow: Some(vec!["a".to_owned(), "b".to_owned()]), deny: vec!["b".to_owned()] };
    let scene = scene(vec![(config, Some(tools(&["a", "b", "c"])))]);
    assert_eq!(scene.names(), ["one__a"]);
    assert!(scene.build().tool("b").expect("nobody has it").is_none());
}

#[test]
fn prompts_and_uris_keep_their_names_until_they_collide() {
    let listing = || Listing {
        prompts: vec![item("name", "p")],
        resources: vec![item("uri", "file:///a")],
        templates: vec![item("uriTemplate", "file:///{x}/y")],
        ..Listing::default()
    };
    let catalog = scene(vec![(server(Origin::File, "one"), Some(listing())), (server(Origin::File, "2nd"), Some(listing()))]).build();
    assert_eq!(catalog.prompts().map(|(name, _)| name).collect::<Vec<_>>(), ["p", "2nd__p"]);
    assert_eq!(catalog.resources().map(|(uri, _)| uri).collect::<Vec<_>>(), ["file:///a", "s-2nd+file:///a"]);
    assert_eq!(catalog.templates().map(|(uri, _)| uri).collect::<Vec<_>>(), ["file:///{x}/y", "s-2nd+file:///{x}/y"]);
    let owner = |uri: &str| catalog.resource(uri).map(|target| (target.owner, target.original));
    let at = |name: &str, uri: &str| Some((Owner::Server(ServerId::of_file(name)), uri.to_owned()));
    assert_eq!(owner("file:///a"), at("one", "file:///a"));
    assert_eq!(owner("s-2nd+file:///a"), at("2nd", "file:///a"));
    assert_eq!(owner("file:///7/y"), at("one", "file:///7/y"));
    assert_eq!(owner("s-2nd+file:///7/y"), at("2nd", "file:///7/y"));
    assert_eq!(owner("file:///7/z"), None);
}

#[test]
fn what_the_app_recorded_stands_in_until_servers_have_spoken() {
    let mut scene = scene(vec![(server(Origin::App, "one"), None)]);
    scene.snapshot.records = Records {
        prompts: vec![PromptRecord { name: "p".to_owned(), description: None, arguments: None }],
        resources: vec![ResourceRecord {
            uri: "a://b".to_owned(),
            name: None,
            description: None,
            mime_type: Some("text/plain".to_owned()),
        }],
        ..Records::default()
    };
    let catalog = scene.build();
    assert_eq!(catalog.resource("a://b").map(|target| target.owner), Some(Owner::Unknown));
    assert_eq!(
        catalog.page(ListKind::Resources, None).expect("page"),
        r#"{"resources":[{"uri":"a://b","name":"a://b","mimeType":"text/plain"}]}"#
    );
    assert_eq!(catalog.page(ListKind::Prompts, None).expect("page"), r#"{"prompts":[{"name":"p","arguments":[]}]}"#);
    scene.listings.insert(ServerId::new("uuid-one"), Arc::default());
    assert!(scene.build().resource("a://b").is_none());
}

#[test]
fn instructions_are_a_prompt_and_meta_of_the_tools() {
    let mut config = server(Origin::App, "My One");
    config.instructions = vec![InstructionMessage { role: InstructionRole::System, text: "be \"kind\"".to_owned() }];
    let id = config.id.clone();
    let mut listing = tools(&["a"]);
    listing.tools.push(Item { key: "b".to_owned(), json: Bytes::from_static(br#"{"name":"b","_meta":{"k":1}}"#) });
    let mut scene = scene(vec![(config, Some(listing))]);
    let page = scene.build().page(ListKind::Tools, None).expect("page");
    let page: serde_json::Value = serde_json::from_slice(&page).expect("pages are JSON");
    assert_eq!(page["tools"][1]["_meta"], json!({ INSTRUCTIONS_KEY: "be \"kind\"" }));
    assert_eq!(page["tools"][2]["_meta"], json!({ INSTRUCTIONS_KEY: "be \"kind\"", "k": 1 }));
    for name in ["my-one__system_context", "pluggedin_instruction_my_one_default"] {
        assert!(matches!(scene.build().prompt(name), Some(Prompt::Instructions { .. })), "{name}");
    }
    scene.snapshot.records.instructions = vec![InstructionRecord { name: "odd_name".to_owned(), description: None, server: id }];
    let catalog = scene.build();
    assert_eq!(catalog.prompts().map(|(name, _)| name).collect::<Vec<_>>(), ["odd_name"]);
    assert!(catalog.prompt("my-one__system_context").is_some());
}

#[test]
fn long_lists_have_pages_that_follow_each_other() {
    let names: Vec<String> = (0..2_500).map(|number| format!("t{number:04}")).collect();
    let scene = scene(vec![(server(Origin::File, "s"), Some(tools(&names.iter().map(String::as_str).collect::<Vec<_>>())))]);
    let catalog = scene.build();
    let mut cursor: Option<String> = None;
    let mut found = Vec::new();
    loop {
        let page = catalog.page(ListKind::Tools, cursor.as_deref()).expect("the list gave the cursor");
        let page: serde_json::Value = serde_json::from_slice(&page).expect("pages are JSON");
        found.extend(page["tools"].as_array().expect("a list").iter().map(|tool| tool["name"].as_str().unwrap_or_default().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(found, catalog.tools().map(|(name, _)| name.to_owned()).collect::<Vec<_>>());
    for bad in ["", "x", "0-0", "-1", &format!("{:016x}-9", catalog.generation(ListKind::Tools)), "ffffffffffffffff-1"] {
        assert_eq!(catalog.page(ListKind::Tools, Some(bad)), Err(BadCursor), "{bad}");
    }
}
