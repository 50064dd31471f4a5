//! An image's id: the only text of a client's that becomes part of a storage key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// `[A-Za-z0-9][A-Za-z0-9._-]{0,127}` without `..`: safe as a path segment, a file name and a storage key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId(String);

/// Longest id, in characters.
pub const MAX_LEN: usize = 128;

/// The rule, in words for people.
const RULE: &str =
    "an id is 1 to 128 of the characters A-Z a-z 0-9 . _ -, begins with a letter or digit and has no `..`";

impl ImageId {
    /// Makes an id that nobody has chosen, nor will.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }

    /// The id in the resource name `images/{id}`. `field` is the request's field, for the error.
    pub fn from_name(name: &str, field: &str) -> Result<Self> {
        let id = name.strip_prefix("images/").ok_or_else(|| {
            Error::invalid(field, format!("`{}` is not the name of an image: write images/ID", name.escape_default()))
        })?;
        id.parse().map_err(|InvalidId| invalid(id, field))
    }

    /// The id itself, where a request gives it alone. `field` is the request's field, for the error.
    pub fn from_field(id: &str, field: &str) -> Result<Self> {
        id.parse().map_err(|InvalidId| invalid(id, field))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The resource name, `images/{id}`.
    pub fn name(&self) -> String {
        ["images/", &self.0].concat()
    }
}

fn invalid(id: &str, field: &str) -> Error {
    let shown: String = id.chars().take(MAX_LEN).collect();
    Error::invalid(field, format!("`{}` is not an id: {RULE}", shown.escape_default()))
}

/// The text is no id.
#[derive(Debug, thiserror::Error)]
#[error("{RULE}")]
pub struct InvalidId;

impl FromStr for ImageId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if first && rest && text.len() <= MAX_LEN && !text.contains("..") {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId)
        }
    }
}

impl TryFrom<String> for ImageId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<ImageId> for String {
    fn from(id: ImageId) -> Self {
        id.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::ImageId;

    #[test]
    fn ids_are_safe_as_keys_and_file_names() {
        for good in ["a", "A.b_c-9", "0", &"x".repeat(128)] {
            assert!(good.parse::<ImageId>().is_ok(), "{good}");
        }
        for bad in
            ["", ".", "..", "a..b", ".a", "-a", "a/b", "a\\b", "a\0b", "a b", "ä", "a:b", "a%2Fb", &"x".repeat(129)]
        {
            assert!(bad.parse::<ImageId>().is_err(), "{bad:?}");
        }
    }
}
