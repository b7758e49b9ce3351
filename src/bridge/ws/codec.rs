//! WebSocket frames of a client, read as they come (RFC 6455, section 5). Sans-IO: bytes in, events out.
//!
//! What a server writes is never masked, so a frame's bytes are the same for everybody and are made where the frame is
//! ([`crate::bridge::frame`]); here are only headers for what is a connection's own. No extension is agreed on.

use bytes::Bytes;

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Text(Bytes),
    Binary,
    Ping(Bytes),
    Pong,
    Close,
}

/// Why nothing more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    #[error("a message is too large")]
    TooLarge,
    #[error("no frame of RFC 6455")]
    Protocol,
    #[error("text that isn't UTF-8")]
    Utf8,
}

impl Wrong {
    /// RFC 6455, 7.4.1. What is too large has a code of ours.
    pub(super) fn code(self) -> u16 {
        match self {
            Self::TooLarge => 1009,
            Self::Protocol => 1002,
            Self::Utf8 => 1007,
        }
    }
}

mod opcode {
    pub(super) const CONTINUATION: u8 = 0;
    pub(super) const TEXT: u8 = 1;
    pub(super) const BINARY: u8 = 2;
    pub(super) const CLOSE: u8 = 8;
    pub(super) const PING: u8 = 9;
    pub(super) const PONG: u8 = 10;
}

/// A control frame's payload, RFC 6455, 5.5.
const CONTROL_MAX: usize = 125;

/// Reads one client's frames. Holds nothing while no frame is under way.
#[derive(Debug)]
pub(super) struct Reader {
    max: usize,
    pending: Vec<u8>,
    /// A message in several frames: whether it is text, and what came of it.
    fragments: Option<(bool, Vec<u8>)>,
}

struct Header {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    /// Of the header.
    size: usize,
    payload: usize,
}

impl Reader {
    /// Takes messages of up to `max` bytes.
    pub(super) fn new(max: usize) -> Self {
        Self { max, pending: Vec::new(), fragments: None }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next event, if all of it has come.
    pub(super) fn next(&mut self) -> Result<Option<Event>, Wrong> {
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let end = header.size + header.payload;
            if self.pending.len() < end {
                return Ok(None);
            }
            let mut payload = self.pending[header.size..end].to_vec();
            payload.iter_mut().zip(header.mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
            if self.pending.len() == end {
                self.pending = Vec::new();
            } else {
                self.pending.drain(..end);
            }
            if let Some(event) = self.frame(&header, payload)? {
                return Ok(Some(event));
            }
        }
    }

    /// The header of the frame that comes first. Checked before its payload is waited for.
    fn header(&self) -> Result<Option<Header>, Wrong> {
        let [first, second, rest @ ..] = &self.pending[..] else { return Ok(None) };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        // Extensions, of which there are none, and a mask, which clients must use.
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(Wrong::Protocol);
        }
        let (extended, length) = match second & 0x7f {
            126 => match rest {
                [a, b, ..] => (2, u64::from(u16::from_be_bytes([*a, *b]))),
                _ => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (8, u64::from_be_bytes(*length)),
                None => return Ok(None),
            },
            short => (0, u64::from(short)),
        };
        let is_shortest = match extended {
            0 => true,
            2 => length > 125,
            _ => length > 0xffff && length >> 63 == 0,
        };
        let is_control = opcode >= opcode::CLOSE;
        if !is_shortest || (is_control && (!fin || extended > 0)) {
            return Err(Wrong::Protocol);
        }
        let fits = match opcode {
            opcode::CONTINUATION => self.fragments.is_some(),
            opcode::TEXT | opcode::BINARY => self.fragments.is_none(),
            opcode::CLOSE | opcode::PING | opcode::PONG => true,
            _ => false,
        };
        if !fits {
            return Err(Wrong::Protocol);
        }
        let before = self.fragments.as_ref().map_or(0, |(_, bytes)| bytes.len());
        let payload = usize::try_from(length).unwrap_or(usize::MAX);
        if !is_control && payload.saturating_add(before) > self.max {
            return Err(Wrong::TooLarge);
        }
        let Some(mask) = rest.get(extended..).and_then(|rest| rest.first_chunk::<4>()) else { return Ok(None) };
        Ok(Some(Header { fin, opcode, mask: *mask, size: 2 + extended + 4, payload }))
    }

    fn frame(&mut self, header: &Header, payload: Vec<u8>) -> Result<Option<Event>, Wrong> {
        Ok(Some(match header.opcode {
            opcode::PING => Event::Ping(payload.into()),
            opcode::PONG => Event::Pong,
            opcode::CLOSE => {
                check_close(&payload)?;
                Event::Close
            }
            kind => {
                let (text, mut message) = self.fragments.take().unwrap_or((kind == opcode::TEXT, Vec::new()));
                if message.is_empty() {
                    message = payload;
                } else {
                    message.extend_from_slice(&payload);
                }
                match (header.fin, text) {
                    (false, _) => {
                        self.fragments = Some((text, message));
                        return Ok(None);
                    }
                    (true, true) if std::str::from_utf8(&message).is_err() => return Err(Wrong::Utf8),
                    (true, true) => Event::Text(message.into()),
                    (true, false) => Event::Binary,
                }
            }
        }))
    }
}

/// A close frame's code and reason, RFC 6455, 5.5.1 and 7.4.
fn check_close(payload: &[u8]) -> Result<(), Wrong> {
    match payload {
        [] => Ok(()),
        [_] => Err(Wrong::Protocol),
        [a, b, reason @ ..] => match u16::from_be_bytes([*a, *b]) {
            1000..=1003 | 1007..=1014 | 3000..=4999 if std::str::from_utf8(reason).is_ok() => Ok(()),
            1000..=1003 | 1007..=1014 | 3000..=4999 => Err(Wrong::Utf8),
            _ => Err(Wrong::Protocol),
        },
    }
}

/// A text frame's header and the first part of its payload.
#[allow(clippy::cast_possible_truncation, reason = "each length is checked before it is cut")]
pub(super) fn text(own: &[u8], rest: usize) -> Bytes {
    let length = own.len() + rest;
    let mut bytes = Vec::with_capacity(10 + own.len());
    bytes.push(0x80 | opcode::TEXT);
    match length {
        0..126 => bytes.push(length as u8),
        126..65_536 => {
            bytes.push(126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(own);
    bytes.into()
}

pub(super) fn ping() -> Bytes {
    Bytes::from_static(&[0x80 | opcode::PING, 0])
}

pub(super) fn pong(payload: &[u8]) -> Bytes {
    control(opcode::PONG, payload)
}

/// A close frame; a reason that doesn't fit is cut.
pub(super) fn close(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(CONTROL_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    control(opcode::CLOSE, &[&code.to_be_bytes(), &reason.as_bytes()[..end]].concat())
}

#[allow(clippy::cast_possible_truncation, reason = "a control frame's payload is at most 125 bytes")]
fn control(opcode: u8, payload: &[u8]) -> Bytes {
    let payload = &payload[..payload.len().min(CONTROL_MAX)];
    let mut bytes = vec![0x80 | opcode, payload.len() as u8];
    bytes.extend_from_slice(payload);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = text(&[], payload.len()).to_vec();
        (bytes[0], bytes[1]) = (first, bytes[1] | 0x80);
        bytes.extend_from_slice(&MASK);
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Event>, Wrong> {
        let mut reader = Reader::new(1_000);
        reader.feed(bytes);
        let mut events = Vec::new();
        while let Some(event) = reader.next()? {
            events.push(event);
        }
        Ok(events)
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(read(&hello), Ok(vec![Event::Text("Hello".into())]));
        assert_eq!(read(&masked(0x89, b"Hello")), Ok(vec![Event::Ping("Hello".into())]));
        let parts = [masked(0x01, b"Hel"), masked(0x89, b"x"), masked(0x80, b"lo")].concat();
        assert_eq!(read(&parts), Ok(vec![Event::Ping("x".into()), Event::Text("Hello".into())]));
        assert_eq!(read(&masked(0x82, &[0xff])), Ok(vec![Event::Binary]));
        assert_eq!(read(&masked(0x88, &[])), Ok(vec![Event::Close]));
    }

    #[test]
    fn what_breaks_the_rules_is_told() {
        let close = |code: u16| masked(0x88, &code.to_be_bytes());
        for (bytes, wrong) in [
            (vec![0x81, 0x05], Wrong::Protocol),
            (masked(0xc1, b""), Wrong::Protocol),
            (masked(0x83, b""), Wrong::Protocol),
            (masked(0x8b, b""), Wrong::Protocol),
            (masked(0x80, b"x"), Wrong::Protocol),
            (masked(0x09, b""), Wrong::Protocol),
            (masked(0x89, &[0; 126]), Wrong::Protocol),
            ([masked(0x01, b"a"), masked(0x81, b"b")].concat(), Wrong::Protocol),
            (vec![0x81, 0xfe, 0, 5, 0, 0, 0, 0], Wrong::Protocol),
            (vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], Wrong::Protocol),
            (masked(0x88, &[3]), Wrong::Protocol),
            (close(999), Wrong::Protocol),
            (close(1005), Wrong::Protocol),
            (close(5000), Wrong::Protocol),
            (masked(0x88, &[0x0f, 0xa0, 0xff]), Wrong::Utf8),
            (masked(0x81, &[0xff]), Wrong::Utf8),
            (masked(0x81, &[b'x'; 1_001]), Wrong::TooLarge),
            ([masked(0x01, &[b'x'; 600]), masked(0x80, &[b'x'; 401])].concat(), Wrong::TooLarge),
            (vec![0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0], Wrong::TooLarge),
        ] {
            assert_eq!(read(&bytes), Err(wrong), "{bytes:x?}");
        }
        assert_eq!(read(&close(4000)), Ok(vec![Event::Close]));
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let close = close(4100, &"é".repeat(100));
        assert_eq!(close.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&close[4..]).is_ok());
    }

    fn frames() -> impl Strategy<Value = Vec<u8>> {
        let frame = (prop_oneof![Just(0x81), Just(0x82), Just(0x01), Just(0x80), Just(0x89), any::<u8>()], ".{0,40}");
        let frame = frame.prop_map(|(first, text)| masked(first, text.as_bytes()));
        prop::collection::vec(frame, 0..6).prop_map(|frames| frames.concat())
    }

    proptest! {
        /// However the bytes are cut, the same is read, and bytes that are no frames do no harm.
        #[test]
        fn cuts_change_nothing(bytes in frames(), cuts in prop::collection::vec(1..20_usize, 1..40)) {
            let mut reader = Reader::new(1_000);
            let (mut events, mut rest, mut failed) = (Vec::new(), &bytes[..], None);
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() || failed.is_some() {
                    break;
                }
                let (now, later) = rest.split_at(cut.min(rest.len()));
                reader.feed(now);
                rest = later;
                loop {
                    match reader.next() {
                        Ok(Some(event)) => events.push(event),
                        Ok(None) => break,
                        Err(wrong) => {
                            failed = Some(wrong);
                            break;
                        }
                    }
                }
            }
            match (read(&bytes), failed) {
                (Ok(whole), None) => prop_assert_eq!(whole, events),
                (Err(wrong), Some(failed)) => prop_assert_eq!(wrong, failed),
                (whole, failed) => prop_assert!(false, "{:?} {:?}", whole, failed),
            }
        }
    }
}
