//! What SockJS puts around messages: the frames `o`, `h`, `a[…]`, `c[…]`, what each transport wraps them in, and the way back.
//!
//! Pure functions from bytes to bytes. Every message is escaped beyond what JSON asks, because browsers mangle some characters
//! on some transports; a wrapped frame therefore never holds a line break of its own.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The first frame of every session.
pub const OPEN: &[u8] = b"o";

/// Keeps the way open.
pub const HEARTBEAT: &[u8] = b"h";

/// What a receiver is told that comes while another is attached.
pub const BUSY: (u16, &str) = (2010, "Another connection still open");

/// How a session ends whose receiver broke off.
pub const INTERRUPTED: (u16, &str) = (1002, "Connection interrupted");

/// Bytes that htmlfile's page begins with, at least: old browsers show nothing before that.
const HTML_PRELUDE: usize = 1024;

/// Bytes `h` that an XHR stream begins with, for the same reason.
const XHR_PRELUDE: usize = 2048;

/// The frame `c[code,"reason"]`.
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut frame = format!("c[{code},\"").into_bytes();
    escape_into(reason.as_bytes(), &mut frame);
    frame.extend_from_slice(b"\"]");
    frame.into()
}

/// A text as it stands between the quotes of a JSON string: escaped as JSON asks, and so are the ranges that the protocol names
/// (U+200C–200F, U+2028–202F, U+2060–206F, U+FFF0–FFFF), all with lower-case digits.
pub fn escape(text: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + text.len() / 8 + 8);
    escape_into(text, &mut out);
    out.into()
}

fn escape_into(text: &[u8], out: &mut Vec<u8>) {
    let (mut at, mut plain) = (0, 0);
    while let Some(&byte) = text.get(at) {
        let special = match byte {
            b'"' => Some((1, *b"\\\"", None)),
            b'\\' => Some((1, *b"\\\\", None)),
            b'\n' => Some((1, *b"\\n", None)),
            b'\r' => Some((1, *b"\\r", None)),
            b'\t' => Some((1, *b"\\t", None)),
            0x08 => Some((1, *b"\\b", None)),
            0x0c => Some((1, *b"\\f", None)),
            0x00..=0x1f => Some((1, *b"\\u", Some(u16::from(byte)))),
            // Only these two begin a character of the ranges.
            0xe2 | 0xef => mangled(&text[at..]).map(|unit| (3, *b"\\u", Some(unit))),
            _ => None,
        };
        let Some((length, escaped, unit)) = special else {
            at += 1;
            continue;
        };
        out.extend_from_slice(&text[plain..at]);
        out.extend_from_slice(&escaped);
        if let Some(unit) = unit {
            out.extend_from_slice(format!("{unit:04x}").as_bytes());
        }
        at += length;
        plain = at;
    }
    out.extend_from_slice(&text[plain..]);
}

/// The character that a text begins with, if browsers mangle it.
fn mangled(text: &[u8]) -> Option<u16> {
    let &[first, second, third, ..] = text else { return None };
    let unit = (u16::from(first & 0x0f) << 12) | (u16::from(second & 0x3f) << 6) | u16::from(third & 0x3f);
    matches!(unit, 0x200c..=0x200f | 0x2028..=0x202f | 0x2060..=0x206f | 0xfff0..=0xffff).then_some(unit)
}

/// What is wrong with what a client sent; the text is the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPayload {
    #[error("Payload expected.")]
    Missing,
    #[error("Broken JSON encoding.")]
    Broken,
}

/// The messages of an array of JSON strings.
pub fn texts(body: &[u8]) -> Result<Vec<String>, BadPayload> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace()).ok_or(BadPayload::Missing)?;
    match serde_json::from_slice(body) {
        Ok(texts) => Ok(texts),
        Err(_) if *first != b'[' && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() => {
            Err(BadPayload::Missing)
        }
        Err(_) => Err(BadPayload::Broken),
    }
}

/// The messages of a WebSocket message: an array, one string, or nothing at all.
pub fn socket_texts(message: &[u8]) -> Result<Vec<String>, BadPayload> {
    match message.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Ok(Vec::new()),
        Some(b'[') => texts(message),
        Some(_) => serde_json::from_slice(message).map(|text| vec![text]).map_err(|_| BadPayload::Broken),
    }
}

/// The payload of `jsonp_send`: the field `d` of a form, or the body itself.
pub fn jsonp_payload(body: &[u8], is_form: bool) -> Vec<u8> {
    if !is_form {
        return body.to_vec();
    }
    let value = body.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(b"d="));
    value.map(unescape).unwrap_or_default()
}

/// A value of a form or a query string. A `%` that leads nothing in stands for itself.
pub fn unescape(value: &[u8]) -> Vec<u8> {
    let digit = |at: usize| value.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut out, mut at) = (Vec::with_capacity(value.len()), 0);
    while let Some(&byte) = value.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.extend(u8::try_from(high * 16 + low));
                at += 3;
            }
            (b'+', ..) => {
                out.push(b' ');
                at += 1;
            }
            (other, ..) => {
                out.push(other);
                at += 1;
            }
        }
    }
    out
}

/// How a receiver gets frames: a response, and what is around each frame in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    XhrPolling,
    XhrStreaming,
    EventSource,
    HtmlFile(Callback),
    JsonpPolling(Callback),
}

/// A function of the page's, by a name that can't be anything else: `[a-zA-Z0-9-_.]`, at most 32 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback(String);

/// Why there is no callback; the text is the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCallback {
    #[error("\"callback\" parameter required")]
    Missing,
    #[error("invalid \"callback\" parameter")]
    Invalid,
}

impl Callback {
    /// The parameter `c` or `callback` of a query string.
    pub fn of(query: Option<&str>) -> Result<Self, BadCallback> {
        let pairs = || query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let named = |name: &str| pairs().find(|(key, _)| *key == name).map(|(_, value)| unescape(value.as_bytes()));
        let name = named("c").or_else(|| named("callback")).filter(|name| !name.is_empty());
        let name = name.ok_or(BadCallback::Missing)?;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        if name.len() > 32 || !name.iter().all(plain) {
            return Err(BadCallback::Invalid);
        }
        String::from_utf8(name).map(Self).map_err(|_| BadCallback::Invalid)
    }
}

impl Shape {
    /// The transport's name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::XhrPolling => "xhr-polling",
            Self::XhrStreaming => "xhr-streaming",
            Self::EventSource => "eventsource",
            Self::HtmlFile(_) => "htmlfile",
            Self::JsonpPolling(_) => "jsonp-polling",
        }
    }

    /// Whether a response holds one frame.
    pub fn is_polling(&self) -> bool {
        match self {
            Self::XhrPolling | Self::JsonpPolling(_) => true,
            Self::XhrStreaming | Self::EventSource | Self::HtmlFile(_) => false,
        }
    }

    pub fn content_type(&self) -> &'static str {
        match self {
            Self::XhrPolling | Self::XhrStreaming | Self::JsonpPolling(_) => "application/javascript; charset=UTF-8",
            // Without a charset: it is always UTF-8, and some browsers refuse one.
            Self::EventSource => "text/event-stream",
            Self::HtmlFile(_) => "text/html; charset=UTF-8",
        }
    }

    /// What the response begins with.
    pub fn prelude(&self) -> Bytes {
        match self {
            Self::XhrPolling | Self::JsonpPolling(_) => Bytes::new(),
            Self::XhrStreaming => {
                let mut prelude = vec![b'h'; XHR_PRELUDE];
                prelude.push(b'\n');
                prelude.into()
            }
            Self::EventSource => Bytes::from_static(b"\r\n"),
            Self::HtmlFile(Callback(name)) => {
                let page = HTML_PAGE.replace("CALLBACK", name);
                format!("{page:HTML_PRELUDE$}\r\n\r\n").into()
            }
        }
    }

    /// A frame as it stands in the response.
    pub fn wrap(&self, frame: &[u8]) -> Bytes {
        let around = |before: &[u8], frame: &[u8], after: &[u8]| Bytes::from([before, frame, after].concat());
        match self {
            Self::XhrPolling | Self::XhrStreaming => around(b"", frame, b"\n"),
            Self::EventSource => around(b"data: ", frame, b"\r\n\r\n"),
            Self::HtmlFile(_) => around(b"<script>\np(\"", &escape_html(&escape(frame)), b"\");\n</script>\r\n"),
            // The comment keeps the response from beginning with bytes that its asker chose.
            Self::JsonpPolling(Callback(name)) => {
                around(format!("/**/{name}(\"").as_bytes(), &escape(frame), b"\");\r\n")
            }
        }
    }
}

/// `<` of a string within a script: `</script>` in a message would end it.
fn escape_html(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'<' => out.extend_from_slice(b"\\u003c"),
            other => out.push(*other),
        }
    }
    out
}

const HTML_PAGE: &str = r#"<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.CALLBACK;
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>"#;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_those_that_the_protocol_lists() {
        let escaped = |text: &str| String::from_utf8(escape(text.as_bytes()).to_vec()).unwrap();
        assert_eq!(escaped("a\"b\\c\u{0}\n\r\t\u{8}\u{c}\u{1f}"), r#"a\"b\\c\u0000\n\r\t\b\f\u001f"#);
        for unit in 0x80..=0xffff_u32 {
            let Some(character) = char::from_u32(unit) else { continue };
            let listed = [(0x200c, 0x200f), (0x2028, 0x202f), (0x2060, 0x206f), (0xfff0, 0xffff)];
            let listed = listed.iter().any(|(from, to)| (*from..=*to).contains(&unit));
            let expected = if listed { format!("\\u{unit:04x}") } else { character.to_string() };
            assert_eq!(escaped(&character.to_string()), expected, "{unit:x}");
        }
        assert_eq!(escaped("\u{1f600}汉"), "\u{1f600}汉");
    }

    proptest! {
        #[test]
        fn what_is_escaped_reads_back(text: String) {
            let quoted = [b"[\"", escape(text.as_bytes()).as_ref(), b"\"]"].concat();
            prop_assert_eq!(texts(&quoted).unwrap(), [text]);
        }

        #[test]
        fn any_bytes_are_taken_or_refused(body: Vec<u8>) {
            let _ = (texts(&body), socket_texts(&body), jsonp_payload(&body, true), escape(&body));
        }
    }

    #[test]
    fn payloads_are_arrays_of_strings() {
        for missing in ["", " ", "\"a\"", "1", "{}", "null"] {
            assert_eq!(texts(missing.as_bytes()), Err(BadPayload::Missing), "{missing}");
        }
        for broken in ["[\"a", "[1]", "[\"a\"] x", "x", "[null]", "[\"\\ud800\"]"] {
            assert_eq!(texts(broken.as_bytes()), Err(BadPayload::Broken), "{broken}");
        }
        assert_eq!(texts(b"[]").unwrap(), Vec::<String>::new());
        assert_eq!(texts(br#"["a","\u6c49"]"#).unwrap(), ["a", "汉"]);
        assert_eq!(socket_texts(b"").unwrap(), Vec::<String>::new());
        assert_eq!(socket_texts(br#""one""#).unwrap(), ["one"]);
        assert_eq!(socket_texts(br#"["one","two"]"#).unwrap(), ["one", "two"]);
        assert_eq!(socket_texts(b"1"), Err(BadPayload::Broken));
    }

    #[test]
    fn a_form_holds_the_payload_in_d() {
        assert_eq!(jsonp_payload(b"d=%5B%22x%22%5D", true), b"[\"x\"]");
        assert_eq!(jsonp_payload(b"a=1&d=%5b%22a+b%2B%22%5d", true), b"[\"a b+\"]");
        assert_eq!(jsonp_payload(b"[\"%61bc\"]", false), b"[\"%61bc\"]");
        for none in ["", "d=", "p=p"] {
            assert_eq!(jsonp_payload(none.as_bytes(), true), b"", "{none}");
        }
        assert_eq!(unescape(b"%4%zz%"), b"%4%zz%");
    }

    #[test]
    fn callbacks_are_names() {
        let name = |query| Callback::of(Some(query)).map(|Callback(name)| name);
        assert_eq!(name("c=%63allback").as_deref(), Ok("callback"));
        assert_eq!(name("t=1&callback=_jp.a-1").as_deref(), Ok("_jp.a-1"));
        assert_eq!((Callback::of(None), name("c=")), (Err(BadCallback::Missing), Err(BadCallback::Missing)));
        for bad in ["c=%20", "c=*", "c=abc(", "c=abc%28", "c=%c3%a9", "c=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
            assert_eq!(name(bad), Err(BadCallback::Invalid), "{bad}");
        }
    }

    #[test]
    fn each_transport_wraps_frames_its_way() {
        let call = || Callback::of(Some("c=f")).unwrap();
        let wrapped = |shape: Shape| String::from_utf8(shape.wrap(b"a[\"<x>\"]").to_vec()).unwrap();
        assert_eq!(wrapped(Shape::XhrPolling), "a[\"<x>\"]\n");
        assert_eq!(wrapped(Shape::EventSource), "data: a[\"<x>\"]\r\n\r\n");
        assert_eq!(wrapped(Shape::JsonpPolling(call())), "/**/f(\"a[\\\"<x>\\\"]\");\r\n");
        assert_eq!(wrapped(Shape::HtmlFile(call())), "<script>\np(\"a[\\\"\\u003cx>\\\"]\");\n</script>\r\n");
        assert_eq!(Shape::XhrStreaming.prelude().len(), 2049);
        let page = String::from_utf8(Shape::HtmlFile(call()).prelude().to_vec()).unwrap();
        assert!(page.len() > 1024 && page.contains("var c = parent.f;") && page.ends_with("\r\n\r\n"));
        assert_eq!(close(3000, "Go \"away\"!"), "c[3000,\"Go \\\"away\\\"!\"]");
    }
}
