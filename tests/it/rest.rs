//! JSON over HTTP beyond one object in and one out: the rules of `google/api/http.proto`, streams by `Accept`, masks,
//! validators and content codings.

use async_compression::tokio::bufread::{GzipDecoder, GzipEncoder, ZstdDecoder, ZstdEncoder};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::harness::Server;
use crate::library::{json_of, start};
use crate::photo::photo;

/// The field that the answer names as wrong.
fn bad_field(error: &Value) -> Option<&str> {
    error["details"].as_array()?.iter().find_map(|detail| detail["fieldViolations"][0]["field"].as_str())
}

#[tokio::test]
async fn every_binding_of_a_method_answers() {
    let url = start().await;
    let http = Client::new();
    let method = |name: &str| Method::from_bytes(name.as_bytes()).unwrap();
    let cases = [
        ("POST", "/v1/catalogues:all", json!({"words": ["a"], "size": 3}), json!({"words": ["a"], "size": "3"})),
        // A field of any kind is the body, and the answer.
        ("POST", "/v1/catalogues:words", json!(["a", "b"]), json!(["a", "b"])),
        ("POST", "/v1/catalogues:words", json!([]), json!([])),
        ("POST", "/v1/catalogues:counts", json!({"a": 1}), json!({"a": "1"})),
        ("POST", "/v1/catalogues:counts", json!({}), json!({})),
        ("POST", "/v1/catalogues:size", json!(7), json!("7")),
        ("POST", "/v1/catalogues:size", json!(null), json!("0")),
        ("POST", "/v1/catalogues:when", json!("2020-01-01T00:00:00Z"), json!("2020-01-01T00:00:00Z")),
        ("POST", "/v1/catalogues:when", json!(null), json!(null)),
        ("POST", "/v1/catalogues", json!(null), json!({})),
        // What the body leaves, the query gives.
        ("POST", "/v1/catalogues:size?words=x&words=y", json!(1), json!("1")),
        // Methods that HTTP has no name for, and any method.
        ("LIST", "/v1/catalogues?size=4", json!(null), json!({"size": "4"})),
        ("PURGE", "/v1/any/a/b%2Fc/d:method?size=1", json!(null), json!({"wordsOf": "a/b%2Fc/d", "size": "1"})),
        ("GET", "/v1/any:method", json!(null), json!({})),
        ("DELETE", "/v1/shelves/1/books/2", json!(null), json!({})),
    ];
    for (name, path, body, expected) in cases {
        let request = http.request(method(name), format!("{url}{path}")).json(&body);
        assert_eq!(json_of(request).await, (200, expected), "{name} {path} {body}");
    }
    let wrong = http.post(format!("{url}/v1/at/x/1s/1/1")).send().await.unwrap();
    assert_eq!((wrong.status().as_u16(), wrong.headers()["allow"].to_str().unwrap()), (405, "GET, HEAD"));
    let head = http.head(format!("{url}/v1/shelves/1/books/2")).send().await.unwrap();
    let get = http.get(format!("{url}/v1/shelves/1/books/2")).send().await.unwrap();
    assert_eq!((head.status(), &head.headers()["etag"]), (get.status(), &get.headers()["etag"]));
    assert_eq!(head.headers()["content-length"], get.headers()["content-length"]);
}

#[tokio::test]
async fn queries_and_paths_hold_every_scalar() {
    let url = start().await;
    let ask = |query: &str| json_of(Client::new().get(format!("{url}/v1/catalogues:ask?{query}")));
    let cases = [
        ("", json!({})),
        ("&&size=1&", json!({"size": "1"})),
        ("words=a&words=&words", json!({"words": ["a", "", ""]})),
        ("catalogue.title=%C3%A9+%2B%26%3D", json!({"catalogue": {"title": "é +&="}})),
        (
            "catalogue.genre=GENRE_ATLAS&catalogue.genres=1&catalogue.genres=77",
            json!({"catalogue": {"genre": "GENRE_ATLAS", "genres": ["GENRE_NOVEL", 77]}}),
        ),
        (
            "catalogue.open=true&catalogue.rating=0&catalogue.side_note=",
            json!({"catalogue": {"open": true, "rating": 0, "sideNote": ""}}),
        ),
        (
            "catalogue.weight=1.5e3&catalogue.worth=NaN&catalogue.prices=-1&catalogue.prices=Infinity",
            json!({"catalogue": {"weight": 1500, "worth": "NaN", "prices": [-1, "Infinity"]}}),
        ),
        ("catalogue.seal=-_-_&catalogue.seals=YQ%3D%3D", json!({"catalogue": {"seal": "+/+/", "seals": ["YQ=="]}})),
        (
            "catalogue.founded=2020-01-01T00:00:00%2B01:00&catalogue.lending=1.5s&catalogue.loans=0s&catalogue.shown=title,side_note",
            json!({"catalogue": {"founded": "2019-12-31T23:00:00Z", "lending": "1.500s", "loans": ["0s"], "shown": "title,sideNote"}}),
        ),
        (
            "catalogue.boolValue=false&catalogue.int64_value=5&catalogue.stringValue=&catalogue.names=a&catalogue.bytesValue=YQ&catalogue.doubleValue=2",
            json!({"catalogue": {"boolValue": false, "int64Value": "5", "stringValue": "", "names": ["a"], "bytesValue": "YQ==", "doubleValue": 2}}),
        ),
        ("catalogue.part.part.chained.pages=3", json!({"catalogue": {"part": {"part": {"chained": {"pages": "3"}}}}})),
        ("catalogue.nowhere=NULL_VALUE", json!({"catalogue": {"nowhere": null}})),
        ("size=1%30", json!({"size": "10"})),
    ];
    for (query, expected) in cases {
        assert_eq!(ask(query).await, (200, expected), "{query}");
    }
    let wrong = [
        ("nope=1", "nope", "DescribeCatalogueRequest has catalogue, words"),
        ("catalogue.nope=1", "catalogue.nope", "no field"),
        ("catalogue=x", "catalogue", "one by one"),
        ("catalogue.finest=x", "catalogue.finest", "one by one"),
        ("catalogue.finest.pages=1", "catalogue.finest.pages", "repeated"),
        ("catalogue.labels=x", "catalogue.labels", "a map"),
        ("catalogue.labels.x=1", "catalogue.labels.x", "repeated or a map"),
        ("catalogue.title.x=1", "catalogue.title.x", "no fields of its own"),
        ("catalogue.founded.seconds=1", "catalogue.founded.seconds", "no fields of its own"),
        ("catalogue.traits=x", "catalogue.traits", "in the body"),
        ("catalogue.attachment=x", "catalogue.attachment", "in the body"),
        ("size=1&size=2", "size", "only once"),
        ("catalogue.side_note=1&catalogue.sideNote=2", "catalogue.sideNote", "only once"),
        ("catalogue.city=x&catalogue.branch=1", "catalogue.branch", "exclude each other"),
        ("size=", "size", "an integer"),
        ("size=1e30", "size", "an integer"),
        ("catalogue.floor=-1", "catalogue.floor", "an integer"),
        ("catalogue.open=yes", "catalogue.open", "true or false"),
        ("catalogue.genre=POEM", "catalogue.genre", "GENRE_NOVEL"),
        ("catalogue.seal=*", "catalogue.seal", "base64"),
        ("when=yesterday", "when", "a time like"),
        ("=1", "", "no field"),
        ("size=%", "", "hexadecimal"),
        ("size=%2", "", "hexadecimal"),
        ("%zz=2", "", "hexadecimal"),
        ("words=%ff", "", "UTF-8"),
    ];
    for (query, field, words) in wrong {
        let (status, error) = ask(query).await;
        assert_eq!((status, bad_field(&error).unwrap_or_default()), (400, field), "{query}: {error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{query}: {error}");
    }
    let at = |path: &str| json_of(Client::new().get(format!("{url}/v1/at/{path}")));
    assert_eq!(
        at("2020-01-01T00:00:00Z/2s/1/5").await,
        (
            200,
            json!({"when": "2020-01-01T00:00:00Z", "catalogue": {"lending": "2s", "genre": "GENRE_NOVEL", "int32Value": 5}})
        ),
    );
    for (path, field) in [("x/2s/1/5", "when"), ("2020-01-01T00:00:00Z/2s/1/x", "catalogue.int32Value")] {
        let (status, error) = at(path).await;
        assert_eq!((status, bad_field(&error)), (400, Some(field)), "{error}");
    }
}

#[tokio::test]
async fn path_body_and_query_do_not_contradict() {
    let url = start().await;
    let put = |path: &str, body: Value| json_of(Client::new().put(format!("{url}/v1/catalogues/{path}")).json(&body));
    let whole = json!({"catalogue": {"title": "catalogues/a"}, "size": "5"});
    assert_eq!(put("a/5", json!({})).await, (200, whole.clone()));
    assert_eq!(put("a/5", whole.clone()).await, (200, whole.clone()));
    assert_eq!(put("a/5", json!({"size": 5})).await, (200, whole.clone()));
    let with_more = json!({"catalogue": {"title": null, "sideNote": "x"}});
    assert_eq!(put("a/5", with_more).await.1["catalogue"], json!({"title": "catalogues/a", "sideNote": "x"}));
    for (path, body, field) in [
        ("a/5", json!({"catalogue": {"title": "catalogues/b"}}), "catalogue.title"),
        ("a/5", json!({"size": 6}), "size"),
        ("a/x", json!({}), "size"),
        ("a/5?words=x", json!({}), ""),
    ] {
        let (status, error) = put(path, body).await;
        assert_eq!((status, bad_field(&error).unwrap_or_default()), (400, field), "{path}: {error}");
    }
    let (status, error) =
        json_of(Client::new().post(format!("{url}/v1/catalogues?catalogue.title=x")).json(&json!({}))).await;
    assert_eq!((status, bad_field(&error)), (400, Some("catalogue.title")), "{error}");
    let (status, error) = json_of(Client::new().get(format!("{url}/v1/shelves/1/books/2?name=x"))).await;
    assert_eq!((status, bad_field(&error)), (400, Some("name")), "{error}");
}

#[tokio::test]
async fn a_patch_without_a_mask_changes_what_it_gives() {
    let url = start().await;
    let patch =
        |query: &str, body: Value| json_of(Client::new().patch(format!("{url}/v1/catalogues/a{query}")).json(&body));
    let cases = [
        (json!({"sideNote": "x", "shelf": null}), "sideNote,shelf"),
        (json!({"part": {"sideNote": "x", "part": {"title": "t"}}}), "part.sideNote,part.part.title"),
        // Lists, maps and well-known types are changed as a whole.
        (
            json!({"finest": [{"title": "x"}], "labels": {"a": "b"}, "traits": {"a": 1}, "founded": null}),
            "finest,labels,traits,founded",
        ),
        (json!({"part": {}, "emptiness": {}}), "part,emptiness"),
        // The path names what is changed.
        (json!({"title": "a", "part": {"title": "b"}}), "part.title"),
    ];
    for (body, mask) in cases {
        let (status, answer) = patch("", body.clone()).await;
        assert_eq!((status, &answer["updateMask"]), (200, &json!(mask)), "{body}");
    }
    let (_, answer) = patch("?updateMask=shelf", json!({"sideNote": "x"})).await;
    assert_eq!(answer["updateMask"], "shelf");
    let (_, answer) = patch("?update%5Fmask=side_note,labels.x", json!({})).await;
    assert_eq!(answer["updateMask"], "sideNote,labels.x");
}

#[tokio::test]
async fn a_stream_has_three_forms() {
    let url = start().await;
    let read = |accept: &'static str, query: &str| {
        Client::new().get(format!("{url}/v1/shelves/1/books/2:read{query}")).header("accept", accept).send()
    };
    let of = |answer: &Response, name: &str| answer.headers()[name].to_str().unwrap().to_owned();

    let events = read("text/event-stream", "").await.unwrap();
    assert_eq!((of(&events, "content-type"), of(&events, "vary")), ("text/event-stream".into(), "accept".into()));
    let events = events.text().await.unwrap();
    assert!(events.starts_with("data: {\"line\":\"Call me Ishmael.\"}\n\n") && events.matches("data: ").count() == 3);
    let torn = read("text/event-stream", "?failAfter=1").await.unwrap().text().await.unwrap();
    let (_, last) = torn.trim_end().rsplit_once("\n\n").unwrap();
    let (event, data) = last.split_once('\n').unwrap();
    assert_eq!(event, "event: error");
    let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(data, json!({"code": 15, "message": "a page is torn"}));

    let array = read("application/json, */*;q=0.1", "").await.unwrap();
    assert_eq!((of(&array, "content-type"), of(&array, "vary")), ("application/json".into(), "accept".into()));
    let array: Vec<Value> = array.json().await.unwrap();
    assert_eq!((array.len(), &array[2]), (3, &json!({"line": "never mind how long"})));
    let torn = read("application/json", "?failAfter=2").await.unwrap().text().await.unwrap();
    assert!(serde_json::from_str::<Value>(&torn).is_err(), "a torn array must not look whole: {torn}");
    let items: Vec<Value> = serde_json::from_str(&format!("{torn}]")).unwrap();
    assert_eq!(items[2], json!({"error": {"code": 15, "message": "a page is torn"}}));

    let lines = read("*/*", "").await.unwrap();
    assert_eq!((of(&lines, "content-type"), of(&lines, "vary")), ("application/x-ndjson".into(), "accept".into()));
    for accept in ["text/event-stream", "application/json", "*/*"] {
        let at_once = read(accept, "?failAfter=-1").await.unwrap();
        assert_eq!((at_once.status().as_u16(), of(&at_once, "content-type")), (500, "application/json".into()));
    }
}

#[tokio::test]
async fn an_answer_that_is_known_is_not_sent_again() {
    let url = start().await;
    let book = format!("{url}/v1/shelves/1/books/2");
    let tag = reqwest::get(&book).await.unwrap().headers()["etag"].to_str().unwrap().to_owned();
    let cases = [
        (tag.clone(), 304),
        (format!("\"a,b\", W/{tag}"), 304),
        ("*".to_owned(), 304),
        (format!("\"a, {tag}"), 200),
        (tag.replace('"', ""), 200),
    ];
    for (known, status) in cases {
        let answer = Client::new().get(&book).header("if-none-match", &known).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["etag"].to_str().unwrap()), (status, &*tag), "{known}");
    }
    let patch = Client::new().patch(&book).header("if-none-match", "*").json(&json!({})).send().await.unwrap();
    assert_eq!((patch.status().as_u16(), patch.headers().get("etag")), (200, None));
}

/// A search whose answer is long.
fn long_query() -> String {
    format!("/v1/books:search?query={}", "whale".repeat(400))
}

#[tokio::test]
async fn long_answers_are_compressed_for_who_takes_it() {
    let url = start().await;
    let get = |path: String, accept: &'static str| {
        Client::new().get(format!("{url}{path}")).header("accept-encoding", accept).send()
    };
    let plain = get(long_query(), "identity").await.unwrap();
    assert!(plain.headers().get("content-encoding").is_none());
    assert_eq!(plain.headers()["vary"], "accept-encoding");
    let tag = plain.headers()["etag"].to_str().unwrap().to_owned();
    let plain = plain.bytes().await.unwrap();
    for (accept, coding) in
        [("gzip", "gzip"), ("zstd", "zstd"), ("gzip;q=0.5, zstd;q=0.9", "zstd"), ("br, gzip", "gzip")]
    {
        let answer = get(long_query(), accept).await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], coding);
        // Other bytes, so no strong tag; but the same answer.
        assert_eq!(answer.headers()["etag"].to_str().unwrap(), format!("W/{tag}"));
        let body = answer.bytes().await.unwrap();
        assert!(body.len() * 4 < plain.len(), "{} of {}", body.len(), plain.len());
        let mut unpacked = Vec::new();
        match coding {
            "gzip" => GzipDecoder::new(&*body).read_to_end(&mut unpacked).await.unwrap(),
            _ => ZstdDecoder::new(&*body).read_to_end(&mut unpacked).await.unwrap(),
        };
        assert_eq!(unpacked, plain);
        let request = Client::new().get(format!("{url}{}", long_query())).header("accept-encoding", accept);
        let known = request.header("if-none-match", format!("W/{tag}")).send().await.unwrap();
        assert_eq!((known.status().as_u16(), known.headers()["vary"].to_str().unwrap()), (304, "accept-encoding"));
    }
    for path in ["/v1/shelves/1/books/2", "/v1/shelves/1/books/2:read"] {
        let answer = get(path.into(), "gzip, zstd").await.unwrap();
        assert!(answer.headers().get("content-encoding").is_none(), "{path} is short, or a stream");
    }
}

#[tokio::test]
async fn image_bytes_are_never_compressed_and_the_page_is() {
    let server = Server::start().await;
    let bytes = photo("photo.jpg");
    let put = Client::new().put(server.url("/i/cat")).body(bytes.clone()).send().await.unwrap();
    assert_eq!(put.status(), 201);
    let get = |path: &str| Client::new().get(server.url(path)).header("accept-encoding", "gzip, zstd").send();
    for path in ["/i/cat", "/v1/images/cat:download"] {
        let answer = get(path).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers().get("content-encoding")), (200, None), "{path}");
    }
    let page = get("/").await.unwrap();
    assert_eq!(page.headers()["vary"], "accept-encoding");
    assert!(page.headers()["content-encoding"] == "zstd" || page.headers()["content-encoding"] == "gzip");
    let tag = page.headers()["etag"].clone();
    let again = Client::new().get(server.url("/")).header("if-none-match", tag).send().await.unwrap();
    assert_eq!(again.status(), 304);
}

async fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    GzipEncoder::new(bytes).read_to_end(&mut packed).await.unwrap();
    packed
}

async fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    ZstdEncoder::new(bytes).read_to_end(&mut packed).await.unwrap();
    packed
}

#[tokio::test]
async fn compressed_requests_are_read_within_the_limit() {
    let url = start().await;
    let post = |coding: &'static str, body: Vec<u8>| {
        let request = Client::new().post(format!("{url}/v1/catalogues")).header("content-type", "application/json");
        request.header("content-encoding", coding).body(body).send()
    };
    let text = json!({"title": "x".repeat(3000)}).to_string();
    let packed = [
        ("gzip", gzip(text.as_bytes()).await),
        ("GZIP", gzip(text.as_bytes()).await),
        ("gzip", [gzip(&text.as_bytes()[..100]).await, gzip(&text.as_bytes()[100..]).await].concat()),
        ("zstd", zstd(text.as_bytes()).await),
        ("identity", text.clone().into_bytes()),
    ];
    for (coding, body) in packed {
        let answer = post(coding, body).await.unwrap();
        assert_eq!(answer.status(), 200, "{coding}");
        assert_eq!(answer.json::<Value>().await.unwrap()["title"].as_str().unwrap().len(), 3000);
    }
    // 256 MiB once unpacked.
    let bomb = vec![b' '; 256 << 20];
    for (coding, body) in [("gzip", gzip(&bomb).await), ("zstd", zstd(&bomb).await)] {
        let answer = post(coding, body).await.unwrap();
        assert_eq!(answer.status(), 413, "{coding}");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], 8);
    }
    for (coding, body) in
        [("gzip", text.clone().into_bytes()), ("zstd", vec![0; 9]), ("gzip", gzip(b"{}").await[..10].to_vec())]
    {
        let answer = post(coding, body).await.unwrap();
        assert_eq!(answer.status(), 400, "{coding}");
        let error: Value = answer.json().await.unwrap();
        assert!(error["message"].as_str().unwrap().contains("Content-Encoding"), "{error}");
    }
    for coding in ["br", "gzip, gzip", "x\u{9}y"] {
        let answer = post(coding, gzip(b"{}").await).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["accept-encoding"].to_str().unwrap()),
            (415, "gzip, zstd, deflate")
        );
    }
}

/// A zstd frame may ask for a window of gigabytes; RFC 9659 bounds it to 8 MiB.
#[tokio::test]
async fn a_zstd_window_too_large_is_refused() {
    let url = start().await;
    // Magic, a frame header without single segment, window descriptor 2^(10+21) = 2 GiB, one raw last block of "{}".
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x11, 0x00, 0x00, b'{', b'}'];
    let request = Client::new().post(format!("{url}/v1/catalogues")).header("content-type", "application/json");
    let answer = request.header("content-encoding", "zstd").body(frame.to_vec()).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    let mut fits = frame;
    fits[5] = 13 << 3;
    let request = Client::new().post(format!("{url}/v1/catalogues")).header("content-type", "application/json");
    let answer = request.header("content-encoding", "zstd").body(fits.to_vec()).send().await.unwrap();
    assert_eq!(answer.status(), 200, "a window of 8 MiB");
}

/// A colon within an id is no verb.
#[tokio::test]
async fn a_colon_in_an_id() {
    let url = start().await;
    let get = |path: &str| json_of(Client::new().get(format!("{url}/v1/shelves/1/books/{path}")));
    for (path, name) in [("a:b", "a:b"), ("a%3Aread", "a:read"), ("a:b:c", "a:b:c"), (":", ":")] {
        let (status, book) = get(path).await;
        assert_eq!((status, &book["name"]), (200, &json!(format!("shelves/1/books/{name}"))), "{path}");
    }
    let lines = Client::new().get(format!("{url}/v1/shelves/1/books/a:b:read")).send().await.unwrap();
    assert_eq!(lines.headers()["content-type"], "application/x-ndjson");
}
