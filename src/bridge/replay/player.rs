//! One order's history, shown again at a pace of the client's choice. Sans-IO: pages of the history and the time go in;
//! questions to the owner, frames, and the time at which to look again come out.
//!
//! The published state at any time is the merge of all patches up to then, which is also how it is found again when the
//! client seeks back. What was marked or revised later doesn't show: it is shown what was shown then, up to the version
//! that the order had when the replay was opened. At most two pages of changes are held; while the next one is waited for,
//! and while the client is slow, the clock stands.

use crate::{
    bridge::{datum::convert_order, gate::unknown_order, hub::Lens, source::SourceError},
    domain::{OrderId, UnixMillis},
    wire::{
        access::{Principal, Right},
        merge,
        problem::Problem,
        query::{Lines, OrderQuery, Snapshot, TrackPage, TrackQuery},
        replay::{ReplayEvent, ReplayFrame},
        view::project,
    },
};
use serde_json::{Value, json};
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// Changes in a page: at 60×, of a rider with a fix every 5 s, some twenty seconds.
pub(super) const PAGE_ROWS: u32 = 250;
/// Most events of a timeline. An order takes some 1,000 commands, so that this is never reached by one that was lived.
const MAX_EVENTS: usize = 2_000;
/// Most changes that are shown at once; then what waits is written first, and the clock stands meanwhile.
pub(super) const BURST: usize = 32;
/// Between two words on where the replay is.
const POSITION_EVERY: Duration = Duration::from_secs(1);

/// What a client asks for.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    pub(super) replay: u32,
    pub(super) order: OrderId,
    pub(super) who: Arc<Principal>,
    pub(super) lens: Lens,
    pub(super) speed: u32,
    pub(super) from: Option<UnixMillis>,
    pub(super) paused: bool,
}

/// What the owner is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ask {
    Order(OrderQuery),
    Track(TrackQuery),
}

/// Where the opening has got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The order as it is now tells where the replay ends.
    Order,
    /// Events are read for the timeline.
    Timeline,
    Open,
}

/// A version of the past.
#[derive(Debug)]
struct Step {
    at: UnixMillis,
    to: u64,
    patch: Value,
}

/// Why a replay can't begin or go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReplayError {
    #[error("there is no such order, or it isn't the asker's")]
    UnknownOrder,
    /// Retention took a part of the history, or all of it.
    #[error("version {version} is missing")]
    Gone { version: u64 },
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        let detail = error.to_string();
        match error {
            ReplayError::UnknownOrder => unknown_order("order"),
            ReplayError::Gone { .. } => {
                Self::new(410, "history_gone", "The history is no longer whole").with_field("order").with_detail(detail)
            }
            ReplayError::Source(error) => error.into(),
        }
    }
}

/// One replay of one connection.
#[derive(Debug)]
pub(super) struct Player {
    opening: Opening,
    stage: Stage,
    asked: bool,
    events: Vec<ReplayEvent>,
    /// Of the timeline; the last with the version there.
    first: UnixMillis,
    last: (UnixMillis, u64),
    /// The id after which the next page begins; whether there is none.
    after: Option<i64>,
    is_read: bool,
    steps: VecDeque<Step>,
    /// The whole state, and the version and time of the last change merged into it.
    state: Value,
    version: u64,
    merged_at: UnixMillis,
    /// What the client was shown, and the version at which that changed last.
    seen: Value,
    seen_version: u64,
    /// Changes up to this time are merged without a word, and then the state is shown whole.
    seeking: Option<UnixMillis>,
    /// The position was this at that time of the connection.
    clock: (UnixMillis, Duration),
    has_ended: bool,
    told: Duration,
}

impl Player {
    pub(super) fn open(opening: Opening) -> Self {
        Self {
            opening,
            stage: Stage::Order,
            asked: false,
            events: Vec::new(),
            first: UnixMillis(0),
            last: (UnixMillis(0), 0),
            after: None,
            is_read: false,
            steps: VecDeque::new(),
            state: json!({}),
            version: 0,
            merged_at: UnixMillis(i64::MIN),
            seen: json!({}),
            seen_version: 0,
            seeking: None,
            clock: (UnixMillis(0), Duration::ZERO),
            has_ended: false,
            told: Duration::ZERO,
        }
    }

    /// The next question, if it is time for one. One at a time: another one means that the earlier one's answer is of no
    /// interest any more.
    pub(super) fn ask(&mut self) -> Option<Ask> {
        let ahead = usize::try_from(PAGE_ROWS).unwrap_or(usize::MAX);
        if self.asked || self.is_read || self.steps.len() > ahead {
            return None;
        }
        self.asked = true;
        let order = self.opening.order.clone();
        let lines = match self.stage {
            Stage::Order => return Some(Ask::Order(OrderQuery { order })),
            Stage::Timeline => Lines::Events,
            Stage::Open => Lines::Changes,
        };
        Some(Ask::Track(TrackQuery { order, after: self.after, limit: Some(PAGE_ROWS), lines }))
    }

    /// The order as it is now, or that there is none.
    pub(super) fn on_order(&mut self, found: Option<Snapshot>) -> Result<(), ReplayError> {
        let who = &self.opening.who;
        let found = found.filter(|snapshot| who.may(Right::ReadTrack, &snapshot.state));
        let snapshot = found.ok_or(ReplayError::UnknownOrder)?;
        self.last = (snapshot.at_ms, snapshot.version);
        (self.stage, self.asked) = (Stage::Timeline, false);
        Ok(())
    }

    /// A page of what was asked for.
    pub(super) fn on_page(
        &mut self,
        found: Option<TrackPage>,
        now: Duration,
        out: &mut Vec<ReplayFrame>,
    ) -> Result<(), ReplayError> {
        let TrackPage { rows, next } = found.ok_or(ReplayError::UnknownOrder)?;
        self.asked = false;
        (self.after, self.is_read) = (next, next.is_none());
        match self.stage {
            Stage::Order => {}
            Stage::Timeline => {
                let known = rows.into_iter().filter(|row| row.version <= self.last.1).map(ReplayEvent::from);
                self.events.extend(known.take(MAX_EVENTS.saturating_sub(self.events.len())));
                if self.is_read || self.events.len() >= MAX_EVENTS {
                    self.start(out)?;
                }
            }
            Stage::Open => {
                if self.steps.is_empty() {
                    // The clock stood meanwhile.
                    self.clock.1 = now;
                }
                let mut expected = self.steps.back().map_or(self.version, |step| step.to);
                for row in rows {
                    if expected == self.last.1 {
                        break;
                    }
                    expected += 1;
                    let (Some(patch), true) = (row.patch, row.version == expected) else {
                        return Err(ReplayError::Gone { version: expected });
                    };
                    self.steps.push_back(Step { at: row.at_ms, to: row.version, patch });
                }
                if self.is_read && expected != self.last.1 {
                    return Err(ReplayError::Gone { version: expected + 1 });
                }
                self.is_read |= expected == self.last.1;
            }
        }
        Ok(())
    }

    /// The timeline is known: says so, and goes to where the client wants to begin.
    fn start(&mut self, out: &mut Vec<ReplayFrame>) -> Result<(), ReplayError> {
        self.first = self.events.first().ok_or(ReplayError::Gone { version: 1 })?.at_ms;
        let last = self.events.last().map_or(self.first, |event| event.at_ms);
        self.last.0 = self.last.0.max(last);
        (self.stage, self.after, self.is_read) = (Stage::Open, None, false);
        let from = self.opening.from.unwrap_or(self.first);
        self.seeking = Some(self.within(from));
        out.push(ReplayFrame::ReplayStarted {
            replay: self.opening.replay,
            order: self.opening.order.to_string(),
            first_ms: self.first,
            last_ms: self.last.0,
            events: std::mem::take(&mut self.events),
        });
        Ok(())
    }

    fn within(&self, time: UnixMillis) -> UnixMillis {
        time.max(self.first).min(self.last.0)
    }

    /// Does what a client says of a replay that is there; gives whether the answer under way is of no interest any more.
    pub(super) fn control(
        &mut self,
        (paused, seek, speed): (Option<bool>, Option<UnixMillis>, Option<u32>),
        now: Duration,
        out: &mut Vec<ReplayFrame>,
    ) -> bool {
        self.clock = (self.position(now), now);
        self.opening.paused = paused.unwrap_or(self.opening.paused);
        self.opening.speed = speed.unwrap_or(self.opening.speed);
        if self.stage != Stage::Open {
            self.opening.from = seek.or(self.opening.from);
            return false;
        }
        let mut is_back = false;
        if let Some(seek) = seek {
            let to = self.within(seek);
            is_back = to < self.merged_at;
            if is_back {
                self.rewind();
            }
            self.seeking = Some(to);
            self.has_ended = false;
        } else if self.seeking.is_none() {
            out.push(self.said(now));
        }
        is_back
    }

    /// Back to before the first change.
    fn rewind(&mut self) {
        (self.after, self.is_read, self.asked) = (None, false, false);
        self.steps.clear();
        (self.state, self.version, self.merged_at) = (json!({}), 0, UnixMillis(i64::MIN));
    }

    /// Shows what is due.
    pub(super) fn show(&mut self, now: Duration, out: &mut Vec<ReplayFrame>) {
        if self.stage != Stage::Open {
            return;
        }
        if let Some(to) = self.seeking {
            while self.steps.front().is_some_and(|step| step.at <= to) {
                self.merge();
            }
            if self.is_starved() {
                return;
            }
            self.seeking = None;
            self.clock = (to, now);
            (self.seen, self.seen_version) = (self.project(), self.version);
            let (replay, state) = (self.opening.replay, self.seen.clone());
            out.push(ReplayFrame::ReplayState { replay, at_ms: to, version: self.version, state });
            out.push(self.said(now));
        }
        if self.opening.paused || self.has_ended {
            return;
        }
        let position = self.position(now);
        for shown in 0.. {
            if self.steps.front().is_none_or(|step| step.at > position) {
                break;
            }
            if shown == BURST {
                self.clock = (self.merged_at, now);
                return;
            }
            self.merge();
            out.extend(self.delta());
        }
        if self.is_starved() {
            self.clock = (self.merged_at.max(self.clock.0), now);
        } else if self.steps.is_empty() && position >= self.last.0 {
            self.has_ended = true;
            self.clock = (self.last.0, now);
            let (replay, at_ms, version) = (self.opening.replay, self.last.0, self.version);
            out.push(ReplayFrame::ReplayEnded { replay, at_ms, version });
        } else if now.saturating_sub(self.told) >= POSITION_EVERY {
            out.push(self.said(now));
        }
    }

    /// When to look again, if nothing comes from outside.
    pub(super) fn due(&self) -> Option<Duration> {
        if self.stage != Stage::Open || self.is_starved() {
            return None;
        }
        if self.seeking.is_some() {
            return Some(Duration::ZERO);
        }
        if self.opening.paused || self.has_ended {
            return None;
        }
        let next = self.steps.front().map_or(self.last.0, |step| step.at);
        let ahead_ms = u64::try_from(next.since(self.clock.0)).unwrap_or(0);
        let change = self.clock.1 + Duration::from_millis(ahead_ms.div_ceil(self.opening.speed.into()));
        Some(change.min(self.told + POSITION_EVERY))
    }

    /// More is to come, and isn't here.
    fn is_starved(&self) -> bool {
        self.steps.is_empty() && !self.is_read
    }

    fn position(&self, now: Duration) -> UnixMillis {
        let (at, since) = self.clock;
        if self.stage != Stage::Open
            || self.opening.paused
            || self.has_ended
            || self.seeking.is_some()
            || self.is_starved()
        {
            return at;
        }
        let passed_ms = i64::try_from(now.saturating_sub(since).as_millis()).unwrap_or(i64::MAX);
        let gone = UnixMillis(at.0.saturating_add(passed_ms.saturating_mul(self.opening.speed.into())));
        gone.min(self.last.0)
    }

    fn said(&mut self, now: Duration) -> ReplayFrame {
        self.told = now;
        let Opening { replay, speed, paused, .. } = self.opening;
        ReplayFrame::ReplayPosition { replay, at_ms: self.position(now), version: self.version, speed, paused }
    }

    fn merge(&mut self) {
        if let Some(Step { at, to, patch }) = self.steps.pop_front() {
            merge::patch(&mut self.state, &patch);
            (self.version, self.merged_at) = (to, at);
        }
    }

    fn project(&self) -> Value {
        let mut seen = project(self.opening.lens.view, &self.state, None);
        convert_order(&mut seen, self.opening.lens.datum);
        seen
    }

    /// What the view shows of the last change, if anything.
    fn delta(&mut self) -> Option<ReplayFrame> {
        let seen = self.project();
        let patch = merge::diff(&self.seen, &seen)?;
        let (replay, at_ms, from, to) = (self.opening.replay, self.merged_at, self.seen_version, self.version);
        (self.seen, self.seen_version) = (seen, to);
        Some(ReplayFrame::ReplayDelta { replay, at_ms, from, to, patch })
    }
}
