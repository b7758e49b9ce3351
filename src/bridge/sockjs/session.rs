//! One SockJS session, sans-IO: who receives, what the next frame is, when it times out.
//!
//! A session is a way for messages that outlives its HTTP requests. It holds almost nothing itself: messages to the client
//! wait in the connection's outbox, which knows what may be conflated, and are taken from there only while a receiver is ready
//! for more ([`Session::is_ready`]). What a receiver was given is its own: if the receiver breaks off, what became of it is
//! unknown, and the session ends with 1002.
//!
//! ```text
//! new ── first receiver: o ──▶ open ── closed by us, or a receiver broke off ──▶ closed ── no receiver for 5 s ──▶ over
//!                               └───────────── no receiver for 5 s ────────────────────────────────────────────────▲
//! ```

use super::framing::{self, HEARTBEAT, INTERRUPTED, OPEN, Shape};
use bytes::Bytes;
use std::{collections::VecDeque, time::Duration};

/// Bounds of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Between frames to a receiver: a heartbeat is sent when there was no other.
    pub(super) heartbeat: Duration,
    /// How long a session is kept without a receiver.
    pub(super) disconnect_after: Duration,
    /// Messages of the client that wait to be read, and their bytes.
    pub(super) inbound_max: usize,
    pub(super) inbound_max_bytes: usize,
}

/// A receiver, by number; each has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReceiverId(u64);

/// Why a receiver isn't attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Another one is.
    Busy,
    /// The session timed out: there is none any more.
    Over,
}

/// Why messages of the client aren't taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Untaken {
    /// As much waits as may.
    Full,
    /// Nobody reads them any more.
    Closed,
}

/// What a receiver does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing yet; it is ready for more from now on.
    Wait,
    /// These bytes of the response. After the last ones the response ends, and its receiver is to be detached once they are taken.
    Chunk { bytes: Bytes, last: bool },
    /// The response ends here: the receiver isn't attached any more.
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The frame that says why, and since when.
    Closed(Bytes, Duration),
    Over,
}

#[derive(Debug)]
struct Attached {
    id: ReceiverId,
    shape: Shape,
    /// Bytes until the response ends.
    left: usize,
    /// It takes more.
    ready: bool,
    /// A heartbeat is due to it.
    beat: bool,
    /// Its last chunk was given.
    ended: bool,
    /// When it was given something last.
    since: Duration,
}

/// The state of a session.
#[derive(Debug)]
pub(super) struct Session {
    limits: Limits,
    phase: Phase,
    /// Whether `o` was sent.
    opened: bool,
    attached: Option<Attached>,
    receivers: u64,
    /// When the last receiver left, or the session began.
    left_at: Duration,
    /// Messages to the client, quoted and with commas between.
    out: Vec<u8>,
    inbound: VecDeque<String>,
    inbound_bytes: usize,
    /// The peer showed that it is there, and nobody heard of it yet.
    alive: bool,
}

impl Session {
    /// Begins at `now`, which is a time of the session's own as all others here.
    pub(super) fn new(limits: Limits, now: Duration) -> Self {
        Self {
            limits,
            phase: Phase::Open,
            opened: false,
            attached: None,
            receivers: 0,
            left_at: now,
            out: Vec::new(),
            inbound: VecDeque::new(),
            inbound_bytes: 0,
            alive: false,
        }
    }

    /// Attaches a receiver whose response ends after `limit` bytes or more.
    pub(super) fn attach(&mut self, shape: Shape, limit: usize, now: Duration) -> Result<ReceiverId, Refused> {
        match (&self.phase, &self.attached) {
            (Phase::Over, _) => Err(Refused::Over),
            (Phase::Open | Phase::Closed(..), Some(_)) => Err(Refused::Busy),
            (Phase::Open | Phase::Closed(..), None) => {
                self.receivers += 1;
                let id = ReceiverId(self.receivers);
                let attached = Attached { id, shape, left: limit, ready: false, beat: false, ended: false, since: now };
                self.attached = Some(attached);
                self.alive = true;
                Ok(id)
            }
        }
    }

    /// What the receiver does next.
    pub(super) fn next(&mut self, id: ReceiverId, now: Duration) -> Next {
        let Some(receiver) = self.attached.as_mut().filter(|receiver| receiver.id == id && !receiver.ended) else {
            return Next::End;
        };
        let mut closes = false;
        let frame = if self.phase == Phase::Over {
            return Next::End;
        } else if !self.opened {
            self.opened = true;
            Bytes::from_static(OPEN)
        } else if !self.out.is_empty() {
            [b"a[", std::mem::take(&mut self.out).as_slice(), b"]"].concat().into()
        } else {
            match &self.phase {
                Phase::Closed(frame, _) => {
                    closes = true;
                    frame.clone()
                }
                Phase::Open if receiver.beat => Bytes::from_static(HEARTBEAT),
                Phase::Open => {
                    receiver.ready = true;
                    return Next::Wait;
                }
                Phase::Over => return Next::End,
            }
        };
        (receiver.ready, receiver.beat, receiver.since) = (false, false, now);
        let bytes = receiver.shape.wrap(&frame);
        receiver.left = receiver.left.saturating_sub(bytes.len());
        receiver.ended = closes || receiver.left == 0 || receiver.shape.is_polling();
        Next::Chunk { bytes, last: receiver.ended }
    }

    /// A receiver is gone: `taken`, if it took all that it was given.
    pub(super) fn detach(&mut self, id: ReceiverId, taken: bool, now: Duration) {
        if self.attached.as_ref().is_none_or(|receiver| receiver.id != id) {
            return;
        }
        self.attached = None;
        self.left_at = now;
        if !taken && self.phase == Phase::Open {
            self.out.clear();
            self.close(INTERRUPTED.0, INTERRUPTED.1, now);
        }
    }

    /// Whether messages queued now go out at once.
    pub(super) fn is_ready(&self) -> bool {
        let takes = self.attached.as_ref().is_some_and(|receiver| receiver.ready);
        takes && self.phase == Phase::Open && self.out.is_empty()
    }

    /// Queues a message: its parts, each escaped as part of a JSON string.
    pub(super) fn send<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>) {
        if self.phase == Phase::Open {
            self.out.extend_from_slice(if self.out.is_empty() { b"\"" } else { b",\"" });
            parts.into_iter().for_each(|part| self.out.extend_from_slice(part));
            self.out.push(b'"');
        }
    }

    /// Takes all of these messages of the client's, or none.
    pub(super) fn push(&mut self, texts: Vec<String>) -> Result<(), Untaken> {
        if self.phase != Phase::Open {
            return Err(Untaken::Closed);
        }
        let bytes: usize = texts.iter().map(String::len).sum();
        let full = self.inbound.len() + texts.len() > self.limits.inbound_max
            || self.inbound_bytes + bytes > self.limits.inbound_max_bytes;
        // What is larger than the bound by itself was small enough for a request's body.
        if full && !self.inbound.is_empty() {
            return Err(Untaken::Full);
        }
        self.alive = true;
        self.inbound_bytes += bytes;
        self.inbound.extend(texts);
        Ok(())
    }

    /// The client's oldest message.
    pub(super) fn pop(&mut self) -> Option<String> {
        let text = self.inbound.pop_front()?;
        self.inbound_bytes -= text.len();
        Some(text)
    }

    /// Closes it; what was queued before still goes out. Only the first close counts.
    pub(super) fn close(&mut self, code: u16, reason: &str, now: Duration) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closed(framing::close(code, reason), now);
            self.inbound.clear();
            self.inbound_bytes = 0;
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.phase != Phase::Open
    }

    /// It timed out, or was ended: to be forgotten.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The peer is there: it takes what is written now.
    pub(super) fn ask_alive(&mut self) {
        self.alive |= self.attached.as_ref().is_some_and(|receiver| receiver.ready);
    }

    /// Whether the peer showed that it is there since this was asked last.
    pub(super) fn take_alive(&mut self) -> bool {
        std::mem::take(&mut self.alive)
    }

    /// When [`Self::on_due`] is to be called.
    pub(super) fn due(&self) -> Option<Duration> {
        match (&self.phase, &self.attached) {
            (Phase::Over, _) => None,
            (Phase::Open | Phase::Closed(..), None) => Some(self.left_at + self.limits.disconnect_after),
            (Phase::Open, Some(receiver)) => Some(receiver.since + self.limits.heartbeat),
            // It doesn't come for the close frame: then it goes without.
            (Phase::Closed(_, since), Some(_)) => Some(*since + self.limits.disconnect_after),
        }
    }

    /// A heartbeat is due, or the end. One that comes early changes nothing.
    pub(super) fn on_due(&mut self, now: Duration) {
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        match (&self.phase, &mut self.attached) {
            (Phase::Open, Some(receiver)) => {
                receiver.since = now;
                // One that takes nothing is not helped by more.
                receiver.beat = receiver.ready;
            }
            (Phase::Open | Phase::Closed(..) | Phase::Over, _) => self.end(),
        }
    }

    /// Ends it at once, without a word.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Over;
        self.out.clear();
        self.inbound.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        heartbeat: Duration::from_secs(25),
        disconnect_after: Duration::from_secs(5),
        inbound_max: 3,
        inbound_max_bytes: 100,
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn new() -> Session {
        Session::new(LIMITS, at(0))
    }

    fn chunk(bytes: &str, last: bool) -> Next {
        Next::Chunk { bytes: Bytes::copy_from_slice(bytes.as_bytes()), last }
    }

    /// Polls once.
    fn poll(session: &mut Session, now: u64) -> String {
        let id = session.attach(Shape::XhrPolling, usize::MAX, at(now)).unwrap();
        let next = session.next(id, at(now));
        session.detach(id, matches!(next, Next::Chunk { last: true, .. }), at(now));
        match next {
            Next::Chunk { bytes, .. } => String::from_utf8(bytes.to_vec()).unwrap(),
            Next::Wait => "wait".into(),
            Next::End => "end".into(),
        }
    }

    #[test]
    fn a_stream_gets_frames_until_its_limit() {
        let mut session = new();
        let id = session.attach(Shape::XhrStreaming, 12, at(0)).unwrap();
        assert!(!session.is_ready(), "nothing goes before the open frame");
        assert_eq!(session.next(id, at(0)), chunk("o\n", false));
        assert_eq!(session.next(id, at(0)), Next::Wait);
        assert!(session.is_ready());
        session.send([b"a".as_slice(), b"b"]);
        session.send([b"c".as_slice()]);
        assert!(!session.is_ready(), "one batch at a time");
        assert_eq!(session.next(id, at(1)), chunk("a[\"ab\",\"c\"]\n", true));
        assert_eq!(session.next(id, at(1)), Next::End);
        assert_eq!(session.attach(Shape::XhrStreaming, 9, at(1)), Err(Refused::Busy), "not before the last was taken");
        session.detach(id, true, at(1));
        let id = session.attach(Shape::XhrStreaming, 9, at(1)).unwrap();
        assert_eq!(session.next(id, at(1)), Next::Wait);
    }

    #[test]
    fn heartbeats_come_when_nothing_else_does() {
        let mut session = new();
        let id = session.attach(Shape::EventSource, usize::MAX, at(0)).unwrap();
        session.next(id, at(0));
        session.next(id, at(0));
        assert_eq!(session.due(), Some(at(25)));
        session.on_due(at(24));
        assert_eq!(session.next(id, at(24)), Next::Wait);
        session.send([b"x".as_slice()]);
        session.next(id, at(20));
        session.next(id, at(20));
        assert_eq!(session.due(), Some(at(45)), "25 s after the last frame");
        session.on_due(at(45));
        assert_eq!(session.next(id, at(45)), chunk("data: h\r\n\r\n", false));
        session.on_due(at(70));
        assert_eq!((session.due(), session.next(id, at(71))), (Some(at(95)), Next::Wait), "none for who takes nothing");
    }

    #[test]
    fn without_a_receiver_it_times_out() {
        let mut session = new();
        assert_eq!(poll(&mut session, 0), "o\n");
        assert_eq!(session.due(), Some(at(5)));
        let id = session.attach(Shape::XhrPolling, usize::MAX, at(4)).unwrap();
        session.next(id, at(4));
        session.send([b"x".as_slice()]);
        session.next(id, at(10));
        session.detach(id, true, at(10));
        session.on_due(at(14));
        assert!(!session.is_over());
        session.on_due(at(15));
        assert!(session.is_over() && session.is_closed() && session.due().is_none());
        assert_eq!(session.attach(Shape::XhrPolling, 1, at(15)), Err(Refused::Over));
        assert_eq!(session.push(vec!["x".into()]), Err(Untaken::Closed));
    }

    #[test]
    fn the_close_frame_is_served_until_the_timeout() {
        let mut session = new();
        session.close(3000, "Go away!", at(0));
        assert_eq!(poll(&mut session, 0), "o\n", "every session says so first");
        assert_eq!(poll(&mut session, 1), "c[3000,\"Go away!\"]\n");
        assert_eq!(poll(&mut session, 2), "c[3000,\"Go away!\"]\n");
        session.close(1000, "other", at(2));
        assert_eq!(poll(&mut session, 6), "c[3000,\"Go away!\"]\n");
        session.on_due(at(11));
        assert!(session.is_over());
    }

    #[test]
    fn what_was_queued_goes_before_the_close() {
        let mut session = new();
        let id = session.attach(Shape::XhrStreaming, usize::MAX, at(0)).unwrap();
        session.next(id, at(0));
        session.next(id, at(0));
        session.send([b"x".as_slice()]);
        session.close(4000, "slow", at(0));
        assert_eq!(session.next(id, at(0)), chunk("a[\"x\"]\n", false));
        assert_eq!(session.next(id, at(0)), chunk("c[4000,\"slow\"]\n", true));
        let mut stuck = new();
        let id = stuck.attach(Shape::XhrStreaming, usize::MAX, at(0)).unwrap();
        stuck.close(4000, "slow", at(0));
        stuck.on_due(at(5));
        assert_eq!((stuck.is_over(), stuck.next(id, at(6))), (true, Next::End));
    }

    #[test]
    fn a_receiver_that_breaks_off_ends_the_session() {
        let mut session = new();
        assert_eq!(poll(&mut session, 0), "o\n");
        let id = session.attach(Shape::XhrPolling, usize::MAX, at(0)).unwrap();
        assert_eq!(session.next(id, at(0)), Next::Wait);
        assert_eq!(session.attach(Shape::XhrPolling, usize::MAX, at(0)), Err(Refused::Busy));
        session.detach(id, false, at(1));
        assert_eq!(poll(&mut session, 1), "c[1002,\"Connection interrupted\"]\n");
        assert_eq!(poll(&mut session, 2), "c[1002,\"Connection interrupted\"]\n");
    }

    #[test]
    fn inbound_is_bounded_and_all_or_nothing() {
        let mut session = new();
        let texts = |n: usize| vec!["x".to_owned(); n];
        assert_eq!(session.push(texts(2)), Ok(()));
        assert_eq!(session.push(texts(2)), Err(Untaken::Full));
        assert_eq!(session.push(vec!["y".repeat(99)]), Err(Untaken::Full));
        assert_eq!((session.pop().as_deref(), session.pop().as_deref(), session.pop()), (Some("x"), Some("x"), None));
        assert_eq!(session.push(vec!["y".repeat(1_000)]), Ok(()), "alone it goes");
    }

    #[test]
    fn who_receives_is_alive() {
        let mut session = new();
        assert!(!session.take_alive());
        let id = session.attach(Shape::XhrStreaming, usize::MAX, at(0)).unwrap();
        assert!(session.take_alive());
        session.ask_alive();
        assert!(!session.take_alive(), "it takes nothing yet");
        session.next(id, at(0));
        session.next(id, at(0));
        session.ask_alive();
        assert!(session.take_alive() && !session.take_alive());
    }

    proptest! {
        /// Whatever happens in whatever order: what was queued while it was ready comes once and in order, until the close.
        #[test]
        fn nothing_is_lost_twice_or_out_of_order(steps in proptest::collection::vec((0..5_u8, 0..9_u64), 1..80)) {
            let (mut session, mut now, mut sent, mut got) = (new(), at(0), 0_usize, Vec::new());
            let mut receiver = None;
            for (step, wait) in steps {
                now += Duration::from_millis(wait * 100);
                session.on_due(now);
                match step {
                    0 if receiver.is_none() => receiver = session.attach(Shape::XhrStreaming, 40, now).ok(),
                    0 | 1 => if session.is_ready() {
                        session.send([format!("{sent}").as_bytes()]);
                        sent += 1;
                    },
                    _ => if let Some(id) = receiver {
                        match session.next(id, now) {
                            Next::Chunk { bytes, last } => {
                                let text = String::from_utf8(bytes.to_vec()).unwrap();
                                if let Some(array) = text.strip_prefix('a') {
                                    got.extend(serde_json::from_str::<Vec<String>>(array.trim()).unwrap());
                                }
                                if last {
                                    session.detach(id, true, now);
                                    receiver = None;
                                }
                            }
                            Next::Wait => {}
                            Next::End => receiver = None,
                        }
                    },
                }
            }
            let expected: Vec<_> = (0..sent).map(|n| n.to_string()).collect();
            prop_assert!(got == expected || got == expected[..sent.saturating_sub(1)], "{got:?} of {sent}");
        }
    }
}
