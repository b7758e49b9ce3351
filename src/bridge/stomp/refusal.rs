//! What was refused, as an `ERROR` or as a message, and with which code the connection closes after an `ERROR`.

use super::{
    codec::BadFrame,
    print::Text,
    version::{Dialect, Version},
};
use crate::wire::{FieldError, client::Close, problem::Problem};
use bytes::Bytes;

/// The media type of a problem.
pub(super) const PROBLEM: &str = "application/problem+json";

/// A refusal that ends the connection.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) problem: Problem,
    /// Of the frame that it is about.
    pub(super) receipt: Option<String>,
    /// No version fits: say which ones do.
    pub(super) versions: bool,
}

impl Refusal {
    pub(super) fn new(problem: impl Into<Problem>, receipt: Option<&str>) -> Self {
        Self { problem: problem.into(), receipt: receipt.map(str::to_owned), versions: false }
    }

    /// A header that isn't there.
    pub(super) fn missing(header: &str, receipt: Option<&str>) -> Self {
        Self::new(FieldError::new(header, "is missing"), receipt)
    }

    /// The `ERROR`.
    pub(super) fn text(&self, dialect: Dialect) -> Bytes {
        let supported = Version::ALL.map(Version::name).join(",");
        Text::new("ERROR", dialect)
            .header("message", &self.problem.title)
            .maybe("receipt-id", self.receipt.as_deref())
            .maybe("version", self.versions.then_some(&*supported))
            .body(PROBLEM, &json(&self.problem))
    }

    /// With which the connection closes.
    pub(super) fn close(&self) -> Close {
        match (self.problem.status, self.problem.kind.as_str()) {
            (_, "bad_frame") => Close::BadFrames,
            (401, _) => Close::Unauthorized,
            (413, _) => Close::FrameTooLarge,
            (429 | 500.., _) => Close::GoingAway,
            _ => Close::Refused,
        }
    }
}

impl From<BadFrame> for Problem {
    fn from(error: BadFrame) -> Self {
        let (status, kind) = if error.is_too_large() { (413, "too_large") } else { (400, "bad_frame") };
        Self::new(status, kind, "Not a STOMP frame").with_field("frame").with_detail(error.to_string())
    }
}

/// What is said before a close that no frame of the client's led to. None where coming back is all that the client can do, for
/// a page that hears an `ERROR` and then the close might come back twice.
pub(super) fn of_close(close: Close) -> Option<Problem> {
    match close {
        Close::SlowConsumer | Close::GoingAway | Close::Done => None,
        Close::FrameTooLarge => Some(Problem::new(413, "too_large", "A message is too large").with_field("payload")),
        Close::BadFrames => Some(Problem::new(400, "bad_frame", "Too many bad frames").with_field("frame")),
        Close::TokenExpired => {
            Some(Problem::new(401, "unauthorized", "The token has expired and no newer one came").with_field("token"))
        }
        Close::Unauthorized => Some(Problem::new(401, "unauthorized", "Who is asking isn't known").with_field("token")),
        Close::Revoked => Some(Problem::new(401, "revoked", "The share link was revoked").with_field("token")),
        Close::Refused => Some(Problem::new(403, "refused", "Refused")),
    }
}

/// Ours always serialize: their maps have string keys.
pub(super) fn json(problem: &Problem) -> Vec<u8> {
    serde_json::to_vec(problem).unwrap_or_default()
}
