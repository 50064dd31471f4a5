//! What a listing's `filter` says: `field op value`, joined by ` AND `, a part of AIP-160.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::image::manifest::Manifest;

/// Characters of a filter at most.
const MAX_LEN: usize = 2048;

/// Conditions of a filter at most.
const MAX_CONDITIONS: usize = 32;

/// The fields, for an error.
const FIELDS: &str = "name, media_type, display_name, labels.KEY, size_bytes, width, height, create_time, update_time";

/// Conditions that must all hold; none lets every image through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Text(Text, TextOp, String),
    Number(Number, Comparison, u64),
    Time(Time, Comparison, DateTime<Utc>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    Name,
    MediaType,
    DisplayName,
    Label(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Size,
    Width,
    Height,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    Create,
    Update,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextOp {
    Equals,
    Differs,
    Contains,
}

/// Which orderings a comparison lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Is(Ordering),
    IsNot(Ordering),
}

impl Filter {
    /// Reads a filter. Values are bare words or in double quotes, where `\` takes the next character as it is.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`](crate::error::Reason::InvalidRequest) about `filter`: which character, and what to write.
    pub fn parse(filter: &str) -> Result<Self> {
        if filter.chars().count() > MAX_LEN {
            return Err(Error::invalid("filter", format!("filter has more than {MAX_LEN} characters: ask for less")));
        }
        let mut parser = Parser { text: filter, at: 0 };
        let mut conditions = Vec::new();
        parser.spaces();
        while !parser.rest().is_empty() {
            if !conditions.is_empty() {
                parser.and()?;
            }
            if conditions.len() == MAX_CONDITIONS {
                return Err(parser.error(format!("these are more than {MAX_CONDITIONS} conditions: ask for less")));
            }
            conditions.push(parser.condition()?);
            parser.spaces();
        }
        Ok(Self { conditions })
    }

    /// Whether all conditions hold for an image.
    pub fn matches(&self, image: &Manifest) -> bool {
        self.conditions.iter().all(|condition| condition.holds(image))
    }
}

impl Condition {
    fn holds(&self, image: &Manifest) -> bool {
        match self {
            Self::Text(field, op, value) => op.holds(field, value, image),
            Self::Number(field, op, value) => op.holds(field.of(image).cmp(value)),
            Self::Time(field, op, value) => op.holds(field.of(image).cmp(value)),
        }
    }
}

impl TextOp {
    /// An image without the label differs from every value of it, and contains none.
    fn holds(self, field: &Text, value: &str, image: &Manifest) -> bool {
        let equal = || match field {
            // The id follows; comparing in two parts needs no copy.
            Text::Name => value.strip_prefix("images/") == Some(image.id.as_str()),
            // Media types are the same in any case (RFC 9110 section 8.3.1).
            Text::MediaType => image.format.media_type().eq_ignore_ascii_case(value),
            Text::DisplayName => image.display_name == value,
            Text::Label(key) => image.labels.get(key).is_some_and(|label| label == value),
        };
        match (self, field) {
            (Self::Equals, _) => equal(),
            (Self::Differs, _) => !equal(),
            (Self::Contains, Text::Name) => image.id.name().contains(value),
            (Self::Contains, Text::MediaType) => image.format.media_type().contains(&value.to_ascii_lowercase()),
            (Self::Contains, Text::DisplayName) => image.display_name.contains(value),
            (Self::Contains, Text::Label(key)) => image.labels.get(key).is_some_and(|label| label.contains(value)),
        }
    }
}

impl Comparison {
    fn holds(self, found: Ordering) -> bool {
        match self {
            Self::Is(ordering) => found == ordering,
            Self::IsNot(ordering) => found != ordering,
        }
    }
}

impl Number {
    fn of(self, image: &Manifest) -> u64 {
        match self {
            Self::Size => image.size,
            Self::Width => image.width.into(),
            Self::Height => image.height.into(),
        }
    }
}

impl Time {
    fn of(self, image: &Manifest) -> DateTime<Utc> {
        match self {
            Self::Create => image.create_time,
            Self::Update => image.update_time,
        }
    }
}

/// A filter, and how far it has been read.
struct Parser<'a> {
    text: &'a str,
    /// Bytes; always between two characters.
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Takes characters as long as they fit.
    fn take(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn spaces(&mut self) {
        self.take(char::is_whitespace);
    }

    /// An error about the place reached.
    fn error(&self, why: impl std::fmt::Display) -> Error {
        let character = self.text[..self.at].chars().count() + 1;
        Error::invalid("filter", format!("filter, at character {character}: {why}"))
    }

    /// What joins two conditions.
    fn and(&mut self) -> Result<()> {
        let before = self.at;
        match self.take(|c| !c.is_whitespace()) {
            "AND" => {
                self.spaces();
                Ok(())
            }
            found => {
                self.at = before;
                let found: String = found.chars().take(40).collect();
                Err(self.error(format!(
                    "`{}` is in the place of AND: conditions are joined by AND in capitals, \
                     and values with spaces stand in double quotes",
                    found.escape_debug()
                )))
            }
        }
    }

    fn condition(&mut self) -> Result<Condition> {
        let start = self.at;
        let field = self.take(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        self.spaces();
        let op_at = self.at;
        let op = self.take(|c| matches!(c, '=' | '!' | '<' | '>' | ':'));
        if field.is_empty() || op.is_empty() {
            self.at = if field.is_empty() { start } else { op_at };
            return Err(self.error("a condition is FIELD OPERATOR VALUE, such as media_type = \"image/png\""));
        }
        self.spaces();
        let value_at = self.at;
        let value = self.value()?;
        let end = self.at;
        let text = |field| Condition::Text(field, TextOp::Equals, String::new());
        let number = |field| Condition::Number(field, Comparison::Is(Ordering::Equal), 0);
        let time = |field| Condition::Time(field, Comparison::Is(Ordering::Equal), DateTime::UNIX_EPOCH);
        let mut condition = match field {
            "name" => text(Text::Name),
            "media_type" => text(Text::MediaType),
            "display_name" => text(Text::DisplayName),
            "size_bytes" => number(Number::Size),
            "width" => number(Number::Width),
            "height" => number(Number::Height),
            "create_time" => time(Time::Create),
            "update_time" => time(Time::Update),
            _ => match field.strip_prefix("labels.").filter(|key| !key.is_empty()) {
                Some(key) => text(Text::Label(key.to_owned())),
                None => {
                    self.at = start;
                    let field: String = field.chars().take(100).collect();
                    return Err(self.error(format!("there is no field `{field}`: the fields are {FIELDS}")));
                }
            },
        };
        self.at = op_at;
        match &mut condition {
            Condition::Text(_, slot, _) => *slot = self.text_op(field, op)?,
            Condition::Number(_, slot, _) | Condition::Time(_, slot, _) => *slot = self.comparison(field, op)?,
        }
        self.at = value_at;
        match &mut condition {
            Condition::Text(Text::Name, TextOp::Equals | TextOp::Differs, _) if !value.starts_with("images/") => {
                return Err(self.error("a name is images/ID, such as name = \"images/cat.jpg\""));
            }
            Condition::Text(_, _, slot) => *slot = value,
            Condition::Number(_, _, slot) => {
                *slot = value.parse().map_err(|_| self.error(format!("{field} is a whole number, such as 1000000")))?;
            }
            Condition::Time(_, _, slot) => {
                let time = DateTime::parse_from_rfc3339(&value);
                let why = format!("{field} is a time of RFC 3339, such as 2026-01-31T12:00:00Z");
                *slot = time.map_err(|_| self.error(why))?.with_timezone(&Utc);
            }
        }
        self.at = end;
        Ok(condition)
    }

    fn text_op(&self, field: &str, op: &str) -> Result<TextOp> {
        match op {
            "=" => Ok(TextOp::Equals),
            "!=" => Ok(TextOp::Differs),
            ":" => Ok(TextOp::Contains),
            _ => Err(self.error(format!("`{op}` does not fit {field}: write = or != or : (contains)"))),
        }
    }

    fn comparison(&self, field: &str, op: &str) -> Result<Comparison> {
        match op {
            "=" => Ok(Comparison::Is(Ordering::Equal)),
            "!=" => Ok(Comparison::IsNot(Ordering::Equal)),
            "<" => Ok(Comparison::Is(Ordering::Less)),
            "<=" => Ok(Comparison::IsNot(Ordering::Greater)),
            ">" => Ok(Comparison::Is(Ordering::Greater)),
            ">=" => Ok(Comparison::IsNot(Ordering::Less)),
            _ => Err(self.error(format!("`{op}` does not fit {field}: write = != < <= > or >="))),
        }
    }

    /// A bare word, or a quoted text with its escapes undone.
    fn value(&mut self) -> Result<String> {
        let start = self.at;
        let Some(quoted) = self.rest().strip_prefix('"') else {
            let word = self.take(|c| !c.is_whitespace());
            if word.is_empty() || word.starts_with('\'') || word.contains(['"', '(', ')']) {
                self.at = start;
                return Err(self.error("the value is missing or has quotes or brackets in it: write \"…\" around it"));
            }
            return Ok(word.to_owned());
        };
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        while let Some((index, character)) = characters.next() {
            match character {
                '"' => {
                    self.at = start + 1 + index + 1;
                    return Ok(value);
                }
                '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                character => value.push(character),
            }
        }
        Err(self.error("the quotes are not closed"))
    }
}
