//! A WebSocket client that costs little: it counts what comes and reads one figure at the end of a frame's text. A client
//! that parses would burn more of the shared cores than the server which it measures.

use anyhow::{Context as _, bail, ensure};
use std::{cell::RefCell, io::ErrorKind, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// A handshake's answer.
const HEAD_MAX: usize = 8 << 10;
/// What one read takes, of a place that all connections of a thread share.
const READ: usize = 256 << 10;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// Cuts a server's bytes into frames.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    /// The beginning of a frame whose rest hasn't come.
    part: Vec<u8>,
}

/// A server's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    /// With its code, or 1005 where there is none.
    Close(u16),
    Other,
}

impl Cutter {
    /// Shows each frame that is whole now. Fragments and masks aren't read: no server here makes any.
    pub(super) fn cut(&mut self, bytes: &[u8], mut show: impl FnMut(Heard<'_>)) {
        let joined;
        let mut rest = if self.part.is_empty() {
            bytes
        } else {
            self.part.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.part);
            &joined[..]
        };
        while let Some((opcode, payload, behind)) = frame(rest) {
            show(match opcode {
                TEXT => Heard::Text(payload),
                PING => Heard::Ping(payload),
                CLOSE => Heard::Close(payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))),
                _ => Heard::Other,
            });
            rest = behind;
        }
        // Kept with no more room than needed: it is one of thousands.
        self.part = rest.to_vec();
    }
}

/// Opcode, payload and what follows, if the frame is whole.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match second & 0x7f {
        126 => rest.split_first_chunk().map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest))?,
        127 => rest.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
        length => (u64::from(length), rest),
    };
    let (payload, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((first & 0x0f, payload, behind))
}

/// A client's frame: masked, as it must be, with a mask of zeros.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match u16::try_from(payload.len()) {
        Ok(short @ 0..126) => frame.push(0x80 | short.to_be_bytes()[1]),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// One connection.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    cutter: Cutter,
    /// What came behind the handshake's answer.
    early: Vec<u8>,
}

impl Socket {
    pub(super) async fn open(addr: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let ask = format!(
            "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).await?;
        let mut head = Vec::new();
        let end = loop {
            ensure!(stream.read_buf(&mut head).await? > 0 && head.len() <= HEAD_MAX, "no WebSocket at {path}");
            if let Some(at) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let early = head.split_off(end);
        if !head.starts_with(b"HTTP/1.1 101") {
            bail!("{path}: {}", String::from_utf8_lossy(&head).lines().next().unwrap_or_default());
        }
        Ok(Self { stream, cutter: Cutter::default(), early })
    }

    pub(super) async fn say(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.stream.write_all(&masked(TEXT, text.as_bytes())).await?)
    }

    /// Waits for bytes and shows the whole frames in them; pings are answered. False: the connection has ended.
    pub(super) async fn hear(&mut self, mut show: impl FnMut(Heard<'_>)) -> anyhow::Result<bool> {
        let mut pong = None;
        let mut each = |heard: Heard<'_>| match heard {
            Heard::Ping(payload) => pong = Some(masked(PONG, payload)),
            Heard::Text(_) | Heard::Close(_) | Heard::Other => show(heard),
        };
        if !self.early.is_empty() {
            self.cutter.cut(&std::mem::take(&mut self.early), &mut each);
        } else {
            self.stream.readable().await?;
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let read = self.stream.try_read(scratch)?;
                self.cutter.cut(scratch.get(..read).unwrap_or_default(), &mut each);
                Ok(read)
            });
            match read {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if std::io::Error::kind(&error) == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("read"),
            }
        }
        if let Some(pong) = pong {
            self.stream.write_all(&pong).await?;
        }
        Ok(true)
    }
}

/// The figure with which an update's text ends, before the braces: `…"sent_us":1234}}}`.
pub(super) fn sent_us(text: &[u8]) -> Option<u64> {
    let end = text.iter().rposition(|&byte| byte != b'}')? + 1;
    let text = text.get(..end)?;
    let begin = text.iter().rposition(|byte| !byte.is_ascii_digit())? + 1;
    let (name, digits) = text.split_at_checked(begin)?;
    if !name.ends_with(b"\"sent_us\":") {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_whole_however_they_come() {
        let long = "x".repeat(70_000);
        let mut bytes = Vec::new();
        for (opcode, payload) in [(TEXT, "a"), (PING, "p"), (TEXT, &long[..200]), (TEXT, &long), (CLOSE, "\x0f\u{20}")]
        {
            // As a server says it: without a mask.
            let mut frame = masked(opcode, payload.as_bytes());
            frame[1] &= 0x7f;
            let mask = frame.len() - payload.len() - 4;
            frame.drain(mask..mask + 4);
            bytes.extend(frame);
        }
        for size in [1, 7, 1_000, bytes.len()] {
            let (mut cutter, mut heard) = (Cutter::default(), Vec::new());
            for chunk in bytes.chunks(size) {
                cutter.cut(chunk, |frame| {
                    heard.push(match frame {
                        Heard::Text(text) => text.len(),
                        Heard::Ping(_) => 1_000_001,
                        Heard::Close(code) => code.into(),
                        Heard::Other => 0,
                    });
                });
            }
            assert_eq!(heard, [1, 1_000_001, 200, 70_000, 0x0f20]);
        }
    }

    #[test]
    fn the_last_figure_of_an_update() {
        assert_eq!(sent_us(br#"{"patch":{"position":{"lat":1.5,"sent_us":1234}}}"#), Some(1234));
        for other in [&br#"{"patch":{"position":{"lat":1.5}}}"#[..], b"", b"}}", b"12", br#"{"sent_us":}"#] {
            assert_eq!(sent_us(other), None);
        }
    }
}
