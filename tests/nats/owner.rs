//! What the owner of a cell says and answers.

use crate::harness::{Server, ensure, settled};
use futures::{StreamExt, future::BoxFuture};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use trunkline::{
    domain::{CellClock, CellId, OrderId, UnixMillis},
    metrics::Metrics,
    ports::{Announcements, Owner, Publish},
    publish::{Announcer, heartbeat, queries, timers},
    wire::{
        alert::{AlertBody, AlertPage, AlertQuery, AlertsQuery},
        answer::{Acceptance, Outcome},
        board::{CellPage, CellQuery, CellWord, RiderWord},
        figures::Figures,
        query::{
            CellState, Deltas, DeltasQuery, ListQuery, NearRiders, NearestQuery, OrderPage, OrderQuery, PassedPage,
            PassedQuery, Reply, RiderPage, RiderQuery, RiderState, RidersQuery, Snapshot, TrackPage, TrackQuery,
        },
        update::{OwnDelta, Update},
    },
};

#[derive(Debug)]
struct Fixed;

fn given<T: Send + 'static>(reply: Reply<T>) -> BoxFuture<'static, Reply<T>> {
    Box::pin(async move { reply })
}

impl Owner for Fixed {
    fn order(&self, ask: OrderQuery) -> BoxFuture<'static, Reply<Snapshot>> {
        given(match ask.order.as_str() {
            "large" => Reply::Ok(Snapshot {
                epoch: 3,
                since_epoch: None,
                version: 9,
                at_ms: UnixMillis(5),
                state: json!("x".repeat(2 << 20)),
            }),
            "o1" => Reply::Ok(Snapshot {
                epoch: 3,
                since_epoch: None,
                version: 9,
                at_ms: UnixMillis(5),
                state: json!({"status": 2}),
            }),
            _ => Reply::NotFound,
        })
    }
    fn deltas(&self, _: DeltasQuery) -> BoxFuture<'static, Reply<Deltas>> {
        given(Reply::NotFound)
    }
    fn orders(&self, _: ListQuery) -> BoxFuture<'static, Reply<OrderPage>> {
        given(Reply::Ok(OrderPage { orders: vec![], next: None }))
    }
    fn track(&self, _: TrackQuery) -> BoxFuture<'static, Reply<TrackPage>> {
        given(Reply::Unavailable("not now".to_owned()))
    }
    fn alerts(&self, _: AlertsQuery) -> BoxFuture<'static, Reply<AlertPage>> {
        given(Reply::Ok(AlertPage { alerts: vec![], next: None }))
    }
    fn alert(&self, _: AlertQuery) -> BoxFuture<'static, Reply<AlertBody>> {
        given(Reply::NotFound)
    }
    fn passed(&self, _: PassedQuery) -> BoxFuture<'static, Reply<PassedPage>> {
        given(Reply::Ok(PassedPage::default()))
    }
    fn rider(&self, _: RiderQuery) -> BoxFuture<'static, Reply<RiderState>> {
        given(Reply::NotFound)
    }
    fn nearest(&self, _: NearestQuery) -> BoxFuture<'static, Reply<NearRiders>> {
        given(Reply::Ok(NearRiders { riders: vec![] }))
    }
    fn riders(&self, _: RidersQuery) -> BoxFuture<'static, Reply<RiderPage>> {
        given(Reply::Ok(RiderPage { riders: vec![], next: None }))
    }
    fn cell(&self) -> BoxFuture<'static, Reply<CellState>> {
        given(Reply::Ok(CellState { epoch: 3, cursor: 7, cell_time_ms: UnixMillis(1), clock_scale: 1 }))
    }
    fn figures(&self) -> BoxFuture<'static, Reply<Figures>> {
        given(Reply::Unavailable("not counted".to_owned()))
    }
    fn rider_board(&self, _: RiderQuery) -> BoxFuture<'static, Reply<RiderWord>> {
        given(Reply::NotFound)
    }
    fn cell_board(&self, _: CellQuery) -> BoxFuture<'static, Reply<CellPage>> {
        given(Reply::NotFound)
    }
    fn rider_words(&self) -> Vec<RiderWord> {
        Vec::new()
    }
    fn cell_words(&self) -> Vec<CellWord> {
        Vec::new()
    }
    fn cell_heartbeat(&self) -> Option<CellWord> {
        None
    }
    fn versions(&self) -> BoxFuture<'static, Vec<(OrderId, u64)>> {
        Box::pin(async { (0..450_u64).map(|n| (format!("o{n}").parse().unwrap(), n)).collect() })
    }
    fn epoch(&self) -> u64 {
        3
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_queries_and_says_what_is_wrong_with_bad_ones() {
    let server = Server::start().await;
    let (client, asker) = (server.client().await, server.client().await);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let options = queries::Options::default();
    let run = queries::run(client, CellId::default(), Arc::new(Fixed), options, tasks.clone(), stop.clone());
    let running = tokio::spawn(run);
    let ask = |what: &'static str, payload: &'static str| {
        let asker = asker.clone();
        async move {
            loop {
                // No responders until the subscription is there.
                if let Ok(reply) = asker.request(format!("query.default.{what}"), payload.into()).await {
                    return serde_json::from_slice::<Value>(&reply.payload).unwrap();
                }
            }
        }
    };
    let snapshot = ask("order", r#"{"order":"o1"}"#).await;
    assert_eq!(snapshot, json!({"ok": {"epoch": 3, "version": 9, "at_ms": 5, "state": {"status": 2}}}));
    assert_eq!(ask("order", r#"{"order":"o2"}"#).await, json!("not_found"));
    assert_eq!(ask("cell", "").await["ok"]["cursor"], 7);
    assert_eq!(ask("track", r#"{"order":"o1"}"#).await, json!({"unavailable": "not now"}));
    assert_eq!(ask("order", "{}").await["bad_request"]["field"], "order");
    assert_eq!(ask("orders", r#"{"colour":1}"#).await["bad_request"]["field"], "colour");
    assert_eq!(ask("alerts", r#"{"state":["raised"],"kind":["late"]}"#).await, json!({"ok": {"alerts": []}}));
    assert_eq!(ask("alerts", r#"{"colour":1}"#).await["bad_request"]["field"], "colour");
    assert_eq!(ask("alert", r#"{"alert":"o1.1"}"#).await, json!("not_found"));
    assert_eq!(ask("figures", "").await, json!({"unavailable": "not counted"}));
    assert_eq!(ask("weather", "{}").await["bad_request"]["field"], "subject");
    let large = ask("order", r#"{"order":"large"}"#).await;
    assert!(large["unavailable"].as_str().unwrap().contains("larger"), "{large}");
    stop.cancel();
    running.await.unwrap().unwrap();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_name_every_order_again_and_again() {
    let server = Server::start().await;
    let (client, listener) = (server.client().await, server.client().await);
    let mut updates = listener.subscribe("update.default.order.*").await.unwrap();
    settled(&listener).await;
    let stop = CancellationToken::new();
    let options = heartbeat::Options { every: Duration::from_millis(300), chunk: 100 };
    let running = tokio::spawn(heartbeat::run(client, CellId::default(), Arc::new(Fixed), options, stop.clone()));
    let mut heard = std::collections::BTreeMap::<String, u32>::new();
    while heard.len() < 450 || heard.values().any(|times| *times < 2) {
        let message = tokio::time::timeout(Duration::from_secs(5), updates.next()).await.unwrap().unwrap();
        let order = message.subject.rsplit('.').next().unwrap().to_owned();
        let update: Update = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(update, Update::Heartbeat { epoch: 3, version: order[1..].parse().unwrap() });
        *heard.entry(order).or_default() += 1;
    }
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announces_updates_and_answers_and_wakes_the_outbox() {
    let server = Server::start().await;
    let js = server.jetstream().await;
    ensure(&js).await;
    let (client, listener) = (server.client().await, server.client().await);
    let mut updates = listener.subscribe("update.default.order.o1").await.unwrap();
    let mut answers = listener.subscribe("_INBOX.me").await.unwrap();
    settled(&listener).await;
    let (handle, _wheel) = timers::wheel([], CellClock::default());
    let nudge = Arc::new(Notify::new());
    let announcer = Announcer::new(client, CellId::default(), handle, Arc::clone(&nudge), Metrics::default());
    let delta = Update::Delta {
        epoch: 1,
        from: 1,
        to: 2,
        at_ms: UnixMillis(5),
        log_time_ms: UnixMillis(4),
        patch: json!({"status": 2}),
    };
    let Update::Delta { epoch, from, to, at_ms, log_time_ms, patch } = delta.clone() else { panic!("a delta") };
    let own = OwnDelta { epoch, from, to, at_ms, log_time_ms, patch: patch.to_string().into() };
    let outcome = Outcome::Accepted(Acceptance { version: 2, rev: 2, status: None });
    announcer
        .announce(Announcements {
            updates: vec![("o1".parse().unwrap(), own)],
            answers: vec![("_INBOX.me".into(), outcome.clone())],
            outbox: true,
            ..Announcements::default()
        })
        .await;
    nudge.notified().await;
    let update = updates.next().await.unwrap();
    assert_eq!(serde_json::from_slice::<Update>(&update.payload).unwrap(), delta);
    let answer = answers.next().await.unwrap();
    assert_eq!(serde_json::from_slice::<Outcome>(&answer.payload).unwrap(), outcome);
}
