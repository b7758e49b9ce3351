//! JSON of what happens beside the straight way: proof of delivery, missing items, edits, and how the published state
//! tells of them.

use super::{
    FieldError,
    command::{Coordinates, MAX_TEXT, PromiseBody, hex},
};
use crate::{
    domain::{
        UnixMillis,
        order::{Circumstances, Edit, Missing, MissingItem, Proof},
    },
    geo::Datum,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// Longest part of a proof, and longest name of a missing item, in bytes.
pub const MAX_REFERENCE: usize = 200;
/// Most kinds of missing items in one report.
pub const MAX_MISSING: usize = 50;

/// With `deliver` and `delivered`: opaque references, at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProofBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub photo: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub signature: Option<String>,
}

impl ProofBody {
    pub(super) fn proof(self) -> Result<Proof, FieldError> {
        let Self { photo, code, signature } = self;
        let part = |field, text: Option<String>| text.map(|t| reference(field, t)).transpose();
        let proof = Proof {
            photo: part("proof.photo", photo)?,
            code: part("proof.code", code)?,
            signature: part("proof.signature", signature)?,
        };
        if proof == Proof::default() {
            return Err(FieldError::new("proof", "must have a photo, a code or a signature"));
        }
        Ok(proof)
    }
}

/// One kind of missing item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MissingItemBody {
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub name: String,
    #[schema(minimum = 1, maximum = 4_294_967_295_i64, format = Int64)]
    pub count: u32,
}

/// `items`, or a `count` with or without a note.
pub(super) fn missing(
    items: Option<Vec<MissingItemBody>>,
    count: Option<u32>,
    note: Option<String>,
) -> Result<Missing, FieldError> {
    let note = note.map(|text| self::text("note", text)).transpose()?;
    match (items, count) {
        (Some(_), Some(_)) => Err(FieldError::new("count", "is the sum of the items, and not given beside them")),
        (None, None) => Err(FieldError::new("items", "is missing; a count does as well")),
        (None, Some(0)) => Err(FieldError::new("count", "must be at least 1")),
        (None, Some(count)) => Ok(Missing { count, items: Vec::new(), note }),
        (Some(items), None) if (1..=MAX_MISSING).contains(&items.len()) => {
            let mut total: u32 = 0;
            let mut named = Vec::with_capacity(items.len());
            for (i, MissingItemBody { name, count }) in items.into_iter().enumerate() {
                let field = |name: &str| format!("items[{i}].{name}");
                if count == 0 {
                    return Err(FieldError::new(field("count"), "must be at least 1"));
                }
                total = total.checked_add(count).ok_or_else(|| FieldError::new(field("count"), "is too large"))?;
                named.push(MissingItem { name: reference(&field("name"), name)?, count });
            }
            Ok(Missing { count: total, items: named, note })
        }
        (Some(_), None) => Err(FieldError::new("items", format!("must hold 1 to {MAX_MISSING} items"))),
    }
}

/// What is to be changed; something has to be.
pub(super) fn edit(
    promise: Option<PromiseBody>,
    destination: Option<Coordinates>,
    datum: Option<Datum>,
    personal: bool,
) -> Result<Edit, FieldError> {
    let at_datum = |to: Coordinates| to.point(datum.unwrap_or_default()).map_err(|e| e.within("destination"));
    let edit = Edit {
        promise: promise.map(PromiseBody::promise).transpose()?,
        destination: destination.map(at_datum).transpose()?,
        personal,
    };
    if edit == Edit::default() {
        return Err(FieldError::new("payload", "names nothing to edit: promise, destination, contact, address, notes"));
    }
    Ok(edit)
}

/// A free text.
pub(super) fn text(field: &str, value: String) -> Result<String, FieldError> {
    if value.len() > MAX_TEXT {
        return Err(FieldError::new(field, format!("must be at most {MAX_TEXT} bytes")));
    }
    Ok(value)
}

fn reference(field: &str, value: String) -> Result<String, FieldError> {
    if (1..=MAX_REFERENCE).contains(&value.len()) && !value.contains(char::is_control) {
        Ok(value)
    } else {
        Err(FieldError::new(field, format!("must be 1 to {MAX_REFERENCE} bytes on one line")))
    }
}

/// Members of the published state.
pub(super) fn circumstances_into(doc: &mut Map<String, Value>, circumstances: &Circumstances) {
    let Circumstances { attempts, attempt_reason, attempted_at, returned, missing, proof, edited_at, personal } =
        circumstances;
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            doc.insert(name.into(), value);
        }
    };
    let millis = |t: &Option<UnixMillis>| t.map(|t| t.0.into());
    put("attempts", (*attempts > 0).then(|| (*attempts).into()));
    put("attempt_reason", attempt_reason.as_deref().map(Value::from));
    put("attempted_at_ms", millis(attempted_at));
    put("returned", returned.then(|| true.into()));
    put("missing", missing.as_ref().map(missing_value));
    put("proof", proof.as_ref().map(proof_value));
    put("edited_at_ms", millis(edited_at));
    put("personal", personal.map(|key| hex(key).into()));
}

fn missing_value(Missing { count, items, note }: &Missing) -> Value {
    let mut members = Map::new();
    members.insert("count".into(), (*count).into());
    if !items.is_empty() {
        let items = items.iter().map(|MissingItem { name, count }| json!({"name": name, "count": count}));
        members.insert("items".into(), items.collect());
    }
    if let Some(note) = note {
        members.insert("note".into(), note.as_str().into());
    }
    Value::Object(members)
}

fn proof_value(Proof { photo, code, signature }: &Proof) -> Value {
    let parts = [("photo", photo), ("code", code), ("signature", signature)];
    parts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::from(text.as_deref()?)))).collect()
}
