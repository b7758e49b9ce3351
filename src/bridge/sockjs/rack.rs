//! The sessions that this node holds, by their keys.

use super::{
    Options,
    hosting::{admits, host},
    peers::{Bearer, Peers, PeersError, SessionKey},
    seat::{Seat, SeatLink},
    session::Limits,
};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long who comes second is kept waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// A receiver for the one before it.
    pub(super) grace: Duration,
    /// A client's messages for room.
    pub(super) push_patience: Duration,
}

/// A session on this node, and what it was opened with.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) seat: Arc<Seat>,
    pub(super) bearer: Option<Bearer>,
    listening: Shared<BoxFuture<'static, Result<(), PeersError>>>,
}

impl Held {
    /// Resolves when other nodes find it, at once if they do already.
    pub(super) async fn listening(&self) -> Result<(), PeersError> {
        self.listening.clone().await
    }
}

/// Why no session is opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    #[error("this node holds as many sessions as it may")]
    Full,
    #[error("the session is another's")]
    NotYours,
    #[error(transparent)]
    Peers(#[from] PeersError),
}

/// One per node.
#[derive(Clone, Debug)]
pub(super) struct Rack(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    held: Mutex<HashMap<SessionKey, Held>>,
    peers: Arc<dyn Peers>,
    limits: Limits,
    timing: Timing,
    sessions_max: usize,
    /// How long receivers get for their close frames when the node stops.
    last_words: Duration,
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Rack {
    pub(super) fn new(
        options: &Options,
        peers: Arc<dyn Peers>,
        tracker: TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let limits = Limits {
            heartbeat: options.heartbeat,
            disconnect_after: options.disconnect_after,
            inbound_max: options.inbound_max,
            inbound_max_bytes: options.inbound_max_bytes,
        };
        let timing = Timing { grace: options.grace, push_patience: options.push_patience };
        let (sessions_max, last_words) = (options.sessions_max, options.last_words);
        let held = Mutex::default();
        Self(Arc::new(Inner { held, peers, limits, timing, sessions_max, last_words, tracker, cancel }))
    }

    pub(super) fn timing(&self) -> Timing {
        self.0.timing
    }

    pub(super) fn peers(&self) -> &Arc<dyn Peers> {
        &self.0.peers
    }

    pub(super) fn tracker(&self) -> &TaskTracker {
        &self.0.tracker
    }

    /// The session, if it is here.
    pub(super) fn held(&self, key: &SessionKey) -> Option<Held> {
        self.0.held.lock().get(key).filter(|held| !held.seat.is_over()).cloned()
    }

    /// Opens a session, unless a request that came at the same time has done so and `bearer` may use what it opened. When
    /// this resolves other nodes find it.
    pub(super) async fn open(
        &self,
        key: SessionKey,
        bearer: Option<Bearer>,
        transport: &'static str,
        converse: impl FnOnce(SeatLink) -> BoxFuture<'static, ()>,
    ) -> Result<Held, OpenError> {
        let (held, listening) = {
            let mut all = self.0.held.lock();
            if let Some(held) = all.get(&key).filter(|held| !held.seat.is_over()) {
                if !admits(held.bearer, bearer) {
                    return Err(OpenError::NotYours);
                }
                (held.clone(), None)
            } else {
                if all.len() >= self.0.sessions_max {
                    return Err(OpenError::Full);
                }
                let (listening, heard) = oneshot::channel();
                let heard = heard.map(|heard| heard.unwrap_or_else(|_| Err(PeersError("the node is stopping".into()))));
                let held = Held { seat: Seat::new(self.0.limits), bearer, listening: heard.boxed().shared() };
                all.insert(key.clone(), held.clone());
                (held, Some(listening))
            }
        };
        if let Some(listening) = listening {
            // A task of its own: the request that opens may be given up at any time.
            let conversation = converse(SeatLink::new(held.seat.clone(), transport));
            self.0.tracker.spawn(self.clone().run(key, held.clone(), listening, conversation));
        }
        held.listening().await?;
        Ok(held)
    }

    async fn run(
        self,
        key: SessionKey,
        held: Held,
        listening: oneshot::Sender<Result<(), PeersError>>,
        conversation: BoxFuture<'static, ()>,
    ) {
        let shared = &self.0;
        match shared.peers.listen(&key).await {
            Ok(calls) => {
                shared.tracker.spawn(conversation);
                let _ = listening.send(Ok(()));
                let hosted = host(held.seat.clone(), held.bearer, calls, shared.timing, shared.tracker.clone());
                let stopped = async {
                    shared.cancel.cancelled().await;
                    tokio::time::sleep(shared.last_words).await;
                };
                tokio::select! {
                    () = hosted => {}
                    () = stopped => {}
                }
            }
            Err(error) => drop(listening.send(Err(error))),
        }
        held.seat.end();
        let mut all = shared.held.lock();
        if all.get(&key).is_some_and(|current| Arc::ptr_eq(&current.seat, &held.seat)) {
            all.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::sockjs::peers::{Answer, Ask, Calls};
    use futures::StreamExt;
    use std::{future::pending, task::Poll};
    use tokio::sync::Semaphore;

    /// Listens once it is let.
    #[derive(Debug)]
    struct Slow(Arc<Semaphore>);

    impl Peers for Slow {
        fn listen(&self, _: &SessionKey) -> BoxFuture<'static, Result<Calls, PeersError>> {
            let let_ = self.0.clone();
            Box::pin(async move {
                let_.acquire().await.map_err(|e| PeersError(e.to_string()))?.forget();
                Ok(futures::stream::pending().boxed())
            })
        }

        fn ask(&self, _: &SessionKey, _: Ask, _: Duration) -> BoxFuture<'static, Result<Option<Answer>, PeersError>> {
            Box::pin(std::future::ready(Ok(None)))
        }

        fn tell(&self, _: &SessionKey, _: Ask) -> BoxFuture<'static, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    fn rack() -> (Rack, Arc<Semaphore>) {
        let way = Arc::new(Semaphore::new(0));
        let peers = Arc::new(Slow(way.clone()));
        (Rack::new(&Options::default(), peers, TaskTracker::new(), CancellationToken::new()), way)
    }

    fn open(rack: &Rack, bearer: Option<Bearer>) -> BoxFuture<'static, Result<Held, OpenError>> {
        let rack = rack.clone();
        let key = SessionKey::new("/ws", "a");
        Box::pin(async move { rack.open(key, bearer, "xhr", |_| Box::pin(pending())).await })
    }

    #[tokio::test]
    async fn who_opens_second_waits_as_the_first_does_and_is_looked_at() {
        let [mine, others] = [1, 2].map(|n| Some(Bearer([n; 32])));
        let (rack, way) = rack();
        let (mut first, mut second) = (open(&rack, mine), open(&rack, mine));
        assert!(matches!(futures::poll!(&mut first), Poll::Pending));
        assert!(matches!(futures::poll!(&mut second), Poll::Pending), "other nodes don't find it yet");
        assert_eq!(open(&rack, others).await.map(drop), Err(OpenError::NotYours));
        way.add_permits(1);
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert!(Arc::ptr_eq(&first.seat, &second.seat));
        assert_eq!(open(&rack, others).await.map(drop), Err(OpenError::NotYours));
    }

    #[tokio::test]
    async fn who_opens_second_fails_as_the_first_does() {
        let (rack, way) = rack();
        let (first, second) = (open(&rack, None), open(&rack, None));
        way.close();
        let (first, second) = tokio::join!(first, second);
        assert!(matches!((first, second), (Err(OpenError::Peers(_)), Err(OpenError::Peers(_)))));
    }
}
