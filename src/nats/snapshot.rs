//! A stream as files, and back: JetStream's own snapshot and restore, which keep sequences, times, headers and holes. The
//! creation time they don't keep: a restored stream counts as created at its restore (2.15.1), so a database that is
//! restored with it has to be told.
//!
//! The folder is laid out as the `nats` command does it (`backup.json`, `stream.tar.s2`), so that either can read what
//! the other wrote. async-nats has no call for this; these are the raw requests.

use crate::wire::subject;
use async_nats::{Message, Request, jetstream::Context};
use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncWriteExt},
};

/// The stream's settings and figures.
pub const META: &str = "backup.json";

/// Its messages: a tar archive, compressed with S2. Only nats-server looks inside.
pub const DATA: &str = "stream.tar.s2";

/// Bytes of a piece on the wire: as large as goes well below NATS's payload limit of 1 MB.
const CHUNK_BYTES: usize = 512 << 10;

/// How long the server may be silent between two pieces.
const PIECE_PATIENCE: Duration = Duration::from_secs(30);

/// How long the server may take to make a stream of what it was sent: it reads every message.
const RESTORE_PATIENCE: Duration = Duration::from_secs(3_600);

/// Why a stream could not be saved or made.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("stream {stream}: {reason}")]
    Request { stream: String, reason: String },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path}: {reason}")]
    Meta { path: PathBuf, reason: String },
}

/// What `backup.json` holds: both as the server said them, with whatever a newer one may add.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Meta {
    config: Value,
    state: Value,
}

/// The figures of a saved or restored stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    pub messages: u64,
    pub first_seq: u64,
    pub last_seq: u64,
}

/// JetStream's answers: what was asked for, or an error.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer<T> {
    Error { error: ApiError },
    Ok(T),
}

#[derive(Deserialize)]
struct ApiError {
    code: u32,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct Delivery {
    deliver_subject: String,
}

#[derive(Deserialize)]
struct Made {
    state: Figures,
}

/// A stream under way to or from a folder.
struct Job<'a> {
    js: &'a Context,
    stream: &'a str,
    folder: &'a Path,
}

/// Saves the stream as of now into the folder, which is there and empty. Publishers go on meanwhile.
pub async fn save(js: &Context, stream: &str, folder: &Path) -> Result<Figures, SnapshotError> {
    Job { js, stream, folder }.save().await
}

/// Makes the stream, which must not be there, of what [`save`] wrote.
pub async fn restore(js: &Context, stream: &str, folder: &Path) -> Result<Figures, SnapshotError> {
    Job { js, stream, folder }.restore().await
}

/// SHA-256 of a file in hexadecimal digits, and its bytes.
pub async fn checksum(path: &Path) -> Result<(String, u64), SnapshotError> {
    let failed = |source| SnapshotError::File { path: path.to_owned(), source };
    let mut file = File::open(path).await.map_err(failed)?;
    let (mut hash, mut bytes, mut piece) = (Sha256::new(), 0, vec![0; CHUNK_BYTES]);
    loop {
        let n = file.read(&mut piece).await.map_err(failed)?;
        if n == 0 {
            let hex = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok((hex, bytes));
        }
        hash.update(&piece[..n]);
        bytes += n as u64;
    }
}

impl Job<'_> {
    async fn save(&self) -> Result<Figures, SnapshotError> {
        let client = self.js.client();
        let inbox = client.new_inbox();
        let mut pieces = client.subscribe(inbox.clone()).await.map_err(|e| self.failed(e))?;
        // The server looks for somebody who listens before it sends.
        client.flush().await.map_err(|e| self.failed(e))?;
        let request = serde_json::json!({"deliver_subject": inbox, "no_consumers": true, "chunk_size": CHUNK_BYTES});
        let meta: Meta = self.ask(subject::snapshot_request(self.stream), request.to_string().into()).await?;
        let figures: Figures = serde_json::from_value(meta.state.clone()).map_err(|e| self.failed(e))?;
        let path = self.folder.join(DATA);
        let failed = |source| SnapshotError::File { path: path.clone(), source };
        let mut file = File::create_new(&path).await.map_err(failed)?;
        let mut due = 1;
        loop {
            let piece = tokio::time::timeout(PIECE_PATIENCE, pieces.next()).await;
            let piece = piece.map_err(|_| self.failed("the server stopped sending"))?;
            let piece = piece.ok_or_else(|| self.failed("the connection closed"))?;
            if piece.payload.is_empty() {
                self.check_end(&piece)?;
                break;
            }
            file.write_all(&piece.payload).await.map_err(failed)?;
            let Some(reply) = piece.reply else { continue };
            // Its last token counts the pieces: one that was dropped on the way would not be missed otherwise.
            if reply.rsplit('.').next() != Some(due.to_string().as_str()) {
                return Err(self.failed(format!("a piece is missing: {reply} came where number {due} was due")));
            }
            due += 1;
            client.publish(reply, Bytes::new()).await.map_err(|e| self.failed(e))?;
        }
        file.sync_all().await.map_err(failed)?;
        let path = self.folder.join(META);
        let failed = |source| SnapshotError::File { path: path.clone(), source };
        let text = serde_json::to_vec_pretty(&meta).map_err(|e| self.failed(e))?;
        let mut file = File::create_new(&path).await.map_err(failed)?;
        file.write_all(&text).await.map_err(failed)?;
        file.sync_all().await.map_err(failed)?;
        Ok(figures)
    }

    async fn restore(&self) -> Result<Figures, SnapshotError> {
        let path = self.folder.join(META);
        let text = tokio::fs::read(&path).await.map_err(|source| SnapshotError::File { path: path.clone(), source })?;
        let meta: Meta = serde_json::from_slice(&text)
            .map_err(|e| SnapshotError::Meta { path: path.clone(), reason: e.to_string() })?;
        if meta.config.get("name").and_then(Value::as_str) != Some(self.stream) {
            return Err(SnapshotError::Meta { path, reason: format!("config.name is not {}", self.stream) });
        }
        let path = self.folder.join(DATA);
        let failed = |source| SnapshotError::File { path: path.clone(), source };
        let mut file = File::open(&path).await.map_err(failed)?;
        let Delivery { deliver_subject } = self.ask(subject::restore_request(self.stream), text.into()).await?;
        let mut piece = vec![0; CHUNK_BYTES];
        loop {
            let n = file.read(&mut piece).await.map_err(failed)?;
            if n == 0 {
                break;
            }
            let answer = self.send(&deliver_subject, Bytes::copy_from_slice(&piece[..n]), PIECE_PATIENCE).await?;
            if !answer.payload.is_empty() {
                return Err(self.failed(String::from_utf8_lossy(&answer.payload)));
            }
        }
        let Made { state } = self.answer(&self.send(&deliver_subject, Bytes::new(), RESTORE_PATIENCE).await?)?;
        Ok(state)
    }

    fn failed(&self, reason: impl std::fmt::Display) -> SnapshotError {
        SnapshotError::Request { stream: self.stream.to_owned(), reason: reason.to_string() }
    }

    /// The empty piece at the end has a status that tells whether it is the end or the server gave up (since 2.11).
    fn check_end(&self, last: &Message) -> Result<(), SnapshotError> {
        match last.status {
            None => Ok(()),
            Some(status) if status.is_success() => Ok(()),
            Some(status) => {
                Err(self.failed(format!("the copy broke off: {status} {}", last.description.as_deref().unwrap_or(""))))
            }
        }
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, subject: String, body: Bytes) -> Result<T, SnapshotError> {
        self.answer(&self.send(&subject, body, PIECE_PATIENCE).await?)
    }

    async fn send(&self, subject: &str, body: Bytes, patience: Duration) -> Result<Message, SnapshotError> {
        let request = Request::new().payload(body).timeout(Some(patience));
        self.js.client().send_request(subject.to_owned(), request).await.map_err(|e| self.failed(e))
    }

    fn answer<T: serde::de::DeserializeOwned>(&self, message: &Message) -> Result<T, SnapshotError> {
        match serde_json::from_slice(&message.payload).map_err(|e| self.failed(e))? {
            Answer::Ok(answer) => Ok(answer),
            Answer::Error { error: ApiError { code, description } } => {
                Err(self.failed(format!("{description} (code {code})")))
            }
        }
    }
}
