//! What names a person: contact, address text, notes; and the entries of the bucket `personal` that hold them.
//!
//! The bridge writes the bucket for creates over HTTP. Who creates orders over NATS writes it too, in this shape: the key
//! is the order's id, the value JSON,
//!
//! ```json
//! {"by": "shop-import-17", "settled": true,
//!  "contact": {"name": "…", "phone": "…"}, "address": "…", "notes": "…"}
//! ```
//!
//! `by` names the create that the data came with: over HTTP the id of its idempotency key (32 hex digits), over NATS any
//! text of the publisher's. `settled` says that this create was accepted; what isn't settled is shown to nobody, so a
//! publisher writes the entry when it has heard the outcome, or writes it unsettled before and settled afterwards. An entry
//! in another shape is taken as none.

use super::{FieldError, command::MAX_TEXT, parse_json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Personal data as a create brings it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Personal {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<Contact>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub notes: Option<String>,
}

/// Whom the rider calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub phone: Option<String>,
}

impl Personal {
    /// Takes the personal members out of a create's body or of an entry and checks them.
    pub fn take(body: &mut Map<String, Value>) -> Result<Self, FieldError> {
        let contact = match body.remove("contact") {
            None | Some(Value::Null) => None,
            Some(Value::Object(mut members)) => {
                let name = text("contact.name", members.remove("name"))?;
                let phone = text("contact.phone", members.remove("phone"))?;
                if let Some(unknown) = members.keys().next() {
                    return Err(FieldError::new(format!("contact.{unknown}"), "a contact has name and phone"));
                }
                Some(Contact { name, phone })
            }
            Some(_) => return Err(FieldError::new("contact", "must be an object with name and phone")),
        };
        Ok(Self {
            contact,
            address: text("address", body.remove("address"))?,
            notes: text("notes", body.remove("notes"))?,
        })
    }
}

fn text(field: &str, value: Option<Value>) -> Result<Option<String>, FieldError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= MAX_TEXT => Ok(Some(text)),
        Some(_) => Err(FieldError::new(field, format!("must be text of at most {MAX_TEXT} bytes"))),
    }
}

/// A value of the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The create that brought it, not empty.
    pub by: String,
    /// That create was accepted: the data are the order's.
    pub settled: bool,
    #[serde(flatten)]
    pub data: Personal,
}

impl Entry {
    /// Reads a value, whoever wrote it. Members that it doesn't know are left out: a newer program may write more.
    pub fn parse(payload: &[u8]) -> Result<Self, FieldError> {
        let mut members: Map<String, Value> = parse_json(payload)?;
        let by = text("by", members.remove("by"))?.filter(|by| !by.is_empty());
        let by = by.ok_or_else(|| FieldError::new("by", "must name the create that brought the data"))?;
        let settled = match members.remove("settled") {
            None => false,
            Some(Value::Bool(settled)) => settled,
            Some(_) => return Err(FieldError::new("settled", "must be true or false")),
        };
        Ok(Self { by, settled, data: Personal::take(&mut members)? })
    }
}

/// What accepted edits made of an order's personal data, field by field: the value of `{order}.edited`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edits {
    /// The latest of them, by the id of its idempotency key.
    pub by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Edited<Contact>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Edited<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<Edited<String>>,
}

/// A field, and the order's rev at which it came to be so. Without a value it was erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edited<T> {
    pub rev: u64,
    pub value: Option<T>,
}

impl Edits {
    /// Takes the fields of an edit that are newer than what is here; whether there were any.
    pub fn take(&mut self, by: &str, rev: u64, data: &Personal) -> bool {
        fn newer<T: Clone>(here: &mut Option<Edited<T>>, rev: u64, value: &Option<T>) -> bool {
            let is_new = value.is_some() && here.as_ref().is_none_or(|here| here.rev < rev);
            if is_new {
                *here = Some(Edited { rev, value: value.clone() });
            }
            is_new
        }
        let known = [
            self.contact.as_ref().map(|field| field.rev),
            self.address.as_ref().map(|field| field.rev),
            self.notes.as_ref().map(|field| field.rev),
        ];
        let Personal { contact, address, notes } = data;
        let mut taken = newer(&mut self.contact, rev, contact);
        taken |= newer(&mut self.address, rev, address);
        taken |= newer(&mut self.notes, rev, notes);
        if taken && known.into_iter().flatten().all(|known| known < rev) {
            by.clone_into(&mut self.by);
        }
        taken
    }

    /// The data after these edits.
    #[must_use]
    pub fn over(self, created: Personal) -> Personal {
        Personal {
            contact: self.contact.map_or(created.contact, |field| field.value),
            address: self.address.map_or(created.address, |field| field.value),
            notes: self.notes.map_or(created.notes, |field| field.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bad_members_are_named() {
        let take = |body: Value| Personal::take(body.as_object().cloned().as_mut().unwrap()).unwrap_err().field;
        assert_eq!(take(json!({"contact": {"phone": 1}})), "contact.phone");
        assert_eq!(take(json!({"contact": {"mail": "x"}})), "contact.mail");
        assert_eq!(take(json!({"notes": "x".repeat(501)})), "notes");
    }

    #[test]
    fn entries_are_read_as_they_are_documented() {
        let text = json!({"by": "shop-1", "settled": true, "contact": {"name": "W", "phone": "1"}, "address": "A"});
        let entry = Entry::parse(text.to_string().as_bytes()).unwrap();
        assert_eq!((entry.by.as_str(), entry.settled, entry.data.address.as_deref()), ("shop-1", true, Some("A")));
        assert_eq!(serde_json::to_value(&entry).unwrap(), text);
        assert!(!Entry::parse(br#"{"by":"x","later":1}"#).unwrap().settled);
        for (text, field) in [
            ("", "payload"),
            ("[]", "payload"),
            (r#"{"address":"A"}"#, "by"),
            (r#"{"by":""}"#, "by"),
            (r#"{"by":"x","settled":1}"#, "settled"),
            (r#"{"by":"x","address":5}"#, "address"),
        ] {
            assert_eq!(Entry::parse(text.as_bytes()).unwrap_err().field, field, "{text}");
        }
    }
}
