//! A session where its parties meet: the conversation (through [`SeatLink`]), the receiver of the moment, requests that bring the
//! client's messages, and the timer.
//!
//! All of them hold the [`Seat`] and change the sans-IO [`Session`] in it under one short lock; each change wakes those who may
//! wait for it and nobody else. The lock is never held over an await.

use super::{
    framing::{self, Shape},
    session::{Limits, Next, ReceiverId, Refused, Session, Untaken},
};
use crate::{
    bridge::link::{Gone, Incoming, Link, Message},
    clock::Stopwatch,
};
use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::sync::Notify;

#[derive(Debug)]
struct State {
    session: Session,
    /// Of the conversation.
    link: Option<Waker>,
    /// Of the receiver that is attached.
    receiver: Option<Waker>,
}

impl State {
    fn wake_link(&mut self) {
        if let Some(waker) = self.link.take() {
            waker.wake();
        }
    }

    fn wake_receiver(&mut self) {
        if let Some(waker) = self.receiver.take() {
            waker.wake();
        }
    }
}

/// One per session; lives as long as anybody holds it.
#[derive(Debug)]
pub(super) struct Seat {
    state: Mutex<State>,
    since: Stopwatch,
    /// The session is due earlier than it was.
    due: Notify,
    /// A receiver left, or the session is over.
    freed: Notify,
    /// The conversation took a message of the client's.
    room: Notify,
}

impl Seat {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        let session = Session::new(limits, Duration::ZERO);
        Arc::new(Self {
            state: Mutex::new(State { session, link: None, receiver: None }),
            since: Stopwatch::start(),
            due: Notify::new(),
            freed: Notify::new(),
            room: Notify::new(),
        })
    }

    /// Attaches a receiver. One that is attached gets `grace` to be gone: a client's next poll may overtake the news that its
    /// last one was taken, or was broken off.
    pub(super) async fn attach(
        self: &Arc<Self>,
        shape: &Shape,
        limit: usize,
        grace: Duration,
    ) -> Result<Receiver, Refused> {
        let waited = Stopwatch::start();
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            let attached = self.state.lock().session.attach(shape.clone(), limit, self.since.elapsed());
            match attached {
                Ok(id) => {
                    self.due.notify_one();
                    return Ok(Receiver { seat: self.clone(), id, attached: true });
                }
                Err(Refused::Over) => return Err(Refused::Over),
                Err(Refused::Busy) => {
                    let left = grace.saturating_sub(waited.elapsed());
                    tokio::time::timeout(left, freed).await.map_err(|_| Refused::Busy)?;
                }
            }
        }
    }

    /// Takes all of a client's messages, waiting for room as long as `patience`; or none.
    pub(super) async fn push(&self, texts: Vec<String>, patience: Duration) -> Result<(), Untaken> {
        let waited = Stopwatch::start();
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            let pushed = {
                let mut state = self.state.lock();
                let pushed = state.session.push(texts.clone());
                state.wake_link();
                pushed
            };
            match pushed {
                Err(Untaken::Full) => {
                    let left = patience.saturating_sub(waited.elapsed());
                    tokio::time::timeout(left, room).await.map_err(|_| Untaken::Full)?;
                }
                done @ (Ok(()) | Err(Untaken::Closed)) => return done,
            }
        }
    }

    /// Runs the session's timer until it is over.
    pub(super) async fn keep(&self) {
        loop {
            let (over, due) = {
                let state = self.state.lock();
                (state.session.is_over(), state.session.due())
            };
            if over {
                return;
            }
            let left = due.map_or(Duration::MAX, |due| due.saturating_sub(self.since.elapsed()));
            tokio::select! {
                () = tokio::time::sleep(left) => {
                    let mut state = self.state.lock();
                    state.session.on_due(self.since.elapsed());
                    state.wake_receiver();
                    if state.session.is_over() {
                        state.wake_link();
                        self.freed.notify_waiters();
                        self.room.notify_waiters();
                    }
                }
                () = self.due.notified() => {}
            }
        }
    }

    /// Ends the session at once.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.session.end();
        state.wake_link();
        state.wake_receiver();
        drop(state);
        self.due.notify_one();
        self.freed.notify_waiters();
        self.room.notify_waiters();
    }

    pub(super) fn is_over(&self) -> bool {
        self.state.lock().session.is_over()
    }

    fn close(&self, code: u16, reason: &str) {
        let mut state = self.state.lock();
        state.session.close(code, reason, self.since.elapsed());
        state.wake_receiver();
        drop(state);
        self.due.notify_one();
        self.room.notify_waiters();
    }

    fn detach(&self, id: ReceiverId, taken: bool) {
        let mut state = self.state.lock();
        state.session.detach(id, taken, self.since.elapsed());
        state.receiver = None;
        if state.session.is_closed() {
            state.wake_link();
        }
        drop(state);
        self.due.notify_one();
        self.freed.notify_waiters();
    }
}

/// The response of the moment: a stream of its bytes. Dropped before its end it has broken off.
#[derive(Debug)]
pub(super) struct Receiver {
    seat: Arc<Seat>,
    id: ReceiverId,
    attached: bool,
}

impl Receiver {
    /// The next bytes and whether they are the last, which end only with [`Self::taken`]; `None` when there are no more.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Bytes, bool)>> {
        if !self.attached {
            return Poll::Ready(None);
        }
        let mut state = self.seat.state.lock();
        match state.session.next(self.id, self.seat.since.elapsed()) {
            Next::Chunk { bytes, last } => Poll::Ready(Some((bytes, last))),
            Next::Wait => {
                state.receiver = Some(cx.waker().clone());
                state.wake_link();
                Poll::Pending
            }
            Next::End => {
                drop(state);
                self.attached = false;
                Poll::Ready(None)
            }
        }
    }

    /// All that it was given is taken, and it goes.
    pub(super) fn taken(&mut self) {
        if std::mem::take(&mut self.attached) {
            self.seat.detach(self.id, true);
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if self.attached {
            self.seat.detach(self.id, false);
        }
    }
}

/// Of a response on this node: what was handed over is taken.
impl Stream for Receiver {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let chunk = futures::ready!(self.poll_chunk(cx));
        Poll::Ready(chunk.map(|(bytes, last)| {
            if last {
                self.taken();
            }
            bytes
        }))
    }
}

/// The conversation's end of a session.
#[derive(Debug)]
pub(super) struct SeatLink {
    seat: Arc<Seat>,
    transport: &'static str,
    /// We closed it: that is no news.
    closed: bool,
}

impl SeatLink {
    pub(super) fn new(seat: Arc<Seat>, transport: &'static str) -> Self {
        Self { seat, transport, closed: false }
    }
}

impl Link for SeatLink {
    fn transport(&self) -> &'static str {
        self.transport
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, Gone>> {
        let mut state = self.seat.state.lock();
        if let Some(text) = state.session.pop() {
            self.seat.room.notify_waiters();
            return Poll::Ready(Ok(Incoming::Text(text.into())));
        }
        if state.session.is_closed() {
            return Poll::Ready(Err(Gone::Left));
        }
        if state.session.take_alive() {
            return Poll::Ready(Ok(Incoming::Alive));
        }
        state.link = Some(cx.waker().clone());
        Poll::Pending
    }

    fn queue(&mut self, messages: Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        let escaped: Vec<_> = messages.iter().map(|message| message.escaped(framing::escape)).collect();
        let mut state = self.seat.state.lock();
        for parts in &escaped {
            state.session.send(parts.iter().map(AsRef::as_ref));
        }
        state.wake_receiver();
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut state = self.seat.state.lock();
        if self.closed {
            // The session keeps the close frame for whoever comes.
            return Poll::Ready(Ok(()));
        }
        if state.session.is_closed() {
            return Poll::Ready(Err(Gone::Left));
        }
        if state.session.is_ready() {
            return Poll::Ready(Ok(()));
        }
        state.link = Some(cx.waker().clone());
        Poll::Pending
    }

    fn ping(&mut self) {
        // The session's own heartbeats keep the way open; whoever takes them is there.
        let mut state = self.seat.state.lock();
        state.session.ask_alive();
        state.wake_link();
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.closed = true;
        self.seat.close(code, reason);
    }
}

/// A conversation that ended without a word leaves nobody to talk to.
impl Drop for SeatLink {
    fn drop(&mut self) {
        if !self.closed {
            self.seat.close(1001, "going away");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt, poll};
    use std::future::poll_fn;

    const LIMITS: Limits = Limits {
        heartbeat: Duration::from_secs(25),
        disconnect_after: Duration::from_secs(5),
        inbound_max: 2,
        inbound_max_bytes: 100,
    };
    const GRACE: Duration = Duration::from_millis(100);

    async fn text(receiver: &mut Receiver) -> Option<String> {
        receiver.next().await.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn messages_are_taken_only_while_a_receiver_waits() {
        let seat = Seat::new(LIMITS);
        let mut link = SeatLink::new(seat.clone(), "test");
        let mut stream = seat.attach(&Shape::XhrStreaming, usize::MAX, GRACE).await.unwrap();
        let mut flush = Box::pin(poll_fn(|cx| link.poll_flush(cx)));
        assert!(poll!(&mut flush).is_pending(), "nobody asked for anything yet");
        assert_eq!(text(&mut stream).await.as_deref(), Some("o\n"));
        assert!(poll!(&mut flush).is_pending(), "the open frame is still on its way");
        let mut next = Box::pin(text(&mut stream));
        assert!(poll!(&mut next).is_pending());
        assert_eq!(flush.await, Ok(()));
        link.queue(vec![Message::own("a\"b"), Message::own("c")]);
        assert!(poll_fn(|cx| link.poll_flush(cx)).now_or_never().is_none(), "one batch at a time");
        assert_eq!(next.await.as_deref(), Some("a[\"a\\\"b\",\"c\"]\n"));
    }

    #[tokio::test]
    async fn a_second_receiver_waits_a_little_for_the_first() {
        let seat = Seat::new(LIMITS);
        let mut first = seat.attach(&Shape::XhrPolling, 1, GRACE).await.unwrap();
        assert_eq!(seat.attach(&Shape::XhrPolling, 1, Duration::from_millis(1)).await.unwrap_err(), Refused::Busy);
        let mut second = Box::pin(seat.attach(&Shape::XhrPolling, 1, Duration::from_secs(9)));
        assert!(poll!(&mut second).is_pending());
        assert_eq!(text(&mut first).await.as_deref(), Some("o\n"));
        assert!(second.await.is_ok());
        assert_eq!(text(&mut first).await, None, "a poll is one frame");
    }

    #[tokio::test]
    async fn a_receiver_that_is_dropped_takes_the_session_with_it() {
        let seat = Seat::new(LIMITS);
        let mut link = SeatLink::new(seat.clone(), "test");
        drop(seat.attach(&Shape::XhrStreaming, 1, GRACE).await.unwrap());
        let received = poll_fn(|cx| link.poll_recv(cx));
        assert_eq!(received.await, Err(Gone::Left));
        let mut late = seat.attach(&Shape::XhrStreaming, usize::MAX, GRACE).await.unwrap();
        assert_eq!(text(&mut late).await.as_deref(), Some("o\n"));
        assert_eq!(text(&mut late).await.as_deref(), Some("c[1002,\"Connection interrupted\"]\n"));
        assert_eq!(text(&mut late).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clients_messages_wait_for_room() {
        let seat = Seat::new(LIMITS);
        let mut link = SeatLink::new(seat.clone(), "test");
        let texts = |n: u8| (0..n).map(|n| n.to_string()).collect::<Vec<_>>();
        seat.push(texts(2), GRACE).await.unwrap();
        assert_eq!(seat.push(texts(1), GRACE).await, Err(Untaken::Full));
        let mut third = Box::pin(seat.push(texts(1), Duration::from_secs(9)));
        assert!(poll!(&mut third).is_pending());
        let first = poll_fn(|cx| link.poll_recv(cx)).await;
        assert_eq!(first, Ok(Incoming::Text("0".into())));
        third.await.unwrap();
        link.close(3000, "Go away!");
        assert_eq!(seat.push(texts(1), GRACE).await, Err(Untaken::Closed));
    }

    #[tokio::test]
    async fn the_timer_ends_a_session_without_a_receiver() {
        let limits = Limits { disconnect_after: Duration::from_millis(20), ..LIMITS };
        let seat = Seat::new(limits);
        let mut link = SeatLink::new(seat.clone(), "test");
        seat.keep().await;
        assert!(seat.is_over());
        assert_eq!(poll_fn(|cx| link.poll_recv(cx)).await, Err(Gone::Left));
    }
}
