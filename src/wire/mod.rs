//! The public contract: subjects, headers and JSON shapes, printed and parsed in this folder and nowhere else.

pub mod access;
pub mod alert;
pub mod answer;
pub mod area;
pub mod blob;
pub mod board;
pub mod client;
pub mod command;
pub mod control;
pub mod doc;
pub mod figures;
pub mod fix;
pub mod gpx;
pub mod header;
pub mod life;
pub mod log;
pub mod logfile;
pub mod merge;
pub mod outlook;
pub mod personal;
pub mod problem;
pub mod query;
pub mod replay;
pub mod route;
pub mod schema;
pub mod screens;
pub mod subject;
#[cfg(test)]
mod tests;
pub mod topic;
pub mod track;
pub mod tracking;
pub mod update;
pub mod view;
pub mod whole;

/// A payload that doesn't fit: which field, and why. Becomes a problem over HTTP and a dead letter over NATS.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// Path of the field, as `warehouse.lat` or `fixes[3].lat`; `payload` where the JSON itself is broken.
    pub field: String,
    pub reason: String,
}

/// Longest text of an error, in bytes: what it quotes is the sender's, and it ends in headers and answers.
const MAX_ERROR_TEXT: usize = 300;

impl FieldError {
    /// A field that doesn't fit. Quoted input may be long or hold line breaks, which no header can carry.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: one_line(field.into()), reason: one_line(reason.into()) }
    }

    /// The same error, seen from the object that holds `parent`.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn one_line(mut text: String) -> String {
    if text.len() > MAX_ERROR_TEXT {
        text.truncate(text.floor_char_boundary(MAX_ERROR_TEXT));
        text.push('…');
    }
    if text.contains(char::is_control) { text.replace(char::is_control, " ") } else { text }
}

/// Parses a JSON object into `T`; an error becomes a [`FieldError`] with the field's whole path, as `fixes[3].lat`.
pub fn parse_json<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, FieldError> {
    // serde would take a list for a struct, field by field: `[]` for a command without content.
    if payload.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(FieldError::new("payload", "must be a JSON object"));
    }
    // The path costs time; only what failed pays for it.
    serde_json::from_slice(payload).map_err(|_| {
        let mut json = serde_json::Deserializer::from_slice(payload);
        match serde_path_to_error::deserialize::<_, T>(&mut json) {
            Ok(_) => FieldError::new("payload", "something follows the JSON value"),
            Err(error) => {
                let (path, inner) = (error.path().to_string(), error.into_inner());
                field_error(&path, &inner)
            }
        }
    })
}

/// For structs inside a payload: an object and nothing else. serde would take `[121.4, 31.2]` for a position too, and read
/// GeoJSON's longitude as a latitude.
mod object {
    use serde::de::{Deserialize, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
    use std::{fmt, marker::PhantomData};

    struct Object<T>(T);

    impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Members<T>(PhantomData<T>);
            impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
                type Value = Object<T>;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                    T::deserialize(MapAccessDeserializer::new(map)).map(Object)
                }
            }
            deserializer.deserialize_map(Members(PhantomData))
        }
    }

    pub(super) fn one<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<T, D::Error> {
        Object::deserialize(from).map(|Object(it)| it)
    }

    pub(super) fn maybe<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
        Ok(Option::deserialize(from)?.map(|Object(it)| it))
    }

    pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
        Ok(Vec::deserialize(from)?.into_iter().map(|Object(it)| it).collect())
    }
}

/// serde's path ends at the object where a field is missing or stands twice; the field's name stands in the text, between backticks.
fn field_error(path: &str, error: &serde_json::Error) -> FieldError {
    let text = error.to_string();
    let parent = if path == "." { "" } else { path };
    let named = text.strip_prefix("missing field `").or_else(|| text.strip_prefix("duplicate field `"));
    let named = named.and_then(|rest| rest.split('`').next());
    let field = match named {
        _ if error.is_syntax() || error.is_eof() => "payload".to_owned(),
        Some(name) if parent.is_empty() => name.to_owned(),
        Some(name) => format!("{parent}.{name}"),
        None if parent.is_empty() => "payload".to_owned(),
        None => parent.to_owned(),
    };
    FieldError::new(field, text)
}
