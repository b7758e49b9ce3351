//! Destinations: what a page subscribes to and where it sends, as text and as values. Parsed and printed here only.

use crate::wire::{FieldError, topic::Topic};

/// What can be subscribed to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Topic(Topic),
    /// The session's heartbeats with the versions of all that is followed.
    Heartbeat,
    /// What became of SENDs that were refused, and that the token expires.
    Errors,
}

/// Where a SEND goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A report in the flat shape.
    Tracking,
    /// A newer token.
    Token,
    /// A command to an order; both still text.
    Order { order: &'a str, verb: &'a str },
}

/// The destination of [`Source::Errors`].
pub const ERRORS: &str = "/user/queue/errors";

/// The destination of [`Source::Heartbeat`].
pub const HEARTBEAT: &str = "/topic/heartbeat";

/// Reads a SUBSCRIBE's destination.
pub fn source(text: &str) -> Result<Source, FieldError> {
    let id = |e: crate::domain::ids::IdError| FieldError::new("destination", format!("the id {e}"));
    let parts: Vec<_> = text.split('/').collect();
    Ok(match &parts[..] {
        ["", "topic", "orders", order] => Source::Topic(Topic::Whole(order.parse().map_err(id)?)),
        ["", "topic", "orders", order, "delta"] => Source::Topic(Topic::Order(order.parse().map_err(id)?)),
        ["", "topic", "riders", rider] => Source::Topic(Topic::Rider(rider.parse().map_err(id)?)),
        ["", "topic", "warehouses", warehouse] => Source::Topic(Topic::Warehouse(warehouse.parse().map_err(id)?)),
        ["", "topic", "cell"] => Source::Topic(Topic::Cell),
        ["", "topic", "alerts"] => Source::Topic(Topic::Alerts),
        ["", "topic", "heartbeat"] => Source::Heartbeat,
        ["", "user", "queue", "errors"] => Source::Errors,
        _ => {
            return Err(FieldError::new(
                "destination",
                "must be /topic/orders/{id}, /topic/orders/{id}/delta, /topic/riders/{id}, /topic/warehouses/{id}, \
                 /topic/cell, /topic/alerts, /topic/heartbeat or /user/queue/errors",
            ));
        }
    })
}

/// Reads a SEND's destination.
pub fn target(text: &str) -> Result<Target<'_>, FieldError> {
    let parts: Vec<_> = text.split('/').collect();
    match &parts[..] {
        ["", "app", "tracking"] => Ok(Target::Tracking),
        ["", "app", "token"] => Ok(Target::Token),
        ["", "app", "orders", order, verb] => Ok(Target::Order { order, verb }),
        _ => Err(FieldError::new("destination", "must be /app/tracking, /app/token or /app/orders/{id}/{verb}")),
    }
}

/// A topic's destination. It needs no escape in any version: ids are tokens.
pub fn of_topic(topic: &Topic) -> String {
    match topic {
        Topic::Whole(order) => format!("/topic/orders/{order}"),
        Topic::Order(order) => format!("/topic/orders/{order}/delta"),
        Topic::Rider(rider) => format!("/topic/riders/{rider}"),
        Topic::Warehouse(warehouse) => format!("/topic/warehouses/{warehouse}"),
        Topic::Cell => "/topic/cell".into(),
        Topic::Alerts => "/topic/alerts".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_come_back_from_their_text() {
        for text in [
            "/topic/orders/o1",
            "/topic/orders/delta",
            "/topic/orders/o1/delta",
            "/topic/riders/r1",
            "/topic/warehouses/w-1",
            "/topic/cell",
            "/topic/alerts",
        ] {
            let Ok(Source::Topic(topic)) = source(text) else { panic!("{text}") };
            assert_eq!(of_topic(&topic), text);
        }
        assert_eq!((source(HEARTBEAT), source(ERRORS)), (Ok(Source::Heartbeat), Ok(Source::Errors)));
        for text in [
            "",
            "/",
            "/topic",
            "/topic/orders",
            "/topic/orders/",
            "/topic/orders/a.b",
            "/topic/orders/o1/whole",
            "/topic/orders/o1/delta/",
            "topic/orders/o1",
            "/topic/orders/*",
            "/topic/cell/x",
            "/queue/x",
            "/user/queue/errors/",
        ] {
            assert_eq!(source(text).map_err(|e| e.field), Err("destination".into()), "{text}");
        }
        assert_eq!(target("/app/tracking"), Ok(Target::Tracking));
        assert_eq!(target("/app/orders/o1/pay"), Ok(Target::Order { order: "o1", verb: "pay" }));
        for text in ["/app", "/app/orders/o1", "/app/orders/o1/pay/x", "/topic/orders/o1", "/app/tracking/"] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
