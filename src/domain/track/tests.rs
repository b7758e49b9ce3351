use super::*;
use crate::geo::Point;
use proptest::prelude::*;

fn rider(n: u8) -> RiderId {
    format!("r{n}").parse().unwrap()
}

fn fix_at(t_s: i64, seq: Option<u32>, north_m: f64, accuracy_dm: Option<u16>) -> Fix {
    let point = Point::from_degrees(31.0 + north_m / 111_195.0, 121.0).unwrap();
    let id = FixId { device_time: UnixMillis(t_s * 1_000), seq };
    Fix { point, id, accuracy_dm, speed_cmps: None, heading_deg: Some(7), battery_pct: None }
}

fn track() -> Track {
    let mut track = Track::default();
    assert!(track.begin_turn(&rider(1), UnixMillis(0), Quality::default()));
    track
}

fn fill(track: &mut Track, fixes: &[Fix]) {
    for fix in fixes {
        track.insert(&rider(1), *fix, fix.id.device_time, &Rules::default());
    }
}

/// A stored track: state without chunks, and the chunks beside it, kept as a store would keep them.
fn stored(track: &mut Track, chunks: &mut Vec<Box<[u8]>>) {
    for (n, bytes) in track.take_dirty() {
        let n = n as usize;
        chunks.resize(chunks.len().max(n + 1), Box::default());
        chunks[n] = bytes;
    }
}

#[test]
fn of_two_fixes_with_one_identity_the_more_accurate_wins_then_the_smaller_position() {
    let (vague, sharp) = (fix_at(5, None, 0.0, Some(500)), fix_at(5, None, 9.0, Some(50)));
    for pair in [[vague, sharp], [sharp, vague]] {
        let mut track = track();
        fill(&mut track, &pair);
        assert_eq!(track.fixes().unwrap().iter().map(|f| f.fix).collect::<Vec<_>>(), [sharp]);
    }
    let (south, north) = (fix_at(5, None, 0.0, None), fix_at(5, None, 9.0, None));
    let mut track = track();
    fill(&mut track, &[north]);
    let Inserted::Duplicate { revised } = track.insert(&rider(1), south, UnixMillis(5_000), &Rules::default()) else {
        panic!("not recognised");
    };
    assert_eq!(revised[0].fix, Some((south, UnixMillis(5_000))));
}

#[test]
fn a_late_fix_changes_the_marks_of_its_successors_only_where_it_must() {
    let mut track = track();
    fill(&mut track, &[fix_at(0, None, 0.0, None), fix_at(30, None, 3_000.0, None)]);
    assert_eq!(track.fixes().unwrap()[1].mark, Mark::Jump);
    // The fix in between explains how one got there.
    let late = fix_at(2, None, 3_000.0 - 28.0 * 39.0, None);
    let _ = track.insert(&rider(1), fix_at(1, None, 39.0, None), UnixMillis(1_000), &Rules::default());
    let inserted = track.insert(&rider(1), late, UnixMillis(2_000), &Rules::default());
    assert!(matches!(inserted, Inserted::New { mark: Mark::Jump, .. }), "{inserted:?}");
}

#[test]
fn a_turn_begins_where_its_rider_came_from() {
    let rules = Rules::default();
    let mut track = track();
    fill(&mut track, &[fix_at(0, None, 0.0, None), fix_at(15, None, 100.0, None)]);
    // The second rider is 5 km away: no jump, since it is another rider.
    track.begin_turn(&rider(2), UnixMillis(20_000), Quality::default());
    let first = fix_at(21, None, 5_000.0, None);
    let inserted = track.insert(&rider(2), first, UnixMillis(21_000), &rules);
    assert_eq!(inserted, Inserted::New { mark: Mark::Good, revised: vec![] });
    // A late fix of the first rider lands in the first turn.
    let late = fix_at(10, None, 60.0, None);
    let inserted = track.insert(&rider(1), late, UnixMillis(10_000), &rules);
    assert_eq!(inserted, Inserted::New { mark: Mark::Good, revised: vec![] });
    let turns: Vec<_> = track.fixes().unwrap().iter().map(|f| f.turn).collect();
    assert_eq!(turns, [0, 0, 0, 1]);
}

#[test]
fn a_full_track_takes_no_more_and_changes_nothing() {
    let mut track = track();
    fill(&mut track, &(0..MAX_FIXES as i64).map(|t| fix_at(t, None, 0.0, None)).collect::<Vec<_>>());
    let before = track.clone();
    let late = fix_at(7, Some(1), 3.0, None);
    assert_eq!(track.insert(&rider(1), late, UnixMillis(7_000), &Rules::default()), Inserted::Full);
    assert_eq!(track, before);
}

#[test]
fn of_one_fix_corrected_twice_the_earlier_time_stays() {
    let fix = fix_at(100, None, 0.0, None);
    for times in [[90_000, 80_000], [80_000, 90_000]] {
        let mut track = track();
        for time in times {
            track.insert(&rider(1), fix, UnixMillis(time), &Rules::default());
        }
        assert_eq!(track.fixes().unwrap()[0].fix_time, UnixMillis(80_000));
    }
}

#[test]
fn a_track_without_all_its_chunks_is_refused() {
    let mut track = track();
    fill(&mut track, &(0..100).map(|t| fix_at(t, None, 0.0, None)).collect::<Vec<_>>());
    let chunks: Vec<_> = track.take_dirty().into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(chunks.len(), 3);
    assert_eq!(track.clone().restore(chunks[..2].to_vec()), Err(BrokenTrack));
    assert_eq!(track.restore(chunks), Ok(()));
}

fn fixes() -> impl Strategy<Value = Vec<Fix>> {
    let one = (0..120i64, prop::option::of(0..2u32), 0..400i32, prop::option::of(0..1_200u16))
        .prop_map(|(t, seq, north, accuracy)| fix_at(t, seq, f64::from(north * north % 5_000), accuracy));
    prop::collection::vec(one, 1..150)
}

proptest! {
    #[test]
    fn the_track_depends_on_the_set_of_fixes_only(fixes in fixes(), seed: u64) {
        let mut sorted = fixes.clone();
        sorted.sort_by_key(|f| f.id);
        let mut straight = track();
        fill(&mut straight, &sorted);

        // Shuffled, and every third one twice.
        let mut mixed: Vec<Fix> = fixes.iter().chain(fixes.iter().step_by(3)).copied().collect();
        let mut state = seed;
        for i in (1..mixed.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            mixed.swap(i, (state >> 33) as usize % (i + 1));
        }
        let mut other = track();
        fill(&mut other, &mixed);
        prop_assert_eq!(straight.fixes().unwrap(), other.fixes().unwrap());
        prop_assert_eq!(straight.quality, other.quality);
    }

    #[test]
    fn revisions_tell_a_follower_everything(fixes in fixes()) {
        let mut track = track();
        let mut followed = std::collections::BTreeMap::new();
        for fix in &fixes {
            let inserted = track.insert(&rider(1), *fix, fix.id.device_time, &Rules::default());
            let revised = match inserted {
                Inserted::New { mark, revised } => { followed.insert(fix.id, (*fix, mark)); revised }
                Inserted::Duplicate { revised } => revised,
                Inserted::Full => panic!("full"),
            };
            for Revision { id, mark, fix, .. } in revised {
                let entry = followed.get_mut(&id).unwrap();
                *entry = (fix.map_or(entry.0, |(f, _)| f), mark);
            }
        }
        let mut told: Vec<_> = track.fixes().unwrap().iter().map(|f| (f.fix.id, (f.fix, f.mark))).collect();
        told.sort_by_key(|(id, _)| *id);
        prop_assert_eq!(told, followed.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn storing_and_restoring_at_any_time_changes_nothing(fixes in fixes(), every in 1..20usize) {
        let (mut kept, mut restored, mut chunks) = (track(), track(), Vec::new());
        for (i, fix) in fixes.iter().enumerate() {
            fill(&mut kept, &[*fix]);
            fill(&mut restored, &[*fix]);
            stored(&mut restored, &mut chunks);
            if i % every == 0 {
                restored.sealed = Vec::new();
                prop_assert!(restored.restore(chunks.clone()).is_ok());
            }
        }
        prop_assert_eq!(kept.fixes().unwrap(), restored.fixes().unwrap());
    }
}
