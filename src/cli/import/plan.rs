//! What is sent when: tracks become riders with orders, recorded times become offsets from a common start, and rows are
//! shuffled and repeated as asked. Pure, so that one seed gives one plan.

use super::rows::Row;
use crate::{
    domain::{OrderId, RiderId, ids::IdError},
    geo::Point,
};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, HashSet};

/// Without a shuffle, the span of recorded time that is sent between two settings of the clock, and that is sent whole
/// before it is repeated.
const STEP_MS: i64 = 60_000;

/// How tracks of different days come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Align {
    /// Every track begins at the same moment.
    Start,
    /// Tracks keep their distance in time.
    Keep,
}

/// How a plan is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub align: Align,
    /// Rows change places within windows of so many milliseconds of recorded time.
    pub shuffle_ms: Option<i64>,
    pub seed: u64,
    /// How often every row is sent.
    pub repeat: u32,
}

/// One track: a rider who carries one order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Track {
    pub id: String,
    pub order: OrderId,
    pub rider: RiderId,
    /// Recorded time of offset 0.
    pub base_ms: i64,
    pub last_offset_ms: i64,
    /// Where it begins and ends: the warehouse and the destination.
    pub from: Point,
    pub to: Point,
    /// Fixes that differ in time: by the rules, what the track will hold.
    pub identities: usize,
}

/// One fix to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Send {
    /// Index into [`Plan::tracks`].
    pub track: usize,
    /// Index of the row.
    pub row: usize,
    /// Its fix time, from the common start.
    pub offset_ms: i64,
    /// The cell clock must have come so far before it is sent.
    pub ready_ms: i64,
}

/// Everything that will be sent, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub tracks: Vec<Track>,
    pub sends: Vec<Send>,
    pub last_offset_ms: i64,
}

impl Plan {
    /// Plans the rows. `prefix` begins every order's and rider's id.
    pub(super) fn new(rows: &[Row], prefix: &str, shape: &Shape) -> Result<Self, IdError> {
        let mut by_track: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            by_track.entry(&row.track).or_default().push(index);
        }
        let file_start = rows.iter().map(|row| row.time.0).min().unwrap_or(0);
        let mut plan = Self::default();
        for (id, mut indices) in by_track {
            // Stable: rows of one time stay in the file's order.
            indices.sort_by_key(|&index| rows[index].time);
            let (Some(&first), Some(&last)) = (indices.first(), indices.last()) else { continue };
            let base_ms = match shape.align {
                Align::Start => rows[first].time.0,
                Align::Keep => file_start,
            };
            let track = plan.tracks.len();
            plan.sends.extend(indices.iter().map(|&row| {
                let offset_ms = rows[row].time.0 - base_ms;
                Send { track, row, offset_ms, ready_ms: offset_ms }
            }));
            plan.tracks.push(Track {
                id: id.to_owned(),
                order: format!("{prefix}o{id}").parse()?,
                rider: format!("{prefix}r{id}").parse()?,
                base_ms,
                last_offset_ms: rows[last].time.0 - base_ms,
                from: rows[first].point,
                to: rows[last].point,
                identities: indices.iter().map(|&index| rows[index].time).collect::<HashSet<_>>().len(),
            });
        }
        plan.sends.sort_by_key(|send| send.offset_ms);
        plan.last_offset_ms = plan.sends.last().map_or(0, |send| send.offset_ms);
        plan.sends = arranged(&plan.sends, shape, plan.last_offset_ms);
        Ok(plan)
    }
}

/// Shuffles and repeats within windows. Copies stay in their window, so that none comes a day late.
fn arranged(sorted: &[Send], shape: &Shape, last_offset_ms: i64) -> Vec<Send> {
    let window_ms = shape.shuffle_ms.unwrap_or(STEP_MS).max(1);
    let mut random = ChaCha8Rng::seed_from_u64(shape.seed);
    let mut all = Vec::with_capacity(sorted.len() * shape.repeat as usize);
    for window in sorted.chunk_by(|a, b| a.offset_ms / window_ms == b.offset_ms / window_ms) {
        let begin = all.len();
        for _ in 0..shape.repeat {
            all.extend_from_slice(window);
        }
        if shape.shuffle_ms.is_some() {
            all[begin..].shuffle(&mut random);
        }
        // A window in disorder can't begin before its latest row is in the past, nor can one that is repeated.
        if shape.shuffle_ms.is_some() || shape.repeat > 1 {
            let end = window.last().map_or(0, |send| send.offset_ms).min(last_offset_ms);
            all[begin..].iter_mut().for_each(|send| send.ready_ms = end);
        }
    }
    all
}

/// How far the clock is put when a fix needs `ready_ms`: to the end of its step, so that it isn't set for every fix.
pub(crate) fn clock_target(ready_ms: i64, last_offset_ms: i64) -> i64 {
    ((ready_ms / STEP_MS + 1) * STEP_MS).min(last_offset_ms).max(ready_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UnixMillis;

    fn row(track: &str, seconds: i64) -> Row {
        let point = Point::from_degrees(50.0, 11.0 + seconds as f64 * 1e-5).unwrap();
        let time = UnixMillis(1_000_000 + seconds * 1_000);
        Row { track: track.into(), time, point, accuracy_m: None, speed_mps: None, heading_deg: None }
    }

    fn shape(align: Align, shuffle_ms: Option<i64>, repeat: u32) -> Shape {
        Shape { align, shuffle_ms, seed: 7, repeat }
    }

    fn rows() -> Vec<Row> {
        let mut rows: Vec<_> = (0..200).map(|n| row("a", n * 30)).collect();
        rows.extend((0..100).map(|n| row("b", 86_400 + n * 60)));
        rows.push(row("b", 86_400));
        rows
    }

    #[test]
    fn tracks_start_together_or_keep_their_distance() {
        let plan = Plan::new(&rows(), "p-", &shape(Align::Start, None, 1)).unwrap();
        assert_eq!((plan.tracks[0].order.as_str(), plan.tracks[1].rider.as_str()), ("p-oa", "p-rb"));
        assert_eq!((plan.last_offset_ms, plan.tracks[1].identities, plan.sends.len()), (5_970_000, 100, 301));
        assert!(plan.sends.is_sorted_by_key(|s| s.offset_ms));
        assert!(plan.sends.iter().all(|s| s.ready_ms == s.offset_ms));
        let kept = Plan::new(&rows(), "", &shape(Align::Keep, None, 1)).unwrap();
        assert_eq!(kept.last_offset_ms, (86_400 + 99 * 60) * 1_000);
        assert!(Plan::new(&rows(), "no dots.", &shape(Align::Keep, None, 1)).is_err());
    }

    #[test]
    fn shuffling_stays_in_its_windows_and_follows_the_seed() {
        let hour = 3_600_000;
        let shape = shape(Align::Start, Some(hour), 2);
        let plan = Plan::new(&rows(), "", &shape).unwrap();
        assert_eq!(plan.sends, Plan::new(&rows(), "", &shape).unwrap().sends);
        assert_ne!(plan.sends, Plan::new(&rows(), "", &Shape { seed: 8, ..shape }).unwrap().sends);
        assert_eq!(plan.sends.len(), 602);
        assert!(plan.sends.is_sorted_by_key(|s| s.offset_ms / hour));
        assert!(!plan.sends.is_sorted_by_key(|s| s.offset_ms));
        // Nothing is sent before its time, whatever the order.
        assert!(plan.sends.iter().all(|s| s.ready_ms >= s.offset_ms && s.ready_ms <= plan.last_offset_ms));
        let mut seen: Vec<_> = plan.sends.iter().map(|s| s.row).collect();
        seen.sort_unstable();
        assert!(seen.chunks(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn the_clock_is_put_to_the_end_of_the_step() {
        assert_eq!(clock_target(0, 500_000), 60_000);
        assert_eq!(clock_target(60_000, 500_000), 120_000);
        assert_eq!(clock_target(499_000, 500_000), 500_000);
    }
}
