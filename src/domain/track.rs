//! An order's track: the set of its fixes in the order of their fix time, each with its mark.
//!
//! The track is a function of the *set* of fixes: in whatever order and however often they arrive, the same fixes give
//! the same track. Identities meet by [`Fix::beats`]; marks are what [`Quality`] gives when it is run over the sorted
//! set, so a late fix can change the marks of those after it. The common case, a fix newer than all before, costs no
//! more than judging it. A late one costs the chunks from its place on: what lies before them is skipped by their spans,
//! and judging stops at the first fix that is good as before, since a good fix is all that a stream remembers.
//!
//! Fixes are kept in chunks of delta-coded bytes (some 15 bytes a fix) and a short open tail; the shell stores a chunk
//! when it is sealed or changed, and the tail with the order's state.

use super::{
    effect::Revision,
    fix::{Fix, FixId, Mark},
    ids::RiderId,
    quality::Quality,
    rules::Rules,
    time::UnixMillis,
};
use codec::{decode, encode};
use serde::{Deserialize, Serialize};

mod codec;

/// Fixes in a sealed chunk.
const CHUNK: usize = 32;

/// A fix in its track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackFix {
    pub fix: Fix,
    /// Device time after the clock's correction.
    pub fix_time: UnixMillis,
    pub mark: Mark,
    /// Index of the rider's turn in the order's carriers.
    turn: u8,
}

impl TrackFix {
    /// Of one fix sent twice, corrected by different measures of the phone's clock, the earlier stays.
    fn beats(&self, other: &Self) -> bool {
        self.fix.beats(&other.fix) || (self.fix == other.fix && self.fix_time < other.fix_time)
    }
}

/// One rider's turn at carrying the order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Turn {
    rider: RiderId,
    since: UnixMillis,
    /// The rider's stream before the turn: the first fix is judged by its predecessor there.
    seed: Quality,
    /// Newest device time of the turn: anything newer can't be a duplicate.
    newest: Option<UnixMillis>,
}

/// What an insertion did.
#[derive(Clone, Debug, PartialEq)]
pub enum Inserted {
    /// A new fix with its mark, and older entries whose marks changed.
    New { mark: Mark, revised: Vec<Revision> },
    /// An identity that is there already. If the new one won, its entry is among the revised.
    Duplicate { revised: Vec<Revision> },
    /// The track is full; nothing changed.
    Full,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Track {
    turns: Vec<Turn>,
    open: Vec<TrackFix>,
    /// The stream's state after the last fix.
    quality: Quality,
    /// How many chunks belong to this track: a restored one must have them all.
    chunks: u32,
    #[serde(skip)]
    sealed: Vec<Box<[u8]>>,
    /// What lies in each sealed chunk; follows from it.
    #[serde(skip)]
    spans: Vec<Span>,
    /// Chunks that the store doesn't have yet in this form.
    #[serde(skip)]
    dirty: Vec<u32>,
}

/// Where a chunk's fixes lie.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    first: Key,
    oldest: UnixMillis,
    newest: UnixMillis,
}

/// The order of a track: a total one, since identities within a turn are unique.
type Key = (UnixMillis, FixId, u8);

/// Most fixes of one order: one a second for five hours and a half. A late fix may change every mark behind it, so what
/// a rider can send bounds what the cell has to do for it.
const MAX_FIXES: usize = 20_000;

/// Most turns of riders at one order.
const MAX_TURNS: usize = 255;

/// A restored track lacks chunks, or one of them can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the track's chunks are incomplete or unreadable")]
pub struct BrokenTrack;

impl Track {
    /// A rider begins to carry the order. `false` if the order has had too many riders.
    pub fn begin_turn(&mut self, rider: &RiderId, since: UnixMillis, seed: Quality) -> bool {
        if self.turns.len() == MAX_TURNS {
            return false;
        }
        self.turns.push(Turn { rider: rider.clone(), since, seed, newest: None });
        true
    }

    /// Fixes in the track.
    pub fn len(&self) -> usize {
        self.sealed.len() * CHUNK + self.open.len()
    }

    /// Whether it holds no fix.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All fixes in the order of their fix time.
    pub fn fixes(&self) -> Result<Vec<TrackFix>, BrokenTrack> {
        let mut fixes = Vec::with_capacity(self.len());
        for chunk in &self.sealed {
            decode(chunk, &mut fixes).ok_or(BrokenTrack)?;
        }
        fixes.extend_from_slice(&self.open);
        Ok(fixes)
    }

    /// Adds a fix of a rider who carried the order at `fix_time`.
    pub fn insert(&mut self, rider: &RiderId, fix: Fix, fix_time: UnixMillis, rules: &Rules) -> Inserted {
        if self.len() >= MAX_FIXES {
            return Inserted::Full;
        }
        let turn = self.turn_of(rider, fix_time);
        let known = self.newest_of(rider).is_some_and(|newest| fix.id.device_time <= newest);
        let new = TrackFix { fix, fix_time, mark: Mark::Good, turn };
        let inserted = if known || self.open.last().is_some_and(|last| key(&new) < key(last)) {
            self.insert_late(new, rules)
        } else {
            self.append(new, rules)
        };
        let unchanged = matches!(&inserted, Inserted::Duplicate { revised } if revised.is_empty());
        if let Some(turn) = self.turns.get_mut(usize::from(turn)).filter(|_| !unchanged) {
            turn.newest = turn.newest.max(Some(fix.id.device_time));
        }
        inserted
    }

    /// Chunks that the store lacks or has in an older form, by number. The caller stores them.
    pub fn take_dirty(&mut self) -> Vec<(u32, Box<[u8]>)> {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        dirty.into_iter().filter_map(|n| Some((n, self.sealed.get(n as usize)?.clone()))).collect()
    }

    /// The sealed chunks as they are stored, by number from 0.
    pub fn chunks(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.sealed.iter().map(|chunk| &chunk[..])
    }

    /// Gives a track that was stored without its chunks those chunks back.
    pub fn restore(&mut self, chunks: impl IntoIterator<Item = Box<[u8]>>) -> Result<(), BrokenTrack> {
        self.sealed = chunks.into_iter().collect();
        self.spans.clear();
        let mut fixes = Vec::with_capacity(CHUNK);
        for chunk in &self.sealed {
            fixes.clear();
            decode(chunk, &mut fixes).ok_or(BrokenTrack)?;
            self.spans.push(span(&fixes).ok_or(BrokenTrack)?);
        }
        if self.sealed.len() == self.chunks as usize { Ok(()) } else { Err(BrokenTrack) }
    }

    fn append(&mut self, mut new: TrackFix, rules: &Rules) -> Inserted {
        // An empty tail has a predecessor too: the last fix of the last chunk, whose turn is the last one's or earlier.
        if self.last_turn() != Some(new.turn) {
            self.quality = self.seed(new.turn);
        }
        new.mark = self.quality.judge(&new.fix, new.fix_time, rules);
        // One fix always stays in the tail: it says what the next one follows. A full tail gives its memory back, or each
        // of ten thousand orders would keep room for twice a chunk.
        if self.open.len() == CHUNK {
            let full = std::mem::take(&mut self.open);
            self.sealed.push(encode(&full));
            self.spans.extend(span(&full));
            self.chunks += 1;
            self.dirty.push(self.chunks - 1);
        }
        self.open.push(new);
        Inserted::New { mark: new.mark, revised: Vec::new() }
    }

    fn insert_late(&mut self, new: TrackFix, rules: &Rules) -> Inserted {
        let start = self.first_touched(&new);
        let before = start.checked_sub(1).and_then(|n| self.last_of(n));
        let mut fixes = self.fixes_from(start);
        let rider = self.turns.get(usize::from(new.turn)).map(|t| t.rider.clone());
        let same = fixes.iter().position(|f| f.fix.id == new.fix.id && self.rider_of(f) == rider.as_ref());
        if let Some(at) = same {
            if !new.beats(&fixes[at]) {
                return Inserted::Duplicate { revised: Vec::new() };
            }
            fixes.remove(at);
        }
        let place = fixes.partition_point(|f| key(f) < key(&new));
        fixes.insert(place, new);
        let (mark, revised) = self.judge_anew(before, &mut fixes, place, same, rules);
        self.rebuild(start, &fixes);
        if same.is_some() { Inserted::Duplicate { revised } } else { Inserted::New { mark, revised } }
    }

    /// The chunk from which on all has to be looked at: it may hold the place of `new` or one of its identity, and what
    /// comes before it ends with a good fix, or is nothing.
    fn first_touched(&self, new: &TrackFix) -> usize {
        let place = self.spans.partition_point(|s| s.first <= key(new)).saturating_sub(1);
        let device_time = new.fix.id.device_time;
        let same = self.spans.iter().position(|s| (s.oldest..=s.newest).contains(&device_time));
        let mut start = same.map_or(place, |n| n.min(place));
        while start > 0 && self.last_of(start - 1).is_none_or(|last| last.mark != Mark::Good) {
            start -= 1;
        }
        start
    }

    /// Fixes of the chunks from `start` on, and of the tail. Chunks were checked when they were restored; ours are
    /// readable.
    fn fixes_from(&self, start: usize) -> Vec<TrackFix> {
        let mut fixes = Vec::with_capacity(self.len() + 1 - start * CHUNK);
        for chunk in self.sealed.iter().skip(start) {
            let _ = decode(chunk, &mut fixes);
        }
        fixes.extend_from_slice(&self.open);
        fixes
    }

    fn last_of(&self, chunk: usize) -> Option<TrackFix> {
        let mut fixes = Vec::with_capacity(CHUNK);
        decode(self.sealed.get(chunk)?, &mut fixes)?;
        fixes.pop()
    }

    /// Marks fixes anew, from after the good fix `before` until nothing changes any more; gives the mark of the one at
    /// `place` and the entries that changed. `replaced` is where one of the same identity was.
    fn judge_anew(
        &mut self,
        before: Option<TrackFix>,
        fixes: &mut [TrackFix],
        place: usize,
        replaced: Option<usize>,
        rules: &Rules,
    ) -> (Mark, Vec<Revision>) {
        let mut revised = Vec::new();
        let mut turn = before.map(|f| f.turn);
        let mut quality = before.map_or_else(Quality::default, |f| Quality::after_good(&f.fix, f.fix_time));
        let mut settled = false;
        for (i, entry) in fixes.iter_mut().enumerate() {
            if turn != Some(entry.turn) {
                quality = self.seed(entry.turn);
                turn = Some(entry.turn);
            }
            let old = entry.mark;
            entry.mark = quality.judge(&entry.fix, entry.fix_time, rules);
            let is_new = i == place;
            if (is_new && replaced.is_some()) || (!is_new && entry.mark != old) {
                let Some(turn) = self.turns.get(usize::from(entry.turn)) else { continue };
                revised.push(Revision {
                    rider: turn.rider.clone(),
                    id: entry.fix.id,
                    mark: entry.mark,
                    fix: is_new.then_some((entry.fix, entry.fix_time)),
                });
            }
            settled = i > place && replaced.is_none_or(|at| i > at) && old == Mark::Good && entry.mark == Mark::Good;
            if settled {
                break;
            }
        }
        // Settled: the stream ends as it did.
        if !settled {
            self.quality = quality;
        }
        (fixes[place].mark, revised)
    }

    /// Takes `fixes` for all that is from chunk `start` on.
    fn rebuild(&mut self, start: usize, fixes: &[TrackFix]) {
        let sealed = fixes.len().saturating_sub(1) / CHUNK;
        let mut rest = fixes;
        for n in start..start + sealed {
            let (chunk, after) = rest.split_at(CHUNK);
            rest = after;
            let bytes = encode(chunk);
            match self.sealed.get_mut(n) {
                Some(old) if **old == *bytes => continue,
                Some(old) => *old = bytes,
                None => self.sealed.push(bytes),
            }
            match (self.spans.get_mut(n), span(chunk)) {
                (Some(old), Some(new)) => *old = new,
                (None, new) => self.spans.extend(new),
                (Some(_), None) => {}
            }
            self.dirty.push(u32::try_from(n).unwrap_or(u32::MAX));
        }
        // A replay stores nothing, and takes none of them.
        if self.dirty.len() > 2 * self.sealed.len() {
            self.dirty.sort_unstable();
            self.dirty.dedup();
        }
        self.chunks = u32::try_from(start + sealed).unwrap_or(u32::MAX);
        self.open = rest.to_vec();
    }

    /// The rider's turn that `fix_time` falls into; the cell has made sure that there is one.
    fn turn_of(&self, rider: &RiderId, fix_time: UnixMillis) -> u8 {
        let of_rider = |t: &&Turn| t.rider == *rider;
        let begun = self.turns.iter().filter(of_rider).filter(|t| t.since <= fix_time).count();
        let nth = begun.saturating_sub(1);
        let index = self.turns.iter().enumerate().filter(|(_, t)| t.rider == *rider).nth(nth).map_or(0, |(i, _)| i);
        u8::try_from(index).unwrap_or(u8::MAX)
    }

    fn newest_of(&self, rider: &RiderId) -> Option<UnixMillis> {
        self.turns.iter().filter(|t| t.rider == *rider).filter_map(|t| t.newest).max()
    }

    fn rider_of(&self, fix: &TrackFix) -> Option<&RiderId> {
        self.turns.get(usize::from(fix.turn)).map(|t| &t.rider)
    }

    fn seed(&self, turn: u8) -> Quality {
        self.turns.get(usize::from(turn)).map(|t| t.seed).unwrap_or_default()
    }

    fn last_turn(&self) -> Option<u8> {
        self.open.last().map(|f| f.turn)
    }
}

fn key(fix: &TrackFix) -> Key {
    (fix.fix_time, fix.fix.id, fix.turn)
}

/// `None` for no fixes.
fn span(fixes: &[TrackFix]) -> Option<Span> {
    let times = || fixes.iter().map(|f| f.fix.id.device_time);
    Some(Span { first: key(fixes.first()?), oldest: times().min()?, newest: times().max()? })
}

#[cfg(test)]
mod tests;
