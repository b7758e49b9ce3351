//! Nodes of one process, for tests: the same answers as over NATS, also that nobody listens.

use super::{Answer, Ask, Call, Calls, Peers, PeersError, Reply, SessionKey};
use futures::{StreamExt, future::BoxFuture, stream};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// Questions that wait for one session.
const WAITING: usize = 64;

/// Shared by the nodes that know each other.
#[derive(Clone, Debug, Default)]
pub struct MemoryPeers(Arc<Mutex<HashMap<SessionKey, mpsc::Sender<Call>>>>);

impl MemoryPeers {
    fn listener(&self, key: &SessionKey) -> Option<mpsc::Sender<Call>> {
        self.0.lock().get(key).filter(|calls| !calls.is_closed()).cloned()
    }
}

impl Peers for MemoryPeers {
    fn listen(&self, key: &SessionKey) -> BoxFuture<'static, Result<Calls, PeersError>> {
        let (give, calls) = mpsc::channel(WAITING);
        self.0.lock().insert(key.clone(), give);
        let calls = stream::unfold(calls, |mut calls| async { Some((calls.recv().await?, calls)) });
        Box::pin(std::future::ready(Ok(calls.boxed())))
    }

    fn ask(
        &self,
        key: &SessionKey,
        ask: Ask,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Option<Answer>, PeersError>> {
        let listener = self.listener(key);
        Box::pin(async move {
            let Some(listener) = listener else { return Ok(None) };
            let (give, answer) = oneshot::channel();
            let reply: Reply = Box::new(move |answer| {
                let _ = give.send(answer);
                Box::pin(std::future::ready(()))
            });
            let asked = async {
                listener.send(Call::new(ask, reply)).await.ok()?;
                answer.await.ok()
            };
            let answer = tokio::time::timeout(timeout, asked).await.ok().flatten();
            answer.map(Some).ok_or_else(|| PeersError("no answer".into()))
        })
    }

    fn tell(&self, key: &SessionKey, ask: Ask) -> BoxFuture<'static, ()> {
        let listener = self.listener(key);
        Box::pin(async move {
            if let Some(listener) = listener {
                let _ = listener.send(Call::new(ask, Box::new(|_| Box::pin(std::future::ready(()))))).await;
            }
        })
    }
}
