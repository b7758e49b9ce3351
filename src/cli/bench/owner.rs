//! A cell's owner as a bridge hears it, without a cell behind it: it answers what is asked of an order and says one delta
//! after another, as fast as it is told to. What a bridge costs is measured without anything else at work.
//!
//! All its orders are under way with their stop next, so that each view shows the position; a delta is a new position.

use crate::{
    clock,
    domain::{CellId, OrderId, Status},
    nats::streams,
    wire::{
        query::{OrderQuery, Reply, Snapshot, what},
        subject,
        update::{OwnDelta, Update},
    },
};
use anyhow::Context as _;
use async_nats::{Client, Message, jetstream};
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The epoch of all that it says.
pub(super) const EPOCH: u64 = 1;
/// Versions begin here, so that their number of digits doesn't change while frames are counted.
pub(super) const FIRST_VERSION: u64 = 1_000_000;
/// As the owner's own heartbeat, in goes of so many.
const HEARTBEAT: Duration = Duration::from_secs(5);
const CHUNK: u32 = 200;

#[derive(Debug)]
struct Told {
    version: u64,
    /// JSON text.
    position: String,
}

#[derive(Debug)]
struct Orders {
    cell: CellId,
    told: Vec<Mutex<Told>>,
}

/// Stops with its token.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    client: Client,
    orders: Arc<Orders>,
}

/// The order of that number.
pub(super) fn order(n: u32) -> String {
    format!("o{n:05}")
}

impl Owner {
    /// Makes the cell's streams and buckets, answers and beats from now on, for orders 0 to `orders`.
    pub(super) async fn start(
        nats_url: &str,
        orders: u32,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let client = async_nats::connect(nats_url).await?;
        let cell = CellId::default();
        streams::ensure(&jetstream::new(client.clone()), &cell, &streams::Options::default()).await?;
        let told = || Mutex::new(Told { version: FIRST_VERSION, position: r#"{"lat":31.2,"lon":121.4}"#.into() });
        let told = std::iter::repeat_with(told).take(orders as usize).collect();
        let owner = Self { client, orders: Arc::new(Orders { cell, told }) };
        let mut asked = owner.client.subscribe(subject::queries(&owner.orders.cell)).await?;
        owner.client.flush().await?;
        let (answering, beating) = (owner.clone(), owner.clone());
        let answer = async move {
            while let Some(message) = asked.next().await {
                answering.answer(message).await;
            }
        };
        let stopped = stop.clone();
        tasks.spawn(async move { stopped.run_until_cancelled_owned(answer).await });
        let stopped = stop.clone();
        tasks.spawn(async move { stopped.run_until_cancelled_owned(beating.beat()).await });
        Ok(owner)
    }

    /// One delta of order `n`: `position` is JSON text.
    pub(super) async fn tell(&self, n: u32, position: String) -> anyhow::Result<()> {
        let id: OrderId = order(n).parse()?;
        let patch = format!(r#"{{"position":{position}}}"#).into();
        let to = {
            let mut told = self.told(n)?.lock();
            told.version += 1;
            told.position = position;
            told.version
        };
        let now = clock::wall();
        let delta = OwnDelta { epoch: EPOCH, from: to - 1, to, at_ms: now, log_time_ms: now, patch };
        Ok(self.client.publish(subject::update_order(&self.orders.cell, &id), delta.encode()).await?)
    }

    /// Version and position of order `n`.
    pub(super) fn now(&self, n: u32) -> anyhow::Result<(u64, Value)> {
        let told = self.told(n)?.lock();
        Ok((told.version, serde_json::from_str(&told.position)?))
    }

    fn told(&self, n: u32) -> anyhow::Result<&Mutex<Told>> {
        self.orders.told.get(n as usize).context("no such order")
    }

    async fn answer(&self, message: Message) {
        let Some(reply) = message.reply else { return };
        let asked = message.subject.rsplit('.').next().unwrap_or_default();
        let found = if asked == what::ORDER { self.snapshot(&message.payload) } else { None };
        let answer = found.map_or(Reply::NotFound, Reply::Ok);
        // Who asked asks again.
        let _ = self.client.publish(reply, serde_json::to_vec(&answer).unwrap_or_default().into()).await;
    }

    fn snapshot(&self, payload: &[u8]) -> Option<Snapshot> {
        let OrderQuery { order } = serde_json::from_slice(payload).ok()?;
        let n: u32 = order.as_str().strip_prefix('o')?.parse().ok()?;
        let (version, position) = self.now(n).ok()?;
        let state = json!({
            "id": order,
            "cell": self.orders.cell,
            "status": Status::Delivering,
            "stops_ahead": 0,
            "rev": 3,
            "user_id": "u1",
            "rider": {"id": "r1"},
            "created_at_ms": clock::wall(),
            "position": position,
        });
        Some(Snapshot { epoch: EPOCH, since_epoch: Some(EPOCH), version, at_ms: clock::wall(), state })
    }

    async fn beat(self) {
        let count = u32::try_from(self.orders.told.len()).unwrap_or(u32::MAX);
        let pause = HEARTBEAT / count.div_ceil(CHUNK).max(1);
        let mut next = tokio::time::interval(pause);
        loop {
            for from in (0..count).step_by(CHUNK as usize) {
                next.tick().await;
                for n in from..count.min(from + CHUNK) {
                    let (Ok((version, _)), Ok(id)) = (self.now(n), order(n).parse()) else { continue };
                    let said = serde_json::to_vec(&Update::Heartbeat { epoch: EPOCH, version }).unwrap_or_default();
                    let _ = self.client.publish(subject::update_order(&self.orders.cell, &id), said.into()).await;
                }
            }
        }
    }
}
