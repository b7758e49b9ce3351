//! The actor of one order: rehydrates it, applies its shares, and performs every effect into the share's outcome.

use super::wave::{Item, Place, Share, ShareEnd};
use crate::{
    domain::{
        Answer, Effect, Facts, FixId, Live, Order, OrderId, OrderInput, RiderId, Rules, UnixMillis, Verdict,
        alert::AlertChange,
        effect::{CarryChange, Change, RouteEnds, Task},
    },
    ports::{Ended, HistoryItem, OrderColumns, OrderCommit, OrderImage, RunningTimer, Store},
    wire::{blob, doc, update::OwnDelta},
};
use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The order core's entry point, [`crate::domain::order::apply`]; a value so that tests can make it fail.
pub type Apply = fn(&mut Option<Order>, &OrderId, &OrderInput, UnixMillis, &Rules, &mut Vec<Effect>) -> bool;

/// What every order actor of a cell shares.
#[derive(Clone, Debug)]
pub(super) struct OrderActor {
    pub store: Arc<dyn Store>,
    pub apply: Apply,
    /// Stands in every update.
    pub epoch: u64,
}

/// What an order actor starts from.
#[derive(Debug)]
pub(super) struct Start {
    pub id: OrderId,
    /// What is on its way to the store: newer than what the store gives.
    pub pending: Option<PendingImage>,
}

/// The part of an order's image that isn't committed yet.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingImage {
    pub head: Bytes,
    pub chunks: BTreeMap<u32, Bytes>,
}

/// An order actor's state. Unreadable state is kept as such: the first share learns of it.
#[derive(Debug)]
pub(super) struct OrderState {
    id: OrderId,
    slot: Result<Option<Order>, String>,
}

/// What an order actor is told.
#[derive(Debug)]
pub(super) enum OrderMessage {
    /// Apply these inputs and report.
    Apply(Share),
}

/// What a share did to its order.
#[derive(Debug, Default)]
pub(super) struct ShareOutcome {
    pub commit: Option<OrderCommit>,
    /// The published state after the share, if it changed.
    pub published: Option<Published>,
    pub history: Vec<(Place, HistoryItem)>,
    pub updates: Vec<(Place, OwnDelta)>,
    pub answers: Vec<(Place, Answer)>,
    pub verdicts: Vec<(Place, Verdict)>,
    pub carries: Vec<(Place, CarryChange)>,
    pub tasks: Vec<(Place, Task)>,
    pub alerts: Vec<(Place, AlertChange)>,
    pub registered: bool,
    /// The route that the order asked for last.
    pub seeking: Option<RouteEnds>,
    /// Set if they changed.
    pub timers: Option<Vec<RunningTimer>>,
    /// The order is final, or there is none: the actor is of no more use.
    pub finished: bool,
}

/// The published state of an order at a version.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Published {
    pub version: u64,
    pub at: UnixMillis,
    pub facts: Arc<Facts>,
    pub live: Live,
}

impl Actor for OrderActor {
    type Msg = OrderMessage;
    // Boxed: the framework's futures hold a state several times over, for as long as the actor lives.
    type State = Box<OrderState>;
    type Arguments = Start;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        Start { id, pending }: Start,
    ) -> Result<Box<OrderState>, ActorProcessingErr> {
        let slot = match self.store.load(&id).await {
            Ok(image) => rehydrate(image, pending),
            Err(error) => Err(error.to_string()),
        };
        Ok(Box::new(OrderState { id, slot }))
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: OrderMessage,
        state: &mut Box<OrderState>,
    ) -> Result<(), ActorProcessingErr> {
        let OrderMessage::Apply(share) = message;
        self.apply_share(share, state);
        Ok(())
    }
}

/// Puts an order together from the store's image and what is newer.
fn rehydrate(stored: Option<OrderImage>, pending: Option<PendingImage>) -> Result<Option<Order>, String> {
    let OrderImage { mut head, mut chunks } = stored.unwrap_or_default();
    if let Some(newer) = pending {
        head = newer.head;
        for (n, chunk) in newer.chunks {
            let n = n as usize;
            chunks.resize(chunks.len().max(n + 1), Bytes::new());
            chunks[n] = chunk;
        }
    }
    if head.is_empty() {
        return Ok(None);
    }
    let mut order: Order = blob::decode(&head).map_err(|e| e.to_string())?;
    order.track.restore(chunks.iter().map(|c| Box::from(c.as_ref()))).map_err(|e| e.to_string())?;
    Ok(Some(order))
}

impl OrderActor {
    fn apply_share(&self, share: Share, state: &mut OrderState) {
        let Share { items, set_aside, mut report } = share;
        let slot = match &mut state.slot {
            Ok(slot) => slot,
            Err(reason) => return report.send(ShareEnd::Unreadable(reason.clone())),
        };
        let mut outcome = ShareOutcome::default();
        let mut changed = false;
        let mut effects = Vec::new();
        for (index, item) in items.iter().enumerate() {
            if set_aside.contains(&index) {
                continue;
            }
            report.index = Some(index);
            changed |= (self.apply)(slot, &state.id, &item.input, item.at, &item.rules, &mut effects);
            self.perform(&state.id, item, &mut effects, &mut outcome);
        }
        outcome.history = last_revisions(outcome.history);
        match slot {
            Some(order) => {
                if outcome.timers.is_some() {
                    outcome.timers = Some(order.timers.clone());
                }
                outcome.finished = order.live.status.is_final();
                if changed {
                    match commit_of(order) {
                        Ok(commit) => outcome.commit = Some(OrderCommit { timers: outcome.timers.clone(), ..commit }),
                        Err(error) => return report.send(ShareEnd::Unreadable(error.to_string())),
                    }
                }
            }
            None => outcome.finished = true,
        }
        report.send(ShareEnd::Applied(Box::new(outcome)));
    }

    /// Performs one item's effects.
    fn perform(&self, order: &OrderId, item: &Item, effects: &mut Vec<Effect>, out: &mut ShareOutcome) {
        let place = item.place;
        let mut patch = None;
        // A version's delta is stored with the history line of the input that made it: its first one.
        let mut row_at = None;
        for effect in effects.drain(..) {
            match effect {
                Effect::Row(row) => {
                    row_at.get_or_insert(out.history.len());
                    let item = HistoryItem::Append { seq: item.seq, order: order.clone(), row, patch: None };
                    out.history.push((place, item));
                }
                Effect::Revise(revision) => {
                    out.history.push((place, HistoryItem::Revise { order: order.clone(), revision }));
                }
                Effect::Change(change) => {
                    let Change { from, to, at, before, after } = *change;
                    let before = before.as_ref().map(|(facts, live)| (facts.as_ref(), live));
                    let delta = doc::delta(order, before, (&after.0, &after.1));
                    patch = Some(delta.clone());
                    let (epoch, log_time_ms) = (self.epoch, item.log_time);
                    out.updates.push((place, OwnDelta { epoch, from, to, at_ms: at, log_time_ms, patch: delta }));
                    out.published = Some(Published { version: to, at, facts: after.0, live: after.1 });
                }
                Effect::Alert(change) => out.alerts.push((place, *change)),
                Effect::Answer(answer) => out.answers.push((place, answer)),
                Effect::Verdict(verdict) => out.verdicts.push((place, verdict)),
                Effect::Task(task) => out.tasks.push((place, task)),
                Effect::SetTimer { .. } | Effect::ClearTimer { .. } => out.timers = Some(Vec::new()),
                Effect::Carry(change) => out.carries.push((place, change)),
                Effect::Register => out.registered = true,
                Effect::SeekRoute(ends) => out.seeking = Some(ends),
                // Seen from the status after the share.
                Effect::Finish => {}
            }
        }
        if let Some((_, HistoryItem::Append { patch: slot, .. })) = row_at.and_then(|at| out.history.get_mut(at)) {
            *slot = patch;
        }
    }
}

/// Leaves of several revisions of one fix only the last, with everything that they changed: a late batch may change the
/// same marks again and again.
fn last_revisions(history: Vec<(Place, HistoryItem)>) -> Vec<(Place, HistoryItem)> {
    let mut last: HashMap<(RiderId, FixId), usize> = HashMap::new();
    let mut kept: Vec<Option<(Place, HistoryItem)>> = Vec::with_capacity(history.len());
    for (place, mut item) in history {
        if let HistoryItem::Revise { revision, .. } = &mut item {
            let earlier = last.insert((revision.rider.clone(), revision.id), kept.len());
            if let Some((_, HistoryItem::Revise { revision: earlier, .. })) = earlier.and_then(|at| kept[at].take()) {
                revision.fix = revision.fix.or(earlier.fix);
            }
        }
        kept.push(Some((place, item)));
    }
    kept.into_iter().flatten().collect()
}

fn ended(facts: &Facts, live: &Live) -> Option<Ended> {
    let at = live.completed_at.or(live.cancelled_at).filter(|_| live.status.is_final())?;
    Some(Ended { at, promise_to: facts.promise.map(|promise| promise.to) })
}

/// What the store keeps of an order, but for its timers.
fn commit_of(order: &mut Order) -> Result<OrderCommit, blob::BlobError> {
    let chunks = order.track.take_dirty().into_iter().map(|(n, chunk)| (n, Bytes::from(chunk.into_vec()))).collect();
    let Order { id, version, facts, live, updated_at, .. } = &*order;
    Ok(OrderCommit {
        order: id.clone(),
        columns: OrderColumns {
            user_id: facts.user.as_str().to_owned(),
            warehouse_id: facts.warehouse.id.as_str().to_owned(),
            warehouse_name: facts.warehouse.name.clone(),
            rider_id: live.rider.as_ref().map(|r| r.as_str().to_owned()),
            status: live.status.code(),
            stage: live.stage.map(|s| s.name()),
            version: *version,
            rev: live.rev,
            total_minor: facts.total.minor,
            currency: facts.total.currency.clone(),
            create_time: live.created_at,
            update_time: *updated_at,
            complete_time: live.completed_at,
            ended: ended(facts, live),
        },
        head: Bytes::from(blob::encode(order)?),
        chunks,
        timers: None,
    })
}
