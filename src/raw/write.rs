//! `PUT`, `POST` and `DELETE`: an image's bytes taken in, or taken away.

use std::sync::Arc;
use std::time::SystemTime;

use async_stream::try_stream;
use axum::body::Body;
use futures::{Stream, StreamExt as _};
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::json;

use super::conditional::{Conditions, Validators};
use super::digest::{Digests, Verifier};
use super::form::{self, Form};
use super::incoming::Incoming;
use super::problem::Refusal;
use super::{headers, read, text};
use crate::error::{Error, Reason, Result};
use crate::image::id::ImageId;
use crate::image::manifest::Manifest;
use crate::image::{Checksums, Delete, Images, Piece, Precondition, Put, Stored};

/// Answers a `PUT` of an image (`id` given) or a `POST` of a new one.
pub(super) async fn write(
    images: &Images,
    id: Option<ImageId>,
    request: &Parts,
    incoming: Incoming,
) -> Result<Response<Body>, Refusal> {
    let fields = &request.headers;
    let is_post = id.is_none();
    refuse_generation(request)?;
    let size = content_length(fields)?;
    let max_size = images.limits().max_image_size;
    refuse_codings_and_parts(fields)?;
    let digests = Digests::parse(fields)?;
    let content_type = content_type(fields)?;
    let form = content_type.as_deref().filter(|claim| is_form(claim));
    let allowance = if form.is_some() { form::OVERHEAD } else { 0 };
    if size.is_some_and(|size| size > max_size.saturating_add(allowance)) {
        let message =
            format!("an image has at most {max_size} bytes here: send a smaller one, or raise --max-image-size");
        return Err(Error::too_large("max-image-size", message).into());
    }
    let mut put = Put {
        id,
        claimed_type: None,
        display_name: headers::given_file_name(fields),
        labels: None,
        size: None,
        hash_sha512: digests.sha512.is_some(),
        precondition: precondition(fields)?,
        request_id: headers::idempotency_key(fields)?,
    };

    let stored = match form {
        None => {
            put.claimed_type = content_type;
            put.size = size;
            images.put(put, raw_pieces(incoming, checksums(digests, size))).await?
        }
        Some(_) if !is_post => {
            let error = Error::new(
                Reason::NotAnImage,
                "PUT takes the image's bytes and no form: use `curl -T FILE`, or post the form to /i",
            );
            return Err(error.into());
        }
        Some(content_type) => {
            if digests != Digests::default() {
                incoming.verify_by(Verifier::new(digests));
            }
            let (form, file) = Form::open(incoming, content_type, max_size.saturating_add(form::OVERHEAD)).await?;
            put.claimed_type = file.claimed_type;
            put.display_name = file.name.or(put.display_name);
            put.hash_sha512 = file.digests.sha512.is_some();
            images.put(put, form_pieces(form, checksums(file.digests, None))).await?
        }
    };
    Ok(answer(&stored, is_post)?)
}

/// Answers a `DELETE` of an image.
pub(super) async fn delete(images: &Images, id: ImageId, request: &Parts) -> Result<Response<Body>, Refusal> {
    refuse_generation(request)?;
    let delete = Delete {
        id,
        allow_missing: false,
        precondition: precondition(&request.headers)?,
        request_id: headers::idempotency_key(&request.headers)?,
    };
    images.delete(delete).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    headers::secure(response.headers_mut());
    Ok(response)
}

fn raw_pieces(mut incoming: Incoming, checksums: Checksums) -> impl Stream<Item = Result<Piece>> + Send {
    try_stream! {
        while let Some(piece) = incoming.next().await {
            yield Piece::Data(piece?);
        }
        yield Piece::Finish(checksums);
    }
}

fn form_pieces(mut form: Form, checksums: Checksums) -> impl Stream<Item = Result<Piece>> + Send {
    try_stream! {
        while let Some(piece) = form.next().await? {
            yield Piece::Data(piece);
        }
        yield Piece::Finish(checksums);
    }
}

fn checksums(digests: Digests, size: Option<u64>) -> Checksums {
    Checksums { size, sha256: digests.sha256, sha512: digests.sha512, crc32c: None }
}

/// The request's conditions, for the core to ask before it reads the body and again when it commits.
fn precondition(fields: &HeaderMap) -> Result<Precondition> {
    let conditions = Conditions::parse(fields)?;
    Ok(Arc::new(move |current: Option<&Manifest>| {
        let validators = current.map(|manifest| Validators::of(manifest, SystemTime::now()));
        conditions.check_write(validators.as_ref())
    }))
}

/// Only a read can name a generation: to overlook it in a write would hit another than was meant.
fn refuse_generation(request: &Parts) -> Result<()> {
    match read::generation(request)? {
        None => Ok(()),
        Some(_) => Err(Error::invalid("generation", "?generation is for GET and HEAD: use If-Match with the ETag")),
    }
}

fn refuse_codings_and_parts(fields: &HeaderMap) -> Result<(), Refusal> {
    if fields.contains_key(header::CONTENT_RANGE) {
        // RFC 9110 section 14.4: a server that cannot put a part must not put it as the whole.
        let message = "Content-Range: a part of an image cannot be put; send the whole image without this field";
        return Err(Error::invalid("content-range", message).into());
    }
    let identity =
        |coding: &[u8]| coding.trim_ascii().is_empty() || coding.trim_ascii().eq_ignore_ascii_case(b"identity");
    let coded = fields
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|value| value.as_bytes().split(|&byte| byte == b',').any(|coding| !identity(coding)));
    if coded {
        let error =
            Error::invalid("content-encoding", "images are taken as they are: send the bytes without Content-Encoding");
        return Err(Refusal::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, error)
            .header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity")));
    }
    Ok(())
}

/// `Content-Length`, where it was given. The HTTP library has compared repeated ones.
pub(super) fn content_length(fields: &HeaderMap) -> Result<Option<u64>> {
    let Some(value) = fields.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| Error::invalid("content-length", "Content-Length is not a number"))
}

fn content_type(fields: &HeaderMap) -> Result<Option<String>> {
    let mut values = fields.get_all(header::CONTENT_TYPE).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(text) if values.next().is_none() => Ok(Some(text.to_owned())),
        _ => Err(Error::invalid("content-type", "Content-Type is malformed: write one media type, such as image/jpeg")),
    }
}

fn is_form(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("multipart/form-data")
}

/// 201 with `Location` for a new image, 200 for a replaced one; the ETag is that of the bytes, which are kept as sent
/// (RFC 9110 section 9.3.4). Members are named as in the JSON wire's Image.
fn answer(stored: &Stored, is_post: bool) -> Result<Response<Body>> {
    let manifest = &stored.manifest;
    let body = json!({
        "name": manifest.id.name(),
        "etag": manifest.etag(),
        "sizeBytes": manifest.size.to_string(),
        "mediaType": manifest.format.media_type(),
        "width": manifest.width,
        "height": manifest.height,
        "sha256": manifest.sha256,
        "generation": manifest.generation.to_string(),
        "displayName": manifest.display_name,
    });
    let mut response = Response::new(Body::from(format!("{body}\n")));
    let fields = response.headers_mut();
    headers::secure(fields);
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(header::ETAG, text(format!("\"{}\"", manifest.sha256))?);
    fields.insert(header::LAST_MODIFIED, text(Validators::of(manifest, SystemTime::now()).last_modified())?);
    if stored.created || is_post {
        fields.insert(header::LOCATION, text(format!("/i/{}", manifest.id))?);
        *response.status_mut() = StatusCode::CREATED;
    }
    Ok(response)
}
