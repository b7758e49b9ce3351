//! One question to an OSRM-compatible server, and what is made of its answer. The server is somebody else's: what it says is
//! bounded, checked against what was asked, and believed only then.

use crate::{
    config::Routing,
    domain::effect::RouteEnds,
    geo::{Datum, Point, distance_m},
    wire::route::RouteBody,
};
use reqwest::StatusCode;
use serde::Deserialize;

/// A route of 10,000 points takes some 100 kB; an engine's own waypoints and legs stand beside it.
const BODY_MAX_BYTES: usize = 1 << 20;

/// A route that begins or ends farther than this from where it was asked for is another one: an engine that knows only
/// another city's streets answers with the nearest street there.
const FAR_M: f64 = 500.0;

/// Decimals of the geometry that is asked for.
const PRECISION: u8 = 6;

/// Why there is no route.
#[derive(Debug, thiserror::Error)]
pub(super) enum OsrmError {
    #[error("{0}")]
    Request(reqwest::Error),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("answered more than {BODY_MAX_BYTES} bytes")]
    TooLarge,
    #[error("no OSRM answer: {0}")]
    Garbled(String),
    /// `NoRoute`, `NoSegment`, `InvalidQuery`, …
    #[error("answered `{0}`")]
    Code(String),
    #[error("its route can't be taken: {0}")]
    Unusable(String),
}

/// Without the address, which may hold a password; the log's line needn't name it.
impl From<reqwest::Error> for OsrmError {
    fn from(error: reqwest::Error) -> Self {
        Self::Request(error.without_url())
    }
}

impl OsrmError {
    /// Whether the same question may have another answer soon.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Request(_) | Self::Garbled(_) => true,
            Self::Status(status) => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge | Self::Code(_) | Self::Unusable(_) => false,
        }
    }

    /// The metric's label.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Request(_) | Self::Status(_) => "unreachable",
            Self::Garbled(_) | Self::TooLarge | Self::Unusable(_) => "unusable",
            Self::Code(_) => "no_route",
        }
    }
}

/// Where to ask, and how.
#[derive(Clone, Debug)]
pub(super) struct Osrm {
    http: reqwest::Client,
    /// Up to the coordinates.
    base: String,
}

#[derive(Deserialize)]
struct Answer {
    code: String,
    #[serde(default)]
    routes: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    geometry: String,
}

impl Osrm {
    pub(super) fn new(routing: &Routing) -> Result<Self, reqwest::Error> {
        // A proxy of the environment isn't configuration, and a redirect could lead anywhere.
        let http = reqwest::Client::builder()
            .connect_timeout(routing.timeout)
            .timeout(routing.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { http, base: format!("{}/route/v1/{}", routing.osrm_url, routing.profile) })
    }

    /// The engine's first route between the ends, as it was encoded; checked.
    pub(super) async fn route(&self, ends: RouteEnds) -> Result<RouteBody, OsrmError> {
        let place = |point: Point| format!("{:.7},{:.7}", point.lon(), point.lat());
        let RouteEnds { from, to } = ends;
        let url = format!("{}/{};{}?overview=full&geometries=polyline6", self.base, place(from), place(to));
        let mut response = self.http.get(url).send().await?;
        let status = response.status();
        // With 400 it says in JSON why there is none.
        if status != StatusCode::OK && status != StatusCode::BAD_REQUEST {
            return Err(OsrmError::Status(status));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > BODY_MAX_BYTES {
                return Err(OsrmError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        match read(&body, ends) {
            Err(OsrmError::Garbled(_)) if status != StatusCode::OK => Err(OsrmError::Status(status)),
            read => read,
        }
    }
}

fn read(body: &[u8], ends: RouteEnds) -> Result<RouteBody, OsrmError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|e| OsrmError::Garbled(e.to_string()))?;
    if answer.code != "Ok" {
        // Somebody else's text, for a line of the log.
        let code = answer.code.chars().filter(|c| c.is_ascii_alphanumeric()).take(40).collect();
        return Err(OsrmError::Code(code));
    }
    let Some(Found { geometry }) = answer.routes.into_iter().next() else {
        return Err(OsrmError::Garbled("no routes in it".into()));
    };
    let body = RouteBody::Polyline { polyline: geometry, precision: PRECISION };
    let route = body.clone().route(Datum::Wgs84).map_err(|e| OsrmError::Unusable(e.to_string()))?;
    let ends = [("begins", route.points.first(), ends.from), ("ends", route.points.last(), ends.to)];
    for (what, point, asked) in ends {
        let far_m = point.map_or(f64::INFINITY, |point| distance_m(*point, asked));
        if far_m > FAR_M {
            return Err(OsrmError::Unusable(format!("it {what} {far_m:.0} m from where it should")));
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::route::encode_polyline;
    use serde_json::json;

    fn ends() -> RouteEnds {
        let point = |lat, lon| Point::from_degrees(lat, lon).unwrap();
        RouteEnds { from: point(31.2, 121.4), to: point(31.21, 121.45) }
    }

    fn answer(line: &[(f64, f64)]) -> Result<RouteBody, OsrmError> {
        let geometry = encode_polyline(line, PRECISION).unwrap();
        read(json!({"code": "Ok", "routes": [{"geometry": geometry}]}).to_string().as_bytes(), ends())
    }

    #[test]
    fn takes_what_leads_from_one_end_to_the_other() {
        assert!(answer(&[(31.2001, 121.4001), (31.205, 121.43), (31.2099, 121.4499)]).is_ok());
        let refused = |line: &[(f64, f64)]| match answer(line) {
            Err(error @ OsrmError::Unusable(_)) => (error.is_passing(), error.to_string()),
            other => panic!("{other:?}"),
        };
        let (again, why) = refused(&[(31.2, 121.406), (31.21, 121.45)]);
        assert!(!again && why.contains("begins 571 m"), "{why}");
        assert!(refused(&[(31.2, 121.4), (30.0, 121.45)]).1.contains("ends"));
        assert!(refused(&[(31.2, 121.4)]).1.contains("2 to 10000 points"));
        assert!(refused(&[]).1.contains("2 to 10000 points"));
        assert!(refused(&[(31.2, 121.4); 10_001]).1.contains("2 to 10000 points"));
    }

    #[test]
    fn tells_refusals_from_garbage() {
        let outcome = |body: &str| {
            let error = read(body.as_bytes(), ends()).unwrap_err();
            (error.outcome(), error.is_passing())
        };
        assert_eq!(outcome(r#"{"code":"NoRoute","message":"Impossible route"}"#), ("no_route", false));
        assert_eq!(outcome("<html>"), ("unusable", true));
        assert_eq!(outcome(r#"{"code":"Ok"}"#), ("unusable", true));
        assert_eq!(outcome(r#"{"code":"Ok","routes":[{"geometry":"_"}]}"#), ("unusable", false));
        assert_eq!(outcome(r#"{"code":"Ok","routes":[{"geometry":{"type":"LineString"}}]}"#), ("unusable", true));
    }
}
