//! What a client may set on an image, and the words for what it may not.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Longest display name and longest value of a label, in characters.
const MAX_TEXT: usize = 256;
/// Most labels of an image.
const MAX_LABELS: usize = 64;
/// Longest key of a label, in characters.
const MAX_KEY: usize = 63;
/// Longest request id, in characters.
const MAX_REQUEST_ID: usize = 128;

pub(super) fn check_display_name(name: &str) -> Result<()> {
    let field = "image.display_name";
    if name.chars().count() > MAX_TEXT {
        return Err(Error::invalid(field, format!("a display name has at most {MAX_TEXT} characters: shorten it")));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid(field, "a display name has no control characters: remove them"));
    }
    Ok(())
}

pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<()> {
    if labels.len() > MAX_LABELS {
        let message = format!("an image has at most {MAX_LABELS} labels, these are {}: remove some", labels.len());
        return Err(Error::invalid("image.labels", message));
    }
    for (key, value) in labels {
        let shown: String = key.chars().take(MAX_KEY).collect();
        let field = format!("image.labels.{}", shown.escape_default());
        if !is_key(key) {
            let message = format!(
                "the key of a label begins with one of a-z and has 1 to {MAX_KEY} of the characters a-z 0-9 _ . -"
            );
            return Err(Error::invalid(field, message));
        }
        if value.chars().count() > MAX_TEXT {
            let message = format!("the value of a label has at most {MAX_TEXT} characters: shorten it");
            return Err(Error::invalid(field, message));
        }
    }
    Ok(())
}

fn is_key(key: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    key.len() <= MAX_KEY && key.starts_with(|first: char| first.is_ascii_lowercase()) && key.bytes().all(rest)
}

pub(super) fn check_request_id(id: &str) -> Result<()> {
    let printable = id.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if id.is_empty() || id.len() > MAX_REQUEST_ID || !printable {
        let message = format!("a request id is 1 to {MAX_REQUEST_ID} printable ASCII characters, such as a UUID");
        return Err(Error::invalid("request_id", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Detail;

    fn field_of(error: &Error) -> &str {
        match &error.details[..] {
            [Detail::BadRequest(fields)] => &fields[0].0,
            details => panic!("{details:?}"),
        }
    }

    fn labels(key: &str, value: &str) -> BTreeMap<String, String> {
        [(key.to_owned(), value.to_owned())].into()
    }

    #[test]
    fn a_label_that_is_refused_is_named() {
        for key in ["a", "team", "a.b_c-9", &"k".repeat(63)] {
            check_labels(&labels(key, "any value, even empty: é")).unwrap();
        }
        for key in ["Team", "", "9a", "a b", "é", &"k".repeat(64)] {
            assert!(check_labels(&labels(key, "")).is_err(), "{key:?}");
        }
        assert_eq!(field_of(&check_labels(&labels("Team", "x")).unwrap_err()), "image.labels.Team");
        assert_eq!(field_of(&check_labels(&labels("team", &"é".repeat(257))).unwrap_err()), "image.labels.team");
        check_labels(&labels("team", &"é".repeat(256))).unwrap();
        let many = (0..65).map(|n| (format!("k{n}"), String::new())).collect();
        assert_eq!(field_of(&check_labels(&many).unwrap_err()), "image.labels");
    }

    #[test]
    fn names_and_request_ids_are_bounded() {
        check_display_name(&"é".repeat(256)).unwrap();
        assert!(check_display_name(&"x".repeat(257)).is_err());
        assert!(check_display_name("two\nlines").is_err());
        check_request_id(&"x".repeat(128)).unwrap();
        for bad in ["", "tab\t", "é", &"x".repeat(129)] {
            assert_eq!(field_of(&check_request_id(bad).unwrap_err()), "request_id");
        }
    }
}
