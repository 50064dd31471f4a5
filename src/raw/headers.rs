//! Header fields that are not conditionals, ranges or digests: names of files, keys of requests, safety in browsers.

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sfv::{BareItem, Item, Parser};

use crate::error::{Error, Result};
use crate::image::manifest::Manifest;
use crate::image::probe::Format;

/// Makes a retried write safe (draft-ietf-httpapi-idempotency-key-header).
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// All but `attr-char` of RFC 8187 section 3.2.1.
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Makes an answer harmless in a browser: nothing in it runs, nobody guesses another type for it, and a page of another
/// origin cannot embed it. `Cross-Origin-Resource-Policy` is `same-origin` because no other origin may read here unless
/// the server's owner names it, and one that is named reads by CORS, which this field leaves alone.
pub(super) fn secure(fields: &mut HeaderMap) {
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    fields.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
}

/// `Content-Disposition` of an image (RFC 6266). An SVG is a document that can carry script: never shown in place.
pub(super) fn content_disposition(manifest: &Manifest) -> String {
    let before = match manifest.format {
        Format::Svg => "attachment; filename*=UTF-8''",
        _ => "inline; filename*=UTF-8''",
    };
    let (name, ending) = file_name(manifest);
    let name = Cow::from(utf8_percent_encode(name, NOT_ATTR_CHAR));
    match ending {
        Some(ending) => [before, &name, ".", ending].concat(),
        None => [before, &name].concat(),
    }
}

/// The name, and what it lacks of an extension.
fn file_name(manifest: &Manifest) -> (&str, Option<&'static str>) {
    if !manifest.display_name.is_empty() {
        return (&manifest.display_name, None);
    }
    let (id, extension) = (manifest.id.as_str(), manifest.format.extension());
    let has_one = id.rsplit_once('.').is_some_and(|(_, end)| {
        let subtype = manifest.format.media_type().rsplit_once('/').map(|(_, subtype)| subtype);
        end.eq_ignore_ascii_case(extension) || subtype.is_some_and(|subtype| end.eq_ignore_ascii_case(subtype))
    });
    (id, (!has_one).then_some(extension))
}

/// The file name that a request's or a form part's `Content-Disposition` gives, without its folders: `filename*`
/// before `filename` (RFC 6266 section 4.3). An empty name counts as none.
pub(super) fn given_file_name(fields: &HeaderMap) -> Option<String> {
    let value = disposition(fields)?;
    let (mut plain, mut extended) = (None, None);
    for (name, value) in Parameters(&value) {
        if name.eq_ignore_ascii_case("filename*") {
            extended = extended.or_else(|| decode_extended(&value));
        } else if name.eq_ignore_ascii_case("filename") {
            plain = plain.or(Some(value));
        }
    }
    let path = extended.or(plain)?;
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default().trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Whether the `Content-Disposition` gives a file name, be it an empty one, as of a form in which no file was chosen.
pub(super) fn has_file_name(fields: &HeaderMap) -> bool {
    let is_name = |name: &str| ["filename", "filename*"].iter().any(|one| name.eq_ignore_ascii_case(one));
    disposition(fields).is_some_and(|value| Parameters(&value).any(|(name, _)| is_name(&name)))
}

/// `Content-Disposition` in UTF-8, or else in Latin-1, which HTTP once was.
fn disposition(fields: &HeaderMap) -> Option<Cow<'_, str>> {
    let value = fields.get(header::CONTENT_DISPOSITION)?.as_bytes();
    Some(match std::str::from_utf8(value) {
        Ok(text) => text.into(),
        Err(_) => value.iter().copied().map(char::from).collect::<String>().into(),
    })
}

/// `UTF-8''percent%20encoded` (RFC 8187), `None` where it is in another charset or malformed.
fn decode_extended(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, encoded) = rest.split_once('\'')?;
    let utf8 = charset.eq_ignore_ascii_case("utf-8");
    percent_decode_str(encoded).decode_utf8().ok().filter(|_| utf8).map(Into::into)
}

/// The `name=value` pairs after the first `;` of a header field; what is no pair is passed over.
struct Parameters<'a>(&'a str);

impl Iterator for Parameters<'_> {
    type Item = (String, String);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (_, rest) = self.0.split_once(';')?;
            let end = rest.find(['=', ';']).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            self.0 = rest;
            let Some(rest) = rest.strip_prefix('=') else { continue };
            let rest = rest.trim_start();
            let (value, rest) = match rest.strip_prefix('"') {
                Some(quoted) => unquote(quoted),
                None => {
                    let (value, rest) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
                    (value.trim_end().to_owned(), rest)
                }
            };
            self.0 = rest;
            return Some((name.trim().to_owned(), value));
        }
    }
}

/// The text of a quoted string whose opening quote is gone, and what follows it.
fn unquote(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (text, &quoted[at + 1..]),
            '\\' => text.extend(chars.next().map(|(_, escaped)| escaped)),
            char => text.push(char),
        }
    }
    (text, "")
}

/// The value of `Idempotency-Key`, with the quotes of a structured string or without any.
///
/// # Errors
/// [`crate::error::Reason::InvalidRequest`] where it is empty, malformed or there twice.
pub(super) fn idempotency_key(fields: &HeaderMap) -> Result<Option<String>> {
    let mut values = fields.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().filter(|_| values.next().is_none()).and_then(|text| {
        if !text.starts_with('"') {
            return Some(text.to_owned());
        }
        let item: Item = Parser::new(text).parse().ok()?;
        match item.bare_item {
            BareItem::String(key) => Some(String::from(key)),
            _ => None,
        }
    });
    match key {
        Some(key) if !key.is_empty() => Ok(Some(key)),
        _ => Err(Error::invalid(
            IDEMPOTENCY_KEY.as_str(),
            "Idempotency-Key is malformed: write one key of visible ASCII, such as a UUID",
        )),
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_DISPOSITION, HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::{IDEMPOTENCY_KEY, given_file_name, has_file_name, idempotency_key};

    fn disposition(value: &[u8]) -> Option<HeaderMap> {
        Some(HeaderMap::from_iter([(CONTENT_DISPOSITION, HeaderValue::from_bytes(value).ok()?)]))
    }

    fn named(value: &[u8]) -> Option<String> {
        given_file_name(&disposition(value)?)
    }

    #[test]
    fn a_file_is_known_whatever_its_name_is_written_in() {
        for file in
            [&b"form-data; name=a; filename=\"caf\xe9.png\""[..], b"form-data; FILENAME*=x", b"x; filename=\"\""]
        {
            assert!(has_file_name(&disposition(file).unwrap()), "{}", file.escape_ascii());
        }
        for other in [&b"form-data; name=\"filename\""[..], b"form-data; name=\"a; filename=b\"", b"filename=x"] {
            assert!(!has_file_name(&disposition(other).unwrap()), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn file_names_as_clients_write_them() {
        let table: &[(&[u8], Option<&str>)] = &[
            (b"attachment; filename=\"EURO rates.jpg\"", Some("EURO rates.jpg")),
            (b"inline; filename=plain.jpg ; x=y", Some("plain.jpg")),
            (b"form-data; name=\"file\"; filename=\"a\\\"b;c.jpg\"", Some("a\"b;c.jpg")),
            (b"form-data; name=\"a;filename=x\"; FileName = \"b.jpg\"", Some("b.jpg")),
            (b"attachment; filename=\"e.jpg\"; filename*=UTF-8''%e2%82%ac%20rates.jpg", Some("\u{20ac} rates.jpg")),
            (b"attachment; filename*=utf-8'en'%c3%a4.jpg; filename=e.jpg", Some("\u{e4}.jpg")),
            (b"attachment; filename=\"e.jpg\"; filename*=koi8-r''%c1.jpg", Some("e.jpg")),
            (b"attachment; filename=\"\xc3\xa4.jpg\"", Some("\u{e4}.jpg")),
            (b"attachment; filename=\"\xe4.jpg\"", Some("\u{e4}.jpg")),
            (b"attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            (b"attachment; filename=\"C:\\\\photos\\\\a.jpg\"", Some("a.jpg")),
            (b"attachment; filename*=UTF-8''..%2Fa.jpg", Some("a.jpg")),
            (b"attachment; filename=\"folder/\"", None),
            (b"attachment; filename=\"\"", None),
            (b"attachment; filename", None),
            (b"inline", None),
            (b"", None),
        ];
        for (value, wanted) in table {
            assert_eq!(named(value).as_deref(), *wanted, "{}", String::from_utf8_lossy(value));
        }
    }

    #[test]
    fn keys_with_and_without_quotes_are_the_same() {
        let key = |values: &[&str]| {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            idempotency_key(&fields).map_err(|error| error.reason.row().bytes_status)
        };
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&["8e03978e-40d5"]), Ok(Some("8e03978e-40d5".into())));
        assert_eq!(key(&["\"8e03978e-40d5\""]), Ok(Some("8e03978e-40d5".into())));
        for bad in [&[""][..], &["\"\""], &["\"open"], &["\u{e4}"], &["a", "a"]] {
            assert_eq!(key(bad), Err(400), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_disposition_is_read_without_a_folder_in_it(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            let name = named(&value);
            prop_assert!(!name.is_some_and(|name| name.contains(['/', '\\'])));
        }
    }
}
