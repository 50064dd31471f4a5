//! The query of Connect's GET: a whole request message in a URL.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use percent_encoding::percent_decode;

use crate::error::{Error, Result};

/// base64url, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A request as the query of its URL ("Unary-Get-Request" in Connect's protocol).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The message as `encoding` and `compression` write it.
    pub message: Bytes,
    /// The name of the codec; empty if there is none.
    pub encoding: String,
    /// The name of the compression.
    pub compression: Option<String>,
}

impl Query {
    /// Reads the query of a URL. Parameters of other names are no concern of the protocol's.
    ///
    /// # Errors
    /// Names the parameter that is missing, given twice, or does not decode.
    pub fn parse(query: &str) -> Result<Self> {
        let [version, encoding, message, is_base64, compression] =
            ["connect", "encoding", "message", "base64", "compression"].map(|name| parameter(query, name));
        if let Some(version) = text(version?, "connect")?.filter(|version| version != "v1") {
            return Err(invalid("connect", format!("`{}` is unknown here: send v1", version.escape_default())));
        }
        let message = message?.ok_or_else(|| invalid("message", "is missing: it is the request"))?;
        let message = match is_base64?.as_deref() {
            None => message.into_owned(),
            Some(b"1") => {
                BASE64.decode(&message).map_err(|error| invalid("message", format!("is not base64url: {error}")))?
            }
            Some(_) => return Err(invalid("base64", "is 1 or left out")),
        };
        Ok(Self {
            message: message.into(),
            encoding: text(encoding?, "encoding")?.unwrap_or_default(),
            compression: text(compression?, "compression")?,
        })
    }
}

/// The decoded value of the only parameter of this name.
fn parameter<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, [u8]>>> {
    let mut values = query.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    });
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid(name, "is given twice"));
    }
    let escapes = value.as_bytes().iter().enumerate().filter(|(_, byte)| **byte == b'%');
    for (at, _) in escapes {
        let digits =
            value.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        if !digits {
            return Err(invalid(name, "is not percent-encoded"));
        }
    }
    if value.contains('+') {
        let spaced = value.replace('+', " ");
        return Ok(Some(percent_decode(spaced.as_bytes()).collect::<Vec<u8>>().into()));
    }
    Ok(Some(percent_decode(value.as_bytes()).into()))
}

fn text(value: Option<Cow<'_, [u8]>>, name: &str) -> Result<Option<String>> {
    let text = value.map(|value| String::from_utf8(value.into_owned())).transpose();
    text.map_err(|_| invalid(name, "is no text"))
}

fn invalid(name: &str, reason: impl Into<Cow<'static, str>>) -> Error {
    Error::invalid(name, format!("the query's `{name}` {}", reason.into()))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
    use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
    use proptest::prelude::*;

    use super::Query;

    #[test]
    fn what_is_wrong_names_its_parameter() {
        let cases = [
            ("", "message"),
            ("encoding=json", "message"),
            ("connect=v2&encoding=json&message=%7B%7D", "connect"),
            ("connect=&encoding=json&message=%7B%7D", "connect"),
            ("encoding=proto&message=AAA*&base64=1", "message"),
            ("encoding=proto&message=A&base64=1", "message"),
            ("encoding=proto&message=AB%2F%2B&base64=1", "message"),
            ("encoding=proto&message=AAAA&base64=yes", "base64"),
            ("encoding=json&message=%7B%7D&message=%7B%7D", "message"),
            ("encoding=json&encoding=proto&message=", "encoding"),
            ("encoding=json&message=%7", "message"),
            ("encoding=json&message=100%zz", "message"),
            ("encoding=%FF&message=", "encoding"),
        ];
        for (query, name) in cases {
            let error = Query::parse(query).unwrap_err();
            assert!(error.message.contains(&format!("`{name}`")), "{query}: {error}");
        }
    }

    #[test]
    fn what_is_not_the_protocols_is_left_alone() {
        let query = Query::parse("trace=%zz&message=a+b%20c&encoding=json&trace=2").unwrap();
        assert_eq!((&query.message[..], query.encoding.as_str(), query.compression), (&b"a b c"[..], "json", None));
    }

    proptest! {
        #[test]
        fn a_message_survives_each_way_of_writing_it(message in any::<Vec<u8>>()) {
            let plain = percent_encode(&message, NON_ALPHANUMERIC).to_string();
            let ways = [
                format!("message={plain}&encoding=proto"),
                format!("encoding=proto&base64=1&message={}&connect=v1", URL_SAFE_NO_PAD.encode(&message)),
                format!("encoding=proto&base64=1&message={}", URL_SAFE.encode(&message).replace('=', "%3D")),
                format!("encoding=proto&base64=1&message={}", URL_SAFE.encode(&message)),
            ];
            for way in ways {
                prop_assert_eq!(&Query::parse(&way).unwrap().message, &message, "{}", way);
            }
        }

        #[test]
        fn no_query_panics(query in "\\PC{0,60}", pairs in "(connect|encoding|message|base64|compression|[&=%+1-9A-F]){0,12}") {
            let _ = (Query::parse(&query), Query::parse(&pairs));
        }
    }
}
