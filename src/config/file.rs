//! The file of `--config`: a flat TOML table whose keys are the flags' names.

use super::{ConfigError, Value};

/// What a key's value may be in TOML, beside text.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Integer,
    /// `true` and `false` as these texts; the empty one as if the key were not there.
    Boolean(&'static str, &'static str),
    List,
}

const KEYS: [(&str, Kind); 10] = [
    ("listen", Kind::Text),
    ("store", Kind::Text),
    ("max-image-size", Kind::Integer),
    ("fsync", Kind::Boolean("on", "off")),
    ("cors-origin", Kind::List),
    ("allow-anonymous", Kind::Boolean("write", "")),
    ("reflection", Kind::Boolean("on", "off")),
    ("tls-cert", Kind::Text),
    ("tls-key", Kind::Text),
    ("tls-client-ca", Kind::Text),
];

/// A file's values as the text that their flags would have.
pub(super) struct File {
    path: String,
    values: Vec<(&'static str, String)>,
}

impl File {
    pub(super) fn read(path: &Value) -> Result<Self, ConfigError> {
        let text =
            path.parse(|path| std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}")))?;
        let table = path.parse(|_| text.parse::<toml::Table>().map_err(|error| one_line(&error)))?;
        let path = path.text.clone();
        let mut values = Vec::new();
        for (key, value) in table {
            let Some((key, kind)) = KEYS.into_iter().find(|(known, _)| *known == key) else {
                let known = KEYS.map(|(key, _)| key).join(", ");
                return Err(ConfigError(format!(
                    "`{}` in {path} is no key known here: {known} are",
                    key.escape_debug()
                )));
            };
            let text = text_of(kind, &value).map_err(|wanted| {
                ConfigError(format!("`{key}` in {path}: {value} is of the wrong type: write {wanted}"))
            })?;
            if !text.is_empty() {
                values.push((key, text));
            }
        }
        Ok(Self { path, values })
    }

    pub(super) fn get(&self, key: &str) -> Option<Value> {
        let (key, text) = self.values.iter().find(|(known, _)| *known == key)?;
        Some(Value { text: text.clone(), origin: format!("`{key}` in {}", self.path) })
    }
}

/// Where and what, without the picture of the line that the error draws.
fn one_line(error: &toml::de::Error) -> String {
    let place = error.to_string();
    let place = place.lines().next().unwrap_or("TOML parse error").to_owned();
    format!("cannot be used: {place}: {}; mend that line", error.message())
}

/// The value as text, or what it should have been.
fn text_of(kind: Kind, value: &toml::Value) -> Result<String, &'static str> {
    match (kind, value) {
        (_, toml::Value::String(text)) => Ok(text.clone()),
        (Kind::Integer, toml::Value::Integer(number)) => Ok(number.to_string()),
        (Kind::Boolean(yes, no), toml::Value::Boolean(value)) => Ok(if *value { yes } else { no }.to_owned()),
        (Kind::List, toml::Value::Array(items)) => {
            let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            items.map(|items| items.join(",")).ok_or("a list of texts")
        }
        (Kind::Text, _) => Err("text in quotes"),
        (Kind::Integer, _) => Err("a number of bytes, or text such as \"1GiB\""),
        (Kind::Boolean(..), _) => Err("true, false or text in quotes"),
        (Kind::List, _) => Err("a list of texts"),
    }
}
