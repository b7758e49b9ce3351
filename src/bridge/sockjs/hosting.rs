//! The side of a session's node: it runs the session's timer and answers what other nodes ask for their clients.
//!
//! A receiver on another node gets one chunk at a time. The question for the next one says that the last was taken; while
//! none comes, the session isn't ready for more and what is new waits in the outbox. A node that says nothing for [`SILENCE`]
//! is taken for gone, and its receiver for broken off.

use super::{
    framing::{self, BUSY},
    peers::{Answer, Ask, Bearer, Call, Calls, Reply},
    rack::Timing,
    seat::{Receiver, Seat},
    session::{Refused, Untaken},
};
use bytes::Bytes;
use futures::StreamExt;
use std::{collections::HashMap, future::poll_fn, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

/// A question that nothing came for is answered after this time, so that its asker knows that the session's node is there.
const HOLD: Duration = Duration::from_secs(4);

/// The same of the first question: the response's head waits for it.
const FIRST_HOLD: Duration = Duration::from_millis(5);

/// A node that has a receiver speaks at least every [`super::remote::STILL`]; after thrice that, it is gone.
const SILENCE: Duration = super::remote::STILL.saturating_mul(3);

/// Largest piece of an answer: two fit into what NATS takes by default, with room for what is around it.
const PIECE: usize = 256 << 10;

/// Receivers of other nodes at once: one, and those that wait for its end.
const RECEIVERS_MAX: usize = 8;

/// Sends at once. A client sends one after the other.
const SENDS_MAX: usize = 16;

/// Whether a request may use a session: it presented nothing, or what the session was opened with. A session that nobody
/// presented anything for takes its identity from its first message, and from no request.
pub(super) fn admits(session: Option<Bearer>, request: Option<Bearer>) -> bool {
    request.is_none() || session.is_none() || session == request
}

/// Runs a session until it is over.
pub(super) async fn host(seat: Arc<Seat>, bearer: Option<Bearer>, calls: Calls, timing: Timing, tracker: TaskTracker) {
    let mut receivers: HashMap<u128, mpsc::Sender<Call>> = HashMap::new();
    let sends = Arc::new(Semaphore::new(SENDS_MAX));
    let mut kept = std::pin::pin!(seat.keep());
    // Without a way to other nodes it serves its own.
    let mut calls = calls.chain(futures::stream::pending());
    loop {
        let call = tokio::select! {
            biased;
            () = kept.as_mut() => return,
            Some(call) = calls.next() => call,
        };
        match &call.ask {
            Ask::Send { bearer: presented, .. } => {
                let admitted = admits(bearer, *presented);
                let (ask, reply) = call.split();
                let (Ask::Send { texts, .. }, true, Ok(permit)) = (ask, admitted, sends.clone().try_acquire_owned())
                else {
                    reply(if admitted { Answer::Full } else { Answer::Unknown }).await;
                    continue;
                };
                // It may wait for room, and receivers mustn't wait for it.
                let (seat, patience) = (seat.clone(), timing.push_patience);
                tracker.spawn(async move {
                    let answer = match seat.push(texts, patience).await {
                        Ok(()) => Answer::Taken,
                        Err(Untaken::Full) => Answer::Full,
                        Err(Untaken::Closed) => Answer::Unknown,
                    };
                    reply(answer).await;
                    drop(permit);
                });
            }
            Ask::Attach { bearer: presented, receiver, .. } => {
                receivers.retain(|_, asks| !asks.is_closed());
                if !admits(bearer, *presented) || receivers.len() >= RECEIVERS_MAX {
                    call.split().1(Answer::Unknown).await;
                    continue;
                }
                let (asks, asked) = mpsc::channel(4);
                receivers.insert(*receiver, asks);
                tracker.spawn(serve(seat.clone(), call, asked, timing));
            }
            Ask::Next { receiver, .. } | Ask::Still { receiver } | Ask::Done { receiver } | Ask::Abort { receiver } => {
                // One question is under way at a time: what doesn't fit is none of a node that keeps to that.
                let unknown = match receivers.get(receiver) {
                    Some(asks) => asks.try_send(call).err().map(|error| match error {
                        mpsc::error::TrySendError::Full(call) | mpsc::error::TrySendError::Closed(call) => call,
                    }),
                    None => Some(call),
                };
                if let Some(call) = unknown {
                    call.split().1(Answer::Unknown).await;
                }
            }
        }
    }
}

/// What is still to be said to a receiver, and what was.
struct Feed {
    receiver: Receiver,
    /// Pieces of the last chunk, and whether each is the last of all.
    pieces: Vec<(Bytes, bool)>,
    given: u64,
}

impl Feed {
    /// The next piece; `None` after the last.
    async fn next(&mut self) -> Option<(Bytes, bool)> {
        if self.pieces.is_empty() {
            let (mut bytes, last) = poll_fn(|cx| self.receiver.poll_chunk(cx)).await?;
            while bytes.len() > PIECE {
                self.pieces.push((bytes.split_to(PIECE), false));
            }
            self.pieces.push((bytes, last));
            self.pieces.reverse();
        }
        self.pieces.pop()
    }
}

/// Serves one receiver of another node. Returning without [`Receiver::taken`] is a break.
async fn serve(seat: Arc<Seat>, first: Call, mut asked: mpsc::Receiver<Call>, timing: Timing) {
    let (ask, mut reply) = first.split();
    let Ask::Attach { shape, limit, .. } = ask else { return };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let receiver = match seat.attach(&shape, limit, timing.grace).await {
        Ok(receiver) => receiver,
        Err(Refused::Over) => return reply(Answer::Unknown).await,
        Err(Refused::Busy) => {
            let bytes = shape.wrap(&framing::close(BUSY.0, BUSY.1));
            return reply(Answer::Chunk { n: 1, bytes, last: true }).await;
        }
    };
    let mut feed = Feed { receiver, pieces: Vec::new(), given: 0 };
    let mut hold = FIRST_HOLD;
    loop {
        let answer = tokio::select! {
            biased;
            gone = broken_off(&mut asked) => {
                tracing::debug!(gone, "a receiver on another node");
                return;
            }
            next = feed.next() => match next {
                Some((bytes, last)) => {
                    feed.given += 1;
                    Answer::Chunk { n: feed.given, bytes, last }
                }
                None => Answer::Unknown,
            },
            () = tokio::time::sleep(hold) => Answer::Nothing,
        };
        hold = HOLD;
        let ends = answer == Answer::Unknown;
        reply(answer).await;
        if ends {
            return;
        }
        match acknowledged(&mut asked, feed.given).await {
            Some(Some(next)) => reply = next,
            Some(None) => return feed.receiver.taken(),
            None => return,
        }
    }
}

/// Resolves when the receiver's node says that it broke off, or asks out of turn.
async fn broken_off(asked: &mut mpsc::Receiver<Call>) -> &'static str {
    loop {
        match asked.recv().await.map(|call| call.ask) {
            Some(Ask::Still { .. }) => {}
            Some(Ask::Abort { .. }) => return "it broke off",
            Some(Ask::Next { .. } | Ask::Done { .. } | Ask::Send { .. } | Ask::Attach { .. }) => return "out of turn",
            None => return "the session is over",
        }
    }
}

/// Waits until all that was given is taken: how to answer the next question, or that it was the last. `None`: it broke off.
async fn acknowledged(asked: &mut mpsc::Receiver<Call>, given: u64) -> Option<Option<Reply>> {
    loop {
        let (ask, reply) = tokio::time::timeout(SILENCE, asked.recv()).await.ok()??.split();
        match ask {
            Ask::Still { .. } => {}
            Ask::Next { taken, .. } if taken == given => return Some(Some(reply)),
            Ask::Done { .. } => return Some(None),
            Ask::Next { .. } | Ask::Abort { .. } | Ask::Send { .. } | Ask::Attach { .. } => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_uses_the_session_of_who_opened_it() {
        let [a, b] = [1, 2].map(|n| Some(Bearer([n; 32])));
        assert!(admits(a, None) && admits(a, a) && admits(None, a) && admits(None, None));
        assert!(!admits(a, b));
    }
}
