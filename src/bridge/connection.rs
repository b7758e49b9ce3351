//! A client's connection, whatever it came by: its session, its outbox, and its places in the hub and the boards.
//!
//! It performs what the session decides. Frames come out of the outbox; who writes them, and in what form, is the
//! [`conversation`](super::conversation)'s business.

use super::{
    Inner,
    boards::{self, Cut},
    commands::Ask,
    frame::{About, Frame},
    gate,
    hub::{Follower, FollowerId, HubEnded, Lens, Resume, Shape},
    outbox::Outbox,
    reject::Rejection,
    replay::{Cue, Replays},
    session::{Action, Limits, Session},
};
use crate::{
    clock::Stopwatch,
    domain::OrderId,
    geo::Datum,
    ports::TokenError,
    wire::{
        access::{Principal, Right, Role},
        answer::Outcome,
        client::{ClientFrame, Close, ServerFrame},
        problem::Problem,
        replay::ReplayFrame,
        topic::Topic,
    },
};
use futures::future::BoxFuture;
use std::{sync::Arc, time::Duration};

pub(super) struct Connection {
    pub(super) bridge: Arc<Inner>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) session: Session,
    pub(super) heartbeat: Duration,
    /// The session's time.
    pub(super) since: Stopwatch,
    id: FollowerId,
    /// As follower of whole bodies: an order may be followed both ways.
    whole_id: FollowerId,
    datum: Datum,
    replays: Replays,
}

impl Connection {
    /// A connection of whom nobody knows yet whose it is.
    pub(super) fn open(bridge: Arc<Inner>, datum: Datum) -> Self {
        let options = &bridge.options;
        let heartbeat = *bridge.heartbeat.read();
        let limits = Limits {
            topics_max: options.topics_max,
            replays_max: options.replays_max,
            subscribes_per_s: options.subscribes_per_s,
            frame_max_bytes: options.frame_max_bytes,
            bad_frames_max: options.bad_frames_max,
            heartbeat,
            authenticate_within: options.authenticate_within,
            expiry_grace: options.expiry_grace,
        };
        Self {
            id: bridge.hub.register(),
            whole_id: bridge.hub.register(),
            outbox: Arc::new(Outbox::new(options.outbox_max_bytes, &bridge.metrics)),
            session: Session::open(&uuid::Uuid::now_v7().simple().to_string(), limits),
            replays: Replays::new(bridge.ports.source.clone()),
            since: Stopwatch::start(),
            bridge,
            heartbeat,
            datum,
        }
    }

    /// Tells the session who it is. A share link is registered first and looked at afterwards, so that no revocation goes
    /// unheard.
    pub(super) async fn authenticated(&mut self, found: Result<Arc<Principal>, TokenError>) -> Result<(), Close> {
        if let Ok(who) = &found
            && let (Role::Shared, Some(order)) = (who.role, &who.order)
            && self.session.who().is_none()
            && who.expires_at.is_some()
        {
            self.bridge.shares.register(order, who.id.clone(), &self.outbox);
            let close = match self.bridge.shares.is_live(order, &who.id).await {
                Ok(true) => None,
                Ok(false) => Some(Close::Revoked),
                Err(_) => Some(Close::GoingAway),
            };
            if let Some(close) = close {
                self.outbox.close(close);
                self.bridge.shares.sweep(order);
                return Err(close);
            }
        }
        let found = found.map(|who| {
            let left = gate::left(&who);
            (who, left)
        });
        let actions = self.session.on_authenticated(found, self.since.elapsed());
        Box::pin(self.perform_all(actions)).await
    }

    /// Opens a session that follows one order and nothing else: the frames up to the subscription's answer, or the problem
    /// that ended it.
    pub(super) async fn begin(
        &mut self,
        who: Arc<Principal>,
        topic: Topic,
        resume: Option<Resume>,
    ) -> Result<Vec<Frame>, Rejection> {
        self.authenticated(Ok(who)).await.map_err(ended)?;
        let (version, epoch) = (resume.map(|r| r.version), resume.map(|r| r.epoch));
        let subscribe = ClientFrame::Subscribe { topic: topic.to_string(), version, epoch, bounds: None };
        let actions = self.session.on_frame(subscribe, self.since.elapsed());
        self.perform_all(actions).await.map_err(ended)?;
        let mut frames = Vec::new();
        let is_answer = |frame: &Frame| matches!(frame.about(), About::Subscribed { .. } | About::Error { .. });
        let patience = self.bridge.options.answer_timeout.max(self.bridge.options.hub.patience * 2);
        self.gather(patience, &mut frames, is_answer).await.map_err(ended)?;
        for frame in &frames {
            if let About::Error { problem, .. } = frame.about() {
                return Err(Rejection(problem.clone()));
            }
        }
        if frames.iter().any(is_answer) { Ok(frames) } else { Err(ended(Close::GoingAway).into()) }
    }

    /// Adds what is queued to `frames`, until there is one that is `wanted` or the time is over; or why the session ended.
    pub(super) async fn gather(
        &mut self,
        wait: Duration,
        frames: &mut Vec<Frame>,
        wanted: impl Fn(&Frame) -> bool,
    ) -> Result<(), Close> {
        let (outbox, cancel) = (self.outbox.clone(), self.bridge.cancel.clone());
        let until = self.since.elapsed() + wait;
        loop {
            let next = self.session.due().map_or(until, |due| due.min(until));
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = outbox.ready() => {
                    frames.extend(self.take(usize::MAX)?);
                    if frames.iter().any(&wanted) {
                        return Ok(());
                    }
                }
                () = tokio::time::sleep(next.saturating_sub(self.since.elapsed())) => {
                    let now = self.since.elapsed();
                    let actions = self.session.on_due(now);
                    self.perform_all(actions).await?;
                    if now >= until {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Performs actions in their order, until one closes the connection.
    pub(super) async fn perform_all(&mut self, actions: Vec<Action>) -> Result<(), Close> {
        for action in actions {
            self.perform(action).await?;
        }
        Ok(())
    }

    pub(super) async fn perform(&mut self, action: Action) -> Result<(), Close> {
        match action {
            Action::Send(frame) => self.say(&frame),
            Action::Beat => self.outbox.beat(),
            Action::Authenticate { token } => {
                let bridge = self.bridge.clone();
                let found = tokio::time::timeout(bridge.options.query_timeout, bridge.admit(&token)).await;
                let found = found.unwrap_or(Err(TokenError::Unavailable)).map(Arc::new);
                return self.authenticated(found).await;
            }
            Action::Follow { topic, resume, generation, bounds } => {
                let Some(who) = self.session.who().cloned() else { return Ok(()) };
                let (bridge, outbox) = (&self.bridge, self.outbox.clone());
                let order = of_order(&topic);
                // An order is of whatever cell; whether that is the follower's shows its state.
                let permitted = match order {
                    Some(_) => gate::permit_role(&who, topic.right()),
                    None => bridge.permit(&who, topic.right()),
                };
                if let Err(Rejection(problem)) = permitted {
                    let problem = *problem;
                    let frame = Frame::new(&ServerFrame::Error { topic: Some(topic.to_string()), problem }, None);
                    let _ = outbox.refuse(&topic, generation, frame);
                } else if let Some((order, shape)) = order {
                    let lens = Lens { view: who.role.view(), datum: self.datum, shape };
                    let follower = Follower { id: self.id(shape), outbox, who, lens, resume, generation };
                    bridge.hub.follow(order, follower).await.map_err(hub_ended)?;
                } else {
                    let cut = Cut { datum: self.datum, bounds };
                    let follower = boards::Follower { id: self.id, outbox, cut, resume, generation };
                    bridge.boards.follow(topic, follower).await.map_err(hub_ended)?;
                }
            }
            Action::Unfollow { topic } => match of_order(&topic) {
                Some(of) => {
                    let id = self.id(of.1);
                    self.bridge.hub.unfollow(of, id, &self.outbox).await.map_err(hub_ended)?;
                }
                None => self.bridge.boards.unfollow(topic, self.id, &self.outbox).await.map_err(hub_ended)?,
            },
            Action::Replay(cue) => self.cue(cue),
            Action::Close(close) => return Err(close),
        }
        Ok(())
    }

    fn id(&self, shape: Shape) -> FollowerId {
        match shape {
            Shape::Deltas => self.id,
            Shape::Whole => self.whole_id,
        }
    }

    /// Queues a frame of the session's. A shut outbox says why when it is next looked at, which is at once.
    fn say(&self, frame: &ServerFrame) {
        let _ = self.outbox.push(Frame::new(frame, None));
    }

    /// Tells the replays, if they are this one's to see.
    fn cue(&mut self, cue: Cue) {
        let Some(who) = self.session.who().cloned() else { return };
        if let (Cue::Start { replay, .. }, Err(Rejection(problem))) = (&cue, gate::permit_role(&who, Right::ReadTrack))
        {
            self.session.on_replay_failed(*replay);
            return self.say(&ServerFrame::Replay(ReplayFrame::ReplayFailed { replay: *replay, problem: *problem }));
        }
        let lens = Lens { view: who.role.view(), datum: self.datum, shape: Shape::Deltas };
        self.replays.cue(cue, (&who, lens), self.since.elapsed());
        self.show_replays();
    }

    /// A command as whoever this is, to be waited for beside everything else.
    pub(super) fn command(&self, ask: Ask) -> BoxFuture<'static, Result<Outcome, Problem>> {
        let (bridge, who, datum) = (self.bridge.clone(), self.session.who().cloned(), self.datum);
        Box::pin(async move {
            let who = who.ok_or_else(|| gate::unauthorized("a command needs a token"))?;
            ask.perform(&bridge, &who, datum).await
        })
    }

    /// Whether there are replays, or something left to say of one.
    pub(super) fn has_replays(&self) -> bool {
        self.replays.are_there()
    }

    /// Resolves when replays have something to show.
    pub(super) async fn replays_ready(&mut self) {
        self.replays.ready(self.since).await;
    }

    /// Queues what replays show now: a bounded number of frames each, and more only when these are written.
    pub(super) fn show_replays(&mut self) {
        let (frames, failed) = self.replays.show(self.since.elapsed());
        failed.into_iter().for_each(|replay| self.session.on_replay_failed(replay));
        frames.into_iter().for_each(|frame| self.say(&ServerFrame::Replay(frame)));
    }

    /// Frames to write next, of about `max_bytes`, and whether a heartbeat comes after them; or why there are none any more.
    pub(super) fn take(&mut self, max_bytes: usize) -> Result<Vec<Frame>, Close> {
        let batch = self.outbox.take(max_bytes)?;
        batch.ended.iter().for_each(|(topic, generation)| self.session.on_ended(topic, *generation));
        let mut frames = batch.frames;
        frames.extend(batch.beat.map(Frame::heartbeat));
        Ok(frames)
    }

    /// Nothing more is queued, and hub and boards forget the connection.
    pub(super) async fn leave(self) {
        self.outbox.close(Close::GoingAway);
        for topic in self.session.topics() {
            let left = match of_order(topic) {
                Some((order, shape)) => self.bridge.hub.leave(order, self.id(shape)).await,
                None => self.bridge.boards.leave(topic.clone(), self.id).await,
            };
            if left.is_err() {
                break;
            }
        }
        if let Some(order) = self.session.who().and_then(|who| who.order.as_ref()) {
            self.bridge.shares.sweep(order);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The hub forgets this connection even if it doesn't come to its end.
        self.outbox.close(Close::GoingAway);
    }
}

/// What a request is answered whose session ended.
pub(super) fn ended(close: Close) -> Problem {
    match close {
        Close::Revoked | Close::TokenExpired | Close::Unauthorized => gate::unauthorized(close.reason()),
        Close::SlowConsumer
        | Close::GoingAway
        | Close::FrameTooLarge
        | Close::BadFrames
        | Close::Refused
        | Close::Done => Problem::new(503, "closed", "The session ended").with_detail(close.reason()),
    }
}

fn hub_ended(_: HubEnded) -> Close {
    Close::GoingAway
}

/// The order that a topic is of, which the hub has.
fn of_order(topic: &Topic) -> Option<(OrderId, Shape)> {
    match topic {
        Topic::Order(order) => Some((order.clone(), Shape::Deltas)),
        Topic::Whole(order) => Some((order.clone(), Shape::Whole)),
        Topic::Rider(_) | Topic::Warehouse(_) | Topic::Cell | Topic::Alerts => None,
    }
}
