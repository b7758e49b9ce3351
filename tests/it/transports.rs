//! Whatever breaks, and whatever a client came by: it ends with the server's state, and it saw every change of status or was
//! told that it begins anew.
//!
//! Clients of every transport follow one order over real sockets while connections break, bridges end with and without a
//! drain, owners are replaced, updates are lost, and the order goes on. Nothing waits for a time, only for states.

mod client;

use crate::{
    fake::{Fake, Owned, Rig},
    rest::serve,
};
use client::{Client, Seen, WAYS, Way};
use futures::future::join_all;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trunkline::bridge::Options;

const ORDER: &str = "o1";

#[derive(Clone, Debug)]
enum Step {
    /// A change that must be seen.
    Status,
    /// A change of the position.
    Move,
    /// One of the two that the bridge doesn't hear of until the owner says its version.
    Lost {
        status: bool,
    },
    Heartbeat,
    /// A client's connection breaks.
    Break {
        client: usize,
    },
    /// A client reads nothing while many positions and a status come.
    Stall {
        client: usize,
    },
    /// The bridge ends without a word, and another begins.
    Crash,
    /// The bridge tells its clients to go, and another begins.
    Drain,
    /// Another owner of the same log, which has gone on by so many changes of status before anybody heard of it.
    Owner {
        unheard: u8,
    },
    /// An owner of another log.
    OtherLog,
    /// The clients that are connected have all that was said.
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Status),
        5 => Just(Step::Move),
        2 => any::<bool>().prop_map(|status| Step::Lost { status }),
        2 => Just(Step::Heartbeat),
        4 => (0..WAYS.len()).prop_map(|client| Step::Break { client }),
        2 => (0..WAYS.len()).prop_map(|client| Step::Stall { client }),
        1 => Just(Step::Crash),
        1 => Just(Step::Drain),
        1 => (0..3_u8).prop_map(|unheard| Step::Owner { unheard }),
        1 => Just(Step::OtherLog),
        3 => Just(Step::Settle),
    ]
}

/// The order, as it would be after its next change.
fn next(owned: &Owned, status: bool) -> Value {
    let mut state = owned.state.clone();
    if status {
        let rev = state["rev"].as_u64().unwrap() + 1;
        // Real statuses end with the fifth: the rev says which change of status it is.
        (state["rev"], state["status"]) = (rev.into(), (2 + rev % 2).into());
    } else {
        let lat = state["position"]["lat"].as_f64().unwrap();
        state["position"]["lat"] = (((lat + 0.001) * 1e6).round() / 1e6).into();
    }
    state
}

struct World {
    fake: Fake,
    rig: Rig,
    address: watch::Sender<String>,
    clients: Vec<Arc<Client>>,
    /// Versions at which the status changed, and what it became.
    statuses: Vec<(u64, u64)>,
}

fn options() -> Options {
    let mut options = Options { heartbeat: Duration::from_millis(200), drain: Duration::ZERO, ..Options::default() };
    options.close_timeout = Duration::from_millis(100);
    // So that what was lost is asked for at once.
    options.hub.tick = Duration::from_millis(5);
    options.hub.retry_first = Duration::from_millis(5);
    options.hub.ring_max = 4;
    options
}

impl World {
    fn change(&mut self, status: bool, said: bool) {
        let update = self.fake.with(ORDER, |owned| {
            let update = owned.step(next(owned, status));
            if status {
                self.statuses.push((owned.version, owned.state["rev"].as_u64().unwrap()));
            }
            update
        });
        if said {
            self.fake.say(ORDER, &update);
        }
    }

    fn heartbeat(&self) {
        let update = self.fake.with(ORDER, |owned| owned.heartbeat());
        self.fake.say(ORDER, &update);
    }

    async fn replace_bridge(&mut self) {
        let rig = self.fake.bridge(options());
        self.address.send_replace(serve(&rig).await);
        // The old one ends when it is dropped.
        self.rig = rig;
    }

    async fn play(&mut self, step: Step) {
        match step {
            Step::Status => self.change(true, true),
            Step::Move => self.change(false, true),
            Step::Lost { status } => self.change(status, false),
            Step::Heartbeat => self.heartbeat(),
            Step::Break { client } => self.clients[client].cut.notify_one(),
            Step::Stall { client } => {
                self.clients[client].stalled.send_replace(true);
                for n in 0..20 {
                    self.change(n == 10, true);
                    tokio::task::yield_now().await;
                }
                // What the others have was also queued for the one that reads nothing.
                let others = self.clients.iter().enumerate().filter(|(n, _)| *n != client).map(|(_, other)| other);
                self.settle(others, "beside one that reads nothing").await;
                self.clients[client].stalled.send_replace(false);
            }
            Step::Crash => self.replace_bridge().await,
            Step::Drain => {
                let bridge = self.rig.bridge.clone();
                let patient = CancellationToken::new();
                let old = bridge.drain(&patient);
                // Clients that are told to go find the next one.
                let rig = self.fake.bridge(options());
                self.address.send_replace(serve(&rig).await);
                old.await;
                self.rig = rig;
            }
            Step::Owner { unheard } => {
                self.fake.with(ORDER, |owned| {
                    // The first owner of this log is the one before it, if no other said so.
                    owned.since_epoch = owned.since_epoch.or(Some(owned.epoch));
                    owned.epoch += 1;
                });
                (0..unheard).for_each(|_| self.change(true, false));
            }
            Step::OtherLog => self.fake.with(ORDER, |owned| {
                owned.epoch += 1;
                owned.since_epoch = None;
            }),
            Step::Settle => self.settle(&self.clients, "on the way").await,
        }
        tokio::task::yield_now().await;
    }

    /// Waits until these have what the owner has. The owner says its version all the time, as owners do.
    async fn settle(&self, clients: impl IntoIterator<Item = &Arc<Client>>, what: &str) {
        let owned = self.fake.owned(ORDER);
        let everybody = join_all(clients.into_iter().map(|client| client.reaches(&owned, what)));
        let owner = async {
            loop {
                self.heartbeat();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = everybody => {}
            () = owner => {}
        }
    }

    /// Every change of status was seen by itself, or there was a snapshot over it.
    fn check(&self) {
        for client in &self.clients {
            let screen = client.screen.lock();
            let mut at = None;
            for seen in &screen.seen {
                match seen {
                    Seen::Snapshot { version } => at = Some(*version),
                    Seen::Delta { from, to, status } => {
                        assert_eq!(at, Some(*from));
                        let passed: Vec<_> =
                            self.statuses.iter().filter(|(version, _)| (*from + 1..=*to).contains(version)).collect();
                        let told: Vec<_> = status.iter().collect();
                        let changed: Vec<_> = passed.iter().map(|(_, rev)| rev).collect();
                        assert_eq!(told, changed, "{:?} from {from} to {to}", client.way);
                        at = Some(*to);
                    }
                    Seen::Body { version, status } => {
                        let passed: Vec<_> = self
                            .statuses
                            .iter()
                            .filter(|(changed, _)| (at.unwrap() + 1..=*version).contains(changed))
                            .map(|(changed, rev)| (*changed, json!(2 + rev % 2)))
                            .collect();
                        let told = (*version, status.clone());
                        assert!(passed.is_empty() || passed == [told], "{passed:?} since {at:?}, told {seen:?}");
                        at = Some(*version);
                    }
                }
            }
        }
    }
}

/// Plays these; gives how often each client began with a snapshot, and how many positions were replaced by newer ones.
async fn run(steps: Vec<Step>) -> (Vec<(Way, usize)>, u64) {
    let fake = Fake::default();
    let state = json!({"status": 3, "rev": 1, "stops_ahead": 0, "position": {"lat": 31.0, "lon": 121.0}});
    fake.put(ORDER, Owned::new(state));
    let rig = fake.bridge(options());
    let address = watch::Sender::new(serve(&rig).await);
    let clients: Vec<_> = WAYS.map(Client::new).into();
    let mut world = World { fake, rig, address, clients, statuses: Vec::new() };
    let lives = join_all(world.clients.iter().map(|client| client.clone().live(world.address.subscribe())));
    let story = async {
        world.settle(&world.clients, "at first").await;
        for step in steps {
            world.play(step).await;
        }
        world.settle(&world.clients, "at the end").await;
        world.check();
        let begun = |client: &Arc<Client>| {
            let screen = client.screen.lock();
            (client.way, screen.seen.iter().filter(|seen| matches!(seen, Seen::Snapshot { .. })).count())
        };
        (world.clients.iter().map(begun).collect(), world.rig.metrics.frames_conflated.get())
    };
    tokio::select! {
        _ = lives => panic!("clients live on"),
        told = story => told,
    }
}

fn play(steps: Vec<Step>) -> (Vec<(Way, usize)>, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(steps))
}

/// A reset would excuse everything: where the log goes on, nobody is given one.
#[test]
fn who_comes_back_is_brought_what_it_missed() {
    let all = |step: fn(usize) -> Step| (0..WAYS.len()).map(step).collect::<Vec<_>>();
    let change = || [Step::Status, Step::Settle, Step::Move, Step::Settle];
    let mut steps = Vec::from(change());
    for breaks in [
        all(|client| Step::Break { client }),
        vec![Step::Crash],
        vec![Step::Drain],
        vec![Step::Owner { unheard: 0 }],
        all(|client| Step::Stall { client }),
    ] {
        steps.extend(breaks);
        steps.extend(change());
    }
    let (begun, conflated) = play(steps);
    for (way, snapshots) in begun {
        assert!(way == Way::Whole || snapshots == 1, "{way:?} began {snapshots} times");
    }
    assert!(conflated > 0, "between two polls newer positions replace older ones");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn clients_of_every_transport_end_with_the_servers_state(steps in prop::collection::vec(step(), 1..40)) {
        play(steps);
    }
}
