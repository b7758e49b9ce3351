//! The followers of one board: those who wait for it, and a sheet for each cut that somebody follows.

use super::{BoardOptions, Cut, Follower, Label, sheet::Sheet};
use crate::{
    bridge::{
        frame::Frame,
        hub::FollowerId,
        outbox::{Outbox, Pulse},
    },
    clock,
    domain::UnixMillis,
    wire::{
        client::{Recovery, ServerFrame},
        problem::Problem,
    },
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

/// 2020-01-01: epochs count from here, so that they stay below 2^53 and every client can hold them.
const EPOCHS_FROM_MS: i64 = 1_577_836_800_000;

/// Sheets that are kept for who may come back to them. Whoever changes their box all the time leaves one each time, and each
/// holds a document.
const IDLE_MAX: usize = 8;

/// An epoch that no other sheet has: the time, and 13 random bits. Grows with time.
fn epoch() -> u64 {
    let since = u64::try_from(clock::wall().since(UnixMillis(EPOCHS_FROM_MS))).unwrap_or(0);
    since * (1 << 13) + rand::random_range(0..1 << 13)
}

/// See the module.
#[derive(Debug)]
pub(super) struct Stand {
    label: Label,
    options: BoardOptions,
    sheets: HashMap<Cut, Sheet>,
    waiting: BTreeMap<FollowerId, Follower>,
    /// Since when somebody waits.
    since: Duration,
    pulse: Arc<Pulse>,
    idle_since: Option<Duration>,
}

impl Stand {
    pub(super) fn new(label: Label, options: BoardOptions) -> Self {
        let (sheets, waiting) = (HashMap::new(), BTreeMap::new());
        Self { label, options, sheets, waiting, since: Duration::ZERO, pulse: Arc::default(), idle_since: None }
    }

    /// Takes a follower, who waits until [`Self::admit`].
    pub(super) fn follow(&mut self, follower: Follower, now: Duration) {
        if self.waiting.is_empty() {
            self.since = now;
        }
        if self.waiting.contains_key(&follower.id) {
            // One answer per question, so that a client can tell which it is reading: the latest brings the document.
            let (recovery, missed) = match follower.resume {
                Some(_) => (Recovery::Resumed, Some(0)),
                None => (Recovery::Fresh, None),
            };
            let subscribed = ServerFrame::Subscribed { topic: self.label.text.clone(), recovery, missed };
            self.say(&follower.outbox, &subscribed);
        }
        self.leave(follower.id);
        // Heartbeats don't speak of a topic between question and answer.
        follower.outbox.end(&self.label.of);
        self.waiting.insert(follower.id, follower);
    }

    /// The client doesn't want it any more.
    pub(super) fn unfollow(&mut self, id: FollowerId, outbox: &Outbox) {
        self.leave(id);
        outbox.end(&self.label.of);
        self.say(outbox, &ServerFrame::Unsubscribed { topic: self.label.text.clone() });
    }

    /// Takes a connection off the lists.
    pub(super) fn leave(&mut self, id: FollowerId) {
        self.waiting.remove(&id);
        self.sheets.values_mut().for_each(|sheet| sheet.remove(id));
    }

    fn say(&self, outbox: &Outbox, frame: &ServerFrame) {
        // A shut outbox has nobody to tell.
        let _ = outbox.push(Frame::new(frame, None));
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether somebody has waited for too long.
    pub(super) fn is_impatient(&self, now: Duration) -> bool {
        self.has_waiting() && now.saturating_sub(self.since) >= self.options.patience
    }

    /// Gives everybody who waits the document of their cut.
    pub(super) fn admit(&mut self, at: UnixMillis, mut draw: impl FnMut(&Cut) -> Value) {
        for Follower { id, outbox, cut, resume, generation } in std::mem::take(&mut self.waiting).into_values() {
            let bounds = self.options.sheet();
            let sheet = self.sheets.entry(cut).or_insert_with(|| Sheet::new(epoch(), draw(&cut), at, bounds));
            if sheet.snapshot(&self.label).size() > self.options.snapshot_max_bytes {
                let problem = Problem::new(413, "too_large", "More than fits into one snapshot: choose a smaller box");
                let frame =
                    ServerFrame::Error { topic: Some(self.label.text.clone()), problem: problem.with_field("box") };
                let _ = outbox.refuse(&self.label.of, generation, Frame::new(&frame, None));
                continue;
            }
            sheet.add(&self.label, &self.pulse, (id, outbox), resume);
        }
        self.drop_idle_beyond(IDLE_MAX);
    }

    /// Drops what was left longest ago.
    fn drop_idle_beyond(&mut self, most: usize) {
        let mut idle: Vec<_> = self.sheets.iter().filter(|(_, sheet)| sheet.is_empty()).collect();
        // One that no tick has seen was left just now.
        idle.sort_by_key(|(_, sheet)| sheet.idle_since.unwrap_or(Duration::MAX));
        let surplus = idle.len().saturating_sub(most);
        let dropped: Vec<_> = idle.into_iter().take(surplus).map(|(cut, _)| *cut).collect();
        dropped.iter().for_each(|cut| drop(self.sheets.remove(cut)));
    }

    /// Shows each cut's new document.
    pub(super) fn turn(&mut self, at: UnixMillis, mut draw: impl FnMut(&Cut) -> Value) {
        for (cut, sheet) in &mut self.sheets {
            sheet.turn(&self.label, &draw(cut), at);
        }
    }

    /// Shows what changed of each cut, given what it shows now.
    pub(super) fn advance(&mut self, at: UnixMillis, mut change: impl FnMut(&Cut, &Value) -> Option<Value>) {
        for (cut, sheet) in &mut self.sheets {
            if let Some(patch) = change(cut, sheet.state()) {
                sheet.advance(&self.label, patch, at);
            }
        }
    }

    /// Refuses all who wait.
    pub(super) fn refuse(&mut self, problem: &Problem) {
        let frame =
            Frame::new(&ServerFrame::Error { topic: Some(self.label.text.clone()), problem: problem.clone() }, None);
        for follower in std::mem::take(&mut self.waiting).into_values() {
            let _ = follower.outbox.refuse(&self.label.of, follower.generation, frame.clone());
        }
    }

    /// Whether the owner has confirmed lately what the sheets show.
    pub(super) fn confirm(&self, confirmed: bool) {
        self.pulse.set(confirmed);
    }

    /// Looks at the time: who is gone, who had fallen behind, what nobody follows any more.
    pub(super) fn tick(&mut self, now: Duration) {
        let linger = self.options.linger;
        self.waiting.retain(|_, follower| !follower.outbox.is_shut());
        for sheet in self.sheets.values_mut() {
            sheet.catch_up(&self.label);
        }
        self.sheets.retain(|_, sheet| {
            if !sheet.is_empty() {
                sheet.idle_since = None;
                return true;
            }
            now.saturating_sub(*sheet.idle_since.get_or_insert(now)) < linger
        });
        if self.is_followed() {
            self.idle_since = None;
        } else {
            self.idle_since.get_or_insert(now);
        }
    }

    fn is_followed(&self) -> bool {
        self.has_waiting() || self.sheets.values().any(|sheet| !sheet.is_empty())
    }

    /// Whether nobody has followed for a while.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        !self.is_followed() && self.idle_since.is_some_and(|since| now.saturating_sub(since) >= self.options.linger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bridge::outbox::Batch,
        geo::{Bounds, Datum},
        metrics::Metrics,
        wire::topic::Topic,
    };
    use serde_json::json;

    fn follower(outbox: &Arc<Outbox>, east_e7: i32) -> Follower {
        let cut = Cut { datum: Datum::Wgs84, bounds: Some(Bounds { east_e7, ..Bounds::GLOBE }) };
        Follower { id: FollowerId(0), outbox: outbox.clone(), cut, resume: None, generation: 1 }
    }

    #[test]
    fn who_changes_the_box_all_the_time_leaves_few_behind() {
        let mut stand = Stand::new(Label::new(Topic::Cell, Metrics::default()), BoardOptions::default());
        let outbox = Arc::new(Outbox::new(1 << 20, &Metrics::default()));
        for n in 0..50 {
            stand.follow(follower(&outbox, n), Duration::ZERO);
            stand.admit(UnixMillis(0), |_| json!({}));
            stand.tick(Duration::from_secs(1));
        }
        assert_eq!(stand.sheets.len(), IDLE_MAX + 1);
        stand.leave(FollowerId(0));
        stand.tick(Duration::from_secs(2));
        assert!(!stand.is_over(Duration::from_secs(11)) && stand.is_over(Duration::from_secs(12)));
        stand.tick(Duration::from_secs(12));
        assert!(stand.sheets.is_empty());
    }

    #[test]
    fn who_asks_again_before_the_answer_gets_an_answer_each_and_one_document() {
        let mut stand = Stand::new(Label::new(Topic::Cell, Metrics::default()), BoardOptions::default());
        let outbox = Arc::new(Outbox::new(1 << 20, &Metrics::default()));
        (0..2).for_each(|n| stand.follow(follower(&outbox, n), Duration::ZERO));
        assert!(!stand.is_impatient(Duration::from_secs(14)) && stand.is_impatient(Duration::from_secs(15)));
        stand.admit(UnixMillis(0), |_| json!({}));
        let kinds: Vec<_> = outbox
            .take(usize::MAX)
            .unwrap()
            .frames
            .iter()
            .map(|frame| String::from_utf8_lossy(&frame.json()[..20]).into_owned())
            .collect();
        assert_eq!(kinds.iter().filter(|kind| kind.contains("subscribed")).count(), 2);
        assert_eq!(kinds.iter().filter(|kind| kind.contains("snapshot")).count(), 1);
        // Refused: nothing of it is followed, and the connection hears which wish it was.
        stand.unfollow(FollowerId(0), &outbox);
        stand.follow(follower(&outbox, 0), Duration::ZERO);
        stand.refuse(&Problem::new(503, "unavailable", "No"));
        let Batch { frames, ended, beat: _ } = outbox.take(usize::MAX).unwrap();
        assert_eq!((frames.len(), ended), (2, vec![(Topic::Cell, 1)]));
    }
}
