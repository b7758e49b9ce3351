//! How clients come back after an owner or a bridge was replaced: with what they missed where the log is the same, from the
//! beginning where it isn't.

use crate::{
    access::{gate, options},
    fake::{Beside, Fake, Owned, Rig},
    rest::serve,
    socket::{connect, next, send},
};
use serde_json::{Value, json};
use trunkline::bridge::Options;

fn at(n: u64) -> Value {
    json!({"status": 3, "rev": 1, "stops_ahead": 0, "position": {"lat": n, "lon": 121}})
}

/// Resumes on this node; gives the answer, and the frame that follows unless it says that nothing was missed.
async fn resume(rig: &Rig, version: u64, epoch: u64) -> (Value, Option<Value>) {
    let mut socket = connect(rig, "role=operations").await;
    send(&mut socket, json!({"type": "subscribe", "topic": "order/o1", "version": version, "epoch": epoch})).await;
    let subscribed = loop {
        let frame = next(&mut socket).await;
        if frame["type"] == "subscribed" {
            break frame;
        }
    };
    match subscribed["missed"].as_u64() {
        Some(0) => (subscribed, None),
        Some(_) | None => (subscribed, Some(next(&mut socket).await)),
    }
}

/// An order at version 9 of an owner of epoch 4.
fn owned(fake: &Fake, since_epoch: Option<u64>) {
    let mut order = Owned::new(at(1));
    (2..=9).for_each(|n| drop(order.step(at(n))));
    (order.epoch, order.since_epoch) = (4, since_epoch);
    fake.put("o1", order);
}

#[tokio::test]
async fn who_was_with_an_earlier_owner_of_the_same_log_resumes() {
    let fake = Fake::default();
    owned(&fake, Some(2));
    let rig = fake.bridge(Options::default());
    for epoch in 2..=4 {
        let (subscribed, frame) = resume(&rig, 9, epoch).await;
        assert_eq!((&subscribed["recovery"], &subscribed["missed"]), (&json!("resumed"), &json!(0)), "{epoch}");
        assert!(frame.is_none());
        let (subscribed, frame) = resume(&rig, 5, epoch).await;
        assert_eq!((&subscribed["recovery"], &subscribed["missed"]), (&json!("resumed"), &json!(1)), "{epoch}");
        let delta = frame.unwrap();
        assert_eq!((&delta["epoch"], &delta["from"], &delta["to"]), (&json!(4), &json!(5), &json!(9)));
        assert_eq!(delta["patch"], json!({"position": {"lat": 9}}));
    }
    for (version, epoch) in [(9, 1), (5, 1), (9, 5), (10, 3)] {
        let (subscribed, frame) = resume(&rig, version, epoch).await;
        assert_eq!(
            (&subscribed["recovery"], subscribed.get("missed")),
            (&json!("reset"), None),
            "{version} of {epoch}"
        );
        assert_eq!((&frame.unwrap()["state"]["position"]["lat"]), &json!(9));
    }
}

#[tokio::test]
async fn every_change_that_was_missed_comes_by_itself_and_positions_with_the_next() {
    let fake = Fake::default();
    owned(&fake, None);
    fake.with("o1", |owned| {
        for (status, lat) in [(3, 10), (4, 10), (4, 11), (4, 12), (5, 12), (5, 13)] {
            let mut next = at(lat);
            next["status"] = json!(status);
            owned.step(next);
        }
    });
    let rig = fake.bridge(Options::default());
    let mut socket = connect(&rig, "role=operations").await;
    send(&mut socket, json!({"type": "subscribe", "topic": "order/o1", "version": 8, "epoch": 4})).await;
    let mut frames = Vec::new();
    while frames.len() < 4 {
        let frame = next(&mut socket).await;
        if frame["topic"] == "order/o1" {
            frames.push(frame);
        }
    }
    assert_eq!((&frames[0]["recovery"], &frames[0]["missed"]), (&json!("resumed"), &json!(3)));
    let deltas: Vec<_> = frames[1..].iter().map(|f| (f["from"].clone(), f["to"].clone(), f["patch"].clone())).collect();
    let expected = [
        (8, 11, json!({"status": 4, "position": {"lat": 10}})),
        (11, 14, json!({"status": 5, "position": {"lat": 12}})),
        (14, 15, json!({"position": {"lat": 13}})),
    ];
    assert_eq!(deltas, expected.map(|(from, to, patch)| (json!(from), json!(to), patch)));
}

#[tokio::test]
async fn who_was_with_the_owner_of_another_log_begins_anew() {
    let fake = Fake::default();
    owned(&fake, None);
    let rig = fake.bridge(Options::default());
    for epoch in [1, 2, 3, 5] {
        for version in [5, 9] {
            let (subscribed, frame) = resume(&rig, version, epoch).await;
            assert_eq!(subscribed["recovery"], "reset", "{version} of {epoch}");
            assert_eq!(frame.unwrap()["type"], "snapshot");
        }
    }
    assert_eq!(resume(&rig, 5, 4).await.0["recovery"], "resumed");
}

#[tokio::test]
async fn an_owners_restart_costs_those_who_watch_nothing() {
    let fake = Fake::default();
    owned(&fake, Some(2));
    let rig = fake.bridge(Options::default());
    let mut socket = connect(&rig, "role=operations").await;
    send(&mut socket, json!({"type": "subscribe", "topic": "order/o1"})).await;
    while next(&mut socket).await["type"] != "snapshot" {}
    // The next owner of the log, and the next change.
    let update = fake.with("o1", |owned| {
        owned.epoch = 5;
        owned.step(at(10))
    });
    fake.say("o1", &update);
    let delta = next(&mut socket).await;
    assert_eq!((&delta["type"], &delta["epoch"], &delta["to"]), (&json!("delta"), &json!(5), &json!(10)));
    let (subscribed, _) = resume(&rig, 9, 4).await;
    assert_eq!(subscribed["recovery"], "resumed");
}

#[tokio::test]
async fn those_who_come_back_together_share_one_look_at_the_history() {
    let fake = Fake::default();
    owned(&fake, Some(2));
    // A node that has just begun, and has no deltas of its own.
    let rig = fake.bridge_beside(options(), gate(), Beside { others: true, ..Beside::default() });
    let address = serve(&rig).await;
    let token = crate::access::token("operations", "x", crate::access::HOUR);
    let clients = (0..100).map(|_| async {
        let mut socket = crate::access::Socket::bearer(&address, &token).await;
        socket.send(json!({"type": "subscribe", "topic": "order/o1", "version": 5, "epoch": 3})).await;
        let mut subscribed = Value::Null;
        while subscribed["type"] != "subscribed" {
            subscribed = socket.next().await;
        }
        (subscribed["recovery"].clone(), socket.next().await["patch"].clone())
    });
    for (recovery, patch) in futures::future::join_all(clients).await {
        assert_eq!((recovery, patch), (json!("resumed"), json!({"position": {"lat": 9}})));
    }
    assert!(fake.histories() <= 20 && fake.reads() <= 20, "{} and {}", fake.histories(), fake.reads());
}
