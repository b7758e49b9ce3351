//! Does what the plan says, each party by the way that its kind would use: the shop over HTTP, warehouses and riders over
//! NATS. Says of everything when it was sent, when it was answered, and how it ended.

use super::{
    day::{Act, What},
    phone::Message,
    plan::{Deed, Plan, Wish},
    truth::{Ended, Times},
    warehouse::Warehouse,
};
use crate::{
    cli::outside::{Http, Nats, OutsideError, Pace, json},
    domain::{CellId, OrderId, RiderId, UnixMillis},
    geo::{Datum, Point},
    wire::{
        answer::{FixTally, Outcome},
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
    pub(super) pace: Pace,
    pub(super) plan: std::sync::Arc<Plan>,
}

/// An act that is over.
#[derive(Clone, Debug)]
pub(super) struct Performed {
    pub(super) act: Act,
    pub(super) times: Times,
    pub(super) ended: Ended,
    /// What became of fixes.
    pub(super) tally: Option<FixTally>,
}

impl Hands {
    /// Performs one act.
    pub(super) async fn perform(self, act: Act) -> Performed {
        let sent_ms = self.pace.now();
        let outcome = match &act.what {
            What::Deed(deed) => self.deed(deed, act.due).await.map(|()| None),
            What::Fixes { rider, message } => self.fixes(*rider, message, sent_ms).await.map(Some),
        };
        let times = Times { planned_ms: act.due, sent_ms, answered_ms: self.pace.now() };
        let (ended, tally) = match outcome {
            Ok(tally) => (Ended::Accepted, tally),
            Err(ended) => (ended, None),
        };
        Performed { act, times, ended, tally }
    }

    async fn deed(&self, deed: &Deed, due: UnixMillis) -> Result<(), Ended> {
        match deed {
            Deed::Create { order } => {
                let wish = self.wish(*order);
                let body =
                    self.create_body(wish, due).ok_or_else(|| Ended::Refused("a place is off the globe".into()))?;
                let key = format!("create-{}", wish.order);
                self.http.command("/v1/orders", &key, &body).await.map(drop).map_err(ended)
            }
            Deed::Pay { order } => self.command(*order, "pay", CommandBody::default()).await,
            Deed::Cancel { order, reason } => {
                let reason = Some((*reason).to_owned());
                self.command(*order, "cancel", CommandBody { reason, ..CommandBody::default() }).await
            }
            Deed::Assign { order, rider } => {
                let rider = Some(self.rider_id(*rider).to_string());
                self.command(*order, "assign", CommandBody { rider, ..CommandBody::default() }).await
            }
            Deed::Stage { order, stage, .. } => {
                let Wish { order, warehouse, .. } = self.wish(*order);
                let warehouse = self.plan.warehouses[*warehouse].id.clone();
                let publisher = format!("warehouse.{warehouse}");
                let (cell, stage) = (self.cell.clone(), stage.name().to_owned());
                let subject = LogSubject::Warehouse { cell, warehouse, order: order.clone(), stage };
                self.ask(&subject, &publisher, json(&value!({}))).await.map(drop)
            }
            Deed::Trip { rider, stops } => {
                let stops = stops.iter().map(|order| self.wish(*order).order.to_string()).collect();
                self.rider(*rider, "trip", json(&TripBody { stops })).await.map(drop)
            }
            Deed::Delivered { rider, order, at } => {
                let order = self.wish(*order).order.to_string();
                let clock_ms = self.plan.riders[*rider].phone.clock_ms;
                let body = DeliveredBody {
                    order,
                    at_ms: Some(at.plus(clock_ms.unwrap_or(0)).0),
                    sent_time_ms: clock_ms.map(|ms| self.pace.now().plus(ms).0),
                    proof: None,
                };
                self.rider(*rider, "delivered", json(&body)).await.map(drop)
            }
            Deed::Shift { rider, on, .. } => {
                self.rider(*rider, "shift", json(&ShiftBody { on: *on, handover_to: None })).await.map(drop)
            }
        }
    }

    fn wish(&self, order: u32) -> &Wish {
        &self.plan.wishes[order as usize]
    }

    fn rider_id(&self, rider: usize) -> &RiderId {
        &self.plan.riders[rider].id
    }

    async fn command(&self, order: u32, verb: &str, body: CommandBody) -> Result<(), Ended> {
        let order: &OrderId = &self.wish(order).order;
        let path = format!("/v1/orders/{order}/{verb}");
        // Each verb is used once per order, but for assigning anew: then the rider tells them apart.
        let key = format!("{verb}-{order}-{}", body.rider.as_deref().unwrap_or_default());
        self.http.command(&path, &key, &body).await.map(drop).map_err(ended)
    }

    async fn fixes(&self, rider: usize, message: &Message, sent: UnixMillis) -> Result<FixTally, Ended> {
        let sent_time_ms = message.clock_ms.map(|ms| sent.plus(ms).0);
        let datum = Datum::default();
        let outcome = match message.fixes.as_slice() {
            [one] => {
                let FixBody { lat, lon, fix_time_ms, seq, accuracy_m, speed_mps, heading_deg, battery_pct } = one.body;
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
                self.rider(rider, "fix", json(&body)).await?
            }
            many => {
                let fixes = many.iter().map(|taken| taken.body).collect();
                self.rider(rider, "fixes", json(&BatchBody { fixes, sent_time_ms, datum })).await?
            }
        };
        match outcome {
            Outcome::Fixes(tally) => Ok(tally),
            Outcome::Accepted(_) | Outcome::Refused(_) => {
                Err(Ended::Unknown("the answer tells nothing of fixes".into()))
            }
        }
    }

    async fn rider(&self, rider: usize, verb: &str, payload: bytes::Bytes) -> Result<Outcome, Ended> {
        let rider = self.rider_id(rider).clone();
        let publisher = format!("rider.{rider}");
        let subject = LogSubject::Rider { cell: self.cell.clone(), rider, verb: verb.to_owned() };
        self.ask(&subject, &publisher, payload).await
    }

    async fn ask(&self, subject: &LogSubject, publisher: &str, payload: bytes::Bytes) -> Result<Outcome, Ended> {
        match self.nats.ask(subject, &[(header::PUBLISHER, publisher)], payload).await.map_err(ended)?.outcome {
            Outcome::Refused(body) => {
                Err(Ended::Refused(format!("{subject}: {} ({}): {}", body.code, body.field, body.detail)))
            }
            outcome @ (Outcome::Accepted(_) | Outcome::Fixes(_)) => Ok(outcome),
        }
    }

    /// The order as the shop's system sends it, with whom to ring and where.
    fn create_body(&self, wish: &Wish, at: UnixMillis) -> Option<Value> {
        let Warehouse { id, name, corner, .. } = &self.plan.warehouses[wish.warehouse];
        let streets = &self.plan.streets;
        let degrees = |point: Point| Coordinates { lat: point.lat(), lon: point.lon() };
        let from = degrees(streets.frame.point(streets.spot(*corner))?);
        let line = wish.route.line(&streets.frame);
        let route = (!line.is_empty()).then(|| RouteBody::GeoJson { kind: "LineString".into(), coordinates: line });
        let body = CreateBody {
            user_id: format!("u-{}", wish.order),
            warehouse: WarehouseBody { id: id.to_string(), name: name.clone(), lat: from.lat, lon: from.lon },
            destination: degrees(streets.frame.point(streets.spot(wish.door))?),
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
        order["address"] = format!("人民路 {} 号", wish.door).into();
        Some(order)
    }
}

fn ended(error: OutsideError) -> Ended {
    match error {
        OutsideError::Refused { .. } | OutsideError::Argument { .. } => Ended::Refused(error.to_string()),
        OutsideError::NoAnswer { .. } | OutsideError::Unreadable { .. } => Ended::Unknown(error.to_string()),
    }
}
