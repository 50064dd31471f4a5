//! Metadata on every wire, both ways: what a caller sends reaches the service, what the service leaves comes back.

use std::net::SocketAddr;

use prost::Message;
use serde_json::{Value, json};
use wirephoto::wire::Limits;
use wirephoto::wire::envelope::envelope;

use crate::conformance::proto as pb;
use crate::conformance::{self, proto::unary_response_definition::Response};
use crate::frames::{self, GRPC, TEXT, WEB, exchange};
use crate::harness::{Server, listen};

const UNARY: &str = "/connectrpc.conformance.v1.ConformanceService/Unary";
const CLIENT_STREAM: &str = "/connectrpc.conformance.v1.ConformanceService/ClientStream";

/// The service that answers with whatever metadata it is asked for, and tells what it was sent.
async fn echo() -> SocketAddr {
    listen(conformance::wires(Limits::default())).await
}

fn header(name: &str, values: &[&str]) -> pb::Header {
    pb::Header { name: name.into(), value: values.iter().map(ToString::to_string).collect() }
}

const SENT: [(&str, &str); 4] = [("x-who", "a caller"), ("x-raw-bin", "AAEC/w"), ("x-many", "one"), ("x-many", "two")];

/// What the service was sent, of the names in [`SENT`].
fn seen(headers: &[pb::Header]) -> Vec<(&str, Vec<&str>)> {
    let of = |name| headers.iter().find(|header| header.name == name);
    ["x-who", "x-raw-bin", "x-many"]
        .iter()
        .filter_map(|name| Some((*name, of(*name)?.value.iter().map(String::as_str).collect())))
        .collect()
}

fn expected() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![("x-who", vec!["a caller"]), ("x-raw-bin", vec!["AAEC/w"]), ("x-many", vec!["one", "two"])]
}

#[tokio::test]
async fn metadata_and_trailers_go_both_ways_on_rpc() {
    let addr = echo().await;
    let definition = pb::UnaryResponseDefinition {
        response_headers: vec![header("x-from-service", &["h1", "h2"]), header("x-head-bin", &["/w"])],
        response: Some(Response::ResponseData("data".into())),
        response_trailers: vec![header("x-cost", &["7"]), header("x-tail-bin", &["AAE"])],
        ..Default::default()
    };
    let unary = pb::UnaryRequest { response_definition: Some(definition.clone()), ..Default::default() };
    let stream = pb::ClientStreamRequest { response_definition: Some(definition), ..Default::default() };
    for wire in [GRPC, WEB, TEXT] {
        for (path, message) in [(UNARY, unary.encode_to_vec()), (CLIENT_STREAM, stream.encode_to_vec())] {
            let answer = frames::call(addr, path, wire, &SENT, envelope(0, &message).to_vec()).await;
            assert_eq!(answer.status(), (0, String::new()), "{wire}");
            // Both answers are `payload` alone.
            let payload = pb::UnaryResponse::decode(answer.messages[0].1.clone()).unwrap().payload.unwrap();
            assert_eq!(payload.data, "data");
            assert_eq!(seen(&payload.request_info.unwrap().request_headers), expected(), "{wire}");
            let got: Vec<_> = answer.headers.get_all("x-from-service").iter().collect();
            assert_eq!(got, ["h1", "h2"], "{wire}");
            assert_eq!(answer.headers["x-head-bin"], "/w", "{wire}");
            assert_eq!(
                (&answer.trailers["x-cost"], &answer.trailers["x-tail-bin"]),
                (&"7".parse().unwrap(), &"AAE".parse().unwrap()),
                "{wire}"
            );
            assert!(!answer.headers.contains_key("x-cost"), "{wire}");
        }
    }
}

#[tokio::test]
async fn metadata_and_trailers_are_headers_of_json() {
    let addr = echo().await;
    let ask = |response: Value| {
        let mut definition = json!({
            "responseHeaders": [{"name": "x-from-service", "value": ["h1"]}],
            "responseTrailers": [{"name": "x-cost", "value": ["7"]}, {"name": "x-tail-bin", "value": ["AAE"]}],
        });
        definition.as_object_mut().unwrap().extend(response.as_object().unwrap().clone());
        let mut request = reqwest::Client::new().post(format!("http://{addr}/v1/unary"));
        for (name, value) in SENT {
            request = request.header(name, value);
        }
        request.json(&json!({"responseDefinition": definition})).send()
    };
    let good = ask(json!({"responseData": "aGk="})).await.unwrap();
    let bad = ask(json!({"error": {"code": 5, "message": "gone"}})).await.unwrap();
    assert_eq!((good.status().as_u16(), bad.status().as_u16()), (200, 404));
    for answer in [&good, &bad] {
        for (name, value) in [("x-from-service", "h1"), ("x-cost", "7"), ("x-tail-bin", "AAE")] {
            assert_eq!(answer.headers()[name], value, "{}", answer.status());
        }
        assert!(!answer.headers().contains_key("grpc-status"));
    }
    let answer: Value = good.json().await.unwrap();
    let headers: Vec<_> = answer["payload"]["requestInfo"]["requestHeaders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|header| {
            let values = header["value"].as_array().unwrap().iter();
            pb::Header {
                name: header["name"].as_str().unwrap().into(),
                value: values.map(|value| value.as_str().unwrap().to_owned()).collect(),
            }
        })
        .collect();
    assert_eq!(seen(&headers), expected());
}

/// W3C Trace Context: the trace goes on to the service and back to the caller, with a span of the request's own.
#[tokio::test]
async fn a_trace_goes_through_on_every_wire() {
    let addr = echo().await;
    const SENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let check = |told: &str, passed_on: &str, wire: &str| {
        assert_eq!(told, passed_on, "{wire}");
        assert!(told.starts_with(&SENT[..36]) && told.ends_with("-01") && told.len() == SENT.len(), "{wire}: {told}");
        assert_ne!(told[36..52], SENT[36..52], "{wire}");
    };
    for wire in [GRPC, WEB, TEXT] {
        let answer = frames::call(addr, UNARY, wire, &[("traceparent", SENT)], envelope(0, &[]).to_vec()).await;
        let payload = pb::UnaryResponse::decode(answer.messages[0].1.clone()).unwrap().payload.unwrap();
        let headers = payload.request_info.unwrap().request_headers;
        let passed_on = &headers.iter().find(|header| header.name == "traceparent").unwrap().value;
        check(answer.headers["traceparent"].to_str().unwrap(), &passed_on[0], wire);
    }
    let request = reqwest::Client::new().post(format!("http://{addr}/v1/unary")).json(&json!({}));
    let answer = request.header("traceparent", SENT).send().await.unwrap();
    let told = answer.headers()["traceparent"].to_str().unwrap().to_owned();
    let answer: Value = answer.json().await.unwrap();
    let headers = answer["payload"]["requestInfo"]["requestHeaders"].as_array().unwrap();
    let passed_on = headers.iter().find(|header| header["name"] == "traceparent").unwrap();
    check(&told, passed_on["value"][0].as_str().unwrap(), "json");

    let server = Server::start().await;
    let get = |sent: &'static str| reqwest::Client::new().get(server.url("/i/none")).header("traceparent", sent).send();
    let told = get(SENT).await.unwrap();
    check(told.headers()["traceparent"].to_str().unwrap(), told.headers()["traceparent"].to_str().unwrap(), "bytes");
    assert!(!get("00-nonsense").await.unwrap().headers().contains_key("traceparent"));
}

#[tokio::test]
async fn binary_metadata_that_is_no_base64_is_each_wires_own_error() {
    let addr = echo().await;
    for bad in ["***", "A", "AA_A"] {
        for wire in [GRPC, WEB, TEXT] {
            let answer = frames::call(addr, UNARY, wire, &[("x-raw-bin", bad)], envelope(0, &[]).to_vec()).await;
            let (code, message) = answer.status();
            assert_eq!(code, 3, "{wire} {bad}: {message}");
            assert!(message.contains("x-raw-bin"), "{message}");
        }
        let request = reqwest::Client::new().post(format!("http://{addr}/v1/unary")).json(&json!({}));
        let answer = request.header("x-raw-bin", bad).send().await.unwrap();
        assert_eq!(answer.status(), 400);
        let error: Value = answer.json().await.unwrap();
        assert!(error["message"].as_str().unwrap().contains("x-raw-bin"), "{error}");
    }
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Fields as literals, never indexed, without Huffman coding (RFC 7541 section 6.2.3).
fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for part in [name.as_bytes(), value] {
            assert!(part.len() < 127);
            block.push(part.len() as u8);
            block.extend_from_slice(part);
        }
    }
    block
}

/// A newline would make two headers of one, wherever the value is passed on.
#[tokio::test]
async fn metadata_with_newlines_is_no_request() {
    let server = Server::start().await;
    for value in [b"a\nx-evil: 1".as_slice(), b"a\r\nx-evil: 1", b"a\0b"] {
        let fields: [(&str, &[u8]); 6] = [
            (":method", b"POST"),
            (":scheme", b"http"),
            (":path", b"/wirephoto.v1.ImageService/ListImages"),
            (":authority", b"localhost"),
            ("content-type", b"application/grpc"),
            ("x-who", value),
        ];
        let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        sent.extend(frame(4, 0, 0, &[]));
        sent.extend(frame(1, 4, 1, &block(&fields)));
        sent.extend(frame(0, 1, 1, &envelope(0, &[])));
        // PROTOCOL_ERROR (RFC 9113 section 8.2.1), and no stream was begun.
        let goaway = frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 1]);
        let got = exchange(server.addr, &sent, &goaway).await;
        assert!(got.windows(goaway.len()).any(|window| window == goaway), "{value:?}: {got:?}");
    }
    // HTTP/1.1 cannot say it but by folding a line (RFC 9112 section 5.2).
    for content_type in [WEB, TEXT, "application/json"] {
        let sent = format!(
            "POST /v1/images HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\nx-who: a\r\n x-evil: 1\r\n\r\n"
        );
        let got = exchange(server.addr, sent.as_bytes(), b"\r\n\r\n").await;
        assert!(got.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&got));
    }
    assert_eq!(reqwest::get(server.url("/livez")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn metadata_over_the_limit_is_each_wires_own_error() {
    let addr = echo().await;
    let long = "x".repeat(1 << 20);
    let http = |version2: bool| {
        let client = reqwest::Client::builder();
        if version2 { client.http2_prior_knowledge() } else { client.http1_only() }.build().unwrap()
    };
    for (version2, wire) in [(true, GRPC), (true, WEB), (false, WEB), (false, TEXT), (false, "application/json")] {
        let path = if wire == "application/json" { "/v1/unary" } else { UNARY };
        let request = http(version2).post(format!("http://{addr}{path}")).header("content-type", wire);
        // Or the connection goes while the client is still sending.
        if let Ok(answer) = request.header("x-long", &long).body(vec![0; 5]).send().await {
            assert_eq!(answer.status(), 431, "{wire}");
        }
    }
    let answer = frames::call(addr, UNARY, GRPC, &[("x-long", &long[..2000])], envelope(0, &[]).to_vec()).await;
    assert_eq!(answer.status().0, 0);
}
