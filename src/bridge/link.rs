//! A way for text messages to and from one client: what a transport is to a conversation.

use super::frame::{Encoding, Frame};
use bytes::Bytes;
use std::task::{Context, Poll};

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Text(Bytes),
    /// A message that isn't text, whatever it holds.
    Binary,
    /// No message, but the peer is there.
    Alive,
}

/// Why nothing more comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Gone {
    #[error("the peer went away")]
    Left,
    #[error("a message was too large")]
    TooLarge,
    #[error("the peer broke the transport's rules")]
    Broken,
}

/// One message to a client: what is this client's own, then what is shared by all who get it.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    pub(super) own: Bytes,
    pub(super) shared: Option<Shared>,
}

/// A part of a message that is encoded once.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    frame: Frame,
    raw: Bytes,
    escaped: Encoding,
}

impl Message {
    /// This client's alone.
    pub(super) fn own(text: impl Into<Bytes>) -> Self {
        Self { own: text.into(), shared: None }
    }

    /// A frame's JSON.
    pub(super) fn json(frame: &Frame) -> Self {
        let shared = Shared { frame: frame.clone(), raw: frame.json(), escaped: Encoding::JsonEscaped };
        Self { own: Bytes::new(), shared: Some(shared) }
    }

    /// A client's own begin, and the end of the STOMP frame that `raw` is of `frame`.
    pub(super) fn stomp(own: impl Into<Bytes>, frame: &Frame, raw: Bytes) -> Self {
        Self { own: own.into(), shared: Some(Shared { frame: frame.clone(), raw, escaped: Encoding::StompEscaped }) }
    }

    /// The text in two parts.
    pub(super) fn parts(&self) -> [Bytes; 2] {
        [self.own.clone(), self.shared.as_ref().map_or_else(Bytes::new, |shared| shared.raw.clone())]
    }

    /// The whole as a WebSocket text frame, if it is a frame's JSON and nothing else.
    pub(super) fn ws(&self) -> Option<Bytes> {
        let shared = self.shared.as_ref().filter(|shared| shared.escaped == Encoding::JsonEscaped)?;
        self.own.is_empty().then(|| shared.frame.ws())
    }

    /// The text in two parts, each escaped as part of a JSON string; the shared one once for all.
    pub(super) fn escaped(&self, escape: impl Fn(&[u8]) -> Bytes) -> [Bytes; 2] {
        let shared = self
            .shared
            .as_ref()
            .map_or_else(Bytes::new, |shared| shared.frame.encoded(shared.escaped, |_| escape(&shared.raw)));
        [escape(&self.own), shared]
    }
}

/// A transport. Nothing in it waits: what can't go on registers the context's waker.
pub(super) trait Link: Send + Unpin + 'static {
    /// Its name in metrics.
    fn transport(&self) -> &'static str;

    /// The client's next message.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, Gone>>;

    /// Takes messages over, to be written by [`Self::poll_flush`].
    fn queue(&mut self, messages: Vec<Message>);

    /// Writes what is queued. Ready: all is with the transport, and more may be queued.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>;

    /// Queues what keeps the way open and makes the peer show that it is there.
    fn ping(&mut self);

    /// Queues the end, with a code and a reason.
    fn close(&mut self, code: u16, reason: &str);

    /// After the close was written: what is needed so that the peer reads it.
    fn poll_linger(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}
