//! Scenes from the life of riders and orders.

use super::stage::Stage as Play;
use crate::domain::{
    Action, Answer, Mark, Refusal, Status, UnixMillis, Verdict,
    cell::Input,
    testing::{fix, order, point, rider},
};

const MIN: i64 = 60_000;
const HOUR: i64 = 60 * MIN;

#[test]
fn one_fix_moves_both_orders_of_a_rider() {
    let mut play = Play::with_orders_on(rider(1), 2);
    play.wait(10_000);
    let outcome = play.fix(1, 0, 100.0);
    assert_eq!(outcome.verdicts, [Verdict::Kept(Mark::Good)], "counted once");
    for n in 0..2 {
        let live = &play.order(n).live;
        assert_eq!(live.position.unwrap().point, point(100.0, 0.0));
        assert_eq!((live.stops_ahead, play.order(n).track.len()), (Some(u16::try_from(n).unwrap()), 1));
    }
}

#[test]
fn reassignment_moves_the_feed_from_that_moment_on() {
    let mut play = Play::with_orders_on(rider(1), 1);
    play.wait(60_000);
    play.fix(1, 0, 100.0);
    play.wait(60_000);
    play.fix(2, 0, 900.0);
    assert_eq!(play.order(0).track.len(), 1, "not the second rider's order yet");
    play.assign(0, 2);
    assert_eq!(play.order(0).live.position.unwrap().point, point(900.0, 0.0), "it is where its rider is");
    let version = play.order(0).version;

    play.wait(60_000);
    let moved = play.order(0).live.position;
    // The first rider's late fix of before lands in the track and moves nothing, a later one doesn't land at all.
    assert_eq!(play.fix(1, 90_000, 130.0).verdicts, [Verdict::Kept(Mark::Good)]);
    assert_eq!((play.order(0).track.len(), play.order(0).version), (2, version));
    play.fix(1, 10_000, 160.0);
    assert_eq!((play.order(0).track.len(), play.order(0).live.position), (2, moved));
    // The second rider's feed it now; theirs of before never do.
    play.fix(2, 5_000, 950.0);
    play.fix(2, 100_000, 940.0);
    assert_eq!((play.order(0).track.len(), play.order(0).version), (3, version + 1));
    assert_eq!(play.order(0).live.position.unwrap().point, point(950.0, 0.0));
}

#[test]
fn a_batch_after_delivery_is_in_the_track_without_a_version() {
    let mut play = Play::with_orders_on(rider(1), 1);
    let start = play.now;
    play.wait(20 * MIN);
    assert!(matches!(play.command(0, Action::Deliver { at: None, sent: None, proof: None }), Answer::Accepted(_)));
    let version = play.order(0).version;
    play.wait(23 * HOUR);
    let offline = |n: i64| fix(start + n * 15_000, None, 10.0 * n as f64);
    let fixes: Vec<_> = (1..=80).map(offline).collect();
    let outcome = play.fixes(1, None, fixes.clone());
    assert_eq!(outcome.verdicts, vec![Verdict::Kept(Mark::Good); 80]);
    assert_eq!((play.order(0).track.len(), play.order(0).version), (80, version));
    assert_eq!(play.order(0).live.position, None);
    // The same batch again, and once more when it is too old.
    assert_eq!(play.fixes(1, None, fixes.clone()).verdicts, vec![Verdict::Duplicate; 80]);
    play.wait(2 * HOUR);
    assert_eq!(play.fixes(1, None, fixes).verdicts, vec![Verdict::TooOld; 80]);
    assert_eq!(play.order(0).track.len(), 80);
}

#[test]
fn a_late_delivered_ends_the_feed_at_its_own_time() {
    let mut play = Play::with_orders_on(rider(1), 1);
    play.wait(10 * MIN);
    let at = UnixMillis(play.now - 4 * MIN);
    play.command(0, Action::Deliver { at: Some(at), sent: None, proof: None });
    assert_eq!(play.order(0).live.completed_at, Some(at));
    play.fix(1, 5 * MIN, 100.0);
    play.fix(1, 3 * MIN, 200.0);
    assert_eq!(play.order(0).track.len(), 1);
}

#[test]
fn clocks_that_are_off_are_corrected_and_the_future_is_refused() {
    let mut play = Play::with_orders_on(rider(1), 1);
    play.wait(MIN);
    // Ten minutes ahead, and it doesn't say so.
    let ahead = fix(play.now + 10 * MIN, None, 100.0);
    assert_eq!(play.fixes(1, None, vec![ahead]).verdicts, [Verdict::Future]);
    assert_eq!(play.order(0).track.len(), 0);
    let tolerated = fix(play.now + MIN, Some(1), 100.0);
    assert_eq!(play.fixes(2, None, vec![tolerated]).verdicts, [Verdict::Kept(Mark::Good)]);
    // The same with the time of sending is right to the millisecond.
    let sent = Some(UnixMillis(play.now + 10 * MIN));
    assert_eq!(play.fixes(1, sent, vec![ahead]).verdicts, [Verdict::Kept(Mark::Good)]);
    let time = |play: &Play| play.order(0).live.position.unwrap().fix_time.0;
    assert_eq!(time(&play), play.now);

    // Sent again over a slow network, it is still the same fix at the same time.
    let corrected = time(&play);
    play.wait(3_000);
    assert_eq!(play.fixes(1, sent, vec![ahead]).verdicts, [Verdict::Duplicate]);
    assert_eq!(play.solo.cell.rider(&rider(1)).unwrap().position().unwrap().fix_time.0, corrected);
    // And the delay of a message doesn't move its fixes in time.
    play.wait(12_000);
    let next = fix(play.now + 10 * MIN - 2_000, None, 150.0);
    play.fixes(1, Some(UnixMillis(play.now + 10 * MIN - 2_000)), vec![next]);
    assert_eq!(time(&play) - corrected, next.id.device_time.0 - ahead.id.device_time.0);
}

#[test]
fn a_trip_says_how_many_stops_lie_ahead() {
    let mut play = Play::with_orders_on(rider(1), 3);
    let trip = |stops: &[u32]| Input::Trip { rider: rider(1), stops: stops.iter().map(|n| order(*n)).collect() };
    assert_eq!(play.say(trip(&[2, 0])).answer, Some(Ok(())));
    play.wait(10_000);
    play.fix(1, 0, 100.0);
    let ahead = |play: &Play| [0, 1, 2].map(|n| play.order(n).live.stops_ahead);
    assert_eq!(ahead(&play), [Some(1), Some(2), Some(0)]);
    play.command(2, Action::Deliver { at: None, sent: None, proof: None });
    play.wait(10_000);
    play.fix(1, 0, 200.0);
    assert_eq!(ahead(&play), [Some(0), Some(1), None]);

    // Refused: an order delivered already, one named twice, a rider nobody knows.
    for (input, field) in [(trip(&[0, 2]), "stops[1]"), (trip(&[0, 1, 0]), "stops[2]")] {
        let before = play.solo.cell.rider(&rider(1)).cloned();
        let Some(Err(refusal)) = play.say(input).answer else { panic!("taken") };
        assert_eq!(refusal.field_name(), field);
        assert_eq!(play.solo.cell.rider(&rider(1)).cloned(), before);
    }
    let stranger = Input::Trip { rider: rider(9), stops: vec![order(0)] };
    assert!(matches!(play.say(stranger).answer, Some(Err(_))));
    assert!(play.solo.cell.rider(&rider(9)).is_none(), "a refusal made a rider known");
}

#[test]
fn no_shift_ends_with_orders_in_hand() {
    let mut play = Play::with_orders_on(rider(1), 2);
    let off = || Input::Shift { rider: rider(1), on: false, handover_to: None };
    play.say(Input::Shift { rider: rider(1), on: true, handover_to: None });
    let expected = Refusal::OrdersInHand { orders: vec![order(0), order(1)] };
    assert_eq!(play.say(off()).answer, Some(Err(expected)));
    assert!(play.solo.cell.rider(&rider(1)).unwrap().on_shift);
    play.command(0, Action::Deliver { at: None, sent: None, proof: None });
    play.assign(1, 2);
    assert_eq!(play.say(off()).answer, Some(Ok(())));
}

#[test]
fn what_cannot_be_believed_is_kept_and_moves_nothing() {
    let mut play = Play::with_orders_on(rider(1), 1);
    let mut step = |north, accuracy_dm| {
        play.wait(15_000);
        let mut fix = fix(play.now, None, north);
        fix.accuracy_dm = accuracy_dm;
        let verdict = play.fixes(1, None, vec![fix]).verdicts[0];
        (verdict, play.order(0).live.position.map(|p| p.point), play.order(0).track.len())
    };
    let at = |north| Some(point(north, 0.0));
    assert_eq!(step(0.0, None), (Verdict::Kept(Mark::Good), at(0.0), 1));
    assert_eq!(step(100.0, Some(1_001)), (Verdict::Kept(Mark::Inaccurate), at(0.0), 2));
    assert_eq!(step(9_000.0, None), (Verdict::Kept(Mark::Jump), at(0.0), 3));
    assert_eq!(step(9_050.0, None), (Verdict::Kept(Mark::Jump), at(0.0), 4));
    assert_eq!(step(9_100.0, None), (Verdict::Kept(Mark::Good), at(9_100.0), 5));
}

#[test]
fn a_rider_who_stands_still_makes_no_version_but_of_time() {
    let mut play = Play::with_orders_on(rider(1), 1);
    let mut shown = Vec::new();
    for i in 0..80 {
        play.wait(15_000);
        play.fix(1, 0, ((i * 7_919) % 31 - 15) as f64);
        shown.push(play.order(0).live.position.unwrap().point);
    }
    assert!(shown[4..].iter().all(|p| *p == shown[4]), "the marker moved: {shown:?}");
}

#[test]
fn a_key_counts_five_minutes_of_fast_cell_time_later() {
    let mut play = Play::with_orders_on(rider(1), 1);
    play.say(Input::Clock { scale: 60, cell_time: None });
    let deliver = || Action::Deliver { at: None, sent: None, proof: None };
    let first = play.keyed(0, deliver(), 7_000);
    let (order_before, cell_before) = (play.order(0).clone(), play.solo.cell.head().clock.now());
    // Five seconds of the log.
    play.wait(5_000);
    assert_eq!(play.keyed(0, deliver(), 7_000), first);
    assert_eq!(*play.order(0), order_before);
    assert!(play.solo.cell.head().clock.now().since(cell_before) >= 5 * MIN);
    assert_eq!(play.order(0).live.status, Status::Completed);
}

#[test]
fn a_rider_without_fixes_has_no_endless_past() {
    let mut play = Play::default();
    for n in 0..60 {
        play.create_paid(n);
        play.assign(n, 1);
        play.command(n, Action::Cancel { reason: Some("test".into()) });
        play.wait(HOUR);
    }
    let blob = postcard::to_stdvec(play.solo.cell.rider(&rider(1)).unwrap()).unwrap();
    assert!(blob.len() < 26 * 30, "{} bytes", blob.len());
}

#[test]
fn times_at_the_ends_of_the_world_are_survived() {
    for extreme in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
        let mut play = Play::with_orders_on(rider(1), 1);
        let time = Some(UnixMillis(extreme));
        play.fixes(1, time, vec![fix(extreme, None, 0.0), fix(play.now, None, 1.0)]);
        play.fixes(1, None, vec![fix(extreme, None, 0.0)]);
        play.command(0, Action::Deliver { at: time, sent: time, proof: None });
        play.command(0, Action::Deliver { at: time, sent: None, proof: None });
        play.say(Input::Clock { scale: 100_000, cell_time: time });
        play.now = extreme;
        play.fix(1, 0, 0.0);
        play.create_paid(5);
        assert_eq!(play.order(5).live.status, Status::Paid);
    }
}
