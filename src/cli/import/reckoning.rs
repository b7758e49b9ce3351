//! What became of every fix, and whether it adds up. An answer that was lost in a restart comes as `duplicate` when its
//! message is sent again; so it is reckoned by identity: of all copies of a fix, one was kept and the rest were duplicates.

use super::plan::Track;
use crate::{
    cli::outside::{Agreement, FollowTally},
    domain::Mark,
    wire::{
        answer::{FixTally, RefusalBody},
        query::TrackRow,
    },
};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Most refusals and disagreements that are listed one by one; all are counted.
const MAX_LISTED: usize = 50;

/// Answers as they come in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reckoning {
    pub(crate) answers: FixTally,
    pub(crate) sent: u64,
    pub(crate) resent: u64,
    pub(crate) unanswered: u64,
    pub(crate) refused: u64,
    pub(crate) refusals: Vec<String>,
    identities: HashMap<(usize, i64), Copies>,
}

/// The copies of one fix.
#[derive(Clone, Copy, Debug, Default)]
struct Copies {
    kept: u32,
    duplicate: u32,
}

impl Reckoning {
    /// One message with one fix was answered, after being published `sends` times.
    pub(crate) fn answered(&mut self, identity: (usize, i64), tally: &FixTally, sends: u32) {
        self.sent += 1;
        self.resent += u64::from(sends.saturating_sub(1));
        self.answers.absorb(tally);
        let copies = self.identities.entry(identity).or_default();
        copies.kept += tally.kept();
        copies.duplicate += tally.duplicate;
    }

    /// One message was refused.
    pub(crate) fn refused(&mut self, order: &str, body: &RefusalBody) {
        self.sent += 1;
        self.refused += 1;
        self.list(format!("{order}: {} ({}): {}", body.code, body.field, body.detail));
    }

    /// One message found no answer.
    pub(crate) fn lost(&mut self, error: &dyn std::fmt::Display) {
        self.sent += 1;
        self.unanswered += 1;
        self.list(error.to_string());
    }

    fn list(&mut self, text: String) {
        if self.refusals.len() < MAX_LISTED {
            self.refusals.push(text);
        }
    }

    /// Fixes whose first answer was lost: kept, though every answer that came says duplicate.
    pub(crate) fn kept_unheard(&self) -> u32 {
        let unheard = self.identities.values().filter(|copies| copies.kept == 0 && copies.duplicate > 0);
        u32::try_from(unheard.count()).unwrap_or(u32::MAX)
    }

    /// Copies that were duplicates: what the answers say, less those whose first answer was lost.
    pub(crate) fn duplicates(&self) -> u32 {
        self.answers.duplicate - self.kept_unheard()
    }
}

/// Fixes of the stored tracks by their final marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stored {
    pub fixes: u64,
    pub good: u64,
    pub inaccurate: u64,
    pub jump: u64,
}

/// One order of the import, for those who check it.
#[derive(Clone, Debug, Serialize)]
pub struct TrackSummary {
    pub order: String,
    pub rider: String,
    /// Recorded time plus this is device time.
    pub shift_ms: i64,
    pub identities: usize,
    pub stored: Stored,
}

/// The summary, as people and other programs read it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    pub rows: usize,
    pub unreadable: usize,
    pub unreadable_rows: Vec<super::rows::BadRow>,
    pub repeat: u32,
    /// Fixes sent; copies that were published again for want of an answer don't count.
    pub sent: u64,
    pub resent: u64,
    pub unanswered: u64,
    pub refused: u64,
    pub refusals: Vec<String>,
    /// What the answers said, added up. Marks are those at arrival; a later neighbour may change them.
    pub answers: FixTally,
    pub kept_unheard: u32,
    pub identities: usize,
    /// Copies beyond the first of an identity.
    pub duplicates: u32,
    /// All tracks as the server shows them at the end, by their final marks.
    pub stored: Stored,
    pub tracks: BTreeMap<String, TrackSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchSummary>,
    pub disagreements: Vec<String>,
    /// Wall time.
    pub took_ms: u64,
}

/// The watching clients' part.
#[derive(Clone, Debug, Serialize)]
pub struct WatchSummary {
    #[serde(flatten)]
    pub tally: FollowTally,
    pub agreement: Agreement,
    pub errors: Vec<String>,
}

/// Counts a track's fixes; an identity that is there twice is an error.
pub(crate) fn stored(track: &Track, history: &[TrackRow]) -> (Stored, Vec<String>) {
    let mut stored = Stored::default();
    let (mut seen, mut wrong) = (HashSet::new(), Vec::new());
    for row in history.iter().filter(|row| row.kind == "fix") {
        stored.fixes += 1;
        match row.mark.as_deref().and_then(|mark| Mark::ALL.into_iter().find(|m| m.name() == mark)) {
            Some(Mark::Good) => stored.good += 1,
            Some(Mark::Inaccurate) => stored.inaccurate += 1,
            Some(Mark::Jump) => stored.jump += 1,
            None => wrong.push(format!("{}: a fix without a known mark, {:?}", track.order, row.mark)),
        }
        if !seen.insert((row.operator_id.clone(), row.device_time_ms, row.seq)) {
            wrong.push(format!("{}: fix {:?} is there twice", track.order, row.device_time_ms));
        }
    }
    let (expected, got) = (track.identities as u64, stored.fixes);
    if expected != got {
        wrong.push(format!("{}: {expected} identities were sent, {got} fixes are stored", track.order));
    }
    (stored, wrong)
}

impl Summary {
    /// Adds what doesn't add up to `disagreements`.
    pub(crate) fn check(&mut self) {
        let mut wrong = |holds: bool, text: String| {
            if !holds && self.disagreements.len() < MAX_LISTED {
                self.disagreements.push(text);
            }
        };
        wrong(self.unanswered == 0, format!("{} fixes found no answer", self.unanswered));
        wrong(self.refused == 0, format!("{} messages were refused", self.refused));
        let expected = (self.rows as u64 * u64::from(self.repeat)).saturating_sub(self.identities as u64);
        wrong(
            u64::from(self.duplicates) == expected,
            format!("{expected} duplicates were sent, {} were recognised", self.duplicates),
        );
        let FixTally { good: _, inaccurate: _, jump: _, duplicate: _, stale, future, too_old, track_full } =
            self.answers;
        let outside = stale + future + too_old + track_full;
        wrong(outside == 0, format!("{outside} fixes were taken into no track"));
        if let Some(WatchSummary { tally, agreement, .. }) = &self.watch {
            wrong(tally.gaps == 0, format!("{} deltas left a gap", tally.gaps));
            wrong(
                agreement.equal == agreement.orders,
                format!("{} of {} followed orders differ", agreement.mismatches.len(), agreement.orders),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::Point;

    fn one(field: impl Fn(&mut FixTally)) -> FixTally {
        let mut tally = FixTally::default();
        field(&mut tally);
        tally
    }

    #[test]
    fn an_answer_lost_in_a_restart_is_not_a_duplicate() {
        let mut reckoning = Reckoning::default();
        let duplicate = one(|t| t.duplicate = 1);
        reckoning.answered((0, 1), &one(|t| t.good = 1), 1);
        reckoning.answered((0, 1), &duplicate, 1);
        // Kept, but the answer was lost; the second publication was told it is a duplicate, as was the true copy.
        reckoning.answered((0, 2), &duplicate, 2);
        reckoning.answered((0, 2), &duplicate, 1);
        assert_eq!((reckoning.kept_unheard(), reckoning.duplicates(), reckoning.resent), (1, 2, 1));
        let summary = Summary {
            rows: 4,
            repeat: 1,
            identities: 2,
            duplicates: reckoning.duplicates(),
            answers: reckoning.answers.clone(),
            ..Summary::default()
        };
        let mut checked = summary.clone();
        checked.check();
        assert!(checked.disagreements.is_empty(), "{:?}", checked.disagreements);
        let mut checked = Summary { rows: 5, unanswered: 1, ..summary };
        checked.check();
        assert_eq!(checked.disagreements.len(), 2);
    }

    #[test]
    fn stored_tracks_are_counted_by_mark_and_identity() {
        let fix = |device_time: i64, mark: &str| -> TrackRow {
            serde_json::from_value(serde_json::json!({
                "id": 1, "kind": "fix", "version": 1, "rev": 1, "status": 3, "at_ms": 0, "operator_id": "r",
                "operator_type": 1, "device_time_ms": device_time, "mark": mark
            }))
            .unwrap()
        };
        let place = Point { lat_e7: 0, lon_e7: 0 };
        let track = Track {
            id: "a".into(),
            order: "oa".parse().unwrap(),
            rider: "ra".parse().unwrap(),
            base_ms: 0,
            last_offset_ms: 0,
            from: place,
            to: place,
            identities: 2,
        };
        let (counts, wrong) = stored(&track, &[fix(1, "good"), fix(2, "jump")]);
        assert_eq!(counts, Stored { fixes: 2, good: 1, inaccurate: 0, jump: 1 });
        assert!(wrong.is_empty());
        assert_eq!(stored(&track, &[fix(1, "good"), fix(1, "good"), fix(2, "odd")]).1.len(), 3);
    }
}
