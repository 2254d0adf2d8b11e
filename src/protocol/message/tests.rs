use super::*;

fn parse(text: &'static str) -> Message {
    Message::parse(&Bytes::from_static(text.as_bytes())).unwrap_or_else(|invalid| panic!("{text}: {invalid:?}"))
}

fn text(frame: Frame) -> String {
    String::from_utf8(frame.into_bytes().to_vec()).expect("frames are UTF-8")
}

#[test]
fn kinds_are_told_apart() {
    for (json, kind) in [
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, Kind::Request),
        (r#"{"jsonrpc":"2.0","id":"a","method":"ping","params":null}"#, Kind::Request),
        (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, Kind::Notification),
        (r#" {"result":null,"id":1.5,"jsonrpc":"2.0"} "#, Kind::Result),
        (r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}"#, Kind::Error),
    ] {
        assert_eq!(parse(json).kind(), kind, "{json}");
    }
}

#[test]
fn what_is_not_a_message_is_refused_with_its_id() {
    #[track_caller]
    fn check(json: &str, code: i32, id: Option<&str>) {
        let invalid = Message::parse(&Bytes::copy_from_slice(json.as_bytes())).expect_err(json);
        let found = invalid.id.map(|id| String::from_utf8(id.as_json().to_vec()).unwrap_or_default());
        assert_eq!((invalid.error.code, found.as_deref()), (code, id), "{json}: {:?}", invalid.error);
    }
    check("{", PARSE_ERROR, None);
    check("", PARSE_ERROR, None);
    check("\"x\"", INVALID_REQUEST, None);
    check(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, INVALID_REQUEST, None);
    // The members by their position.
    check(r#"["2.0",1,"ping"]"#, INVALID_REQUEST, None);
    check(r#"["2.0",1,null,null,{"content":[]}]"#, INVALID_REQUEST, None);
    check(" []", INVALID_REQUEST, None);
    check(r#"{"id":1,"method":"ping"}"#, INVALID_REQUEST, Some("1"));
    check(r#"{"jsonrpc":"1.0","id":"q","method":"ping"}"#, INVALID_REQUEST, Some("\"q\""));
    check(r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, INVALID_REQUEST, None);
    check(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, INVALID_REQUEST, None);
    check(r#"{"jsonrpc":"2.0","id":4,"method":7}"#, INVALID_REQUEST, Some("4"));
    check(r#"{"jsonrpc":"2.0","id":4,"method":"a","method":"b"}"#, INVALID_REQUEST, Some("4"));
    check(r#"{"jsonrpc":"2.0","id":4,"method":"a","params":3}"#, INVALID_REQUEST, Some("4"));
    check(r#"{"jsonrpc":"2.0","id":4,"result":1,"error":{}}"#, INVALID_REQUEST, Some("4"));
    check(r#"{"jsonrpc":"2.0","id":4}"#, INVALID_REQUEST, Some("4"));
    check(r#"{"jsonrpc":"2.0","id":4,"id":5,"result":{}}"#, INVALID_REQUEST, Some("5"));
}

#[test]
fn an_array_is_told_from_a_message() {
    for json in [r#"["2.0",1,"ping"]"#, "[]", r#" [{"jsonrpc":"2.0","id":1,"method":"ping"}]"#] {
        let invalid = Message::parse(&Bytes::from_static(json.as_bytes())).expect_err(json);
        assert!(invalid.error.message.contains("batches"), "{json}: {}", invalid.error.message);
    }
}

#[test]
fn what_was_meant_as_a_response_is_told() {
    #[track_caller]
    fn check(json: &'static str, expect: bool) {
        let invalid = Message::parse(&Bytes::from_static(json.as_bytes())).expect_err(json);
        assert_eq!(invalid.is_response, expect, "{json}");
    }
    check(r#"{"jsonrpc":"2.0","id":4,"result":1,"error":{}}"#, true);
    check(r#"{"jsonrpc":"2.0","id":4,"result":{},"result":{}}"#, true);
    check(r#"{"jsonrpc":"2.0","id":4}"#, true);
    check(r#"{"jsonrpc":"2.0","result":{}}"#, false);
    check(r#"{"jsonrpc":"2.0","id":4,"method":"a","params":3}"#, false);
    check(r#"{"jsonrpc":"2.0","id":4,"method":"a","method":"b"}"#, false);
    check("{", false);
}

#[test]
fn responses_that_nobody_can_read_are_told() {
    #[track_caller]
    fn check(body: &str, expect: Option<&str>) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,{body}}}"#);
        assert_eq!(Message::parse(&text.into()).expect(body).flaw(), expect, "{body}");
    }
    check(r#""result":{}"#, None);
    check(r#""result":[]"#, Some("its answer is no object"));
    check(r#""result":null"#, Some("its answer is no object"));
    check(r#""error":"boom""#, Some("its answer is no object"));
    check(r#""error":{"code":-32000,"message":"","data":1.0}"#, None);
    let errors = [r#"{}"#, r#"{"code":"x","message":1}"#, r#"{"code":-32000}"#, r#"{"message":"m"}"#, r#"{"code":1.5,"message":"m"}"#];
    for error in errors {
        check(&format!(r#""error":{error}"#), Some("its error has no code and message"));
    }
}

#[test]
fn a_new_id_changes_nothing_else() {
    let message = parse(r#"{ "vendor":1.0, "id" : "x\u0041", "result": {"big":123456789012345678901,"a":null}, "jsonrpc":"2.0","z":[ ]}"#);
    assert_eq!(
        text(message.with(&Id::number(7), None)),
        r#"{ "vendor":1.0, "id" : 7, "result": {"big":123456789012345678901,"a":null}, "jsonrpc":"2.0","z":[ ]}"#
    );
    assert_eq!(
        text(message.with(&Id::number(7), Some(Bytes::from_static(b"{}")))),
        r#"{ "vendor":1.0, "id" : 7, "result": {}, "jsonrpc":"2.0","z":[ ]}"#
    );
}

#[test]
fn large_messages_are_spliced_without_a_copy() {
    let body = format!(r#"{{"text":"{}"}}"#, "a".repeat(100_000));
    let source = Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{body}}}"#));
    let frame = Message::parse(&source).expect("valid").with(&Id::number(22), None);
    assert_eq!(frame.pieces().len(), 3);
    assert_eq!(frame.pieces()[2].as_ptr(), source[23..].as_ptr());
    assert_eq!(text(frame), format!(r#"{{"jsonrpc":"2.0","id":22,"result":{body}}}"#));
}

#[test]
fn frames_of_our_own_are_messages() {
    for frame in [
        Frame::request(&Id::number(1), "ping", None),
        Frame::request(&Id::number(1), "tools/list", Some("{}")),
        Frame::result(&Id::number(1), Bytes::from_static(b"{}")),
        Frame::error(None, &ErrorObject::new(PARSE_ERROR, "\"quoted\"")),
        Frame::from(Message::notification("notifications/initialized", None)),
    ] {
        assert!(Message::parse(&frame.into_bytes()).is_ok());
    }
}
