//! `/v1/ws`: the session over axum's WebSocket. Thin: it moves frames between socket, session, hub and outbox.

use super::{
    Inner,
    boards::{self, Cut},
    gate::{self, SUBPROTOCOL},
    hub::{Follower, FollowerId, HubEnded, Lens},
    outbox::{Frame, Outbox},
    params::Params,
    reject::{Query, Rejection},
    replay::{Cue, Replays},
    session::{self, Action, Limits, Session},
};
use crate::{
    bridge::hub::frame_of,
    clock::{self, Stopwatch},
    geo::Datum,
    metrics::{CloseReason, Metrics, Step, Transport},
    ports::TokenError,
    wire::{
        access::{Principal, Right, Role},
        client::{Close, ServerFrame},
        replay::ReplayFrame,
        topic::Topic,
    },
};
use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, Method},
    response::{IntoResponse, Response},
};
use futures::SinkExt;
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};
use std::sync::Arc;
use tokio::time::MissedTickBehavior;

/// Silent heartbeats after which a peer is taken for gone.
const SILENT_BEATS: u32 = 3;

pub(super) async fn upgrade(
    State(bridge): State<Arc<Inner>>,
    Query(mut params): Query<Params>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Rejection> {
    let token = match gate::presented(&headers, &Method::GET)? {
        Some(token) => Some(token),
        None => gate::offered(&headers),
    };
    let datum = gate::take_datum(&mut params)?;
    // A token that is there must be good; without one the first frame may bring it.
    let who = bridge.identify(token.as_deref(), &mut params).await?.map(Arc::new);
    params.end()?;
    let max = bridge.options.frame_max_bytes;
    let upgrade = upgrade.map_err(|e| {
        let mut rejection = Rejection::axum(e.status(), &e.body_text());
        rejection.0.field = Some("Upgrade".into());
        rejection
    })?;
    // Clients send little: small buffers keep idle connections cheap.
    let upgrade =
        upgrade.read_buffer_size(2 << 10).write_buffer_size(8 << 10).max_message_size(max).max_frame_size(max);
    // Never the offer that holds the token.
    let upgrade = upgrade.protocols([SUBPROTOCOL]);
    // axum spawns the task itself: the token makes shutdown wait for it all the same.
    let token = bridge.tracker.token();
    let run = move |socket| async move {
        Box::pin(run(bridge, (who, datum), socket)).await;
        drop(token);
    };
    Ok(upgrade.on_upgrade(run).into_response())
}

/// How a connection ended.
enum End {
    /// We closed it.
    Closed(Close),
    /// The peer went away, or never said anything any more.
    Gone(&'static str),
}

struct Connection {
    bridge: Arc<Inner>,
    id: FollowerId,
    datum: Datum,
    outbox: Arc<Outbox>,
    session: Session,
    replays: Replays,
    heartbeat: std::time::Duration,
    /// The session's time.
    since: Stopwatch,
    delivered: Counter,
    latency: Histogram,
}

async fn run(bridge: Arc<Inner>, (who, datum): (Option<Arc<Principal>>, Datum), mut socket: WebSocket) {
    let metrics = bridge.metrics.clone();
    let open = metrics.connections.get_or_create(&Transport { transport: "ws" }).clone();
    open.inc();
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
    let close_timeout = options.close_timeout;
    let session = Session::open(&uuid::Uuid::now_v7().simple().to_string(), limits);
    let mut connection = Connection {
        id: bridge.hub.register(),
        outbox: Arc::new(Outbox::new(options.outbox_max_frames, options.outbox_max_bytes)),
        delivered: metrics.frames_delivered.get_or_create(&Transport { transport: "ws" }).clone(),
        latency: metrics.latency_seconds.get_or_create(&Step { step: "delivered" }).clone(),
        replays: Replays::new(bridge.ports.source.clone()),
        bridge,
        datum,
        session,
        heartbeat,
        since: Stopwatch::start(),
    };
    let begun = match who {
        Some(who) => connection.authenticated(Ok(who)).await,
        None => Ok(()),
    };
    let end = match begun {
        Ok(()) => connection.serve(&mut socket).await,
        Err(end) => end,
    };
    // Nothing more is queued, and the hub forgets this connection even if the rest doesn't come to its end.
    connection.outbox.close(Close::GoingAway);
    finish(socket, end, &metrics, close_timeout).await;
    for topic in connection.session.topics() {
        if connection.bridge.leave(topic, connection.id).await.is_err() {
            break;
        }
    }
    if let Some(order) = connection.session.who().and_then(|who| who.order.as_ref()) {
        connection.bridge.shares.sweep(order);
    }
    open.dec();
}

/// Says why, as far as the peer still listens.
async fn finish(mut socket: WebSocket, end: End, metrics: &Metrics, timeout: std::time::Duration) {
    let reason = match end {
        End::Gone("") => return,
        End::Gone(reason) => reason,
        End::Closed(close) => {
            let frame = CloseFrame { code: close.code(), reason: close.reason().into() };
            let _ = tokio::time::timeout(timeout, socket.send(Message::Close(Some(frame)))).await;
            close.reason()
        }
    };
    metrics.connections_closed.get_or_create(&CloseReason { reason }).inc();
}

impl Inner {
    /// The connection follows a topic no more: it is gone.
    async fn leave(&self, topic: &Topic, id: FollowerId) -> Result<(), HubEnded> {
        match topic {
            Topic::Order(order) => self.hub.leave(order.clone(), id).await,
            Topic::Rider(_) | Topic::Warehouse(_) | Topic::Cell | Topic::Alerts => {
                self.boards.leave(topic.clone(), id).await
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.outbox.close(Close::GoingAway);
    }
}

impl Connection {
    async fn serve(&mut self, socket: &mut WebSocket) -> End {
        let mut beats = tokio::time::interval(self.heartbeat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats.reset();
        let cancel = self.bridge.cancel.clone();
        let outbox = self.outbox.clone();
        let mut silent = 0;
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return End::Closed(Close::GoingAway),
                // Before all that the client can keep busy.
                () = until(self.session.due(), self.since) => {
                    let actions = self.session.on_due(self.since.elapsed());
                    if let Err(end) = self.perform_all(actions, socket).await {
                        return end;
                    }
                }
                () = outbox.ready() => if let Err(end) = self.write(socket).await {
                    return end;
                },
                message = socket.recv() => {
                    silent = 0;
                    let actions = match self.read(message) {
                        Ok(actions) => actions,
                        Err(end) => return end,
                    };
                    if let Err(end) = self.perform_all(actions, socket).await {
                        return end;
                    }
                }
                _ = beats.tick() => {
                    silent += 1;
                    if silent > SILENT_BEATS {
                        return End::Gone("silent");
                    }
                    if let Some(action) = self.session.on_tick()
                        && let Err(end) = self.perform(action).await {
                        return end;
                    }
                    // A peer that is there answers it by itself.
                    if let Err(end) = self.guarded(socket.send(Message::Ping(bytes::Bytes::new()))).await {
                        return end;
                    }
                }
                // Last, so that all that waits is written before more is shown.
                () = self.replays.ready(self.since) => self.show_replays(),
            }
        }
    }

    fn read(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<Vec<Action>, End> {
        Ok(match message {
            Some(Ok(Message::Text(text))) => self.session.on_text(&text, self.since.elapsed()),
            Some(Ok(Message::Binary(_))) => self.session.on_binary(),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Vec::new(),
            Some(Ok(Message::Close(_))) | None => return Err(End::Gone("")),
            Some(Err(error)) if is_too_large(&error) => return Err(End::Closed(Close::FrameTooLarge)),
            Some(Err(_)) => return Err(End::Gone("")),
        })
    }

    /// Performs all actions; what explains a close goes out before it, if the peer takes it.
    async fn perform_all(&mut self, actions: Vec<Action>, socket: &mut WebSocket) -> Result<(), End> {
        for action in actions {
            if let Err(end) = self.perform(action).await {
                let timeout = self.bridge.options.close_timeout;
                let _ = tokio::time::timeout(timeout, self.write(socket)).await;
                return Err(end);
            }
        }
        Ok(())
    }

    /// Tells the session who it is. A share link is registered first and looked at afterwards, so that no revocation goes
    /// unheard.
    async fn authenticated(&mut self, found: Result<Arc<Principal>, TokenError>) -> Result<(), End> {
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
                return Err(End::Closed(close));
            }
        }
        let found = found.map(|who| {
            let left = gate::left(&who);
            (who, left)
        });
        for action in self.session.on_authenticated(found, self.since.elapsed()) {
            Box::pin(self.perform(action)).await?;
        }
        Ok(())
    }

    async fn perform(&mut self, action: Action) -> Result<(), End> {
        let hub_ended = |_| End::Closed(Close::GoingAway);
        let (bridge, outbox) = (&self.bridge, &self.outbox);
        match action {
            // A shut outbox says why when it is next looked at, which is at once.
            Action::Send(frame) => drop(outbox.push(frame_of(&frame, None))),
            Action::Beat => drop(outbox.beat(|beat| frame_of(&session::heartbeat(beat), None))),
            Action::Authenticate { token } => {
                let bridge = self.bridge.clone();
                let found = tokio::time::timeout(bridge.options.query_timeout, bridge.admit(&token)).await;
                let found = found.unwrap_or(Err(TokenError::Unavailable)).map(Arc::new);
                return self.authenticated(found).await;
            }
            Action::Follow { topic, resume, generation, bounds } => {
                let Some(who) = self.session.who().cloned() else { return Ok(()) };
                if let Err(Rejection(problem)) = bridge.permit(&who, topic.right()) {
                    let problem = *problem;
                    let frame = frame_of(&ServerFrame::Error { topic: Some(topic.to_string()), problem }, None);
                    let _ = outbox.refuse(&topic, generation, frame);
                } else if let Topic::Order(order) = topic {
                    let lens = Lens { view: who.role.view(), datum: self.datum };
                    let follower = Follower { id: self.id, outbox: outbox.clone(), who, lens, resume, generation };
                    bridge.hub.follow(order, follower).await.map_err(hub_ended)?;
                } else {
                    let cut = Cut { datum: self.datum, bounds };
                    let follower = boards::Follower { id: self.id, outbox: outbox.clone(), cut, resume, generation };
                    bridge.boards.follow(topic, follower).await.map_err(hub_ended)?;
                }
            }
            Action::Unfollow { topic: Topic::Order(order) } => {
                bridge.hub.unfollow(order, self.id, outbox).await.map_err(hub_ended)?;
            }
            Action::Unfollow { topic } => bridge.boards.unfollow(topic, self.id, outbox).await.map_err(hub_ended)?,
            Action::Replay(cue) => self.cue(cue),
            Action::Close(close) => {
                return Err(End::Closed(close));
            }
        }
        Ok(())
    }

    /// Tells the replays, if they are this one's to see.
    fn cue(&mut self, cue: Cue) {
        let Some(who) = self.session.who().cloned() else { return };
        if let (Cue::Start { replay, .. }, Err(Rejection(problem))) = (&cue, self.bridge.permit(&who, Right::ReadTrack))
        {
            self.session.on_replay_failed(*replay);
            let failed = ServerFrame::Replay(ReplayFrame::ReplayFailed { replay: *replay, problem: *problem });
            let _ = self.outbox.push(frame_of(&failed, None));
            return;
        }
        let lens = Lens { view: who.role.view(), datum: self.datum };
        self.replays.cue(cue, (&who, lens), self.since.elapsed());
        self.show_replays();
    }

    /// Queues what replays show now: a bounded number of frames each, and more only when these are written.
    fn show_replays(&mut self) {
        let (frames, failed) = self.replays.show(self.since.elapsed());
        failed.into_iter().for_each(|replay| self.session.on_replay_failed(replay));
        for frame in frames {
            // A shut outbox says why when it is next looked at.
            let _ = self.outbox.push(frame_of(&ServerFrame::Replay(frame), None));
        }
    }

    /// Writes all that waits with one flush.
    async fn write(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        let (frames, ended) = self.outbox.take().map_err(End::Closed)?;
        ended.iter().for_each(|(topic, generation)| self.session.on_ended(topic, *generation));
        let (count, mut times) = (frames.len() as u64, Vec::new());
        let batch = async {
            for Frame { text, log_time } in frames {
                times.extend(log_time);
                socket.feed(Message::Text(text)).await?;
            }
            socket.flush().await
        };
        self.guarded(batch).await?;
        let now = clock::wall();
        self.delivered.inc_by(count);
        times.iter().for_each(|time| self.latency.observe(now.since(*time).max(0) as f64 / 1_000.0));
        Ok(())
    }

    /// A write, given up when the outbox is shut, or when the peer takes nothing for as long as it may be silent: on a
    /// quiet order nothing fills the outbox, and while this waits nobody counts beats.
    async fn guarded(&self, write: impl Future<Output = Result<(), axum::Error>>) -> Result<(), End> {
        tokio::select! {
            biased;
            done = write => done.map_err(|_| End::Gone("")),
            () = self.outbox.shut() => Err(End::Closed(self.outbox.take().err().unwrap_or(Close::SlowConsumer))),
            () = self.bridge.cancel.cancelled() => Err(End::Closed(Close::GoingAway)),
            () = tokio::time::sleep(self.bridge.options.heartbeat * SILENT_BEATS) => Err(End::Gone("silent")),
        }
    }
}

/// Resolves at a time of the session's; never, if there is none.
async fn until(due: Option<std::time::Duration>, since: Stopwatch) {
    match due {
        Some(due) => tokio::time::sleep(due.saturating_sub(since.elapsed())).await,
        None => std::future::pending().await,
    }
}

/// Whether a read failed because the frame was larger than what was allowed.
fn is_too_large(error: &axum::Error) -> bool {
    // axum wraps tungstenite's error; its text is all that can be had without depending on that version of it.
    error.to_string().contains("too long") || error.to_string().contains("too big")
}
