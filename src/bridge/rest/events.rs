//! `GET /v1/orders/{order}/events`: one order as server-sent events.
//!
//! Each frame is an event named by its `type`, with the frame's JSON as its data. Snapshots and deltas have the id
//! `{epoch}.{version}`, which a browser sends back as `Last-Event-ID` when it reconnects by itself.

use super::{asked::OrderPath, docs::ReadProblems};
use crate::bridge::{
    Inner,
    commands::id,
    connection::Connection,
    conversation::{self, Protocol, Wish},
    delivered::Delivered,
    frame::{About, Encoding, Frame},
    gate::{Admitted, Asked, take_datum},
    hub::Resume,
    link::{Gone, Incoming, Link, Message},
    reject::{Path, Rejection},
    session::Session,
};
use crate::wire::{FieldError, client::Close, topic::Topic};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures::Stream;
use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::PollSender;
use utoipa::ToSchema;

/// One of the stream, as a browser reads it off the lines.
#[allow(dead_code, reason = "a shape for the document; nothing is made of it")]
#[derive(ToSchema)]
struct Event {
    /// The frame's `type`.
    event: String,
    /// The frame, as JSON.
    data: String,
    /// Of snapshots and deltas: `{epoch}.{version}`.
    #[schema(nullable = false)]
    id: Option<String>,
    /// Milliseconds before a browser comes back by itself.
    #[schema(nullable = false)]
    retry: Option<u32>,
}

/// Frames of one order, as they come
///
/// Events are named by the frames' `type` (as on `/v1/ws`), their data is the frame. `Last-Event-ID` resumes. The last event
/// is `close`, with `code` and `reason`. A node that leaves says `going_away` before it, with `retry`.
#[utoipa::path(
    get,
    path = "/v1/orders/{order}/events",
    tag = "orders",
    params(
        OrderPath,
        ("Last-Event-ID" = Option<String>, Header, nullable = false, pattern = "^[0-9]{1,19}\\.[0-9]{1,19}$",
            description = "Where to go on, as `{epoch}.{version}`"),
        ("datum" = Option<crate::wire::schema::DatumName>, Query, nullable = false, description = "What positions refer to"),
    ),
    responses(
        (status = 200, description = "The events", content((Event = "text/event-stream"))),
        ReadProblems,
    ),
)]
pub(super) async fn events(
    State(bridge): State<Arc<Inner>>,
    Path(order): Path<String>,
    headers: HeaderMap,
    Admitted: Admitted,
    Asked { who, mut params }: Asked,
) -> Result<Response, Rejection> {
    let topic = Topic::Order(id("order", &order)?);
    let datum = take_datum(&mut params)?;
    params.end()?;
    let resume = last_event(&headers)?;
    let mut connection = Connection::open(bridge.clone(), datum);
    let first = connection.begin(who, topic, resume).await?;
    let (mut protocol, mut messages) = (Events, Vec::new());
    for frame in &first {
        // None of them is an error, which alone would end it.
        let _ = protocol.encode(frame, &mut messages);
    }
    let (mut link, body) = BodyLink::open("sse");
    link.queue(messages);
    Delivered::over(&bridge.metrics, link.transport()).note(&first);
    bridge.tracker.spawn(async move { conversation::run(connection, None, protocol, link).await });
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    // nginx would hold events back until its buffer is full.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// Where a browser was, as it says when it reconnects.
fn last_event(headers: &HeaderMap) -> Result<Option<Resume>, FieldError> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else { return Ok(None) };
    let resume = value.to_str().ok().and_then(place);
    resume.map(Some).ok_or_else(|| FieldError::new("Last-Event-ID", "must be {epoch}.{version}, as an event's id"))
}

/// Reads `{epoch}.{version}`.
pub(super) fn place(text: &str) -> Option<Resume> {
    let (epoch, version) = text.split_once('.')?;
    Some(Resume { epoch: epoch.parse().ok()?, version: version.parse().ok()? })
}

/// The protocol. The client says nothing.
#[derive(Debug)]
struct Events;

impl Protocol for Events {
    fn on_text(&mut self, _: &[u8], _: &mut Session, _: Duration) -> Vec<Wish> {
        Vec::new()
    }

    fn encode(&mut self, frame: &Frame, out: &mut Vec<Message>) -> Option<Close> {
        out.push(Message::own(frame.encoded(Encoding::Event, event)));
        match frame.about() {
            // The order is another's now: the stream has nothing more to tell.
            About::Error { topic: Some(_), .. } => Some(Close::Unauthorized),
            About::Error { topic: None, .. }
            | About::Session
            | About::Authenticated
            | About::Expired
            | About::Hello
            | About::GoingAway { .. }
            | About::Heartbeat
            | About::Subscribed { .. }
            | About::Unsubscribed { .. }
            | About::Snapshot { .. }
            | About::Delta { .. } => None,
        }
    }
}

/// After this time a browser comes back by itself, unless the node that it left told it another one.
const RETRY_MS: u64 = 2_000;

/// A frame as an event. JSON of ours has no line breaks.
fn event(frame: &Frame) -> Bytes {
    let more = match frame.about() {
        About::Snapshot { epoch, version, .. } | About::Delta { epoch, to: version, .. } => {
            format!("id: {epoch}.{version}\n")
        }
        About::Hello => format!("retry: {RETRY_MS}\n"),
        About::GoingAway { reconnect_in_ms } => format!("retry: {reconnect_in_ms}\n"),
        About::Session
        | About::Authenticated
        | About::Expired
        | About::Heartbeat
        | About::Subscribed { .. }
        | About::Unsubscribed { .. }
        | About::Error { .. } => String::new(),
    };
    let (json, mut text) = (frame.json(), BytesMut::new());
    for part in [b"event: ", frame.kind().as_bytes(), b"\n", more.as_bytes(), b"data: ", &json, b"\n\n"] {
        text.extend_from_slice(part);
    }
    text.freeze()
}

/// A response's body as a link: one chunk waits for the HTTP connection, all else in the outbox.
#[derive(Debug)]
struct BodyLink {
    transport: &'static str,
    chunks: PollSender<Bytes>,
    pending: BytesMut,
    gone: oneshot::Receiver<()>,
    /// A chunk was taken, which is all that is heard of this peer.
    alive: bool,
}

impl BodyLink {
    fn open(transport: &'static str) -> (Self, impl Stream<Item = Result<Bytes, Infallible>>) {
        let (sender, mut chunks) = mpsc::channel(1);
        let (here, gone) = oneshot::channel::<()>();
        let body = futures::stream::poll_fn(move |cx| {
            // Dropped with the body.
            let _ = &here;
            chunks.poll_recv(cx).map(|chunk| chunk.map(Ok))
        });
        (Self { transport, chunks: PollSender::new(sender), pending: BytesMut::new(), gone, alive: false }, body)
    }
}

impl Link for BodyLink {
    fn transport(&self) -> &'static str {
        self.transport
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, Gone>> {
        if std::mem::take(&mut self.alive) {
            return Poll::Ready(Ok(Incoming::Alive));
        }
        Pin::new(&mut self.gone).poll(cx).map(|_| Err(Gone::Left))
    }

    fn queue(&mut self, messages: Vec<Message>) {
        messages.iter().flat_map(Message::parts).for_each(|part| self.pending.extend_from_slice(&part));
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if !self.pending.is_empty() {
            if ready!(self.chunks.poll_reserve(cx)).is_err()
                || self.chunks.send_item(self.pending.split().freeze()).is_err()
            {
                return Poll::Ready(Err(Gone::Left));
            }
            self.alive = true;
            self.pending = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// The session's heartbeat keeps the way open.
    fn ping(&mut self) {}

    fn close(&mut self, code: u16, reason: &str) {
        let event = format!("event: close\ndata: {{\"code\":{code},\"reason\":\"{reason}\"}}\n\n");
        self.pending.extend_from_slice(event.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::UnixMillis, wire::client::ServerFrame};
    use serde_json::json;

    #[test]
    fn an_event_has_its_frames_name_and_place() {
        let (topic, at_ms) = ("order/o1".to_owned(), UnixMillis(5));
        let frame = Frame::new(
            &ServerFrame::Snapshot { topic, epoch: 3, version: 7, at_ms, state: json!({"notes": "a\nb"}) },
            None,
        );
        let expected = "event: snapshot\nid: 3.7\ndata: {\"type\":\"snapshot\",\"topic\":\"order/o1\",\"epoch\":3,\
                        \"version\":7,\"at_ms\":5,\"state\":{\"notes\":\"a\\nb\"}}\n\n";
        assert_eq!(event(&frame), expected);
        let going = Frame::new(&ServerFrame::GoingAway { reconnect_in_ms: 730 }, None);
        let expected = "event: going_away\nretry: 730\ndata: {\"type\":\"going_away\",\"reconnect_in_ms\":730}\n\n";
        assert_eq!(event(&going), expected);
        let pong = Frame::new(&ServerFrame::Pong { id: None }, None);
        assert_eq!(event(&pong), "event: pong\ndata: {\"type\":\"pong\"}\n\n");
    }

    #[test]
    fn a_place_is_read_or_named() {
        assert_eq!(place("3.7"), Some(Resume { epoch: 3, version: 7 }));
        for text in ["", "3", "3.", ".7", "3.7.1", "-3.7", "a.b"] {
            assert_eq!(place(text), None, "{text}");
        }
    }
}
