//! The session by itself: who it is, what it follows, what it forgives.

use super::*;
use crate::{
    domain::UnixMillis,
    wire::{access::Role, replay::ReplayFrame},
};
use proptest::prelude::*;
use std::collections::BTreeSet;

const LIMITS: Limits = Limits {
    topics_max: 3,
    replays_max: 2,
    subscribes_per_s: 2,
    frame_max_bytes: 200,
    bad_frames_max: 4,
    heartbeat: Duration::from_secs(10),
    authenticate_within: Duration::from_secs(5),
    expiry_grace: Duration::from_secs(2),
};

const NOW: Duration = Duration::from_secs(5);

fn open() -> Session {
    open_with(LIMITS)
}

fn open_with(limits: Limits) -> Session {
    let mut session = Session::open("s", limits);
    session.on_authenticated(Ok((principal("u"), None)), Duration::ZERO);
    session
}

fn principal(id: &str) -> Arc<Principal> {
    let role = Role::Customer;
    Arc::new(Principal { role, id: id.into(), cells: None, order: None, expires_at: None, everyone: false })
}

const S: Duration = Duration::from_secs(1);

#[test]
fn nobody_gets_in_without_saying_who() {
    let mut session = Session::open("s", LIMITS);
    assert_eq!(session.due(), Some(5 * S));
    let early = session.on_text(r#"{"type":"ping"}"#, S);
    assert_eq!(early.last(), Some(&Action::Close(Close::Unauthorized)));
    let mut session = Session::open("s", LIMITS);
    assert!(session.on_due(4 * S).is_empty());
    assert_eq!(session.on_due(5 * S).last(), Some(&Action::Close(Close::Unauthorized)));
    let mut session = Session::open("s", LIMITS);
    let said = session.on_text(r#"{"type":"authenticate","token":"t"}"#, S);
    assert_eq!(said, [Action::Authenticate { token: "t".into() }]);
    let bad = session.on_authenticated(Err(TokenError::Expired), S);
    assert_eq!(bad.last(), Some(&Action::Close(Close::Unauthorized)));
    assert!(session.on_authenticated(Ok((principal("u"), None)), S).is_empty(), "closed stays closed");
}

#[test]
fn an_expired_token_closes_after_the_grace_unless_a_newer_one_comes() {
    let mut session = Session::open("s", LIMITS);
    let opened = session.on_authenticated(Ok((principal("u"), Some(3 * S))), S);
    assert!(matches!(&opened[..], [Action::Send(hello)] if matches!(**hello, ServerFrame::Hello { .. })));
    assert_eq!(session.due(), Some(4 * S));
    assert!(session.on_due(3 * S).is_empty());
    assert_eq!(session.on_due(4 * S), [Action::Send(Box::new(ServerFrame::Expired { grace_ms: 2_000 }))]);
    assert_eq!(session.due(), Some(6 * S));
    // The issuer can't be asked: the connection keeps what it has, and so the deadline.
    session.on_authenticated(Err(TokenError::Unavailable), 5 * S);
    assert_eq!(session.due(), Some(6 * S));
    session.on_authenticated(Ok((principal("u"), Some(10 * S))), 5 * S);
    assert!(session.on_due(6 * S).is_empty());
    session.on_due(15 * S);
    assert_eq!(session.on_due(17 * S), [Action::Close(Close::TokenExpired)]);
    let mut session = open();
    let other = session.on_authenticated(Ok((principal("v"), None)), S);
    assert_eq!(other.last(), Some(&Action::Close(Close::Unauthorized)));
}

fn field(actions: &[Action]) -> Option<String> {
    match actions.first() {
        Some(Action::Send(frame)) => {
            let ServerFrame::Error { problem, .. } = &**frame else { panic!("{frame:?}") };
            problem.field.clone()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn bad_frames_name_the_field_and_close_in_the_end() {
    let mut session = open();
    assert_eq!(field(&session.on_text("{", NOW)).as_deref(), Some("payload"));
    assert_eq!(field(&session.on_text(r#"{"type":"subscribe","topic":"order/a.b"}"#, NOW)).as_deref(), Some("topic"));
    assert_eq!(
        field(&session.on_text(r#"{"type":"subscribe","topic":"order/a","version":1}"#, NOW)).as_deref(),
        Some("epoch")
    );
    let last = session.on_binary();
    assert_eq!(last.last(), Some(&Action::Close(Close::BadFrames)));
    assert!(session.on_text(r#"{"type":"ping"}"#, NOW).is_empty() && session.on_tick().is_none());
    assert_eq!(open().on_text(" ".repeat(201), NOW), [Action::Close(Close::FrameTooLarge)]);
}

#[test]
fn subscribes_have_a_rate_and_who_goes_on_beyond_it_is_closed() {
    let mut session = open();
    let again = r#"{"type":"subscribe","topic":"order/a"}"#;
    let follows = |actions: Vec<Action>| matches!(actions[..], [Action::Follow { .. }]);
    assert!((0..6).all(|_| follows(session.on_text(again, NOW))));
    assert_eq!(field(&session.on_text(again, NOW)).as_deref(), Some("topic"));
    let later = NOW + Duration::from_secs(1);
    assert!((0..2).all(|_| follows(session.on_text(again, later))));
    assert_eq!((0..2).filter(|_| follows(session.on_text(again, later))).count(), 0);
    assert_eq!(session.on_text(again, later).last(), Some(&Action::Close(Close::BadFrames)));
}

#[test]
fn the_end_of_an_earlier_subscribe_leaves_the_last_one_followed() {
    let (mut session, order) = (open(), "order/a".parse().unwrap());
    let subscribe = r#"{"type":"subscribe","topic":"order/a"}"#;
    let generation = |actions: Vec<Action>| match actions[..] {
        [Action::Follow { generation, .. }] => generation,
        _ => panic!("{actions:?}"),
    };
    let refused = generation(session.on_text(subscribe, NOW));
    let last = generation(session.on_text(subscribe, NOW));
    session.on_ended(&order, refused);
    assert!(session.topics().eq([&order]));
    session.on_ended(&order, last);
    assert_eq!(session.topics().count(), 0);
}

#[test]
fn a_repeated_subscribe_is_a_resume() {
    let mut session = open();
    session.on_text(r#"{"type":"subscribe","topic":"order/a"}"#, NOW);
    let again = session.on_text(r#"{"type":"subscribe","topic":"order/a","version":4,"epoch":2}"#, NOW);
    let resume = Some(Resume { epoch: 2, version: 4 });
    let topic = "order/a".parse().unwrap();
    assert_eq!(again, [Action::Follow { topic, resume, bounds: None, generation: 2 }]);
}

#[test]
fn topics_are_open_by_role_and_a_box_goes_with_the_cell() {
    let subscribe = |role: Role, topic: &str, more: &str| {
        let text = format!(r#"{{"type":"subscribe","topic":"{topic}"{more}}}"#);
        let mut session = Session::open("s", LIMITS);
        let who = Principal { role, ..Principal::clone(&principal("a")) };
        session.on_authenticated(Ok((Arc::new(who), None)), Duration::ZERO);
        session.on_text(&text, NOW)
    };
    let open = |role, topic| matches!(subscribe(role, topic, "")[..], [Action::Follow { .. }]);
    let topics = ["order/a", "order/b", "rider/a", "rider/b", "warehouse/a", "warehouse/b", "cell", "alerts"];
    for role in Role::ALL {
        let expected: [bool; 8] = match role {
            Role::Customer | Role::Shared => [true, true, false, false, false, false, false, false],
            Role::Rider => [true, true, true, false, false, false, false, false],
            Role::Warehouse => [true, true, false, false, true, false, false, false],
            Role::System => [true, true, false, false, false, false, false, false],
            Role::Operations => [true; 8],
        };
        assert_eq!(topics.map(|topic| open(role, topic)), expected, "{role:?}");
    }
    let box_of = |topic, text| subscribe(Role::Operations, topic, &format!(r#","box":{text}"#));
    assert!(matches!(box_of("cell", "[121.4,31.1,121.5,31.3]")[..], [Action::Follow { bounds: Some(_), .. }]));
    assert_eq!(field(&box_of("order/a", "[121.4,31.1,121.5,31.3]")).as_deref(), Some("box"));
    assert_eq!(field(&box_of("cell", "[121.4,31.4,121.5,31.3]")).as_deref(), Some("box[3]"));
    assert_eq!(field(&box_of("cell", "[1]")).as_deref(), Some("box"));
}

#[test]
fn replays_are_checked_numbered_and_few() {
    let mut session = open_with(Limits { bad_frames_max: 1_000, subscribes_per_s: 1_000, ..LIMITS });
    let mut now = NOW;
    let mut say = |text: &str| {
        now += S;
        session.on_text(format!(r#"{{"type":"replay{text}}}"#), now)
    };
    for (text, expected) in [
        (r#"","replay":1,"order":"a.b""#, "order"),
        (r#"","replay":1,"order":"a","speed":0"#, "speed"),
        (r#"","replay":1,"order":"a","speed":61"#, "speed"),
        (r#"","replay":1,"order":"a","speed":1.5"#, "speed"),
        (r#"","replay":1,"order":"a","from_ms":99999999999999999"#, "from_ms"),
        (r#"","replay":-1,"order":"a""#, "replay"),
        (r#"","order":"a""#, "replay"),
        (r#"_control","replay":1"#, "paused"),
        (r#"_control","replay":1,"paused":true"#, "replay"),
        (r#"_control","replay":1,"seek_ms":"now""#, "seek_ms"),
    ] {
        assert_eq!(field(&say(text)).as_deref(), Some(expected), "{text}");
    }
    let start = |replay| Cue::Start { replay, order: "a".parse().unwrap(), speed: 1, from: None, paused: false };
    assert_eq!(say(r#"","replay":1,"order":"a""#), [Action::Replay(start(1))]);
    assert_eq!(field(&say(r#"","replay":1,"order":"a""#)).as_deref(), Some("replay"));
    assert_eq!(say(r#"","replay":2,"order":"a""#), [Action::Replay(start(2))]);
    assert_eq!(field(&say(r#"","replay":3,"order":"a""#)).as_deref(), Some("replay"));
    let cue = Cue::Control { replay: 2, paused: Some(true), seek: Some(UnixMillis(5)), speed: Some(60) };
    assert_eq!(say(r#"_control","replay":2,"paused":true,"seek_ms":5,"speed":60"#), [Action::Replay(cue)]);
    assert_eq!(say(r#"_stop","replay":1"#), [Action::Replay(Cue::Stop { replay: 1 })]);
    assert!(matches!(say(r#"_stop","replay":1"#)[..], [Action::Send(_)]), "as if it had been there");
    assert_eq!(say(r#"","replay":3,"order":"a""#), [Action::Replay(start(3))]);
    session.on_replay_failed(3);
    let again = session.on_text(r#"{"type":"replay","replay":3,"order":"a"}"#, now + S);
    assert_eq!(again, [Action::Replay(start(3))]);
    // Each costs reads: they take their places among the subscribes.
    let mut session = open();
    let mut stop = || session.on_text(r#"{"type":"replay_stop","replay":1}"#, NOW);
    let stopped = Action::Send(Box::new(ServerFrame::Replay(ReplayFrame::ReplayStopped { replay: 1 })));
    assert!((0..6).all(|_| stop() == [stopped.clone()]));
    assert_eq!(field(&stop()).as_deref(), Some("replay"));
}

proptest! {
    /// Whatever comes: the topics stay within their bound and are exactly those followed and not ended since.
    #[test]
    fn topics_are_those_followed(steps in prop::collection::vec((0..4u8, "[a-e]"), 0..60)) {
        let mut session = open_with(Limits { bad_frames_max: 1_000, subscribes_per_s: 1_000, ..LIMITS });
        let mut model = BTreeSet::new();
        for (now, (step, id)) in steps.into_iter().enumerate() {
            let now = Duration::from_secs(now as u64);
            let order: Topic = format!("order/{id}").parse().unwrap();
            let actions = match step {
                0 | 1 => session.on_text(format!(r#"{{"type":"subscribe","topic":"order/{id}"}}"#), now),
                2 => session.on_text(format!(r#"{{"type":"unsubscribe","topic":"order/{id}"}}"#), now),
                _ => {
                    // The end of an earlier subscribe says nothing about the last.
                    let last = session.topics.get(&order).copied().unwrap_or(0);
                    session.on_ended(&order, last.wrapping_sub(now.as_secs() % 2));
                    if now.as_secs().is_multiple_of(2) {
                        model.remove(&order);
                    }
                    Vec::new()
                }
            };
            for action in actions {
                match action {
                    Action::Follow { topic, .. } => drop(model.insert(topic)),
                    Action::Unfollow { topic } => prop_assert!(model.remove(&topic)),
                    Action::Send(_) | Action::Replay(_) | Action::Beat | Action::Close(_) | Action::Authenticate { .. } => {}
                }
            }
            prop_assert!(model.len() <= LIMITS.topics_max);
            prop_assert!(session.topics().eq(model.iter()));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,300}") {
        open().on_text(&text, NOW);
    }
}
