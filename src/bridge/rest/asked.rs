//! What routes take beside their bodies, for the document: paths, headers and queries with the bounds that their parsers
//! ([`crate::bridge::params`], the extractors of [`crate::bridge::reject`]) check. A test sends each to its route.

#![allow(dead_code, reason = "shapes for the document; nothing is made of them")]

use crate::wire::{
    alert::{KindName, SeverityName, StateName},
    schema::{DatumName, FixesDrawn, FormatName, Id, Millis, RouteFormatName, StageName, StatusCode},
};
use utoipa::{IntoParams, ToSchema};

/// `{}`, or nothing at all.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OrderPath {
    #[param(value_type = Id)]
    pub order: String,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct SharePath {
    #[param(value_type = Id)]
    pub order: String,
    #[param(value_type = Id)]
    pub share: String,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct RiderPath {
    #[param(value_type = Id)]
    pub rider: String,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct StagePath {
    #[param(value_type = Id)]
    pub warehouse: String,
    #[param(value_type = Id)]
    pub order: String,
    #[param(value_type = StageName)]
    pub stage: String,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct CommandHeaders {
    /// The same key twice has the effect and the answer of once.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 200, pattern = r"^[!-~]([\t -~]{0,198}[!-~])?$")]
    pub key: String,
    /// The rev at which the order must be, as `if_rev` in the body.
    #[param(
        rename = "If-Match",
        required = false,
        nullable = false,
        pattern = r#"^(W/)?("[0-9]{1,19}"|[0-9]{1,19})$"#
    )]
    pub if_match: Option<String>,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct CreateHeaders {
    /// The same key twice has the effect and the answer of once.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 200, pattern = r"^[!-~]([\t -~]{0,198}[!-~])?$")]
    pub key: String,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct ReportHeaders {
    /// Taken, but not asked for.
    #[param(
        rename = "Idempotency-Key",
        required = false,
        nullable = false,
        min_length = 1,
        max_length = 200,
        pattern = r"^[!-~]([\t -~]{0,198}[!-~])?$"
    )]
    pub key: Option<String>,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DatumParams {
    /// What the client's map refers to; WGS-84 without it.
    #[param(value_type = DatumName, required = false)]
    pub datum: Option<String>,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Any of these, by commas.
    #[param(value_type = Vec<StatusCode>, required = false, style = Form, explode = false, min_items = 1)]
    pub status: Option<Vec<u8>>,
    #[param(value_type = Id, required = false)]
    pub rider: Option<String>,
    #[param(value_type = Id, required = false)]
    pub warehouse: Option<String>,
    /// The customer, by the shop's id.
    #[param(value_type = Id, required = false)]
    pub user: Option<String>,
    /// For operations: orders whose contact's telephone number ends with these digits.
    #[param(required = false, nullable = false, pattern = "^[0-9]{3,8}$", example = "5678")]
    pub phone_tail: Option<String>,
    #[param(value_type = Millis, required = false)]
    pub created_from_ms: Option<i64>,
    /// Before this.
    #[param(value_type = Millis, required = false)]
    pub created_to_ms: Option<i64>,
    #[param(value_type = Millis, required = false)]
    pub updated_from_ms: Option<i64>,
    /// Before this.
    #[param(value_type = Millis, required = false)]
    pub updated_to_ms: Option<i64>,
    /// Only active orders whose destination or position lies in this box: west,south,east,north.
    #[param(
        rename = "box",
        required = false,
        nullable = false,
        pattern = r"^-?[0-9.]+(,-?[0-9.]+){3}$",
        example = "121.3,31.1,121.6,31.4"
    )]
    pub within: Option<String>,
    /// The `next` of the previous page.
    #[param(required = false, nullable = false, pattern = r"^[0-9a-f]{1,16}\.[A-Za-z0-9_-]{1,64}$")]
    pub cursor: Option<String>,
    #[param(required = false, nullable = false, minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TrackParams {
    /// Without it, what `Accept` takes best, JSON before the others.
    #[param(value_type = FormatName, required = false)]
    pub format: Option<String>,
    /// Which fixes GeoJSON and GPX draw; the good ones without it.
    #[param(value_type = FixesDrawn, required = false)]
    pub fixes: Option<String>,
    /// The `next` of the previous page; with JSON only, as is `limit`.
    #[param(required = false, nullable = false)]
    pub after: Option<i64>,
    #[param(required = false, nullable = false, minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct AlertPath {
    /// The order and the alert's number within it.
    #[param(pattern = r"^[A-Za-z0-9_-]{1,64}\.[0-9]{1,10}$", example = "o-1.1")]
    pub alert: String,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AlertsParams {
    /// Any of these, by commas; without it those that are open: raised or acknowledged.
    #[param(value_type = Vec<StateName>, required = false, style = Form, explode = false, min_items = 1)]
    pub state: Option<Vec<String>>,
    /// Any of these, by commas.
    #[param(value_type = Vec<KindName>, required = false, style = Form, explode = false, min_items = 1)]
    pub kind: Option<Vec<String>>,
    /// Any of these, by commas.
    #[param(value_type = Vec<SeverityName>, required = false, style = Form, explode = false, min_items = 1)]
    pub severity: Option<Vec<String>>,
    #[param(value_type = Id, required = false)]
    pub order: Option<String>,
    /// Who had the order when it was raised.
    #[param(value_type = Id, required = false)]
    pub rider: Option<String>,
    /// Detected at this time or later.
    #[param(value_type = Millis, required = false)]
    pub from_ms: Option<i64>,
    /// Detected before this.
    #[param(value_type = Millis, required = false)]
    pub to_ms: Option<i64>,
    /// The `next` of the previous page.
    #[param(required = false, nullable = false, pattern = r"^[0-9a-f]{1,16}\.[A-Za-z0-9_-]{1,64}\.[0-9]{1,10}$")]
    pub cursor: Option<String>,
    #[param(required = false, nullable = false, minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RouteParams {
    /// In which form; GeoJSON without it.
    #[param(value_type = RouteFormatName, required = false)]
    pub format: Option<String>,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PassedParams {
    /// west,south,east,north; this or a fence. At most some 60 km by 35 km.
    #[param(
        rename = "box",
        required = false,
        nullable = false,
        pattern = r"^-?[0-9.]+(,-?[0-9.]+){3}$",
        example = "121.47,31.22,121.48,31.23"
    )]
    pub within: Option<String>,
    /// A polygon of 3 to 200 corners as an encoded polyline of precision 5.
    #[param(required = false, nullable = false, max_length = 2400, pattern = "^[?-~]+$")]
    pub fence: Option<String>,
    #[param(value_type = Millis)]
    pub from_ms: i64,
    /// Before this. The larger the box, the shorter the time that is looked at: ten days of 10 km by 10 km.
    #[param(value_type = Millis)]
    pub to_ms: i64,
    /// The `next` of the previous page.
    #[param(value_type = Id, required = false)]
    pub cursor: Option<String>,
    #[param(required = false, nullable = false, minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct NearestParams {
    #[param(minimum = -90, maximum = 90, example = 31.21)]
    pub lat: f64,
    #[param(minimum = -180, maximum = 180, example = 121.45)]
    pub lon: f64,
    /// How many; 10 without it.
    #[param(required = false, nullable = false, minimum = 1, maximum = 100)]
    pub k: Option<u32>,
    /// Only those on shift who have room for another order.
    #[param(required = false, nullable = false)]
    pub free: Option<bool>,
    #[param(required = false, nullable = false, minimum = 0)]
    pub max_distance_m: Option<f64>,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RidersParams {
    /// west,south,east,north; this or a fence.
    #[param(
        rename = "box",
        required = false,
        nullable = false,
        pattern = r"^-?[0-9.]+(,-?[0-9.]+){3}$",
        example = "121.3,31.1,121.6,31.4"
    )]
    pub within: Option<String>,
    /// A polygon of 3 to 200 corners as an encoded polyline of precision 5.
    #[param(required = false, nullable = false, max_length = 2400, pattern = "^[?-~]+$")]
    pub fence: Option<String>,
    /// Only those on shift who have room for another order.
    #[param(required = false, nullable = false)]
    pub free: Option<bool>,
    /// The `next` of the previous page.
    #[param(value_type = Id, required = false)]
    pub cursor: Option<String>,
    #[param(required = false, nullable = false, minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}
