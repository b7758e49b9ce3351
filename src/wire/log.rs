//! One message of the cell's log, decoded into what the core takes.

use super::{FieldError, command, control, fix, life, parse_json, subject::LogSubject};
use crate::domain::{
    Action, CellId, Command, Operator, OrderId, RiderId, Stage, UnixMillis, Verb,
    cell::{Entry, Input},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A message as the log holds it, whatever client read it.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    pub seq: u64,
    pub log_time: UnixMillis,
    pub subject: &'a str,
    pub payload: &'a [u8],
    pub idempotency_key: Option<&'a str>,
    pub publisher: Option<&'a str>,
}

/// The same as a value of its own: what replays are made of. Everything that decides is in it, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub seq: u64,
    pub log_time: UnixMillis,
    pub subject: String,
    pub payload: Bytes,
    pub idempotency_key: Option<String>,
    pub publisher: Option<String>,
}

impl Raw<'_> {
    /// A copy of it all.
    pub fn to_message(&self) -> Message {
        Message {
            seq: self.seq,
            log_time: self.log_time,
            subject: self.subject.to_owned(),
            payload: Bytes::copy_from_slice(self.payload),
            idempotency_key: self.idempotency_key.map(str::to_owned),
            publisher: self.publisher.map(str::to_owned),
        }
    }
}

impl Message {
    pub fn raw(&self) -> Raw<'_> {
        Raw {
            seq: self.seq,
            log_time: self.log_time,
            subject: &self.subject,
            payload: &self.payload,
            idempotency_key: self.idempotency_key.as_deref(),
            publisher: self.publisher.as_deref(),
        }
    }
}

/// A digest of a message in its place, over all that the state depends on: the store keeps that of the message at its
/// cursor, and so recognises its log.
pub fn digest(raw: &Raw<'_>) -> [u8; 32] {
    let Raw { seq, log_time, subject, payload, idempotency_key, publisher } = raw;
    let mut hash = Sha256::new();
    hash.update(seq.to_le_bytes());
    hash.update(log_time.0.to_le_bytes());
    hash.update((subject.len() as u64).to_le_bytes());
    hash.update(subject);
    for header in [idempotency_key, publisher] {
        match header {
            None => hash.update([0]),
            Some(value) => {
                // Clients unfold a header that goes over several lines each in its own way.
                let value: String = value.split_whitespace().collect();
                hash.update([1]);
                hash.update((value.len() as u64).to_le_bytes());
                hash.update(value);
            }
        }
    }
    hash.update(payload);
    hash.finalize().into()
}

/// What the feed hands to the cell: consecutive entries of the log.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub entries: Vec<Received>,
    /// Of the last entry's message.
    pub digest: [u8; 32],
}

/// An entry, and where its publisher waits for the outcome.
#[derive(Clone, Debug)]
pub struct Received {
    pub entry: Entry,
    pub reply: Option<Arc<str>>,
}

impl Received {
    /// What it costs to apply, about: its fixes, or 1.
    pub fn weight(&self) -> usize {
        match &self.entry.input {
            Input::Fixes { fixes, .. } => fixes.len().max(1),
            Input::Command { .. }
            | Input::Stage { .. }
            | Input::Shift { .. }
            | Input::Trip { .. }
            | Input::Timer { .. }
            | Input::Route { .. }
            | Input::Clock { .. }
            | Input::Rules { .. }
            | Input::Malformed { .. } => 1,
        }
    }
}

/// Decodes a message. One that can't be decoded is still an entry, since it has its place and its time: the error says
/// which field is to blame.
pub fn decode(raw: Raw<'_>) -> Entry {
    Entry {
        seq: raw.seq,
        log_time: raw.log_time,
        input: input(raw).unwrap_or_else(|e| Input::Malformed { field: e.field, reason: e.reason }),
    }
}

fn input(raw: Raw<'_>) -> Result<Input, FieldError> {
    let subject: LogSubject =
        raw.subject.parse().map_err(|e: super::subject::SubjectError| FieldError::new(e.field, e.to_string()))?;
    match subject {
        LogSubject::Order { cell, order, verb } => order_input(raw, &cell, order, &verb),
        LogSubject::Warehouse { warehouse, order, stage, .. } => {
            if !raw.payload.is_empty() {
                let NoFields {} = parse_json(raw.payload)?;
            }
            let stage = stage.parse::<Stage>().map_err(|e| FieldError::new("stage", e))?;
            Ok(Input::Stage { warehouse, order, stage })
        }
        LogSubject::Rider { rider, verb, .. } => rider_input(raw, rider, &verb),
        LogSubject::Timer { order, kind, n, .. } => {
            Ok(Input::Timer { order, kind: kind.parse().map_err(|e: String| FieldError::new("timer", e))?, n })
        }
        LogSubject::Control { what, .. } => match what.as_str() {
            control::CLOCK => {
                let (scale, cell_time) = control::clock(raw.payload)?;
                Ok(Input::Clock { scale, cell_time })
            }
            control::ROUTE => {
                let (order, found) = control::route(raw.payload)?;
                Ok(Input::Route { order, found: Arc::new(found) })
            }
            control::RULES => {
                let (rules, needs) = control::rules(raw.payload)?;
                Ok(Input::Rules { rules, needs })
            }
            _ => Err(FieldError::new("control", format!("`{what}` is no control message"))),
        },
    }
}

/// A payload that says nothing: `{}`, or nothing at all. The subject says it all.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}

fn order_input(raw: Raw<'_>, cell: &CellId, order: OrderId, verb: &str) -> Result<Input, FieldError> {
    let verb = verb.parse::<Verb>().map_err(|e| FieldError::new("verb", e))?;
    let by = command::publisher(raw.publisher)?;
    let key = command::check_key(raw.idempotency_key)?;
    let key = command::key_id(&by, &order, verb.name(), key);
    let command::Asked { action, if_rev, needs } = command::action(verb, cell, raw.payload)?;
    Ok(Input::Command { order, command: Command { action, key, if_rev, by, needs } })
}

fn rider_input(raw: Raw<'_>, rider: RiderId, verb: &str) -> Result<Input, FieldError> {
    match verb {
        "fix" | "fixes" => {
            let fix::Fixes { sent_time, fixes } =
                if verb == "fix" { fix::single(raw.payload) } else { fix::batch(raw.payload) }?;
            Ok(Input::Fixes { rider, sent_time, fixes })
        }
        "shift" => {
            let fix::ShiftBody { on, handover_to } = parse_json(raw.payload)?;
            let to = |id: String| RiderId::try_from(id).map_err(|e| FieldError::new("handover_to", e.to_string()));
            Ok(Input::Shift { rider, on, handover_to: handover_to.map(to).transpose()? })
        }
        "trip" => {
            let stops = parse_json::<fix::TripBody>(raw.payload)?.stops;
            let id = |(i, stop): (usize, String)| {
                OrderId::try_from(stop).map_err(|e| FieldError::new(format!("stops[{i}]"), e.to_string()))
            };
            Ok(Input::Trip { rider, stops: stops.into_iter().enumerate().map(id).collect::<Result<_, _>>()? })
        }
        "delivered" => {
            let fix::DeliveredBody { order, at_ms, sent_time_ms, proof } = parse_json(raw.payload)?;
            let proof = command::proof(proof)?;
            told(raw, &rider, order, (at_ms, sent_time_ms), |at, sent| Action::Deliver { at, sent, proof })
        }
        "failed" => {
            let fix::FailedBody { order, reason, at_ms, sent_time_ms } = parse_json(raw.payload)?;
            let reason = life::text("reason", reason)?;
            told(raw, &rider, order, (at_ms, sent_time_ms), |at, sent| Action::Fail { reason, at, sent })
        }
        "returned" => {
            let fix::FailedBody { order, reason, at_ms, sent_time_ms } = parse_json(raw.payload)?;
            let reason = life::text("reason", reason)?;
            told(raw, &rider, order, (at_ms, sent_time_ms), |at, sent| Action::Return { reason, at, sent })
        }
        _ => Err(FieldError::new("verb", format!("`{verb}` is no verb; the verbs are {}", RIDER_VERBS.join(", ")))),
    }
}

/// Last tokens of the riders' subjects.
pub const RIDER_VERBS: [&str; 7] = ["fix", "fixes", "shift", "trip", "delivered", "failed", "returned"];

/// What a rider tells of an order.
fn told(
    raw: Raw<'_>,
    rider: &RiderId,
    order: String,
    (at_ms, sent_time_ms): (Option<i64>, Option<i64>),
    action: impl FnOnce(Option<UnixMillis>, Option<UnixMillis>) -> Action,
) -> Result<Input, FieldError> {
    let order = OrderId::try_from(order).map_err(|e| FieldError::new("order", e.to_string()))?;
    let by = Operator::rider(rider);
    let at = at_ms.map(|ms| command::time("at_ms", ms)).transpose()?;
    let action = action(at, fix::sent(sent_time_ms)?);
    // A stock app knows no keys. What it sends twice has the same time; a new attempt after a refusal (it came
    // before the order was packed, say) has another. Without a time, each message is an attempt of its own.
    let own = || at.map_or_else(|| format!("seq-{}", raw.seq), |t| format!("at-{}", t.0));
    let key = raw.idempotency_key.map_or_else(own, str::to_owned);
    let key = command::check_key(Some(&key))?;
    let key = command::key_id(&by, &order, action.verb().name(), key);
    Ok(Input::Command { order, command: Command { action, key, if_rev: None, by, needs: 1 } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_tells_apart_whatever_the_state_depends_on() {
        let raw = Raw {
            seq: 7,
            log_time: UnixMillis(1_000),
            subject: "order.default.o.pay",
            payload: b"{}",
            idempotency_key: Some("k1"),
            publisher: Some("system.shop"),
        };
        let others = [
            Raw { seq: 8, ..raw },
            Raw { log_time: UnixMillis(1_001), ..raw },
            Raw { subject: "order.default.o.cancel", ..raw },
            Raw { payload: b"{ }", ..raw },
            Raw { idempotency_key: Some("k2"), ..raw },
            Raw { idempotency_key: None, ..raw },
            Raw { idempotency_key: Some(""), ..raw },
            Raw { publisher: Some("system.other"), ..raw },
            Raw { publisher: None, ..raw },
            // The same text, cut elsewhere.
            Raw { idempotency_key: Some("k1system.shop"), publisher: None, ..raw },
            Raw { idempotency_key: Some("system.shop"), publisher: Some("k1"), ..raw },
            Raw { idempotency_key: None, publisher: Some("k1"), ..raw },
        ];
        let all: std::collections::BTreeSet<_> = others.iter().chain([&raw]).map(digest).collect();
        assert_eq!(all.len(), others.len() + 1);
        let folded = Raw { idempotency_key: Some("k1\t "), ..raw };
        assert_eq!(digest(&folded), digest(&raw));
    }
}
