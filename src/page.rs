//! The page at `/` and its assets, out of the binary.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::get;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::error::{Error, Reason};
use crate::wire::{self, content_coding, validator};

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/web/dist"]
struct Dist;

/// Scripts, styles and connections of our own only; images also from memory (`blob:`), where a download ends.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/` and `/assets/`.
pub(crate) fn router() -> Router {
    Router::new().route("/", get(|headers: HeaderMap| async move { file("index.html", &headers).await })).route(
        "/assets/{*path}",
        get(|Path(path): Path<String>, headers: HeaderMap| async move { file(&format!("assets/{path}"), &headers).await }),
    )
}

async fn file(path: &str, headers: &HeaderMap) -> Response<Body> {
    match Dist::get(path) {
        // What is no text is packed already.
        Some(found) if is_text(path) => content_coding::encoded(headers, answer(&found, path, headers)).await,
        Some(found) => answer(&found, path, headers),
        None => {
            let message = format!("there is nothing at /{}", path.escape_default());
            wire::json_refusal(&Error::new(Reason::NotFound, message))
        }
    }
}

fn answer(found: &EmbeddedFile, path: &str, headers: &HeaderMap) -> Response<Body> {
    let etag = format!("\"{}\"", hex::encode(&found.metadata.sha256_hash()[..16]));
    let known = validator::is_known(headers, &etag);
    let mut response = Response::new(Body::empty());
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = Body::from(found.data.clone().into_owned());
    }
    // Vite names assets by their content; the page names the assets.
    let cache = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let texts: [(HeaderName, &str); 6] = [
        (header::CONTENT_TYPE, media_type(path)),
        (header::ETAG, &etag),
        (header::CACHE_CONTROL, cache),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::from_str(text) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn is_text(path: &str) -> bool {
    let media_type = media_type(path);
    media_type.starts_with("text/") || media_type.ends_with("+xml") || media_type.ends_with("+json")
}

/// The media types that the build makes.
fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("webmanifest") => "application/manifest+json",
        _ => "application/octet-stream",
    }
}
