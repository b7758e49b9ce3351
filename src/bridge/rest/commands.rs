//! Commands over HTTP: [`crate::bridge::commands`] as routes.

use super::{
    asked::{CommandHeaders, Nothing, OrderPath, ReportHeaders, RiderPath, StagePath},
    docs::CommandProblems,
};
use crate::{
    bridge::{
        Inner,
        commands::{self, id, no_verb},
        gate::Asked,
        reject::{IfMatch, Json, Key, Path, Rejection},
    },
    domain::Verb,
    wire::{
        answer::{Acceptance, FixTally, Outcome},
        fix::{BatchBody, DeliveredBody, FailedBody, ShiftBody, SingleBody, TripBody},
        problem::Problem,
        schema::{
            AcknowledgeBody, AssignBody, CancelBody, DeliverBody, EditBody, FailBody, MissingBody, PayBody, ReturnBody,
            UnassignBody,
        },
    },
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use std::sync::Arc;

/// A command to an order.
pub(super) async fn order(
    bridge: &Inner,
    verb: Verb,
    order: &str,
    Asked { who, params }: Asked,
    guards: (Option<String>, Option<u64>),
    payload: Bytes,
) -> Result<Response, Rejection> {
    let order = id("order", order)?;
    params.end()?;
    answer(commands::order(bridge, &who, verb, order, guards, payload).await?)
}

macro_rules! order_verbs {
    ($($(#[doc = $doc:literal])* $name:ident: $verb:ident, $body:ty, $path:literal;)*) => {
        $(
            $(#[doc = $doc])*
            #[utoipa::path(
                post,
                path = $path,
                tag = "orders",
                params(OrderPath, CommandHeaders),
                request_body = $body,
                responses((status = 200, description = "It took effect, and is stored", body = Acceptance), CommandProblems),
            )]
            pub(super) async fn $name(
                State(bridge): State<Arc<Inner>>,
                Path(id): Path<String>,
                asked: Asked,
                Key(key): Key,
                IfMatch(if_match): IfMatch,
                Json(payload): Json,
            ) -> Result<Response, Rejection> {
                order(&bridge, Verb::$verb, &id, asked, (key, if_match), payload).await
            }
        )*
    };
}

order_verbs! {
    /// The order is paid
    pay: Pay, PayBody, "/v1/orders/{order}/pay";
    /// Cancel the order
    cancel: Cancel, CancelBody, "/v1/orders/{order}/cancel";
    /// Give the order to a rider
    assign: Assign, AssignBody, "/v1/orders/{order}/assign";
    /// Take the order from its rider
    unassign: Unassign, UnassignBody, "/v1/orders/{order}/unassign";
    /// The order was delivered
    deliver: Deliver, DeliverBody, "/v1/orders/{order}/deliver";
    /// An attempt at the door failed
    fail: Fail, FailBody, "/v1/orders/{order}/fail";
    /// The goods went back to the warehouse
    give_back: Return, ReturnBody, "/v1/orders/{order}/return";
    /// Some items are missing
    missing: Missing, MissingBody, "/v1/orders/{order}/missing";
    /// Change promise, destination, contact, address or notes before the order is handed over
    edit_order: Edit, EditBody, "/v1/orders/{order}/edit";
    /// Operations take note of an alert, by its number within the order
    acknowledge: Acknowledge, AcknowledgeBody, "/v1/orders/{order}/acknowledge";
}

/// Anything else below an order.
pub(super) async fn no_order_verb(Path((_, verb)): Path<(String, String)>) -> Rejection {
    commands::no_order_verb(&verb)
}

/// The warehouse reports a stage. One repeated changes nothing, so it needs no key
#[utoipa::path(
    post,
    path = "/v1/warehouses/{warehouse}/orders/{order}/stages/{stage}",
    tag = "warehouses",
    params(StagePath, ReportHeaders),
    request_body = Nothing,
    responses((status = 200, description = "It took effect, and is stored", body = Acceptance), CommandProblems),
)]
pub(super) async fn stage(
    State(bridge): State<Arc<Inner>>,
    Path((warehouse, order, stage)): Path<(String, String, String)>,
    Asked { who, params }: Asked,
    Key(key): Key,
    Json(payload): Json,
) -> Result<Response, Rejection> {
    params.end()?;
    answer(commands::stage(&bridge, &who, (&warehouse, &order, &stage), key, payload).await?)
}

async fn rider(
    bridge: &Inner,
    verb: &str,
    rider: &str,
    Asked { who, params }: Asked,
    key: Option<String>,
    payload: Bytes,
) -> Result<Response, Rejection> {
    params.end()?;
    answer(commands::rider(bridge, &who, verb, rider, key, payload).await?)
}

macro_rules! rider_verbs {
    ($($(#[doc = $doc:literal])* $name:ident: $verb:literal, $body:ty => $answer:ty, $path:literal;)*) => {
        $(
            $(#[doc = $doc])*
            #[utoipa::path(
                post,
                path = $path,
                tag = "riders",
                params(RiderPath, ReportHeaders),
                request_body = $body,
                responses((status = 200, description = "It took effect, and is stored", body = $answer), CommandProblems),
            )]
            pub(super) async fn $name(
                State(bridge): State<Arc<Inner>>,
                Path(id): Path<String>,
                asked: Asked,
                Key(key): Key,
                Json(payload): Json,
            ) -> Result<Response, Rejection> {
                rider(&bridge, $verb, &id, asked, key, payload).await
            }
        )*

        const RIDER_VERBS: &[&str] = &[$($verb),*];
    };
}

rider_verbs! {
    /// One position
    fix: "fix", SingleBody => FixTally, "/v1/riders/{rider}/fix";
    /// Up to 1,000 positions, as a phone sends them when it is back
    fixes: "fixes", BatchBody => FixTally, "/v1/riders/{rider}/fixes";
    /// A shift begins or ends; at its end, another rider may take the orders in hand
    shift: "shift", ShiftBody => Acceptance, "/v1/riders/{rider}/shift";
    /// The rider's orders in the order of their stops
    trip: "trip", TripBody => Acceptance, "/v1/riders/{rider}/trip";
    /// An order in hand was delivered
    delivered: "delivered", DeliveredBody => Acceptance, "/v1/riders/{rider}/delivered";
    /// An attempt at the door of an order in hand failed
    failed: "failed", FailedBody => Acceptance, "/v1/riders/{rider}/failed";
    /// An order in hand went back to the warehouse
    returned: "returned", FailedBody => Acceptance, "/v1/riders/{rider}/returned";
}

/// Anything else below a rider.
pub(super) async fn no_rider_verb(Path((_, verb)): Path<(String, String)>) -> Rejection {
    no_verb(&verb, &RIDER_VERBS.join(", "))
}

/// An outcome as a response: the acceptance, the tally of fixes, or a problem.
pub(super) fn answer(outcome: Outcome) -> Result<Response, Rejection> {
    match outcome {
        Outcome::Accepted(acceptance) => Ok(axum::Json(acceptance).into_response()),
        Outcome::Fixes(tally) => Ok(axum::Json(tally).into_response()),
        Outcome::Refused(refusal) => Err(Problem::from(refusal).into()),
    }
}
