//! `/openapi.json` says of every route what the tables say, and `--reflection` governs it and `/docs`.

use std::collections::BTreeSet;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wirephoto::guard::{Access, Origins, Policy};
use wirephoto::image::{Images, Limits};
use wirephoto::proto::wirephoto::v1::table::IMAGE_SERVICE;
use wirephoto::server::{self, App};
use wirephoto::store::Store;
use wirephoto::wire::openapi::{About, Document};

use crate::harness::{Server, listen, open_policy};
use crate::library::proto::library::v1::table::LIBRARY_SERVICE;
use crate::photo::photo;

async fn document(server: &Server) -> Value {
    let answer = reqwest::get(server.url("/openapi.json")).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    answer.json().await.unwrap()
}

#[tokio::test]
async fn every_route_and_rpc_is_there_and_no_answer_is_left_open() {
    let server = Server::in_memory().await;
    let document = document(&server).await;
    let rpcs: Vec<&str> =
        document["x-rpcs"].as_array().unwrap().iter().map(|rpc| rpc["path"].as_str().unwrap()).collect();
    assert_eq!(rpcs, IMAGE_SERVICE.iter().map(|method| method.path).collect::<Vec<_>>());
    let mut found = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.insert(format!("{} {path}", method.to_uppercase()));
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().all(|status| status.parse::<u16>().is_ok()), "{path}: {:?}", responses.keys());
            assert!(!operation["description"].as_str().unwrap().is_empty(), "{path}");
        }
    }
    let json: usize = IMAGE_SERVICE.iter().map(|method| method.http.len()).sum();
    let bytes = IMAGE_SERVICE.iter().flat_map(|method| method.bytes).map(|rule| rule.methods.len()).sum::<usize>();
    assert_eq!(found.len(), json + bytes, "{found:?}");
    for operation in ["GET /v1/images/{image}:download", "PATCH /v1/images/{image}", "POST /i", "HEAD /i/{id}"] {
        assert!(found.contains(operation), "{operation} of {found:?}");
    }
}

#[tokio::test]
async fn comments_types_and_parameters_come_from_the_proto() {
    let document = document(&Server::in_memory().await).await;
    let image = &document["components"]["schemas"]["wirephoto.v1.Image"];
    assert_eq!(image["description"], "An image and what the server read from its bytes.");
    let size = &image["properties"]["sizeBytes"];
    assert_eq!((&size["type"], &size["format"], &size["readOnly"]), (&json!("string"), &json!("int64"), &json!(true)));
    assert_eq!(image["properties"]["labels"]["additionalProperties"], json!({"type": "string"}));
    assert_eq!(image["properties"]["displayName"]["readOnly"], Value::Null);
    let patch = &document["paths"]["/v1/images/{image}"]["patch"];
    let names: Vec<&str> =
        patch["parameters"].as_array().unwrap().iter().filter_map(|given| given["name"].as_str()).collect();
    assert_eq!(names, ["image", "updateMask", "requestId"]);
    let body = &patch["requestBody"]["content"]["application/json"]["schema"]["$ref"];
    assert_eq!(body, "#/components/schemas/wirephoto.v1.Image");
    let forms = document["paths"]["/v1/images/{image}:download"]["get"]["responses"]["200"]["content"].as_object();
    let forms: Vec<&String> = forms.unwrap().keys().collect();
    assert_eq!(forms, ["application/x-ndjson", "text/event-stream", "application/json"]);
}

/// The wires know no image: any service's table makes a document.
#[test]
fn another_service_has_a_document_too() {
    let about = About { title: "Library", version: "1", description: "", license: "MIT", read_only: false };
    let document = Document::new(about, &[LIBRARY_SERVICE]).unwrap().finish();
    let paths = &document["paths"];
    let names = |operation: &Value| -> Vec<String> {
        let given = operation["parameters"].as_array().unwrap().iter();
        given.filter_map(|given| given["name"].as_str().map(str::to_owned)).collect()
    };
    let read = &paths["/v1/shelves/{shelve}/books/{book}:read"]["get"];
    assert_eq!(names(read), ["shelve", "book", "failAfter"]);
    let search = names(&paths["/v1/books:search"]["get"]);
    assert!(
        ["genres", "pages.atLeast", "publishedAfter", "edition"].iter().all(|name| search.contains(&(*name).into()))
    );
    let words = &paths["/v1/catalogues:words"]["post"];
    assert_eq!(words["responses"]["200"]["content"]["application/json"]["schema"]["items"]["type"], "string");
    assert_eq!(paths["/v1/{name}/x"], Value::Null);
    let catalogue = &document["components"]["schemas"]["library.v1.Catalogue"]["properties"];
    assert_eq!(catalogue["part"]["$ref"], "#/components/schemas/library.v1.Catalogue");
    assert_eq!(catalogue["worth"]["anyOf"][1]["enum"], json!(["NaN", "Infinity", "-Infinity"]));
    assert_eq!(catalogue["seal"]["contentEncoding"], "base64");
    assert_eq!(catalogue["founded"]["format"], "date-time");
}

#[tokio::test]
async fn who_may_only_read_is_told_so() {
    let read_only = Policy { origins: Origins::new(Vec::new(), true), anonymous: Access::Read };
    for (policy, expected) in [(read_only, true), (open_policy(), false)] {
        let document = document(&Server::start_as(policy).await).await;
        let says = |path: &str, method: &str| document["paths"][path][method]["responses"]["401"].is_object();
        let told = [says("/v1/images", "post"), says("/i/{id}", "put"), says("/i/{id}", "delete")];
        assert_eq!(told, [expected; 3]);
        assert!(!says("/v1/images", "get") && !says("/i/{id}", "head"));
    }
}

/// Statuses that a generator of requests does not come upon: each is documented where it happens.
#[tokio::test]
async fn rare_answers_are_documented_where_they_happen() {
    let server = Server::in_memory().await;
    let document = document(&server).await;
    let http = Client::new();
    let put = |id: &str| http.put(server.url(&format!("/i/{id}")));
    assert_eq!(put("a").body(photo("photo.jpg")).send().await.unwrap().status(), 201);
    let get = |path: &str| http.get(server.url(path));
    let json = |path: &str| http.request(Method::POST, server.url(path)).header("content-type", "application/json");
    let cases = [
        ("/i/{id}", "put", put("a").header("if-none-match", "*").body(photo("photo.jpg")), 412),
        ("/i/{id}", "put", put("b").header("content-type", "image/png").body(photo("photo.jpg")), 422),
        ("/i/{id}", "put", put("b").body("text"), 415),
        ("/i/{id}", "get", get("/i/a").header("range", "bytes=99999999-"), 416),
        ("/i/{id}", "get", get("/i/a").header("range", "bytes=0-1,5-6"), 206),
        ("/i/{id}", "get", get("/i/a").header("expect", "tea"), 417),
        ("/i/{id}", "get", get("/i/a").header("x-request-timeout", "0"), 504),
        ("/i/{id}", "get", get("/i/a").header("origin", "http://elsewhere.example"), 403),
        ("/v1/images", "get", get("/v1/images").header("x-request-timeout", "0"), 504),
        ("/v1/images", "post", json("/v1/images").body(vec![b' '; 12 << 20]), 413),
        ("/v1/images", "post", json("/v1/images").header("content-encoding", "br").body("{}"), 415),
    ];
    for (path, method, request, status) in cases {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
        let media = answer.headers().get("content-type").map(|media| media.to_str().unwrap().to_owned());
        let documented = &document["paths"][path][method]["responses"][status.to_string()];
        assert!(documented.is_object(), "{method} {path} {status}");
        let media = media.map(|media| media.split(';').next().unwrap().to_owned());
        let known = media.is_none_or(|media| documented["content"][&media].is_object());
        assert!(known, "{method} {path} {status}: {documented}");
    }
}

/// What the HTTP library refuses by itself has no body, and is documented without one.
#[tokio::test]
async fn too_much_before_the_body_is_refused_as_documented() {
    let server = Server::in_memory().await;
    let document = document(&server).await;
    let long = format!("GET /v1/images?filter={} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(70_000));
    let many = format!("GET /v1/images HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "a: b\r\n".repeat(200));
    for (request, status) in [(long, "414"), (many, "431")] {
        let mut socket = TcpStream::connect(server.addr).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, format!("HTTP/1.1 {status}").as_bytes());
        let documented = &document["paths"]["/v1/images"]["get"]["responses"][status];
        assert!(documented.is_object() && documented["content"].is_null(), "{documented}");
    }
}

#[tokio::test]
async fn without_reflection_there_is_neither_document_nor_page() {
    for reflection in [true, false] {
        let store = Store::open("memory:", false).await.unwrap();
        let images = Images::open(store, Limits { max_image_size: 1 << 20 }).await.unwrap();
        let app = App::new(images, open_policy(), reflection).await.unwrap();
        let addr = listen(server::service(&app).unwrap()).await;
        let expected = if reflection { StatusCode::OK } else { StatusCode::NOT_FOUND };
        for path in ["/openapi.json", "/docs"] {
            let answer = reqwest::get(format!("http://{addr}{path}")).await.unwrap();
            assert_eq!(answer.status(), expected, "{path}");
            let policy = answer.headers().get("content-security-policy").map(|policy| policy.to_str().unwrap());
            assert!(!reflection || policy.unwrap().starts_with("default-src 'none'; script-src 'self'"), "{path}");
        }
    }
}
