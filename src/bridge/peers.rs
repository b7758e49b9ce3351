//! The other bridges: whether there is one to which this node's clients can go when it leaves.
//!
//! Every bridge answers on one subject until it leaves. Nobody keeps a list: the question is asked once in a process's life.

use crate::wire::subject;
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture};
use std::time::Duration;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a bridge may take to say that it is there.
const PATIENCE: Duration = Duration::from_millis(500);

/// Between attempts to listen.
const AGAIN: Duration = Duration::from_secs(1);

/// What a bridge asks of the others.
pub trait Peers: Send + Sync + std::fmt::Debug + 'static {
    /// Whether another bridge takes clients. Who asks takes none any more, and doesn't answer others from now on.
    fn others(&self) -> BoxFuture<'static, bool>;
}

/// Over NATS.
#[derive(Clone, Debug)]
pub struct NatsPeers {
    client: async_nats::Client,
    leaving: CancellationToken,
    silent: CancellationToken,
}

impl NatsPeers {
    /// Answers the others on `tracker` until `cancel`, or until this one leaves.
    pub fn start(client: async_nats::Client, tracker: &TaskTracker, cancel: CancellationToken) -> Self {
        let this = Self { client, leaving: cancel.child_token(), silent: CancellationToken::new() };
        let answering = this.clone();
        tracker.spawn(async move {
            answering.answer().await;
            answering.silent.cancel();
        });
        this
    }

    async fn answer(&self) {
        while !self.leaving.is_cancelled() {
            match self.client.subscribe(subject::bridge_alive()).await {
                Ok(mut questions) => {
                    while let Some(Some(question)) = self.leaving.run_until_cancelled(questions.next()).await {
                        let Some(reply) = question.reply else { continue };
                        // Who asks waits for the first answer, and has it from another if this one is lost.
                        let _ = self.client.publish(reply, Bytes::new()).await;
                    }
                    // Not left to the drop, which is heard after what is asked next.
                    let _ = questions.unsubscribe().await;
                }
                Err(error) => tracing::warn!(%error, "other bridges can't be told that this one is there"),
            }
            let _ = self.leaving.run_until_cancelled(tokio::time::sleep(AGAIN)).await;
        }
    }
}

impl Peers for NatsPeers {
    fn others(&self) -> BoxFuture<'static, bool> {
        let this = self.clone();
        Box::pin(async move {
            this.leaving.cancel();
            let asked = async {
                // Or it would hear itself.
                this.silent.cancelled().await;
                this.client.request(subject::bridge_alive(), Bytes::new()).await
            };
            // Without NATS neither comes to an end.
            matches!(tokio::time::timeout(PATIENCE, asked).await, Ok(Ok(_)))
        })
    }
}
