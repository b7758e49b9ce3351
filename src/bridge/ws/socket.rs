//! A client's WebSocket as a [`Link`]: shared frames go to the kernel as they are, all that waits with one `writev`.
//!
//! Nothing is allocated for a connection that is idle: what is read lands on the stack first, what is written is a queue of
//! references.

use super::codec::{self, Event, Reader, Wrong};
use crate::bridge::{
    frame::Frame,
    link::{Gone, Incoming, Link, Message},
    outbox::{Lane, Passed},
    serve::Placed,
};
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    io::{ErrorKind, IoSlice},
    net::Shutdown,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// What is read at once. Clients send little.
const READ_BYTES: usize = 4 << 10;

/// Slices in one write; more than the kernel takes at once (1,024) are none.
const SLICES: usize = 64;

/// What a peer that was told to go may still send.
const LINGER_BYTES: usize = 1 << 20;

/// The way out. Shared with those who pass frames by the conversation: whoever writes holds what waits.
#[derive(Debug)]
pub(in crate::bridge) struct Way {
    stream: Placed,
    /// Frames, the first perhaps in part.
    out: Mutex<VecDeque<Bytes>>,
}

impl Lane for Way {
    fn pass(&self, frame: &Frame) -> Passed {
        let mut out = self.out.lock();
        let bytes = frame.ws_bytes();
        if !out.is_empty() {
            return Passed::Not;
        }
        match self.stream.tcp().try_write(bytes) {
            Ok(written) if written == bytes.len() => Passed::Whole,
            Ok(written) if written > 0 => {
                out.push_back(frame.ws().slice(written..));
                Passed::Part
            }
            // Also where the peer is gone: the conversation finds that out.
            Ok(_) | Err(_) => Passed::Not,
        }
    }
}

impl Way {
    fn push(&self, frame: Bytes) {
        self.out.lock().push_back(frame);
    }

    /// One write of what waits: a single frame with `send`, which costs the kernel less than `writev`.
    fn try_write(&self, out: &VecDeque<Bytes>) -> std::io::Result<usize> {
        if let (Some(only), 1) = (out.front(), out.len()) {
            return self.stream.tcp().try_write(only);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = out.iter().zip(&mut slices).map(|(bytes, slice)| *slice = IoSlice::new(bytes)).count();
        self.stream.tcp().try_write_vectored(&slices[..count])
    }
}

#[derive(Debug)]
pub(in crate::bridge) struct Socket {
    way: Arc<Way>,
    transport: &'static str,
    reader: Reader,
    /// The answer to the peer's last ping; one is enough for all that came before it. RFC 6455, 5.5.3.
    pong: Option<Bytes>,
    /// What came with the handshake.
    early: Bytes,
    lingered: usize,
}

impl Socket {
    /// `early`: bytes that came after the request. `max`: the largest message.
    pub(in crate::bridge) fn new(stream: Placed, early: Bytes, transport: &'static str, max: usize) -> Self {
        let way = Arc::new(Way { stream, out: Mutex::default() });
        Self { way, transport, reader: Reader::new(max), pong: None, early, lingered: 0 }
    }

    /// Past the conversation, for frames that are said as they are.
    pub(in crate::bridge) fn lane(&self) -> Arc<dyn Lane> {
        self.way.clone()
    }

    fn wrong(&mut self, wrong: Wrong) -> Gone {
        match wrong {
            Wrong::TooLarge => Gone::TooLarge,
            Wrong::Protocol | Wrong::Utf8 => {
                self.way.push(codec::close(wrong.code(), ""));
                Gone::Broken
            }
        }
    }

    /// One read. `false`: the peer says nothing more.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if !self.early.is_empty() {
            self.reader.feed(&std::mem::take(&mut self.early));
            return Poll::Ready(true);
        }
        let mut space = [0; READ_BYTES];
        let read = ready!(self.poll_bytes(cx, &mut space));
        self.reader.feed(space.get(..read).unwrap_or_default());
        Poll::Ready(read > 0)
    }

    /// Bytes read, 0 at the end, whichever it is.
    fn poll_bytes(&self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<usize> {
        loop {
            if ready!(self.way.stream.tcp().poll_read_ready(cx)).is_err() {
                return Poll::Ready(0);
            }
            match self.way.stream.tcp().try_read(space) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.unwrap_or(0)),
            }
        }
    }
}

impl Link for Socket {
    fn transport(&self) -> &'static str {
        self.transport
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, Gone>> {
        loop {
            match self.reader.next() {
                Ok(Some(event)) => {
                    return Poll::Ready(match event {
                        Event::Text(text) => Ok(Incoming::Text(text)),
                        Event::Binary => Ok(Incoming::Binary),
                        Event::Pong => Ok(Incoming::Alive),
                        Event::Ping(payload) => {
                            self.pong = Some(codec::pong(&payload));
                            Ok(Incoming::Alive)
                        }
                        Event::Close => {
                            self.way.push(codec::close(1000, ""));
                            Err(Gone::Left)
                        }
                    });
                }
                Ok(None) => {
                    if !ready!(self.poll_read(cx)) {
                        return Poll::Ready(Err(Gone::Left));
                    }
                }
                Err(wrong) => return Poll::Ready(Err(self.wrong(wrong))),
            }
        }
    }

    fn queue(&mut self, messages: Vec<Message>) {
        let mut out = self.way.out.lock();
        for message in messages {
            if let Some(frame) = message.ws() {
                out.push_back(frame);
                continue;
            }
            let [own, shared] = message.parts();
            out.push_back(codec::text(&own, shared.len()));
            if !shared.is_empty() {
                out.push_back(shared);
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut out = self.way.out.lock();
        loop {
            if out.is_empty() {
                match self.pong.take() {
                    Some(pong) => out.push_back(pong),
                    None => return Poll::Ready(Ok(())),
                }
            }
            let mut written = match self.way.try_write(&out) {
                Ok(written) if written > 0 => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    match ready!(self.way.stream.tcp().poll_write_ready(cx)) {
                        Ok(()) => continue,
                        Err(_) => return Poll::Ready(Err(Gone::Left)),
                    }
                }
                Ok(_) | Err(_) => return Poll::Ready(Err(Gone::Left)),
            };
            while let Some(first) = out.front_mut() {
                if first.len() > written {
                    first.advance(written);
                    break;
                }
                written -= first.len();
                out.pop_front();
            }
            if out.is_empty() && out.capacity() > 8 {
                *out = VecDeque::new();
            }
        }
    }

    fn ping(&mut self) {
        self.way.push(codec::ping());
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.way.push(codec::close(code, reason));
    }

    /// Reads until the peer has closed as well: closing over bytes that weren't read resets the connection, and the peer
    /// would lose the close frame.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if socket2::SockRef::from(self.way.stream.tcp()).shutdown(Shutdown::Write).is_err() {
            return Poll::Ready(());
        }
        let mut space = [0; READ_BYTES];
        loop {
            match ready!(self.poll_bytes(cx, &mut space)) {
                read if read > 0 && self.lingered < LINGER_BYTES => self.lingered += read,
                _ => return Poll::Ready(()),
            }
        }
    }
}
