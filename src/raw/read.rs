//! `GET` and `HEAD`: an image's bytes, as much of them as the caller lacks.

use std::time::SystemTime;

use axum::body::Body;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::conditional::{Conditions, Validators, Verdict, range_applies};
use super::digest::{REPR_DIGEST, repr_digest};
use super::problem::Refusal;
use super::range::{Selection, content_range, select, unsatisfied_range};
use super::{headers, outgoing, text};
use crate::error::{Detail, Error, Reason, Result};
use crate::image::Images;
use crate::image::id::ImageId;
use crate::image::manifest::Manifest;
use crate::store::Blob;

/// Room for all fields of an answer: as it grows, a map moves what it has.
const FIELDS: usize = 20;

/// Answers a `GET` or `HEAD` of an image.
pub(super) async fn read(images: &Images, id: &ImageId, request: &Parts) -> Result<Response<Body>, Refusal> {
    let generation = generation(request)?;
    let conditions = Conditions::parse_for_read(&request.headers)?;

    let (manifest, blob) = if request.method == Method::HEAD {
        (images.get(id).await?, None)
    } else {
        let (manifest, blob) = images.read(id).await?;
        (manifest, Some(blob))
    };
    check_generation(&manifest, generation)?;

    let validators = Validators::of(&manifest, SystemTime::now());
    let mut fields = validator_fields(&manifest, &validators, generation.is_some())?;
    if conditions.check_read(&validators)? == Verdict::NotModified {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.headers_mut() = fields;
        return Ok(response);
    }

    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    fields.insert(REPR_DIGEST, text(repr_digest(&manifest.sha256)?)?);
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(manifest.format.media_type()));
    fields.insert(header::CONTENT_DISPOSITION, text(headers::content_disposition(&manifest))?);
    let (status, body) = match blob {
        Some(blob) => select_body(request, &validators, &manifest, blob, &mut fields)?,
        None => {
            fields.insert(header::CONTENT_LENGTH, manifest.size.into());
            (StatusCode::OK, Body::empty())
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    Ok(response)
}

/// Steps 5 and 6: `If-Range`, then `Range`, which means nothing but in a `GET` (RFC 9110 section 14.2).
fn select_body(
    request: &Parts,
    validators: &Validators,
    manifest: &Manifest,
    blob: Blob,
    fields: &mut HeaderMap,
) -> Result<(StatusCode, Body), Refusal> {
    let size = blob.size();
    let mut asked = request.headers.get_all(header::RANGE).iter();
    let selection = match (asked.next(), asked.next()) {
        (Some(range), None) if range_applies(&request.headers, validators) => select(range.as_bytes(), size),
        _ => Selection::Whole,
    };
    match selection {
        Selection::Whole => Ok((StatusCode::OK, outgoing::part(&blob, 0..size, request))),
        Selection::Parts(parts) => {
            let body = if let [part] = &parts[..] {
                fields.insert(header::CONTENT_RANGE, text(content_range(part, size))?);
                outgoing::part(&blob, part.clone(), request)
            } else {
                let (body, content_type) = outgoing::parts(blob, &parts, manifest.format.media_type());
                fields.insert(header::CONTENT_TYPE, text(content_type)?);
                body
            };
            Ok((StatusCode::PARTIAL_CONTENT, body))
        }
        Selection::Unsatisfiable => {
            let message = format!("the range is beyond the end: the image has {size} bytes");
            let error = Error::new(Reason::OutOfRange, message);
            let field = text(unsatisfied_range(size))?;
            Err(Refusal::from(error)
                .header(header::CONTENT_RANGE, field)
                .header(header::ACCEPT_RANGES, HeaderValue::from_static("bytes")))
        }
    }
}

/// What a 304 carries too (RFC 9110 section 15.4.5).
fn validator_fields(manifest: &Manifest, validators: &Validators, immutable: bool) -> Result<HeaderMap> {
    let caching = if immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut fields = HeaderMap::with_capacity(FIELDS);
    fields.insert(header::ETAG, text(["\"", &manifest.sha256, "\""].concat())?);
    fields.insert(header::LAST_MODIFIED, text(validators.last_modified())?);
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    headers::secure(&mut fields);
    Ok(fields)
}

/// `?generation=N`. Other parameters mean nothing here, as on any file.
pub(super) fn generation(request: &Parts) -> Result<Option<i64>> {
    let query = request.uri.query().unwrap_or_default();
    let mut given = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "generation");
    let (Some((_, value)), more) = (given.next(), given.next()) else { return Ok(None) };
    match value.parse() {
        Ok(generation) if more.is_none() => Ok(Some(generation)),
        _ => Err(Error::invalid("generation", "?generation wants one number, as the image's metadata gives it")),
    }
}

fn check_generation(manifest: &Manifest, wanted: Option<i64>) -> Result<()> {
    let kept = manifest.generation;
    match wanted {
        Some(wanted) if wanted != kept => Err(Error::new(
            Reason::NotFound,
            format!("generation {wanted} of {} is not kept: its generation is {kept}", manifest.id.name()),
        )
        .with(Detail::ResourceInfo("wirephoto.v1.Image", manifest.id.name()))),
        _ => Ok(()),
    }
}
