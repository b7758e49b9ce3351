//! The side of a node that has a client's request but not its session: it fetches the response's bytes from the node that has.
//!
//! A task of its own asks for one chunk at a time, and for the next when the response took the last. While the client takes
//! nothing it says so, so that a slow client isn't taken for a node that died. If the session's node falls silent the response
//! breaks, which the client notices.

use super::peers::{Answer, Ask, Peers, SessionKey};
use bytes::Bytes;
use futures::Stream;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// How often a node says that a receiver is still there.
pub(super) const STILL: Duration = Duration::from_secs(3);

/// A question is answered within half of this.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(8);

/// The bytes of a response whose session another node holds. An error breaks the response.
#[derive(Debug)]
pub(super) struct RemoteReceiver {
    chunks: mpsc::Receiver<(Bytes, bool)>,
    /// The last chunk was taken.
    taken: Arc<AtomicBool>,
}

impl RemoteReceiver {
    /// Goes on from the answer to [`Ask::Attach`].
    pub(super) fn start(
        peers: Arc<dyn Peers>,
        key: SessionKey,
        receiver: u128,
        first: Answer,
        tracker: &TaskTracker,
    ) -> Self {
        let (give, chunks) = mpsc::channel(1);
        let taken = Arc::new(AtomicBool::new(false));
        tracker.spawn(fetch(peers, key, receiver, first, (give, taken.clone())));
        Self { chunks, taken }
    }
}

impl Stream for RemoteReceiver {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.taken.load(Ordering::Acquire) {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match futures::ready!(self.chunks.poll_recv(cx)) {
            Some((bytes, last)) => {
                self.taken.store(last, Ordering::Release);
                Ok(bytes)
            }
            None => Err(io::Error::other("the session's node is gone")),
        }))
    }
}

async fn fetch(
    peers: Arc<dyn Peers>,
    key: SessionKey,
    receiver: u128,
    first: Answer,
    (give, was_taken): (mpsc::Sender<(Bytes, bool)>, Arc<AtomicBool>),
) {
    let (mut answer, mut taken) = (first, 0);
    loop {
        match answer {
            Answer::Chunk { n, bytes, last } => {
                // The one before was taken, so there is room.
                if give.send((bytes, last)).await.is_err() || !drained(&give, &peers, &key, receiver, last).await {
                    let all = last && was_taken.load(Ordering::Acquire);
                    let end = if all { Ask::Done { receiver } } else { Ask::Abort { receiver } };
                    return peers.tell(&key, end).await;
                }
                if last {
                    return peers.tell(&key, Ask::Done { receiver }).await;
                }
                taken = n;
            }
            Answer::Nothing => {}
            // It has forgotten the receiver, or the session.
            Answer::Taken | Answer::Full | Answer::Unknown => return,
        }
        let ask = peers.ask(&key, Ask::Next { receiver, taken }, ASK_TIMEOUT);
        answer = tokio::select! {
            answer = ask => match answer {
                Ok(Some(answer)) => answer,
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "a receiver's session on another node");
                    return peers.tell(&key, Ask::Abort { receiver }).await;
                }
            },
            () = give.closed() => return peers.tell(&key, Ask::Abort { receiver }).await,
        };
    }
}

/// Waits until the response took what it was given; says meanwhile that it is still there. False if it broke off.
async fn drained(
    give: &mpsc::Sender<(Bytes, bool)>,
    peers: &Arc<dyn Peers>,
    key: &SessionKey,
    receiver: u128,
    last: bool,
) -> bool {
    loop {
        tokio::select! {
            room = give.reserve() => return room.is_ok(),
            () = tokio::time::sleep(STILL) => peers.tell(key, Ask::Still { receiver }).await,
        }
        if last && give.is_closed() {
            return false;
        }
    }
}
