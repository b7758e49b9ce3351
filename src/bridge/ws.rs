//! `/v1/ws`: the session over axum's WebSocket. Thin: it moves frames between socket, session, hub and outbox.

use super::{
    Inner,
    hub::{FollowerId, Lens},
    outbox::{Frame, Outbox},
    params::Params,
    principal,
    reject::{Query, Rejection},
    session::{self, Action, Limits, Session},
};
use crate::{
    bridge::hub::frame_of,
    clock::{self, Stopwatch},
    metrics::{CloseReason, Metrics, Step, Transport},
    wire::client::Close,
};
use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, rejection::WebSocketUpgradeRejection},
    },
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
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Rejection> {
    let lens = principal::take_lens(&mut params)?;
    params.end()?;
    let max = bridge.options.frame_max_bytes;
    let upgrade = upgrade.map_err(|e| Rejection::axum(e.status(), &e.body_text()))?;
    // Clients send little: small buffers keep idle connections cheap.
    let upgrade =
        upgrade.read_buffer_size(2 << 10).write_buffer_size(8 << 10).max_message_size(max).max_frame_size(max);
    // axum spawns the task itself: the token makes shutdown wait for it all the same.
    let token = bridge.tracker.token();
    let run = move |socket| async move {
        Box::pin(run(bridge, lens, socket)).await;
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
    lens: Lens,
    outbox: Arc<Outbox>,
    session: Session,
    heartbeat: std::time::Duration,
    /// The session's time.
    since: Stopwatch,
    delivered: Counter,
    latency: Histogram,
}

async fn run(bridge: Arc<Inner>, lens: Lens, mut socket: WebSocket) {
    let metrics = bridge.metrics.clone();
    let open = metrics.connections.get_or_create(&Transport { transport: "ws" }).clone();
    open.inc();
    let options = &bridge.options;
    let heartbeat = *bridge.heartbeat.read();
    let limits = Limits {
        topics_max: options.topics_max,
        subscribes_per_s: options.subscribes_per_s,
        frame_max_bytes: options.frame_max_bytes,
        bad_frames_max: options.bad_frames_max,
        heartbeat,
    };
    let close_timeout = options.close_timeout;
    let (session, hello) = Session::open(&uuid::Uuid::now_v7().simple().to_string(), lens.view, limits);
    let mut connection = Connection {
        id: bridge.hub.register(),
        outbox: Arc::new(Outbox::new(options.outbox_max_frames, options.outbox_max_bytes)),
        delivered: metrics.frames_delivered.get_or_create(&Transport { transport: "ws" }).clone(),
        latency: metrics.latency_seconds.get_or_create(&Step { step: "delivered" }).clone(),
        bridge,
        lens,
        session,
        heartbeat,
        since: Stopwatch::start(),
    };
    let end = match connection.perform(hello).await {
        Ok(()) => connection.serve(&mut socket).await,
        Err(end) => end,
    };
    // Nothing more is queued, and the hub forgets this connection even if the rest doesn't come to its end.
    connection.outbox.close(Close::GoingAway);
    finish(socket, end, &metrics, close_timeout).await;
    for order in connection.session.topics() {
        if connection.bridge.hub.leave(order.clone(), connection.id).await.is_err() {
            break;
        }
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
                () = outbox.ready() => if let Err(end) = self.write(socket).await {
                    return end;
                },
                message = socket.recv() => {
                    silent = 0;
                    if let Err(end) = self.read(message).await {
                        // The error frame that explains the close goes first, if the peer takes it.
                        let timeout = self.bridge.options.close_timeout;
                        let _ = tokio::time::timeout(timeout, self.write(socket)).await;
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
            }
        }
    }

    async fn read(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        let actions = match message {
            Some(Ok(Message::Text(text))) => self.session.on_text(&text, self.since.elapsed()),
            Some(Ok(Message::Binary(_))) => self.session.on_binary(),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Vec::new(),
            Some(Ok(Message::Close(_))) | None => return Err(End::Gone("")),
            Some(Err(error)) if is_too_large(&error) => return Err(End::Closed(Close::FrameTooLarge)),
            Some(Err(_)) => return Err(End::Gone("")),
        };
        for action in actions {
            self.perform(action).await?;
        }
        Ok(())
    }

    async fn perform(&mut self, action: Action) -> Result<(), End> {
        let hub_ended = |_| End::Closed(Close::GoingAway);
        let (hub, outbox) = (&self.bridge.hub, &self.outbox);
        match action {
            // A shut outbox says why when it is next looked at, which is at once.
            Action::Send(frame) => drop(outbox.push(frame_of(&frame, None))),
            Action::Beat => drop(outbox.beat(|beat| frame_of(&session::heartbeat(beat), None))),
            Action::Follow { order, resume, generation } => {
                hub.follow(order, self.id, self.lens, (resume, generation), outbox).await.map_err(hub_ended)?;
            }
            Action::Unfollow { order } => hub.unfollow(order, self.id, outbox).await.map_err(hub_ended)?,
            Action::Close(close) => {
                return Err(End::Closed(close));
            }
        }
        Ok(())
    }

    /// Writes all that waits with one flush.
    async fn write(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        let (frames, ended) = self.outbox.take().map_err(End::Closed)?;
        ended.iter().for_each(|(order, generation)| self.session.on_ended(order, *generation));
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

/// Whether a read failed because the frame was larger than what was allowed.
fn is_too_large(error: &axum::Error) -> bool {
    // axum wraps tungstenite's error; its text is all that can be had without depending on that version of it.
    error.to_string().contains("too long") || error.to_string().contains("too big")
}
