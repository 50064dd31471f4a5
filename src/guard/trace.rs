//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): which trace a request belongs to.

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A request's place in the trace of its caller.
#[derive(Debug)]
pub(super) struct Trace {
    /// 32 digits.
    pub(super) id: String,
    /// This request's own, 16 digits.
    pub(super) span: String,
    flags: String,
}

impl Trace {
    /// By the request's `traceparent`; `None` without one that is sound.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all(TRACEPARENT).iter();
        let only = given.next().filter(|_| given.next().is_none())?;
        let mut fields = only.to_str().ok()?.splitn(5, '-');
        let mut field = |len| fields.next().filter(|field| is_hex(field, len));
        let (version, id, parent, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        // A later version may have more fields; of this one, four are all.
        let more = fields.next().is_some();
        let sound = version != "ff" && (version != "00" || !more) && !is_zero(id) && !is_zero(parent);
        // The version digit within it keeps it from being zero.
        let span = Uuid::new_v4().simple().to_string()[..16].to_owned();
        sound.then(|| Self { id: id.to_owned(), span, flags: flags.to_owned() })
    }

    /// What is told to whom the request is passed on, and to the caller: this request as the parent.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&format!("00-{}-{}-{}", self.id, self.span, self.flags)).ok()
    }
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{TRACEPARENT, Trace};

    const ID: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn only_a_sound_traceparent_names_a_trace() {
        let cases = [
            (format!("00-{ID}-b7ad6b7169203331-01"), true),
            (format!("00-{ID}-b7ad6b7169203331-00"), true),
            (format!("cc-{ID}-b7ad6b7169203331-01-more-of-it"), true),
            (format!("00-{ID}-b7ad6b7169203331-01-more"), false),
            (format!("ff-{ID}-b7ad6b7169203331-01"), false),
            (format!("00-{ID}-0000000000000000-01"), false),
            (format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), false),
            (format!("00-{}-b7ad6b7169203331-01", ID.to_uppercase()), false),
            (format!("00-{ID}-b7ad6b7169203331"), false),
            (format!("00-{ID}-b7ad6b7169203331-"), false),
            (format!("00-{}-b7ad6b7169203331-01", &ID[1..]), false),
            (String::new(), false),
            ("-".repeat(99), false),
        ];
        for (value, sound) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, HeaderValue::from_str(&value).unwrap());
            let id = Trace::of(&headers).map(|trace| trace.id);
            assert_eq!(id.as_deref(), sound.then_some(ID), "{value}");
            headers.append(TRACEPARENT, HeaderValue::from_str(&value).unwrap());
            assert!(Trace::of(&headers).is_none(), "two of {value}");
        }
    }
}
