//! Payloads of `order.…` and `warehouse.…`: JSON to commands.

use super::{
    FieldError,
    life::{self, MissingItemBody, ProofBody, text},
    merge::without_nulls,
    parse_json,
    route::RouteBody,
    schema::{DatumName, Id, Millis},
};
use crate::{
    domain::{
        Action, CellId, Facts, KeyId, Operator, OperatorKind, OrderId, RiderId, UnixMillis, UserId, Verb, WarehouseId,
        ids::is_token,
        order::{Money, Place, Promise, Proof},
    },
    geo::{Datum, Point, to_wgs84},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use utoipa::ToSchema;

/// A position in the publisher's datum, degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Coordinates {
    #[schema(minimum = -90, maximum = 90, example = 31.21)]
    pub lat: f64,
    #[schema(minimum = -180, maximum = 180, example = 121.45)]
    pub lon: f64,
}

impl Coordinates {
    /// WGS-84, checked before and after the datum's conversion.
    pub fn point(self, datum: Datum) -> Result<Point, FieldError> {
        let off_globe = |e: crate::geo::CoordinateError| FieldError::new(e.field, e.to_string());
        Point::from_degrees(self.lat, self.lon).map_err(off_globe)?;
        let (lat, lon) = to_wgs84(datum, self.lat, self.lon);
        Point::from_degrees(lat, lon).map_err(off_globe)
    }
}

/// Payload of `create`. Personal data has no place here: it would be in the log for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBody {
    #[schema(value_type = Id)]
    pub user_id: String,
    #[serde(deserialize_with = "super::object::one")]
    pub warehouse: WarehouseBody,
    #[serde(deserialize_with = "super::object::one")]
    pub destination: Coordinates,
    #[schema(minimum = 0, example = 4200)]
    pub amount_minor: i64,
    /// ISO 4217.
    #[schema(pattern = "^[A-Z]{3}$", example = "CNY")]
    pub currency: String,
    #[schema(minimum = 1, maximum = 4_294_967_295_i64, format = Int64, example = 3)]
    pub items: u32,
    #[serde(default, deserialize_with = "super::object::maybe", skip_serializing_if = "Option::is_none")]
    pub promise: Option<PromiseBody>,
    #[serde(default, deserialize_with = "super::object::maybe", skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteBody>,
    /// The shop's own; at most 8 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub extra: Option<Value>,
    /// What all coordinates of this payload refer to.
    #[serde(default)]
    #[schema(value_type = DatumName, required = false)]
    pub datum: Datum,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WarehouseBody {
    #[schema(value_type = Id)]
    pub id: String,
    #[schema(max_length = 500, example = "Pudong")]
    pub name: String,
    #[schema(minimum = -90, maximum = 90, example = 31.2)]
    pub lat: f64,
    #[schema(minimum = -180, maximum = 180, example = 121.4)]
    pub lon: f64,
}

/// The window told to the customer; `from_ms` is not after `to_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromiseBody {
    #[schema(value_type = Millis)]
    pub from_ms: i64,
    #[schema(value_type = Millis)]
    pub to_ms: i64,
}

/// Longest free text (a name, a reason), in bytes.
pub const MAX_TEXT: usize = 500;
/// Longest `extra`, in bytes of compact JSON.
pub const MAX_EXTRA: usize = 8_192;
/// Deepest `extra`. JSON parsers stop at 128 levels, and updates, pages and frames wrap it in some more.
pub const MAX_EXTRA_DEPTH: usize = 32;

impl CreateBody {
    /// The checked facts.
    pub fn facts(self, cell: &CellId) -> Result<Facts, FieldError> {
        let datum = self.datum;
        let id = |field: &str, text: &str| FieldError::new(field, format!("`{text}` must be [A-Za-z0-9_-]{{1,64}}"));
        let WarehouseBody { id: warehouse, name, lat, lon } = self.warehouse;
        if !(self.currency.len() == 3 && self.currency.bytes().all(|b| b.is_ascii_uppercase())) {
            return Err(FieldError::new("currency", "must be three capitals of ISO 4217"));
        }
        if self.amount_minor < 0 {
            return Err(FieldError::new("amount_minor", "must not be negative"));
        }
        if self.items == 0 {
            return Err(FieldError::new("items", "must be at least 1"));
        }
        Ok(Facts {
            user: UserId::try_from(self.user_id.clone()).map_err(|_| id("user_id", &self.user_id))?,
            cell: cell.clone(),
            warehouse: Place {
                id: WarehouseId::try_from(warehouse.clone()).map_err(|_| id("warehouse.id", &warehouse))?,
                name: text("warehouse.name", name)?,
                point: Coordinates { lat, lon }.point(datum).map_err(|e| e.within("warehouse"))?,
            },
            destination: self.destination.point(datum).map_err(|e| e.within("destination"))?,
            total: Money { minor: self.amount_minor, currency: self.currency },
            items: self.items,
            promise: self.promise.map(PromiseBody::promise).transpose()?,
            route: self.route.map(|r| r.route(datum)).transpose()?,
            extra: self.extra.map(extra).transpose()?.flatten(),
        })
    }
}

impl PromiseBody {
    pub(super) fn promise(self) -> Result<Promise, FieldError> {
        let Self { from_ms, to_ms } = self;
        if from_ms > to_ms {
            return Err(FieldError::new("promise.from_ms", "must not be after to_ms"));
        }
        Ok(Promise { from: time("promise.from_ms", from_ms)?, to: time("promise.to_ms", to_ms)? })
    }
}

fn extra(value: Value) -> Result<Option<String>, FieldError> {
    if !value.is_object() {
        return Err(FieldError::new("extra", "must be a JSON object"));
    }
    if !shallow(&value, MAX_EXTRA_DEPTH) {
        return Err(FieldError::new("extra", format!("must nest at most {MAX_EXTRA_DEPTH} deep")));
    }
    let text = without_nulls(value).to_string();
    if text.len() > MAX_EXTRA {
        return Err(FieldError::new("extra", format!("must be at most {MAX_EXTRA} bytes of JSON")));
    }
    Ok((text != "{}").then_some(text))
}

fn shallow(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|v| shallow(v, levels - 1)),
        Value::Object(members) => levels > 0 && members.values().all(|v| shallow(v, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Year 1 to 9999, which every arithmetic on times survives.
pub fn time(field: &str, ms: i64) -> Result<UnixMillis, FieldError> {
    if (-62_135_596_800_000..=253_402_300_799_999).contains(&ms) {
        Ok(UnixMillis(ms))
    } else {
        Err(FieldError::new(field, "must be milliseconds since 1970"))
    }
}

/// Payload of the other verbs. A field that its verb doesn't take is refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CommandBody {
    /// The rev at which the order must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_rev: Option<u64>,
    /// With `cancel`, and needed with `fail` and `return`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub reason: Option<String>,
    /// With `assign`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Id>)]
    pub rider: Option<String>,
    /// With `deliver`, `fail` and `return`: when it happened, by the publisher's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Millis>)]
    pub at_ms: Option<i64>,
    /// With `deliver`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofBody>,
    /// With `missing`: which items, or else how many; the note is for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 50)]
    pub items: Option<Vec<MissingItemBody>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 4_294_967_295_i64, format = Int64)]
    pub count: Option<u32>,
    /// Also with `acknowledge`: 1 to 500 characters, no control characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub note: Option<String>,
    /// With `edit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promise: Option<PromiseBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Coordinates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DatumName>)]
    pub datum: Option<Datum>,
    /// With `edit`: contact, address text or notes were changed where they are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personal: Option<bool>,
    /// With `acknowledge`: the number of the order's alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 4_294_967_295_i64, format = Int64)]
    pub alert: Option<u32>,
}

/// Which verbs take a field of [`CommandBody`]; every verb takes one that isn't here. Parser and documentation read this.
pub const TAKEN: &[(&str, &[Verb])] = &[
    ("reason", &[Verb::Cancel, Verb::Fail, Verb::Return]),
    ("rider", &[Verb::Assign]),
    ("at_ms", &[Verb::Deliver, Verb::Fail, Verb::Return]),
    ("proof", &[Verb::Deliver]),
    ("items", &[Verb::Missing]),
    ("count", &[Verb::Missing]),
    ("note", &[Verb::Missing, Verb::Acknowledge]),
    ("promise", &[Verb::Edit]),
    ("destination", &[Verb::Edit]),
    ("datum", &[Verb::Edit]),
    ("personal", &[Verb::Edit]),
    ("alert", &[Verb::Acknowledge]),
];

/// What a verb can't do without.
pub const NEEDED: &[(Verb, &str)] =
    &[(Verb::Assign, "rider"), (Verb::Fail, "reason"), (Verb::Return, "reason"), (Verb::Acknowledge, "alert")];

impl CommandBody {
    /// Names the first field that the verb doesn't take, or that it lacks.
    fn check(&self, verb: Verb) -> Result<(), FieldError> {
        let Self {
            if_rev: _,
            reason,
            rider,
            at_ms,
            proof,
            items,
            count,
            note,
            promise,
            destination,
            datum,
            personal,
            alert,
        } = self;
        let given = [
            ("reason", reason.is_some()),
            ("rider", rider.is_some()),
            ("at_ms", at_ms.is_some()),
            ("proof", proof.is_some()),
            ("items", items.is_some()),
            ("count", count.is_some()),
            ("note", note.is_some()),
            ("promise", promise.is_some()),
            ("destination", destination.is_some()),
            ("datum", datum.is_some()),
            ("personal", personal.is_some()),
            ("alert", alert.is_some()),
        ];
        let takes = |field: &str| TAKEN.iter().any(|(name, verbs)| *name == field && verbs.contains(&verb));
        match given.into_iter().find(|(field, given)| *given && !takes(field)) {
            Some((field, _)) => Err(FieldError::new(field, format!("`{}` takes none", verb.name()))),
            None => Ok(()),
        }
    }
}

/// What a command's payload asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub action: Action,
    pub if_rev: Option<u64>,
    /// As in [`Command`](crate::domain::Command).
    pub needs: u32,
}

/// Parses a command's payload.
pub fn action(verb: Verb, cell: &CellId, payload: &[u8]) -> Result<Asked, FieldError> {
    if verb == Verb::Create {
        let body: CreateBody = parse_json(payload)?;
        let needs = body.route.as_ref().map_or(1, RouteBody::rules_version);
        return Ok(Asked { action: Action::Create(Arc::new(body.facts(cell)?)), if_rev: None, needs });
    }
    let body: CommandBody = if payload.is_empty() { CommandBody::default() } else { parse_json(payload)? };
    body.check(verb)?;
    let CommandBody {
        if_rev,
        reason,
        rider,
        at_ms,
        proof,
        items,
        count,
        note,
        promise,
        destination,
        datum,
        personal,
        alert,
    } = body;
    let missing = |field| FieldError::new(field, "is missing");
    let at = at_ms.map(|ms| time("at_ms", ms)).transpose()?;
    let reason = reason.map(|r| text("reason", r)).transpose()?;
    let action = match verb {
        Verb::Create | Verb::Pay => Action::Pay,
        Verb::Cancel => Action::Cancel { reason },
        Verb::Assign => {
            let rider = rider.ok_or_else(|| missing("rider"))?;
            Action::Assign { rider: RiderId::try_from(rider).map_err(|e| FieldError::new("rider", e.to_string()))? }
        }
        Verb::Unassign => Action::Unassign,
        Verb::Deliver => Action::Deliver { at, sent: None, proof: self::proof(proof)? },
        Verb::Fail => Action::Fail { reason: reason.ok_or_else(|| missing("reason"))?, at, sent: None },
        Verb::Return => Action::Return { reason: reason.ok_or_else(|| missing("reason"))?, at, sent: None },
        Verb::Missing => Action::Missing(Arc::new(life::missing(items, count, note)?)),
        Verb::Edit => Action::Edit(life::edit(promise, destination, datum, personal.unwrap_or(false))?),
        Verb::Acknowledge => {
            let note = note.as_deref().map(self::note).transpose()?;
            Action::Acknowledge { alert: alert.ok_or_else(|| missing("alert"))?, note }
        }
    };
    Ok(Asked { action, if_rev, needs: 1 })
}

/// Longest note to an alert, in characters.
pub const MAX_NOTE: usize = 500;

/// What somebody wrote to an alert, without the space around it: one line, since it becomes part of one.
fn note(text: &str) -> Result<Arc<str>, FieldError> {
    let text = text.trim();
    if !(1..=MAX_NOTE).contains(&text.chars().count()) {
        return Err(FieldError::new("note", format!("must be 1 to {MAX_NOTE} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(FieldError::new("note", "must hold no control characters"));
    }
    Ok(text.into())
}

/// A proof of delivery, if one was given.
pub(super) fn proof(body: Option<ProofBody>) -> Result<Option<Arc<Proof>>, FieldError> {
    Ok(body.map(ProofBody::proof).transpose()?.map(Arc::new))
}

/// Scopes an idempotency key by publisher, order and verb.
pub fn key_id(by: &Operator, order: &OrderId, verb: &str, key: &str) -> KeyId {
    let mut hash = Sha256::new();
    // Lengths keep the parts apart.
    for part in [by.kind.name(), &by.id, order.as_str(), verb, key] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut id = [0; 16];
    id.copy_from_slice(&hash.finalize()[..16]);
    KeyId(id)
}

/// Lower-case hex, as keys are named in JSON and in buckets.
pub fn hex(key: KeyId) -> String {
    super::hex(&key.0)
}

/// Longest idempotency key, in bytes.
pub const MAX_KEY: usize = 200;

/// Checks an idempotency key as its publisher sent it.
pub fn check_key(key: Option<&str>) -> Result<&str, FieldError> {
    match key {
        Some(key) if !key.is_empty() && key.len() <= MAX_KEY => Ok(key),
        Some(_) => Err(FieldError::new(super::header::IDEMPOTENCY_KEY, format!("must be 1 to {MAX_KEY} bytes"))),
        None => Err(FieldError::new(super::header::IDEMPOTENCY_KEY, "is missing: every command carries one")),
    }
}

/// The publisher's name of an operator, as [`publisher`] reads it: `rider.r1`.
pub fn publisher_name(by: &Operator) -> String {
    format!("{}.{}", by.kind.name(), by.id)
}

/// Parses the publisher header, `kind.id`.
pub fn publisher(text: Option<&str>) -> Result<Operator, FieldError> {
    let Some(text) = text else {
        return Ok(Operator { kind: OperatorKind::System, id: "nats".into() });
    };
    let bad = || {
        FieldError::new(super::header::PUBLISHER, "must be rider.{id}, warehouse.{id}, operations.{id} or system.{id}")
    };
    let (kind, id) = text.split_once('.').ok_or_else(bad)?;
    let kind = OperatorKind::ALL.into_iter().find(|k| k.name() == kind).ok_or_else(bad)?;
    if is_token(id) { Ok(Operator { kind, id: id.into() }) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create() -> Value {
        serde_json::json!({
            "user_id": "u1", "warehouse": {"id": "w1", "name": "W", "lat": 31.2, "lon": 121.4},
            "destination": {"lat": 31.21, "lon": 121.45}, "amount_minor": 4200, "currency": "CNY", "items": 3
        })
    }

    fn field_of(change: impl Fn(&mut Value)) -> String {
        let mut body = create();
        change(&mut body);
        action(Verb::Create, &CellId::default(), body.to_string().as_bytes()).unwrap_err().field
    }

    #[test]
    fn errors_name_the_field() {
        assert_eq!(field_of(|b| b["destination"]["lat"] = 91.into()), "destination.lat");
        assert_eq!(field_of(|b| b["warehouse"]["id"] = "a.b".into()), "warehouse.id");
        assert_eq!(field_of(|b| b["currency"] = "yuan".into()), "currency");
        assert_eq!(field_of(|b| b["contact"] = "phone".into()), "contact");
        assert_eq!(field_of(|b| drop(b.as_object_mut().map(|m| m.remove("items")))), "items");
        assert_eq!(action(Verb::Assign, &CellId::default(), b"{}").unwrap_err().field, "rider");
        assert_eq!(action(Verb::Pay, &CellId::default(), br#"{"reason":"x"}"#).unwrap_err().field, "reason");
        assert_eq!(action(Verb::Pay, &CellId::default(), b"{").unwrap_err().field, "payload");
    }

    #[test]
    fn a_note_is_a_line_of_text() {
        let note = |text: &str| {
            let body = serde_json::json!({"alert": 2, "note": text}).to_string();
            action(Verb::Acknowledge, &CellId::default(), body.as_bytes()).map(|asked| asked.action)
        };
        let noted = |note: &str| Ok(Action::Acknowledge { alert: 2, note: Some(note.into()) });
        assert_eq!(note("  已联系骑手, on the way \n"), noted("已联系骑手, on the way"));
        let longest = "路".repeat(MAX_NOTE);
        assert_eq!(note(&longest), noted(&longest));
        for bad in ["", " \t", &(longest + "x"), "a\nb", "a\u{1b}[31mb", "a\u{85}b"] {
            assert_eq!(note(bad).unwrap_err().field, "note", "{bad:?}");
        }
    }

    #[test]
    fn keys_are_scoped_by_each_part() {
        let (by, o) = (publisher(Some("system.shop")).unwrap(), "o1".parse().unwrap());
        let one = key_id(&by, &o, "pay", "k");
        assert_ne!(one, key_id(&by, &o, "cancel", "k"));
        assert_ne!(one, key_id(&by, &"o2".parse().unwrap(), "pay", "k"));
        assert_ne!(one, key_id(&publisher(None).unwrap(), &o, "pay", "k"));
        assert_eq!(one, key_id(&by, &o, "pay", "k"));
    }
}
