//! A cell's log as a file of JSON lines: for replays without a server, for reports of a fault, for tests.
//!
//! ```text
//! {"trunkline_log":1,"cell":"default","created_ns":1700000000000000000,"first_seq":1,"last_seq":2}
//! {"seq":1,"time_ms":1700000000000,"subject":"control.default.rules","payload":"{\"rules_version\":2}"}
//! {"seq":2,"time_ms":1700000000100,"subject":"order.default.o.pay","headers":{"Idempotency-Key":"k"},"payload":"{}"}
//! {"messages":2}
//! ```
//!
//! A message has what decides and no more: reply subjects and trace headers are left out. A payload that isn't UTF-8
//! stands as `payload_base64`. The last line counts the messages, so that a file that was cut off is noticed.

use super::{
    FieldError,
    log::{Message, Raw},
    parse_json,
};
use crate::domain::{CellId, UnixMillis};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    io::{self, BufRead, Read, Write},
};

/// The layout above.
const FORMAT: u32 = 1;

/// Longest line: the largest payload that a NATS server can be made to take (64 MiB), escaped.
const MAX_LINE: u64 = 256 << 20;

/// Why a log can't be read from a file.
#[derive(Debug, thiserror::Error)]
pub enum LogFileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("line {line}: {error}")]
    Line { line: u64, error: FieldError },
    #[error("line {line}: sequence {found} after {before}")]
    Order { line: u64, before: u64, found: u64 },
    #[error("the file was cut off: it ends after {0} messages without saying so")]
    CutOff(u64),
    #[error("the file says that it has {said} messages, and has {found}")]
    Count { said: u64, found: u64 },
}

/// Which log it is, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    trunkline_log: u32,
    pub cell: CellId,
    /// When the stream was created, nanoseconds since 1970.
    pub created_ns: i64,
    /// Of the stream when it was read; 0 for one that never held a message.
    pub first_seq: u64,
    pub last_seq: u64,
}

impl Head {
    pub fn new(cell: CellId, created_ns: i64, first_seq: u64, last_seq: u64) -> Self {
        Self { trunkline_log: FORMAT, cell, created_ns, first_seq, last_seq }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    seq: u64,
    time_ms: i64,
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Headers::is_empty")]
    headers: Headers<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    payload: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    payload_base64: Option<Cow<'a, str>>,
}

/// The headers that decide, under their names.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Headers<'a> {
    #[serde(borrow, default, rename = "Idempotency-Key", skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "Trunkline-Publisher", skip_serializing_if = "Option::is_none")]
    publisher: Option<Cow<'a, str>>,
}

impl Headers<'_> {
    fn is_empty(&self) -> bool {
        self.idempotency_key.is_none() && self.publisher.is_none()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    messages: u64,
}

/// Writes a log message by message.
#[derive(Debug)]
pub struct LogWriter<W> {
    out: W,
    messages: u64,
}

impl<W: Write> LogWriter<W> {
    /// Begins the file.
    pub fn new(mut out: W, head: &Head) -> io::Result<Self> {
        line(&mut out, head)?;
        Ok(Self { out, messages: 0 })
    }

    /// Appends the next message of the log.
    pub fn write(&mut self, raw: &Raw<'_>) -> io::Result<()> {
        let Raw { seq, log_time, subject, payload, idempotency_key, publisher } = *raw;
        let text = std::str::from_utf8(payload);
        let headers =
            Headers { idempotency_key: idempotency_key.map(Cow::Borrowed), publisher: publisher.map(Cow::Borrowed) };
        self.messages += 1;
        line(
            &mut self.out,
            &Line {
                seq,
                time_ms: log_time.0,
                subject: subject.into(),
                headers,
                payload: text.ok().filter(|text| !text.is_empty()).map(Cow::Borrowed),
                payload_base64: text.err().map(|_| BASE64_STANDARD.encode(payload).into()),
            },
        )
    }

    /// Ends the file; gives what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        line(&mut self.out, &End { messages: self.messages })?;
        self.out.flush()?;
        Ok(self.out)
    }
}

fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Reads a log message by message; ends after an error.
#[derive(Debug)]
pub struct LogReader<R> {
    input: R,
    text: Vec<u8>,
    head: Head,
    /// Lines read so far.
    line: u64,
    messages: u64,
    last: u64,
    ended: bool,
}

impl<R: BufRead> LogReader<R> {
    /// Reads the first line.
    pub fn new(input: R) -> Result<Self, LogFileError> {
        let head = Head::new(CellId::default(), 0, 0, 0);
        let mut reader = Self { input, text: Vec::new(), head, line: 0, messages: 0, last: 0, ended: false };
        if !reader.read_line()? {
            return Err(LogFileError::CutOff(0));
        }
        let head: Head = reader.parse()?;
        if head.trunkline_log != FORMAT {
            let reason = format!("is {}, this program reads {FORMAT}", head.trunkline_log);
            return Err(reader.wrong(FieldError::new("trunkline_log", reason)));
        }
        Ok(Self { head, ..reader })
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next message, or `None` at the end of a whole file.
    pub fn read(&mut self) -> Result<Option<Message>, LogFileError> {
        if self.ended {
            return Ok(None);
        }
        if !self.read_line()? {
            return Err(LogFileError::CutOff(self.messages));
        }
        if self.text.starts_with(br#"{"messages""#) {
            let End { messages: said } = self.parse()?;
            self.ended = true;
            return if said == self.messages {
                Ok(None)
            } else {
                Err(LogFileError::Count { said, found: self.messages })
            };
        }
        let Line { seq, time_ms, subject, headers, payload, payload_base64 } = self.parse()?;
        if seq <= self.last {
            return Err(LogFileError::Order { line: self.line, before: self.last, found: seq });
        }
        let payload = match (payload, payload_base64) {
            (Some(_), Some(_)) => return Err(self.wrong(FieldError::new("payload", "stands there twice"))),
            (text, None) => text.unwrap_or_default().into_owned().into_bytes(),
            (None, Some(text)) => BASE64_STANDARD
                .decode(text.as_bytes())
                .map_err(|e| self.wrong(FieldError::new("payload_base64", e.to_string())))?,
        };
        let message = Message {
            seq,
            log_time: UnixMillis(time_ms),
            subject: subject.into_owned(),
            payload: payload.into(),
            idempotency_key: headers.idempotency_key.map(Cow::into_owned),
            publisher: headers.publisher.map(Cow::into_owned),
        };
        self.last = seq;
        self.messages += 1;
        Ok(Some(message))
    }

    /// Whether there was a line.
    fn read_line(&mut self) -> Result<bool, LogFileError> {
        self.text.clear();
        self.line += 1;
        (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut self.text)?;
        Ok(!self.text.is_empty())
    }

    fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, LogFileError> {
        serde_json::from_slice(&self.text).map_err(|error| {
            // For the path of the field that is wrong, a second time.
            let error = match parse_json::<serde_json::Value>(&self.text) {
                Err(error) => error,
                Ok(_) => FieldError::new("line", error.to_string()),
            };
            self.wrong(error)
        })
    }

    fn wrong(&self, error: FieldError) -> LogFileError {
        LogFileError::Line { line: self.line, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64, payload: &'static [u8], key: Option<&str>) -> Message {
        Message {
            seq,
            log_time: UnixMillis(1_000 + seq as i64),
            subject: "order.default.o.pay".into(),
            payload: payload.into(),
            idempotency_key: key.map(str::to_owned),
            publisher: None,
        }
    }

    fn written(messages: &[Message]) -> String {
        let head = Head::new(CellId::default(), 7, 1, 9);
        let mut writer = LogWriter::new(Vec::new(), &head).unwrap();
        for message in messages {
            writer.write(&message.raw()).unwrap();
        }
        String::from_utf8(writer.finish().unwrap()).unwrap()
    }

    fn read(text: &str) -> Result<Vec<Message>, LogFileError> {
        let mut reader = LogReader::new(text.as_bytes())?;
        let mut messages = Vec::new();
        while let Some(message) = reader.read()? {
            messages.push(message);
        }
        assert!(reader.read()?.is_none(), "the end stays the end");
        Ok(messages)
    }

    #[test]
    fn what_was_written_is_read() {
        let messages = [
            message(1, b"{\"a\": \"\xe4\xba\xba\"}\n", Some("k \"1\"")),
            message(2, b"", Some("")),
            message(5, b"\xff\xfe", None),
        ];
        let text = written(&messages);
        assert_eq!(text.lines().count(), 5);
        assert!(text.contains(r#""payload_base64":"//4=""#), "{text}");
        assert_eq!(read(&text).unwrap(), messages);
        assert_eq!(*LogReader::new(text.as_bytes()).unwrap().head(), Head::new(CellId::default(), 7, 1, 9));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let whole = written(&[message(1, b"{}", None), message(2, b"{}", None)]);
        let lines: Vec<_> = whole.lines().collect();
        let says = |text: String, words: &str| {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        says(lines[..3].join("\n"), "cut off: it ends after 2");
        says(String::new(), "cut off");
        says([lines[0], lines[1], lines[3]].join("\n"), "says that it has 2 messages, and has 1");
        says([lines[0], lines[2], lines[1]].join("\n"), "line 3: sequence 1 after 2");
        says(lines[0].replace("log\":1", "log\":2"), "trunkline_log: is 2");
        says([lines[0], "{\"seq\":1}"].join("\n"), "line 2");
        says(
            [lines[0], "{\"seq\":1,\"time_ms\":1,\"subject\":\"a\",\"payload_base64\":\"?\"}"].join("\n"),
            "payload_base64",
        );
        says([lines[0], &lines[1].replace("payload", "pay")].join("\n"), "unknown field `pay`");
    }
}
