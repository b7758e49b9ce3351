//! The load: orders that are created, paid, packed and assigned, a rider each, and then the riders' fixes, one per message,
//! in the JSON that phones send. Life between two rounds of fixes is skipped by setting the cell clock.

use crate::{
    clock,
    domain::{CellId, OrderId, RiderId, Stage, rules::RULES_VERSION},
    wire::{
        command::{CommandBody, Coordinates, CreateBody, WarehouseBody},
        control::{self, ClockBody},
        fix::SingleBody,
        header,
        subject::{LogSubject, log_stream},
    },
};
use anyhow::{Context as _, ensure};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use std::{ops::Range, time::Duration};

/// Between two fixes of a rider, in cell time: as phones send them.
pub(super) const STEP_MS: i64 = 5_000;
/// A log's first message: the rules that apply, as a tracker would publish them.
pub(super) const BEGIN: u64 = 1;
/// Versions of an order when it is under way: created, paid, packed, assigned.
pub(super) const SET_UP: u64 = 4;
const MONTH_MS: i64 = 30 * 24 * 3_600_000;
/// What the server is given before it has stored what came before, at least.
const FILLED_AT_ONCE: u64 = 20_000;
const SET_UP_AT_ONCE: u32 = 5_000;
/// The server may take so long to store what was published.
const STORED_WITHIN: Duration = Duration::from_secs(120);

/// How many orders there are, and that they are the same in every run.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub cell: CellId,
    pub orders: u32,
}

impl Load {
    pub(super) fn new(orders: u32) -> Self {
        Self { cell: CellId::default(), orders }
    }

    pub(super) fn order(n: u32) -> anyhow::Result<OrderId> {
        Ok(format!("o{n}").parse()?)
    }

    fn rider(n: u32) -> anyhow::Result<RiderId> {
        Ok(format!("r{n}").parse()?)
    }

    /// Puts the newest rules in force, but for lost signals, of which there are none in a month: the cell clock jumps, and the
    /// timers that look would come into the log as many times faster, between what is counted here.
    pub(super) async fn rules(&self, client: &Client) -> anyhow::Result<()> {
        let rules = LogSubject::Control { cell: self.cell.clone(), what: control::RULES.to_owned() };
        let body = json!({"rules_version": RULES_VERSION, "signal_lost": {"after_ms": MONTH_MS}});
        Ok(client.publish(rules.to_string(), body.to_string().into()).await?)
    }

    /// Brings some of the orders under way.
    pub(super) async fn set_up(&self, client: &Client, orders: Range<u32>) -> anyhow::Result<()> {
        for n in orders {
            let (order, warehouse) = (Self::order(n)?, format!("w{}", n % 20));
            let (lat, lon) = start(n);
            let create = CreateBody {
                user_id: format!("u{n}"),
                warehouse: WarehouseBody { id: warehouse.clone(), name: format!("Warehouse {}", n % 20), lat, lon },
                destination: Coordinates { lat: lat + 0.02, lon: lon + 0.02 },
                amount_minor: 4_590,
                currency: "CNY".into(),
                items: 7,
                promise: None,
                route: None,
                extra: None,
                datum: Default::default(),
            };
            self.command(client, &order, "create", &create).await?;
            self.command(client, &order, "pay", &CommandBody::default()).await?;
            let (cell, stage) = (self.cell.clone(), Stage::Packed.name().to_owned());
            let packed = LogSubject::Warehouse { cell, warehouse: warehouse.parse()?, order: order.clone(), stage };
            client.publish(packed.to_string(), Bytes::new()).await?;
            let assign = CommandBody { rider: Some(Self::rider(n)?.to_string()), ..CommandBody::default() };
            self.command(client, &order, "assign", &assign).await?;
        }
        Ok(())
    }

    async fn command<B: Serialize>(
        &self,
        client: &Client,
        order: &OrderId,
        verb: &str,
        body: &B,
    ) -> anyhow::Result<()> {
        let subject = LogSubject::Order { cell: self.cell.clone(), order: order.clone(), verb: verb.to_owned() };
        let mut headers = HeaderMap::new();
        headers.insert(header::IDEMPOTENCY_KEY, verb);
        Ok(client.publish_with_headers(subject.to_string(), headers, serde_json::to_vec(body)?.into()).await?)
    }

    /// One fix of each of some riders, at cell time `at_ms`, after setting the clock to it.
    pub(super) async fn step(&self, client: &Client, step: u32, at_ms: i64, riders: Range<u32>) -> anyhow::Result<()> {
        let clock = LogSubject::Control { cell: self.cell.clone(), what: control::CLOCK.to_owned() };
        let body = ClockBody { scale: 1, cell_time_ms: Some(at_ms) };
        client.publish(clock.to_string(), serde_json::to_vec(&body)?.into()).await?;
        for n in riders {
            client.publish(self.fix_subject(n)?, fix(n, f64::from(step) * METRES_A_STEP, step, at_ms)?).await?;
        }
        Ok(())
    }

    /// Where rider `n` publishes fixes.
    pub(super) fn fix_subject(&self, n: u32) -> anyhow::Result<String> {
        let (cell, rider) = (self.cell.clone(), Self::rider(n)?);
        Ok(LogSubject::Rider { cell, rider, verb: "fix".into() }.to_string())
    }

    /// Fills the log with orders and then fixes, `messages` in all. Gives the number of deltas that they make.
    pub(super) async fn fill(&self, client: &Client, messages: u64) -> anyhow::Result<u64> {
        let set_up = BEGIN + SET_UP * u64::from(self.orders);
        ensure!(messages > set_up, "--messages must be more than {SET_UP} for each order");
        self.rules(client).await?;
        for from in (0..self.orders).step_by(SET_UP_AT_ONCE as usize) {
            let to = self.orders.min(from + SET_UP_AT_ONCE);
            self.set_up(client, from..to).await?;
            self.stored(client, BEGIN + SET_UP * u64::from(to)).await?;
        }
        let start_ms = clock::wall().0 + STEP_MS;
        let (mut sent, mut clocks, mut step) = (set_up, 0, 0);
        let mut stored = 0;
        while sent + 1 < messages {
            // The server drops what it can't buffer.
            if sent - stored > FILLED_AT_ONCE {
                self.stored(client, sent).await?;
                stored = sent;
            }
            let riders = u32::try_from(messages - sent - 1).map_or(self.orders, |left| left.min(self.orders));
            self.step(client, step, start_ms + i64::from(step) * STEP_MS, 0..riders).await?;
            (sent, clocks, step) = (sent + 1 + u64::from(riders), clocks + 1, step + 1);
        }
        self.stored(client, sent).await?;
        Ok(sent - clocks - BEGIN)
    }

    /// Waits until the log ends at `last`.
    pub(super) async fn stored(&self, client: &Client, last: u64) -> anyhow::Result<()> {
        client.flush().await?;
        let stream = async_nats::jetstream::new(client.clone()).get_stream(log_stream(&self.cell)).await?;
        let waiting = async {
            while stream.get_info().await?.state.last_sequence < last {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(STORED_WITHIN, waiting).await.context("the server hasn't stored what was published")??;
        let found = stream.get_info().await?.state.last_sequence;
        ensure!(found == last, "the log ends at {found}, and {last} messages were published");
        Ok(())
    }
}

/// Where rider `n` begins: some hundred metres from the next.
fn start(n: u32) -> (f64, f64) {
    (31.0 + f64::from(n % 200) * 0.003, 121.0 + f64::from(n / 200) * 0.003)
}

/// A rider's speed, in metres per second: every fix moves the marker, and none is a jump.
pub(super) const SPEED_MPS: f64 = 5.0;
#[allow(clippy::cast_precision_loss, reason = "a small number")]
const METRES_A_STEP: f64 = SPEED_MPS * STEP_MS as f64 / 1e3;
const METRES_A_DEGREE: f64 = 111_195.0;

/// A fix of rider `n`, so far on the way to the north.
pub(super) fn fix(n: u32, way_m: f64, step: u32, at_ms: i64) -> anyhow::Result<Bytes> {
    let (lat, lon) = start(n);
    let body = SingleBody {
        lat: round(lat + way_m / METRES_A_DEGREE),
        lon: round(lon + f64::from(step % 7) * 0.000_001),
        fix_time_ms: at_ms,
        seq: Some(step),
        accuracy_m: Some(8.5),
        speed_mps: Some(SPEED_MPS + f64::from(step % 10) / 10.0),
        heading_deg: Some(f64::from(step % 20)),
        battery_pct: Some(80.0),
        sent_time_ms: Some(at_ms),
        datum: Default::default(),
    };
    Ok(serde_json::to_vec(&body)?.into())
}

/// Phones send seven decimals at most.
fn round(degrees: f64) -> f64 {
    libm::round(degrees * 1e7) / 1e7
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn fixes_are_of_the_contract_and_move() {
        let read = |step| wire::fix::single(&fix(7, f64::from(step), step, 1_000).unwrap()).unwrap().fixes[0];
        assert_ne!(read(0).point, read(1).point);
        assert_eq!(read(3).id.seq, Some(3));
        assert!(Load::new(3).fix_subject(2).unwrap().parse::<LogSubject>().is_ok());
    }
}
