//! Heart-beats of a STOMP connection, both ways, sans-IO: when to send one, and when the peer has been silent for too long.
//!
//! Each side says what it can send and what it would like to get. Ours are sent a little early, so that a timer that wakes late
//! doesn't make them late. Of the peer's, one may be missing: timers of a page in the background are lazy, and a phone that
//! changes its network needs a moment. Any byte counts as one, either way.

use std::time::Duration;

/// What one side says in its `heart-beat` header, in milliseconds; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// At least this often it can send something.
    pub sends_ms: u64,
    /// So often it would like to get something.
    pub wants_ms: u64,
}

impl Offer {
    /// Reads a header's value, `cx,cy`.
    pub fn parse(text: &str) -> Option<Self> {
        let (sends, wants) = text.split_once(',')?;
        let ms = |text: &str| {
            let text = text.trim();
            let digits = !text.is_empty() && text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u64>().ok()).flatten()
        };
        Some(Self { sends_ms: ms(sends)?, wants_ms: ms(wants)? })
    }

    /// As a header's value.
    pub fn text(self) -> String {
        format!("{},{}", self.sends_ms, self.wants_ms)
    }
}

/// Early by a tenth, and no more than this.
const EARLY_MAX: Duration = Duration::from_secs(1);

/// Beyond a missing beat: what the way takes.
const GRACE: Duration = Duration::from_secs(1);

/// One per connection. Times are the connection's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartBeats {
    /// How often we have promised to send.
    send_every: Option<Duration>,
    /// How often the peer has.
    hear_every: Option<Duration>,
    sent: Duration,
    heard: Duration,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Send an end of line.
    Beat,
    /// The peer is gone.
    Silent,
}

impl HeartBeats {
    /// What the two sides have agreed upon: each way the slower of the two, or none if either says 0.
    pub fn agree(client: Offer, server: Offer, now: Duration) -> Self {
        let slower = |can: u64, wants: u64| (can != 0 && wants != 0).then(|| Duration::from_millis(can.max(wants)));
        Self {
            send_every: slower(server.sends_ms, client.wants_ms),
            hear_every: slower(client.sends_ms, server.wants_ms),
            sent: now,
            heard: now,
        }
    }

    /// Something was sent.
    pub fn on_sent(&mut self, now: Duration) {
        self.sent = now;
    }

    /// Something was heard.
    pub fn on_heard(&mut self, now: Duration) {
        self.heard = now;
    }

    fn beat_at(&self) -> Option<Duration> {
        self.send_every.map(|every| self.sent + every - (every / 10).min(EARLY_MAX))
    }

    fn silent_at(&self) -> Option<Duration> {
        self.hear_every.map(|every| self.heard + every * 2 + GRACE)
    }

    /// When to ask [`Self::on_due`], if nothing happens before.
    pub fn due(&self) -> Option<Duration> {
        [self.beat_at(), self.silent_at()].into_iter().flatten().min()
    }

    /// What is due by now.
    pub fn on_due(&mut self, now: Duration) -> Option<Due> {
        if self.silent_at().is_some_and(|at| at <= now) {
            return Some(Due::Silent);
        }
        if self.beat_at().is_some_and(|at| at <= now) {
            self.on_sent(now);
            return Some(Due::Beat);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: [u64; 5] = [0, 1, 400, 5_000, 20_000];

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Runs the clock from one due time to the next until `until`; when beats were sent, and when it was silent.
    fn run(
        mut beats: HeartBeats,
        until: Duration,
        mut peer: impl FnMut(Duration) -> Option<Duration>,
    ) -> (Vec<Duration>, Option<Duration>) {
        let (mut sent, mut said) = (Vec::new(), peer(Duration::ZERO));
        loop {
            let next = [beats.due(), said].into_iter().flatten().min();
            let Some(now) = next.filter(|next| *next <= until) else { return (sent, None) };
            if said.is_some_and(|said| said <= now) {
                beats.on_heard(now);
                said = peer(now);
                continue;
            }
            match beats.on_due(now) {
                Some(Due::Beat) => sent.push(now),
                Some(Due::Silent) => return (sent, Some(now)),
                None => panic!("woken for nothing at {now:?}"),
            }
        }
    }

    /// Every combination of what both sides say: nothing, next to nothing, less, as much, more.
    #[test]
    fn every_combination_keeps_its_promises() {
        let until = at(120_000);
        for (cx, cy, sx, sy) in MS.into_iter().flat_map(|cx| {
            MS.into_iter().flat_map(move |cy| MS.into_iter().flat_map(move |sx| MS.map(move |sy| (cx, cy, sx, sy))))
        }) {
            let case = format!("client {cx},{cy} server {sx},{sy}");
            let (client, server) = (Offer { sends_ms: cx, wants_ms: cy }, Offer { sends_ms: sx, wants_ms: sy });
            let agreed = HeartBeats::agree(client, server, Duration::ZERO);
            let outgoing = (sx != 0 && cy != 0).then(|| sx.max(cy));
            let incoming = (cx != 0 && sy != 0).then(|| cx.max(sy));
            let step = outgoing.unwrap_or(120_000).max(40);
            // A short promise needs no long run.
            let until = if step < 400 { at(2_000) } else { until };

            // A peer that keeps its promise to the millisecond is never taken for gone.
            let every = incoming.map(at);
            let (sent, silent) = run(agreed, until, |now| every.map(|every| now + every));
            assert_eq!(silent, None, "{case}");
            match outgoing.map(at) {
                None => assert!(sent.is_empty(), "{case}: nothing was promised"),
                Some(promise) => {
                    let ends = std::iter::once(Duration::ZERO).chain(sent.iter().copied()).collect::<Vec<_>>();
                    assert!(ends.windows(2).all(|pair| pair[1] - pair[0] <= promise), "{case}: late");
                    assert!(ends.windows(2).all(|pair| (pair[1] - pair[0]) * 10 >= promise * 9), "{case}: too often");
                    assert!(ends.last().is_some_and(|last| *last + promise > until), "{case}: stopped");
                }
            }

            // A peer that says nothing is gone after two of its beats and the grace, or never.
            let (_, silent) = run(agreed, until, |_| None);
            let gone = incoming.map(|ms| at(ms * 2 + 1_000)).filter(|gone| *gone <= until);
            assert_eq!(silent, gone, "{case}");

            // One beat that is missing is forgiven, as often as it happens.
            if let Some(every) = every {
                let (_, silent) = run(agreed, until, |now| Some(now + every * 2));
                assert_eq!(silent, None, "{case}");
                let (_, silent) = run(agreed, until, |now| Some(now + every * 2 + GRACE + at(1)));
                assert_eq!(silent.is_some(), every * 2 + GRACE <= until, "{case}");
            }
        }
    }

    #[test]
    fn what_is_sent_anyway_is_a_beat() {
        let mut beats =
            HeartBeats::agree(Offer { sends_ms: 0, wants_ms: 10_000 }, Offer { sends_ms: 10_000, wants_ms: 0 }, at(0));
        assert_eq!(beats.due(), Some(at(9_000)));
        beats.on_sent(at(8_999));
        assert_eq!((beats.on_due(at(9_000)), beats.due()), (None, Some(at(17_999))));
    }

    #[test]
    fn a_header_is_two_numbers() {
        assert_eq!(Offer::parse("10000,0"), Some(Offer { sends_ms: 10_000, wants_ms: 0 }));
        assert_eq!(Offer::parse(" 1 , 2 ").map(Offer::text).as_deref(), Some("1,2"));
        for wrong in ["", "1", "1,", ",1", "-1,0", "+1,0", "1,2,3", "a,b", "1.5,2", "9999999999999999,0"] {
            assert_eq!(Offer::parse(wrong), None, "{wrong}");
        }
    }
}
