//! The cell's desk: the mirror of the cell, the followers of it and of its warehouses.

use super::{
    Command, Inner, Label,
    desk::{Asking, RENEW_EVERY, Work, next_of, silent},
    draw,
    mirror::{Mirror, Touched},
    stand::Stand,
};
use crate::{
    bridge::source::{Found, SourceError, UpdateStream},
    domain::WarehouseId,
    wire::{
        board::{After, CellPage, CellQuery, CellWord},
        problem::Problem,
        topic::Topic,
    },
};
use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// An answer to a question.
pub(super) enum Done {
    Followed(Result<UpdateStream, SourceError>),
    Read(CellQuery, Found<CellPage>),
}

pub(super) struct CellDesk {
    inner: Arc<Inner>,
    mirror: Mirror,
    cell: Stand,
    warehouses: BTreeMap<WarehouseId, Stand>,
    /// What the cell's followers haven't been shown yet.
    touched: Touched,
    flush_at: Duration,
    updates: Option<UpdateStream>,
    asking: Asking<Done>,
    renew_at: Duration,
    idle_since: Option<Duration>,
}

impl CellDesk {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self {
            mirror: Mirror::default(),
            cell: Stand::new(Label::new(Topic::Cell, inner.metrics.clone()), inner.options),
            warehouses: BTreeMap::new(),
            touched: Touched::default(),
            flush_at: Duration::ZERO,
            updates: None,
            asking: Asking::new(&inner.options),
            renew_at: Duration::ZERO,
            idle_since: None,
            inner,
        }
    }

    /// The board's followers; a warehouse's begin when they are needed.
    fn stand(&mut self, topic: Topic) -> &mut Stand {
        let Topic::Warehouse(id) = &topic else { return &mut self.cell };
        let (options, metrics) = (self.inner.options, &self.inner.metrics);
        self.warehouses.entry(id.clone()).or_insert_with(|| Stand::new(Label::new(topic, metrics.clone()), options))
    }

    fn stands(&mut self) -> impl Iterator<Item = &mut Stand> {
        std::iter::once(&mut self.cell).chain(self.warehouses.values_mut())
    }

    fn ask(&mut self, now: Duration) {
        if !self.asking.may_ask(now) {
            return;
        }
        if self.updates.is_none() {
            let follow = self.inner.source.follow_cell();
            return self.asking.ask(Box::pin(async move { Done::Followed(follow.await) }));
        }
        let beats = self.inner.options.owner_heartbeat * 3 / 2;
        let silent = self.mirror.heard().is_none_or(|at| now.saturating_sub(at) > beats);
        let question = if self.mirror.is_behind() {
            if self.mirror.is_loaded() && self.mirror.question().after == After::Riders(None) {
                self.inner.metrics.hub_resyncs.inc();
            }
            self.mirror.question()
        } else if silent || self.renew_at <= now {
            CellQuery { after: After::All }
        } else {
            return;
        };
        let read = self.inner.source.cell(question.clone());
        self.asking.ask(Box::pin(async move { Done::Read(question, read.await) }));
    }

    fn on_done(&mut self, done: Done, now: Duration) {
        match done {
            Done::Followed(Ok(updates)) => {
                self.updates = Some(updates);
                self.mirror.start_over();
                self.renew_at = now;
            }
            Done::Read(question, Ok(Some(page))) => {
                self.renew_at = now + RENEW_EVERY;
                let more = self.mirror.on_page(page, &question, now);
                if !self.mirror.is_behind() {
                    self.asking.succeeded();
                } else if !more || question.after == After::All {
                    // Pages that were too late: the owner may be busy.
                    self.asking.wait(now);
                }
                self.show();
            }
            // An owner always has a cell.
            Done::Read(_, Ok(None)) => self.asking.wait(now),
            Done::Followed(Err(error)) | Done::Read(_, Err(error)) => {
                self.mirror.start_over();
                self.asking.wait(now);
                if !self.mirror.is_loaded() {
                    let problem = Problem::from(error);
                    self.stands().filter(|stand| stand.is_impatient(now)).for_each(|stand| stand.refuse(&problem));
                }
            }
        }
        self.ask(now);
    }

    fn on_update(&mut self, payload: Option<Bytes>, now: Duration) {
        let Some(payload) = payload else {
            self.updates = None;
            return self.ask(now);
        };
        match serde_json::from_slice::<CellWord>(&payload) {
            Ok(word) => {
                if self.mirror.on_word(word, now) {
                    self.ask(now);
                }
                self.show();
            }
            Err(error) => tracing::warn!(%error, "a word of the cell that can't be read"),
        }
    }

    /// Shows warehouses what changed of theirs, notes it for the cell's followers, and lets in who waits.
    fn show(&mut self) {
        let Touched { riders, orders, warehouses } = self.mirror.take_touched();
        self.touched.riders.extend(riders);
        self.touched.orders.extend(orders);
        let (mirror, at) = (&self.mirror, self.mirror.at);
        for id in warehouses {
            if let Some(stand) = self.warehouses.get_mut(&id) {
                stand.turn(at, |_| draw::warehouse(&id, mirror));
            }
        }
        self.admit();
    }

    fn admit(&mut self) {
        if !self.mirror.is_loaded() {
            return;
        }
        let (mirror, at) = (&self.mirror, self.mirror.at);
        self.cell.admit(at, |cut| draw::cell(mirror, cut));
        for (id, stand) in &mut self.warehouses {
            stand.admit(at, |_| draw::warehouse(id, mirror));
        }
    }

    /// Shows the cell's followers what changed since the last time: at most once in `cell_every`.
    fn flush(&mut self, now: Duration) {
        if self.flush_at > now || self.touched.is_empty() {
            return;
        }
        self.flush_at = now + self.inner.options.cell_every;
        let (touched, mirror) = (std::mem::take(&mut self.touched), &self.mirror);
        self.cell.advance(mirror.at, |cut, shown| draw::cell_change(mirror, &touched, cut, shown));
    }
}

impl Work for CellDesk {
    fn on_command(&mut self, command: Command, now: Duration) {
        match command {
            Command::Follow(topic, mut follower) => {
                if topic != Topic::Cell {
                    // Nothing of a warehouse's board has a place: one sheet is for all.
                    follower.cut = super::Cut { datum: crate::geo::Datum::Wgs84, bounds: None };
                }
                self.stand(topic).follow(follower, now);
                self.admit();
                self.ask(now);
            }
            Command::Unfollow(topic, id, outbox) => self.stand(topic).unfollow(id, &outbox),
            Command::Leave(topic, id) => self.stand(topic).leave(id),
        }
    }

    async fn event(&mut self, now: Duration) {
        let Self { updates, asking, .. } = self;
        tokio::select! {
            payload = next_of(updates) => self.on_update(payload, now),
            done = asking.answer() => self.on_done(done, now),
        }
    }

    fn on_tick(&mut self, now: Duration) {
        self.flush(now);
        let heard = self.mirror.heard().is_some_and(|at| now.saturating_sub(at) <= self.inner.options.silence());
        let confirmed = heard && !self.mirror.is_behind();
        for stand in self.stands() {
            if stand.is_impatient(now) {
                stand.refuse(&Problem::from(silent()));
            }
            stand.confirm(confirmed);
            stand.tick(now);
        }
        self.warehouses.retain(|_, stand| !stand.is_over(now));
        if self.warehouses.is_empty() && self.cell.is_over(now) {
            self.idle_since.get_or_insert(now);
        } else {
            self.idle_since = None;
        }
        self.ask(now);
    }

    fn is_over(&self, _: Duration) -> bool {
        // Each board has lingered by itself.
        self.idle_since.is_some()
    }
}
