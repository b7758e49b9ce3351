//! A frame of a topic or of a session, encoded once and shared as bytes by all whom it goes to.
//!
//! The JSON text is made at once, with its WebSocket header in front of it in the same buffer, for that is how most
//! clients get it. What another protocol makes of it is made when the first connection of that protocol asks, and kept
//! with the frame. A volatile frame (positions and what hangs on them) may be replaced by a newer one of its topic while a
//! client's socket takes nothing; [`Frame::since`] then leads from where the replaced one began.

use super::outbox::Beat;
use crate::{
    domain::UnixMillis,
    wire::{
        client::{Recovery, ServerFrame},
        problem::Problem,
        topic::Topic,
        view,
    },
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use std::sync::{Arc, OnceLock};

/// What protocols other than JSON need to know of a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum About {
    /// Something else of the session, or of a replay.
    Session,
    /// The last one: the connection is closed next.
    GoingAway {
        reconnect_in_ms: u64,
    },
    /// The session knows who it is.
    Hello,
    /// A newer token was taken.
    Authenticated,
    /// The token has expired.
    Expired,
    Heartbeat,
    Subscribed {
        topic: Topic,
        recovery: Recovery,
        /// Where it is known, what was missed meanwhile.
        missed: Option<u64>,
        /// It answers no subscribe: something can't be told as a change, and the topic begins anew.
        unasked: bool,
    },
    Unsubscribed {
        topic: Topic,
    },
    Snapshot {
        topic: Topic,
        epoch: u64,
        version: u64,
    },
    Delta {
        topic: Topic,
        epoch: u64,
        from: u64,
        to: u64,
    },
    Error {
        topic: Option<String>,
        problem: Box<Problem>,
    },
}

/// What a frame is encoded as beside JSON, each at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// An event of `text/event-stream`.
    Event,
    /// The end of a STOMP `MESSAGE`, from its `destination` on.
    Stomp,
    /// The same as part of a JSON string.
    StompEscaped,
    /// The frame's JSON as part of a JSON string.
    JsonEscaped,
}

/// What a snapshot's state comes after.
const STATE: &[u8] = b",\"state\":";

/// How many [`Encoding`]s there are.
const ENCODINGS: usize = 4;

/// The longest header of an unmasked WebSocket frame.
const HEADER_MAX: usize = 10;

/// A frame; cheap to clone.
#[derive(Clone, Debug)]
pub struct Frame(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    about: About,
    /// The WebSocket header, ending at [`HEADER_MAX`], and the text.
    bytes: Bytes,
    /// Where in `bytes` the header begins.
    header: usize,
    /// Where in `bytes` a snapshot's state begins; it ends one before the end.
    state: Option<usize>,
    log_time: Option<UnixMillis>,
    volatile: Option<Volatile>,
    encodings: OnceLock<Box<[OnceLock<Bytes>; ENCODINGS]>>,
}

/// What lets a frame stand for those of its topic before it.
#[derive(Debug)]
enum Volatile {
    /// Whole as it is.
    Whole,
    /// A delta: what the view shows at its version, of which a patch is made that sets all that may change in volatile ones,
    /// when a client needs it. The newest one's is the channel's own, so that waiting costs no memory.
    Delta { at_ms: UnixMillis, seen: Arc<Value> },
}

impl Frame {
    /// Of any frame.
    pub fn new(frame: &ServerFrame, log_time: Option<UnixMillis>) -> Self {
        Self::of(about(frame), text(frame), log_time, None)
    }

    /// That `topic` begins anew, by itself.
    pub fn reset(topic: Topic) -> Self {
        let (recovery, missed) = (Recovery::Reset, None);
        let bytes = text(&ServerFrame::Subscribed { topic: topic.to_string(), recovery, missed });
        Self::of(About::Subscribed { topic, recovery, missed, unasked: true }, bytes, None, None)
    }

    /// A delta that changes volatile fields only, and what the view shows after it.
    pub fn volatile_delta(
        frame: &ServerFrame,
        at_ms: UnixMillis,
        seen: Arc<Value>,
        log_time: Option<UnixMillis>,
    ) -> Self {
        let volatile = Volatile::Delta { at_ms, seen };
        Self::of(about(frame), text(frame), log_time, Some(volatile))
    }

    /// A snapshot that differs from the one before it in volatile fields only.
    pub fn volatile_whole(frame: &ServerFrame, log_time: Option<UnixMillis>) -> Self {
        Self::of(about(frame), text(frame), log_time, Some(Volatile::Whole))
    }

    /// A heartbeat.
    pub fn heartbeat(Beat { orders, unconfirmed, topics, unconfirmed_topics }: Beat) -> Self {
        Self::new(&ServerFrame::Heartbeat { orders, unconfirmed, topics, unconfirmed_topics }, None)
    }

    fn of(about: About, mut bytes: Vec<u8>, log_time: Option<UnixMillis>, volatile: Option<Volatile>) -> Self {
        let header = write_header(&mut bytes);
        let state = matches!(about, About::Snapshot { .. }).then(|| find(&bytes, STATE)).flatten();
        let state = state.map(|at| at + STATE.len());
        bytes.shrink_to_fit();
        let encodings = OnceLock::new();
        Self(Arc::new(Shared { about, bytes: bytes.into(), header, state, log_time, volatile, encodings }))
    }

    pub fn about(&self) -> &About {
        &self.0.about
    }

    /// When the log took the message behind it, for the latency figure.
    pub fn log_time(&self) -> Option<UnixMillis> {
        self.0.log_time
    }

    /// The text of the [`ServerFrame`].
    pub fn json(&self) -> Bytes {
        self.0.bytes.slice(HEADER_MAX..)
    }

    /// The frame's `type`.
    pub fn kind(&self) -> &str {
        let text = std::str::from_utf8(&self.0.bytes[HEADER_MAX..]).unwrap_or_default();
        text.strip_prefix(r#"{"type":""#).and_then(|rest| rest.split('"').next()).unwrap_or_default()
    }

    /// The same as a WebSocket text frame.
    pub fn ws(&self) -> Bytes {
        self.0.bytes.slice(self.0.header..)
    }

    /// The same, lent.
    pub fn ws_bytes(&self) -> &[u8] {
        &self.0.bytes[self.0.header..]
    }

    /// Bytes of the text.
    pub fn size(&self) -> usize {
        self.0.bytes.len() - HEADER_MAX
    }

    /// Of a snapshot: the text of its state alone.
    pub fn state(&self) -> Option<Bytes> {
        self.0.state.map(|at| self.0.bytes.slice(at..self.0.bytes.len() - 1))
    }

    /// What `make` made of it, whoever asked first.
    pub fn encoded(&self, encoding: Encoding, make: impl FnOnce(&Self) -> Bytes) -> Bytes {
        let encodings = self.0.encodings.get_or_init(Box::default);
        encodings[encoding as usize].get_or_init(|| make(self)).clone()
    }

    /// Whether it may be replaced by, and stand for, other volatile ones of its topic.
    pub fn is_volatile(&self) -> bool {
        self.0.volatile.is_some()
    }

    /// The same for those who were left behind: it stands for itself alone, and doesn't hold what the view showed, which
    /// is larger than itself.
    #[must_use]
    pub fn alone(&self) -> Self {
        let Shared { about, bytes, header, state, .. } = &*self.0;
        let (about, bytes, encodings) = (about.clone(), bytes.clone(), OnceLock::new());
        // For how long somebody was away is nobody's latency.
        let shared = Shared { about, bytes, header: *header, state: *state, log_time: None, volatile: None, encodings };
        Self(Arc::new(shared))
    }

    /// The version from which a delta leads.
    pub fn from(&self) -> Option<u64> {
        if let About::Delta { from, .. } = self.0.about { Some(from) } else { None }
    }

    /// The frame that leads from an earlier version to the same one; itself where it is whole.
    pub fn since(&self, since: u64) -> Self {
        let (About::Delta { topic, epoch, to, .. }, Some(Volatile::Delta { at_ms, seen })) =
            (&self.0.about, &self.0.volatile)
        else {
            return self.clone();
        };
        let name = topic.to_string();
        let head = Head { kind: "delta", topic: &name, epoch: *epoch, from: since, to: *to, at_ms: *at_ms };
        let mut bytes = text(&head);
        // In the place of the closing brace.
        bytes.pop();
        bytes.extend_from_slice(b",\"patch\":");
        let _ = serde_json::to_writer(&mut bytes, &view::volatile(seen));
        bytes.push(b'}');
        let about = About::Delta { topic: topic.clone(), epoch: *epoch, from: since, to: *to };
        Self::of(about, bytes, self.0.log_time, None)
    }
}

/// A [`ServerFrame::Delta`] without its patch.
#[derive(Serialize)]
struct Head<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    topic: &'a str,
    epoch: u64,
    from: u64,
    to: u64,
    at_ms: UnixMillis,
}

fn about(frame: &ServerFrame) -> About {
    // Topics of ours come back from their text.
    let parse = |topic: &str, about: fn(Topic) -> About| topic.parse().map_or(About::Session, about);
    match frame {
        ServerFrame::Hello { .. } => About::Hello,
        ServerFrame::Authenticated { .. } => About::Authenticated,
        ServerFrame::Expired { .. } => About::Expired,
        ServerFrame::GoingAway { reconnect_in_ms } => About::GoingAway { reconnect_in_ms: *reconnect_in_ms },
        ServerFrame::Pong { .. } | ServerFrame::Replay(_) => About::Session,
        ServerFrame::Heartbeat { .. } => About::Heartbeat,
        ServerFrame::Unsubscribed { topic } => parse(topic, |topic| About::Unsubscribed { topic }),
        ServerFrame::Subscribed { topic, recovery, missed } => match topic.parse() {
            Ok(topic) => About::Subscribed { topic, recovery: *recovery, missed: *missed, unasked: false },
            Err(_) => About::Session,
        },
        ServerFrame::Snapshot { topic, epoch, version, .. } => match topic.parse() {
            Ok(topic) => About::Snapshot { topic, epoch: *epoch, version: *version },
            Err(_) => About::Session,
        },
        ServerFrame::Delta { topic, epoch, from, to, .. } => match topic.parse() {
            Ok(topic) => About::Delta { topic, epoch: *epoch, from: *from, to: *to },
            Err(_) => About::Session,
        },
        ServerFrame::Error { topic, problem } => {
            About::Error { topic: topic.clone(), problem: Box::new(problem.clone()) }
        }
    }
}

/// The text, behind room for a header. Ours always serialize: their maps have string keys, and memory takes what is written.
fn text(frame: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_MAX];
    let _ = serde_json::to_writer(&mut bytes, frame);
    bytes
}

/// Writes the header of an unmasked text frame of what follows [`HEADER_MAX`], so that it ends there. Gives its begin.
/// RFC 6455, 5.2.
#[allow(clippy::cast_possible_truncation, reason = "each length is checked before it is cut")]
fn write_header(bytes: &mut [u8]) -> usize {
    let length = (bytes.len() - HEADER_MAX) as u64;
    let (begin, extended) = match length {
        0..126 => (HEADER_MAX - 2, length as u8),
        126..65_536 => (HEADER_MAX - 4, 126),
        _ => (0, 127),
    };
    (bytes[begin], bytes[begin + 1]) = (0x81, extended);
    match extended {
        126 => bytes[begin + 2..HEADER_MAX].copy_from_slice(&(length as u16).to_be_bytes()),
        127 => bytes[begin + 2..HEADER_MAX].copy_from_slice(&length.to_be_bytes()),
        _ => {}
    }
    begin
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn delta(patch: Value) -> ServerFrame {
        ServerFrame::Delta { topic: "order/o1".into(), epoch: 3, from: 7, to: 8, at_ms: UnixMillis(5), patch }
    }

    #[test]
    fn the_header_says_how_long_the_text_is() {
        for (length, header) in [(0, 2), (9, 2), (30, 2), (200, 4), (65_400, 4), (70_000, 10)] {
            let frame = Frame::new(&delta(json!("x".repeat(length))), None);
            let (ws, json) = (frame.ws(), frame.json());
            assert_eq!(ws.len(), json.len() + header.max(if json.len() > 125 { 4 } else { 2 }), "{length}");
            assert_eq!(ws[0], 0x81);
            let said = match ws[1] {
                126 => u64::from(u16::from_be_bytes([ws[2], ws[3]])),
                127 => u64::from_be_bytes(ws[2..10].try_into().unwrap()),
                short => u64::from(short),
            };
            assert_eq!(said, json.len() as u64);
            assert_eq!(ws.slice(ws.len() - json.len()..), json);
        }
    }

    #[test]
    fn a_volatile_delta_stands_for_those_before_it() {
        let shown = json!({"status": 3, "position": {"lat": 2.0}});
        let frame = delta(json!({"position": {"lat": 2.0}}));
        let frame = Frame::volatile_delta(&frame, UnixMillis(5), Arc::new(shown.clone()), None);
        assert!(frame.is_volatile());
        let since = frame.since(4);
        let expected = ServerFrame::Delta {
            topic: "order/o1".into(),
            epoch: 3,
            from: 4,
            to: 8,
            at_ms: UnixMillis(5),
            patch: view::volatile(&shown),
        };
        assert_eq!(serde_json::from_slice::<ServerFrame>(&since.json()).unwrap(), expected);
        assert_eq!(since.from(), Some(4));
        // The members come in the order that the frame itself has.
        assert_eq!(since.json(), serde_json::to_vec(&expected).unwrap());
    }

    #[test]
    fn a_snapshot_knows_its_state() {
        let state = json!({"status": 2, "extra": {"state": 1}});
        let (topic, at_ms) = ("order/o1".to_owned(), UnixMillis(5));
        let frame =
            Frame::new(&ServerFrame::Snapshot { topic, epoch: 1, version: 2, at_ms, state: state.clone() }, None);
        assert_eq!(serde_json::from_slice::<Value>(&frame.state().unwrap()).unwrap(), state);
        assert_eq!(Frame::new(&delta(state), None).state(), None);
    }

    #[test]
    fn an_encoding_is_made_once() {
        let frame = Frame::new(&ServerFrame::Pong { id: None }, None);
        let first = frame.encoded(Encoding::Stomp, |_| Bytes::from_static(b"a"));
        assert_eq!(frame.encoded(Encoding::Stomp, |_| Bytes::from_static(b"b")), first);
        assert_eq!(frame.encoded(Encoding::Event, |_| Bytes::from_static(b"b")), "b");
    }
}
