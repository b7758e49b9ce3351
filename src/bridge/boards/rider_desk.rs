//! A rider's desk: the rider's words from the owner, the orders in hand from the hub, and who follows.

use super::{
    BoardOptions, Command, Inner, Label,
    desk::{Asking, RENEW_EVERY, Work, next_of, silent},
    rider::{Heard, RiderBoard},
    stand::Stand,
};
use crate::{
    bridge::{
        hub::{self, FollowerId, Lens, Shape},
        outbox::{Batch, Outbox},
        source::{Found, SourceError, UpdateStream},
    },
    domain::{OrderId, RiderId},
    geo::Datum,
    wire::{
        access::{Principal, Role},
        board::{Board, RiderWord},
        client::{Close, ServerFrame},
        problem::Problem,
        query::RiderQuery,
        topic::Topic,
    },
};
use bytes::Bytes;
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// Frames of the orders in hand that wait for the desk. It takes them at once, and begins anew if it couldn't.
const BYTES_MAX: usize = 4 << 20;

/// An answer to a question.
pub(super) enum Done {
    Followed(Result<UpdateStream, SourceError>),
    Read(Found<RiderWord>),
}

/// What the hub is to be told next.
#[derive(Clone)]
enum Wish {
    Follow(OrderId),
    Leave(OrderId),
}

pub(super) struct RiderDesk {
    inner: Arc<Inner>,
    id: RiderId,
    board: RiderBoard,
    stand: Stand,
    updates: Option<UpdateStream>,
    asking: Asking<Done>,
    renew_at: Duration,
    follower: FollowerId,
    outbox: Arc<Outbox>,
    wishes: VecDeque<Wish>,
}

impl RiderDesk {
    pub(super) fn new(id: RiderId, inner: Arc<Inner>) -> Self {
        let label = Label::new(Topic::Rider(id.clone()), inner.metrics.clone());
        Self {
            board: RiderBoard::new(id.clone()),
            // Each delta holds all stops, with what names their customers: none is kept for those who come back, since an
            // order may have gone to another rider meanwhile, or its customer's data been erased.
            stand: Stand::new(label, BoardOptions { ring_max: 0, ..inner.options }),
            updates: None,
            asking: Asking::new(&inner.options),
            renew_at: Duration::ZERO,
            follower: inner.hub.register(),
            outbox: Arc::new(Outbox::new(BYTES_MAX, &inner.metrics)),
            wishes: VecDeque::new(),
            id,
            inner,
        }
    }

    /// Asks what is to be asked next, if it is time.
    fn ask(&mut self, now: Duration) {
        if !self.asking.may_ask(now) {
            return;
        }
        if self.updates.is_none() {
            let follow = self.inner.source.follow_rider(&self.id);
            return self.asking.ask(Box::pin(async move { Done::Followed(follow.await) }));
        }
        let beats = self.inner.options.owner_heartbeat * 3 / 2;
        let silent = self.board.heard().is_none_or(|at| now.saturating_sub(at) > beats);
        if silent || self.renew_at <= now {
            let read = self.inner.source.rider(RiderQuery { rider: self.id.clone() });
            self.asking.ask(Box::pin(async move { Done::Read(read.await) }));
        }
    }

    fn on_done(&mut self, done: Done, now: Duration) {
        match done {
            Done::Followed(Ok(updates)) => {
                self.updates = Some(updates);
                // What was said before it is in the answer to the next question.
                self.renew_at = now;
            }
            Done::Read(Ok(Some(word))) => {
                self.asking.succeeded();
                self.renew_at = now + RENEW_EVERY;
                let heard = self.board.on_word(word, now);
                self.take(heard);
            }
            Done::Read(Ok(None)) => {
                self.asking.wait(now);
                // A rider who is here doesn't vanish: a new owner hasn't come so far in the log yet.
                if !self.board.is_loaded() {
                    let unknown = Problem::new(404, "unknown_rider", "There is no such rider").with_field("topic");
                    self.stand.refuse(&unknown);
                }
            }
            Done::Followed(Err(error)) | Done::Read(Err(error)) => {
                self.asking.wait(now);
                if self.stand.is_impatient(now) && !self.board.is_loaded() {
                    self.stand.refuse(&Problem::from(error));
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
        match serde_json::from_slice::<RiderWord>(&payload) {
            Ok(word) => {
                let heard = self.board.on_word(word, now);
                self.take(heard);
            }
            Err(error) => tracing::warn!(rider = %self.id, %error, "a rider's word that can't be read"),
        }
    }

    /// Does what follows from what was heard.
    fn take(&mut self, heard: Heard) {
        self.wishes.extend(heard.leave.into_iter().map(Wish::Leave));
        self.wishes.extend(heard.follow.into_iter().map(Wish::Follow));
        if heard.changed {
            let (board, at) = (&self.board, self.board.at());
            self.stand.turn(at, |cut| board.draw(cut.datum).unwrap_or_default());
        }
        self.admit();
    }

    fn admit(&mut self) {
        if self.board.is_complete() && self.stand.has_waiting() {
            let (board, at) = (&self.board, self.board.at());
            self.stand.admit(at, |cut| board.draw(cut.datum).unwrap_or_default());
        }
    }

    fn on_frames(&mut self, now: Duration) {
        let Ok(Batch { frames, ended, beat: _ }) = self.outbox.take(usize::MAX) else {
            // More than it could hold: everything anew.
            self.outbox = Arc::new(Outbox::new(BYTES_MAX, &self.inner.metrics));
            self.follower = self.inner.hub.register();
            self.wishes.retain(|wish| matches!(wish, Wish::Leave(_)));
            self.wishes.extend(self.board.orders().cloned().map(Wish::Follow));
            return;
        };
        let mut all = Heard::default();
        for frame in frames {
            match serde_json::from_slice::<ServerFrame>(&frame.json()) {
                Ok(frame) => {
                    let heard = self.board.on_frame(frame);
                    all.follow.extend(heard.follow);
                    all.changed |= heard.changed;
                }
                Err(error) => tracing::error!(%error, "a frame of the hub that can't be read"),
            }
        }
        for (topic, _) in ended {
            // Should it be an earlier wish that was refused, the order is asked for once more than needed.
            if let Topic::Order(order) = topic {
                self.board.on_refused(&order, now + self.inner.options.retry_last);
                all.changed = true;
            }
        }
        self.take(all);
    }

    fn may_serve(&self, now: Duration) -> bool {
        self.board.is_complete() || (self.board.is_loaded() && self.stand.is_impatient(now))
    }
}

/// Tells the hub. Dropped while it waits for room, the wish has not been told.
async fn tell(inner: &Inner, wish: Option<Wish>, follower: FollowerId, outbox: &Arc<Outbox>) {
    let lens = Lens { view: Board::Rider.view(), datum: Datum::Wgs84, shape: Shape::Deltas };
    // The desk itself: the trip may be known before the order is, or after it. What it shows is what the order's own state
    // says that this rider has.
    let (role, id) = (Role::Rider, "desk".into());
    let who = Arc::new(Principal { role, id, cells: None, order: None, expires_at: None, everyone: true });
    // A hub that has ended takes this desk with it.
    let _ = match wish {
        Some(Wish::Follow(order)) => {
            let follower =
                hub::Follower { id: follower, outbox: outbox.clone(), who, lens, resume: None, generation: 0 };
            inner.hub.follow(order, follower).await
        }
        Some(Wish::Leave(order)) => inner.hub.leave(order, follower).await,
        None => std::future::pending().await,
    };
}

impl Work for RiderDesk {
    fn on_command(&mut self, command: Command, now: Duration) {
        match command {
            Command::Follow(_, follower) => {
                self.stand.follow(follower, now);
                self.admit();
                self.ask(now);
            }
            Command::Unfollow(_, id, outbox) => self.stand.unfollow(id, &outbox),
            Command::Leave(_, id) => self.stand.leave(id),
        }
    }

    async fn event(&mut self, now: Duration) {
        let Self { inner, updates, asking, outbox, wishes, follower, .. } = self;
        tokio::select! {
            payload = next_of(updates) => self.on_update(payload, now),
            done = asking.answer() => self.on_done(done, now),
            () = outbox.ready() => self.on_frames(now),
            () = tell(inner, wishes.front().cloned(), *follower, outbox) => drop(wishes.pop_front()),
        }
    }

    fn on_tick(&mut self, now: Duration) {
        self.wishes.extend(self.board.due(now).into_iter().map(Wish::Follow));
        if self.stand.is_impatient(now) {
            if self.may_serve(now) {
                let (board, at) = (&self.board, self.board.at());
                self.stand.admit(at, |cut| board.draw(cut.datum).unwrap_or_default());
            } else {
                self.stand.refuse(&Problem::from(silent()));
            }
        }
        let orders = self.outbox.said();
        let level = self.board.is_complete() && orders.unconfirmed.is_empty();
        let heard = self.board.heard().is_some_and(|at| now.saturating_sub(at) <= self.inner.options.silence());
        self.stand.confirm(level && heard);
        self.stand.tick(now);
        self.ask(now);
    }

    fn is_over(&self, now: Duration) -> bool {
        self.stand.is_over(now)
    }
}

impl Drop for RiderDesk {
    /// The hub takes a shut outbox off its lists by itself.
    fn drop(&mut self) {
        self.outbox.close(Close::GoingAway);
    }
}
