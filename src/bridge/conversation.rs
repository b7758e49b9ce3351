//! The loop of one connection, the same for every protocol over every transport.
//!
//! ```text
//! hub, boards ─▶ outbox ─▶ protocol.encode ─▶ link        link ─▶ protocol.on_text ─▶ session ─▶ actions ─▶ hub, boards
//! ```
//!
//! One task per connection, and nothing but it: what waits is written with one call of the link per wake-up, and while the
//! link takes no more, the outbox is told so (it conflates) and reading goes on.

use super::{
    commands::Ask,
    connection::Connection,
    delivered::Delivered,
    drain::Place,
    frame::Frame,
    link::{Gone, Incoming, Link, Message},
    session::{Action, Session},
};
use crate::{
    metrics::{CloseReason, Metrics},
    wire::{access::Principal, answer::Outcome, client::Close, problem::Problem},
};
use futures::future::BoxFuture;
use prometheus_client::metrics::gauge::Gauge;
use std::{convert::Infallible, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

/// Silent heartbeats after which a peer is taken for gone.
const SILENT_BEATS: u32 = 3;

/// What is taken from the outbox at once: more than the kernel takes of a client that keeps up, and little beside the
/// outbox's bound, for what is taken isn't replaced any more.
const TAKE_BYTES: usize = 32 << 10;

/// Answers that wait for a link which takes nothing, until nothing more is read.
const SAID_MAX: usize = 64;

/// What a protocol wants done.
#[derive(Debug)]
pub(super) enum Wish {
    /// Of the session.
    Act(Action),
    /// Say this, after all that is queued.
    Say(Message),
    /// A command, whose outcome [`Protocol::on_outcome`] hears. One at a time: the next one is wished for then.
    Command(Ask),
    Close(Close),
}

/// What the session decided, as wishes.
pub(super) fn acts(actions: Vec<Action>) -> Vec<Wish> {
    actions.into_iter().map(Wish::Act).collect()
}

/// How frames are said and understood. Sans-IO; `now` is the session's time.
pub(super) trait Protocol: Send + 'static {
    /// A message of the client.
    fn on_text(&mut self, text: &[u8], session: &mut Session, now: Duration) -> Vec<Wish>;

    /// A frame as messages, if it is one that this client is told. `Some`: they are the last ones.
    fn encode(&mut self, frame: &Frame, out: &mut Vec<Message>) -> Option<Close>;

    /// The outcome of the [`Wish::Command`].
    fn on_outcome(&mut self, _outcome: Result<Outcome, Problem>) -> Vec<Wish> {
        Vec::new()
    }

    /// The last message before the connection is closed, if the protocol has one that isn't said yet.
    fn farewell(&mut self, _close: Close) -> Option<Message> {
        None
    }

    /// When [`Self::on_due`] is to be called, if it stays so quiet.
    fn due(&self) -> Option<Duration> {
        None
    }

    /// The time of [`Self::due`] has come.
    fn on_due(&mut self, _session: &mut Session, _now: Duration) -> Vec<Wish> {
        Vec::new()
    }
}

/// How a connection ended.
enum End {
    /// We closed it.
    Closed(Close),
    /// The peer went away, or never said anything any more.
    Gone(&'static str),
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::Closed(close)
    }
}

enum Event {
    Written,
    Received(Incoming),
}

struct Conversation<P, L> {
    connection: Connection,
    protocol: P,
    link: L,
    /// The link has something that it couldn't write yet.
    writing: bool,
    /// Messages to be written after what the link has.
    said: Vec<Message>,
    /// The command whose outcome is waited for.
    command: Option<BoxFuture<'static, Result<Outcome, Problem>>>,
    silent: u32,
    beat_at: Duration,
    delivered: Delivered,
    open: Open,
}

/// Runs a connection to its end. `who`: whose it is, if that is known already.
///
/// What an idle connection holds is this future: an `async fn` would hold its arguments beside what became of them, and each
/// branch that is rarely taken as well, so the state has a place of its own and those branches are boxed where they are taken.
pub(super) fn run<P: Protocol, L: Link>(
    connection: Connection,
    who: Option<Arc<Principal>>,
    protocol: P,
    link: L,
) -> impl Future<Output = ()> + Send {
    let metrics = &connection.bridge.metrics;
    // Told to go when the node leaves.
    let place = connection.bridge.drain.place();
    let open = Open::new(metrics, link.transport());
    let delivered = Delivered::over(metrics, link.transport());
    let conversation = Box::new(Conversation {
        open,
        delivered,
        beat_at: connection.heartbeat,
        connection,
        protocol,
        link,
        writing: false,
        said: Vec::new(),
        command: None,
        silent: 0,
    });
    async move {
        let (mut conversation, mut place) = (conversation, place);
        let begun = match who {
            Some(who) => Box::pin(conversation.connection.authenticated(Ok(who))).await.map_err(End::Closed),
            None => Ok(()),
        };
        let end = match begun {
            Ok(()) => {
                let Err(end) = conversation.turns(&mut place).await;
                end
            }
            Err(end) => end,
        };
        Box::pin(conversation.finish(end)).await;
    }
}

impl<P: Protocol, L: Link> Conversation<P, L> {
    /// Leaves hub and boards, and says why, as far as the peer still listens.
    async fn finish(self: Box<Self>, end: End) {
        let Self { connection, mut protocol, mut link, open, .. } = *self;
        let (bridge, timeout) = (connection.bridge.clone(), connection.bridge.options.close_timeout);
        if let End::Closed(close) = end
            && let Some(message) = protocol.farewell(close)
        {
            link.queue(vec![message]);
        }
        connection.leave().await;
        let reason = match end {
            // What answers the peer's close, or says which rule it broke, is with the link.
            End::Gone(reason) => reason,
            End::Closed(close) => {
                link.close(close.code(), close.reason());
                close.reason()
            }
        };
        let rest = async {
            if poll_fn(|cx| link.poll_flush(cx)).await.is_ok() {
                poll_fn(|cx| link.poll_linger(cx)).await;
            }
        };
        let _ = tokio::time::timeout(timeout, rest).await;
        if !reason.is_empty() {
            bridge.metrics.connections_closed.get_or_create(&CloseReason { reason }).inc();
        }
        drop(open);
    }

    /// Goes on until the end.
    async fn turns(&mut self, place: &mut Place) -> Result<Infallible, End> {
        let cancel = self.connection.bridge.cancel.clone();
        let outbox = self.connection.outbox.clone();
        let start = tokio::time::Instant::now();
        // One for all turns: all connections share the token's lock.
        let mut cancelled = pin!(cancel.cancelled());
        let mut alarm = pin!(tokio::time::sleep_until(start + self.due()));
        let mut set_to = self.due();
        let mut told = pin!(place.told());
        loop {
            let due = self.due();
            if due != set_to {
                alarm.as_mut().reset(start + due);
                set_to = due;
            }
            let event = {
                // Who doesn't read the answers that there are isn't asked for more.
                let (link, writing, reading) = (&mut self.link, self.writing, self.said.len() < SAID_MAX);
                poll_fn(move |cx| {
                    match link.poll_flush(cx) {
                        Poll::Ready(Ok(())) if writing => return Poll::Ready(Ok(Event::Written)),
                        Poll::Ready(Err(gone)) => return Poll::Ready(Err(gone)),
                        Poll::Ready(Ok(())) | Poll::Pending => {}
                    }
                    if reading { link.poll_recv(cx).map_ok(Event::Received) } else { Poll::Pending }
                })
            };
            // Hardly a connection has any.
            let replays = async {
                match self.connection.has_replays() {
                    true => Box::pin(self.connection.replays_ready()).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = cancelled.as_mut() => return Err(End::Closed(Close::GoingAway)),
                // Before all that the client can keep busy.
                () = alarm.as_mut() => {
                    // An alarm that has rung stays so until it is set again.
                    set_to = Duration::ZERO;
                    self.on_due().await?;
                }
                farewell = told.as_mut() => {
                    let actions = self.connection.session.on_farewell(farewell);
                    self.perform(acts(actions)).await?;
                    return Err(End::Closed(Close::GoingAway));
                }
                () = outbox.ready() => {
                    if outbox.is_shut() {
                        return Err(End::Closed(self.connection.take(0).err().unwrap_or(Close::SlowConsumer)));
                    }
                    self.write().await?;
                }
                event = event => match event {
                    Ok(Event::Written) => {
                        self.set_writing(false);
                        self.write().await?;
                    }
                    Ok(Event::Received(incoming)) => {
                        self.silent = 0;
                        self.receive(incoming).await?;
                    }
                    Err(Gone::TooLarge) => return Err(End::Closed(Close::FrameTooLarge)),
                    Err(Gone::Left | Gone::Broken) => return Err(End::Gone("")),
                },
                outcome = outcome_of(&mut self.command) => {
                    self.command = None;
                    let wishes = self.protocol.on_outcome(outcome);
                    self.perform(wishes).await?;
                }
                // Last, so that all that waits is written before more is shown.
                () = replays => self.connection.show_replays(),
            }
        }
    }

    /// When something is to be done, if it stays so quiet.
    fn due(&self) -> Duration {
        [self.connection.session.due(), self.protocol.due()].into_iter().flatten().fold(self.beat_at, Duration::min)
    }

    async fn on_due(&mut self) -> Result<(), End> {
        let now = self.connection.since.elapsed();
        let actions = self.connection.session.on_due(now);
        Box::pin(self.perform(acts(actions))).await?;
        if self.protocol.due().is_some_and(|due| due <= now) {
            let wishes = self.protocol.on_due(&mut self.connection.session, now);
            Box::pin(self.perform(wishes)).await?;
        }
        if self.beat_at <= now {
            self.beat_at = now + self.connection.heartbeat;
            self.silent += 1;
            if self.silent > SILENT_BEATS {
                return Err(End::Gone("silent"));
            }
            if let Some(action) = self.connection.session.on_tick() {
                Box::pin(self.connection.perform(action)).await?;
            }
            // A peer that is there answers it by itself. One that takes nothing has enough to read.
            if !self.writing {
                self.link.ping();
            }
        }
        Ok(())
    }

    async fn receive(&mut self, incoming: Incoming) -> Result<(), End> {
        let (session, now) = (&mut self.connection.session, self.connection.since.elapsed());
        let wishes = match incoming {
            Incoming::Text(text) => self.protocol.on_text(&text, session, now),
            Incoming::Binary => acts(session.on_binary()),
            Incoming::Alive => Vec::new(),
        };
        Box::pin(self.perform(wishes)).await
    }

    /// Does what is wished; what explains a close is with the link before it.
    async fn perform(&mut self, wishes: Vec<Wish>) -> Result<(), End> {
        for wish in wishes {
            let done = match wish {
                Wish::Act(action) => Box::pin(self.connection.perform(action)).await,
                Wish::Say(message) => {
                    self.said.push(message);
                    Ok(())
                }
                Wish::Command(ask) => {
                    self.command = Some(self.connection.command(ask));
                    Ok(())
                }
                Wish::Close(close) => Err(close),
            };
            if let Err(close) = done {
                // Whether or not the link takes more now: it has it before the close, and is given its time then.
                let _ = poll_fn(|cx| Poll::Ready(self.link.poll_flush(cx))).await;
                let _ = self.hand_over(usize::MAX);
                return Err(close.into());
            }
        }
        if !self.said.is_empty() {
            self.write().await?;
        }
        Ok(())
    }

    /// Hands over what waits, unless the link is still busy, and writes as much as goes at once.
    async fn write(&mut self) -> Result<(), End> {
        if self.writing {
            return Ok(());
        }
        // Where nobody listens now, as between two polls, what waits stays where newer positions replace older ones.
        match poll_fn(|cx| Poll::Ready(self.link.poll_flush(cx))).await {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Err(End::Gone("")),
            Poll::Pending => {
                self.set_writing(true);
                return Ok(());
            }
        }
        let handed = self.hand_over(TAKE_BYTES);
        // Also where nothing was taken: a frame that passed by may have left its rest with the link.
        match poll_fn(|cx| Poll::Ready(self.link.poll_flush(cx))).await {
            Poll::Ready(Ok(())) => self.set_writing(false),
            Poll::Ready(Err(_)) => return Err(End::Gone("")),
            Poll::Pending => self.set_writing(true),
        }
        handed.map_err(End::Closed)
    }

    /// Gives the link about `max_bytes` of what is queued and all that is to be said, or only that where the outbox is shut. An
    /// error: nothing comes after it.
    fn hand_over(&mut self, max_bytes: usize) -> Result<(), Close> {
        let taken = self.connection.take(max_bytes);
        let (frames, mut last) = match taken {
            Ok(frames) => (frames, None),
            Err(close) => (Vec::new(), Some(close)),
        };
        let mut messages = Vec::with_capacity(frames.len() + self.said.len());
        for frame in &frames {
            last = last.or(self.protocol.encode(frame, &mut messages));
        }
        messages.append(&mut self.said);
        if !messages.is_empty() {
            self.link.queue(messages);
        }
        self.connection.outbox.handed_over();
        self.delivered.note(&frames);
        last.map_or(Ok(()), Err)
    }

    fn set_writing(&mut self, writing: bool) {
        self.writing = writing;
        self.connection.outbox.set_blocked(writing);
    }
}

/// Resolves with the outcome of the command that is under way, if one is.
async fn outcome_of(command: &mut Option<BoxFuture<'static, Result<Outcome, Problem>>>) -> Result<Outcome, Problem> {
    match command {
        Some(command) => command.await,
        None => std::future::pending().await,
    }
}

/// Counts an open connection until it is dropped, however its task ends.
pub(super) struct Open(Gauge);

impl Open {
    pub(super) fn new(metrics: &Metrics, transport: &'static str) -> Self {
        let gauge = metrics.connections_over(transport);
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
