//! Does what the plan says, each party by the way that its kind would use: the shop over HTTP, warehouses and riders over
//! NATS. Says of everything when it was sent, when it was answered, and how it ended.

use super::{
    day::{Act, What},
    deed::Deed,
    phone::Message,
    plan::Plan,
    truth::{Ended, Times},
    warehouse::Warehouse,
    wish::{Mark, Wish},
};
use crate::{
    cli::outside::{Answered, Http, Nats, OutsideError, Pace, json},
    domain::{CellId, Operator, OrderId, RiderId, UnixMillis},
    geo::{Datum, Point},
    wire::{
        answer::{FixTally, Outcome},
        command::{CommandBody, Coordinates, CreateBody, PromiseBody, WarehouseBody, publisher_name},
        fix::{BatchBody, DeliveredBody, FailedBody, FixBody, ShiftBody, SingleBody, TripBody},
        header,
        life::{MissingItemBody, ProofBody},
        route::RouteBody,
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
                let body = self.create_body(wish, due).ok_or_else(off_the_globe)?;
                let key = format!("create-{}", wish.order);
                self.http.command("/v1/orders", &key, &body).await.map(drop).map_err(ended)
            }
            Deed::Pay { order } => self.command(*order, "pay", CommandBody::default()).await,
            Deed::Cancel { order, reason } => {
                let reason = Some(format!("{reason} {}", self.wish(*order).mark(Mark::CancelReason)));
                self.command(*order, "cancel", CommandBody { reason, ..CommandBody::default() }).await
            }
            Deed::Edit { order } => {
                let body = self.edit_body(self.wish(*order), due).ok_or_else(off_the_globe)?;
                self.command(*order, "edit", body).await
            }
            Deed::Missing { order } => self.missing(self.wish(*order)).await,
            Deed::Assign { order, rider } => {
                let rider = Some(self.rider_id(*rider).to_string());
                self.command(*order, "assign", CommandBody { rider, ..CommandBody::default() }).await
            }
            Deed::Stage { order, stage, .. } => {
                let Wish { order, warehouse, .. } = self.wish(*order);
                let warehouse = self.plan.warehouses[*warehouse].id.clone();
                let publisher = publisher_name(&Operator::warehouse(&warehouse));
                let (cell, stage) = (self.cell.clone(), stage.name().to_owned());
                let subject = LogSubject::Warehouse { cell, warehouse, order: order.clone(), stage };
                self.ask(&subject, &publisher, json(&value!({}))).await.map(drop)
            }
            Deed::Trip { rider, stops } => {
                let stops = stops.iter().map(|order| self.wish(*order).order.to_string()).collect();
                self.rider(*rider, "trip", json(&TripBody { stops })).await.map(drop)
            }
            Deed::Delivered { rider, order, at } => {
                let wish = self.wish(*order);
                let shown = |n: usize, name: &str| wish.proof[n].then(|| format!("{name}-{}", wish.mark(Mark::Proof)));
                let proof =
                    ProofBody { photo: shown(0, "photo"), code: shown(1, "code"), signature: shown(2, "signature") };
                let (at_ms, sent_time_ms) = self.told_at(*rider, *at);
                let body = DeliveredBody {
                    order: wish.order.to_string(),
                    at_ms,
                    sent_time_ms,
                    proof: (proof != ProofBody::default()).then_some(proof),
                };
                self.rider(*rider, "delivered", json(&body)).await.map(drop)
            }
            Deed::Failed { rider, order, at } => {
                let reason = format!("nobody opened {}", self.wish(*order).mark(Mark::AttemptReason));
                self.rider(*rider, "failed", json(&self.failed_body(*rider, *order, *at, reason))).await.map(drop)
            }
            Deed::Returned { rider, order, at } => {
                let reason = format!("nobody opened twice {}", self.wish(*order).mark(Mark::CancelReason));
                self.rider(*rider, "returned", json(&self.failed_body(*rider, *order, *at, reason))).await.map(drop)
            }
            Deed::Shift { rider, on, .. } => {
                self.rider(*rider, "shift", json(&ShiftBody { on: *on, handover_to: None })).await.map(drop)
            }
            Deed::HandOver { rider, to, .. } => {
                let handover_to = Some(self.rider_id(*to).to_string());
                self.rider(*rider, "shift", json(&ShiftBody { on: false, handover_to })).await.map(drop)
            }
        }
    }

    /// When a rider's phone says that something happened, and, if its clock is wrong, when it says so.
    fn told_at(&self, rider: usize, at: UnixMillis) -> (Option<i64>, Option<i64>) {
        let clock_ms = self.plan.riders[rider].phone.clock_ms;
        (Some(at.plus(clock_ms.unwrap_or(0)).0), clock_ms.map(|ms| self.pace.now().plus(ms).0))
    }

    fn failed_body(&self, rider: usize, order: u32, at: UnixMillis, reason: String) -> FailedBody {
        let (at_ms, sent_time_ms) = self.told_at(rider, at);
        FailedBody { order: self.wish(order).order.to_string(), reason, at_ms, sent_time_ms }
    }

    /// The warehouse says what it doesn't have.
    async fn missing(&self, wish: &Wish) -> Result<(), Ended> {
        let mark = wish.mark(Mark::Missing);
        let item = MissingItemBody { name: format!("milk {mark}"), count: wish.missing.unwrap_or(1) };
        let note = Some(format!("sold out {mark}"));
        let body = CommandBody { items: Some(vec![item]), note, ..CommandBody::default() };
        let subject = LogSubject::Order { cell: self.cell.clone(), order: wish.order.clone(), verb: "missing".into() };
        let publisher = publisher_name(&Operator::warehouse(&self.plan.warehouses[wish.warehouse].id));
        let headers = [(header::PUBLISHER, publisher.as_str()), (header::IDEMPOTENCY_KEY, "missing")];
        outcome(&subject, self.nats.ask(&subject, &headers, json(&body)).await).map(drop)
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
        let publisher = publisher_name(&Operator::rider(&rider));
        let subject = LogSubject::Rider { cell: self.cell.clone(), rider, verb: verb.to_owned() };
        self.ask(&subject, &publisher, payload).await
    }

    async fn ask(&self, subject: &LogSubject, publisher: &str, payload: bytes::Bytes) -> Result<Outcome, Ended> {
        outcome(subject, self.nats.ask(subject, &[(header::PUBLISHER, publisher)], payload).await)
    }

    /// The order as the shop's system sends it, with whom to ring and where.
    fn create_body(&self, wish: &Wish, at: UnixMillis) -> Option<Value> {
        let Warehouse { id, name, corner, .. } = &self.plan.warehouses[wish.warehouse];
        let streets = &self.plan.streets;
        let degrees = |point: Point| Coordinates { lat: point.lat(), lon: point.lon() };
        let from = degrees(streets.frame.point(streets.spot(*corner))?);
        let to = degrees(streets.frame.point(wish.destination(streets, wish.first_door))?);
        let mut line = wish.route.line(&streets.frame);
        if !line.is_empty() {
            line.push((to.lon, to.lat));
        }
        let route = (!line.is_empty()).then(|| RouteBody::GeoJson { kind: "LineString".into(), coordinates: line });
        let body = CreateBody {
            user_id: format!("u-{}-{}", wish.order, wish.mark(Mark::User)),
            warehouse: WarehouseBody { id: id.to_string(), name: name.clone(), lat: from.lat, lon: from.lon },
            destination: to,
            amount_minor: wish.amount_minor,
            currency: "CNY".into(),
            items: wish.items,
            promise: Some(promise(at, 0)),
            route,
            extra: Some(value!({"gift": wish.mark(Mark::Extra)})),
            datum: Datum::default(),
        };
        let mut order = serde_json::to_value(body).ok()?;
        order["id"] = wish.order.as_str().into();
        order["contact"] = value!({"name": format!("王小明 {}", wish.mark(Mark::Name)), "phone": wish.phone()});
        order["address"] = format!("人民路 {} 号 {}", wish.door, wish.mark(Mark::Address)).into();
        order["notes"] = format!("放门口 {}", wish.mark(Mark::Notes)).into();
        Some(order)
    }

    /// What the customer thought better of.
    fn edit_body(&self, wish: &Wish, at: UnixMillis) -> Option<CommandBody> {
        let streets = &self.plan.streets;
        let edit = wish.edit?;
        let destination = match edit.door {
            Some(door) => {
                let to = streets.frame.point(wish.destination(streets, door))?;
                Some(Coordinates { lat: to.lat(), lon: to.lon() })
            }
            None => None,
        };
        let promise = Some(promise(at, edit.later_ms));
        Some(CommandBody { promise, destination, ..CommandBody::default() })
    }
}

fn promise(at: UnixMillis, later_ms: i64) -> PromiseBody {
    PromiseBody { from_ms: at.plus(PROMISE_FROM_MS + later_ms).0, to_ms: at.plus(PROMISE_TO_MS + later_ms).0 }
}

fn off_the_globe() -> Ended {
    Ended::Refused("a place is off the globe".into())
}

/// What was answered, or why it is none.
fn outcome(subject: &LogSubject, answered: Result<Answered, OutsideError>) -> Result<Outcome, Ended> {
    match answered.map_err(ended)?.outcome {
        Outcome::Refused(body) => {
            Err(Ended::Refused(format!("{subject}: {} ({}): {}", body.code, body.field, body.detail)))
        }
        outcome @ (Outcome::Accepted(_) | Outcome::Fixes(_)) => Ok(outcome),
    }
}

fn ended(error: OutsideError) -> Ended {
    match error {
        OutsideError::Refused { .. } | OutsideError::Argument { .. } => Ended::Refused(error.to_string()),
        OutsideError::NoAnswer { .. } | OutsideError::Unreadable { .. } => Ended::Unknown(error.to_string()),
    }
}
