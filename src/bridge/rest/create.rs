//! `POST /v1/orders`: the one command that also touches the directory and personal data.
//!
//! Before it is published: the body is checked; the order's place in the directory is claimed; its personal data are
//! written, shown to nobody yet, and found by a telephone number ([`crate::bridge::personal`]). Afterwards the outcome
//! settles them. A try that ends in between changes nothing that a repetition doesn't put right.

use super::{asked::CreateHeaders, commands::answer, docs::CommandProblems};
use crate::{
    bridge::{
        Inner,
        answers::Command,
        commands::{check, id},
        directory::Claim,
        gate::Asked,
        reject::{Json, Key, Rejection},
    },
    domain::{Operator, OrderId, Verb},
    wire::{
        FieldError,
        access::Right,
        answer::{Acceptance, Outcome},
        command::{check_key, hex, key_id, publisher},
        parse_json,
        personal::Personal,
        problem::Problem,
        query::OrderQuery,
        schema::{Id, NewOrder},
        subject::LogSubject,
    },
};
use axum::{
    extract::State,
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::ToSchema;

/// The answer: where the order is, and how.
#[derive(Serialize, ToSchema)]
pub(super) struct Created {
    #[schema(value_type = Id)]
    id: OrderId,
    #[serde(flatten)]
    acceptance: Acceptance,
}

/// A new order
#[utoipa::path(
    post,
    path = "/v1/orders",
    tag = "orders",
    params(CreateHeaders),
    request_body = NewOrder,
    responses(
        (status = 201, description = "It is stored", body = Created,
            headers(("location" = String, description = "Where it is"))),
        CommandProblems,
    ),
)]
pub(super) async fn create(
    State(bridge): State<Arc<Inner>>,
    Asked { who, params }: Asked,
    Key(key): Key,
    Json(payload): Json,
) -> Result<Response, Rejection> {
    params.end()?;
    bridge.permit(&who, Right::Create)?;
    let by = who.publisher();
    let key = check_key(key.as_deref())?.to_owned();
    let mut body: Map<String, Value> = parse_json(&payload)?;
    let operator = publisher(Some(&by))?;
    let order = take_id(&mut body, &operator, &key)?;
    let personal = Personal::take(&mut body)?;
    let payload = Bytes::from(Value::Object(body).to_string());
    let subject =
        LogSubject::Order { cell: bridge.cell.clone(), order: order.clone(), verb: Verb::Create.name().into() };
    let command = Command { subject, payload, idempotency_key: Some(key.clone()), publisher: by };
    check(&command)?;
    // Before anything is written, the directory and personal data included.
    bridge.health.check()?;

    let exists = !claim(&bridge, &order).await? && is_known(&bridge, &order).await?;
    let key = key_id(&operator, &order, Verb::Create.name(), &key);
    let written = bridge.personal.write(&order, key, personal.clone(), exists).await?;
    if !exists {
        // After the data, so that nobody who tidies takes it for unneeded; before the order can be seen.
        bridge.personal.index(&bridge.cell, &order, &personal).await?;
    }
    let outcome = match bridge.commands.submit(command).await {
        Ok(outcome) => outcome,
        // What was written stays, unsettled: the create may be in the log, and then it is this order's.
        Err(error) => return Err(error.into()),
    };
    let accepted = matches!(outcome, Outcome::Accepted(_));
    bridge.personal.settle(&order, key, written, accepted).await?;
    if !accepted {
        bridge.personal.tidy(&order).await?;
    }
    match outcome {
        Outcome::Accepted(acceptance) => {
            let location = format!("/v1/orders/{order}");
            let created = axum::Json(Created { id: order, acceptance });
            Ok((StatusCode::CREATED, [(LOCATION, location)], created).into_response())
        }
        Outcome::Fixes(_) | Outcome::Refused(_) => answer(outcome),
    }
}

/// The order's id: given, or made of the key, so that a repetition means the same order.
fn take_id(body: &mut Map<String, Value>, by: &Operator, key: &str) -> Result<OrderId, Rejection> {
    match body.remove("id") {
        Some(Value::String(text)) => id("id", &text),
        Some(_) => Err(FieldError::new("id", "must be text").into()),
        None => {
            // Any order will do for the scope: the id isn't known yet.
            let scope = id("id", "new")?;
            id("id", &format!("o-{}", hex(key_id(by, &scope, Verb::Create.name(), key))))
        }
    }
}

/// Claims the order for this cell. Whether the claim is new; an order of another cell is refused.
async fn claim(bridge: &Inner, order: &OrderId) -> Result<bool, Rejection> {
    match bridge.ports.directory.claim(order).await? {
        Claim::New => Ok(true),
        Claim::Ours => Ok(false),
        Claim::Another => {
            let problem = Problem::new(409, "order_exists", "The order exists already").with_field("order");
            Err(problem.with_detail("the id belongs to an order of another cell").into())
        }
    }
}

async fn is_known(bridge: &Inner, order: &OrderId) -> Result<bool, Rejection> {
    Ok(bridge.ports.source.order(OrderQuery { order: order.clone() }).await?.is_some())
}
