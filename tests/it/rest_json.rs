//! proto3 JSON, kind by kind: what is said back of what was said, and what is refused where.
//! <https://protobuf.dev/programming-guides/json/>

use serde_json::{Value, json};

use crate::library::{json_of, start};

/// Sends the text as a catalogue.
async fn tell(url: &str, text: &str) -> (u16, Value) {
    let request = reqwest::Client::new().post(format!("{url}/v1/catalogues"));
    json_of(request.header("content-type", "application/json").body(text.to_owned())).await
}

/// The field of the one violation.
fn field(error: &Value) -> &str {
    let details = error["details"].as_array().unwrap();
    let bad = details.iter().find(|detail| detail["@type"] == "type.googleapis.com/google.rpc.BadRequest");
    bad.unwrap_or_else(|| panic!("{error}"))["fieldViolations"][0]["field"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn what_is_said_back() {
    let url = start().await;
    // Said, and what comes back; the same where there is no second.
    let cases: &[(&str, Option<&str>)] = &[
        ("{}", None),
        (" {\n} ", Some("{}")),
        // Both forms of names; the default is left out.
        (r#"{"side_note": "x", "title": ""}"#, Some(r#"{"sideNote": "x"}"#)),
        (r#"{"sideNote": ""}"#, None),
        (r#"{"rating": 0, "shelf": 0, "open": false, "seal": "", "genre": 0, "worth": 0}"#, Some(r#"{"rating": 0}"#)),
        // Numbers as numbers, as strings, with an exponent.
        (r#"{"shelf": -2147483648, "floor": 4294967295}"#, None),
        (
            r#"{"shelf": "7", "floor": 7.0, "below": -7e0, "stamp": "1e2", "north": -1.50e1}"#,
            Some(r#"{"shelf": 7, "floor": 7, "below": -7, "stamp": 100, "north": -15}"#),
        ),
        (
            r#"{"books": -9223372036854775808, "pages": 18446744073709551615, "depth": "-1", "serial": 1, "east": -2}"#,
            Some(
                r#"{"books": "-9223372036854775808", "pages": "18446744073709551615", "depth": "-1", "serial": "1", "east": "-2"}"#,
            ),
        ),
        (r#"{"books": "9223372036854775807", "depth": "-9223372036854775808"}"#, None),
        (r#"{"weight": 0.1, "worth": 0.1}"#, None),
        (r#"{"weight": "NaN", "worth": "-Infinity"}"#, None),
        (r#"{"weight": "Infinity", "worth": "1.5"}"#, Some(r#"{"weight": "Infinity", "worth": 1.5}"#)),
        (r#"{"worth": 3, "prices": [1.0, 2.5, "NaN"]}"#, Some(r#"{"worth": 3, "prices": [1, 2.5, "NaN"]}"#)),
        (r#"{"weight": 3.4028235e38, "worth": 1.7976931348623157e308}"#, None),
        // base64, both alphabets, padding or none.
        (
            r#"{"seal": "-_-_", "seals": ["+/+/", "YQ==", "YQ", ""]}"#,
            Some(r#"{"seal": "+/+/", "seals": ["+/+/", "YQ==", "YQ==", ""]}"#),
        ),
        // Enums by name and number; a number without a name stays.
        (
            r#"{"genre": 2, "genres": ["GENRE_NOVEL", 1, 77, -1]}"#,
            Some(r#"{"genre": "GENRE_ATLAS", "genres": ["GENRE_NOVEL", "GENRE_NOVEL", 77, -1]}"#),
        ),
        (r#"{"genre": 77}"#, None),
        // null is "not given".
        (
            r#"{"title": null, "rating": null, "years": null, "labels": null, "chained": null, "founded": null,
             "stringValue": null, "genre": null, "attachment": null, "traits": null, "part": null}"#,
            Some("{}"),
        ),
        // Maps, with keys of every kind.
        (
            r#"{"labels": {"a.b": "1", "": ""}, "rows": {"-3": "x"}, "lent": {"true": 5, "false": "6"}, "kinds": {"18446744073709551615": 2}}"#,
            Some(
                r#"{"labels": {"": "", "a.b": "1"}, "rows": {"-3": "x"}, "lent": {"true": "5", "false": "6"}, "kinds": {"18446744073709551615": "GENRE_ATLAS"}}"#,
            ),
        ),
        (
            r#"{"favourites": {"x": {"pages": 3}}, "extras": {"y": null, "z": [1]}}"#,
            Some(r#"{"favourites": {"x": {"pages": "3"}}, "extras": {"y": null, "z": [1]}}"#),
        ),
        // One of several; null does not choose, but where it is the choice.
        (r#"{"city": "", "branch": null}"#, Some(r#"{"city": ""}"#)),
        (r#"{"branch": 0}"#, None),
        (r#"{"nowhere": null}"#, None),
        (r#"{"nowhere": "NULL_VALUE"}"#, Some(r#"{"nowhere": null}"#)),
        (r#"{"nothing": null}"#, Some("{}")),
        // Times, in UTC whatever the offset; 0, 3, 6 or 9 digits.
        (r#"{"founded": "2020-02-29T12:00:00.5+01:30"}"#, Some(r#"{"founded": "2020-02-29T10:30:00.500Z"}"#)),
        (r#"{"founded": "0001-01-01T00:00:00Z"}"#, None),
        (r#"{"founded": "9999-12-31T23:59:59.999999999Z"}"#, None),
        (r#"{"lending": "1.5s"}"#, Some(r#"{"lending": "1.500s"}"#)),
        (r#"{"lending": "-0.000000001s", "loans": ["0s", "3600s", "-1.000001s", "315576000000s"]}"#, None),
        // Masks, in names of either form.
        (r#"{"shown": "title,sideNote,part.side_note"}"#, Some(r#"{"shown": "title,sideNote,part.sideNote"}"#)),
        (r#"{"shown": ""}"#, None),
        // Any, with messages and with well-known types.
        (
            r#"{"attachment": {"@type": "type.googleapis.com/library.v1.Book", "pages": 3}}"#,
            Some(r#"{"attachment": {"@type": "type.googleapis.com/library.v1.Book", "pages": "3"}}"#),
        ),
        (r#"{"attachment": {"value": "1s", "@type": "type.googleapis.com/google.protobuf.Duration"}}"#, None),
        (
            r#"{"attachments": [{"@type": "x/google.protobuf.Int64Value", "value": "5"}, {"@type": "x/google.protobuf.Value", "value": null},
             {"@type": "x/google.protobuf.Struct", "value": {"a": 1}}, {"@type": "x/google.protobuf.Empty"},
             {"@type": "x/google.protobuf.Any", "value": {"@type": "x/library.v1.Book", "title": "t"}}, {}]}"#,
            None,
        ),
        // Wrappers.
        (
            r#"{"boolValue": false, "bytesValue": "", "doubleValue": 0, "floatValue": 0, "int32Value": 0, "int64Value": "0",
             "stringValue": "", "uint32Value": 0, "uint64Value": "0"}"#,
            None,
        ),
        (
            r#"{"int64Value": 5, "uint32_value": "6", "floatValue": "NaN", "names": ["a", ""]}"#,
            Some(r#"{"int64Value": "5", "uint32Value": 6, "floatValue": "NaN", "names": ["a", ""]}"#),
        ),
        // JSON within.
        (
            r#"{"traits": {"a": [1, "x", null, {"b": true}], "": {}}, "remark": null, "remarks": [null, [[]], 1.5]}"#,
            None,
        ),
        (
            r#"{"remark": {"deep": [1e3]}, "sayings": [null, "x", 0.5]}"#,
            Some(r#"{"remark": {"deep": [1000]}, "sayings": [null, "x", 0.5]}"#),
        ),
        (r#"{"emptiness": {}, "part": {"part": {"title": "x"}}, "finest": [{}, {"name": "n"}]}"#, None),
        (r#"{"title": "\u00e9\ud83d\ude00\u0000\"\\"}"#, None),
    ];
    for (said, back) in cases {
        let (status, answer) = tell(&url, said).await;
        let expected: Value = serde_json::from_str(back.unwrap_or(said)).unwrap();
        assert_eq!((status, &answer), (200, &expected), "{said}");
    }
}

#[tokio::test]
async fn what_is_refused_and_where() {
    let url = start().await;
    let deep = |depth: usize| format!("{}1{}", r#"{"part":"#.repeat(depth), "}".repeat(depth));
    let (deep_part, deep_list) = (deep(110), format!(r#"{{"remark": {}{}}}"#, "[".repeat(60), "]".repeat(60)));
    // What is sent, the field, and words of the message.
    let cases: &[(&str, &str, &str)] = &[
        ("[]", "catalogue", "must be an object, not an array"),
        ("{", "", "line 1 column 1"),
        ("{} x", "", "trailing"),
        (r#"{"title": "\ud800"}"#, "", "not JSON"),
        (r#"{"nope": 1}"#, "catalogue.nope", "library.v1.Catalogue has title, shelf"),
        (r#"{"part": {"finest": [{}, {"nope": 1}]}}"#, "catalogue.part.finest[1].nope", "library.v1.Book has name"),
        (r#"{"emptiness": {"x": 1}}"#, "catalogue.emptiness.x", "no fields"),
        (r#"{"title": "a", "title": "b"}"#, "catalogue.title", "twice"),
        (r#"{"labels": {"x": "a", "y": "b", "x": "c"}}"#, "catalogue.labels.x", "twice"),
        (r#"{"sideNote": "a", "side_note": "b"}"#, "catalogue.side_note", "both of its names"),
        (r#"{"city": "a", "branch": 1}"#, "catalogue.branch", "exclude each other"),
        (r#"{"title": 1}"#, "catalogue.title", "a string, not a number"),
        (r#"{"open": "true"}"#, "catalogue.open", "true or false, not a string"),
        (r#"{"open": 1}"#, "catalogue.open", "true or false, not a number"),
        (r#"{"shelf": 2147483648}"#, "catalogue.shelf", "-2147483648 to 2147483647, not 2147483648"),
        (r#"{"shelf": "1x"}"#, "catalogue.shelf", "not `1x`"),
        (r#"{"shelf": ""}"#, "catalogue.shelf", "an integer"),
        (r#"{"shelf": " 1"}"#, "catalogue.shelf", "an integer"),
        (r#"{"shelf": "0x1"}"#, "catalogue.shelf", "an integer"),
        (r#"{"shelf": 1.5}"#, "catalogue.shelf", "not 1.5"),
        (r#"{"floor": -1}"#, "catalogue.floor", "from 0 to"),
        (r#"{"books": 9223372036854775808}"#, "catalogue.books", "an integer"),
        (r#"{"pages": 18446744073709551616}"#, "catalogue.pages", "an integer"),
        (r#"{"books": true}"#, "catalogue.books", "not a boolean"),
        (r#"{"weight": 3.5e38}"#, "catalogue.weight", "a float"),
        (r#"{"worth": 1e400}"#, "", "out of range"),
        (r#"{"worth": "Inf"}"#, "catalogue.worth", "a number"),
        (r#"{"worth": []}"#, "catalogue.worth", "not an array"),
        (r#"{"seal": "YQ=a"}"#, "catalogue.seal", "base64"),
        (r#"{"seals": ["", "-+"]}"#, "catalogue.seals[1]", "base64"),
        (r#"{"genre": "GENRE_POEM"}"#, "catalogue.genre", "one of GENRE_UNSPECIFIED, GENRE_NOVEL, GENRE_ATLAS"),
        (r#"{"genre": 1.5}"#, "catalogue.genre", "an integer"),
        (r#"{"genre": 4294967296}"#, "catalogue.genre", "an integer"),
        (r#"{"years": 1}"#, "catalogue.years", "an array"),
        (r#"{"years": [1, null]}"#, "catalogue.years[1]", "null"),
        (r#"{"finest": [null]}"#, "catalogue.finest[0]", "null"),
        (r#"{"names": [null]}"#, "catalogue.names[0]", "null"),
        (r#"{"labels": []}"#, "catalogue.labels", "an object"),
        (r#"{"labels": {"x": null}}"#, "catalogue.labels.x", "null"),
        (r#"{"rows": {"x": "1"}}"#, "catalogue.rows.x", "a key that must be an integer"),
        (r#"{"lent": {"1": "1"}}"#, "catalogue.lent.1", "a key that must be true or false"),
        (r#"{"chained": "x"}"#, "catalogue.chained", "an object"),
        (r#"{"founded": "2020-01-01"}"#, "catalogue.founded", "a time like"),
        (r#"{"founded": "2020-01-01 00:00:00Z"}"#, "catalogue.founded", "a time like"),
        (r#"{"founded": "2020-01-01t00:00:00z"}"#, "catalogue.founded", "a time like"),
        (r#"{"founded": "2020-12-31T23:59:60Z"}"#, "catalogue.founded", "a time like"),
        (r#"{"founded": "2020-02-30T00:00:00Z"}"#, "catalogue.founded", "a time like"),
        (r#"{"founded": "0001-01-01T00:00:00+00:01"}"#, "catalogue.founded", "years 1 to 9999"),
        (r#"{"founded": "0000-01-01T00:00:00Z"}"#, "catalogue.founded", "years 1 to 9999"),
        (r#"{"founded": 1}"#, "catalogue.founded", "a string, not a number"),
        (r#"{"lending": "1"}"#, "catalogue.lending", "1.5s"),
        (r#"{"lending": "1.s"}"#, "catalogue.lending", "1.5s"),
        (r#"{"lending": "+1s"}"#, "catalogue.lending", "1.5s"),
        (r#"{"loans": ["1s", "315576000001s"]}"#, "catalogue.loans[1]", "at most"),
        (r#"{"shown": "a,,b"}"#, "catalogue.shown", "joined by commas"),
        (r#"{"shown": "a b"}"#, "catalogue.shown", "joined by commas"),
        (r#"{"shown": ["a"]}"#, "catalogue.shown", "a string"),
        (r#"{"attachment": {"title": "x"}}"#, "catalogue.attachment", "@type"),
        (r#"{"attachment": {"@type": "x/no.Such"}}"#, "catalogue.attachment.@type", "knows"),
        (r#"{"attachment": {"@type": "x/library.v1.Book", "pages": "x"}}"#, "catalogue.attachment.pages", "an integer"),
        (
            r#"{"attachment": {"@type": "x/google.protobuf.Duration", "value": 1}}"#,
            "catalogue.attachment.value",
            "a string",
        ),
        (
            r#"{"attachment": {"@type": "x/google.protobuf.Duration", "seconds": 1}}"#,
            "catalogue.attachment.seconds",
            "in `value`",
        ),
        (r#"{"traits": []}"#, "catalogue.traits", "an object"),
        (r#"{"remarks": {}}"#, "catalogue.remarks", "an array"),
        (r#"{"stringValue": 1}"#, "catalogue.stringValue", "a string"),
        (r#"{"uint32Value": -1}"#, "catalogue.uint32Value", "an integer"),
        (r#"{"stringValue": {"value": "x"}}"#, "catalogue.stringValue", "a string"),
        (&deep_part, "", "nests deeper"),
        (&deep_list, "", "nests deeper"),
    ];
    for (sent, at, words) in cases {
        let (status, error) = tell(&url, sent).await;
        assert_eq!(status, 400, "{sent}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{sent}: {message}");
        if *words == "nests deeper" {
            assert!(field(&error).starts_with("catalogue."), "{sent}: {error}");
        } else {
            assert_eq!(field(&error), *at, "{sent}: {error}");
        }
    }
}

/// What nests too deep for the messages behind is refused; it never comes back as a failure of the server.
#[tokio::test]
async fn nesting_is_bounded() {
    let url = start().await;
    let nested = |open: &str, close: &str, depth: usize| format!("{}{}", open.repeat(depth), close.repeat(depth));
    let mut refused = 0;
    for depth in (20..130).step_by(3) {
        for text in [
            format!(r#"{{"remark": {}}}"#, nested("[", "]", depth)),
            format!(r#"{{"traits": {}{{}}{}}}"#, r#"{"a":"#.repeat(depth), "}".repeat(depth)),
            format!("{}{{}}{}", r#"{"part":"#.repeat(depth), "}".repeat(depth)),
            format!(
                r#"{{"attachment": {}{{}}{}}}"#,
                r#"{"@type":"x/google.protobuf.Any","value":"#.repeat(depth),
                "}".repeat(depth)
            ),
        ] {
            let (status, answer) = tell(&url, &text).await;
            match status {
                200 => assert_eq!(answer, serde_json::from_str::<Value>(&text).unwrap()),
                status => {
                    refused += 1;
                    assert_eq!((status, answer["code"].as_i64()), (400, Some(3)), "{depth}: {answer}");
                }
            }
        }
    }
    assert!(refused > 10);
    for text in [nested("[", "]", 10_000), nested(r#"{"part":"#, "}", 10_000)] {
        let (status, answer) = tell(&url, &text).await;
        assert_eq!((status, &answer["code"]), (400, &json!(3)), "{answer}");
    }
}
