//! Every subject and stream name. Parser and printer stand side by side; nothing else formats a subject.

use crate::domain::{AlertKind, CellId, OrderId, RiderId, WarehouseId, effect::TimerKind, ids::is_token};
use std::fmt;

/// A subject of the cell's log, parsed as far as tokens go. Verbs stay text: what is unknown becomes a dead letter that
/// names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSubject {
    Order { cell: CellId, order: OrderId, verb: String },
    Warehouse { cell: CellId, warehouse: WarehouseId, order: OrderId, stage: String },
    Rider { cell: CellId, rider: RiderId, verb: String },
    Timer { cell: CellId, order: OrderId, kind: String, n: u32 },
    Control { cell: CellId, what: String },
}

/// A subject that is none of the log's. Names the token that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("subject `{subject}`: {field} {reason}")]
pub struct SubjectError {
    pub subject: String,
    pub field: &'static str,
    pub reason: &'static str,
}

impl fmt::Display for LogSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order { cell, order, verb } => write!(f, "order.{cell}.{order}.{verb}"),
            Self::Warehouse { cell, warehouse, order, stage } => {
                write!(f, "warehouse.{cell}.{warehouse}.{order}.{stage}")
            }
            Self::Rider { cell, rider, verb } => write!(f, "rider.{cell}.{rider}.{verb}"),
            Self::Timer { cell, order, kind, n } => write!(f, "timer.{cell}.{order}.{kind}.{n}"),
            Self::Control { cell, what } => write!(f, "control.{cell}.{what}"),
        }
    }
}

impl std::str::FromStr for LogSubject {
    type Err = SubjectError;

    fn from_str(subject: &str) -> Result<Self, SubjectError> {
        let fail = |field, reason| SubjectError { subject: subject.to_owned(), field, reason };
        let mut tokens = subject.split('.');
        let mut next = |field: &'static str| match tokens.next() {
            Some(token) if is_token(token) => Ok(token),
            Some(_) => Err(fail(field, "is not a token of [A-Za-z0-9_-]{1,64}")),
            None => Err(fail(field, "is missing")),
        };
        let id = |field| move |_| fail(field, "is not an id");
        let parsed = match next("kind")? {
            "order" => Self::Order {
                cell: next("cell")?.parse().map_err(id("cell"))?,
                order: next("order")?.parse().map_err(id("order"))?,
                verb: next("verb")?.to_owned(),
            },
            "warehouse" => Self::Warehouse {
                cell: next("cell")?.parse().map_err(id("cell"))?,
                warehouse: next("warehouse")?.parse().map_err(id("warehouse"))?,
                order: next("order")?.parse().map_err(id("order"))?,
                stage: next("stage")?.to_owned(),
            },
            "rider" => Self::Rider {
                cell: next("cell")?.parse().map_err(id("cell"))?,
                rider: next("rider")?.parse().map_err(id("rider"))?,
                verb: next("verb")?.to_owned(),
            },
            "timer" => Self::Timer {
                cell: next("cell")?.parse().map_err(id("cell"))?,
                order: next("order")?.parse().map_err(id("order"))?,
                kind: next("timer")?.to_owned(),
                n: next("n")?.parse().map_err(|_| fail("n", "is not a number"))?,
            },
            "control" => {
                Self::Control { cell: next("cell")?.parse().map_err(id("cell"))?, what: next("control")?.to_owned() }
            }
            _ => return Err(fail("kind", "is none of order, warehouse, rider, timer, control")),
        };
        if tokens.next().is_some() {
            return Err(fail("subject", "has more tokens than its kind takes (ids hold no dot)"));
        }
        Ok(parsed)
    }
}

/// The stream that is the cell's log.
pub fn log_stream(cell: &CellId) -> String {
    format!("CELL_{cell}")
}

/// What the log captures.
pub fn log_subjects(cell: &CellId) -> Vec<String> {
    ["order", "warehouse", "rider", "timer", "control"].map(|kind| format!("{kind}.{cell}.>")).to_vec()
}

/// Stream of picking tasks.
pub fn task_stream(cell: &CellId) -> String {
    format!("TASK_{cell}")
}

/// Stream of what could not be applied.
pub fn dead_stream(cell: &CellId) -> String {
    format!("DEAD_{cell}")
}

/// What the task stream captures.
pub fn task_subjects(cell: &CellId) -> String {
    format!("task.{cell}.>")
}

/// What the dead-letter stream captures.
pub fn dead_subjects(cell: &CellId) -> String {
    format!("dead.{cell}.>")
}

/// `task.{cell}.{warehouse}.{order}.{n}`
pub fn task(cell: &CellId, warehouse: &WarehouseId, order: &OrderId, n: u32) -> String {
    format!("task.{cell}.{warehouse}.{order}.{n}")
}

/// Warehouse, order and number of a [`task`] subject, for the warehouse systems that read the task stream.
pub fn parse_task(subject: &str) -> Option<(WarehouseId, OrderId, u32)> {
    let mut tokens = subject.strip_prefix("task.")?.split('.').skip(1);
    let parsed = (tokens.next()?.parse().ok()?, tokens.next()?.parse().ok()?, tokens.next()?.parse().ok()?);
    tokens.next().is_none().then_some(parsed)
}

/// `dead.{cell}.{seq}`, by the place in the log: unique, so that saying it twice is harmless.
pub fn dead(cell: &CellId, seq: u64) -> String {
    format!("dead.{cell}.{seq}")
}

/// `dead.{cell}.*`: the dead letters without the notes beside them.
pub fn dead_letters(cell: &CellId) -> String {
    format!("dead.{cell}.*")
}

/// `dead.{cell}.{seq}.back`: the note that the dead letter was put back into the log.
pub fn dead_put_back(cell: &CellId, seq: u64) -> String {
    format!("dead.{cell}.{seq}.back")
}

/// The sequence of a [`dead`] subject.
pub fn parse_dead(subject: &str) -> Option<u64> {
    let mut tokens = subject.strip_prefix("dead.")?.split('.').skip(1);
    let seq = tokens.next()?.parse().ok()?;
    tokens.next().is_none().then_some(seq)
}

/// `timer.{cell}.{order}.{kind}.{n}`
pub fn timer(cell: &CellId, order: &OrderId, kind: TimerKind, n: u32) -> String {
    format!("timer.{cell}.{order}.{}.{n}", kind.name())
}

/// `update.{cell}.order.{order}`: deltas and heartbeats of one order.
pub fn update_order(cell: &CellId, order: &OrderId) -> String {
    format!("update.{cell}.order.{order}")
}

/// `update.{cell}.rider.{rider}`: what the owner says of a rider.
pub fn update_rider(cell: &CellId, rider: &RiderId) -> String {
    format!("update.{cell}.rider.{rider}")
}

/// `update.{cell}.cell`: what changed in the cell, conflated.
pub fn update_cell(cell: &CellId) -> String {
    format!("update.{cell}.cell")
}

/// Stream of alert changes.
pub fn alert_stream(cell: &CellId) -> String {
    format!("ALERT_{cell}")
}

/// What the alert stream captures: `alert.{cell}.{kind}.{order}.{alert}.{n}`.
pub fn alert_subjects(cell: &CellId) -> String {
    format!("alert.{cell}.>")
}

/// `alert.{cell}.{kind}.{order}.{alert}.{n}`: the `n`th change of the order's alert of that number.
pub fn alert(cell: &CellId, kind: AlertKind, order: &OrderId, alert: u32, n: u32) -> String {
    format!("alert.{cell}.{}.{order}.{alert}.{n}", kind.name())
}

/// `query.{cell}.{what}`: requests that the cell's owner answers.
pub fn query(cell: &CellId, what: &str) -> String {
    format!("query.{cell}.{what}")
}

/// What the owner of a cell answers.
pub fn queries(cell: &CellId) -> String {
    format!("query.{cell}.>")
}

/// `bridge.session.{session}`: what bridges say to the one that holds a client's session.
pub fn bridge_session(session: &str) -> String {
    format!("bridge.session.{session}")
}

/// A bridge asks whether there is another that serves clients. Who is leaving doesn't answer.
pub fn bridge_alive() -> &'static str {
    "bridge.alive"
}

/// The key-value bucket order id → cell.
pub const DIRECTORY_BUCKET: &str = "directory";

/// The key-value bucket of what names a person, by order id.
pub const PERSONAL_BUCKET: &str = "personal";

/// The key-value bucket of orders by the last digits of their contact's telephone number.
pub const PHONES_BUCKET: &str = "phones";

/// The key-value bucket of share links, by order id.
pub const SHARES_BUCKET: &str = "shares";

/// The key-value bucket of tickets that nobody has used yet, by their digest.
pub const TICKETS_BUCKET: &str = "tickets";

/// The key-value bucket of owners' epochs, by cell.
pub const EPOCH_BUCKET: &str = "epoch";

/// The stream that a key-value bucket is.
pub fn bucket_stream(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// JetStream's request for a copy of a stream.
pub fn snapshot_request(stream: &str) -> String {
    format!("$JS.API.STREAM.SNAPSHOT.{stream}")
}

/// JetStream's request to make a stream from a copy.
pub fn restore_request(stream: &str) -> String {
    format!("$JS.API.STREAM.RESTORE.{stream}")
}

/// The subject under which the directory's stream keeps an order: the outbox writes it with an expected sequence.
pub fn directory_key(order: &OrderId) -> String {
    format!("$KV.{DIRECTORY_BUCKET}.{order}")
}

/// First token of task subjects.
pub const TASK: &str = "task";

/// First token of alerts' subjects.
pub const ALERT: &str = "alert";

/// First token of dead letters' subjects.
pub const DEAD: &str = "dead";

/// What of an outbox entry's subject tells its stream: [`TASK`], [`ALERT`], [`DEAD`], `$KV.directory`. The cell doesn't, since an
/// outbox is one cell's.
pub fn outbox_target(subject: &str) -> &str {
    let tokens = if subject.starts_with('$') { 2 } else { 1 };
    let end = subject.match_indices('.').nth(tokens - 1);
    end.and_then(|(at, _)| subject.get(..at)).unwrap_or(subject)
}

/// Whether an answer may be published on `subject`, which a publisher named. Not on subjects that mean something to us
/// or to NATS: the owner may publish where the one who asks may not.
pub fn is_reply(subject: &str) -> bool {
    const OURS: [&str; 11] =
        ["order", "warehouse", "rider", "timer", "control", "update", "task", "alert", "query", "dead", "bridge"];
    let mut tokens = subject.split('.');
    let first = tokens.next().unwrap_or_default();
    let plain =
        |token: &str| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic() && b != b'*' && b != b'>');
    subject.len() <= 256 && plain(first) && !first.starts_with('$') && !OURS.contains(&first) && tokens.all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wrong_tokens_are_named() {
        let field = |s: &str| s.parse::<LogSubject>().unwrap_err().field;
        assert_eq!(field("nothing.default.a.b"), "kind");
        assert_eq!(field("order.default.a"), "verb");
        assert_eq!(field("order.default.a.b.pay"), "subject");
        assert_eq!(field("rider.default.*.fix"), "rider");
        assert_eq!(field("timer.default.o.unpaid.x"), "n");
    }

    #[test]
    fn answers_go_to_inboxes_only() {
        assert!(is_reply("_INBOX.a1.b2") && is_reply("answers"));
        for bad in ["", "a..b", "a.*", ">", "a b", "$JS.API.STREAM.DELETE.X", "order.default.o.pay", "task.x"] {
            assert!(!is_reply(bad), "{bad:?}");
        }
    }

    #[test]
    fn an_outbox_subject_names_its_stream() {
        let (cell, w, o): (_, _, OrderId) = (CellId::default(), "w1".parse().unwrap(), "o1".parse().unwrap());
        assert_eq!(outbox_target(&task(&cell, &w, &o, 3)), "task");
        assert_eq!(outbox_target(&dead(&cell, 3)), "dead");
        assert_eq!(outbox_target(&directory_key(&o)), "$KV.directory");
        assert_eq!(outbox_target("odd"), "odd");
    }

    #[test]
    fn tasks_parse_back() {
        let (cell, w, o) = (CellId::default(), "w1".parse().unwrap(), "o1".parse().unwrap());
        assert_eq!(parse_task(&task(&cell, &w, &o, 3)), Some((w, o, 3)));
        for wrong in ["task.default.w1.o1", "task.default.w1.o1.x", "task.default.w1.o1.1.2", "dead.default.w1.o1.1"] {
            assert_eq!(parse_task(wrong), None);
        }
    }

    #[test]
    fn dead_letters_parse_back_and_their_notes_do_not() {
        let cell = CellId::default();
        assert_eq!(parse_dead(&dead(&cell, 17)), Some(17));
        assert_eq!(parse_dead(&dead_put_back(&cell, 17)), None);
        assert_eq!(parse_dead("dead.default.x"), None);
    }

    proptest! {
        #[test]
        fn printed_subjects_parse_back(cell in "[A-Za-z0-9_-]{1,64}", a in "[A-Za-z0-9_-]{1,64}",
                                       b in "[A-Za-z0-9_-]{1,64}", verb in "[a-z_]{1,20}", n: u32) {
            let cell: CellId = cell.parse().unwrap();
            for subject in [
                LogSubject::Order { cell: cell.clone(), order: a.parse().unwrap(), verb: verb.clone() },
                LogSubject::Warehouse { cell: cell.clone(), warehouse: a.parse().unwrap(),
                                        order: b.parse().unwrap(), stage: verb.clone() },
                LogSubject::Rider { cell: cell.clone(), rider: a.parse().unwrap(), verb: verb.clone() },
                LogSubject::Timer { cell: cell.clone(), order: b.parse().unwrap(), kind: verb.clone(), n },
                LogSubject::Control { cell, what: verb },
            ] {
                prop_assert_eq!(subject.to_string().parse::<LogSubject>().unwrap(), subject);
            }
        }
    }
}
