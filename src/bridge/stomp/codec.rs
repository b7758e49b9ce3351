//! STOMP frames out of text, as it comes.
//!
//! A frame may come in any number of pieces (stock clients split at 8 or 16 KiB), and a piece may hold any number of frames.
//! What is read of an unfinished frame is kept parsed, within [`Bounds`]; between frames nothing is kept, so that an idle
//! connection costs no buffer. Frames come out one by one, because what a CONNECT says decides how the next one is read.
//!
//! Lines may end in CR LF in every version: 1.2 allows it, and nobody means the CR in the others. A colon in a value is
//! taken as it is, escaped or not: stock clients don't escape, and the first one ends the name.

use super::version::Dialect;
use bytes::Bytes;

/// Why text is no frame. Every one is fatal: where the next frame begins isn't known any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    #[error("a line is longer than {0} bytes")]
    LongLine(usize),
    #[error("a frame has more than {0} headers")]
    ManyHeaders(usize),
    #[error("a frame's headers have more than {0} bytes")]
    LongHead(usize),
    #[error("a body is longer than {0} bytes")]
    LongBody(usize),
    #[error("a header line has no colon")]
    NoColon,
    #[error("a header has no name")]
    NoName,
    #[error("a backslash is followed by {0:?}, which this version doesn't define")]
    Escape(Option<char>),
    #[error("a carriage return within a line must be escaped")]
    CarriageReturn,
    #[error("headers must be UTF-8")]
    Utf8,
    #[error("content-length must be a number of bytes")]
    ContentLength,
    #[error("there is no NUL after the content-length")]
    NoNul,
    #[error("a NUL before the body")]
    EarlyNul,
    #[error("a command must be capital letters")]
    Command,
}

impl BadFrame {
    /// Whether a bound was passed, rather than the syntax left.
    pub fn is_too_large(&self) -> bool {
        match self {
            Self::LongLine(_) | Self::ManyHeaders(_) | Self::LongHead(_) | Self::LongBody(_) => true,
            Self::NoColon
            | Self::NoName
            | Self::Escape(_)
            | Self::CarriageReturn
            | Self::Utf8
            | Self::ContentLength
            | Self::NoNul
            | Self::EarlyNul
            | Self::Command => false,
        }
    }
}

/// What an unfinished frame may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// A line, in bytes. A token is up to 8 KiB long.
    pub line_max: usize,
    pub headers_max: usize,
    /// All headers together, in bytes.
    pub head_max: usize,
    pub body_max: usize,
}

impl Bounds {
    /// Of who hasn't said yet who they are: a CONNECT has a token, a host and some versions.
    pub const CONNECT: Self = Self { line_max: 9 << 10, headers_max: 20, head_max: 12 << 10, body_max: 0 };
    /// Of a client. The largest body is a command's: a list of missing items.
    pub const CLIENT: Self = Self { line_max: 9 << 10, headers_max: 50, head_max: 16 << 10, body_max: 64 << 10 };
}

/// A frame as a client sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientText {
    pub command: String,
    /// In the order in which they came; of several of one name the first counts.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl ClientText {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Bytes that it takes in memory, about.
    pub fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        self.command.len() + self.body.len() + headers + 64
    }
}

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An end of line between frames.
    Beat,
    Frame(ClientText),
}

#[derive(Debug, Default)]
enum Place {
    #[default]
    Between,
    Head,
    Body {
        /// What `content-length` says.
        length: Option<usize>,
    },
}

/// One per connection.
#[derive(Debug, Default)]
pub struct Parser {
    place: Place,
    /// The unfinished line.
    line: Vec<u8>,
    frame: ClientText,
    /// Bytes of the head so far.
    head: usize,
    body: Vec<u8>,
}

impl Parser {
    /// Takes from the front of `input` up to the end of the next event. `None`: all of it was taken, and more is needed. After an
    /// error nothing sensible comes any more.
    pub fn next(&mut self, input: &mut &[u8], dialect: Dialect, bounds: &Bounds) -> Result<Option<Event>, BadFrame> {
        loop {
            match self.place {
                Place::Between => match input.split_first() {
                    None => return Ok(None),
                    Some((b'\n', rest)) => {
                        *input = rest;
                        return Ok(Some(Event::Beat));
                    }
                    // Of CR LF; its LF counts.
                    Some((b'\r', rest)) => *input = rest,
                    Some(_) => self.place = Place::Head,
                },
                Place::Head => {
                    if !self.take_line(input, bounds)? {
                        return Ok(None);
                    }
                    self.on_line(dialect, bounds)?;
                }
                Place::Body { length } => {
                    if let Some(body) = self.take_body(input, length, bounds)? {
                        let mut frame = std::mem::take(self).frame;
                        frame.body = body;
                        return Ok(Some(Event::Frame(frame)));
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// Whether nothing is kept.
    pub fn is_idle(&self) -> bool {
        matches!(self.place, Place::Between)
    }

    /// Bytes kept of an unfinished frame.
    pub fn kept(&self) -> usize {
        self.line.len() + self.head + self.body.len()
    }

    /// Takes bytes up to the line's end; whether that was there.
    fn take_line(&mut self, input: &mut &[u8], bounds: &Bounds) -> Result<bool, BadFrame> {
        let end = input.iter().position(|byte| matches!(byte, b'\n' | 0));
        let (taken, rest) = input.split_at(end.unwrap_or(input.len()));
        // Whichever is reached first, however the line is cut.
        let (line, head) = (bounds.line_max.saturating_sub(self.line.len()), bounds.head_max.saturating_sub(self.head));
        if taken.len() > line.min(head) {
            let long = BadFrame::LongLine(bounds.line_max);
            return Err(if line <= head { long } else { BadFrame::LongHead(bounds.head_max) });
        }
        self.head += taken.len();
        self.line.extend_from_slice(taken);
        *input = rest;
        match rest.split_first() {
            None => Ok(false),
            Some((0, _)) => Err(BadFrame::EarlyNul),
            Some((_, rest)) => {
                *input = rest;
                Ok(true)
            }
        }
    }

    fn on_line(&mut self, dialect: Dialect, bounds: &Bounds) -> Result<(), BadFrame> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if self.frame.command.is_empty() {
            if line.is_empty() || !line.iter().all(u8::is_ascii_uppercase) {
                return Err(BadFrame::Command);
            }
            self.frame.command = line.iter().copied().map(char::from).collect();
            return Ok(());
        }
        if line.is_empty() {
            let said = self.frame.header("content-length");
            let length = said.map(|text| content_length(text).ok_or(BadFrame::ContentLength)).transpose()?;
            if length.is_some_and(|length| length > bounds.body_max) {
                return Err(BadFrame::LongBody(bounds.body_max));
            }
            self.place = Place::Body { length };
            return Ok(());
        }
        if self.frame.headers.len() >= bounds.headers_max {
            return Err(BadFrame::ManyHeaders(bounds.headers_max));
        }
        // Never escaped, and no name has one that isn't.
        let colon = line.iter().position(|byte| *byte == b':').ok_or(BadFrame::NoColon)?;
        // A CONNECT after the CONNECT is refused anyway; until then it is read as one.
        let dialect = if matches!(&*self.frame.command, "CONNECT" | "CONNECTED") { Dialect::Connect } else { dialect };
        let (name, value) = (dialect.unescape(&line[..colon])?, dialect.unescape(&line[colon + 1..])?);
        if name.is_empty() {
            return Err(BadFrame::NoName);
        }
        self.frame.headers.push((name, value));
        Ok(())
    }

    /// Takes bytes up to the NUL that ends the frame.
    fn take_body(
        &mut self,
        input: &mut &[u8],
        length: Option<usize>,
        bounds: &Bounds,
    ) -> Result<Option<Bytes>, BadFrame> {
        let end = match length {
            Some(length) => {
                let missing = length - self.body.len();
                (input.len() > missing).then_some(missing)
            }
            None => input.iter().position(|byte| *byte == 0),
        };
        let (taken, rest) = input.split_at(end.unwrap_or(input.len()));
        if self.body.len() + taken.len() > bounds.body_max {
            return Err(BadFrame::LongBody(bounds.body_max));
        }
        self.body.extend_from_slice(taken);
        *input = rest;
        match rest.split_first() {
            None => Ok(None),
            Some((0, rest)) => {
                *input = rest;
                Ok(Some(std::mem::take(&mut self.body).into()))
            }
            Some(_) => Err(BadFrame::NoNul),
        }
    }
}

/// Digits and nothing else: a number's parser would take a sign as well.
fn content_length(text: &str) -> Option<usize> {
    let text = text.trim_ascii();
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::{super::version::Version, *};

    const V12: Dialect = Dialect::Agreed(Version::V12);

    pub(super) fn all(text: &[u8], dialect: Dialect) -> Result<Vec<Event>, BadFrame> {
        let (mut parser, mut rest, mut events) = (Parser::default(), text, Vec::new());
        while let Some(event) = parser.next(&mut rest, dialect, &Bounds::CLIENT)? {
            events.push(event);
        }
        assert!(rest.is_empty());
        Ok(events)
    }

    fn one(text: &[u8]) -> ClientText {
        match &all(text, V12).unwrap()[..] {
            [Event::Frame(frame)] => frame.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_frames_and_beats() {
        let events = all(b"\n\r\nSEND\ndestination:/a\n\nhi\0\nBEGIN\r\ntransaction:t\r\n\r\n\0\n", V12).unwrap();
        let kinds: Vec<_> = events
            .iter()
            .map(|event| match event {
                Event::Beat => "beat",
                Event::Frame(frame) => frame.command.as_str(),
            })
            .collect();
        assert_eq!(kinds, ["beat", "beat", "SEND", "beat", "BEGIN", "beat"]);
    }

    #[test]
    fn the_first_of_repeated_headers_counts() {
        let frame = one(b"SEND\nfoo:1\nfoo:2\n\n\0");
        assert_eq!((frame.header("foo"), frame.headers.len()), (Some("1"), 2));
    }

    #[test]
    fn a_body_may_hold_nul_when_its_length_is_said() {
        assert_eq!(one(b"SEND\ncontent-length:3\n\na\0b\0").body, &b"a\0b"[..]);
        assert_eq!(one("SEND\ncontent-length:6\n\n王好\0".as_bytes()).body, "王好".as_bytes());
        assert_eq!(one(b"SEND\ncontent-length:0\n\n\0").body, &b""[..]);
        assert_eq!(one(b"SEND\na:b:c\n\nx\n\n\0").header("a"), Some("b:c"));
    }

    #[test]
    fn what_is_no_frame_says_why() {
        let long = |n: usize| vec![b'A'; n];
        let many: Vec<u8> =
            std::iter::once(&b"SEND\n"[..]).chain(std::iter::repeat_n(&b"a:b\n"[..], 51)).flatten().copied().collect();
        for (text, expected) in [
            (b"SEND\nnocolon\n\n\0".to_vec(), BadFrame::NoColon),
            (b"SEND\n:x\n\n\0".to_vec(), BadFrame::NoName),
            (b"SEND\na:\\t\n\n\0".to_vec(), BadFrame::Escape(Some('t'))),
            (b"SEND\ncontent-length:-1\n\n\0".to_vec(), BadFrame::ContentLength),
            (b"SEND\ncontent-length:+1\n\n\0".to_vec(), BadFrame::ContentLength),
            (b"SEND\ncontent-length:\n\n\0".to_vec(), BadFrame::ContentLength),
            (b"SEND\ncontent-length:99999999999999999999\n\n\0".to_vec(), BadFrame::ContentLength),
            (b"SEND\ncontent-length:65537\n\n".to_vec(), BadFrame::LongBody(64 << 10)),
            (b"SEND\ncontent-length:1\n\nab\0".to_vec(), BadFrame::NoNul),
            (b"SEND\0".to_vec(), BadFrame::EarlyNul),
            (b"send\n\n\0".to_vec(), BadFrame::Command),
            (b"\0".to_vec(), BadFrame::EarlyNul),
            (b"{\"type\":1}\n".to_vec(), BadFrame::Command),
            (long(10_000), BadFrame::LongLine(9 << 10)),
            (many, BadFrame::ManyHeaders(50)),
        ] {
            assert_eq!(all(&text, V12), Err(expected), "{:?}", String::from_utf8_lossy(&text[..text.len().min(60)]));
        }
    }

    #[test]
    fn nothing_is_kept_between_frames() {
        let (mut parser, mut rest) = (Parser::default(), &b"SEND\ncontent-length:3\n\nab"[..]);
        assert_eq!(parser.next(&mut rest, V12, &Bounds::CLIENT), Ok(None));
        assert!(!parser.is_idle() && parser.kept() > 0);
        let mut rest = &b"c\0"[..];
        assert!(matches!(parser.next(&mut rest, V12, &Bounds::CLIENT), Ok(Some(Event::Frame(_)))));
        assert!(parser.is_idle());
        assert_eq!((parser.kept(), parser.body.capacity(), parser.line.capacity()), (0, 0, 0));
    }
}
