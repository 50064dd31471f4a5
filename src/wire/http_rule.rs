//! `google.api.http` rules: path templates and what they bind, queries and what they bind.
//!
//! The normative text is the comment of `google/api/http.proto`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::method::{Body, Cardinality, Field, FieldKind, HttpRule, Message, Method, WellKnown};
use crate::error::{Error, Result};

/// A parsed path template, such as `/v1/{name=images/*}:download`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    segments: Vec<Segment>,
    variables: Vec<Capture>,
    verb: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// `*`: one segment.
    One,
    /// `**`: any number, only at the end.
    Rest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Capture {
    /// `image.name`.
    field: String,
    /// The segments it covers.
    start: usize,
    end: usize,
}

/// A wildcard of a template under a name, as other languages of templates want it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name: of `images/*` the singular `image`.
    pub name: String,
    /// The field whose value it is a part of; empty for none.
    pub field: String,
    /// Whether it takes any number of segments.
    pub open_end: bool,
}

/// What a path gave: field paths and their values, decoded.
pub type Bindings = Vec<(String, String)>;

impl Template {
    /// Parses `"/" Segments [ Verb ]`. The error says what is wrong with the template.
    pub fn parse(template: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("path template `{template}`: {what}");
        let rest = template.strip_prefix('/').ok_or_else(|| wrong("it must begin with `/`"))?;
        let mut parsed = Self { segments: Vec::new(), variables: Vec::new(), verb: None };
        let (path, verb) = match rest.rfind(':') {
            Some(colon) if rest.rfind(['}', '/']).is_none_or(|end| end < colon) => {
                (&rest[..colon], Some(rest[colon + 1..].to_owned()))
            }
            _ => (rest, None),
        };
        parsed.verb = verb;
        let mut path = path;
        loop {
            if let Some(variable) = path.strip_prefix('{') {
                let close = variable.find('}').ok_or_else(|| wrong("`{` without `}`"))?;
                let (field, pattern) = variable[..close].split_once('=').unwrap_or((&variable[..close], "*"));
                let start = parsed.segments.len();
                for segment in pattern.split('/') {
                    parsed.segments.push(Segment::parse(segment).ok_or_else(|| wrong("a bad segment"))?);
                }
                parsed.variables.push(Capture { field: field.to_owned(), start, end: parsed.segments.len() });
                path = &variable[close + 1..];
            } else {
                let end = path.find('/').unwrap_or(path.len());
                parsed.segments.push(Segment::parse(&path[..end]).ok_or_else(|| wrong("a bad segment"))?);
                path = &path[end..];
            }
            match path.strip_prefix('/') {
                Some(next) => path = next,
                None if path.is_empty() => break,
                None => return Err(wrong("segments are separated by `/`")),
            }
        }
        let rest = parsed.segments.iter().position(|segment| *segment == Segment::Rest);
        if rest.is_some_and(|at| at + 1 != parsed.segments.len()) {
            return Err(wrong("`**` must be the last segment"));
        }
        Ok(parsed)
    }

    /// Whether it ends in a verb, such as `:download`.
    pub fn has_verb(&self) -> bool {
        self.verb.is_some()
    }

    /// What the path binds, or `None` when it does not match.
    ///
    /// A verb is split off the raw path, so that an encoded colon in an id is no verb. Single segments are decoded
    /// whole; in values of several segments `%2F` stays.
    pub fn matches(&self, path: &str) -> Option<Result<Bindings>> {
        let path = path.strip_prefix('/')?;
        let path = match &self.verb {
            Some(verb) => path.strip_suffix(verb.as_str())?.strip_suffix(':')?,
            None => path,
        };
        let parts: Vec<&str> = path.split('/').collect();
        let open_end = self.segments.last() == Some(&Segment::Rest);
        let fixed = self.segments.len() - usize::from(open_end);
        if parts.len() < fixed || (!open_end && parts.len() > fixed) {
            return None;
        }
        for (segment, part) in self.segments.iter().zip(&parts) {
            match segment {
                Segment::Literal(literal) if literal != part => return None,
                Segment::One if part.is_empty() => return None,
                _ => {}
            }
        }
        Some(self.variables.iter().map(|variable| self.bind(variable, &parts)).collect())
    }

    fn bind(&self, variable: &Capture, parts: &[&str]) -> Result<(String, String)> {
        let covers_rest = self.segments[variable.start..variable.end].contains(&Segment::Rest);
        let end = if covers_rest { parts.len() } else { variable.end };
        let covered = parts.get(variable.start..end).unwrap_or_default();
        let single = variable.end - variable.start == 1 && !covers_rest;
        let decoded = covered.iter().map(|part| decode(part, !single)).collect::<Result<Vec<_>>>()?;
        Ok((variable.field.clone(), decoded.join("/")))
    }

    /// The path with a name for each wildcard, such as `/v1/images/{image}:download`, and the wildcards.
    pub fn named(&self) -> (String, Vec<Variable>) {
        let mut path = String::new();
        let mut named = Vec::new();
        for (at, segment) in self.segments.iter().enumerate() {
            path.push('/');
            let open_end = *segment == Segment::Rest;
            if let Segment::Literal(literal) = segment {
                path.push_str(literal);
                continue;
            }
            let capture = self.variables.iter().find(|capture| (capture.start..capture.end).contains(&at));
            let before = at.checked_sub(1).and_then(|before| self.segments.get(before));
            let name = match (capture, before) {
                (Some(capture), _) if capture.end - capture.start == 1 => capture.field.clone(),
                (_, Some(Segment::Literal(collection))) => {
                    collection.strip_suffix('s').unwrap_or(collection).to_owned()
                }
                _ => format!("segment{at}"),
            };
            path.push_str(&format!("{{{name}}}"));
            let field = capture.map(|capture| capture.field.clone()).unwrap_or_default();
            named.push(Variable { name, field, open_end });
        }
        if let Some(verb) = &self.verb {
            path.push(':');
            path.push_str(verb);
        }
        (path, named)
    }

    /// Sorts the template that says most first: a verb, then literals.
    pub fn precedence(&self) -> impl Ord + use<> {
        let literals = self.segments.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count();
        let open_end = self.segments.last() == Some(&Segment::Rest);
        (self.verb.is_none(), open_end, std::cmp::Reverse(literals))
    }
}

impl Segment {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => Some(Self::One),
            "**" => Some(Self::Rest),
            "" => None,
            literal if literal.contains(['{', '}', '*']) => None,
            literal => Some(Self::Literal(literal.to_owned())),
        }
    }
}

/// Decodes percent-encoding strictly. `keep_slash` leaves `%2F` as it is.
fn decode(text: &str, keep_slash: bool) -> Result<String> {
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('%') {
        let digits = bytes.get(at + 1..at + 3).unwrap_or_default();
        if digits.len() != 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            let shown = text.escape_default();
            return Err(Error::invalid(
                "",
                format!("`{shown}` has a % that no two hexadecimal digits follow: write %25"),
            ));
        }
    }
    let kept: Cow<'_, str> =
        if keep_slash { text.replace("%2F", "%252F").replace("%2f", "%252F").into() } else { text.into() };
    let decoded = percent_decode_str(&kept).decode_utf8();
    let decoded =
        decoded.map_err(|_| Error::invalid("", format!("`{}` is not UTF-8 once decoded", text.escape_default())))?;
    Ok(decoded.into_owned())
}

/// Holds a rule against the messages of its method: what it names is there, and of a kind that may stand there.
///
/// # Errors
/// What is wrong with the rule, for whoever wrote the proto.
pub fn check(rule: &HttpRule, template: &Template, method: &Method) -> Result<(), String> {
    let wrong = |what: String| Err(format!("{} {} of {}: {what}", rule.method, rule.template, method.path));
    for Capture { field, .. } in &template.variables {
        let bound = slot(&mut Map::new(), method.input, field).map(|slot| (slot.cardinality, slot.field.kind));
        match bound {
            Err(error) => return wrong(error.to_string()),
            Ok((Cardinality::Singular, kind)) if text_kind(kind).is_some() => {}
            Ok(_) => return wrong(format!("`{field}` is repeated or a message, which no path holds")),
        }
    }
    if let Body::Field(name) = rule.body
        && method.input.field(name).is_none()
    {
        return wrong(format!("{} has no field `{name}` for the body", method.input.name));
    }
    match rule.response_body {
        Some(name) if method.output.field(name).is_none() => {
            wrong(format!("{} has no field `{name}` for the answer's body", method.output.name))
        }
        _ => Ok(()),
    }
}

/// Adds the path's values to the request.
///
/// # Errors
/// A value that its field does not take, by the field's path.
pub fn bind_path(request: &mut Map<String, Value>, schema: &'static Message, bindings: &Bindings) -> Result<()> {
    for (field, text) in bindings {
        let slot = slot(request, schema, field)?;
        let value = scalar(slot.field.kind, text, field)?;
        slot.parent.insert(slot.field.json_name.to_owned(), value);
    }
    Ok(())
}

/// Adds a query string's parameters to the request: `a.b=1&c=x&c=y`.
///
/// `bound` tells fields that path or body have given; those are refused here.
pub fn bind_query(
    request: &mut Map<String, Value>,
    schema: &'static Message,
    query: &str,
    bound: impl Fn(&str) -> bool,
) -> Result<()> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(&name.replace('+', " "), false)?;
        let text = decode(&text.replace('+', " "), false)?;
        let slot = slot(request, schema, &name)?;
        let shown = name.escape_default();
        if bound(&slot.path.join(".")) {
            let message = format!("`{shown}` is given by the path or the body already");
            return Err(Error::invalid(name, message));
        }
        if matches!(slot.cardinality, Cardinality::Map(_)) {
            let message = format!("`{shown}` is a map: a query has none");
            return Err(Error::invalid(name, message));
        }
        let value = scalar(slot.field.kind, &text, &name)?;
        match slot.cardinality {
            Cardinality::Repeated => {
                let list = slot.parent.entry(slot.field.json_name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    list.push(value);
                }
            }
            _ => {
                if slot.parent.insert(slot.field.json_name.to_owned(), value).is_some() {
                    let message = format!("`{shown}` may be given only once");
                    return Err(Error::invalid(name, message));
                }
            }
        }
    }
    Ok(())
}

/// Where a field path leads.
struct Slot<'a> {
    parent: &'a mut Map<String, Value>,
    /// The last field.
    field: &'static Field,
    /// Proto names from the top.
    path: Vec<&'static str>,
    cardinality: Cardinality,
}

/// Walks `a.b.c` through the schema and makes the objects on the way.
fn slot<'a>(request: &'a mut Map<String, Value>, schema: &'static Message, path: &str) -> Result<Slot<'a>> {
    let mut parent = request;
    let mut schema = schema;
    let mut walked = Vec::new();
    let mut names = path.split('.').peekable();
    while let Some(name) = names.next() {
        let Some(field) = schema.field(name) else {
            let known: Vec<&str> = schema.fields.iter().map(|field| field.json_name).collect();
            let shown = path.escape_default();
            let message = format!("there is no field `{shown}`; {} has {}", schema.name, known.join(", "));
            return Err(Error::invalid(path, message));
        };
        walked.push(field.name);
        if names.peek().is_none() {
            return Ok(Slot { parent, field, path: walked, cardinality: field.cardinality });
        }
        let inner = match (field.cardinality, field.kind) {
            (Cardinality::Singular, FieldKind::Message(inner)) if inner.well_known.is_none() => inner,
            (Cardinality::Singular, _) => {
                return Err(Error::invalid(path, format!("`{}` has no fields of its own", field.json_name)));
            }
            _ => {
                let message = format!("`{}` is repeated or a map: a query cannot say which", field.json_name);
                return Err(Error::invalid(path, message));
            }
        };
        let next = parent.entry(field.json_name).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(next) = next else {
            return Err(Error::invalid(path, format!("`{}` is no object", field.json_name)));
        };
        parent = next;
        schema = inner;
    }
    Err(Error::invalid(path, "an empty field name"))
}

/// The kind that a text in a path or query is read as: of a wrapper what it wraps. `None` for what needs a body.
fn text_kind(kind: FieldKind) -> Option<FieldKind> {
    match kind {
        FieldKind::Message(Message { well_known: Some(WellKnown::Wrapper), fields: [field], .. }) => Some(field.kind),
        FieldKind::Message(Message { well_known: Some(well_known), .. }) => {
            let is_text = matches!(well_known, WellKnown::Timestamp | WellKnown::Duration | WellKnown::FieldMask);
            is_text.then_some(FieldKind::String)
        }
        FieldKind::Message(_) => None,
        kind => Some(kind),
    }
}

/// Whether a query can hold a value of this kind.
pub fn in_query(kind: FieldKind) -> bool {
    text_kind(kind).is_some()
}

/// The JSON of a value that came as text. Whether it fits its type is for the reader of JSON to say.
fn scalar(kind: FieldKind, text: &str, field: &str) -> Result<Value> {
    let must = |what: String| Err(Error::invalid(field, format!("`{}` must be {what}", field.escape_default())));
    match (text_kind(kind), kind) {
        (Some(FieldKind::Bool), _) => match text {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            _ => must(format!("true or false, not `{}`", text.escape_default())),
        },
        (Some(FieldKind::Enum(declared)), _) => Ok(match text.parse::<i32>() {
            Ok(number) => number.into(),
            Err(_) if declared.is_null_value() => Value::Null,
            Err(_) => text.into(),
        }),
        (Some(_), _) => Ok(text.into()),
        (None, FieldKind::Message(message)) if message.well_known.is_none() => {
            must(format!("a {}, whose fields a query gives one by one", message.name))
        }
        (None, _) => must("in the body: a query cannot hold it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::{Template, bind_query};
    use crate::proto::wirephoto::v1::table;

    fn bound(template: &str, path: &str) -> Option<String> {
        let bindings = Template::parse(template).unwrap().matches(path)?;
        Some(match bindings {
            Ok(bindings) => bindings.iter().map(|(field, value)| format!("{field}={value};")).collect(),
            Err(error) => format!("error: {error}"),
        })
    }

    #[test]
    fn paths_bind_variables() {
        let cases = [
            ("/v1/images", "/v1/images", Some("")),
            ("/v1/images", "/v1/images/", None),
            ("/v1/{name=images/*}", "/v1/images/cat", Some("name=images/cat;")),
            ("/v1/{name=images/*}", "/v1/images/", None),
            ("/v1/{name=images/*}", "/v1/images/a/b", None),
            ("/v1/{name=images/*}", "/v1/images/a%2Fb", Some("name=images/a%2Fb;")),
            ("/v1/{name=images/*}", "/v1/images/a%20b", Some("name=images/a b;")),
            ("/v1/{name=images/*}:download", "/v1/images/cat:download", Some("name=images/cat;")),
            ("/v1/{name=images/*}:download", "/v1/images/cat%3Adownload", None),
            ("/v1/{name=images/*}", "/v1/images/cat%3Adownload", Some("name=images/cat:download;")),
            ("/v1/{image.name=images/*}", "/v1/images/cat", Some("image.name=images/cat;")),
            ("/v1/{id}", "/v1/a%2Fb", Some("id=a/b;")),
            ("/v1/{a}/{b}", "/v1/x/y", Some("a=x;b=y;")),
            ("/v1/files/{path=**}", "/v1/files/a/b%2Fc/d", Some("path=a/b%2Fc/d;")),
            ("/v1/files/{path=**}:read", "/v1/files/a/b:read", Some("path=a/b;")),
            ("/v1/files/{path=**}", "/v1/files", Some("path=;")),
            ("/v1/images:batchGet", "/v1/images:batchGet", Some("")),
        ];
        for (template, path, expected) in cases {
            assert_eq!(bound(template, path).as_deref(), expected, "{template} {path}");
        }
    }

    #[test]
    fn bad_encodings_are_errors() {
        for path in ["/v1/%", "/v1/%4", "/v1/%zz", "/v1/%ff"] {
            assert!(bound("/v1/{id}", path).unwrap().starts_with("error"), "{path}");
        }
    }

    #[test]
    fn bad_templates_are_named() {
        for template in ["v1", "/v1//x", "/{a", "/{a=**}/x", "/a*b", "/{a}b"] {
            assert!(Template::parse(template).unwrap_err().contains(template), "{template}");
        }
    }

    fn query(text: &str) -> Result<serde_json::Value, String> {
        let mut request = Map::new();
        bind_query(&mut request, &table::UPLOAD_IMAGE_REQUEST, text, |_| false).map_err(|error| error.to_string())?;
        Ok(request.into())
    }

    #[test]
    fn queries_bind_nested_fields() {
        assert_eq!(
            query("spec.image_id=a+b%21&spec.image.displayName=x&finishWrite=true&write_offset=7").unwrap(),
            json!({"spec": {"imageId": "a b!", "image": {"displayName": "x"}}, "finishWrite": true, "writeOffset": "7"}),
        );
        let wrong = [
            ("nope=1", "no field `nope`"),
            ("spec.nope=1", "no field `spec.nope`"),
            ("spec=1", "one by one"),
            ("finish_write=yes", "true or false"),
            ("write_offset=1&writeOffset=2", "only once"),
            ("spec.image.labels=1", "is a map"),
            ("write_offset.x=1", "no fields of its own"),
            ("write_offset=%zz", "hexadecimal"),
        ];
        for (text, expected) in wrong {
            let error = query(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_path_query_or_template_panics(template in "/[a-z{}=*/:%]{0,30}", path in "\\PC{0,40}", text in "[a-z_.=&%+0-9]{0,60}") {
            if let Ok(template) = Template::parse(&template) {
                let _ = template.matches(&path).map(|bindings| bindings.is_ok());
            }
            let _ = query(&text);
        }
    }
}
