//! Settings of the routing engine that is asked for routes, if there is one.

use super::ConfigError;
use crate::domain::ids::is_token;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `[routing]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingSettings {
    /// An OSRM-compatible server, as `http://127.0.0.1:5000`; without it, no routes are asked for.
    pub osrm_url: Option<String>,
    /// What the riders ride, as the server calls it.
    pub profile: String,
    /// For the whole answer to one question.
    pub timeout_ms: u64,
    /// Questions at once.
    pub in_flight: usize,
}

impl Default for RoutingSettings {
    fn default() -> Self {
        Self { osrm_url: None, profile: "cycling".into(), timeout_ms: 5_000, in_flight: 4 }
    }
}

/// The same, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Without a slash at its end.
    pub osrm_url: String,
    pub profile: String,
    pub timeout: Duration,
    pub in_flight: usize,
}

impl RoutingSettings {
    /// `None` where no server is named.
    pub fn check(&self) -> Result<Option<Routing>, ConfigError> {
        let bad = |key, reason: String| ConfigError::Key { key, reason };
        if !is_token(&self.profile) {
            return Err(bad("routing.profile", format!("`{}` must be [A-Za-z0-9_-]{{1,64}}", self.profile)));
        }
        if !(10..=60_000).contains(&self.timeout_ms) {
            return Err(bad("routing.timeout_ms", "must be 10 to 60000".into()));
        }
        if !(1..=64).contains(&self.in_flight) {
            return Err(bad("routing.in_flight", "must be 1 to 64".into()));
        }
        let Some(text) = &self.osrm_url else { return Ok(None) };
        let url = reqwest::Url::parse(text).map_err(|e| bad("routing.osrm_url", e.to_string()))?;
        let plain = url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || !plain {
            return Err(bad("routing.osrm_url", "must be as http://127.0.0.1:5000".into()));
        }
        Ok(Some(Routing {
            osrm_url: text.trim_end_matches('/').to_owned(),
            profile: self.profile.clone(),
            timeout: Duration::from_millis(self.timeout_ms),
            in_flight: self.in_flight,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_each_key() {
        let plain = RoutingSettings::default();
        assert_eq!(plain.check().unwrap(), None);
        let with = |url: &str| RoutingSettings { osrm_url: Some(url.into()), ..RoutingSettings::default() };
        assert_eq!(with("http://127.0.0.1:5000/").check().unwrap().unwrap().osrm_url, "http://127.0.0.1:5000");
        assert_eq!(with("https://me:hush@maps/osrm/").check().unwrap().unwrap().osrm_url, "https://me:hush@maps/osrm");
        for url in ["127.0.0.1:5000", "ftp://a/", "http://", "http://a/?x=1", "http://a/#x", ""] {
            let error = with(url).check().unwrap_err().to_string();
            assert!(error.contains("routing.osrm_url") && !error.contains("hush"), "{url}: {error}");
        }
        for (settings, key) in [
            (RoutingSettings { profile: "a/b".into(), ..plain.clone() }, "routing.profile"),
            (RoutingSettings { timeout_ms: 0, ..plain.clone() }, "routing.timeout_ms"),
            (RoutingSettings { in_flight: 0, ..plain.clone() }, "routing.in_flight"),
            (RoutingSettings { in_flight: 65, ..plain }, "routing.in_flight"),
        ] {
            assert!(settings.check().unwrap_err().to_string().contains(key));
        }
    }
}
