//! URLs: schemes, hosts in every disguise, ports, user names, and texts that are none.

use super::Check;
use serde_json::{Value, json};

fn url(url: impl Into<String>) -> Value {
    json!({"kind": "url", "url": url.into()})
}

#[test]
fn public_servers_are_allowed() {
    let allowed = [
        "https://plugged.in",
        "https://mcp.example.com/mcp",
        "http://mcp.example.com/sse",
        "HTTPS://MCP.EXAMPLE.COM/Mcp",
        "hTTp://Example.Com",
        "https://example.com.",
        "https://example.com./mcp",
        "https://a.b.c.d.e.example.com/",
        "https://mcp.example.com:443/",
        "http://mcp.example.com:80/",
        "http://mcp.example.com:443/",
        "https://mcp.example.com:8443/mcp",
        "https://mcp.example.com:3000",
        "https://mcp.example.com:65535/",
        "https://mcp.example.com/a/b/../c/./d",
        "https://mcp.example.com/a%20b/%C3%A9?q=%2f",
        "https://mcp.example.com/?token=abc&x=http://127.0.0.1/",
        "https://mcp.example.com/?next=//169.254.169.254/",
        "https://mcp.example.com/@scope/pkg",
        "https://mcp.example.com/?mail=me@example.com",
        "https://mcp.example.com/me:secret@example.org",
        "https://mcp.example.com?x=1",
        "https://xn--bcher-kva.example/",
        "https://bücher.example/",
        "https://日本語.example/",
        "https://example.xn--p1ai/",
        "https://my-host.example.com/",
        "https://my_host.example.com/",
        "https://1host.example.com/",
        "https://example.com-x.org/",
        "http://8.8.8.8/",
        "https://1.1.1.1:8443/mcp?x",
        "http://93.184.216.34/",
        "http://134744072/",
        "http://0x08080808/",
        "http://010.8.8.8/",
        "http://8.8.2056/",
        "http://8.8.8.8./",
        "https://[2606:4700:4700::1111]/",
        "https://[2001:4860:4860::8888]:8443/mcp",
        "https://[2A00:1450:4001:81b::200e]/",
        "https://[::ffff:8.8.8.8]/",
        // Names that only look like refused ones.
        "https://localhost.example.com/",
        "https://notlocalhost.example/",
        "https://mylocalhost.dev/",
        "https://example.localhost.com/",
        "https://localhost-x.example/",
        "https://metadata.example.com/",
        "https://metadata.google.internal.example.com/",
        "https://metadata.google.com/",
        "https://127.example.com/",
        "https://10.0.0.1.example.com/",
        "https://x127.0.0.1.example/",
    ];
    let long = format!("https://mcp.example.com/{}?{}", "p".repeat(500), "q".repeat(500));
    Check::new().allows(allowed.into_iter().map(url).chain([url(long)]));
}

#[test]
fn names_of_this_machine_are_refused_in_every_disguise() {
    let hosts = [
        "localhost",
        "LOCALHOST",
        "LocalHost",
        "localhost.",
        "localhost..",
        "localhost...",
        "foo.localhost",
        "foo.bar.localhost",
        "foo.localhost.",
        "FOO.LOCALHOST",
        ".localhost",
        "%6c%6f%63%61%6c%68%6f%73%74",
        "loc%61lhost",
        "localhos%74",
        "localhost%2e",
        "foo%2elocalhost",
        "%4COCALHOST",
        "ｌｏｃａｌｈｏｓｔ",
        "ＬＯＣＡＬＨＯＳＴ",
        "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
        "𝓁𝑜𝒸𝒶𝓁𝒽𝑜𝓈𝓉",
        "loc\u{ad}alhost",
        "loc\u{200b}alhost",
        "loc\u{2060}alhost",
        "\u{feff}localhost",
        "localho\u{17f}t",
        "foo\u{3002}localhost",
        "foo\u{ff0e}localhost",
        "foo\u{ff61}localhost",
        "localhost\u{3002}",
        "%EF%BD%8Cocalhost",
    ];
    Check::new().refuses(hosts.iter().flat_map(|host| [url(format!("http://{host}/")), url(format!("https://{host}:8443/mcp?x#y"))]));
}

#[test]
fn addresses_of_this_machine_are_refused_in_every_disguise() {
    let hosts = [
        "127.0.0.1",
        "127.0.0.1.",
        "127.0.0.1..",
        "127.0.0.2",
        "127.255.255.255",
        "127.1",
        "127.0.1",
        "127.65535",
        "127.1.",
        "2130706433",
        "2130706433.",
        "0x7f000001",
        "0X7F000001",
        "0x7f.1",
        "0x7f.0.0.1",
        "0x7f.0x0.0x0.0x1",
        "0x7F.0.0x1",
        "017700000001",
        "0177.0.0.1",
        "0177.1",
        "0177.0x0.0.01",
        "00000177.0.0.1",
        "127.000.000.001",
        "0x00000000007f000001",
        "0000000000000017700000001",
        "0",
        "00",
        "0x",
        "0x0",
        "0.0",
        "0.0.0.0",
        "0.0.0.0.",
        "00.00.00.00",
        "0x0.0x0",
        "0.1.2.3",
        "%31%32%37.0.0.1",
        "127%2e0%2e0%2e1",
        "%31%32%37%2E%30%2E%30%2E%31",
        "%30x7f.1",
        "１２７.０.０.１",
        "127\u{3002}0\u{3002}0\u{3002}1",
        "127\u{ff0e}0\u{ff0e}0\u{ff0e}1",
        "127\u{ff61}0.0.1",
        "①②⑦.⓪.⓪.①",
        "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
        "¹²⁷.⁰.⁰.¹",
        "1\u{ad}27.0.0.1",
        "127.0.0.\u{200b}1",
        "0ｘ7f.1",
        "%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[0000:0000:0000:0000:0000:0000:0000:0001]",
        "[::0001]",
        "[::0.0.0.1]",
        "[::]",
        "[0::0]",
        "[::ffff:127.0.0.1]",
        "[::FFFF:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:7f00:0001]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::ffff:0.0.0.0]",
        "[::127.0.0.1]",
        "[::7f00:1]",
    ];
    Check::new().refuses(hosts.iter().flat_map(|host| [url(format!("http://{host}/")), url(format!("https://{host}:8443/mcp?x#y"))]));
}

#[test]
fn addresses_of_a_local_network_are_refused_in_every_disguise() {
    let hosts = [
        "10.0.0.1",
        "10.1",
        "167772161",
        "0xa000001",
        "012.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "0xac.0x10.1",
        "2886729729",
        "192.168.0.1",
        "192.168.1",
        "3232235521",
        "0xC0A80001",
        "0300.0250.0.1",
        "192.168.0x1.1",
        "１９２.１６８.０.１",
        "192%2e168.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "255.255.255.255",
        "4294967295",
        "0xffffffff",
        "240.0.0.1",
        "[fc00::1]",
        "[fd00::1]",
        "[FD12:3456:789A::1]",
        "[fe80::1]",
        "[febf::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[ff0e::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:c0a8:1]",
    ];
    Check::new().refuses(hosts.iter().flat_map(|host| [url(format!("http://{host}/")), url(format!("http://{host}:3000/mcp"))]));
}

#[test]
fn names_of_one_label_are_refused() {
    let hosts = [
        "router",
        "nas",
        "server.",
        "SERVER",
        "intranet",
        "x",
        "mcp-server",
        "xn--bcher-kva",
        "bücher",
        "wpad",
        "kubernetes",
        "host",
        "com",
        "com.",
    ];
    Check::new().refuses(hosts.iter().map(|host| url(format!("http://{host}/"))));
}

#[test]
fn user_names_are_refused() {
    let urls = [
        "https://me@example.com/",
        "https://me:secret@example.com/",
        "https://:secret@example.com/",
        "https://me:@example.com/",
        "https://me%40x:se%3acret@example.com/",
        "https://me:secret@example.com:8443/mcp",
        "https://a@b@example.com/",
        "https://example.com@example.org/",
        "https://example.com:443@example.org/",
        "https://example.com@127.0.0.1/",
        "https://127.0.0.1@example.com/",
        "http://127.0.0.1\\@example.com/",
        "http://me@8.8.8.8/",
        "http://me@[2606:4700:4700::1111]/",
        "https://%20@example.com/",
        "https:me@example.com/",
        "https:/me@example.com/",
        "https:\\\\me@example.com/",
    ];
    Check::new().refuses(urls.map(url));
}

#[test]
fn control_characters_are_refused_wherever_they_stand() {
    let controls = (0..0x20_u8).chain([0x7f]).map(char::from);
    let urls = controls.flat_map(|control| {
        [
            format!("{control}https://example.com/"),
            format!("https://example.com/{control}"),
            format!("https://exa{control}mple.com/"),
            format!("ht{control}tps://example.com/"),
            format!("https:{control}//example.com/"),
            format!("https://example.com:84{control}43/"),
            format!("https://example.com/a{control}b"),
            format!("https://example.com/?a={control}b"),
            format!("https://example.com/#a{control}b"),
        ]
    });
    Check::new().refuses(urls.map(url));
}

#[test]
fn other_schemes_are_refused() {
    let urls = [
        "ftp://example.com/",
        "ftps://example.com/",
        "file:///etc/passwd",
        "file://example.com/etc/passwd",
        "file:/etc/passwd",
        "ws://example.com/",
        "wss://example.com/",
        "gopher://example.com:70/_x",
        "dict://example.com:11211/stat",
        "ldap://example.com/",
        "tftp://example.com/x",
        "sftp://example.com/",
        "ssh://example.com/",
        "telnet://example.com/",
        "data:text/html,x",
        "javascript:alert(1)",
        "vbscript:x",
        "blob:https://example.com/0a1b",
        "about:blank",
        "view-source:https://example.com/",
        "jar:https://example.com/x.jar!/",
        "feed:https://example.com/",
        "mailto:me@example.com",
        "unix:/var/run/docker.sock",
        "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
        "httpx://example.com/",
        "xhttp://example.com/",
        "http2://example.com/",
        "https+x://example.com/",
        "chrome://settings",
        "intent://example.com/",
        "urn:isbn:1",
        "a:b",
    ];
    Check::new().refuses(urls.map(url));
}

#[test]
fn what_is_no_url_is_refused() {
    let urls = [
        "",
        " ",
        "/",
        "/mcp",
        "mcp",
        "example.com",
        "example.com/mcp",
        "example.com:443",
        "//example.com/",
        "://example.com/",
        "http",
        "http:",
        "http:/",
        "http://",
        "http:///",
        "http://?x",
        "http://#x",
        "http://:80/",
        "https://:443",
        "http://[/",
        "http://]/",
        "http://[]/",
        "http://[::1",
        "http://::1/",
        "http://[::1]x/",
        "http://[::1]:x/",
        "http://[127.0.0.1]/",
        "http://[g::1]/",
        "http://[1:2:3:4:5:6:7]/",
        "http://[1:2:3:4:5:6:7:8:9]/",
        "http://[::1::2]/",
        "http://[12345::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[2606:4700::1%251]/",
        "http://[v1.x]/",
        "http://example.com:65536/",
        "http://example.com:99999999999/",
        "http://example.com:-1/",
        "http://example.com:80x/",
        "http://example.com:8 0/",
        "http://exa mple.com/",
        "http://exa<mple.com/",
        "http://exa>mple.com/",
        "http://exa^mple.com/",
        "http://exa|mple.com/",
        "http://exa%mple.com/",
        "http://exa%00mple.com/",
        "http://exa%20mple.com/",
        "http://example.com%0a/",
        "http://example.com%0d%0aX-Y:%20z/",
        "http://example.com%2f@127.0.0.1/",
        "http://example.com%23.evil.example/",
        "http://example.com%3a22/",
        "http://256.256.256.256/",
        "http://1.2.3.4.5/",
        "http://1.2.3.256/",
        "http://4294967296/",
        "http://0x100000000/",
        "http://08.8.8.8/",
        "http://0x1g.1.1.1/",
        "http://foo.0x4/",
        "http://foo.1/",
        "http://1..2/",
        "http://..",
        "http://./",
        "http://../",
        "http://.../",
        "http://xn--/",
        "http://xn--a.example/",
        "http://\u{ad}/",
        "http://\u{200b}/",
        "http://exa\u{fffd}mple.com/",
        "http://exa\u{a0}mple.com/",
        "http://exa\u{2028}mple.com/",
        "http://exa\u{fdd0}mple.com/",
        "http://a\u{2100}b.example/",
        "http://a\u{ff0f}b.example/",
        "http://a\u{ff20}b.example/",
        "http://a\u{ff1a}80.example/",
        "${SERVER_URL}",
        "https://${HOST}/",
        "https://{host}/",
        "null",
        "undefined",
        "[object Object]",
    ];
    Check::new().refuses(urls.map(url));
}

/// Lenient spellings lead to the same host as the strict one.
#[test]
fn slashes_make_no_difference() {
    let spellings = [
        "http:HOST/",
        "http:/HOST/",
        "http:///HOST/",
        "http:////HOST/",
        "http:\\\\HOST\\",
        "http:/\\HOST/",
        "http://HOST\\mcp",
        "http:\\HOST",
        "HTTP:HOST",
    ];
    let hosts = ["127.0.0.1", "localhost", "169.254.169.254", "2130706433", "[::1]", "10.0.0.1"];
    let urls = spellings.iter().flat_map(|spelling| hosts.map(|host| url(spelling.replace("HOST", host))));
    Check::new().refuses(urls);
}

/// The ports of services that the seed names, and the "bad ports" of the Fetch standard.
const PORTS: &[u16] = &[
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110, 111, 113, 115,
    117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601,
    636, 989, 990, 993, 995, 1433, 1521, 1719, 1720, 1723, 2049, 3306, 3659, 4045, 4190, 5060, 5061, 5432, 6000, 6379, 6566, 6665, 6666,
    6667, 6668, 6669, 6679, 6697, 10080, 27017,
];

#[test]
fn ports_of_other_services_are_refused_and_their_neighbours_are_not() {
    let near = PORTS.iter().flat_map(|port| [port.saturating_sub(1), *port, port + 1]);
    let common = [
        80, 443, 591, 1024, 3000, 3001, 4000, 5000, 5173, 7000, 8000, 8001, 8008, 8080, 8081, 8443, 8888, 9000, 9090, 12005, 12006, 49152,
        65535,
    ];
    let ports: std::collections::BTreeSet<u16> = near.chain(common).collect();
    Check::new().judges(ports.iter().flat_map(|port| {
        let allowed = !PORTS.contains(port);
        [
            format!("http://example.com:{port}/"),
            format!("https://93.184.216.34:{port}/mcp"),
            format!("https://[2606:4700:4700::1111]:{port}/"),
        ]
        .map(|address| (url(address), allowed))
    }));
}

#[test]
fn ports_are_read_as_numbers() {
    Check::new().judges([
        (url("http://example.com:00022/"), false),
        (url("http://example.com:022/"), false),
        (url("http://example.com:0/"), false),
        (url("http://example.com:%32%32/"), false),
        (url("http://example.com:２２/"), false),
        (url("http://example.com:/"), true),
        (url("http://example.com:0080/"), true),
        (url("http://example.com:008443/"), true),
    ]);
}

/// Whoever reads the verdict need not know the secrets of the URL.
#[test]
fn a_verdict_repeats_no_secret() {
    let urls = [
        "https://me:s3cr3t-word@example.com/",
        "https://s3cr3t-word@example.com/",
        "http://127.0.0.1/?key=s3cr3t-word",
        "http://127.0.0.1/#s3cr3t-word",
        "ftp://me:s3cr3t-word@example.com/?s3cr3t-word",
        "http://[s3cr3t-word/?x",
        "s3cr3t-word",
        "https://example.com:22/?token=s3cr3t-word",
        "http://exa mple.com/?s3cr3t-word",
    ];
    let check = Check::new();
    for address in urls {
        for arguments in [&["url", address][..], &["url", "--json", address]] {
            let finished = check.run(arguments);
            assert_eq!(finished.code, Some(1), "{finished:?}");
            assert!(!format!("{finished:?}").contains("s3cr3t-word"), "{finished:?}");
        }
    }
}
