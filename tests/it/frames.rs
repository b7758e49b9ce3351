//! Every frame of `/v1/ws` and the shape of problems, as bytes: a change here is a change for every client.

use serde_json::json;
use trunkline::{
    domain::{Status, UnixMillis},
    wire::{
        FieldError,
        answer::RefusalBody,
        client::{ClientFrame, Close, Recovery, ServerFrame},
        problem::Problem,
        replay::{ReplayEvent, ReplayFrame},
    },
};

#[test]
fn server_frames() {
    let topic = || "order/o1".to_owned();
    let at_ms = UnixMillis(1_700_000_000_000);
    let frames = [
        ServerFrame::GoingAway { reconnect_in_ms: 730 },
        ServerFrame::Hello { session: "s".into(), view: "customer".into(), heartbeat_ms: 10_000 },
        ServerFrame::Subscribed { topic: topic(), recovery: Recovery::Fresh, missed: None },
        ServerFrame::Subscribed { topic: topic(), recovery: Recovery::Resumed, missed: Some(2) },
        ServerFrame::Subscribed { topic: topic(), recovery: Recovery::Reset, missed: None },
        ServerFrame::Unsubscribed { topic: topic() },
        ServerFrame::Snapshot { topic: topic(), epoch: 1, version: 7, at_ms, state: json!({"status": 2}) },
        ServerFrame::Delta { topic: topic(), epoch: 1, from: 7, to: 9, at_ms, patch: json!({"stage": null}) },
        ServerFrame::Heartbeat {
            orders: [("o1".to_owned(), 9)].into(),
            unconfirmed: vec![],
            topics: [].into(),
            unconfirmed_topics: vec![],
        },
        ServerFrame::Heartbeat {
            orders: [].into(),
            unconfirmed: vec!["o1".into()],
            topics: [("warehouse/w1".to_owned(), 4)].into(),
            unconfirmed_topics: vec!["rider/r1".into()],
        },
        ServerFrame::Pong { id: Some(3) },
        ServerFrame::Replay(ReplayFrame::ReplayStarted {
            replay: 1,
            order: "o1".into(),
            first_ms: at_ms,
            last_ms: UnixMillis(1_700_000_900_000),
            events: vec![ReplayEvent {
                at_ms,
                kind: "stage".into(),
                version: 3,
                status: Status::Paid,
                stage: Some("packed".into()),
                note: None,
            }],
        }),
        ServerFrame::Replay(ReplayFrame::ReplayState { replay: 1, at_ms, version: 3, state: json!({"status": 2}) }),
        ServerFrame::Replay(ReplayFrame::ReplayDelta { replay: 1, at_ms, from: 3, to: 5, patch: json!({"rev": 2}) }),
        ServerFrame::Replay(ReplayFrame::ReplayPosition { replay: 1, at_ms, version: 5, speed: 60, paused: false }),
        ServerFrame::Replay(ReplayFrame::ReplayEnded { replay: 1, at_ms, version: 9 }),
        ServerFrame::Replay(ReplayFrame::ReplayStopped { replay: 1 }),
        ServerFrame::Replay(ReplayFrame::ReplayFailed {
            replay: 1,
            problem: Problem::new(410, "history_gone", "The history is no longer whole"),
        }),
        ServerFrame::Error {
            topic: Some(topic()),
            problem: Problem::new(404, "unknown_order", "There is no such order"),
        },
    ];
    insta::assert_snapshot!(lines(&frames));
    for frame in frames {
        let text = serde_json::to_string(&frame).unwrap();
        assert_eq!(serde_json::from_str::<ServerFrame>(&text).unwrap(), frame, "{text}");
    }
}

#[test]
fn client_frames() {
    let topic = || "order/o1".to_owned();
    let frames = [
        ClientFrame::Subscribe { topic: topic(), version: None, epoch: None, bounds: None },
        ClientFrame::Subscribe { topic: topic(), version: Some(7), epoch: Some(1), bounds: None },
        ClientFrame::Subscribe {
            topic: "cell".into(),
            version: None,
            epoch: None,
            bounds: Some(vec![121.4, 31.1, 121.6, 31.3]),
        },
        ClientFrame::Unsubscribe { topic: topic() },
        ClientFrame::Replay { replay: 1, order: "o1".into(), speed: None, from_ms: None, paused: None },
        ClientFrame::Replay {
            replay: 1,
            order: "o1".into(),
            speed: Some(60),
            from_ms: Some(1_700_000_000_000),
            paused: Some(true),
        },
        ClientFrame::ReplayControl { replay: 1, paused: Some(false), seek_ms: None, speed: None },
        ClientFrame::ReplayControl { replay: 1, paused: None, seek_ms: Some(1_700_000_000_000), speed: Some(10) },
        ClientFrame::ReplayStop { replay: 1 },
        ClientFrame::Ping { id: Some(3) },
    ];
    insta::assert_snapshot!(lines(&frames));
}

#[test]
fn problems() {
    let refusal = |code: &str, field: &str| RefusalBody {
        code: code.into(),
        field: field.into(),
        detail: "why".into(),
        status: None,
        allowed: None,
        if_rev: None,
        current_rev: None,
    };
    let problems: [Problem; 3] = [
        FieldError::new("destination.lat", "is 91, outside ±90").into(),
        RefusalBody {
            status: Some(Status::Paid),
            allowed: Some(vec!["cancel".into()]),
            ..refusal("transition", "status")
        }
        .into(),
        RefusalBody { if_rev: Some(2), current_rev: Some(5), ..refusal("rev_conflict", "if_rev") }.into(),
    ];
    insta::assert_snapshot!(lines(&problems));
}

#[test]
fn close_codes_say_whether_to_come_back() {
    let all = [Close::SlowConsumer, Close::GoingAway, Close::FrameTooLarge, Close::BadFrames];
    assert_eq!(all.map(|c| c.code() / 100), [40, 41, 42, 42]);
}

fn lines<T: serde::Serialize>(items: &[T]) -> String {
    items.iter().map(|item| serde_json::to_string(item).unwrap() + "\n").collect()
}
