//! Bad input on stdin.

use super::*;

#[test]
fn what_is_no_json_is_a_parse_error_and_the_session_goes_on() {
    let mut client = Proxy::new().start();
    let lines: [&[u8]; 6] = [
        b"hello\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}}\n",
        b"\xff\xfe\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\xffng\"}\n",
        b"{'jsonrpc':'2.0','id':1,'method':'ping'}\n",
    ];
    for line in lines {
        let mark = client.mark();
        client.bytes(line);
        let answer = client.hear(mark, "a parse error", |value| value["error"].is_object());
        assert_eq!(answer["error"]["code"], -32_700, "{answer}");
        assert_eq!(answer["id"], Value::Null, "{answer}");
        assert_eq!(client.request("ping", json!({})).result(), json!({}));
    }
}

#[test]
fn json_that_is_no_message_is_an_invalid_request() {
    let mut client = Proxy::new().start();
    let lines = [
        r#"[{"jsonrpc":"2.0","id":"a","method":"ping"},{"jsonrpc":"2.0","id":"b","method":"ping"}]"#,
        "[]",
        "7",
        "null",
        r#""ping""#,
        "{}",
        r#"{"jsonrpc":"1.0","id":"a","method":"ping"}"#,
        r#"{"id":"a","method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":"a","method":7}"#,
        r#"{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}"#,
    ];
    for line in lines {
        let mark = client.mark();
        client.line(line);
        let answer = client.hear(mark, &format!("an error for {line}"), |value| value["error"].is_object());
        assert_eq!(answer["error"]["code"], -32_600, "{line}: {answer}");
        assert_eq!(client.request("ping", json!({})).result(), json!({}));
    }
}

#[test]
fn methods_that_nobody_knows_are_not_found() {
    let mut client = Proxy::new().start();
    for method in ["tools/destroy", "x-vendor/what", "", "TOOLS/LIST"] {
        let code = client.request(method, json!({})).code();
        assert_eq!(code, -32_601, "{method:?}");
    }
}

#[test]
fn what_asks_for_no_answer_gets_none() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__echo");
    let mark = client.mark();
    let lines = [
        r#"{"jsonrpc":"2.0","method":"notifications/nobody-knows-this","params":{"a":1}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"none","progress":1}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":"never asked","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":424242,"error":{"code":1,"message":"never asked"}}"#,
        "",
        "   ",
    ];
    for line in lines {
        client.line(line);
    }
    assert_eq!(client.request("ping", json!({})).result(), json!({}));
    let heard = client.since(mark);
    assert_eq!(heard.len(), 1, "{heard:?}");
}

#[test]
fn lines_that_nobody_would_write_do_no_harm() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__echo");
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let call = |arguments: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":"odd","method":"tools/call","params":{{"name":"alpha__echo","arguments":{arguments}}}}}"#)
    };
    let lines = [
        call(&format!(r#"{{"deep":{deep}}}"#)),
        call(r#"{"large":1e999,"small":1e-999,"long":0.1234567890123456789012345678901234567890}"#),
        call(r#"{"alone":"\ud800","nothing":"\u0000"}"#),
        call(r#"{"twice":1,"twice":2}"#),
        format!(r#"{{"jsonrpc":"2.0","id":"odd","method":"{}"}}"#, "x".repeat(1 << 20)),
        format!(r#"{{"jsonrpc":"2.0","id":"odd","method":"ping","params":{deep}}}"#),
        r#"{"jsonrpc":"2.0","id":"odd","id":"even","method":"ping"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1e3,"method":"ping"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#.to_owned(),
        "\u{0}".to_owned(),
        " ".repeat(1 << 20),
    ];
    for line in lines {
        client.line(&line);
        assert_eq!(client.request("ping", json!({})).result(), json!({}));
        let echo = client.call("alpha__echo", json!({}));
        assert_eq!(echo["structuredContent"]["server"], "alpha");
    }
}

#[test]
fn lines_may_end_and_be_cut_as_they_like() {
    let mut client = Proxy::new().start();
    client.bytes(b"{\"jsonrpc\":\"2.0\",\"id\":\"dos\",\"method\":\"ping\"}\r\n");
    client.bytes(b"  \t{\"method\":\"ping\", \"id\" : \"blanks\",");
    client.bytes(b"\"jsonrpc\":\"2.0\"}  \n");
    client.bytes(
        b"{\"jsonrpc\":\"2.0\",\"id\":\"one\",\"method\":\"ping\"}\n\
          {\"jsonrpc\":\"2.0\",\"id\":\"two\",\"method\":\"ping\"}\n",
    );
    for id in ["dos", "blanks", "one", "two"] {
        assert_eq!(client.answer(&Pending(json!(id))).result(), json!({}), "{id}");
    }
}

#[test]
fn ids_come_back_as_they_were_whatever_they_are() {
    let server = Server::stdio("alpha", &[]);
    let mut client = Proxy::before(&[&server]);
    client.find(List::Tools, "alpha__echo");
    let long = "x".repeat(10_000);
    let ids = [
        json!(0),
        json!(-1),
        json!(9_007_199_254_740_993_u64),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("\u{e9}\n\"\\"),
        json!(long),
    ];
    for id in ids {
        for (method, params) in [("ping", json!({})), ("tools/call", json!({"name": "alpha__echo", "arguments": {}}))] {
            let pending = client.send_as(id.clone(), method, params);
            client.answer(&pending).result();
            // The next one has the same id, and its answer must not be taken for this one.
            client.forget();
        }
    }
}
