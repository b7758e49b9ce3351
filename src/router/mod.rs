//! Routes for orders that came without one, from an OSRM-compatible server.
//!
//! ```text
//! order ──seeks──▶ commit ──▶ Finder ─▶ queue ─▶ Router ──asks──▶ OSRM
//!   ▲                                              │
//!   └──── the cell's log ◀── control.{cell}.route ─┘
//! ```
//!
//! What it finds it says in the log, and the order decides whether it is still of use; so nothing depends on this part, nor
//! on when it answers, and what it says twice is harmless. It keeps nothing on disk: which orders have no route can be seen
//! from the orders, and they are looked through at every start and whenever the queue was too short.
//!
//! A question that fails is repeated a few times and then given up, until the order is edited or the node is started again:
//! an order without a route lives on, its arrival estimated by the straight line.

mod osrm;
mod queue;

use crate::{
    clock::Stopwatch,
    config::Routing,
    domain::{CellId, Operator, OrderId, effect::RouteEnds},
    geo::{Datum, Point},
    metrics::{Metrics, OutcomeLabel},
    ports::{RouteFinder, Routeless},
    wire::{
        answer::Outcome,
        command::{Coordinates, publisher_name},
        control::{self, RouteFoundBody},
        header,
        subject::LogSubject,
    },
};
use async_nats::{Client, HeaderMap, jetstream::Context};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use osrm::{Osrm, OsrmError};
use parking_lot::Mutex;
use queue::{Next, Queue};
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Each with the reason for its default.
#[derive(Clone, Debug)]
pub struct Options {
    /// Orders that wait at once; beyond it all orders are looked through later. A morning's rush of a large city.
    pub waiting_max: usize,
    /// Orders taken from a look at once.
    pub page: usize,
    /// Questions asked for one route, and tries to say it, before it is given up: over a server's restart, not its repair.
    pub tries: u32,
    /// Before the second try; twice as long before each other.
    pub backoff: Duration,
    /// Between two lines in the log about routes that weren't found.
    pub warn_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            waiting_max: 4_096,
            page: 1_024,
            tries: 4,
            backoff: Duration::from_millis(500),
            warn_every: Duration::from_secs(30),
        }
    }
}

/// Why an order gets no route.
#[derive(Debug, thiserror::Error)]
enum RouteError {
    #[error("the routing engine {0}")]
    Engine(#[from] OsrmError),
    #[error("the route could not be said in the log: {0}")]
    Unsaid(String),
}

impl RouteError {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Engine(error) => error.outcome(),
            Self::Unsaid(_) => "unsaid",
        }
    }
}

/// Takes orders that have no route. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Finder {
    queue: Arc<Mutex<Queue>>,
    wake: Arc<Notify>,
}

impl Finder {
    /// All orders are known now: looks through them for those without a route.
    pub fn look(&self) {
        self.queue.lock().look();
        self.wake.notify_one();
    }
}

impl RouteFinder for Finder {
    fn seek(&self, orders: Vec<(OrderId, RouteEnds)>) {
        let mut queue = self.queue.lock();
        for (order, ends) in orders {
            queue.put(order, ends);
        }
        self.wake.notify_one();
    }
}

/// The finder's other end.
#[derive(Debug)]
pub struct Router {
    finder: Finder,
    osrm: Osrm,
    in_flight: usize,
    options: Options,
    metrics: Metrics,
}

/// Both ends. Fails where no HTTP client can be made.
pub fn router(routing: &Routing, options: Options, metrics: Metrics) -> Result<(Finder, Router), reqwest::Error> {
    let queue = Arc::new(Mutex::new(Queue::new(options.waiting_max)));
    let finder = Finder { queue, wake: Arc::new(Notify::new()) };
    let router =
        Router { finder: finder.clone(), osrm: Osrm::new(routing)?, in_flight: routing.in_flight, options, metrics };
    Ok((finder, router))
}

impl Router {
    /// Asks and says until `stop` is cancelled.
    pub async fn run(
        self,
        client: Client,
        js: Context,
        cell: CellId,
        orders: Arc<dyn Routeless>,
        stop: CancellationToken,
    ) -> Result<(), async_nats::SubscribeError> {
        // A refusal is no dead letter where somebody waits for the outcome: a route may well come too late.
        let inbox = client.new_inbox();
        let mut outcomes = client.subscribe(inbox.clone()).await?;
        let log = Log { js, subject: LogSubject::Control { cell, what: control::ROUTE.to_owned() }, inbox };
        let mut asking: FuturesUnordered<BoxFuture<'_, (OrderId, Result<(), RouteError>)>> = FuturesUnordered::new();
        let mut warning = Warning::new(self.options.warn_every);
        loop {
            while asking.len() < self.in_flight {
                let next = self.finder.queue.lock().next();
                match next {
                    Next::Ask(order, ends) => asking.push(self.find(order, ends, &log).boxed()),
                    Next::Look(after) => {
                        let found = orders.routeless(after.as_ref(), self.options.page);
                        self.finder.queue.lock().page(found);
                    }
                    Next::Nothing => break,
                }
            }
            let waiting = self.finder.queue.lock().len() + asking.len();
            self.metrics.routes_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(message) = outcomes.next() => self.heard(&message.payload),
                Some((order, found)) = asking.next() => {
                    if let Err(error) = found {
                        self.count(error.outcome());
                        warning.say(&order, &error);
                    }
                }
                () = self.finder.wake.notified() => {}
            }
        }
    }

    fn count(&self, outcome: &'static str) {
        self.metrics.routes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// What became of a route in the log.
    fn heard(&self, payload: &[u8]) {
        match serde_json::from_slice(payload) {
            Ok(Outcome::Refused(refusal)) => {
                self.count("refused");
                if refusal.field == "rules_version" {
                    let waiting = self.finder.queue.lock().len();
                    self.finder.queue.lock().clear();
                    tracing::warn!(
                        waiting,
                        reason = refusal.detail,
                        "the cell's rules take no routes; none are asked for"
                    );
                }
            }
            Ok(Outcome::Accepted(_)) => self.count("taken"),
            Ok(Outcome::Fixes(_)) | Err(_) => {}
        }
    }

    /// Asks for one route and says it in the log.
    async fn find(&self, order: OrderId, ends: RouteEnds, log: &Log) -> (OrderId, Result<(), RouteError>) {
        let said = async {
            let route = self.repeat(|| self.osrm.route(ends), OsrmError::is_passing).await?;
            let place = |point: Point| Coordinates { lat: point.lat(), lon: point.lon() };
            let body = RouteFoundBody {
                order: order.as_str().to_owned(),
                from: place(ends.from),
                to: place(ends.to),
                route,
                source: "osrm".to_owned(),
                datum: Datum::Wgs84,
            };
            let payload = Bytes::from(serde_json::to_vec(&body).map_err(|e| RouteError::Unsaid(e.to_string()))?);
            self.repeat(|| log.say(payload.clone()), |_| true).await.map_err(RouteError::Unsaid)
        };
        let said = said.await;
        (order, said)
    }

    /// Tries until it succeeds, fails for good, or has been tried often enough.
    async fn repeat<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        mut attempt: impl FnMut() -> F,
        is_passing: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        let (mut left, mut wait) = (self.options.tries, self.options.backoff);
        loop {
            left = left.saturating_sub(1);
            match attempt().await {
                Err(error) if left > 0 && is_passing(&error) => {}
                end => return end,
            }
            tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..=1.0))).await;
            wait = wait.saturating_mul(2);
        }
    }
}

/// Where found routes are said.
#[derive(Debug)]
struct Log {
    js: Context,
    subject: LogSubject,
    inbox: String,
}

impl Log {
    /// Waits until it is stored.
    async fn say(&self, payload: Bytes) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::PUBLISHER, publisher_name(&Operator::router()));
        headers.insert(header::REPLY, self.inbox.as_str());
        let ack = self.js.publish_with_headers(self.subject.to_string(), headers, payload).await;
        ack.map_err(|e| e.to_string())?.await.map(drop).map_err(|e| e.to_string())
    }
}

/// One line of many: a server that is gone is gone for every order.
#[derive(Debug)]
struct Warning {
    every: Duration,
    last: Option<Stopwatch>,
    unsaid: u64,
}

impl Warning {
    fn new(every: Duration) -> Self {
        Self { every, last: None, unsaid: 0 }
    }

    fn say(&mut self, order: &OrderId, error: &RouteError) {
        if self.last.is_some_and(|last| last.elapsed() < self.every) {
            self.unsaid += 1;
            return;
        }
        let others = std::mem::take(&mut self.unsaid);
        self.last = Some(Stopwatch::start());
        tracing::warn!(%order, %error, others, "no route was found; the order goes without");
    }
}
