//! `GET /v1/orders/{order}/updates`: long polling, for clients that have nothing else.
//!
//! Each request is a short session: it follows the order from where the client is, waits until there is something, and
//! leaves. The hub keeps the order warm in between, so that the next request finds what happened meanwhile.

use super::{asked::OrderPath, docs::ReadProblems, events::place};
use crate::bridge::{
    Inner,
    commands::id,
    connection::{Connection, ended},
    conversation::Open,
    delivered::Delivered,
    frame::{About, Frame},
    gate::{Asked, take_datum},
    hub::Resume,
    params::Params,
    reject::{Path, Rejection},
};
use crate::{
    domain::OrderId,
    wire::{
        FieldError,
        access::{Principal, Right},
        query::OrderQuery,
        topic::Topic,
    },
};
use axum::{
    extract::{FromRequestParts, State},
    http::{
        header::{CACHE_CONTROL, CONTENT_TYPE},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use std::{sync::Arc, time::Duration};
use utoipa::{IntoParams, ToSchema};

/// The longest wait: proxies cut what is silent for 60 s.
const WAIT_MAX_S: u64 = 55;
const WAIT_S: u64 = 25;

/// The label of metrics.
const TRANSPORT: &str = "poll";

#[allow(dead_code, reason = "a shape for the document; nothing is made of it")]
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct UpdatesParams {
    /// The version that the client has, or `{epoch}.{version}`; without it the answer begins with a snapshot.
    #[param(required = false, nullable = false, pattern = r"^([0-9]{1,19}\.)?[0-9]{1,19}$")]
    pub since: Option<String>,
    /// The epoch that goes with the version. Without one the order's present epoch is meant.
    #[param(required = false, nullable = false)]
    pub epoch: Option<u64>,
    /// Seconds to wait for something new.
    #[param(required = false, nullable = false, minimum = 0, maximum = 55)]
    pub wait: Option<u64>,
    /// What positions refer to.
    #[param(value_type = crate::wire::schema::DatumName, required = false, nullable = false)]
    pub datum: Option<String>,
}

/// What came, as on `/v1/ws`.
#[allow(dead_code, reason = "a shape for the document; nothing is made of it")]
#[derive(Debug, ToSchema)]
pub(super) struct FrameList {
    /// `subscribed`, then snapshots and deltas, then a heartbeat with the version that the owner confirms. Perhaps a
    /// `going_away`, which says when to poll again.
    frames: Vec<serde_json::Value>,
}

/// Frames of one order since a version, as soon as there are any
#[utoipa::path(
    get,
    path = "/v1/orders/{order}/updates",
    tag = "orders",
    params(OrderPath, UpdatesParams),
    responses((status = 200, description = "What came; perhaps nothing new", body = FrameList), ReadProblems),
)]
pub(super) async fn updates(
    State(bridge): State<Arc<Inner>>,
    Path(order): Path<String>,
    Polled: Polled,
    Asked { who, mut params }: Asked,
) -> Result<Response, Rejection> {
    let order: OrderId = id("order", &order)?;
    let datum = take_datum(&mut params)?;
    let wait = wait(&mut params)?;
    let since = since(&mut params)?;
    params.end()?;
    let resume = match since {
        None => None,
        Some((Some(epoch), version)) => Some(Resume { epoch, version }),
        Some((None, version)) => Some(Resume { epoch: present_epoch(&bridge, &who, &order).await?, version }),
    };
    let mut place = bridge.drain.place();
    let _open = Open::new(&bridge.metrics, TRANSPORT);
    let delivered = Delivered::over(&bridge.metrics, TRANSPORT);
    let mut connection = Connection::open(bridge, datum);
    let mut frames = connection.begin(who, Topic::Order(order), resume).await?;
    if !frames.iter().any(is_news) {
        let farewell = tokio::select! {
            gathered = connection.gather(wait, &mut frames, is_news) => gathered.map(|()| None),
            farewell = place.told() => Ok(Some(farewell)),
        };
        let farewell = farewell.map_err(ended)?;
        let actions = farewell.map(|farewell| connection.session.on_farewell(farewell)).unwrap_or_default();
        // It ends here anyhow.
        let _ = connection.perform_all(actions).await;
    }
    connection.outbox.beat();
    let rest = connection.take(usize::MAX);
    connection.leave().await;
    frames.extend(rest.map_err(ended)?);
    frames.retain(is_told);
    delivered.note(&frames);
    let texts: Vec<_> = frames.iter().map(Frame::json).collect();
    let body = [&b"{\"frames\":["[..], &texts.join(&b','), &b"]}"[..]].concat();
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response())
}

/// A poll may be answered now. One that goes on from a version is no session's beginning, but who is told to come again
/// while the node leaves comes to another.
#[derive(Debug)]
pub(super) struct Polled;

impl FromRequestParts<Arc<Inner>> for Polled {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, bridge: &Arc<Inner>) -> Result<Self, Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        let goes_on = query.split('&').any(|pair| pair.starts_with("since="));
        if !goes_on || bridge.drain.is_leaving() {
            bridge.admit_session()?;
        }
        Ok(Self)
    }
}

/// Takes `wait`.
fn wait(params: &mut Params) -> Result<Duration, FieldError> {
    let wait = params.parse::<u64>("wait")?.unwrap_or(WAIT_S);
    if wait > WAIT_MAX_S {
        return Err(FieldError::new("wait", format!("must be 0 to {WAIT_MAX_S} seconds")));
    }
    Ok(Duration::from_secs(wait))
}

/// Takes `since` and `epoch`: the client's version, in the epoch that it names.
fn since(params: &mut Params) -> Result<Option<(Option<u64>, u64)>, FieldError> {
    let epoch = params.parse::<u64>("epoch")?;
    let Some(text) = params.take("since") else {
        return match epoch {
            Some(_) => Err(FieldError::new("since", "goes with epoch")),
            None => Ok(None),
        };
    };
    if let Some(Resume { epoch: within, version }) = place(&text) {
        return match epoch {
            Some(epoch) if epoch != within => Err(FieldError::new("epoch", "differs from that of since")),
            Some(_) | None => Ok(Some((Some(within), version))),
        };
    }
    let version = text.parse().map_err(|_| FieldError::new("since", "must be a version, or {epoch}.{version}"))?;
    Ok(Some((epoch, version)))
}

/// The epoch of who names none: versions are counted on from one to the next as long as the log is the same.
async fn present_epoch(bridge: &Inner, who: &Principal, order: &OrderId) -> Result<u64, Rejection> {
    let snapshot = bridge.order_for(who, Right::FollowOrder, OrderQuery { order: order.clone() }).await?;
    Ok(snapshot.epoch)
}

/// What a client waits for.
fn is_news(frame: &Frame) -> bool {
    matches!(frame.about(), About::Snapshot { .. } | About::Delta { .. } | About::Error { .. })
}

/// All but what is of the short session itself.
fn is_told(frame: &Frame) -> bool {
    !matches!(frame.about(), About::Session | About::Authenticated | About::Expired | About::Hello)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_version_in_an_epoch_or_in_the_present_one() {
        let read = |pairs: &[(&str, &str)]| {
            let mut params = Params(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
            since(&mut params).map_err(|error| error.field)
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("since", "7")]), Ok(Some((None, 7))));
        assert_eq!(read(&[("since", "3.7")]), Ok(Some((Some(3), 7))));
        assert_eq!(read(&[("since", "3.7"), ("epoch", "3")]), Ok(Some((Some(3), 7))));
        assert_eq!(read(&[("since", "7"), ("epoch", "3")]), Ok(Some((Some(3), 7))));
        assert_eq!(read(&[("since", "3.7"), ("epoch", "4")]), Err("epoch".into()));
        assert_eq!(read(&[("epoch", "4")]), Err("since".into()));
        assert_eq!(read(&[("since", "x")]), Err("since".into()));
    }
}
