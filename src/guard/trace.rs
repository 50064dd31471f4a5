//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): which trace a request belongs to.

use http::HeaderMap;

const TRACEPARENT: &str = "traceparent";

/// The trace id of the request's `traceparent`, 32 digits; `None` without one that is sound.
pub(super) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    let only = given.next().filter(|_| given.next().is_none())?;
    let mut fields = only.to_str().ok()?.splitn(5, '-');
    let mut field = |len| fields.next().filter(|field| is_hex(field, len));
    let (version, trace, parent, _flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    // A later version may have more fields; of this one, four are all.
    let more = fields.next().is_some();
    let sound = version != "ff" && (version != "00" || !more) && !is_zero(trace) && !is_zero(parent);
    sound.then_some(trace)
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

    use super::{TRACEPARENT, trace_id};

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
            assert_eq!(trace_id(&headers), sound.then_some(ID), "{value}");
            headers.append(TRACEPARENT, HeaderValue::from_str(&value).unwrap());
            assert_eq!(trace_id(&headers), None, "two of {value}");
        }
    }
}
