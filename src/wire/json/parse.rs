//! JSON text to a value, strictly: no name twice in one object, and nesting bounded.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::Path;
use crate::error::{Error, Result};

/// Values in one text, at most: each takes many times its text's bytes, and the largest request that means anything has some
/// thousands.
const MAX_VALUES: usize = 100_000;

/// Parses a JSON text; `root` is where it lies in the request, for errors. serde_json bounds its nesting (128), so that hostile input cannot exhaust the stack.
///
/// # Errors
/// What is no JSON, with line and column; a name that is twice in one object, with its path.
pub fn parse(text: &[u8], root: &str) -> Result<Value> {
    let (twice, values) = (RefCell::new(None), Cell::new(0));
    let mut json = serde_json::Deserializer::from_slice(text);
    let parsed = Strict { path: &Path::Root(root), twice: &twice, values: &values }.deserialize(&mut json);
    match parsed.and_then(|value| json.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(error) => Err(match twice.take() {
            Some(path) => {
                let message = format!("`{}` is given twice", path.escape_default());
                Error::invalid(path, message)
            }
            None if values.get() > MAX_VALUES => {
                Error::invalid("", format!("this JSON has more than {MAX_VALUES} values: send less at once"))
            }
            None => Error::invalid("", format!("this is not JSON: {error}")),
        }),
    }
}

/// A value of which every object has each name once.
struct Strict<'a> {
    path: &'a Path<'a>,
    twice: &'a RefCell<Option<String>>,
    /// How many there were.
    values: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.values.set(self.values.get() + 1);
        if self.values.get() > MAX_VALUES {
            return Err(D::Error::custom("too many values"));
        }
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
        let Self { twice, values, .. } = self;
        loop {
            let path = Path::Item(self.path, list.len());
            let Some(item) = items.next_element_seed(Strict { path: &path, twice, values })? else { break };
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        let Self { twice, values, .. } = self;
        while let Some(name) = entries.next_key::<String>()? {
            let path = Path::Field(self.path, &name);
            if object.contains_key(&name) {
                *twice.borrow_mut() = Some(path.to_string());
                return Err(A::Error::custom("a name given twice"));
            }
            let value = entries.next_value_seed(Strict { path: &path, twice, values })?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MAX_VALUES, parse};

    #[test]
    fn values_are_bounded() {
        let zeros = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        assert!(parse(zeros(MAX_VALUES - 1).as_bytes(), "").is_ok());
        let error = parse(zeros(MAX_VALUES).as_bytes(), "").unwrap_err();
        assert!(error.message.contains("more than 100000 values"), "{error}");
    }

    proptest! {
        #[test]
        fn a_number_is_the_nearest_there_is(number in any::<f64>().prop_filter("JSON has it", |number| number.is_finite())) {
            let parsed = parse(format!("{number:e}").as_bytes(), "").unwrap();
            prop_assert_eq!(parsed.as_f64(), Some(number));
        }
    }
}
