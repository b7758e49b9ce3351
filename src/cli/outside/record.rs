//! Keeps what came from the server, byte for byte, for those who look at it afterwards: a program that decodes first sees
//! what the contract says, and not what else was in the bytes.
//!
//! Each piece is a line of JSON, `{"via": "/v1/ws?role=customer", "bytes": 123}`, then so many bytes, then a newline.

use parking_lot::Mutex;
use serde_json::json;
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    sync::Arc,
};

/// A file that is being written, or nothing where nobody asked for it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Record(Option<Arc<Mutex<Kept>>>);

#[derive(Debug)]
struct Kept {
    out: BufWriter<File>,
    pieces: u64,
    /// The first thing that went wrong while writing.
    failed: Option<io::Error>,
}

impl Record {
    /// Begins a file.
    pub fn create(file: &Path) -> io::Result<Self> {
        let out = BufWriter::new(File::create(file)?);
        Ok(Self(Some(Arc::new(Mutex::new(Kept { out, pieces: 0, failed: None })))))
    }

    /// Whether anything is kept at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps a piece; `via` is the path that was asked.
    pub fn keep(&self, via: &str, bytes: &[u8]) {
        let Some(kept) = &self.0 else { return };
        let mut kept = kept.lock();
        kept.pieces += 1;
        if let Err(error) = kept.write(via, bytes) {
            kept.failed.get_or_insert(error);
        }
    }

    /// Writes what is buffered and gives the number of pieces; tells of the first thing that couldn't be written.
    pub fn close(&self) -> io::Result<u64> {
        let Some(kept) = &self.0 else { return Ok(0) };
        let mut kept = kept.lock();
        if let Some(error) = kept.failed.take() {
            return Err(error);
        }
        kept.out.flush()?;
        Ok(kept.pieces)
    }
}

impl Kept {
    fn write(&mut self, via: &str, bytes: &[u8]) -> io::Result<()> {
        writeln!(self.out, "{}", json!({"via": via, "bytes": bytes.len()}))?;
        self.out.write_all(bytes)?;
        self.out.write_all(b"\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_kept_as_they_came() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("record");
        let record = Record::create(&file).unwrap();
        record.keep("/v1/a", b"{\"x\":\n1}");
        record.keep("/v1/b", "人".as_bytes());
        assert_eq!(record.close().unwrap(), 2);
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "{\"bytes\":8,\"via\":\"/v1/a\"}\n{\"x\":\n1}\n{\"bytes\":3,\"via\":\"/v1/b\"}\n人\n");
        assert!(!Record::default().is_on() && Record::default().close().unwrap() == 0);
    }
}
