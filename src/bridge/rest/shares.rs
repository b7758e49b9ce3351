//! Share links over HTTP: made, listed and revoked by whoever may share the order.

use super::{
    asked::{CreateHeaders, OrderPath, SharePath},
    docs::{CommandProblems, ReadProblems},
};
use crate::{
    bridge::{
        Inner,
        commands::id,
        gate::Asked,
        reject::{Json, Key, Path, Rejection},
        shares::{Share, ShareError},
    },
    clock,
    domain::{Operator, OperatorKind, OrderId, UnixMillis},
    ports::{Claims, SignError, TokenError},
    wire::{
        FieldError,
        access::{Right, Role},
        command::{check_key, hex, key_id},
        parse_json,
        problem::Problem,
        query::OrderQuery,
        schema::Millis,
    },
};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A link's life where the body doesn't say: until the groceries are in the fridge.
const EXPIRES_IN_S: i64 = 24 * 3_600;
/// The longest life of a link.
const MAX_EXPIRES_IN_S: i64 = 30 * 24 * 3_600;

/// How long the link is to be good.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ShareBody {
    /// 24 h without it.
    #[schema(minimum = 1, maximum = 2_592_000, nullable = false)]
    expires_in_s: Option<i64>,
}

/// A link that was made. Who holds `token` sees the order as the view `shared` does.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Made {
    share: String,
    token: String,
    #[schema(value_type = Millis)]
    expires_at_ms: UnixMillis,
}

/// A link, without its token.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listed {
    share: String,
    #[serde(flatten)]
    how: Share,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct List {
    shares: Vec<Listed>,
}

impl From<SignError> for Problem {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Refused(TokenError::Claim { claim: "exp", reason }) => {
                FieldError::new("expires_in_s", reason).into()
            }
            SignError::NoKey | SignError::Refused(_) | SignError::Failed(_) => {
                Self::new(503, "no_keys", "This server can't sign links").with_detail(error.to_string())
            }
        }
    }
}

impl From<ShareError> for Problem {
    fn from(error: ShareError) -> Self {
        let detail = error.to_string();
        match error {
            ShareError::TooMany => {
                Self::new(409, "too_many_shares", "The order has enough links").with_field("order").with_detail(detail)
            }
            ShareError::Bucket(error) => error.into(),
            ShareError::Contended | ShareError::Garbled(_) => {
                Self::new(503, "unavailable", "Share links can't be changed now").with_detail(detail)
            }
        }
    }
}

/// Make a share link. The same key gives the same link
#[utoipa::path(
    post,
    path = "/v1/orders/{order}/shares",
    tag = "shares",
    params(OrderPath, CreateHeaders),
    request_body = ShareBody,
    responses((status = 201, description = "The link, with its token", body = Made), CommandProblems),
)]
pub(super) async fn make(
    State(bridge): State<Arc<Inner>>,
    Path(order): Path<String>,
    Asked { who, params }: Asked,
    Key(key): Key,
    Json(payload): Json,
) -> Result<Response, Rejection> {
    params.end()?;
    let order: OrderId = id("order", &order)?;
    let key = check_key(key.as_deref())?;
    let body: ShareBody = if payload.is_empty() { ShareBody::default() } else { parse_json(&payload)? };
    let life_s = body.expires_in_s.unwrap_or(EXPIRES_IN_S);
    if !(1..=MAX_EXPIRES_IN_S).contains(&life_s) {
        return Err(FieldError::new("expires_in_s", format!("must be 1 to {MAX_EXPIRES_IN_S} seconds")).into());
    }
    bridge.order_for(&who, Right::Share, OrderQuery { order: order.clone() }).await?;
    let cell = bridge.ports.directory.cell_of(&order).await?;
    let Some(signer) = &bridge.gate.signer else { return Err(SignError::NoKey.into()) };
    let by = who.publisher();
    // A customer publishes nothing to the log, so the log's publishers know none: here its whole name is the scope.
    let scope = Operator { kind: OperatorKind::System, id: by.as_str().into() };
    let share = hex(key_id(&scope, &order, "share", key));
    let now = clock::wall();
    let wanted = Share { by, created_at_ms: now, expires_at_ms: now.plus(life_s * 1_000), revoked: false };
    let sign = |expires_at| {
        signer.sign(&Claims {
            role: Role::Shared,
            // Whoever holds the link can read its claims: nothing in them says who shared it.
            sub: share.clone(),
            cells: Some([cell.clone()].into()),
            order: Some(order.clone()),
            jti: Some(share.clone()),
            not_before: None,
            expires_at,
        })
    };
    // What can't be signed isn't kept.
    sign(wanted.expires_at_ms)?;
    let made = bridge.shares.make(&order, &share, wanted).await?;
    if made.revoked {
        let problem = Problem::new(409, "revoked", "This link was revoked").with_field("Idempotency-Key");
        return Err(problem.with_detail("another link needs another key").into());
    }
    let expires_at_ms = made.expires_at_ms;
    let token = sign(expires_at_ms)?;
    Ok((StatusCode::CREATED, axum::Json(Made { share, token, expires_at_ms })).into_response())
}

/// The share links of an order, revoked ones until they expire
#[utoipa::path(
    get,
    path = "/v1/orders/{order}/shares",
    tag = "shares",
    params(OrderPath),
    responses((status = 200, description = "The links, without their tokens", body = List), ReadProblems),
)]
pub(super) async fn list(
    State(bridge): State<Arc<Inner>>,
    Path(order): Path<String>,
    Asked { who, params }: Asked,
) -> Result<Response, Rejection> {
    params.end()?;
    let order: OrderId = id("order", &order)?;
    bridge.order_for(&who, Right::Share, OrderQuery { order: order.clone() }).await?;
    let shares = bridge.shares.list(&order).await?;
    let shares = shares.into_iter().map(|(share, how)| Listed { share, how }).collect();
    Ok(axum::Json(List { shares }).into_response())
}

/// Revoke a share link: whoever uses it is cut off
#[utoipa::path(
    delete,
    path = "/v1/orders/{order}/shares/{share}",
    tag = "shares",
    params(SharePath),
    responses((status = 204, description = "It is good for nobody any more"), ReadProblems),
)]
pub(super) async fn revoke(
    State(bridge): State<Arc<Inner>>,
    Path((order, share)): Path<(String, String)>,
    Asked { who, params }: Asked,
) -> Result<StatusCode, Rejection> {
    params.end()?;
    let order: OrderId = id("order", &order)?;
    bridge.order_for(&who, Right::Share, OrderQuery { order: order.clone() }).await?;
    if bridge.shares.revoke(&order, &share).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::new(404, "unknown_share", "There is no such link").with_field("share").into())
    }
}
