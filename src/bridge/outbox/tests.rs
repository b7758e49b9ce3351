//! What waits, what is replaced, and what never is.

use super::*;
use crate::{domain::UnixMillis, wire::client::ServerFrame};
use bytes::Bytes;
use serde_json::{Value, json};

fn outbox(max_bytes: usize) -> Outbox {
    Outbox::new(max_bytes, &Metrics::default())
}

fn pong(id: u64) -> Frame {
    Frame::new(&ServerFrame::Pong { id: Some(id) }, None)
}

fn topic(text: &str) -> Topic {
    text.parse().unwrap()
}

/// Begins with nothing, as who comes back to where it was.
fn begin(outbox: &Outbox, of: &Topic, version: u64, pulse: Arc<Pulse>) {
    outbox.begin_with(of, version, pulse, pong(0), []).unwrap();
    outbox.take(usize::MAX).unwrap();
    outbox.handed_over();
}

fn delta(of: &Topic, to: u64, volatile: bool) -> Frame {
    let at_ms = UnixMillis(0);
    let patch = json!({"position": {"lat": to}});
    let frame = ServerFrame::Delta { topic: of.to_string(), epoch: 1, from: to - 1, to, at_ms, patch: patch.clone() };
    if volatile { Frame::volatile_delta(&frame, at_ms, Arc::new(patch), None) } else { Frame::new(&frame, None) }
}

fn spans(outbox: &Outbox) -> Vec<(u64, u64)> {
    let batch = outbox.take(usize::MAX).unwrap();
    let read = |frame: &Frame| serde_json::from_slice::<Value>(&frame.json()).unwrap();
    let span = |v: Value| (v["from"].as_u64().unwrap(), v["to"].as_u64().unwrap());
    batch.frames.iter().map(|frame| span(read(frame))).collect()
}

#[test]
fn the_bound_shuts_it_for_good() {
    let outbox = self::outbox(2 * (pong(1).size() + FRAME_OVERHEAD));
    assert_eq!((outbox.push(pong(1)), outbox.push(pong(2)), outbox.push(pong(3))), (Ok(()), Ok(()), Err(Shut)));
    assert_eq!(outbox.take(9).unwrap_err(), Close::SlowConsumer);
    assert_eq!(outbox.push(pong(4)), Err(Shut));
    let outbox = self::outbox(4);
    assert!(outbox.push(pong(1)).is_ok(), "a long one alone");
    assert_eq!(outbox.push(pong(2)), Err(Shut));
}

#[test]
fn newer_positions_replace_those_that_wait_only_while_nothing_is_taken() {
    let (outbox, pulse) = (outbox(1 << 20), Arc::new(Pulse::default()));
    let [a, b] = ["order/a", "order/b"].map(topic);
    begin(&outbox, &a, 1, pulse.clone());
    begin(&outbox, &b, 1, pulse);
    let push = |of: &Topic, to, volatile| outbox.push_version(of, to, delta(of, to, volatile)).unwrap();
    push(&a, 2, true);
    push(&a, 3, true);
    assert_eq!(spans(&outbox), [(1, 2), (2, 3)], "the transport takes what comes");
    outbox.set_blocked(true);
    for to in 4..100 {
        push(&a, to, true);
        push(&b, to - 2, true);
    }
    assert_eq!(outbox.waiting(), 2);
    // A status keeps its place, and positions after it don't overtake it.
    push(&a, 100, false);
    push(&a, 101, true);
    push(&a, 102, true);
    push(&b, 98, true);
    assert_eq!(spans(&outbox), [(3, 99), (1, 98), (99, 100), (100, 102)]);
    assert_eq!(outbox.conflated.get(), 95 + 95 + 1 + 1);
    push(&b, 99, true);
    assert_eq!(spans(&outbox), [(98, 99)], "what was taken isn't replaced");
}

/// Takes so many frames, and half of the one after.
#[derive(Debug)]
struct Narrow(Mutex<(usize, Vec<Bytes>)>);

impl Lane for Narrow {
    fn pass(&self, frame: &Frame) -> Passed {
        let mut inner = self.0.lock();
        let (left, passed) = &mut *inner;
        let Some(now) = left.checked_sub(1) else { return Passed::Not };
        *left = now;
        passed.push(frame.json());
        if now == 0 { Passed::Part } else { Passed::Whole }
    }
}

#[test]
fn frames_pass_where_nothing_waits_and_never_overtake() {
    let (outbox, of) = (outbox(1 << 20), topic("order/a"));
    let lane = Arc::new(Narrow(Mutex::new((2, Vec::new()))));
    outbox.open_lane(lane.clone());
    begin(&outbox, &of, 1, Arc::default());
    let pass = |to| outbox.pass_version(&of, to, &delta(&of, to, true)).unwrap();
    outbox.push(pong(1)).unwrap();
    pass(2);
    assert_eq!((outbox.waiting(), lane.0.lock().1.len()), (2, 0), "something waits");
    assert_eq!(outbox.take(usize::MAX).unwrap().frames.len(), 2);
    pass(3);
    assert_eq!((outbox.waiting(), lane.0.lock().1.len()), (1, 0), "what was taken isn't with the link");
    assert_eq!(spans(&outbox), [(2, 3)]);
    outbox.handed_over();
    pass(4);
    pass(5);
    assert!(outbox.is_blocked(), "only a part of the second was taken");
    pass(6);
    pass(7);
    assert_eq!(lane.0.lock().1.len(), 2);
    assert_eq!(spans(&outbox), [(5, 7)]);
    outbox.beat();
    outbox.take(usize::MAX).unwrap();
    assert_eq!(outbox.inner.lock().followed[0].version, 7);
    outbox.close(Close::GoingAway);
    assert_eq!(Arc::strong_count(&lane), 1, "a shut outbox holds no socket");
    assert_eq!(outbox.pass_version(&of, 8, &delta(&of, 8, true)), Err(Shut));
}

#[test]
fn what_is_taken_is_bounded_and_the_rest_is_taken_next() {
    let outbox = self::outbox(1 << 20);
    (0..10).for_each(|id| outbox.push(pong(id)).unwrap());
    outbox.beat();
    let first = outbox.take(1).unwrap();
    assert_eq!((first.frames.len(), first.beat), (1, None));
    let rest = outbox.take(usize::MAX).unwrap();
    assert_eq!((rest.frames.len(), rest.beat), (9, Some(Beat::default())));
    assert_eq!(outbox.inner.lock().bytes, 0);
}

#[test]
fn a_heartbeat_says_what_was_queued_before_it() {
    let (outbox, pulse) = (outbox(1_000), Arc::new(Pulse::default()));
    let [order, rider] = ["order/o1", "rider/r1"].map(topic);
    begin(&outbox, &order, 3, pulse.clone());
    begin(&outbox, &rider, 7, pulse.clone());
    let said = |outbox: &Outbox| {
        outbox.beat();
        outbox.take(usize::MAX).unwrap().beat.unwrap()
    };
    let silent = said(&outbox);
    assert_eq!(
        (&silent.unconfirmed[..], &silent.unconfirmed_topics[..]),
        (&["o1".into()][..], &["rider/r1".into()][..])
    );
    pulse.set(true);
    outbox.push_version(&order, 5, delta(&order, 5, false)).unwrap();
    assert_eq!((said(&outbox).orders["o1"], said(&outbox).topics["rider/r1"]), (5, 7));
    outbox.end(&order);
    outbox.end(&rider);
    assert_eq!(said(&outbox), Beat::default());
}

/// Whoever takes beats meanwhile: none names a version whose frames it hasn't taken.
#[test]
fn a_beat_never_runs_ahead_of_a_beginning() {
    for _ in 0..300 {
        let (outbox, order, pulse) = (outbox(1 << 20), topic("order/o1"), Arc::new(Pulse::default()));
        pulse.set(true);
        std::thread::scope(|scope| {
            let begin = scope.spawn(|| {
                let missed = (2..=20).map(|to| delta(&order, to, false));
                outbox.begin_with(&order, 20, pulse.clone(), pong(0), missed).unwrap();
            });
            let mut frames = 0;
            while frames < 20 {
                outbox.beat();
                let batch = outbox.take(usize::MAX).unwrap();
                frames += batch.frames.len();
                let said = batch.beat.and_then(|beat| beat.orders.get("o1").copied());
                assert!(said.is_none() || frames == 20, "{said:?} after {frames} frames");
            }
            begin.join().unwrap();
        });
    }
}
