//! Preconditions: entity tags and dates, in the order of RFC 9110 section 13.2.2.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};
use httpdate::HttpDate;

use crate::error::{Detail, Error, Reason, Result};
use crate::image::manifest::Manifest;

/// An entity tag (RFC 9110 section 8.8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntityTag {
    /// Whether it is marked `W/`.
    pub(super) weak: bool,
    /// What stands between the quotes.
    pub(super) opaque: Vec<u8>,
}

impl EntityTag {
    /// Takes one tag off the front; `None` when there is none.
    fn take(text: &[u8]) -> Option<(Self, &[u8])> {
        let (weak, quoted) = match text.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let inner = quoted.strip_prefix(b"\"")?;
        let end = inner.iter().position(|&byte| byte == b'"')?;
        let opaque = &inner[..end];
        let legal = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..);
        opaque.iter().all(legal).then(|| (Self { weak, opaque: opaque.to_vec() }, &inner[end + 1..]))
    }

    fn strong_eq(&self, other: &Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    fn weak_eq(&self, other: &Self) -> bool {
        self.opaque == other.opaque
    }
}

/// What `If-Match` or `If-None-Match` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tags {
    /// `*`: whatever is there.
    Any,
    /// Any of these.
    List(Vec<EntityTag>),
}

impl Tags {
    /// Reads a whole field value; `None` when it is malformed.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let mut rest = value.trim_ascii();
        if rest == b"*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        loop {
            // A list's empty elements mean nothing (RFC 9110 section 5.6.1.2).
            while let Some(after) = rest.strip_prefix(b",") {
                rest = after.trim_ascii_start();
            }
            if rest.is_empty() {
                return (!tags.is_empty()).then_some(Self::List(tags));
            }
            let (tag, after) = EntityTag::take(rest)?;
            tags.push(tag);
            rest = after.trim_ascii_start();
            if !rest.is_empty() && !rest.starts_with(b",") {
                return None;
            }
        }
    }

    fn holds(&self, current: &EntityTag, eq: fn(&EntityTag, &EntityTag) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| eq(tag, current)),
        }
    }
}

/// The validators of an image's bytes: their digest and their time.
#[derive(Debug, Clone)]
pub(super) struct Validators {
    tag: EntityTag,
    /// `Last-Modified`: never later than the answer's own `Date` (RFC 9110 section 8.8.2.1).
    modified: HttpDate,
    now: SystemTime,
}

impl Validators {
    /// Those of this image, as told at `now`.
    pub(super) fn of(manifest: &Manifest, now: SystemTime) -> Self {
        Self::new(&manifest.sha256, manifest.content_time.into(), now)
    }

    fn new(sha256: &str, modified: SystemTime, now: SystemTime) -> Self {
        let modified = modified.clamp(UNIX_EPOCH, now.max(UNIX_EPOCH)).into();
        Self { tag: EntityTag { weak: false, opaque: sha256.as_bytes().to_vec() }, modified, now }
    }

    /// Value of `Last-Modified`.
    pub(super) fn last_modified(&self) -> String {
        self.modified.to_string()
    }
}

/// What a `GET` or `HEAD` is to be answered with, once no precondition has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The image.
    Proceed,
    /// 304: the caller has it already.
    NotModified,
}

/// A request's preconditions.
#[derive(Debug, Clone, Default)]
pub(super) struct Conditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
    if_unmodified_since: Option<HttpDate>,
    if_modified_since: Option<HttpDate>,
}

impl Conditions {
    /// Reads them. Malformed tags are an error: to ignore a precondition could lose somebody's write. Malformed dates
    /// are ignored, as RFC 9110 sections 13.1.3 and 13.1.4 demand.
    pub(super) fn parse(headers: &HeaderMap) -> Result<Self> {
        Self::with(headers, tags(headers, &IF_NONE_MATCH)?)
    }

    /// The same for a read, where a malformed `If-None-Match` matches nothing: the whole image is never a wrong answer.
    pub(super) fn parse_for_read(headers: &HeaderMap) -> Result<Self> {
        Self::with(headers, tags(headers, &IF_NONE_MATCH).unwrap_or(Some(Tags::List(Vec::new()))))
    }

    fn with(headers: &HeaderMap, if_none_match: Option<Tags>) -> Result<Self> {
        Ok(Self {
            if_match: tags(headers, &IF_MATCH)?,
            if_none_match,
            if_unmodified_since: date(headers, &IF_UNMODIFIED_SINCE),
            if_modified_since: date(headers, &IF_MODIFIED_SINCE),
        })
    }

    /// Steps 1 to 4 for `GET` and `HEAD`.
    ///
    /// # Errors
    /// [`Reason::VersionMoved`] (412) when `If-Match` or `If-Unmodified-Since` is false.
    pub(super) fn check_read(&self, current: &Validators) -> Result<Verdict> {
        self.check_unmoved(Some(current))?;
        let unmodified = match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => tags.holds(&current.tag, EntityTag::weak_eq),
            (None, Some(date)) => current.modified <= date,
            (None, None) => false,
        };
        Ok(if unmodified { Verdict::NotModified } else { Verdict::Proceed })
    }

    /// Steps 1 to 3 for `PUT`, `POST` and `DELETE`; `current` is `None` where there is no image yet.
    ///
    /// # Errors
    /// [`Reason::VersionMoved`] or [`Reason::AlreadyExists`], both 412.
    pub(super) fn check_write(&self, current: Option<&Validators>) -> Result<()> {
        self.check_unmoved(current)?;
        let (Some(tags), Some(current)) = (&self.if_none_match, current) else { return Ok(()) };
        match tags {
            Tags::Any => Err(failed(
                Reason::AlreadyExists,
                IF_NONE_MATCH,
                "there is an image of this name already: leave out `If-None-Match: *` to replace it",
            )),
            Tags::List(_) if tags.holds(&current.tag, EntityTag::weak_eq) => Err(failed(
                Reason::VersionMoved,
                IF_NONE_MATCH,
                "the image kept is one of those that If-None-Match excludes",
            )),
            Tags::List(_) => Ok(()),
        }
    }

    fn check_unmoved(&self, current: Option<&Validators>) -> Result<()> {
        match (&self.if_match, self.if_unmodified_since, current) {
            (Some(_), _, None) => Err(failed(
                Reason::VersionMoved,
                IF_MATCH,
                "there is no image of this name: leave out If-Match to create it",
            )),
            (Some(tags), _, Some(current)) if !tags.holds(&current.tag, EntityTag::strong_eq) => Err(failed(
                Reason::VersionMoved,
                IF_MATCH,
                "the image kept is none of those that If-Match names: get it again, and use its ETag",
            )),
            (None, Some(date), Some(current)) if current.modified > date => Err(failed(
                Reason::VersionMoved,
                IF_UNMODIFIED_SINCE,
                "the image was replaced since the time that If-Unmodified-Since names: get it again",
            )),
            _ => Ok(()),
        }
    }
}

/// Step 5: whether a `Range` may be honoured, as `If-Range` says (RFC 9110 section 13.1.5).
///
/// A date has to be the very `Last-Modified`, and that second be over: within it the bytes could change again unseen.
pub(super) fn range_applies(headers: &HeaderMap, current: &Validators) -> bool {
    let mut values = headers.get_all(IF_RANGE).iter();
    let Some(value) = values.next() else { return true };
    if values.next().is_some() {
        return false;
    }
    let value = value.as_bytes().trim_ascii();
    if let Some((tag, rest)) = EntityTag::take(value) {
        return rest.is_empty() && tag.strong_eq(&current.tag);
    }
    let date = std::str::from_utf8(value).ok().and_then(|text| text.parse::<HttpDate>().ok());
    let over = SystemTime::from(current.modified) + Duration::from_secs(1) <= current.now;
    over && date == Some(current.modified)
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    Tags::parse(&lines.join(&b","[..])).map(Some).ok_or_else(|| {
        Error::invalid(name.as_str(), format!("{name} is malformed: write `*`, or ETags in their double quotes"))
    })
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<HttpDate> {
    let mut values = headers.get_all(name).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    only.to_str().ok()?.trim().parse().ok()
}

fn failed(reason: Reason, header: HeaderName, message: &'static str) -> Error {
    let subject = header.as_str().to_owned();
    Error::new(reason, message).with(Detail::PreconditionFailure("HTTP", subject, message.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use http::header::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::{Conditions, EntityTag, Tags, Validators, Verdict, range_applies};

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    /// Header fields by name and value.
    type Fields = &'static [(&'static str, &'static str)];

    fn kept() -> Validators {
        let modified = UNIX_EPOCH + Duration::from_millis(784_111_777_900);
        Validators::new("abc", modified, modified + Duration::from_secs(3600))
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    #[test]
    fn reads_follow_the_rfc_s_order() {
        use Verdict::{NotModified, Proceed};
        let table: &[(Fields, Option<Verdict>)] = &[
            (&[], Some(Proceed)),
            (&[("if-match", "\"abc\"")], Some(Proceed)),
            (&[("if-match", "*")], Some(Proceed)),
            (&[("if-match", "\"x\", \"abc\"")], Some(Proceed)),
            (&[("if-match", "\"x\""), ("if-match", "\"abc\"")], Some(Proceed)),
            (&[("if-match", "\"x\"")], None),
            (&[("if-match", "W/\"abc\"")], None),
            (&[("if-unmodified-since", SAME)], Some(Proceed)),
            (&[("if-unmodified-since", AFTER)], Some(Proceed)),
            (&[("if-unmodified-since", BEFORE)], None),
            (&[("if-unmodified-since", "yesterday")], Some(Proceed)),
            (&[("if-match", "\"abc\""), ("if-unmodified-since", BEFORE)], Some(Proceed)),
            (&[("if-match", "\"x\""), ("if-unmodified-since", AFTER)], None),
            (&[("if-none-match", "\"abc\"")], Some(NotModified)),
            (&[("if-none-match", "W/\"abc\"")], Some(NotModified)),
            (&[("if-none-match", "*")], Some(NotModified)),
            (&[("if-none-match", "\"x\", W/\"y\"")], Some(Proceed)),
            (&[("if-none-match", "abc")], Some(Proceed)),
            (&[("if-none-match", "abc"), ("if-modified-since", AFTER)], Some(Proceed)),
            (&[("if-modified-since", SAME)], Some(NotModified)),
            (&[("if-modified-since", AFTER)], Some(NotModified)),
            (&[("if-modified-since", BEFORE)], Some(Proceed)),
            (&[("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT")], Some(NotModified)),
            (&[("if-modified-since", "Sun Nov  6 08:49:37 1994")], Some(NotModified)),
            (&[("if-modified-since", AFTER), ("if-modified-since", AFTER)], Some(Proceed)),
            (&[("if-none-match", "\"x\""), ("if-modified-since", AFTER)], Some(Proceed)),
            (&[("if-match", "\"abc\""), ("if-none-match", "\"abc\"")], Some(NotModified)),
            (&[("if-match", "\"x\""), ("if-none-match", "\"abc\"")], None),
            (&[("if-unmodified-since", BEFORE), ("if-modified-since", AFTER)], None),
        ];
        for (given, wanted) in table {
            let conditions = Conditions::parse_for_read(&headers(given)).unwrap();
            assert_eq!(conditions.check_read(&kept()).ok(), *wanted, "{given:?}");
        }
        assert!(Conditions::parse_for_read(&headers(&[("if-match", "abc")])).is_err());
    }

    #[test]
    fn writes_are_refused_with_412_or_go_on() {
        let table: &[(Fields, bool, bool)] = &[
            (&[], true, true),
            (&[("if-none-match", "*")], false, true),
            (&[("if-none-match", "\"abc\"")], false, true),
            (&[("if-none-match", "W/\"abc\"")], false, true),
            (&[("if-none-match", "\"x\"")], true, true),
            (&[("if-match", "*")], true, false),
            (&[("if-match", "\"abc\"")], true, false),
            (&[("if-match", "\"x\"")], false, false),
            (&[("if-unmodified-since", BEFORE)], false, true),
            (&[("if-unmodified-since", SAME)], true, true),
            (&[("if-modified-since", AFTER)], true, true),
        ];
        for (given, over_an_image, over_none) in table {
            let conditions = Conditions::parse(&headers(given)).unwrap();
            let over = conditions.check_write(Some(&kept()));
            assert_eq!(over.is_ok(), *over_an_image, "{given:?} over an image");
            if let Err(error) = over {
                assert_eq!(error.reason.row().bytes_status, 412, "{given:?}");
            }
            assert_eq!(conditions.check_write(None).is_ok(), *over_none, "{given:?} over none");
        }
        assert!(Conditions::parse(&headers(&[("if-none-match", "abc")])).is_err());
    }

    #[test]
    fn if_range_wants_a_strong_validator() {
        let table = [
            ("\"abc\"", true),
            ("W/\"abc\"", false),
            ("\"x\"", false),
            ("\"abc\", \"x\"", false),
            ("*", false),
            (SAME, true),
            (BEFORE, false),
            (AFTER, false),
            ("nonsense", false),
        ];
        for (value, wanted) in table {
            assert_eq!(range_applies(&headers(&[("if-range", value)]), &kept()), wanted, "{value}");
        }
        assert!(range_applies(&HeaderMap::new(), &kept()));
        assert!(!range_applies(&headers(&[("if-range", "\"abc\""), ("if-range", "\"abc\"")]), &kept()));

        let modified = UNIX_EPOCH + Duration::from_millis(784_111_777_100);
        let at_once = Validators::new("abc", modified, modified + Duration::from_millis(500));
        assert!(!range_applies(&headers(&[("if-range", SAME)]), &at_once));
    }

    #[test]
    fn times_outside_the_format_do_not_panic() {
        let now = SystemTime::now();
        let never = Validators::new("abc", UNIX_EPOCH - Duration::from_secs(9), now);
        assert_eq!(never.last_modified(), "Thu, 01 Jan 1970 00:00:00 GMT");
        let future = Validators::new("abc", now + Duration::from_secs(1 << 40), now);
        assert_eq!(future.last_modified(), httpdate::fmt_http_date(now));
    }

    fn tag() -> impl Strategy<Value = EntityTag> {
        (any::<bool>(), "[!#-~]{0,8}").prop_map(|(weak, text)| EntityTag { weak, opaque: text.into_bytes() })
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_do_not(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Tags::parse(&bytes);
        }

        #[test]
        fn lists_of_tags_are_read_back(
            tags in proptest::collection::vec(tag(), 1..6),
            comma in prop_oneof![Just(","), Just(" , "), Just(",,\t, ")],
        ) {
            let written: Vec<String> = tags
                .iter()
                .map(|tag| {
                    let opaque = String::from_utf8(tag.opaque.clone()).unwrap();
                    format!("{}\"{opaque}\"", if tag.weak { "W/" } else { "" })
                })
                .collect();
            prop_assert_eq!(Tags::parse(written.join(comma).as_bytes()), Some(Tags::List(tags)));
        }
    }
}
