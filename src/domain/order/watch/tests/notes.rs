//! What is written to an alert that is acknowledged.

use super::*;
use crate::domain::Answer;

#[test]
fn a_note_is_kept_or_refused_and_never_dropped() {
    let mut scene = Scene::riding(straight());
    scene.send(Input::Rules { rules: Rules { rules_version: 4, ..Rules::default() }, needs: 4 });
    scene.ride(north(1, 5));
    scene.ride((5..12).map(|i| (f64::from(i) * 100.0, 150.0)));
    assert_eq!(scene.kinds(), [AlertKind::OffRoute]);
    let mut noted = |note: Option<&str>| {
        scene.seq += 1;
        let command = command(Action::Acknowledge { alert: 1, note: note.map(Into::into) }, u128::from(scene.seq));
        let input = Input::Command { order: id(), command };
        let outcome = scene.solo.apply(&Entry { seq: scene.seq, log_time: scene.now, input });
        match outcome.order_answer().expect("an answer") {
            Answer::Refused(refusal) => Some(refusal.field_name().to_owned()),
            Answer::Accepted(_) => None,
        }
    };
    assert_eq!(noted(Some("called")), None);
    for (note, refused) in [(None, None), (Some("called"), None), (Some("gone there"), Some("alert".to_owned()))] {
        assert_eq!(noted(note), refused, "{note:?}");
    }
    assert_eq!(scene.order().notes, vec![(1, Arc::from("called"))]);
}
