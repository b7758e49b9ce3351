//! Plays a plan: orders over HTTP as a shop and a warehouse would, fixes over NATS as phones would, and the cell clock
//! kept where every fix lies in its past.

use super::{
    plan::{Plan, Send, Track, clock_target},
    reckoning::{Reckoning, Stored, TrackSummary, stored},
    rows::Row,
};
use crate::{
    cli::{
        outside::{Answered, Followers, Http, Nats, OutsideError, Pace, announce, json},
        progress::Progress,
    },
    clock::Stopwatch,
    domain::{CellId, Stage, UnixMillis},
    geo::{Datum, Point},
    wire::{
        answer::Outcome,
        command::{CommandBody, Coordinates, CreateBody, WarehouseBody},
        fix::SingleBody,
        subject::LogSubject,
    },
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream, stream::FuturesUnordered};
use serde_json::Value;
use std::{collections::BTreeMap, future::Future, time::Duration};

/// Orders in preparation, delivery or reading at once.
const ORDERS_AT_ONCE: usize = 16;
/// Fixes that wait for their outcome at once.
const FIXES_AT_ONCE: usize = 256;
/// From the moment the orders are ready to the first fix.
const LEAD_MS: i64 = 5_000;

/// How fast the recorded time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// The clock is put forward as fast as fixes are taken.
    Max,
    /// So many times life's pace.
    Times(u32),
}

/// A plan and the clients to play it with.
#[derive(Debug)]
pub(super) struct Play<'a> {
    pub(super) http: &'a Http,
    pub(super) nats: &'a Nats,
    pub(super) cell: &'a CellId,
    pub(super) plan: &'a Plan,
    pub(super) rows: &'a [Row],
    /// Makes this run's idempotency keys its own.
    pub(super) run: String,
    pub(super) prefix: &'a str,
    pub(super) speed: Speed,
    /// Most fixes per second of wall time.
    pub(super) limit_rate: Option<u32>,
}

/// Who sent a fix, and what came back.
type Outcomes<'a> = FuturesUnordered<BoxFuture<'a, (Send, Result<Answered, OutsideError>)>>;

impl Play<'_> {
    /// Creates, pays, packs and assigns every order; follows each as soon as it exists.
    pub(super) async fn prepare(&self, mut followers: Option<&mut Followers>) -> Result<(), OutsideError> {
        let mut bar = Progress::new("orders", self.plan.tracks.len());
        let orders = stream::iter(&self.plan.tracks).map(|track| self.prepare_one(track).map(move |r| (track, r)));
        let mut orders = orders.buffer_unordered(ORDERS_AT_ONCE);
        while let Some((track, done)) = orders.next().await {
            done?;
            if let Some(followers) = &mut followers {
                followers.follow(track.order.clone()).await;
            }
            bar.step();
        }
        Ok(())
    }

    async fn prepare_one(&self, track: &Track) -> Result<(), OutsideError> {
        let Track { order, rider, .. } = track;
        let warehouse = self.warehouse(track);
        let create = self.create_body(track)?;
        self.http.command("/v1/orders", &self.key(track, "create"), &create).await?;
        self.order_command(track, "pay", &CommandBody::default()).await?;
        for stage in Stage::ALL.into_iter().filter(|stage| *stage <= Stage::Packed) {
            let path = format!("/v1/warehouses/{warehouse}/orders/{order}/stages/{}", stage.name());
            self.http.command(&path, &self.key(track, stage.name()), &serde_json::json!({})).await?;
        }
        let assign = CommandBody { rider: Some(rider.to_string()), ..CommandBody::default() };
        self.order_command(track, "assign", &assign).await
    }

    async fn order_command(&self, track: &Track, verb: &str, body: &CommandBody) -> Result<(), OutsideError> {
        let path = format!("/v1/orders/{}/{verb}", track.order);
        self.http.command(&path, &self.key(track, verb), body).await.map(drop)
    }

    fn key(&self, track: &Track, verb: &str) -> String {
        format!("{}-{}-{verb}", self.run, track.order)
    }

    fn warehouse(&self, track: &Track) -> String {
        format!("{}w{}", self.prefix, track.id)
    }

    /// The order's JSON: the body over NATS and the id, as the HTTP route takes it.
    fn create_body(&self, track: &Track) -> Result<Value, OutsideError> {
        let degrees = |point: Point| Coordinates { lat: point.lat(), lon: point.lon() };
        let (from, to) = (degrees(track.from), degrees(track.to));
        let body = CreateBody {
            user_id: format!("{}u{}", self.prefix, track.id),
            warehouse: WarehouseBody {
                id: self.warehouse(track),
                name: format!("Start of track {}", track.id),
                lat: from.lat,
                lon: from.lon,
            },
            destination: to,
            amount_minor: 0,
            currency: "CNY".into(),
            items: 1,
            promise: None,
            route: None,
            extra: None,
            datum: Datum::default(),
        };
        let unreadable = |e: serde_json::Error| OutsideError::Argument { field: "create", reason: e.to_string() };
        let mut value = serde_json::to_value(body).map_err(unreadable)?;
        value["id"] = track.order.as_str().into();
        Ok(value)
    }

    /// Sends every fix; gives the cell time of offset 0 and what became of the fixes.
    pub(super) async fn fixes(&self) -> Result<(UnixMillis, Reckoning), OutsideError> {
        let scale = match self.speed {
            Speed::Max => 1,
            Speed::Times(scale) => scale,
        };
        // Read after the last assignment was applied, so that every fix lies after it.
        let pace = Pace::set(self.nats, self.http, self.cell, scale, None).await?;
        let start = pace.now().plus(LEAD_MS);
        let mut flight =
            Flight { reckoning: Reckoning::default(), bar: Progress::new("fixes", self.plan.sends.len()), play: self };
        let mut outcomes = Outcomes::new();
        let (mut announced, mut count) = (-1, 0u64);
        let since = Stopwatch::start();
        for send in &self.plan.sends {
            match self.speed {
                Speed::Max if send.ready_ms > announced => {
                    announced = clock_target(send.ready_ms, self.plan.last_offset_ms);
                    let put = announce(self.nats, self.cell, 1, Some(start.plus(announced)));
                    flight.meanwhile(&mut outcomes, put).await?;
                }
                Speed::Max => {}
                Speed::Times(_) => flight.meanwhile(&mut outcomes, pace.wait_for(start.plus(send.ready_ms))).await,
            }
            if let Some(rate) = self.limit_rate {
                let due = Duration::from_secs_f64(count as f64 / f64::from(rate));
                flight.meanwhile(&mut outcomes, tokio::time::sleep(due.saturating_sub(since.elapsed()))).await;
            }
            count += 1;
            while outcomes.len() >= FIXES_AT_ONCE {
                flight.one(&mut outcomes).await;
            }
            outcomes.push(self.fix(*send, start).boxed());
        }
        while !outcomes.is_empty() {
            flight.one(&mut outcomes).await;
        }
        Ok((start, flight.reckoning))
    }

    async fn fix(&self, send: Send, start: UnixMillis) -> (Send, Result<Answered, OutsideError>) {
        let Row { point, accuracy_m, speed_mps, heading_deg, .. } = self.rows[send.row];
        // No sent time: the recorded clock is taken as right.
        let body = SingleBody {
            lat: point.lat(),
            lon: point.lon(),
            fix_time_ms: start.plus(send.offset_ms).0,
            accuracy_m,
            speed_mps,
            heading_deg,
            ..SingleBody::default()
        };
        let rider = self.plan.tracks[send.track].rider.clone();
        let subject = LogSubject::Rider { cell: self.cell.clone(), rider, verb: "fix".into() };
        (send, self.nats.ask(&subject, &[], json(&body)).await)
    }

    /// Delivers every order at the time of its last fix. Only when all fixes are in, copies and stragglers too.
    pub(super) async fn deliver(&self, start: UnixMillis) -> Result<(), OutsideError> {
        let deliveries = stream::iter(&self.plan.tracks).map(|track| {
            let at_ms = Some(start.plus(track.last_offset_ms).0);
            async move { self.order_command(track, "deliver", &CommandBody { at_ms, ..CommandBody::default() }).await }
        });
        let mut deliveries = deliveries.buffer_unordered(ORDERS_AT_ONCE);
        let mut bar = Progress::new("deliveries", self.plan.tracks.len());
        while let Some(done) = deliveries.next().await {
            done?;
            bar.step();
        }
        Ok(())
    }

    /// Reads every track back and counts it.
    pub(super) async fn read_back(
        &self,
        start: UnixMillis,
    ) -> Result<(Stored, BTreeMap<String, TrackSummary>, Vec<String>), OutsideError> {
        let histories = stream::iter(&self.plan.tracks)
            .map(|track| async move { (track, self.http.track(&track.order).await) })
            .buffer_unordered(ORDERS_AT_ONCE);
        let mut histories = std::pin::pin!(histories);
        let (mut sum, mut tracks, mut wrong) = (Stored::default(), BTreeMap::new(), Vec::new());
        while let Some((track, history)) = histories.next().await {
            let (counts, reasons) = stored(track, &history?);
            sum.fixes += counts.fixes;
            sum.good += counts.good;
            sum.inaccurate += counts.inaccurate;
            sum.jump += counts.jump;
            wrong.extend(reasons);
            let summary = TrackSummary {
                order: track.order.to_string(),
                rider: track.rider.to_string(),
                shift_ms: start.since(UnixMillis(track.base_ms)),
                identities: track.identities,
                stored: counts,
            };
            tracks.insert(track.id.clone(), summary);
        }
        Ok((sum, tracks, wrong))
    }
}

/// The fixes under way.
struct Flight<'a> {
    reckoning: Reckoning,
    bar: Progress,
    play: &'a Play<'a>,
}

impl Flight<'_> {
    /// Waits for `other` while outcomes go on coming in and lost ones are asked for again.
    async fn meanwhile<T>(&mut self, outcomes: &mut Outcomes<'_>, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        loop {
            tokio::select! {
                biased;
                done = &mut other => return done,
                Some(outcome) = outcomes.next(), if !outcomes.is_empty() => self.take(outcome),
            }
        }
    }

    async fn one(&mut self, outcomes: &mut Outcomes<'_>) {
        if let Some(outcome) = outcomes.next().await {
            self.take(outcome);
        }
    }

    fn take(&mut self, (send, answer): (Send, Result<Answered, OutsideError>)) {
        self.bar.step();
        match answer {
            Ok(Answered { outcome: Outcome::Fixes(tally), sends }) => {
                self.reckoning.answered((send.track, send.offset_ms), &tally, sends);
            }
            Ok(Answered { outcome: Outcome::Refused(body), .. }) => {
                self.reckoning.refused(self.play.plan.tracks[send.track].order.as_str(), &body);
            }
            Ok(Answered { outcome: Outcome::Accepted(_), .. }) => {
                self.reckoning.lost(&"a fix was answered as if it were a command");
            }
            Err(error) => self.reckoning.lost(&error),
        }
    }
}
