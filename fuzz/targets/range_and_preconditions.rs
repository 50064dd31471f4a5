//! Ranges, preconditions, digests and timeouts, asked of the whole router: an answer is one of those that RFC 9110 has,
//! and its bytes are those it says.
//!
//! Input: lines of `Name: value`; a first byte `W` makes it a PUT. `@` stands for the ETag.

#![no_main]

use std::cell::LazyCell;

use axum::Router;
use axum::body::Body;
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::BodyExt as _;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;
use wirephoto::guard::{Access, Origins, Policy};
use wirephoto::image::{Images, Limits};
use wirephoto::server::{self, App};
use wirephoto::store::Store;

/// An image of 256 bytes or so, in which any two bytes side by side tell where they are from.
const SVG: &str = "<svg xmlns='http://www.w3.org/2000/svg' width='1' height='2'><!--abcdefghijklmnopqrstuvwxyz0123456789\
                   ABCDEFGHIJKLMNOPQRSTUVWXYZ--><path d='M0 0h1v2z'/></svg>";

struct Kept {
    runtime: Runtime,
    router: Router,
    etag: String,
}

thread_local! {
    static KEPT: LazyCell<Kept> = const { LazyCell::new(kept) };
}

fn kept() -> Kept {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let router = runtime.block_on(async {
        let store = Store::open("memory:", false).await.expect("a store");
        let images = Images::open(store, Limits { max_image_size: 1 << 20 }).await.expect("no images");
        let policy = Policy { origins: Origins::new(Vec::new(), true), anonymous: Access::Write };
        let app = App::new(images, policy, false).await.expect("an app");
        Router::new().fallback_service(server::service(&app).expect("a service"))
    });
    let put = Request::put("/i/a").body(Body::from(SVG)).expect("a request");
    let answer = runtime.block_on(router.clone().oneshot(put)).expect("infallible");
    assert_eq!(answer.status(), 201);
    let etag = answer.headers()["etag"].to_str().expect("text").to_owned();
    Kept { runtime, router, etag }
}

fuzz_target!(|text: &str| KEPT.with(|kept| run(kept, text)));

fn run(kept: &Kept, text: &str) {
    let (method, lines) = match text.strip_prefix('W') {
        Some(lines) => (Method::PUT, lines),
        None => (Method::GET, text),
    };
    let body = if method == Method::PUT { Body::from(SVG) } else { Body::empty() };
    let mut request = Request::builder().method(method.clone()).uri("/i/a").body(body).expect("a request");
    for line in lines.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim_start().replace('@', &kept.etag);
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) else { continue };
        request.headers_mut().append(name, value);
    }
    let (head, body) = kept.runtime.block_on(async {
        let (head, body) = kept.router.clone().oneshot(request).await.expect("infallible").into_parts();
        (head, body.collect().await.map(|body| body.to_bytes()))
    });
    let status = head.status.as_u16();
    let fine: &[u16] = match method {
        Method::GET => &[200, 206, 304, 400, 403, 412, 416, 417, 504],
        _ => &[200, 400, 403, 409, 412, 413, 415, 417, 422, 504],
    };
    assert!(fine.contains(&status), "{status} to {text:?}");
    if method != Method::GET {
        return;
    }
    // Only a deadline may cut it.
    let Ok(body) = body else { return };
    match status {
        200 => assert_eq!(body, SVG),
        206 => match head.headers.get("content-range") {
            Some(range) => {
                let range = range.to_str().expect("text").strip_prefix("bytes ").expect("its unit");
                let (first, rest) = range.split_once('-').expect("a range");
                let (last, size) = rest.split_once('/').expect("a size");
                let [first, last, size] = [first, last, size].map(|text| text.parse::<usize>().expect("a number"));
                assert_eq!(size, SVG.len());
                assert_eq!(body, SVG[first..=last]);
            }
            None => assert!(head.headers["content-type"].as_bytes().starts_with(b"multipart/byteranges")),
        },
        304 => assert!(body.is_empty()),
        _ => assert_eq!(head.headers["content-type"], "application/problem+json"),
    }
    if let Some(length) = head.headers.get("content-length") {
        assert!(status == 304 || length.to_str().expect("text").parse() == Ok(body.len()));
    }
}
