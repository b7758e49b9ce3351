//! A player over a history in memory: what it shows at any time is the merge of the patches up to then, however it got
//! there.

use super::player::{Ask, BURST, Opening, PAGE_ROWS, Player, ReplayError};
use crate::{
    bridge::hub::{Lens, Shape},
    domain::UnixMillis,
    geo::Datum,
    wire::{
        access::{Principal, Role},
        merge,
        query::{Lines, Snapshot, TrackPage, TrackQuery, TrackRow},
        replay::ReplayFrame,
        view::View,
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// An order that is created at 1,000 s, and changes every so many milliseconds.
struct Owner {
    rows: Vec<TrackRow>,
}

impl Owner {
    fn new(changes: i64, every_ms: i64) -> Self {
        let row = |n: i64| {
            let kind = if n == 0 || n == changes - 1 { "pay" } else { "fix" };
            let mut patch = json!({"position": {"lat": n as f64 / 1_000.0, "lon": 1.0}, "rev": n / 7, "secret": n});
            if n == 0 {
                patch = json!({"id": "o", "cell": "default", "status": 1, "user_id": "u"});
            }
            let row = json!({"id": 10 + 3 * n, "kind": kind, "version": n + 1, "rev": 1, "status": 3,
                "at_ms": 1_000_000 + n * every_ms, "operator_id": "x", "operator_type": 1, "patch": patch});
            serde_json::from_value(row).unwrap()
        };
        Self { rows: (0..changes).map(row).collect() }
    }

    fn snapshot(&self) -> Snapshot {
        let last = self.rows.last().unwrap();
        Snapshot {
            epoch: 1,
            since_epoch: None,
            version: last.version,
            at_ms: last.at_ms,
            state: self.whole(last.at_ms),
        }
    }

    fn whole(&self, at: UnixMillis) -> Value {
        let mut state = json!({});
        for row in self.rows.iter().take_while(|row| row.at_ms <= at) {
            merge::patch(&mut state, row.patch.as_ref().unwrap());
        }
        state
    }

    /// What operations see of the state at a time.
    fn seen(&self, at: UnixMillis) -> Value {
        crate::wire::view::project(View::Operations, &self.whole(at), None)
    }

    fn page(&self, ask: &TrackQuery) -> TrackPage {
        let limit = ask.limit.unwrap() as usize;
        let wanted =
            |row: &&TrackRow| row.id > ask.after.unwrap_or(0) && (ask.lines == Lines::Changes || row.kind != "fix");
        let mut rows: Vec<_> = self.rows.iter().filter(wanted).take(limit + 1).cloned().collect();
        let more = rows.len() > limit;
        rows.truncate(limit);
        TrackPage { next: rows.last().filter(|_| more).map(|row| row.id), rows }
    }
}

/// A client of one replay, which keeps what it is told.
struct Screen {
    owner: Owner,
    player: Player,
    now: Duration,
    /// The question under way.
    asked: Option<Ask>,
    frames: Vec<ReplayFrame>,
    state: Value,
    version: u64,
    position: UnixMillis,
    has_ended: bool,
    failed: Option<ReplayError>,
}

fn opening(speed: u32, from: Option<i64>, paused: bool) -> Opening {
    let who = Principal {
        role: Role::Operations,
        id: "a".into(),
        cells: None,
        order: None,
        expires_at: None,
        everyone: false,
    };
    let lens = Lens { view: View::Operations, datum: Datum::Wgs84, shape: Shape::Deltas };
    let from = from.map(UnixMillis);
    Opening { replay: 7, order: "o".parse().unwrap(), who: Arc::new(who), lens, speed, from, paused }
}

impl Screen {
    fn open(owner: Owner, opening: Opening) -> Self {
        let player = Player::open(opening);
        let (state, position) = (Value::Null, UnixMillis(0));
        let (frames, failed) = (Vec::new(), None);
        let now = Duration::from_secs(50);
        Self { owner, player, now, asked: None, frames, state, version: 0, position, has_ended: false, failed }
    }

    fn take(&mut self, frames: Vec<ReplayFrame>) {
        for frame in &frames {
            match frame {
                ReplayFrame::ReplayState { at_ms, version, state, .. } => {
                    (self.state, self.version, self.position) = (state.clone(), *version, *at_ms);
                    self.has_ended = false;
                }
                ReplayFrame::ReplayDelta { at_ms, from, to, patch, .. } => {
                    assert!(*from == self.version && *at_ms >= self.position, "{frame:?} after {}", self.version);
                    merge::patch(&mut self.state, patch);
                    (self.version, self.position) = (*to, *at_ms);
                }
                ReplayFrame::ReplayPosition { at_ms, .. } => {
                    assert!(*at_ms >= self.position, "{at_ms:?} is before {:?}", self.position);
                    self.position = *at_ms;
                }
                ReplayFrame::ReplayEnded { at_ms, .. } => (self.position, self.has_ended) = (*at_ms, true),
                ReplayFrame::ReplayStarted { .. }
                | ReplayFrame::ReplayStopped { .. }
                | ReplayFrame::ReplayFailed { .. } => {}
            }
        }
        self.frames.extend(frames);
    }

    /// Shows what is due, and asks. Never more at once than is allowed.
    fn show(&mut self) {
        let mut frames = Vec::new();
        self.player.show(self.now, &mut frames);
        assert!(frames.len() <= BURST + 3, "{}", frames.len());
        self.take(frames);
        if let Some(ask) = self.player.ask() {
            self.asked = Some(ask);
        }
    }

    /// The owner answers.
    fn answer(&mut self) {
        let mut frames = Vec::new();
        let taken = match self.asked.take() {
            None => return,
            Some(Ask::Order(_)) => self.player.on_order(Some(self.owner.snapshot())),
            Some(Ask::Track(ask)) => {
                let page = self.owner.page(&ask);
                assert!(page.rows.len() <= PAGE_ROWS as usize);
                self.player.on_page(Some(page), self.now, &mut frames)
            }
        };
        self.failed = taken.err();
        self.take(frames);
        self.show();
    }

    /// Until nothing is asked any more.
    fn settle(&mut self) {
        self.show();
        while self.asked.is_some() && self.failed.is_none() {
            self.answer();
        }
    }

    /// As time goes by, with an owner that answers at once.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.settle();
        while let Some(due) = self.player.due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    fn control(&mut self, paused: Option<bool>, seek: Option<i64>, speed: Option<u32>) {
        let mut frames = Vec::new();
        if self.player.control((paused, seek.map(UnixMillis), speed), self.now, &mut frames) {
            self.asked = None;
        }
        // Where it stands, before what it shows.
        if seek.is_some() {
            self.position = UnixMillis(i64::MIN);
        }
        self.take(frames);
        self.show();
    }

    fn is_true(&self) {
        assert_eq!(self.state, self.owner.seen(self.position), "at {:?}", self.position);
    }
}

#[test]
fn the_timeline_comes_first_and_the_end_is_the_stored_state() {
    let mut screen = Screen::open(Owner::new(2_000, 5_000), opening(60, None, false));
    screen.settle();
    let ReplayFrame::ReplayStarted { first_ms, last_ms, events, .. } = &screen.frames[0] else { panic!() };
    assert_eq!((first_ms.0, last_ms.0), (1_000_000, 1_000_000 + 1_999 * 5_000));
    assert_eq!(events.iter().map(|event| event.version).collect::<Vec<_>>(), [1, 2_000]);
    assert_eq!(screen.state, screen.owner.seen(UnixMillis(1_000_000)));
    screen.run(Duration::from_secs(165));
    assert!(!screen.has_ended);
    screen.is_true();
    screen.run(Duration::from_secs(2));
    assert!(screen.has_ended && screen.failed.is_none());
    let stored = crate::wire::view::project(View::Operations, &screen.owner.snapshot().state, None);
    assert_eq!((&screen.state, screen.version), (&stored, 2_000));
    assert!(screen.state.get("secret").is_none(), "what no view shows stays hidden");
    let count = screen.frames.len();
    screen.run(Duration::from_secs(100));
    assert_eq!(screen.frames.len(), count, "nothing comes after the end");
    // Positions come each second, not more often.
    let said = screen.frames.iter().filter(|f| matches!(f, ReplayFrame::ReplayPosition { .. })).count();
    assert!((160..=170).contains(&said), "{said}");
}

#[test]
fn a_pause_holds_and_speed_is_kept() {
    let mut screen = Screen::open(Owner::new(100, 1_000), opening(10, None, true));
    screen.run(10 * S);
    assert_eq!((screen.version, screen.player.due()), (1, None));
    screen.control(Some(false), None, None);
    screen.run(2 * S);
    assert_eq!(screen.version, 21);
    screen.control(Some(true), None, None);
    screen.run(60 * S);
    assert_eq!(screen.version, 21);
    screen.control(Some(false), None, Some(1));
    screen.run(3 * S);
    assert_eq!(screen.version, 24);
    screen.is_true();
}

#[test]
fn seeking_shows_the_state_then_and_goes_on_from_there() {
    let mut screen = Screen::open(Owner::new(1_000, 1_000), opening(10, Some(1_500_500), false));
    screen.settle();
    assert_eq!((screen.version, screen.position.0), (501, 1_500_500));
    screen.is_true();
    // Back, ahead, within the change that is shown, and beyond both ends.
    for (to, version) in [
        (1_200_000, 201),
        (1_900_001, 901),
        (1_900_000, 901),
        (1_900_999, 901),
        (0, 1),
        (i64::MAX, 1_000),
        (1_000_001, 1),
    ] {
        screen.control(None, Some(to), None);
        screen.settle();
        assert_eq!(screen.version, version, "{to}");
        screen.is_true();
    }
    screen.run(S);
    assert_eq!(screen.version, 11);
}

#[test]
fn a_slow_owner_and_a_slow_client_stop_the_clock() {
    let mut screen = Screen::open(Owner::new(2_000, 100), opening(1, None, false));
    screen.settle();
    // The next pages don't come: what is here is shown, and then it waits.
    for _ in 0..100 {
        screen.now += S;
        screen.show();
    }
    let shown = screen.version;
    assert!(shown <= 2 * u64::from(PAGE_ROWS) && screen.asked.is_some() && screen.player.due().is_none(), "{shown}");
    screen.now += 500 * S;
    screen.settle();
    assert!(screen.version <= shown + 1, "no rush afterwards: {} after {shown}", screen.version);
    // The client took nothing for a minute: some at once, and then at its pace.
    let before = screen.version;
    screen.now += 60 * S;
    screen.show();
    assert_eq!(screen.version, before + BURST as u64);
    assert!(screen.player.due().unwrap() <= screen.now + 100 * MS);
    screen.is_true();
}

#[test]
fn what_is_not_there_or_not_whole_is_said() {
    let mut player = Player::open(opening(1, None, false));
    assert!(player.ask().is_some() && player.ask().is_none());
    assert_eq!(player.on_order(None), Err(ReplayError::UnknownOrder));
    let mut other = opening(1, None, false);
    other.who = Arc::new(Principal { cells: Some(Arc::default()), ..Principal::clone(&other.who) });
    let owner = Owner::new(5, 1_000);
    assert_eq!(Player::open(other).on_order(Some(owner.snapshot())), Err(ReplayError::UnknownOrder));
    for missing in [0, 2, 4] {
        let mut owner = Owner::new(5, 1_000);
        let mut screen = Screen::open(Owner::new(5, 1_000), opening(1, None, false));
        screen.show();
        screen.answer();
        owner.rows.remove(missing);
        screen.owner = owner;
        screen.settle();
        assert!(matches!(screen.failed, Some(ReplayError::Gone { .. })), "{missing}: {:?}", screen.failed);
    }
}

proptest! {
    /// Whatever the client does and whenever the owner answers: what is shown is the state of the position.
    #[test]
    fn what_is_shown_is_the_state_of_its_time(
        (changes, every_ms) in (1..900i64, 0..9_000i64),
        (speed, from) in (1..=60u32, prop::option::of(900_000..9_000_000i64)),
        steps in prop::collection::vec((0..8u8, 0..9_000_000i64), 1..40),
    ) {
        let mut screen = Screen::open(Owner::new(changes, every_ms), opening(speed, from, false));
        screen.show();
        for (what, amount) in steps {
            match what {
                0 => screen.control(Some(amount % 2 == 0), None, None),
                1 => screen.control(None, Some(amount), None),
                2 => screen.control(None, None, Some(u32::try_from(amount % 60).unwrap() + 1)),
                3 => screen.run(MS * u32::try_from(amount % 100_000).unwrap()),
                4 | 5 => screen.answer(),
                _ => {
                    screen.now += MS * u32::try_from(amount % 10_000).unwrap();
                    screen.show();
                }
            }
            prop_assert_eq!(&screen.failed, &None);
            if screen.version > 0 && screen.position.0 > i64::MIN {
                // Changes of one time may come in two goes.
                let due = screen.owner.seen(screen.position);
                let on_the_way = screen.owner.rows.iter().any(|row| row.version > screen.version && row.at_ms <= screen.position);
                prop_assert!(screen.state == due || on_the_way);
            }
        }
        screen.control(Some(false), None, Some(60));
        screen.run(Duration::from_secs(3_000));
        prop_assert!(screen.has_ended || screen.position.0 >= screen.owner.snapshot().at_ms.0);
        prop_assert_eq!(screen.version, u64::try_from(changes).unwrap());
        prop_assert_eq!(&screen.state, &screen.owner.seen(UnixMillis(i64::MAX)));
    }
}
