//! WebSockets under a base URL: `…/websocket` with SockJS's frames around messages, and for tests `/websocket` without.
//!
//! Such a session lives and ends with its socket: it has no place among the sessions that are found by their ids.

use super::{Mount, framing, identity::Presented, pages};
use crate::bridge::{
    Inner,
    link::{Gone, Incoming, Link, Message},
    ws,
};
use axum::{
    body::Body,
    extract::Request,
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// How a session ends that sent what is no JSON.
const BROKEN: (u16, &str) = (1002, "Broken framing.");

/// The WebSocket without framing.
pub(super) async fn raw(bridge: Arc<Inner>, mount: Arc<Mount>, parts: Parts) -> Response {
    accept(bridge, mount, parts, "websocket", |link| Box::new(link)).await
}

/// The WebSocket with framing.
pub(super) async fn framed(bridge: Arc<Inner>, mount: Arc<Mount>, parts: Parts) -> Response {
    let heartbeat = bridge.options.sockjs.heartbeat;
    accept(bridge, mount, parts, "sockjs-websocket", move |link| Box::new(Framed::new(link, heartbeat))).await
}

async fn accept(
    bridge: Arc<Inner>,
    mount: Arc<Mount>,
    mut parts: Parts,
    transport: &'static str,
    link: impl FnOnce(ws::Socket) -> Box<dyn Link> + Send + 'static,
) -> Response {
    if !ws::has(&parts.headers, &header::UPGRADE, "websocket") {
        return pages::text(StatusCode::BAD_REQUEST, "Can \"Upgrade\" only to \"WebSocket\".");
    }
    if !ws::has(&parts.headers, &header::CONNECTION, "upgrade") {
        return pages::text(StatusCode::BAD_REQUEST, "\"Connection\" must be \"Upgrade\".");
    }
    let opening = match Presented::of(&mut parts, &bridge).await {
        Ok(presented) => presented.opening(&bridge).await,
        Err(rejection) => Err(rejection),
    };
    let opening = match opening {
        Ok(opening) => opening,
        Err(rejection) => return rejection.into_response(),
    };
    let max = bridge.options.sockjs.message_max_bytes;
    let request = Request::from_parts(parts, Body::empty());
    let run = {
        let bridge = bridge.clone();
        move |socket| mount.talk.begin(bridge, opening, link(socket))
    };
    ws::accept(bridge, request, &[], (transport, max), run).unwrap_or_else(IntoResponse::into_response)
}

/// A link whose messages are SockJS frames.
#[derive(Debug)]
struct Framed<L> {
    link: L,
    inbound: VecDeque<String>,
    heartbeat: Duration,
    /// When the next heartbeat is due: nothing was sent for so long.
    beat: Pin<Box<Sleep>>,
    closed: bool,
}

impl<L: Link> Framed<L> {
    fn new(mut link: L, heartbeat: Duration) -> Self {
        link.queue(vec![Message::own(framing::OPEN)]);
        let beat = Box::pin(tokio::time::sleep(heartbeat));
        Self { link, inbound: VecDeque::new(), heartbeat, beat, closed: false }
    }

    fn put_off_beat(&mut self) {
        let next = Instant::now() + self.heartbeat;
        self.beat.as_mut().reset(next);
    }
}

impl<L: Link> Link for Framed<L> {
    fn transport(&self) -> &'static str {
        self.link.transport()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, Gone>> {
        while self.beat.as_mut().poll(cx).is_ready() {
            self.put_off_beat();
            // While the socket takes nothing one more would only wait.
            if matches!(self.link.poll_flush(cx), Poll::Ready(Ok(()))) {
                self.link.queue(vec![Message::own(framing::HEARTBEAT)]);
            }
        }
        // What is queued besides the conversation's messages is written by nobody else.
        if let Poll::Ready(Err(gone)) = self.link.poll_flush(cx) {
            return Poll::Ready(Err(gone));
        }
        loop {
            if let Some(text) = self.inbound.pop_front() {
                return Poll::Ready(Ok(Incoming::Text(text.into())));
            }
            match futures::ready!(self.link.poll_recv(cx))? {
                Incoming::Text(message) => match framing::socket_texts(&message) {
                    Ok(texts) => {
                        self.inbound.extend(texts);
                        if self.inbound.is_empty() {
                            return Poll::Ready(Ok(Incoming::Alive));
                        }
                    }
                    Err(_) => {
                        self.link.close(BROKEN.0, BROKEN.1);
                        return Poll::Ready(Err(Gone::Broken));
                    }
                },
                other @ (Incoming::Binary | Incoming::Alive) => return Poll::Ready(Ok(other)),
            }
        }
    }

    fn queue(&mut self, messages: Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        let mut frame = b"a[".to_vec();
        for (n, message) in messages.iter().enumerate() {
            frame.extend_from_slice(if n == 0 { b"\"" } else { b",\"" });
            message.escaped(framing::escape).iter().for_each(|part| frame.extend_from_slice(part));
            frame.push(b'"');
        }
        frame.push(b']');
        self.put_off_beat();
        self.link.queue(vec![Message::own(frame)]);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.link.poll_flush(cx)
    }

    fn ping(&mut self) {
        self.link.ping();
    }

    fn close(&mut self, code: u16, reason: &str) {
        if !std::mem::replace(&mut self.closed, true) {
            self.link.queue(vec![Message::own(framing::close(code, reason))]);
            self.link.close(code, reason);
        }
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.link.poll_linger(cx)
    }
}

impl Link for Box<dyn Link> {
    fn transport(&self) -> &'static str {
        (**self).transport()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, Gone>> {
        (**self).poll_recv(cx)
    }

    fn queue(&mut self, messages: Vec<Message>) {
        (**self).queue(messages);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        (**self).poll_flush(cx)
    }

    fn ping(&mut self) {
        (**self).ping();
    }

    fn close(&mut self, code: u16, reason: &str) {
        (**self).close(code, reason);
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        (**self).poll_linger(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::VecDeque,
        future::poll_fn,
        sync::{Arc, Mutex},
    };

    /// Says what is in it, and keeps what is written.
    #[derive(Clone, Debug, Default)]
    struct Paper {
        says: VecDeque<&'static str>,
        written: Arc<Mutex<Vec<String>>>,
    }

    impl Link for Paper {
        fn transport(&self) -> &'static str {
            "paper"
        }
        fn poll_recv(&mut self, _: &mut Context<'_>) -> Poll<Result<Incoming, Gone>> {
            self.says.pop_front().map_or(Poll::Pending, |text| Poll::Ready(Ok(Incoming::Text(text.into()))))
        }
        fn queue(&mut self, messages: Vec<Message>) {
            let texts = messages.iter().map(|message| String::from_utf8(message.parts().concat()).unwrap());
            self.written.lock().unwrap().extend(texts);
        }
        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Gone>> {
            Poll::Ready(Ok(()))
        }
        fn ping(&mut self) {}
        fn close(&mut self, code: u16, _: &str) {
            self.written.lock().unwrap().push(format!("close {code}"));
        }
    }

    fn framed(says: &[&'static str]) -> (Framed<Paper>, Arc<Mutex<Vec<String>>>) {
        let paper = Paper { says: says.iter().copied().collect(), ..Paper::default() };
        let written = paper.written.clone();
        (Framed::new(paper, Duration::from_secs(25)), written)
    }

    #[tokio::test(start_paused = true)]
    async fn messages_are_framed_both_ways() {
        let (mut link, written) = framed(&["", "[]", "[\"a\",\"b\"]", "\"c\"", "[\"x"]);
        let mut came = Vec::new();
        for _ in 0..6 {
            came.push(poll_fn(|cx| link.poll_recv(cx)).await);
        }
        let text = |text: &'static str| Ok(Incoming::Text(text.into()));
        let alive = || Ok(Incoming::Alive);
        assert_eq!(came, [alive(), alive(), text("a"), text("b"), text("c"), Err(Gone::Broken)]);
        link.queue(vec![Message::own("1\""), Message::own("2")]);
        link.close(3000, "Go away!");
        link.close(1001, "again");
        let expected = ["o", "close 1002", "a[\"1\\\"\",\"2\"]", "c[3000,\"Go away!\"]", "close 3000"];
        assert_eq!(*written.lock().unwrap(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_with_heartbeats() {
        let (mut link, written) = framed(&[]);
        let wait = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        tokio::select! { _ = poll_fn(|cx| link.poll_recv(cx)) => {}, () = wait(26) => {} }
        link.queue(vec![Message::own("x")]);
        tokio::select! { _ = poll_fn(|cx| link.poll_recv(cx)) => {}, () = wait(24) => {} }
        assert_eq!(*written.lock().unwrap(), ["o", "h", "a[\"x\"]"]);
        tokio::select! { _ = poll_fn(|cx| link.poll_recv(cx)) => {}, () = wait(30) => {} }
        assert_eq!(written.lock().unwrap().last().unwrap(), "h");
    }
}
