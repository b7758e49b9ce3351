//! A batch at work: what its entries did so far, and in the end what is to be committed and announced. Everything is
//! brought into log order, so that neither the number of waves nor the speed of actors shows.

use super::{
    hot::HotRider,
    order::{PendingImage, Published, ShareOutcome},
    wave::{Item, Place},
};
use crate::{
    domain::{
        AlertKind, Answer, CellId, OrderId, OrderInput, Refusal, RiderId, Rules, UnixMillis,
        cell::{Cell, Entry, Routed},
        effect::{CarryChange, RouteEnds, Task},
    },
    metrics::{KindLabel, Metrics, VerdictLabel},
    ports::{Announcements, Commit, HistoryItem, OrderCommit, OutboxItem, RunningTimer},
    wire::{
        alert::{self, AlertBody},
        answer::{Acceptance, FixTally, Outcome, RefusalBody},
        blob, header,
        log::{Batch, Received},
        subject,
        update::OwnDelta,
    },
};
use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc};

/// See the module.
#[derive(Debug)]
pub(super) struct Work {
    pub entries: Arc<Vec<Received>>,
    digest: [u8; 32],
    orders: BTreeMap<OrderId, OrderCommit>,
    published: BTreeMap<OrderId, Published>,
    timers: BTreeMap<OrderId, Vec<RunningTimer>>,
    registered: Vec<OrderId>,
    seeking: BTreeMap<OrderId, RouteEnds>,
    history: Vec<(Place, HistoryItem)>,
    updates: Vec<(Place, OrderId, OwnDelta)>,
    tasks: Vec<(Place, OrderId, Task)>,
    alerts: Vec<(Place, AlertKind, AlertBody)>,
    /// By entry; what an entry's publisher hears, or else finds in `dead.`.
    answers: BTreeMap<u32, Result<Acceptance, Refusal>>,
    tallies: BTreeMap<u32, FixTally>,
    /// Entries set aside because they made an actor fail: dead letters whether or not somebody waits.
    set_aside: Vec<u32>,
    /// By entry, as far as they are routed.
    stamps: Vec<Stamp>,
}

/// What all inputs of an entry are applied by, whenever they turn up, and how many there were.
#[derive(Debug)]
struct Stamp {
    at: UnixMillis,
    rules: Arc<Rules>,
    inputs: u32,
}

/// A finished batch.
#[derive(Debug)]
pub(super) struct Done {
    pub commit: Commit,
    pub announcements: Announcements,
    pub published: Vec<(OrderId, Published)>,
    pub riders: Vec<(RiderId, HotRider)>,
    /// What the orders' actors would be rehydrated from until the commit is through.
    pub touched: Vec<OrderId>,
    pub first_log_time: UnixMillis,
}

impl Work {
    pub(super) fn new(batch: Batch) -> Self {
        Self {
            entries: Arc::new(batch.entries),
            digest: batch.digest,
            orders: BTreeMap::new(),
            published: BTreeMap::new(),
            timers: BTreeMap::new(),
            registered: Vec::new(),
            seeking: BTreeMap::new(),
            history: Vec::new(),
            updates: Vec::new(),
            tasks: Vec::new(),
            alerts: Vec::new(),
            answers: BTreeMap::new(),
            tallies: BTreeMap::new(),
            set_aside: Vec::new(),
            stamps: Vec::new(),
        }
    }

    /// The next input that follows from an entry.
    pub(super) fn item(&mut self, entry: u32, input: OrderInput) -> Item {
        let (stamp, received) = (&mut self.stamps[entry as usize], &self.entries[entry as usize].entry);
        let place = Place { entry, nth: stamp.inputs };
        stamp.inputs += 1;
        let (at, rules) = (stamp.at, stamp.rules.clone());
        Item { place, seq: received.seq, log_time: received.log_time, at, rules, input }
    }

    /// Place of an entry in the log.
    pub(super) fn seq(&self, entry: u32) -> u64 {
        self.entries[entry as usize].entry.seq
    }

    /// The entry at a place in the log.
    pub(super) fn entry_at(&self, seq: u64) -> u32 {
        let index = self.entries.partition_point(|received| received.entry.seq < seq);
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// Takes what the cell itself decided of an entry, in the order of the entries.
    pub(super) fn decided(&mut self, entry: u32, routed: &mut Routed, rules: &Arc<Rules>) {
        self.stamps.push(Stamp { at: routed.at, rules: rules.clone(), inputs: 0 });
        if let Some(answer) = routed.answer.take() {
            self.answers.insert(entry, answer.map(|()| Acceptance { version: 0, rev: 0, status: None }));
        }
        for verdict in routed.verdicts.drain(..) {
            self.tallies.entry(entry).or_default().add(verdict);
        }
    }

    /// Takes what a share did to its order. Gives the changes to the map of riders, and the image that the store lacks.
    pub(super) fn applied(
        &mut self,
        cell: &CellId,
        order: &OrderId,
        outcome: ShareOutcome,
    ) -> (Vec<(Place, CarryChange)>, Option<PendingImage>) {
        let ShareOutcome {
            commit,
            published,
            history,
            updates,
            answers,
            verdicts,
            carries,
            tasks,
            alerts,
            registered,
            seeking,
            timers,
            finished: _,
        } = outcome;
        self.history.extend(history);
        self.updates.extend(updates.into_iter().map(|(place, update)| (place, order.clone(), update)));
        self.tasks.extend(tasks.into_iter().map(|(place, task)| (place, order.clone(), task)));
        self.alerts.extend(alerts.into_iter().map(|(place, change)| {
            let kind = change.alert.kind;
            (place, kind, alert::alert_body(cell, order, &change))
        }));
        self.registered.extend(registered.then(|| order.clone()));
        self.seeking.extend(seeking.map(|ends| (order.clone(), ends)));
        self.published.extend(published.map(|p| (order.clone(), p)));
        self.timers.extend(timers.map(|t| (order.clone(), t)));
        for (place, answer) in answers {
            let answer = match answer {
                Answer::Accepted(a) => Ok(Acceptance { version: a.version, rev: a.rev, status: Some(a.status) }),
                Answer::Refused(refusal) => Err(refusal),
            };
            self.answers.insert(place.entry, answer);
        }
        for (place, verdict) in verdicts {
            self.tallies.entry(place.entry).or_default().add(verdict);
        }
        let pending = commit.as_ref().map(|c| PendingImage {
            head: c.head.clone(),
            chunks: c.chunks.iter().map(|(n, chunk)| (*n, chunk.clone())).collect(),
        });
        if let Some(mut commit) = commit {
            // An earlier wave's chunks and timers that this one didn't touch still have to be stored.
            if let Some(earlier) = self.orders.remove(order) {
                commit.timers = commit.timers.or(earlier.timers);
                let newer: Vec<u32> = commit.chunks.iter().map(|(n, _)| *n).collect();
                commit.chunks.extend(earlier.chunks.into_iter().filter(|(n, _)| !newer.contains(n)));
                commit.chunks.sort_by_key(|(n, _)| *n);
            }
            self.orders.insert(order.clone(), commit);
        }
        (carries, pending)
    }

    /// Takes note of an entry that made its order's actor fail.
    pub(super) fn set_aside(&mut self, entry: u32) {
        self.answers.insert(entry, Err(Refusal::SetAside));
        self.set_aside.push(entry);
    }

    /// Brings it all into log order.
    pub(super) fn finish(mut self, cell: &mut Cell, id: &CellId, metrics: &Metrics) -> Result<Done, blob::BlobError> {
        self.history.sort_by_key(|(place, _)| *place);
        self.updates.sort_by_key(|(place, ..)| *place);
        self.tasks.sort_by_key(|(place, ..)| *place);
        self.alerts.sort_by_key(|(place, ..)| *place);
        self.registered.sort();
        let mut outbox: Vec<OutboxItem> = Vec::new();
        outbox.extend(self.registered.iter().map(|order| registration(id, order)));
        let log_time = |place: &Place| self.entries.get(place.entry as usize).map(|r| r.entry.log_time);
        outbox.extend(
            self.tasks
                .iter()
                .map(|(place, order, task)| OutboxItem { log_time: log_time(place), ..picking_task(id, order, task) }),
        );
        for (place, kind, body) in &self.alerts {
            outbox.extend(alert_change(id, *kind, body).map(|item| OutboxItem { log_time: log_time(place), ..item }));
        }
        let answers = self.settle_publishers(id, &mut outbox, metrics);
        self.count(metrics);

        let (mut riders, mut hot_riders) = (Vec::new(), Vec::new());
        for (rider, state) in cell.take_changed() {
            hot_riders.push((rider.clone(), HotRider::from(&state)));
            riders.push((rider, Bytes::from(blob::encode(&state)?)));
        }
        let announcements = Announcements {
            updates: self.updates.into_iter().map(|(_, order, update)| (order, update)).collect(),
            // Known when it is committed.
            riders: Vec::new(),
            answers,
            timers: self.timers.into_iter().collect(),
            clock: cell.head().clock,
            outbox: !outbox.is_empty(),
            seeking: self.seeking.into_iter().collect(),
        };
        let touched = self.orders.keys().cloned().collect();
        let commit = Commit {
            cursor: self.entries.last().map_or(0, |r| r.entry.seq),
            cursor_digest: self.digest,
            cell_head: Bytes::from(blob::encode(cell.head())?),
            cell_time: cell.head().clock.now(),
            riders,
            orders: self.orders.into_values().collect(),
            history: self.history.into_iter().map(|(_, item)| item).collect(),
            alerts: self.alerts.into_iter().map(|(.., body)| body).collect(),
            outbox,
        };
        let first_log_time = self.entries.first().map_or(UnixMillis(0), |r| r.entry.log_time);
        let published = self.published.into_iter().collect();
        Ok(Done { commit, announcements, published, riders: hot_riders, touched, first_log_time })
    }

    /// Outcomes for those who wait, dead letters for refusals that nobody waits for.
    fn settle_publishers(
        &mut self,
        id: &CellId,
        outbox: &mut Vec<OutboxItem>,
        metrics: &Metrics,
    ) -> Vec<(Arc<str>, Outcome)> {
        let mut answers = Vec::new();
        let mut bury = |entry: &Entry, field: &str, reason: &str| {
            metrics.dead_letters.inc();
            outbox.push(OutboxItem { log_time: Some(entry.log_time), ..dead_letter(id, entry.seq, field, reason) });
        };
        for (entry, received) in (0u32..).zip(self.entries.iter()) {
            let answer = self.answers.get(&entry);
            let refusal = answer.and_then(|a| a.as_ref().err());
            if let Some(refusal) = refusal {
                metrics.refusals.inc();
                if received.reply.is_none() || self.set_aside.contains(&entry) {
                    bury(&received.entry, refusal.field_name(), &refusal.to_string());
                }
            }
            let tally = self.tallies.get(&entry);
            let refused_fixes = tally.map_or(0, |t| t.future + t.too_old + t.track_full);
            if received.reply.is_none() && refused_fixes > 0 {
                bury(
                    &received.entry,
                    "fix_time_ms",
                    &format!(
                        "{refused_fixes} fix(es) lie in the future, too far in the past, or beyond what a track holds"
                    ),
                );
            }
            if let Some(reply) = &received.reply {
                let outcome = match (answer, tally) {
                    (Some(Ok(acceptance)), _) => Outcome::Accepted(*acceptance),
                    (Some(Err(refusal)), _) => Outcome::Refused(RefusalBody::from(refusal)),
                    (None, Some(tally)) => Outcome::Fixes(tally.clone()),
                    // A timer or a fix of nobody: nothing to tell, but who asked must not wait.
                    (None, None) => Outcome::Fixes(FixTally::default()),
                };
                answers.push((reply.clone(), outcome));
            }
        }
        answers
    }

    fn count(&self, metrics: &Metrics) {
        for (_, kind, body) in &self.alerts {
            count_alert(*kind, body, metrics);
        }
        for tally in self.tallies.values() {
            let FixTally { good, inaccurate, jump, duplicate, stale, future, too_old, track_full } = tally;
            for (verdict, n) in [
                ("good", good),
                ("inaccurate", inaccurate),
                ("jump", jump),
                ("duplicate", duplicate),
                ("stale", stale),
                ("future", future),
                ("too_old", too_old),
                ("track_full", track_full),
            ] {
                if *n > 0 {
                    metrics.fixes.get_or_create(&VerdictLabel { verdict }).inc_by(u64::from(*n));
                }
            }
        }
    }
}

/// Every alert begins with its first change and is open until it is cleared.
#[allow(clippy::cast_precision_loss, reason = "a figure for a histogram")]
fn count_alert(kind: AlertKind, body: &AlertBody, metrics: &Metrics) {
    let label = KindLabel { kind: kind.name() };
    if body.change == 1 {
        metrics.alerts_raised.get_or_create(&label).inc();
        metrics.alerts_open.get_or_create(&label).inc();
        if let (AlertKind::Late, Some(due_at_ms)) = (kind, body.due_at_ms) {
            metrics.late_notice_seconds.observe((body.detected_at_ms - due_at_ms) as f64 / 1e3);
        }
    }
    if body.cleared_at_ms.is_some() {
        metrics.alerts_open.get_or_create(&label).dec();
    }
}

/// Tells the directory which cell has the order; a claim that is there already stays.
fn registration(cell: &CellId, order: &OrderId) -> OutboxItem {
    OutboxItem {
        subject: subject::directory_key(order),
        headers: Vec::new(),
        payload: Bytes::copy_from_slice(cell.as_str().as_bytes()),
        log_time: None,
    }
}

fn picking_task(cell: &CellId, order: &OrderId, task: &Task) -> OutboxItem {
    let Task { warehouse, n, items } = task;
    let body = serde_json::json!({"order": order.as_str(), "warehouse": warehouse.as_str(), "n": n, "items": items});
    OutboxItem {
        subject: subject::task(cell, warehouse, order, *n),
        headers: Vec::new(),
        payload: Bytes::from(body.to_string()),
        log_time: None,
    }
}

/// One change of an alert, on a subject of its own.
fn alert_change(cell: &CellId, kind: AlertKind, body: &AlertBody) -> Option<OutboxItem> {
    let (order, n) = alert::parse_alert_id(&body.alert)?;
    Some(OutboxItem {
        subject: subject::alert(cell, kind, &order, n, body.change),
        headers: Vec::new(),
        payload: Bytes::from(serde_json::to_vec(body).ok()?),
        log_time: None,
    })
}

/// The outbox's publisher adds the message itself.
fn dead_letter(cell: &CellId, seq: u64, field: &str, reason: &str) -> OutboxItem {
    let headers = [
        (header::DEAD_SEQUENCE, seq.to_string()),
        (header::DEAD_FIELD, one_line(field)),
        (header::DEAD_REASON, one_line(reason)),
    ];
    OutboxItem {
        subject: subject::dead(cell, seq),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        payload: Bytes::new(),
        log_time: None,
    }
}

/// A reason may quote its input, and a header must not hold control characters.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}
