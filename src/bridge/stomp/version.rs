//! The three versions of STOMP: which one a connection speaks, and how each of them escapes headers.

use super::codec::BadFrame;
use std::borrow::Cow;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V10,
    V11,
    V12,
}

impl Version {
    pub const ALL: [Self; 3] = [Self::V10, Self::V11, Self::V12];

    /// As `accept-version` and `version` name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V10 => "1.0",
            Self::V11 => "1.1",
            Self::V12 => "1.2",
        }
    }

    /// The WebSocket subprotocol.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::V10 => "v10.stomp",
            Self::V11 => "v11.stomp",
            Self::V12 => "v12.stomp",
        }
    }

    /// The highest that a client's `accept-version` has in common with us; a client that says nothing speaks 1.0.
    pub fn negotiate(accepts: Option<&str>) -> Option<Self> {
        let Some(accepts) = accepts else { return Some(Self::V10) };
        let offers = |version: &Self| accepts.split(',').any(|offer| offer.trim() == version.name());
        Self::ALL.into_iter().rev().find(offers)
    }
}

/// How the headers of a frame are written. A CONNECT and its answer are never escaped, so that 1.0 can read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Before a version is agreed upon.
    Connect,
    Agreed(Version),
}

impl Dialect {
    /// The character that a backslash and `byte` stand for; `None`: no such escape.
    fn meaning(self, byte: u8) -> Option<u8> {
        match (self, byte) {
            (Self::Agreed(Version::V11 | Version::V12), b'n') => Some(b'\n'),
            (Self::Agreed(Version::V11 | Version::V12), b'c') => Some(b':'),
            (Self::Agreed(Version::V11 | Version::V12), b'\\') => Some(b'\\'),
            (Self::Agreed(Version::V12), b'r') => Some(b'\r'),
            (Self::Connect | Self::Agreed(_), _) => None,
        }
    }

    fn escapes(self) -> bool {
        match self {
            Self::Connect | Self::Agreed(Version::V10) => false,
            Self::Agreed(Version::V11 | Version::V12) => true,
        }
    }

    /// A header's name or value as it is meant. What 1.1 and 1.2 don't define is fatal.
    pub fn unescape(self, raw: &[u8]) -> Result<String, BadFrame> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| BadFrame::Utf8);
        if !self.escapes() {
            // 1.0 pads: `login: alice`.
            let raw = if self == Self::Agreed(Version::V10) { raw.trim_ascii() } else { raw };
            return text(raw.to_vec());
        }
        let (mut meant, mut bytes) = (Vec::with_capacity(raw.len()), raw.iter());
        while let Some(byte) = bytes.next() {
            match byte {
                b'\\' => {
                    let escape = bytes.next().copied();
                    let found = escape.and_then(|byte| self.meaning(byte));
                    meant.push(found.ok_or(BadFrame::Escape(escape.map(char::from)))?);
                }
                b'\r' if self == Self::Agreed(Version::V12) => return Err(BadFrame::CarriageReturn),
                byte => meant.push(*byte),
            }
        }
        text(meant)
    }

    /// A header's name or value as it is written. What a version can't say (a line feed in 1.0, a carriage return before
    /// 1.2) becomes a space: the line must not end there.
    pub fn escape(self, text: &str) -> Cow<'_, str> {
        if !text.contains(['\n', '\r', ':', '\\', '\0']) {
            return Cow::Borrowed(text);
        }
        let mut written = String::with_capacity(text.len() + 8);
        for c in text.chars() {
            match (c, self.escapes()) {
                ('\n', true) => written.push_str("\\n"),
                (':', true) => written.push_str("\\c"),
                ('\\', true) => written.push_str("\\\\"),
                ('\r', true) if self == Self::Agreed(Version::V12) => written.push_str("\\r"),
                ('\n' | '\r' | '\0', _) => written.push(' '),
                (c, _) => written.push(c),
            }
        }
        Cow::Owned(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_spoken() {
        for (accepts, expected) in [
            (None, Some(Version::V10)),
            (Some("1.0"), Some(Version::V10)),
            (Some("1.1,1.0"), Some(Version::V11)),
            (Some("1.0, 1.1 ,1.2"), Some(Version::V12)),
            (Some("1.2,3.0"), Some(Version::V12)),
            (Some("2.0"), None),
            (Some(""), None),
            (Some("1.20"), None),
        ] {
            assert_eq!(Version::negotiate(accepts), expected, "{accepts:?}");
        }
    }

    #[test]
    fn each_version_knows_its_own_escapes() {
        let [v10, v11, v12] = Version::ALL.map(Dialect::Agreed);
        let raw = br"a\nb\cc\\d";
        assert_eq!(v10.unescape(raw).unwrap(), r"a\nb\cc\\d");
        assert_eq!(Dialect::Connect.unescape(raw).unwrap(), r"a\nb\cc\\d");
        for dialect in [v11, v12] {
            assert_eq!(dialect.unescape(raw).unwrap(), "a\nb:c\\d");
            for wrong in [&br"\t"[..], br"\", br"a\\\", br"\N"] {
                assert!(matches!(dialect.unescape(wrong), Err(BadFrame::Escape(_))), "{wrong:?}");
            }
        }
        assert_eq!(v12.unescape(br"\r").unwrap(), "\r");
        assert_eq!(v11.unescape(br"\r"), Err(BadFrame::Escape(Some('r'))));
        assert_eq!(v12.unescape(b"a\rb"), Err(BadFrame::CarriageReturn));
        assert_eq!(v11.unescape(b"a\rb").unwrap(), "a\rb");
        assert_eq!(v10.unescape(b" padded ").unwrap(), "padded");
        assert_eq!(v11.unescape(b" padded ").unwrap(), " padded ");
        assert_eq!(v11.unescape(&[0xff]), Err(BadFrame::Utf8));
    }

    #[test]
    fn what_is_written_ends_no_line() {
        for dialect in [Dialect::Connect, Dialect::Agreed(Version::V10), Dialect::Agreed(Version::V11)] {
            let written = dialect.escape("a\r\nb\0");
            assert!(!written.contains(['\r', '\n', '\0']), "{dialect:?}: {written:?}");
        }
        assert_eq!(Dialect::Agreed(Version::V12).escape("a\r\nb:c\\"), "a\\r\\nb\\cc\\\\");
    }
}
