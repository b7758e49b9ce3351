//! Every metric of the process, with its name and labels, in one place.

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A label set of one name.
macro_rules! label {
    ($(#[$doc:meta])* $type:ident { $field:ident }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $type {
            pub $field: &'static str,
        }
    };
}

label!(
    /// A step between a message's log time and a client's socket: `decoded`, `committed`, `published`, `delivered`.
    Step { step }
);
label!(
    /// What became of a fix: `good`, `inaccurate`, `jump`, `duplicate`, `stale`, `future`, `too_old`,
    /// `track_full`.
    VerdictLabel { verdict }
);
label!(
    /// A client protocol: `ws`.
    Transport { transport }
);
label!(
    /// A kind of alert, as in subjects: `late`, `stalled`, …
    KindLabel { kind }
);
label!(
    /// Why a connection was closed by the server. Why no session began: `rate`, `draining`.
    CloseReason { reason }
);

label!(
    /// What became of a token: `good`, `malformed`, `signature`, `expired`, `not_yet`, `claim`, `revoked`, `unavailable`.
    /// What became of a ticket: `made`, `good`, `not_good`, `unavailable`.
    /// What became of a fetch of an issuer's keys: `good`, `failed`.
    /// What became of a question for a route: `taken`, `refused` (by the log's order), `no_route`, `unusable`,
    /// `unreachable`, `unsaid`.
    OutcomeLabel { outcome }
);

/// All of them; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Entries of the log not applied yet: last sequence − cursor.
    pub backlog: Gauge,
    pub log_entries: Counter,
    pub batch_entries: Histogram,
    pub apply_seconds: Histogram,
    pub commit_seconds: Histogram,
    pub latency_seconds: Family<Step, Histogram, fn() -> Histogram>,
    pub fixes: Family<VerdictLabel, Counter>,
    pub refusals: Counter,
    pub dead_letters: Counter,
    pub order_actors: Gauge,
    pub order_actor_restarts: Counter,
    pub passivations: Counter,
    pub updates_published: Counter,
    pub outbox_entries: Gauge,
    pub outbox_set_aside: Counter,
    pub outbox_expired: Counter,
    /// By kind.
    pub alerts_raised: Family<KindLabel, Counter>,
    /// By kind: raised or acknowledged, and not cleared.
    pub alerts_open: Family<KindLabel, Gauge>,
    /// Cell time from a promise's end to the alert that says so: what an outage costs.
    pub late_notice_seconds: Histogram,
    pub timers: Gauge,
    pub timers_spent: Counter,
    pub feed_restarts: Counter,
    /// 1 while the node serves its cell.
    pub cell_serving: Gauge,
    connections: Family<Transport, Gauge>,
    /// Those that `connections` has a gauge of: the family can't be walked.
    transports: Arc<Mutex<BTreeSet<&'static str>>>,
    pub watched_orders: Gauge,
    pub frames_encoded: Counter,
    /// Frames that a newer one of their topic replaced, because the client took none.
    pub frames_conflated: Counter,
    pub frames_delivered: Family<Transport, Counter>,
    pub connections_closed: Family<CloseReason, Counter>,
    /// By why no session began.
    pub sessions_refused: Family<CloseReason, Counter>,
    pub tickets: Family<OutcomeLabel, Counter>,
    pub hub_resyncs: Counter,
    pub hub_confirmations: Counter,
    pub tokens: Family<OutcomeLabel, Counter>,
    pub jwks_fetches: Family<OutcomeLabel, Counter>,
    pub routes: Family<OutcomeLabel, Counter>,
    pub routes_waiting: Gauge,
}

fn latency() -> Histogram {
    Histogram::new([0.001, 0.002, 0.003, 0.005, 0.01, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 5.0, 30.0])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("trunkline");
        macro_rules! register {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
            ($name:literal, $unit:ident, $help:literal, $metric:expr) => {{
                let metric = $metric;
                registry.register_with_unit($name, $help, Unit::$unit, metric.clone());
                metric
            }};
        }
        let seconds = || Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0]);
        Self {
            backlog: register!("backlog", "Log entries not applied yet: last sequence less cursor", Gauge::default()),
            log_entries: register!("log_entries", "Log entries applied", Counter::default()),
            batch_entries: register!(
                "batch_entries",
                "Log entries in a batch",
                Histogram::new([1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0])
            ),
            apply_seconds: register!("apply", Seconds, "Time to apply a batch", seconds()),
            commit_seconds: register!("commit", Seconds, "Time of a store transaction", seconds()),
            latency_seconds: register!(
                "latency",
                Seconds,
                "Time from the log's acceptance of a message to a step of its way to the client",
                Family::<Step, Histogram, fn() -> Histogram>::new_with_constructor(latency)
            ),
            fixes: register!("fixes", "Fixes by what became of them", Family::default()),
            refusals: register!("refusals", "Commands and other inputs refused", Counter::default()),
            dead_letters: register!("dead_letters", "Entries that could not be applied", Counter::default()),
            order_actors: register!("order_actors", "Running order actors", Gauge::default()),
            order_actor_restarts: register!(
                "order_actor_restarts",
                "Order actors restarted after a panic",
                Counter::default()
            ),
            passivations: register!("passivations", "Order actors stopped because they were quiet", Counter::default()),
            updates_published: register!(
                "updates_published",
                "Deltas published on update subjects",
                Counter::default()
            ),
            outbox_entries: register!("outbox_entries", "Outbox entries not acknowledged yet", Gauge::default()),
            outbox_set_aside: register!(
                "outbox_set_aside",
                "Outbox entries kept but not published: larger than NATS takes",
                Counter::default()
            ),
            outbox_expired: register!(
                "outbox_expired",
                "Outbox entries dropped: older than their stream keeps messages",
                Counter::default()
            ),
            alerts_raised: register!("alerts_raised", "Alerts raised, by kind", Family::default()),
            alerts_open: register!("alerts_open", "Alerts raised or acknowledged and not cleared", Family::default()),
            late_notice_seconds: register!(
                "late_notice",
                Seconds,
                "Cell time from a promise's end to the alert that says so",
                Histogram::new([0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 86400.0])
            ),
            timers: register!("timers", "Timers running", Gauge::default()),
            timers_spent: register!(
                "timers_spent",
                "Timers that can't fire: a foreign message is on their subject",
                Counter::default()
            ),
            feed_restarts: register!("feed_restarts", "Times the log's consumer was made anew", Counter::default()),
            cell_serving: register!("cell_serving", "1 while this node serves its cell", Gauge::default()),
            connections: register!("connections", "Open client connections", Family::default()),
            watched_orders: register!("watched_orders", "Orders with a local subscriber", Gauge::default()),
            frames_encoded: register!("frames_encoded", "Frames encoded, once per view", Counter::default()),
            frames_conflated: register!(
                "frames_conflated",
                "Waiting frames replaced by newer ones of their topic",
                Counter::default()
            ),
            frames_delivered: register!("frames_delivered", "Frames written to clients", Family::default()),
            connections_closed: register!(
                "connections_closed",
                "Connections closed by the server, by reason",
                Family::default()
            ),
            sessions_refused: register!(
                "sessions_refused",
                "Sessions that were told to begin later, by reason",
                Family::default()
            ),
            tickets: register!("tickets", "Tickets made, and what became of those that were shown", Family::default()),
            hub_resyncs: register!(
                "hub_resyncs",
                "Times the hub found itself behind an order's owner and read a snapshot",
                Counter::default()
            ),
            hub_confirmations: register!(
                "hub_confirmations",
                "Times the hub read a final order that its owner's heartbeats leave out, to confirm it",
                Counter::default()
            ),
            tokens: register!("tokens", "Tokens looked at, by what became of them", Family::default()),
            jwks_fetches: register!("jwks_fetches", "Fetches of issuers' keys", Family::default()),
            routes: register!("routes", "Routes asked for, by what became of them", Family::default()),
            routes_waiting: register!("routes_waiting", "Orders that wait for a route", Gauge::default()),
            transports: Arc::default(),
            registry: Arc::new(registry),
        }
    }
}

impl Metrics {
    /// The open connections of a transport.
    pub fn connections_over(&self, transport: &'static str) -> Gauge {
        self.transports.lock().insert(transport);
        self.connections.get_or_create(&Transport { transport }).clone()
    }

    /// Open connections by transport, of those that were ever used.
    pub fn open_connections(&self) -> BTreeMap<String, u64> {
        let open = |transport: &'static str| self.connections.get_or_create(&Transport { transport }).get();
        self.transports.lock().iter().map(|name| ((*name).to_owned(), open(name).try_into().unwrap_or(0))).collect()
    }

    /// OpenMetrics text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes() {
        let metrics = Metrics::default();
        metrics.fixes.get_or_create(&VerdictLabel { verdict: "good" }).inc();
        assert_eq!(metrics.open_connections(), BTreeMap::new());
        metrics.connections_over("ws").inc_by(2);
        metrics.connections_over("poll");
        assert_eq!(metrics.open_connections(), BTreeMap::from([("ws".to_owned(), 2), ("poll".to_owned(), 0)]));
        metrics.latency_seconds.get_or_create(&Step { step: "committed" }).observe(0.002);
        let text = metrics.encode().unwrap();
        assert!(text.contains(r#"trunkline_fixes_total{verdict="good"} 1"#), "{text}");
        assert!(text.contains("trunkline_latency_seconds_bucket"), "{text}");
    }
}
