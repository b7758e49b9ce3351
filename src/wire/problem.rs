//! `application/problem+json` (RFC 9457), the shape of every error over HTTP and WebSocket.

use super::{FieldError, answer::RefusalBody, schema::StatusCode};
use crate::domain::Status;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An error. `field` names what to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Stable name, as `transition`; a relative reference into the documentation.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    /// HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// With `transition`: the order's status and what would be possible; in a final one, an empty list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = StatusCode, required = false)]
    pub order_status: Option<Status>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Vec<String>>,
    /// With `rev_conflict`: both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_rev: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_rev: Option<u64>,
    /// Come again after this time, which is another for each; the header `Retry-After` says it in whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Problem {
    /// An error without a field.
    pub fn new(status: u16, kind: &str, title: &str) -> Self {
        Self {
            kind: kind.into(),
            title: title.into(),
            status,
            detail: None,
            field: None,
            order_status: None,
            allowed: None,
            if_rev: None,
            current_rev: None,
            retry_after_ms: None,
        }
    }

    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn with_retry_after(mut self, wait: std::time::Duration) -> Self {
        self.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }

    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self::new(400, "bad_input", "A field doesn't fit").with_field(error.field).with_detail(error.reason)
    }
}

impl From<RefusalBody> for Problem {
    /// The one place where refusals of the core become HTTP statuses.
    fn from(refusal: RefusalBody) -> Self {
        let (status, title) = match refusal.code.as_str() {
            "unknown_order" => (404, "There is no such order"),
            "order_exists" => (409, "The order exists already"),
            "transition" => (409, "Not possible in this status"),
            "rev_conflict" => (409, "The order has moved on"),
            "stage_back" => (409, "Stages don't go back"),
            "mismatch" => (409, "Not this order's"),
            "orders_in_hand" => (409, "The rider has orders in hand"),
            "too_many_commands" => (409, "Too many commands"),
            "set_aside" => (500, "The input was set aside"),
            _ => (422, "A field doesn't fit"),
        };
        Self {
            kind: refusal.code,
            title: title.into(),
            status,
            detail: Some(refusal.detail),
            field: Some(refusal.field),
            order_status: refusal.status,
            allowed: refusal.allowed,
            if_rev: refusal.if_rev,
            current_rev: refusal.current_rev,
            retry_after_ms: None,
        }
    }
}
