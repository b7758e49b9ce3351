//! The hub's promise: whatever is lost, doubled or reordered between owner and bridge, every client ends with the state
//! that its view shows of the owner's, and no delta was applied over a gap.

use crate::fake::{Fake, Owned, Rig};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use trunkline::{
    bridge::{
        Options,
        bucket::Bucket,
        datum,
        frame::Frame,
        hub::{Follower, FollowerId, Lens, Resume, Shape},
        outbox::Outbox,
    },
    geo::Datum,
    wire::{
        access::{Principal, Role},
        client::{Close, Recovery, ServerFrame},
        merge,
        update::Update,
        view::{View, project},
    },
};

const ORDER: &str = "o1";

/// Someone who may follow every order as this view.
fn believed(view: View) -> Arc<Principal> {
    let role = Role::ALL.into_iter().find(|role| role.view() == view).unwrap();
    Arc::new(Principal { role, id: "x".into(), cells: None, order: None, expires_at: None, everyone: true })
}

/// A client that merges as a page does.
struct Client {
    id: FollowerId,
    lens: Lens,
    outbox: Arc<Outbox>,
    state: Option<Value>,
    at: Option<Resume>,
    recoveries: Vec<Recovery>,
    deltas: usize,
    following: bool,
    /// Subscriptions not answered yet: what comes before the answer belongs to an earlier one.
    unanswered: usize,
}

impl Client {
    fn new(rig: &Rig, lens: Lens) -> Self {
        let outbox = Arc::new(Outbox::new(1 << 20, &rig.metrics));
        let id = rig.bridge.hub().register();
        Self { id, lens, outbox, state: None, at: None, recoveries: vec![], deltas: 0, following: false, unanswered: 0 }
    }

    async fn follow(&mut self, rig: &Rig, resume: bool) {
        let resume = if resume { self.at } else { None };
        self.following = true;
        self.unanswered += 1;
        let follower = Follower {
            id: self.id,
            outbox: self.outbox.clone(),
            who: believed(self.lens.view),
            lens: self.lens,
            resume,
            generation: 0,
        };
        rig.bridge.hub().follow(ORDER.parse().unwrap(), follower).await.unwrap();
    }

    /// The connection breaks; what was queued may be lost with it.
    async fn drop_connection(&mut self, rig: &Rig) {
        rig.bridge.hub().leave(ORDER.parse().unwrap(), self.id).await.unwrap();
        self.id = rig.bridge.hub().register();
        self.outbox = Arc::new(Outbox::new(1 << 20, &rig.metrics));
        self.following = false;
        self.unanswered = 0;
    }

    /// Takes what waits; gives the heartbeat, if one was due.
    fn read(&mut self) -> Option<ServerFrame> {
        let batch = self.outbox.take(usize::MAX).unwrap();
        let beat = batch.beat.map(Frame::heartbeat);
        for frame in batch.frames.iter().chain(&beat) {
            match serde_json::from_slice::<ServerFrame>(&frame.json()).unwrap() {
                ServerFrame::Subscribed { recovery, .. } => {
                    self.unanswered -= 1;
                    self.recoveries.push(recovery);
                }
                _ if self.unanswered > 0 => {}
                ServerFrame::Snapshot { epoch, version, state, .. } => {
                    self.state = Some(state);
                    self.at = Some(Resume { epoch, version });
                }
                ServerFrame::Delta { epoch, from, to, patch, .. } => {
                    assert_eq!(self.at.unwrap().version, from, "a delta over a gap");
                    assert!(to > from && epoch >= self.at.unwrap().epoch);
                    merge::patch(self.state.as_mut().unwrap(), &patch);
                    self.at = Some(Resume { epoch, version: to });
                    self.deltas += 1;
                }
                ServerFrame::Heartbeat { orders, .. } => {
                    if let Some(version) = orders.get(ORDER) {
                        assert_eq!(self.at.unwrap().version, *version, "a heartbeat that differs");
                    }
                }
                other @ (ServerFrame::Hello { .. }
                | ServerFrame::Authenticated { .. }
                | ServerFrame::GoingAway { .. }
                | ServerFrame::Expired { .. }
                | ServerFrame::Unsubscribed { .. }
                | ServerFrame::Pong { .. }
                | ServerFrame::Replay(_)
                | ServerFrame::Error { .. }) => panic!("{other:?}"),
            }
        }
        beat.map(|frame| serde_json::from_slice(&frame.json()).unwrap())
    }

    fn beat(&mut self) -> ServerFrame {
        self.outbox.beat();
        self.read().unwrap()
    }
}

fn lens(n: u8) -> Lens {
    let datum = [Datum::Wgs84, Datum::Gcj02][usize::from(n / 5) % 2];
    Lens { view: View::ALL[usize::from(n) % 5], datum, shape: Shape::Deltas }
}

fn shown(lens: Lens, state: &Value) -> Value {
    let mut shown = project(lens.view, state, None);
    datum::convert_order(&mut shown, lens.datum);
    shown
}

fn state(status: u8, rev: u64, lat: u32, ahead: u8) -> Value {
    json!({"id": ORDER, "status": status, "rev": rev, "stops_ahead": ahead,
           "position": {"lat": 31.0 + f64::from(lat) / 1e4, "lon": 121.5}})
}

fn beat(orders: std::collections::BTreeMap<String, u64>, unconfirmed: Vec<String>) -> ServerFrame {
    ServerFrame::Heartbeat { orders, unconfirmed, topics: [].into(), unconfirmed_topics: vec![] }
}

async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[derive(Clone, Debug)]
enum Step {
    /// The owner's state changes; the message is sent so many times (0: lost), or kept back.
    Change {
        status: u8,
        rev: u64,
        lat: u32,
        ahead: u8,
        copies: u8,
        late: bool,
    },
    /// Messages kept back arrive, last first.
    Arrive,
    Heartbeat,
    NewOwner,
    Follow {
        client: usize,
        resume: bool,
    },
    Break {
        client: usize,
        read: bool,
    },
    Read {
        client: usize,
    },
    Wait {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..6usize;
    prop_oneof![
        6 => (2..4u8, 0..3u64, 0..5u32, 0..5u8, 0..3u8, any::<bool>())
            .prop_map(|(status, rev, lat, ahead, copies, late)| Step::Change { status, rev, lat, ahead, copies, late }),
        2 => Just(Step::Arrive),
        1 => Just(Step::Heartbeat),
        1 => Just(Step::NewOwner),
        3 => (client.clone(), any::<bool>()).prop_map(|(client, resume)| Step::Follow { client, resume }),
        1 => (client.clone(), any::<bool>()).prop_map(|(client, read)| Step::Break { client, read }),
        2 => client.prop_map(|client| Step::Read { client }),
        2 => (0..3_000u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

async fn play(lenses: Vec<u8>, steps: Vec<Step>) {
    let fake = Fake::default();
    fake.put(ORDER, Owned::new(state(2, 0, 0, 9)));
    let rig = fake.bridge(Options::default());
    let mut clients: Vec<_> = lenses.into_iter().map(|n| Client::new(&rig, lens(n))).collect();
    let mut kept: Vec<Update> = Vec::new();
    for step in steps {
        match step {
            Step::Change { status, rev, lat, ahead, copies, late } => {
                let update = fake.with(ORDER, |owned| owned.step(state(status, rev, lat, ahead)));
                if late {
                    kept.push(update);
                } else {
                    (0..copies).for_each(|_| fake.say(ORDER, &update));
                }
            }
            Step::Arrive => kept.drain(..).rev().for_each(|update| fake.say(ORDER, &update)),
            Step::Heartbeat => fake.say(ORDER, &fake.owned(ORDER).heartbeat()),
            Step::NewOwner => fake.with(ORDER, |owned| owned.epoch += 1),
            Step::Follow { client, resume } => clients[client].follow(&rig, resume).await,
            Step::Break { client, read } => {
                if read {
                    clients[client].read();
                }
                clients[client].drop_connection(&rig).await;
            }
            Step::Read { client } => drop(clients[client].read()),
            Step::Wait { ms } => pass(ms).await,
        }
        tokio::task::yield_now().await;
    }
    // Nothing follows but what the owner says anyway.
    pass(6_000).await;
    fake.say(ORDER, &fake.owned(ORDER).heartbeat());
    pass(6_000).await;
    fake.say(ORDER, &fake.owned(ORDER).heartbeat());
    pass(500).await;
    let owned = fake.owned(ORDER);
    for client in clients.iter_mut().filter(|c| c.following) {
        client.beat();
        client.read();
        assert_eq!(client.state.as_ref(), Some(&shown(client.lens, &owned.state)), "{:?}", client.lens);
        let ServerFrame::Heartbeat { orders, unconfirmed, .. } = client.beat() else { unreachable!() };
        assert_eq!((orders.get(ORDER), unconfirmed.len()), (Some(&client.at.unwrap().version), 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn every_client_ends_with_what_its_view_shows(
        lenses in prop::collection::vec(0..10u8, 6),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(lenses, steps));
    }
}

#[tokio::test(start_paused = true)]
async fn one_encoding_serves_all_and_hidden_changes_send_nothing() {
    let fake = Fake::default();
    fake.put(ORDER, Owned::new(state(2, 1, 0, 0)));
    let rig = fake.bridge(Options::default());
    let mut clients: Vec<_> = (0..50).map(|_| Client::new(&rig, lens(0))).collect();
    for client in &mut clients {
        client.follow(&rig, false).await;
    }
    pass(500).await;
    clients.iter_mut().for_each(|client| drop(client.read()));
    assert_eq!(fake.listeners(ORDER), 1);
    let encoded = rig.metrics.frames_encoded.get();
    // `rev` and, while not delivering, the position are not the customer's: versions 2 and 3 pass unseen.
    for next in [state(2, 2, 0, 0), state(2, 2, 7, 0), state(3, 3, 7, 0)] {
        let update = fake.with(ORDER, |owned| owned.step(next));
        fake.say(ORDER, &update);
    }
    pass(500).await;
    assert_eq!(rig.metrics.frames_encoded.get() - encoded, 1);
    for client in &mut clients {
        client.read();
        assert_eq!((client.deltas, client.at.unwrap().version), (1, 4));
    }
    assert_eq!(rig.metrics.hub_resyncs.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_last_message_is_made_good_by_the_owners_heartbeat() {
    let fake = Fake::default();
    fake.put(ORDER, Owned::new(state(2, 1, 0, 0)));
    let rig = fake.bridge(Options::default());
    let mut client = Client::new(&rig, lens(4));
    client.follow(&rig, false).await;
    pass(500).await;
    client.read();
    let lost = fake.with(ORDER, |owned| owned.step(state(3, 2, 0, 0)));
    drop(lost);
    fake.say(ORDER, &fake.owned(ORDER).heartbeat());
    pass(1_000).await;
    client.read();
    assert_eq!((client.state.as_ref().unwrap()["status"].clone(), client.deltas), (json!(3), 1));
    assert_eq!(rig.metrics.hub_resyncs.get(), 1);
    // The owner falls silent: two and a half of its heartbeats later the order counts as unconfirmed.
    pass(8_000).await;
    assert_eq!(client.beat(), beat([].into(), vec![ORDER.into()]));
    // A deposed owner is not believed, however far it says it is.
    fake.with(ORDER, |owned| owned.epoch = 5);
    fake.say(ORDER, &fake.owned(ORDER).heartbeat());
    pass(1_000).await;
    let reads = fake.reads();
    fake.say(ORDER, &Update::Heartbeat { epoch: 4, version: 99 });
    pass(1_000).await;
    assert_eq!(fake.reads(), reads);
}

#[tokio::test(start_paused = true)]
async fn resumes_from_ring_history_or_snapshot() {
    let fake = Fake::default();
    fake.put(ORDER, Owned::new(state(3, 1, 0, 0)));
    let rig = fake.bridge(Options::default());
    let mut keeper = Client::new(&rig, lens(0));
    keeper.follow(&rig, false).await;
    let mut away = Client::new(&rig, lens(0));
    away.follow(&rig, false).await;
    pass(500).await;
    away.read();
    for (count, how) in [(0, Recovery::Resumed), (3, Recovery::Resumed), (40, Recovery::Resumed)] {
        away.drop_connection(&rig).await;
        for n in 0..count {
            let update = fake.with(ORDER, |owned| owned.step(state(3, 1, 10 * count + n + 1, 0)));
            fake.say(ORDER, &update);
        }
        pass(500).await;
        away.deltas = 0;
        away.follow(&rig, true).await;
        pass(500).await;
        away.read();
        assert_eq!(away.recoveries.last(), Some(&how), "{count} missed");
        // Few come from the ring one by one, many from the owner's history as one.
        assert_eq!(
            away.deltas,
            match count {
                40 => 1,
                n => n as usize,
            }
        );
        assert_eq!(away.state, Some(shown(away.lens, &fake.owned(ORDER).state)));
    }
    away.drop_connection(&rig).await;
    fake.with(ORDER, |owned| {
        owned.history.clear();
        owned.step(state(3, 1, 999, 0))
    });
    away.at = Some(Resume { epoch: 1, version: 3 });
    away.follow(&rig, true).await;
    pass(500).await;
    away.read();
    assert_eq!(away.recoveries.last(), Some(&Recovery::Reset));
}

#[tokio::test(start_paused = true)]
async fn a_slow_connection_costs_only_itself_and_idle_orders_are_let_go() {
    let fake = Fake::default();
    fake.put(ORDER, Owned::new(state(3, 1, 0, 0)));
    let rig = fake.bridge(Options::default());
    let mut slow = Client::new(&rig, lens(4));
    slow.outbox = Arc::new(Outbox::new(2_000, &rig.metrics));
    slow.follow(&rig, false).await;
    let mut quick = Client::new(&rig, lens(4));
    quick.follow(&rig, false).await;
    for n in 0..100 {
        let update = fake.with(ORDER, |owned| owned.step(state(3, 1, n + 1, 0)));
        fake.say(ORDER, &update);
        pass(10).await;
        quick.read();
    }
    assert_eq!(slow.outbox.take(1).unwrap_err(), Close::SlowConsumer);
    assert_eq!(quick.state, Some(shown(quick.lens, &fake.owned(ORDER).state)));
    assert_eq!(rig.metrics.watched_orders.get(), 1);
    quick.drop_connection(&rig).await;
    pass(9_000).await;
    assert_eq!(rig.metrics.watched_orders.get(), 1, "lingers");
    pass(3_000).await;
    assert_eq!((rig.metrics.watched_orders.get(), fake.listeners(ORDER)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_erasure_reaches_new_subscribers_at_once_and_those_who_watch_soon() {
    let fake = Fake::default();
    fake.put(ORDER, Owned::new(state(3, 1, 0, 0)));
    let rig = fake.bridge(Options::default());
    let entry = r#"{"by":"x","settled":true,"address":"1 Road"}"#;
    rig.personal.put(ORDER, entry.into()).await.unwrap();
    let mut watching = Client::new(&rig, lens(4));
    watching.follow(&rig, false).await;
    pass(500).await;
    watching.read();
    assert_eq!(watching.state.as_ref().unwrap()["address"], "1 Road");
    let mut away = Client::new(&rig, lens(4));
    (away.state, away.at) = (watching.state.clone(), watching.at);
    rig.personal.purge(ORDER, None).await.unwrap();
    // All who ask at once share a read.
    let reads = rig.personal.reads();
    let mut new: Vec<_> = (0..20).map(|n| Client::new(&rig, lens(4 + n % 2 * 5))).collect();
    for client in &mut new {
        client.follow(&rig, false).await;
    }
    away.follow(&rig, true).await;
    pass(1_000).await;
    assert!(rig.personal.reads() - reads <= 2, "{} reads", rig.personal.reads() - reads);
    let clean = Some(shown(lens(4), &fake.owned(ORDER).state));
    new.iter_mut().for_each(|client| drop(client.read()));
    assert!(new.iter().all(|client| client.state == Some(shown(client.lens, &fake.owned(ORDER).state))));
    // Who comes back with what was erased doesn't resume over it.
    away.read();
    assert_eq!((away.recoveries.last(), &away.state), (Some(&Recovery::Reset), &clean));
    watching.read();
    assert_eq!(watching.state, clean);
    // Without anybody new it takes the hub's next look.
    rig.personal.put(ORDER, entry.into()).await.unwrap();
    pass(31_000).await;
    watching.read();
    assert_eq!(watching.state.as_ref().unwrap()["address"], "1 Road");
    assert_eq!(fake.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_commands_does_not_starve_deltas() {
    let fake = Fake::default();
    fake.put(ORDER, Owned::new(state(3, 1, 0, 0)));
    let mut options = Options::default();
    options.hub.shards = 1;
    let rig = fake.bridge(options);
    let mut client = Client::new(&rig, lens(4));
    client.follow(&rig, false).await;
    pass(500).await;
    client.read();
    let update = fake.with(ORDER, |owned| owned.step(state(3, 1, 1, 0)));
    fake.say(ORDER, &update);
    let flooder = Client::new(&rig, lens(4));
    let mut sent = 0;
    while client.deltas == 0 && sent < 20_000 {
        rig.bridge.hub().unfollow(("o9".parse().unwrap(), Shape::Deltas), flooder.id, &flooder.outbox).await.unwrap();
        sent += 1;
        client.read();
    }
    assert!(sent < 5_000, "{sent} commands went before a delta");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_without_a_word_is_forgotten() {
    let fake = Fake::default();
    fake.put(ORDER, Owned::new(state(3, 1, 0, 0)));
    let rig = fake.bridge(Options::default());
    // Quiet orders: nothing is pushed that would find the outbox shut.
    let mut client = Client::new(&rig, lens(4));
    client.follow(&rig, false).await;
    pass(500).await;
    assert_eq!((rig.metrics.watched_orders.get(), fake.listeners(ORDER)), (1, 1));
    client.outbox.close(Close::GoingAway);
    pass(12_000).await;
    assert_eq!((rig.metrics.watched_orders.get(), fake.listeners(ORDER)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_final_order_that_heartbeats_leave_out_is_confirmed_by_reading() {
    let fake = Fake::default();
    fake.put(ORDER, Owned::new(state(4, 1, 0, 0)));
    let rig = fake.bridge(Options::default());
    let mut client = Client::new(&rig, lens(4));
    client.follow(&rig, false).await;
    pass(500).await;
    client.read();
    let confirmed = || beat([(ORDER.to_owned(), 1)].into(), vec![]);
    for _ in 0..60 {
        pass(10_000).await;
        assert_eq!(client.beat(), confirmed());
        client.read();
    }
    // Every 30 s, not more often.
    assert!((18..=21).contains(&rig.metrics.hub_confirmations.get()), "{}", rig.metrics.hub_confirmations.get());
    assert_eq!(rig.metrics.hub_resyncs.get(), 0);
    // An owner that says it by itself isn't asked.
    let asked = rig.metrics.hub_confirmations.get();
    for _ in 0..30 {
        fake.say(ORDER, &fake.owned(ORDER).heartbeat());
        pass(3_000).await;
    }
    assert_eq!((rig.metrics.hub_confirmations.get(), client.beat()), (asked, confirmed()));
    // What changed unheard is found; an owner that is gone confirms nothing.
    client.read();
    drop(fake.with(ORDER, |owned| owned.step(state(4, 2, 0, 0))));
    pass(40_000).await;
    client.read();
    assert_eq!(client.state.as_ref().unwrap()["rev"], 2);
    fake.set_down(true);
    pass(60_000).await;
    assert_eq!(client.beat(), beat([].into(), vec![ORDER.into()]));
    fake.set_down(false);
    pass(6_000).await;
    assert_eq!(client.beat(), beat([(ORDER.to_owned(), 2)].into(), vec![]));
}
