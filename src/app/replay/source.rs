//! Where a log comes from: its stream on a NATS server, or a file that was saved of one.

use super::ReplayError;
use crate::{
    app::{AppError, connect},
    domain::{CellId, cell::Entry},
    feed::{self, Scroll},
    nats::{self, streams},
    ports::LogMark,
    wire::{
        log::{self, Message},
        logfile::{Head, LogReader, LogWriter},
    },
};
use async_nats::jetstream::Context;
use std::{
    fs::File,
    io::{BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// Messages that are handed over at once, and their bytes.
const CHUNK: usize = 1_024;
const CHUNK_BYTES: usize = 1 << 20;

/// Chunks that are decoded and wait to be played.
const AHEAD: usize = 4;

/// Which log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    /// The cell's stream at this address.
    Nats {
        url: String,
        cell: CellId,
    },
}

/// A log that can be read, as often as one likes. It ends where it ended when it was opened.
#[derive(Debug)]
pub struct OpenLog {
    head: Head,
    from: From,
    tasks: TaskTracker,
}

#[derive(Clone, Debug)]
enum From {
    File(PathBuf),
    Nats(Box<Context>, streams::Log),
}

/// A message, and what it says.
#[derive(Clone, Debug)]
pub struct Read {
    pub message: Message,
    pub entry: Entry,
}

/// A reading under way; dropping it ends it.
#[derive(Debug)]
pub struct Reading(mpsc::Receiver<Result<Vec<Read>, ReplayError>>);

impl Reading {
    /// The next messages, or `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Read>>, ReplayError> {
        self.0.recv().await.transpose()
    }
}

impl OpenLog {
    /// Opens the log; whoever reads it does so in `tasks`.
    pub async fn open(source: &Source, tasks: TaskTracker) -> Result<Self, ReplayError> {
        match source {
            Source::File(path) => {
                let head = reader(path)?.head().clone();
                Ok(Self { head, from: From::File(path.clone()), tasks })
            }
            Source::Nats { url, cell } => {
                let js = nats::client::jetstream(&connect(url, "trunkline-replay").await?);
                let log = streams::existing_log(&js, cell).await.map_err(AppError::from)?;
                let head = Head::new(cell.clone(), log.created_ns, log.first_seq, log.last_seq);
                Ok(Self { head, from: From::Nats(Box::new(js), log), tasks })
            }
        }
    }

    /// Which log it is, and its bounds.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Refuses a log whose first message is gone.
    pub fn has_beginning(&self) -> Result<(), ReplayError> {
        if self.head.first_seq > 1 { Err(ReplayError::BeginningGone(self.head.first_seq)) } else { Ok(()) }
    }

    /// Refuses a log that isn't the one of this mark, as far as that shows without reading it.
    pub async fn belongs(&self, mark: LogMark) -> Result<(), ReplayError> {
        match &self.from {
            From::Nats(js, _) => {
                feed::belongs(js, &self.head.cell, mark).await.map_err(ReplayError::OtherLog)?;
            }
            From::File(_) => {
                let Head { created_ns, last_seq, .. } = self.head;
                if created_ns != mark.created_ns {
                    let reason = format!(
                        "it was created at {created_ns} ns, the database's at {} ns since 1970",
                        mark.created_ns
                    );
                    return Err(ReplayError::OtherLog(reason));
                }
                if last_seq < mark.cursor {
                    let reason = format!("it ends at {last_seq}, the database has applied it up to {}", mark.cursor);
                    return Err(ReplayError::OtherLog(reason));
                }
            }
        }
        Ok(())
    }

    /// Reads it from its first message to its last.
    pub fn read(&self) -> Reading {
        let (to, reading) = mpsc::channel(AHEAD);
        match self.from.clone() {
            From::File(path) => {
                self.tasks.spawn_blocking(move || {
                    if let Err(error) = read_file(&path, &to) {
                        // Whoever doesn't listen any more doesn't want to know.
                        let _ = to.blocking_send(Err(error));
                    }
                });
            }
            From::Nats(js, log) => {
                let mut scroll = Scroll::new(*js, &self.head.cell, log);
                self.tasks.spawn(async move {
                    loop {
                        let messages = match scroll.read().await {
                            Ok(messages) if messages.is_empty() => return,
                            Ok(messages) => Ok(messages.into_iter().map(decoded).collect()),
                            Err(error) => Err(error.into()),
                        };
                        let failed = messages.is_err();
                        if to.send(messages).await.is_err() || failed {
                            return;
                        }
                    }
                });
            }
        }
        Reading(reading)
    }
}

fn decoded(message: Message) -> Read {
    Read { entry: log::decode(message.raw()), message }
}

fn reader(path: &Path) -> Result<LogReader<BufReader<File>>, ReplayError> {
    let failed = |error| ReplayError::LogFile { path: path.to_owned(), error };
    let file = File::open(path).map_err(|e| failed(e.into()))?;
    LogReader::new(BufReader::with_capacity(CHUNK_BYTES, file)).map_err(failed)
}

fn read_file(path: &Path, to: &mpsc::Sender<Result<Vec<Read>, ReplayError>>) -> Result<(), ReplayError> {
    let mut reader = reader(path)?;
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    loop {
        let message = reader.read().map_err(|error| ReplayError::LogFile { path: path.to_owned(), error })?;
        let ended = message.is_none();
        if let Some(message) = message {
            bytes += message.payload.len();
            chunk.push(decoded(message));
        }
        if (ended || chunk.len() >= CHUNK || bytes >= CHUNK_BYTES) && !chunk.is_empty() {
            bytes = 0;
            if to.blocking_send(Ok(std::mem::take(&mut chunk))).is_err() {
                return Ok(());
            }
        }
        if ended {
            return Ok(());
        }
    }
}

/// Saves the log to a file, which is there when it is whole. Gives how many messages it has. `reached` hears of every
/// sequence or so.
pub async fn save(log: &OpenLog, to: &Path, mut reached: impl FnMut(u64)) -> Result<u64, ReplayError> {
    let failed = |error| ReplayError::File { path: to.to_owned(), error };
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let file = BufWriter::with_capacity(CHUNK_BYTES, File::create(&part).map_err(failed)?);
    let mut writer = LogWriter::new(file, log.head()).map_err(failed)?;
    let (mut reading, mut messages) = (log.read(), 0);
    while let Some(chunk) = reading.next().await? {
        for read in &chunk {
            writer.write(&read.message.raw()).map_err(failed)?;
            messages += 1;
        }
        reached(chunk.last().map_or(0, |read| read.entry.seq));
    }
    let mut file = writer.finish().map_err(failed)?;
    file.flush().and_then(|()| file.get_ref().sync_all()).map_err(failed)?;
    std::fs::rename(&part, to).map_err(failed)?;
    Ok(messages)
}
