use crate::{
    harness::{Server, ensure},
    world::{World, node},
};
use async_nats::HeaderMap;
use serde_json::json;
use std::time::Duration;
use trunkline::{
    clock,
    domain::CellId,
    nats::dead::{DeadError, DeadLetters, Filter},
};

fn all() -> Filter {
    Filter { limit: 100, ..Filter::default() }
}

async fn letters(world: &World) -> DeadLetters {
    DeadLetters::open(world.js.clone(), CellId::default()).await.unwrap()
}

/// Waits until so many are there.
async fn listed(dead: &DeadLetters, n: usize) -> Vec<u64> {
    for _ in 0..400 {
        let found = dead.list(&all()).await.unwrap();
        if found.len() >= n {
            return found.iter().map(|l| l.seq).collect();
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never {n} dead letters");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_too_early_is_put_back_once_and_takes_effect() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let world = World::of(&server).await;
    assert!(matches!(DeadLetters::open(world.js.clone(), CellId::default()).await, Err(DeadError::NoStream(_))));
    let app = node(&server, data.path()).await;
    let dead = letters(&world).await;
    let began = clock::wall();
    let early = world.command("o1", "pay", "o1-pay", &json!({})).await;
    let broken = world.publish("rider.default.r1.fix", HeaderMap::new(), "{\"lat\": 91}".to_owned()).await;
    assert_eq!(listed(&dead, 2).await, [early, broken]);

    // By field, text and time.
    let by = |field: &str| Filter { field: Some(field.to_owned()), ..all() };
    let found = dead.list(&by("order")).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].seq, found[0].subject.as_deref()), (early, Some("order.default.o1.pay")));
    assert!(dead.list(&by("colour")).await.unwrap().is_empty());
    let reason = Filter { reason: Some("no such order".to_owned()), ..all() };
    assert_eq!(dead.list(&reason).await.unwrap().len(), 1);
    assert_eq!(dead.list(&Filter { since: Some(began.plus(-1_000)), ..all() }).await.unwrap().len(), 2);
    assert!(dead.list(&Filter { since: Some(began.plus(3_600_000)), ..all() }).await.unwrap().is_empty());
    assert!(dead.list(&Filter { until: Some(began.plus(-1_000)), ..all() }).await.unwrap().is_empty());
    let newest = dead.list(&Filter { limit: 1, ..Filter::default() }).await.unwrap();
    assert_eq!(newest[0].seq, broken);
    assert_eq!(newest[0].bytes, "{\"lat\": 91}".len());

    let opened = dead.open_letter(early).await.unwrap();
    let header = |name: &str| opened.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!(header("Idempotency-Key"), Some("o1-pay"));
    assert_eq!(header("Trunkline-Publisher"), Some("system.shop"));
    assert_eq!(header("traceparent"), Some("00-abc-def-01"));
    assert_eq!((opened.payload.as_ref(), opened.left_out.len()), (&b"{}"[..], 0));

    let created = world.create("o1").await;
    world.applied(created).await;
    assert_eq!(world.status("o1").await, 1);
    let back = dead.put_back(early, None, false).await.unwrap();
    assert!(back > created);
    world.applied(back).await;
    assert_eq!(world.status("o1").await, 2);
    let message = world.js.get_stream("CELL_default").await.unwrap().get_raw_message(back).await.unwrap();
    assert_eq!(message.headers.get("Trunkline-Put-Back").unwrap().as_str(), early.to_string());
    assert_eq!(message.headers.get("Idempotency-Key").unwrap().as_str(), "o1-pay");

    // Not twice, unless that is meant; and then it changes nothing, since its key is known.
    let again = dead.put_back(early, None, false).await.unwrap_err();
    assert!(matches!(again, DeadError::Before { log_seq: Some(seq), .. } if seq == back), "{again}");
    assert_eq!(dead.put_back_before(early).await.unwrap().unwrap().log_seq, Some(back));
    let twice = dead.put_back(early, None, true).await.unwrap();
    world.applied(twice).await;
    assert_eq!(dead.put_back_before(early).await.unwrap().unwrap().log_seq, Some(twice));
    assert_eq!(world.status("o1").await, 2);
    assert_eq!(listed(&dead, 2).await, [early, broken], "the notes are no letters");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_kept_by_its_order_needs_another_key() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let world = World::of(&server).await;
    let app = node(&server, data.path()).await;
    world.create("o1").await;
    // Refused by the order itself, which keeps the answer under the key.
    let refused = world.command("o1", "cancel", "o1-cancel", &json!({"if_rev": 99})).await;
    let dead = letters(&world).await;
    assert_eq!(listed(&dead, 1).await, [refused]);
    let same = dead.put_back(refused, None, false).await.unwrap();
    world.applied(same).await;
    assert_eq!(world.status("o1").await, 1);
    assert_eq!(listed(&dead, 2).await, [refused, same], "it is refused as before");
    let opened = dead.open_letter(same).await.unwrap();
    assert!(opened.headers.iter().all(|(name, _)| name != "Trunkline-Put-Back"), "{:?}", opened.headers);
    let other = dead.put_back(refused, Some("o1-cancel-2"), true).await.unwrap();
    let message = world.js.get_stream("CELL_default").await.unwrap().get_raw_message(other).await.unwrap();
    assert_eq!(message.headers.get("Idempotency-Key").unwrap().as_str(), "o1-cancel-2");

    // Larger than a dead letter: what it lacks comes from the log.
    let large = "x".repeat((1 << 20) - 1_000);
    let seq = world.publish("rider.default.r1.fix", HeaderMap::new(), large.clone()).await;
    listed(&dead, 4).await;
    assert_eq!(dead.open_letter(seq).await.unwrap().left_out, ["payload"]);
    let back = dead.put_back(seq, None, false).await.unwrap();
    let message = world.js.get_stream("CELL_default").await.unwrap().get_raw_message(back).await.unwrap();
    assert!(message.payload == large);
    app.stop().await;
}

/// A dead letter as the outbox would write it.
async fn plant(world: &World, seq: u64, headers: &[(&str, &str)], payload: &str) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, *value);
    }
    map.insert("Trunkline-Sequence", seq.to_string());
    world.publish(&format!("dead.default.{seq}"), map, payload.to_owned()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_is_refused_and_what_was_left_out_comes_from_the_log() {
    let server = Server::start().await;
    let world = World::of(&server).await;
    ensure(&world.js).await;
    let dead = letters(&world).await;
    let log = world.js.get_stream("CELL_default").await.unwrap();
    let whole = "x".repeat(100);
    for _ in 1..=4 {
        let mut headers = HeaderMap::new();
        headers.insert("Idempotency-Key", "from-the-log");
        world.publish("order.default.o1.pay", headers, whole.clone()).await;
    }
    assert!(matches!(dead.put_back(1, None, false).await, Err(DeadError::Gone(1))));

    plant(&world, 1, &[("Trunkline-Reason", "erased")], "").await;
    assert!(matches!(dead.put_back(1, None, false).await, Err(DeadError::NoOriginal(1))));

    let large = [("Trunkline-Subject", "order.default.o1.pay"), ("Trunkline-Left-Out", "payload")];
    plant(&world, 2, &large, "").await;
    let back = dead.put_back(2, None, false).await.unwrap();
    let message = log.get_raw_message(back).await.unwrap();
    assert_eq!(
        (message.payload.as_ref(), message.headers.get("Idempotency-Key").unwrap().as_str()),
        (whole.as_bytes(), "from-the-log")
    );
    plant(&world, 3, &large, "").await;
    log.delete_message(3).await.unwrap();
    assert!(matches!(dead.put_back(3, None, false).await, Err(DeadError::NoOriginal(3))));

    // Nothing but the cell's own subjects.
    for (n, subject) in [(10, "$JS.API.STREAM.DELETE.CELL_default"), (11, "order.other.o1.pay"), (12, "order.default")]
    {
        plant(&world, n, &[("Trunkline-Subject", subject)], "").await;
        let error = dead.put_back(n, None, false).await.unwrap_err();
        assert!(matches!(error, DeadError::Subject { .. }), "{subject}: {error}");
        assert_eq!(dead.put_back_before(n).await.unwrap(), None);
    }

    // What the log refuses leaves no note.
    plant(&world, 20, &[("Trunkline-Subject", "order.default.o1.pay")], "{}").await;
    let mut config = log.cached_info().config.clone();
    config.max_message_size = 1;
    world.js.update_stream(config.clone()).await.unwrap();
    let error = dead.put_back(20, None, false).await.unwrap_err();
    assert!(matches!(error, DeadError::Refused { seq: 20, .. }), "{error}");
    assert_eq!(dead.put_back_before(20).await.unwrap(), None);
    config.max_message_size = -1;
    world.js.update_stream(config).await.unwrap();
    // Of two at once, one.
    let (one, other) = tokio::join!(dead.put_back(20, None, false), dead.put_back(20, None, false));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
}
