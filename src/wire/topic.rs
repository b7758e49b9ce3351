//! What a client can follow on `/v1/ws`, as text and as a value.

use super::{FieldError, access::Right};
use crate::domain::{OrderId, RiderId, WarehouseId, ids::IdError};
use std::{fmt, str::FromStr};

/// A topic. As text: `order/{id}`, `order/{id}/whole`, `rider/{id}`, `warehouse/{id}`, `cell`, `alerts`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// One order, in the follower's view.
    Order(OrderId),
    /// The same as a [`super::whole`] body, of which each change is a whole one, for clients that don't merge.
    Whole(OrderId),
    /// A rider's own trip and stops.
    Rider(RiderId),
    /// A warehouse's orders, their stages, and when the riders arrive.
    Warehouse(WarehouseId),
    /// All riders and active orders of the cell.
    Cell,
    /// The cell's alerts.
    Alerts,
}

/// What the topic of whole bodies ends with.
const WHOLE: &str = "whole";
const WHOLE_END: &str = "/whole";

impl Topic {
    /// What it takes to follow it.
    pub fn right(&self) -> Right {
        match self {
            Self::Order(_) | Self::Whole(_) => Right::FollowOrder,
            Self::Rider(_) => Right::FollowRider,
            Self::Warehouse(_) => Right::FollowWarehouse,
            Self::Cell => Right::FollowCell,
            Self::Alerts => Right::FollowAlerts,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(id) => write!(f, "order/{id}"),
            Self::Whole(id) => write!(f, "order/{id}/{WHOLE}"),
            Self::Rider(id) => write!(f, "rider/{id}"),
            Self::Warehouse(id) => write!(f, "warehouse/{id}"),
            Self::Cell => f.write_str("cell"),
            Self::Alerts => f.write_str("alerts"),
        }
    }
}

impl FromStr for Topic {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let id = |kind: &str, e: IdError| FieldError::new("topic", format!("{kind}/{{id}}: the id {e}"));
        match text.split_once('/') {
            Some((kind @ "order", of)) if of.ends_with(WHOLE_END) => {
                of[..of.len() - WHOLE_END.len()].parse().map(Self::Whole).map_err(|e| id(kind, e))
            }
            Some((kind @ "order", of)) => of.parse().map(Self::Order).map_err(|e| id(kind, e)),
            Some((kind @ "rider", of)) => of.parse().map(Self::Rider).map_err(|e| id(kind, e)),
            Some((kind @ "warehouse", of)) => of.parse().map(Self::Warehouse).map_err(|e| id(kind, e)),
            None if text == "cell" => Ok(Self::Cell),
            None if text == "alerts" => Ok(Self::Alerts),
            Some(_) | None => Err(FieldError::new(
                "topic",
                "must be order/{id}, order/{id}/whole, rider/{id}, warehouse/{id}, cell or alerts",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_comes_back_from_its_text() {
        for text in ["order/a", "order/whole", "order/a/whole", "rider/r-1", "warehouse/W_2", "cell", "alerts"] {
            assert_eq!(text.parse::<Topic>().unwrap().to_string(), text);
        }
        for text in
            ["", "order", "order/", "order/a.b", "order/a/half", "order//whole", "cells", "cell/x", "alerts/", "user/u"]
        {
            assert_eq!(text.parse::<Topic>().unwrap_err().field, "topic", "{text}");
        }
    }
}
