//! What the session says, as frames: the two parts of a MESSAGE, and what receipts tell.

use crate::{
    bridge::{
        frame::Frame,
        stomp::{
            destination,
            print::Text,
            subscriptions::{AckMode, Began, Delivery, Name, Place},
            version::{Dialect, Version},
        },
    },
    wire::{answer::Outcome, client::Recovery, topic::Topic},
};
use bytes::Bytes;

/// The media type of all bodies but problems.
pub(super) const JSON: &str = "application/json";

/// The begin of a MESSAGE: what is of this delivery alone.
pub(super) fn head(delivery: &Delivery<'_>, version: Version, dialect: Dialect) -> Text {
    let text = Text::new("MESSAGE", dialect);
    let text = match delivery.name {
        Name::Id(id) => text.header("subscription", id),
        Name::Destination(_) => text,
    };
    let text = text.number("message-id", delivery.message);
    let acks = version == Version::V12 && delivery.ack != AckMode::Auto;
    let text = if acks { text.number("ack", delivery.message) } else { text };
    match delivery.began {
        Some(began) => with_begin(text, began),
        None => text,
    }
}

/// How a subscription began, as headers.
pub(super) fn with_begin(text: Text, Began { how, missed }: Began) -> Text {
    let text = text.header("recovery", word(how));
    match missed {
        Some(missed) => text.number("missed", missed),
        None => text,
    }
}

/// The rest of a MESSAGE, the same for all versions: nothing in it needs an escape.
pub(super) fn shared(frame: &Frame, topic: &Topic, place: Place) -> Bytes {
    let body = match topic {
        Topic::Whole(_) => frame.state(),
        Topic::Order(_) | Topic::Rider(_) | Topic::Warehouse(_) | Topic::Cell | Topic::Alerts => None,
    };
    Text::rest(Dialect::Connect, 192)
        .header("destination", &destination::of_topic(topic))
        .number("version", place.version)
        .number("epoch", place.epoch)
        .body(JSON, &body.unwrap_or_else(|| frame.json()))
}

fn word(recovery: Recovery) -> &'static str {
    match recovery {
        Recovery::Fresh => "fresh",
        Recovery::Resumed => "resumed",
        Recovery::Reset => "reset",
    }
}

/// A receipt tells how the order stands now.
pub(super) fn with_outcome(text: Text, outcome: &Outcome) -> Text {
    match outcome {
        Outcome::Accepted(acceptance) => {
            let text = text.number("version", acceptance.version).number("rev", acceptance.rev);
            match acceptance.status {
                Some(status) => text.number("status", status.code().into()),
                None => text,
            }
        }
        Outcome::Fixes(tally) => text.number("kept", tally.kept().into()),
        Outcome::Refused(_) => text,
    }
}
