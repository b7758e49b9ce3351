//! Other nodes, for requests of a session that one of them holds.
//!
//! A session lives on the node that opened it. That node listens on a subject of the session's own; a node that gets a request
//! for a session that it doesn't hold asks there. NATS knows whether anybody listens, so "there is no such session" is an
//! answer and not a timeout. Bytes to the client go the other way as answers: one chunk per question, and the next question
//! says that the last chunk was taken, so that back-pressure reaches the session ([`super::hosting`], [`super::remote`]).

mod memory;

pub use memory::MemoryPeers;

use super::framing::Shape;
use crate::wire::{self, subject};
use async_nats::client::RequestErrorKind;
use bytes::Bytes;
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt, time::Duration};
use tokio_util::task::TaskTracker;

/// What stands for a session's id between nodes: ids are the client's choice, and no tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey(String);

impl SessionKey {
    /// Of a session beneath a base URL.
    pub fn new(base: &str, id: &str) -> Self {
        let digest = Sha256::new().chain_update(base).chain_update([0]).chain_update(id).finalize();
        Self(wire::hex(&digest[..16]))
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who presented credentials with a request: a digest of role, subject, cells and order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bearer(pub [u8; 32]);

/// What a node asks the one that holds a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// Take these messages of the client's: all or none.
    Send { bearer: Option<Bearer>, texts: Vec<String> },
    /// A receiver, named by its node; its response ends after `limit` bytes or more. The answer is its first chunk.
    Attach { bearer: Option<Bearer>, receiver: u128, shape: Shape, limit: u64 },
    /// All chunks up to this one are taken: the next one.
    Next { receiver: u128, taken: u64 },
    /// The receiver is there, but its client takes nothing now. No answer.
    Still { receiver: u128 },
    /// All is taken, the last chunk too. No answer.
    Done { receiver: u128 },
    /// The receiver broke off. No answer.
    Abort { receiver: u128 },
}

/// What the node says that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Taken,
    /// As much waits as may.
    Full,
    /// No such session, or not this bearer's.
    Unknown,
    /// Bytes of the response, numbered from 1. After the last ones it ends.
    Chunk {
        n: u64,
        bytes: Bytes,
        last: bool,
    },
    /// Nothing came: ask again.
    Nothing,
}

/// Other nodes can't be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("other nodes can't be asked: {0}")]
pub struct PeersError(pub String);

/// A question to this node. Those without an answer have nowhere to send one.
pub struct Call {
    pub ask: Ask,
    reply: Reply,
}

/// Sends an answer.
pub type Reply = Box<dyn FnOnce(Answer) -> BoxFuture<'static, ()> + Send>;

impl Call {
    pub fn new(ask: Ask, reply: Reply) -> Self {
        Self { ask, reply }
    }

    /// Question and way back.
    pub fn split(self) -> (Ask, Reply) {
        (self.ask, self.reply)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("ask", &self.ask).finish_non_exhaustive()
    }
}

/// Questions to one session; ends when nothing more can come.
pub type Calls = BoxStream<'static, Call>;

/// The way between nodes.
pub trait Peers: Send + Sync + fmt::Debug + 'static {
    /// Listens for a session. Once this resolves, questions of this node's neighbours reach it. Dropping the stream ends it.
    fn listen(&self, key: &SessionKey) -> BoxFuture<'static, Result<Calls, PeersError>>;

    /// Asks the node that holds the session, within `timeout`; `None` if none does.
    fn ask(
        &self,
        key: &SessionKey,
        ask: Ask,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Option<Answer>, PeersError>>;

    /// Says what needs no answer.
    fn tell(&self, key: &SessionKey, ask: Ask) -> BoxFuture<'static, ()>;
}

/// What a payload begins with: nodes of another form don't understand each other, and say so by silence.
const FORM: u8 = 1;

fn encode<T: Serialize>(value: &T) -> Result<Bytes, PeersError> {
    postcard::to_extend(value, vec![FORM]).map(Bytes::from).map_err(|e| PeersError(e.to_string()))
}

fn decode<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, PeersError> {
    let body = payload.strip_prefix(&[FORM]).ok_or_else(|| PeersError("a message of another form".into()))?;
    postcard::from_bytes(body).map_err(|e| PeersError(e.to_string()))
}

/// Over NATS.
#[derive(Clone, Debug)]
pub struct NatsPeers {
    client: async_nats::Client,
    /// Within it a subscription is in force.
    timeout: Duration,
    tracker: TaskTracker,
}

impl NatsPeers {
    pub fn new(client: async_nats::Client, timeout: Duration, tracker: TaskTracker) -> Self {
        Self { client, timeout, tracker }
    }
}

impl Peers for NatsPeers {
    fn listen(&self, key: &SessionKey) -> BoxFuture<'static, Result<Calls, PeersError>> {
        let (client, subject) = (self.client.clone(), subject::bridge_session(&key.0));
        let timeout = self.timeout;
        let listen = async move {
            let failed = |e: &dyn fmt::Display| PeersError(e.to_string());
            let mut messages = client.subscribe(subject.clone()).await.map_err(|e| failed(&e))?;
            // A flush tells only that the request was written. Hearing oneself tells that the server has it.
            let hello = Bytes::from(uuid::Uuid::now_v7().to_string());
            client.publish(subject, hello.clone()).await.map_err(|e| failed(&e))?;
            let mut early = Vec::new();
            loop {
                let message = messages.next().await.ok_or_else(|| failed(&"the connection is closed"))?;
                if message.payload == hello {
                    break;
                }
                early.push(message);
            }
            let messages = stream::iter(early).chain(messages);
            Ok(messages.filter_map(move |message| std::future::ready(call(&client, message))).boxed())
        };
        Box::pin(async move {
            tokio::time::timeout(timeout, listen)
                .await
                .map_err(|_| PeersError(format!("no subscription within {timeout:?}")))?
        })
    }

    fn ask(
        &self,
        key: &SessionKey,
        ask: Ask,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Option<Answer>, PeersError>> {
        let (client, subject) = (self.client.clone(), subject::bridge_session(&key.0));
        Box::pin(async move {
            let request = async_nats::Request::new().payload(encode(&ask)?).timeout(Some(timeout));
            match client.send_request(subject, request).await {
                Ok(message) => decode(&message.payload).map(Some),
                Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(None),
                Err(error) => Err(PeersError(error.to_string())),
            }
        })
    }

    fn tell(&self, key: &SessionKey, ask: Ask) -> BoxFuture<'static, ()> {
        let (client, subject) = (self.client.clone(), subject::bridge_session(&key.0));
        // In a task of its own, so that it is said even if the one who says it is given up.
        let said = self.tracker.spawn(async move {
            if let Ok(payload) = encode(&ask) {
                let _ = client.publish(subject, payload).await;
            }
        });
        Box::pin(async move { drop(said.await) })
    }
}

/// What a message asks; one that can't be read is passed over, and its asker hears nothing.
fn call(client: &async_nats::Client, message: async_nats::Message) -> Option<Call> {
    let ask = decode(&message.payload).inspect_err(|error| tracing::debug!(%error, "a session's message")).ok()?;
    let (client, to) = (client.clone(), message.reply);
    let reply = move |answer: Answer| -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if let (Some(to), Ok(payload)) = (to, encode(&answer)) {
                let _ = client.publish(to, payload).await;
            }
        })
    };
    Some(Call::new(ask, Box::new(reply)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::sockjs::framing::Callback;

    #[test]
    fn keys_are_tokens_and_differ_by_base_and_id() {
        let key = |base, id| SessionKey::new(base, id).to_string();
        assert_eq!(key("/ws", "a b.c>*"), key("/ws", "a b.c>*"));
        assert!(crate::domain::ids::is_token(&key("/ws", "a b.c>*")));
        assert!(key("/ws", "a") != key("/echo", "a") && key("/ws", "a") != key("/ws", "b"));
    }

    #[test]
    fn what_nodes_say_reads_back() {
        let shape = Shape::HtmlFile(Callback::of(Some("c=f")).unwrap());
        for ask in [
            Ask::Send { bearer: Some(Bearer([7; 32])), texts: vec!["a".into(), String::new()] },
            Ask::Attach { bearer: None, receiver: u128::MAX, shape, limit: 4096 },
            Ask::Next { receiver: 1, taken: 2 },
            Ask::Abort { receiver: 1 },
        ] {
            assert_eq!(decode::<Ask>(&encode(&ask).unwrap()).unwrap(), ask);
        }
        let chunk = Answer::Chunk { n: 1, bytes: Bytes::from_static(b"o\n"), last: true };
        assert_eq!(decode::<Answer>(&encode(&chunk).unwrap()).unwrap(), chunk);
        assert!(
            decode::<Answer>(b"").is_err() && decode::<Answer>(&[2, 0]).is_err() && decode::<Ask>(&[1, 9]).is_err()
        );
    }
}
