//! Does what the town's parties decided, each by the way that its kind would use: the shop over HTTP, warehouses and riders
//! over NATS.

use super::{
    city::{City, Warehouse},
    town::{Act, Done, Wish},
};
use crate::{
    cli::outside::{Answered, Http, Nats, OutsideError, json},
    domain::{CellId, OrderId, RiderId, Stage, UnixMillis, WarehouseId},
    geo::{Datum, Point},
    wire::{
        answer::Outcome,
        command::{CommandBody, Coordinates, CreateBody, PromiseBody, RouteBody, WarehouseBody},
        fix::{BatchBody, DeliveredBody, FixBody, ShiftBody, SingleBody, TripBody},
        header,
        subject::LogSubject,
    },
};
use serde_json::{Value, json as value};

/// The window that customers are told: so long after ordering, in cell time.
const PROMISE_FROM_MS: i64 = 20 * 60_000;
const PROMISE_TO_MS: i64 = 45 * 60_000;

/// The parties' clients.
#[derive(Clone, Debug)]
pub(super) struct Hands {
    pub(super) http: Http,
    pub(super) nats: Nats,
    pub(super) cell: CellId,
    pub(super) city: std::sync::Arc<City>,
}

impl Hands {
    /// Performs one act. An error tells what was refused and why; the town goes on without it.
    pub(super) async fn perform(self, act: Act) -> (Done, Option<String>) {
        let fallback = match &act {
            Act::Assign { rider, .. } => Done::NotAssigned { rider: *rider },
            // An order that can't be placed or ended is none that the town waits for.
            Act::Create { .. } | Act::Delivered { .. } => Done::Cancelled,
            Act::Pay { .. } | Act::Cancel { .. } | Act::Stage { .. } | Act::Trip { .. } | Act::Fixes { .. } => {
                Done::Nothing
            }
        };
        match self.attempt(act).await {
            Ok(done) => (done, None),
            Err(error) => (fallback, Some(error)),
        }
    }

    async fn attempt(self, act: Act) -> Result<Done, String> {
        match act {
            Act::Create { n, wish, at } => {
                let body = self.create_body(&wish, at).ok_or("the order's place is off the globe")?;
                let key = format!("create-{}", wish.order);
                self.http.command("/v1/orders", &key, &body).await.map_err(text)?;
                Ok(Done::Created { n, at })
            }
            Act::Pay { order } => {
                self.command(&order, "pay", CommandBody::default()).await?;
                Ok(Done::Nothing)
            }
            Act::Cancel { order } => {
                let reason = Some("changed my mind".to_owned());
                self.command(&order, "cancel", CommandBody { reason, ..CommandBody::default() }).await?;
                Ok(Done::Cancelled)
            }
            Act::Stage { warehouse, order, stage } => self.stage(warehouse, order, stage).await,
            Act::Assign { rider, id, orders } => {
                for order in &orders {
                    let body = CommandBody { rider: Some(id.to_string()), ..CommandBody::default() };
                    self.command(order, "assign", body).await?;
                }
                Ok(Done::Assigned { rider, orders })
            }
            Act::Trip { id, stops } => {
                let stops = stops.iter().map(OrderId::to_string).collect();
                self.rider(&id, "trip", json(&TripBody { stops })).await?;
                Ok(Done::Nothing)
            }
            Act::Fixes { id, fixes } => self.fixes(&id, fixes).await,
            Act::Delivered { id, order, at } => {
                let body =
                    DeliveredBody { order: order.to_string(), at_ms: Some(at.0), sent_time_ms: None, proof: None };
                self.rider(&id, "delivered", json(&body)).await?;
                Ok(Done::Delivered)
            }
        }
    }

    /// Begins or ends a rider's shift.
    pub(super) async fn shift(&self, rider: &RiderId, on: bool) -> Result<(), String> {
        self.rider(rider, "shift", json(&ShiftBody { on, handover_to: None })).await.map(drop)
    }

    async fn command(&self, order: &OrderId, verb: &str, body: CommandBody) -> Result<(), String> {
        let path = format!("/v1/orders/{order}/{verb}");
        // Each verb is used once per order, but for assigning anew: then the rider tells them apart.
        let key = format!("{verb}-{order}-{}", body.rider.as_deref().unwrap_or_default());
        self.http.command(&path, &key, &body).await.map(drop).map_err(text)
    }

    async fn stage(&self, warehouse: WarehouseId, order: OrderId, stage: Stage) -> Result<Done, String> {
        let publisher = format!("warehouse.{warehouse}");
        let key = format!("{}-{order}", stage.name());
        let headers = [(header::PUBLISHER, publisher.as_str()), (header::IDEMPOTENCY_KEY, key.as_str())];
        let (cell, name) = (self.cell.clone(), stage.name().to_owned());
        let subject = LogSubject::Warehouse { cell, warehouse, order: order.clone(), stage: name };
        accepted(&subject, self.nats.ask(&subject, &headers, json(&value!({}))).await)?;
        Ok(if stage == Stage::Packed { Done::Packed { order } } else { Done::Nothing })
    }

    async fn fixes(&self, id: &RiderId, fixes: Vec<FixBody>) -> Result<Done, String> {
        let sent = fixes.len() as u64;
        match fixes.as_slice() {
            [one] => {
                let FixBody { lat, lon, fix_time_ms, seq, accuracy_m, speed_mps, heading_deg, battery_pct } = *one;
                let (sent_time_ms, datum) = (None, Datum::default());
                let body = SingleBody {
                    lat,
                    lon,
                    fix_time_ms,
                    seq,
                    accuracy_m,
                    speed_mps,
                    heading_deg,
                    battery_pct,
                    sent_time_ms,
                    datum,
                };
                self.rider(id, "fix", json(&body)).await?;
            }
            _ => {
                self.rider(id, "fixes", json(&BatchBody { fixes, ..BatchBody::default() })).await?;
            }
        }
        Ok(Done::Fixes { sent })
    }

    async fn rider(&self, rider: &RiderId, verb: &str, payload: bytes::Bytes) -> Result<Outcome, String> {
        let publisher = format!("rider.{rider}");
        let subject = LogSubject::Rider { cell: self.cell.clone(), rider: rider.clone(), verb: verb.to_owned() };
        let answer = self.nats.ask(&subject, &[(header::PUBLISHER, &publisher)], payload).await;
        accepted(&subject, answer)
    }

    /// The order as the shop's system sends it, with whom to ring and where.
    fn create_body(&self, wish: &Wish, at: UnixMillis) -> Option<Value> {
        let Warehouse { id, name, at: place } = &self.city.warehouses[wish.warehouse];
        let degrees = |point: Point| Coordinates { lat: point.lat(), lon: point.lon() };
        let from = degrees(place.point((0.0, 0.0))?);
        let line = wish.route.line();
        let route = (!line.is_empty()).then(|| RouteBody::GeoJson { kind: "LineString".into(), coordinates: line });
        let body = CreateBody {
            user_id: format!("u-{}", wish.order),
            warehouse: WarehouseBody { id: id.to_string(), name: name.clone(), lat: from.lat, lon: from.lon },
            destination: degrees(wish.door.point((0.0, 0.0))?),
            amount_minor: wish.amount_minor,
            currency: "CNY".into(),
            items: wish.items,
            promise: Some(PromiseBody { from_ms: at.plus(PROMISE_FROM_MS).0, to_ms: at.plus(PROMISE_TO_MS).0 }),
            route,
            extra: None,
            datum: Datum::default(),
        };
        let mut order = serde_json::to_value(body).ok()?;
        order["id"] = wish.order.as_str().into();
        order["contact"] = value!({"name": "王小明", "phone": "+86 138 0000 0000"});
        order["address"] = format!("人民路 {} 号", wish.door.east_m + wish.door.north_m).into();
        Some(order)
    }
}

fn accepted(subject: &LogSubject, answer: Result<Answered, OutsideError>) -> Result<Outcome, String> {
    match answer.map_err(text)?.outcome {
        Outcome::Refused(body) => Err(format!("{subject}: {} ({}): {}", body.code, body.field, body.detail)),
        outcome @ (Outcome::Accepted(_) | Outcome::Fixes(_)) => Ok(outcome),
    }
}

fn text(error: OutsideError) -> String {
    error.to_string()
}
