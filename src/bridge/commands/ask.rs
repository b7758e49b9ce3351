//! A command as a value, for protocols whose messages carry it in themselves: read where it comes in, carried out later.

use super::id;
use crate::{
    bridge::{
        Inner, commands,
        reject::{Rejection, rev_of},
    },
    clock,
    domain::{OrderId, Stage, Verb},
    geo::Datum,
    wire::{
        FieldError,
        access::{Principal, Right},
        answer::Outcome,
        command::check_key,
        problem::Problem,
        query::OrderQuery,
        tracking::{self, Tracking},
    },
};
use bytes::Bytes;

/// What a client asks to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bridge) enum Ask {
    /// A command to an order, as `POST /v1/orders/{order}/{verb}`.
    Order { order: OrderId, verb: Verb, key: Option<String>, if_match: Option<u64>, payload: Bytes },
    /// A report in the flat shape.
    Tracking { key: Option<String>, payload: Bytes },
}

impl Ask {
    /// A command to an order, of its id and its verb as text.
    pub(in crate::bridge) fn order(
        (order, verb): (&str, &str),
        (key, if_match): (Option<&str>, Option<&str>),
        payload: Bytes,
    ) -> Result<Self, Rejection> {
        let order = id("order", order)?;
        let found = Verb::ALL.into_iter().find(|known| *known != Verb::Create && known.name() == verb);
        let verb = found.ok_or_else(|| commands::no_order_verb(verb))?;
        let key = Some(check_key(key)?.to_owned());
        Ok(Self::Order { order, verb, key, if_match: if_match.map(rev_of).transpose()?, payload })
    }

    /// A report. It says how things are, so it needs no key.
    pub(in crate::bridge) fn tracking(key: Option<&str>, payload: Bytes) -> Result<Self, Rejection> {
        let key = key.map(|key| check_key(Some(key)).map(str::to_owned)).transpose()?;
        Ok(Self::Tracking { key, payload })
    }

    /// Bytes that it takes while it waits, about.
    pub(in crate::bridge) fn weight(&self) -> usize {
        let (Self::Order { payload, .. } | Self::Tracking { payload, .. }) = self;
        payload.len() + 256
    }

    /// Does it, as `who`, with places in `datum`. Resolves when the outcome is stored.
    pub(in crate::bridge) async fn perform(
        self,
        bridge: &Inner,
        who: &Principal,
        datum: Datum,
    ) -> Result<Outcome, Problem> {
        let outcome = match self {
            Self::Order { order, verb, key, if_match, payload } => {
                commands::order(bridge, who, verb, order, (key, if_match), payload).await
            }
            Self::Tracking { key, payload } => tracked(bridge, who, datum, key, &payload).await,
        };
        match outcome {
            Ok(Outcome::Refused(refusal)) => Err(refusal.into()),
            Ok(outcome @ (Outcome::Accepted(_) | Outcome::Fixes(_))) => Ok(outcome),
            Err(Rejection(problem)) => Err(*problem),
        }
    }
}

/// A report is of an order that is the reporter's own, as it is now.
async fn tracked(
    bridge: &Inner,
    who: &Principal,
    datum: Datum,
    key: Option<String>,
    payload: &[u8],
) -> Result<Outcome, Rejection> {
    let asked = tracking::read(payload, who, datum, clock::wall())?;
    let query = OrderQuery { order: asked.order().clone() };
    match asked {
        Tracking::Fix { rider, fix, .. } => {
            bridge.permit_id(who, Right::Report, "operatorId", rider.as_str())?;
            let snapshot = bridge.order_for(who, Right::ReadOrder, query).await?;
            if snapshot.state.pointer("/rider/id").and_then(|id| id.as_str()) != Some(rider.as_str()) {
                return Err(FieldError::new("operatorId", "is not the order's rider").into());
            }
            let payload = serde_json::to_vec(&fix).map_err(|e| FieldError::new("payload", e.to_string()))?;
            commands::rider(bridge, who, "fix", rider.as_str(), key, payload.into()).await
        }
        Tracking::Stage { order, warehouse, stage } => {
            bridge.permit_id(who, Right::Stage, "operatorId", warehouse.as_str())?;
            let snapshot = bridge.order_for(who, Right::ReadOrder, query).await?;
            let present = || snapshot.state.get("stage")?.as_str()?.parse::<Stage>().ok();
            // A status says less than a stage: the order is there, or beyond.
            let stage = stage.or_else(present).unwrap_or(Stage::Received);
            let names = (warehouse.as_str(), order.as_str(), stage.name());
            commands::stage(bridge, who, names, key, Bytes::new()).await
        }
    }
}
