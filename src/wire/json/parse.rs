//! JSON text to a value, strictly: no name twice in one object, and nesting bounded.

use std::cell::RefCell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::Path;
use crate::error::{Error, Result};

/// Parses a JSON text; `root` is where it lies in the request, for errors. serde_json bounds its nesting (128), so that hostile input cannot exhaust the stack.
///
/// # Errors
/// What is no JSON, with line and column; a name that is twice in one object, with its path.
pub fn parse(text: &[u8], root: &str) -> Result<Value> {
    let twice = RefCell::new(None);
    let mut json = serde_json::Deserializer::from_slice(text);
    let parsed = Strict { path: &Path::Root(root), twice: &twice }.deserialize(&mut json);
    match parsed.and_then(|value| json.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(error) => Err(match twice.take() {
            Some(path) => {
                let message = format!("`{}` is given twice", path.escape_default());
                Error::invalid(path, message)
            }
            None => Error::invalid("", format!("this is not JSON: {error}")),
        }),
    }
}

/// A value of which every object has each name once.
struct Strict<'a> {
    path: &'a Path<'a>,
    twice: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        let twice = self.twice;
        while let Some(item) = items.next_element_seed(Strict { path: &Path::Item(self.path, list.len()), twice })? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        let twice = self.twice;
        while let Some(name) = entries.next_key::<String>()? {
            let path = Path::Field(self.path, &name);
            if object.contains_key(&name) {
                *twice.borrow_mut() = Some(path.to_string());
                return Err(A::Error::custom("a name given twice"));
            }
            let value = entries.next_value_seed(Strict { path: &path, twice })?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parse;

    proptest! {
        #[test]
        fn a_number_is_the_nearest_there_is(number in any::<f64>().prop_filter("JSON has it", |number| number.is_finite())) {
            let parsed = parse(format!("{number:e}").as_bytes(), "").unwrap();
            prop_assert_eq!(parsed.as_f64(), Some(number));
        }
    }
}
