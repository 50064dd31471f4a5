//! Plain bytes at `/i`, by reqwest and, for what it cannot send, by bytes on a socket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderMap;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha512};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wirephoto::image::id::ImageId;

use crate::harness::Server;
use crate::photo::photo;

struct Test {
    server: Server,
    client: Client,
}

impl Test {
    async fn start() -> Self {
        Self { server: Server::start().await, client: Client::new() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.server.url(path))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    async fn put(&self, path: &str, bytes: &[u8]) -> Response {
        self.request(Method::PUT, path).body(bytes.to_vec()).send().await.unwrap()
    }

    async fn is_kept(&self, id: &str) -> bool {
        self.server.images.get(&id.parse::<ImageId>().unwrap()).await.is_ok()
    }

    /// Sends these bytes on a connection of their own and reads the answer to its end.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut socket = TcpStream::connect(self.server.addr).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The header of a raw request, which is to be the only one of its connection.
    fn head(&self, line: &str, fields: &[&str]) -> Vec<u8> {
        let mut fields = fields.join("\r\n");
        if !fields.is_empty() {
            fields.push_str("\r\n");
        }
        format!("{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{fields}\r\n", self.server.addr).into_bytes()
    }
}

fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", hex::encode(Sha256::digest(bytes)))
}

fn sha256_digest(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(bytes)))
}

fn sha512_digest(bytes: &[u8]) -> String {
    format!("sha-512=:{}:", STANDARD.encode(Sha512::digest(bytes)))
}

/// The problem document that an answer is; what it says names the mend.
async fn problem(response: Response, status: u16, reason: &str) -> Value {
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let problem: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(problem["status"], status, "{problem}");
    assert_eq!(problem["reason"], reason, "{problem}");
    assert_eq!(problem["details"][0]["reason"], reason, "{problem}");
    problem
}

#[tokio::test]
async fn what_is_put_is_got() {
    let test = Test::start().await;
    let bytes = photo("photo.jpg");
    let put = test.put("/i/photo.jpg", &bytes).await;
    assert_eq!(put.status(), StatusCode::CREATED);
    assert_eq!(put.headers()["location"], "/i/photo.jpg");
    assert_eq!(put.headers()["etag"], etag(&bytes));
    let told: Value = serde_json::from_slice(&put.bytes().await.unwrap()).unwrap();
    assert_eq!(told["name"], "images/photo.jpg");
    assert_eq!(told["sizeBytes"], bytes.len().to_string());
    assert_eq!(told["mediaType"], "image/jpeg");

    let check = |headers: &HeaderMap| {
        assert_eq!(headers["etag"], etag(&bytes));
        assert_eq!(headers["content-type"], "image/jpeg");
        assert_eq!(headers["content-length"], bytes.len().to_string());
        assert_eq!(headers["cache-control"], "no-cache");
        assert_eq!(headers["accept-ranges"], "bytes");
        assert_eq!(headers["repr-digest"], sha256_digest(&bytes));
        assert_eq!(headers["content-disposition"], "inline; filename*=UTF-8''photo.jpg");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["content-security-policy"], "default-src 'none'; sandbox");
        assert_eq!(headers["cross-origin-resource-policy"], "same-origin");
        assert!(httpdate::parse_http_date(headers["last-modified"].to_str().unwrap()).is_ok());
        assert!(!headers.contains_key("content-encoding"));
    };
    // A range means nothing to HEAD.
    let head = test.request(Method::HEAD, "/i/photo.jpg").header("range", "bytes=0-9").send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    check(head.headers());
    assert!(head.bytes().await.unwrap().is_empty());
    let get = test.get("/i/photo.jpg").header("accept-encoding", "gzip, br").send().await.unwrap();
    assert_eq!(get.status(), StatusCode::OK);
    check(get.headers());
    assert!(get.bytes().await.unwrap() == bytes);
}

#[tokio::test]
async fn http2_carries_the_same() {
    let test = Test::start().await;
    let bytes = photo("photo.jpg");
    let client = Client::builder().http2_prior_knowledge().build().unwrap();
    let url = test.server.url("/i/two");
    let put = client.put(&url).body(bytes.clone()).send().await.unwrap();
    assert_eq!((put.version(), put.status()), (reqwest::Version::HTTP_2, StatusCode::CREATED));
    let get = client.get(&url).header("range", "bytes=5-").send().await.unwrap();
    assert_eq!(get.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(get.headers()["content-length"], (bytes.len() - 5).to_string());
    assert!(get.bytes().await.unwrap() == bytes[5..]);
    for range in ["lines=all", "bytes=0-", "bytes=0-1,5-6"] {
        let get = client.get(&url).header("range", range).send().await.unwrap();
        let length = get.headers()["content-length"].to_str().unwrap().to_owned();
        assert_eq!(get.bytes().await.unwrap().len().to_string(), length, "{range}");
    }
    let head = client.head(&url).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], bytes.len().to_string());
    let fresh = client.get(&url).header("if-none-match", etag(&bytes)).send().await.unwrap();
    assert_eq!(fresh.status(), StatusCode::NOT_MODIFIED);
    let deleted = client.delete(&url).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    for answer in [fresh, deleted] {
        assert!(!answer.headers().contains_key("content-length"), "{answer:?}");
    }
    let refused = client.put(&url).header("content-encoding", "gzip").body(vec![0; 4 << 20]).send().await.unwrap();
    problem(refused, 415, "INVALID_REQUEST").await;
}

#[tokio::test]
async fn a_caller_that_has_it_is_told_so() {
    let test = Test::start().await;
    let bytes = photo("photo.jpg");
    let put = test.put("/i/a", &bytes).await;
    let modified = put.headers()["last-modified"].to_str().unwrap().to_owned();
    let tag = etag(&bytes);
    let long_ago = "Sun, 06 Nov 1994 08:49:37 GMT";
    let table = [
        ("if-none-match", tag.as_str(), 304),
        ("if-none-match", "\"other\"", 200),
        ("if-modified-since", &modified, 304),
        ("if-modified-since", long_ago, 200),
        ("if-match", &tag, 200),
        ("if-match", "\"other\"", 412),
        ("if-unmodified-since", &modified, 200),
        ("if-unmodified-since", long_ago, 412),
    ];
    for method in [Method::GET, Method::HEAD] {
        for (name, value, status) in table {
            let answer = test.request(method.clone(), "/i/a").header(name, value).send().await.unwrap();
            assert_eq!(answer.status(), status, "{method} {name}: {value}");
            if status == 304 {
                assert_eq!(answer.headers()["etag"], tag.as_str());
                assert_eq!(answer.headers()["last-modified"], modified.as_str());
                assert_eq!(answer.headers()["cache-control"], "no-cache");
                assert!(!answer.headers().contains_key("content-type"));
                assert!(!answer.headers().contains_key("content-length"));
                assert!(answer.bytes().await.unwrap().is_empty());
            }
        }
    }
    let moved = test.get("/i/a").header("if-match", "\"other\"").send().await.unwrap();
    problem(moved, 412, "VERSION_MOVED").await;
    let none = test.get("/i/none").header("if-match", "\"other\"").send().await.unwrap();
    problem(none, 404, "NOT_FOUND").await;
}

#[tokio::test]
async fn one_range_is_one_part() {
    let test = Test::start().await;
    let bytes = photo("photo.jpg");
    test.put("/i/a", &bytes).await;
    let size = bytes.len();
    let last = size - 1;
    for (range, start, end) in [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=100-199".to_owned(), 100, 200),
        ("bytes=100-199,200-299".to_owned(), 100, 300),
        (format!("bytes={last}-"), last, size),
        ("bytes=-7".to_owned(), size - 7, size),
        ("bytes=0-".to_owned(), 0, size),
    ] {
        let answer = test.get("/i/a").header("range", &range).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        let headers = answer.headers();
        assert_eq!(headers["content-range"], format!("bytes {start}-{}/{size}", end - 1), "{range}");
        assert_eq!(headers["content-length"], (end - start).to_string(), "{range}");
        assert_eq!(headers["content-type"], "image/jpeg", "{range}");
        assert_eq!(headers["repr-digest"], sha256_digest(&bytes), "{range}");
        assert!(answer.bytes().await.unwrap() == bytes[start..end], "{range}");
    }
    for ignored in ["bytes=9-1", "bytes=x", "rows=1-2", "bytes"] {
        let answer = test.get("/i/a").header("range", ignored).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{ignored}");
        assert_eq!(answer.content_length(), Some(size as u64), "{ignored}");
    }
    for beyond in [format!("bytes={size}-"), "bytes=-0".to_owned()] {
        let answer = test.get("/i/a").header("range", beyond).send().await.unwrap();
        assert_eq!(answer.headers()["content-range"], format!("bytes */{size}"));
        let problem = problem(answer, 416, "OUT_OF_RANGE").await;
        assert!(problem["detail"].as_str().unwrap().contains(&size.to_string()), "{problem}");
    }
    let first = "bytes=0-9";
    for (validator, status) in [(etag(&bytes), 206), (format!("W/{}", etag(&bytes)), 200), ("\"x\"".to_owned(), 200)] {
        let answer = test.get("/i/a").header("range", first).header("if-range", &validator).send().await.unwrap();
        assert_eq!(answer.status(), status, "{validator}");
    }
    let fresh = test.get("/i/a").header("range", first).header("if-none-match", etag(&bytes)).send().await.unwrap();
    assert_eq!(fresh.status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn several_ranges_are_several_parts() {
    let test = Test::start().await;
    let bytes = photo("photo.jpg");
    test.put("/i/a", &bytes).await;
    let size = bytes.len();
    let answer = test.get("/i/a").header("range", "bytes=-10,0-4,2-9,1000000000-").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
    assert!(!answer.headers().contains_key("content-range"));
    let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap().to_owned();
    let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let body = answer.bytes().await.unwrap();
    assert_eq!(body.len(), length);
    let mut wanted = Vec::new();
    for (lead, start, end) in [("", size - 10, size), ("\r\n", 0, 10)] {
        let range = format!("Content-Range: bytes {start}-{}/{size}", end - 1);
        wanted.extend(format!("{lead}--{boundary}\r\nContent-Type: image/jpeg\r\n{range}\r\n\r\n").bytes());
        wanted.extend(&bytes[start..end]);
    }
    wanted.extend(format!("\r\n--{boundary}--\r\n").bytes());
    assert!(body == wanted, "{}", String::from_utf8_lossy(&body));

    let too_many: Vec<String> = (0..17).map(|n| format!("{0}-{0}", n * 2)).collect();
    let answer = test.get("/i/a").header("range", format!("bytes={}", too_many.join(","))).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_put_replaces_only_what_its_conditions_name() {
    let test = Test::start().await;
    let (first, second) = (photo("photo.jpg"), photo("photo.png"));
    let put = |bytes: &[u8], name: &'static str, value: String| {
        test.request(Method::PUT, "/i/a").header(name, value).body(bytes.to_vec()).send()
    };
    let none = put(&first, "if-match", etag(&first)).await.unwrap();
    problem(none, 412, "VERSION_MOVED").await;
    assert!(!test.is_kept("a").await);

    assert_eq!(put(&first, "if-none-match", "*".into()).await.unwrap().status(), StatusCode::CREATED);
    let taken = put(&second, "if-none-match", "*".into()).await.unwrap();
    problem(taken, 412, "ALREADY_EXISTS").await;
    let moved = put(&second, "if-match", etag(&second)).await.unwrap();
    problem(moved, 412, "VERSION_MOVED").await;
    let malformed = put(&second, "if-match", "unquoted".into()).await.unwrap();
    problem(malformed, 400, "INVALID_REQUEST").await;
    let long_ago = put(&second, "if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT".into()).await.unwrap();
    problem(long_ago, 412, "VERSION_MOVED").await;
    assert!(test.get("/i/a").send().await.unwrap().bytes().await.unwrap() == first);

    let replaced = put(&second, "if-match", etag(&first)).await.unwrap();
    assert_eq!(replaced.status(), StatusCode::OK);
    assert!(!replaced.headers().contains_key("location"));
    assert_eq!(replaced.headers()["etag"], etag(&second));
    assert!(test.get("/i/a").send().await.unwrap().bytes().await.unwrap() == second);
}

#[tokio::test]
async fn a_delete_takes_what_its_conditions_name() {
    let test = Test::start().await;
    let bytes = photo("photo.jpg");
    test.put("/i/a", &bytes).await;
    let other = test.request(Method::DELETE, "/i/a").header("if-match", "\"other\"").send().await.unwrap();
    problem(other, 412, "VERSION_MOVED").await;
    let deleted = test.request(Method::DELETE, "/i/a").header("if-match", etag(&bytes)).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    assert!(!deleted.headers().contains_key("content-length"));
    problem(test.get("/i/a").send().await.unwrap(), 404, "NOT_FOUND").await;
    let again = test.request(Method::DELETE, "/i/a").send().await.unwrap();
    let problem = problem(again, 404, "NOT_FOUND").await;
    assert_eq!(problem["code"], "NOT_FOUND");
    assert_eq!(problem["details"][1]["resourceName"], "images/a");
}

#[tokio::test]
async fn digests_are_held_against_the_bytes() {
    let test = Test::start().await;
    let bytes = photo("photo.jpg");
    let put = |id: &str, name: &'static str, value: String| {
        test.request(Method::PUT, &format!("/i/{id}")).header(name, value).body(bytes.clone()).send()
    };
    for (id, name, value) in [
        ("a", "content-digest", sha256_digest(&bytes)),
        ("b", "repr-digest", sha512_digest(&bytes)),
        ("c", "repr-digest", format!("md5=:AAAA:, {}, {}", sha256_digest(&bytes), sha512_digest(&bytes))),
    ] {
        assert_eq!(put(id, name, value).await.unwrap().status(), StatusCode::CREATED, "{id}");
    }
    for (name, value, reason) in [
        ("content-digest", sha256_digest(b"other"), "CHECKSUM_MISMATCH"),
        ("repr-digest", sha512_digest(b"other"), "CHECKSUM_MISMATCH"),
        ("repr-digest", "sha-256=wrong".to_owned(), "INVALID_REQUEST"),
    ] {
        problem(put("d", name, value).await.unwrap(), 400, reason).await;
        assert!(!test.is_kept("d").await);
    }
}

#[tokio::test]
async fn a_post_makes_the_id() {
    let test = Test::start().await;
    let bytes = photo("photo.jpg");
    let posted = test
        .request(Method::POST, "/i")
        .header("content-type", "image/jpeg")
        .header("content-disposition", "attachment; filename*=UTF-8''My%20%E2%82%AC%20photo.jpg")
        .body(bytes.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(posted.status(), StatusCode::CREATED);
    let location = posted.headers()["location"].to_str().unwrap().to_owned();
    let got = test.get(&location).send().await.unwrap();
    assert_eq!(got.headers()["content-disposition"], "inline; filename*=UTF-8''My%20%E2%82%AC%20photo.jpg");
    assert!(got.bytes().await.unwrap() == bytes);

    let retry = || test.request(Method::POST, "/i").header("idempotency-key", "\"k-1\"").body(bytes.clone()).send();
    let (one, two) = (retry().await.unwrap(), retry().await.unwrap());
    assert_eq!((one.status(), two.status()), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(one.headers()["location"], two.headers()["location"]);
}

#[tokio::test]
async fn a_form_s_file_is_an_image() {
    let test = Test::start().await;
    let bytes = photo("photo.jpg");
    let file = |bytes: &[u8]| Part::bytes(bytes.to_vec()).file_name("My Photo.jpg");
    let post = |form: Form| test.request(Method::POST, "/i").multipart(form).send();

    let form = Form::new().text("note", "x".repeat(10_000)).part("file", file(&bytes)).text("after", "y");
    let posted = post(form).await.unwrap();
    assert_eq!(posted.status(), StatusCode::CREATED);
    let location = posted.headers()["location"].to_str().unwrap().to_owned();
    let got = test.get(&location).send().await.unwrap();
    assert_eq!(got.headers()["content-disposition"], "inline; filename*=UTF-8''My%20Photo.jpg");
    assert!(got.bytes().await.unwrap() == bytes);

    let claimed = Form::new().part("file", file(&bytes).mime_str("image/png").unwrap());
    problem(post(claimed).await.unwrap(), 422, "TYPE_MISMATCH").await;
    let two = Form::new().part("a", file(&bytes)).part("b", file(&bytes));
    let refused = problem(post(two).await.unwrap(), 400, "INVALID_REQUEST").await;
    assert!(refused["detail"].as_str().unwrap().contains("second file"), "{refused}");
    let none = post(Form::new().text("note", "x")).await.unwrap();
    let refused = problem(none, 400, "INVALID_REQUEST").await;
    assert!(refused["detail"].as_str().unwrap().contains("-F file=@"), "{refused}");
    let to_an_id = test.request(Method::PUT, "/i/a").multipart(Form::new().part("file", file(&bytes)));
    problem(to_an_id.send().await.unwrap(), 415, "NOT_AN_IMAGE").await;
}

/// A form as `curl -F` writes it, `left_out` bytes short.
fn written_form(bytes: &[u8], left_out: usize) -> Vec<u8> {
    let mut form = b"--BOUND\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\
        Content-Type: image/jpeg\r\n\r\n"
        .to_vec();
    form.extend(bytes);
    form.extend(b"\r\n--BOUND--\r\n");
    form.truncate(form.len() - left_out);
    form
}

#[tokio::test]
async fn a_form_is_taken_only_whole_and_as_digested() {
    let test = Test::start().await;
    let bytes = photo("photo.jpg");
    let post = |form: Vec<u8>, digest: String| {
        let request = test.request(Method::POST, "/i").header("idempotency-key", uuid::Uuid::new_v4().to_string());
        let request = request.header("content-type", "multipart/form-data; boundary=BOUND");
        request.header("content-digest", digest).body(form).send()
    };
    let whole = written_form(&bytes, 0);
    let digest = sha256_digest(&whole);
    assert_eq!(post(whole.clone(), digest).await.unwrap().status(), StatusCode::CREATED);
    let wrong = post(whole, sha256_digest(&bytes)).await.unwrap();
    problem(wrong, 400, "CHECKSUM_MISMATCH").await;
    let open = written_form(&bytes, 15);
    let digest = sha256_digest(&open);
    problem(post(open, digest).await.unwrap(), 400, "INVALID_REQUEST").await;
    let endless = [b"--BOUND\r\nX: ".to_vec(), vec![b'x'; 4 << 20]].concat();
    let digest = sha256_digest(&endless);
    problem(post(endless, digest).await.unwrap(), 400, "INVALID_REQUEST").await;
}

#[tokio::test]
async fn a_generation_is_for_ever_or_not_at_all() {
    let test = Test::start().await;
    test.put("/i/a", &photo("photo.png")).await;
    let put = test.put("/i/a", &photo("photo.jpg")).await;
    let told: Value = serde_json::from_slice(&put.bytes().await.unwrap()).unwrap();
    let kept: i64 = told["generation"].as_str().unwrap().parse().unwrap();
    let got = test.get(&format!("/i/a?generation={kept}&x=y")).send().await.unwrap();
    assert_eq!(got.status(), StatusCode::OK);
    assert_eq!(got.headers()["cache-control"], "public, max-age=31536000, immutable");
    let gone = test.get(&format!("/i/a?generation={}", kept - 1)).send().await.unwrap();
    problem(gone, 404, "NOT_FOUND").await;
    for malformed in ["", "x", "1.5", "99999999999999999999", "1&generation=1"] {
        let answer = test.get(&format!("/i/a?generation={malformed}")).send().await.unwrap();
        problem(answer, 400, "INVALID_REQUEST").await;
    }
    let delete = test.request(Method::DELETE, &format!("/i/a?generation={kept}")).send().await.unwrap();
    problem(delete, 400, "INVALID_REQUEST").await;
    assert!(test.is_kept("a").await);
}

#[tokio::test]
async fn an_svg_is_never_shown_in_place() {
    let test = Test::start().await;
    test.put("/i/drawing", &photo("drawing.svg")).await;
    let got = test.get("/i/drawing").send().await.unwrap();
    assert_eq!(got.headers()["content-type"], "image/svg+xml");
    assert_eq!(got.headers()["content-disposition"], "attachment; filename*=UTF-8''drawing.svg");
}

#[tokio::test]
async fn what_is_no_image_is_refused_and_not_kept() {
    let test = Test::start().await;
    let bytes = photo("photo.jpg");
    let put = |claim: &'static str, bytes: &[u8]| {
        test.request(Method::PUT, "/i/a").header("content-type", claim).body(bytes.to_vec()).send()
    };
    problem(put("image/jpeg", b"hello").await.unwrap(), 415, "NOT_AN_IMAGE").await;
    problem(put("text/html", &bytes).await.unwrap(), 415, "NOT_AN_IMAGE").await;
    problem(put("image/png", &bytes).await.unwrap(), 422, "TYPE_MISMATCH").await;
    let empty = problem(put("image/png", b"").await.unwrap(), 415, "NOT_AN_IMAGE").await;
    assert!(empty["detail"].as_str().unwrap().contains("empty"), "{empty}");
    assert!(!test.is_kept("a").await);
    assert_eq!(put("application/x-www-form-urlencoded", &bytes).await.unwrap().status(), StatusCode::CREATED);
}

#[tokio::test]
async fn header_fields_that_change_the_meaning_are_refused() {
    let test = Test::start().await;
    let bytes = photo("photo.jpg");
    for (name, value, status, reason) in [
        ("content-range", "bytes 0-9/100", 400, "INVALID_REQUEST"),
        ("content-encoding", "gzip", 415, "INVALID_REQUEST"),
        ("content-encoding", "identity, br", 415, "INVALID_REQUEST"),
        ("expect", "200-maybe", 417, "INVALID_REQUEST"),
        ("idempotency-key", "\"open", 400, "INVALID_REQUEST"),
    ] {
        let request = test.request(Method::PUT, "/i/a").header(name, value).body(bytes.clone());
        let answer = request.send().await.unwrap();
        if name == "content-encoding" {
            assert_eq!(answer.headers()["accept-encoding"], "identity");
        }
        problem(answer, status, reason).await;
    }
    assert!(!test.is_kept("a").await);
    let identity = test.request(Method::PUT, "/i/a").header("content-encoding", "identity").body(bytes);
    assert_eq!(identity.send().await.unwrap().status(), StatusCode::CREATED);
}

#[tokio::test]
async fn paths_methods_and_ids_are_told_apart() {
    let test = Test::start().await;
    let long = "x".repeat(129);
    for id in ["%2e%2e", "a%2Fb", "a%00", "a..b", "-a", "%252e", "%ff", &long] {
        let answer = test.exchange(&test.head(&format!("GET /i/{id}"), &[])).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{id}: {answer}");
        assert!(answer.contains("an id is 1 to 128"), "{id}: {answer}");
    }
    for path in ["/i/", "/i/a/b", "/i//"] {
        let answer = test.exchange(&test.head(&format!("GET {path}"), &[])).await;
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("problem+json"), "{path}: {answer}");
    }
    for (method, path, allow) in [
        (Method::GET, "/i", "POST"),
        (Method::PUT, "/i", "POST"),
        (Method::OPTIONS, "/i", "POST"),
        (Method::POST, "/i/a", "GET, HEAD, PUT, DELETE"),
        (Method::PATCH, "/i/a", "GET, HEAD, PUT, DELETE"),
    ] {
        let answer = test.request(method.clone(), path).send().await.unwrap();
        assert_eq!(answer.headers()["allow"], allow, "{method} {path}");
        problem(answer, 405, "INVALID_REQUEST").await;
    }
}

#[tokio::test]
async fn a_hundred_continue_comes_after_every_check() {
    let test = Test::start().await;
    let bytes = photo("photo.jpg");
    let length = format!("Content-Length: {}", bytes.len());
    let expect = "Expect: 100-continue";

    let mut socket = TcpStream::connect(test.server.addr).await.unwrap();
    socket.write_all(&test.head("PUT /i/a", &[&length, expect])).await.unwrap();
    let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut interim = vec![0; go_on.len()];
    socket.read_exact(&mut interim).await.unwrap();
    assert_eq!(interim, go_on);
    socket.write_all(&bytes).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");

    for (fields, status) in [
        ([length.as_str(), "If-None-Match: *"], "412"),
        ([&length, "Content-Encoding: gzip"], "415"),
        ([&length, "Content-Digest: x"], "400"),
        (["Content-Length: 99999999999999", "X: y"], "413"),
    ] {
        let answer = test.exchange(&test.head("PUT /i/a", &[fields[0], fields[1], expect])).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{fields:?}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_was_cut_is_not_kept() {
    let test = Test::start().await;
    let bytes = photo("photo.jpg");
    let half = &bytes[..bytes.len() / 2];
    let length = format!("Content-Length: {}", bytes.len());
    let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat();
    let form = written_form(&bytes, 0);
    let form_length = format!("Content-Length: {}", form.len());
    let form_type = "Content-Type: multipart/form-data; boundary=BOUND";
    // The id a POST would have is told by its request id only once it is kept: it is retried below.
    let key = "Idempotency-Key: cut";
    for (head, body) in [
        (test.head("PUT /i/cut", &[&length]), half),
        (test.head("PUT /i/cut", &["Transfer-Encoding: chunked"]), &chunk[..]),
        (test.head("POST /i", &[&form_length, form_type, key]), &form[..form.len() - 1]),
    ] {
        let mut socket = TcpStream::connect(test.server.addr).await.unwrap();
        socket.write_all(&[&head[..], body].concat()).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert!(!test.is_kept("cut").await);
    let other = test.request(Method::POST, "/i").header("idempotency-key", "cut").body(photo("photo.png"));
    assert_eq!(other.send().await.unwrap().status(), StatusCode::CREATED);

    let chunked = [&chunk[..], b"0\r\n\r\n"].concat();
    let whole = [test.head("PUT /i/whole", &["Transfer-Encoding: chunked"]), chunked].concat();
    let answer = test.exchange(&whole).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_is_still_sending_sees_the_refusal() {
    let test = Test::start().await;
    let size = 32 << 20;
    let length = format!("Content-Length: {size}");
    for (fields, status) in [
        (vec![length.as_str(), "Content-Encoding: gzip"], "415"),
        (vec![length.as_str(), "Content-Type: image/png"], "415"),
        (vec!["Content-Length: 99999999999999"], "413"),
    ] {
        let head = test.head("PUT /i/a", &fields);
        // Like clients that read nothing before they have sent everything.
        let mut socket = TcpStream::connect(test.server.addr).await.unwrap();
        socket.write_all(&[head, vec![b'x'; size]].concat()).await.unwrap();
        let wanted = format!("HTTP/1.1 {status} ");
        let mut answer = vec![0; wanted.len()];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), wanted, "{fields:?}");
    }
}
