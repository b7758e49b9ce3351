//! Clients of a running Trunkline, for the programs that act as the outside world: shops, warehouses, riders' phones and
//! watching screens. They speak HTTP, NATS and WebSocket by the public contract in `wire` and know nothing of the inside,
//! so that what they measure is what others would see.

mod agree;
mod bearer;
mod board;
mod follower;
mod http;
mod nats;
mod pace;
mod record;

pub use agree::{Agreement, Mismatch, agreement};
pub use bearer::{Token, TokenOptions};
pub use board::{Board, FollowTally, Followed, StatusChange};
pub use follower::{Follower, FollowerOptions, Followers};
pub use http::Http;
pub use nats::{Answered, Nats};
pub use pace::Pace;
pub(crate) use pace::announce;
pub use record::Record;

use crate::wire::problem::Problem;
use std::{path::Path, time::Duration};

/// Why something asked of the running system didn't happen.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// The system said no; repeating wouldn't help.
    #[error("{request}: {} {}{}{}", .problem.status, .problem.title, about(.problem), .problem.detail.as_deref().map(|d| format!(": {d}")).unwrap_or_default())]
    Refused { request: String, problem: Box<Problem> },
    /// No answer within the patience, whatever was tried.
    #[error("{request}: no answer after {tries} tries: {last}")]
    NoAnswer { request: String, tries: u32, last: String },
    /// An answer that isn't of the contract.
    #[error("{request}: answered with what can't be read: {reason}")]
    Unreadable { request: String, reason: String },
    /// An address or an argument that can't be used.
    #[error("{field}: {reason}")]
    Argument { field: &'static str, reason: String },
}

fn about(problem: &Problem) -> String {
    problem.field.as_deref().map(|field| format!(" ({field})")).unwrap_or_default()
}

/// Waits between tries: doubling from 50 ms to 2 s. Without jitter: these programs are alone.
pub(crate) fn backoff(tries: u32) -> Duration {
    Duration::from_millis((50u64 << tries.min(6)).min(2_000))
}

/// Prints a line for people.
#[allow(clippy::print_stdout, reason = "this is the command line's output")]
pub(crate) fn say(line: impl std::fmt::Display) {
    println!("{line}");
}

/// A body of the contract as bytes. Those types always serialise; an empty payload would be refused and named.
pub(crate) fn json<T: serde::Serialize>(body: &T) -> bytes::Bytes {
    serde_json::to_vec(body).unwrap_or_default().into()
}

/// Writes a summary for other programs, whole or not at all.
pub(crate) fn write_json<T: serde::Serialize>(path: &Path, summary: &T) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, serde_json::to_vec_pretty(summary)?)?;
    Ok(std::fs::rename(&part, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_and_is_bounded() {
        assert_eq!(backoff(0), Duration::from_millis(50));
        assert_eq!(backoff(3), Duration::from_millis(400));
        assert_eq!(backoff(60), Duration::from_secs(2));
    }

    #[test]
    fn a_refusal_names_the_field_and_the_reason() {
        let problem =
            Box::new(Problem::new(409, "transition", "Not possible").with_field("status").with_detail("paid"));
        let error = OutsideError::Refused { request: "POST /v1/orders/o/pay".into(), problem };
        assert_eq!(error.to_string(), "POST /v1/orders/o/pay: 409 Not possible (status): paid");
    }
}
