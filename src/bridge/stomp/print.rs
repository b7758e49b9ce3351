//! STOMP frames as text. A message is written in two parts: what is of one subscription, made for each, and the rest of its head
//! with the body, made once for all whom it goes to.

use super::version::Dialect;
use bytes::Bytes;
use std::fmt::Write;

/// A frame being written.
#[derive(Debug)]
pub struct Text {
    text: String,
    dialect: Dialect,
}

impl Text {
    /// Begins with the command.
    pub fn new(command: &str, dialect: Dialect) -> Self {
        let mut text = String::with_capacity(128);
        text.push_str(command);
        text.push('\n');
        Self { text, dialect }
    }

    /// Begins amid the head: for the part of a message that all have in common.
    pub fn rest(dialect: Dialect, capacity: usize) -> Self {
        Self { text: String::with_capacity(capacity), dialect }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.text.push_str(&self.dialect.escape(name));
        self.text.push(':');
        self.text.push_str(&self.dialect.escape(value));
        self.text.push('\n');
        self
    }

    /// Adds a header, if there is one.
    #[must_use]
    pub fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// Adds a header whose value needs no escape.
    #[must_use]
    pub fn number(mut self, name: &str, value: u64) -> Self {
        // A String takes all that is written to it.
        let _ = writeln!(self.text, "{name}:{value}");
        self
    }

    /// What is written so far, the head still open.
    pub fn open(self) -> Bytes {
        self.text.into()
    }

    /// Ends the frame without a body.
    pub fn end(mut self) -> Bytes {
        self.text.push_str("\n\0");
        self.text.into()
    }

    /// Ends the frame with a body and its length in bytes.
    pub fn body(self, content_type: &str, body: &[u8]) -> Bytes {
        let head = self.header("content-type", content_type).number("content-length", body.len() as u64);
        let mut bytes = head.text.into_bytes();
        bytes.reserve_exact(body.len() + 2);
        bytes.push(b'\n');
        bytes.extend_from_slice(body);
        bytes.push(0);
        bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::version::Version, *};

    #[test]
    fn writes_heads_and_bodies() {
        let dialect = Dialect::Agreed(Version::V12);
        let receipt = Text::new("RECEIPT", dialect).header("receipt-id", "a:1").end();
        assert_eq!(receipt, "RECEIPT\nreceipt-id:a\\c1\n\n\0");
        let rest = Text::rest(dialect, 64).number("version", 7).body("text/plain", "王".as_bytes());
        assert_eq!(rest, "version:7\ncontent-type:text/plain\ncontent-length:3\n\n王\0");
    }
}
