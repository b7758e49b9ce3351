//! The replays of one connection: few, each with at most one question under way to the cell's owner. They live in the
//! connection's own task, which shows what is due only when all that waited has been written, so that a slow client slows
//! its replays down and nothing piles up.

mod player;
#[cfg(test)]
mod tests;

use super::{
    hub::Lens,
    source::{Found, SnapshotSource},
};
use crate::{
    clock::Stopwatch,
    domain::{OrderId, UnixMillis},
    wire::{
        access::Principal,
        query::{Snapshot, TrackPage},
        replay::ReplayFrame,
    },
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use player::{Ask, Opening, Player};
use std::{collections::BTreeMap, future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

/// What a client wants of a replay. Whether there is such a one, and room for another, is the session's to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cue {
    Start { replay: u32, order: OrderId, speed: u32, from: Option<UnixMillis>, paused: bool },
    Control { replay: u32, paused: Option<bool>, seek: Option<UnixMillis>, speed: Option<u32> },
    Stop { replay: u32 },
}

/// The owner's answer.
enum Read {
    Order(Found<Snapshot>),
    Page(Found<TrackPage>),
}

struct Entry {
    player: Player,
    /// Dropped with the replay, and when its answer is of no interest any more. Never locked: a future alone can't be shared
    /// between threads, and its connection is.
    reading: Option<Mutex<BoxFuture<'static, Read>>>,
}

/// All of a connection.
pub(super) struct Replays {
    source: Arc<dyn SnapshotSource>,
    entries: BTreeMap<u32, Entry>,
    /// Frames that answer what came, before anything that is due.
    said: Vec<ReplayFrame>,
    /// Replays that ended by themselves, which the session doesn't know yet.
    failed: Vec<u32>,
}

impl std::fmt::Debug for Replays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replays").field("replays", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Replays {
    pub(super) fn new(source: Arc<dyn SnapshotSource>) -> Self {
        Self { source, entries: BTreeMap::new(), said: Vec::new(), failed: Vec::new() }
    }

    /// Whether [`Self::ready`] may ever resolve.
    pub(super) fn are_there(&self) -> bool {
        !self.entries.is_empty() || !self.said.is_empty()
    }

    /// Does what the client says, whose right it is.
    pub(super) fn cue(&mut self, cue: Cue, (who, lens): (&Arc<Principal>, Lens), now: Duration) {
        match cue {
            Cue::Start { replay, order, speed, from, paused } => {
                let opening = Opening { replay, order, who: who.clone(), lens, speed, from, paused };
                self.entries.insert(replay, Entry { player: Player::open(opening), reading: None });
            }
            Cue::Control { replay, paused, seek, speed } => {
                if let Some(entry) = self.entries.get_mut(&replay)
                    && entry.player.control((paused, seek, speed), now, &mut self.said)
                {
                    entry.reading = None;
                }
            }
            Cue::Stop { replay } => {
                self.entries.remove(&replay);
                self.said.push(ReplayFrame::ReplayStopped { replay });
            }
        }
    }

    /// Everything to be sent now, and the replays that are gone with it.
    pub(super) fn show(&mut self, now: Duration) -> (Vec<ReplayFrame>, Vec<u32>) {
        let mut frames = std::mem::take(&mut self.said);
        for entry in self.entries.values_mut() {
            entry.player.show(now, &mut frames);
            if let Some(ask) = entry.player.ask() {
                entry.reading = Some(Mutex::new(read(self.source.as_ref(), ask)));
            }
        }
        (frames, std::mem::take(&mut self.failed))
    }

    /// Resolves when there is something to [show](Self::show). Dropping it loses nothing.
    pub(super) async fn ready(&mut self, since: Stopwatch) {
        if !self.said.is_empty() {
            return;
        }
        let due = self.entries.values().filter_map(|entry| entry.player.due()).min();
        let due = async {
            match due {
                Some(due) => tokio::time::sleep(due.saturating_sub(since.elapsed())).await,
                None => std::future::pending().await,
            }
        };
        let read = poll_fn(|context| {
            for (replay, entry) in &mut self.entries {
                if let Some(reading) = &mut entry.reading
                    && let Poll::Ready(read) = Pin::new(reading.get_mut()).poll(context)
                {
                    entry.reading = None;
                    return Poll::Ready((*replay, read));
                }
            }
            Poll::Pending
        });
        tokio::select! {
            (replay, read) = read => self.take(replay, read, since.elapsed()),
            () = due => {}
        }
    }

    fn take(&mut self, replay: u32, read: Read, now: Duration) {
        let Some(entry) = self.entries.get_mut(&replay) else { return };
        let taken = match read {
            Read::Order(Ok(found)) => entry.player.on_order(found),
            Read::Page(Ok(found)) => entry.player.on_page(found, now, &mut self.said),
            Read::Order(Err(error)) | Read::Page(Err(error)) => Err(error.into()),
        };
        if let Err(error) = taken {
            self.entries.remove(&replay);
            self.failed.push(replay);
            self.said.push(ReplayFrame::ReplayFailed { replay, problem: error.into() });
        }
    }
}

fn read(source: &dyn SnapshotSource, ask: Ask) -> BoxFuture<'static, Read> {
    match ask {
        Ask::Order(ask) => {
            let found = source.order(ask);
            Box::pin(async { Read::Order(found.await) })
        }
        Ask::Track(ask) => {
            let found = source.track(ask);
            Box::pin(async { Read::Page(found.await) })
        }
    }
}
