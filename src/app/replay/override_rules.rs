//! `KEY=VALUE` over the rules in force. Keys are the rules' own names, with dots where they are nested; a flat name may be
//! written with dots too (`off_route.raise_m` for `off_route_raise_m`).

use crate::domain::Rules;
use serde_json::Value;

/// A setting that can't be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    #[error("`{0}` isn't KEY=VALUE")]
    Form(String),
    #[error("`{key}` is no rule; the rules are {}", .known.join(", "))]
    Unknown { key: String, known: Vec<String> },
    #[error("{key}: {reason}")]
    Value { key: String, reason: String },
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides(Vec<(String, Value)>);

impl Overrides {
    /// Parses settings, and tries them on the default rules.
    pub fn parse<'a>(settings: impl IntoIterator<Item = &'a str>) -> Result<Self, SettingError> {
        let known = keys();
        let mut overrides = Vec::new();
        for setting in settings {
            let form = || SettingError::Form(setting.to_owned());
            let (name, value) = setting.split_once('=').ok_or_else(form)?;
            let name = name.trim();
            let same = |key: &&String| **key == name || **key == name.replace('.', "_");
            let Some(key) = known.iter().find(same) else {
                return Err(SettingError::Unknown { key: name.to_owned(), known });
            };
            // What isn't JSON is a word, as `nearest`.
            let value = serde_json::from_str(value.trim()).unwrap_or_else(|_| Value::from(value.trim()));
            overrides.push((key.clone(), value));
        }
        let overrides = Self(overrides);
        // Rules that came with a version are tried with the newest: which one applies, the log says.
        overrides.over(&Rules { rules_version: crate::domain::rules::RULES_VERSION, ..Rules::default() })?;
        Ok(overrides)
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These rules with the settings over them, checked as a `control.` message's are.
    pub fn over(&self, rules: &Rules) -> Result<Rules, SettingError> {
        if self.is_empty() {
            return Ok(*rules);
        }
        let wrong = |key: &str, reason: String| SettingError::Value { key: key.to_owned(), reason };
        let mut json = serde_json::to_value(rules).map_err(|e| wrong("rules", e.to_string()))?;
        let mut rules = *rules;
        for (key, value) in &self.0 {
            let pointer = format!("/{}", key.replace('.', "/"));
            if let Some(place) = json.pointer_mut(&pointer) {
                *place = value.clone();
            }
            rules = serde_json::from_value(json.clone()).map_err(|e| wrong(key, e.to_string()))?;
        }
        rules.check().map_err(|(field, reason)| wrong(field, reason))?;
        Ok(rules)
    }
}

impl std::fmt::Display for Overrides {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<_> = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        f.write_str(&all.join(" "))
    }
}

/// Every rule's name.
fn keys() -> Vec<String> {
    fn walk(at: &str, value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    walk(&if at.is_empty() { name.clone() } else { format!("{at}.{name}") }, value, out);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                out.push(at.to_owned());
            }
        }
    }
    let mut keys = Vec::new();
    walk("", &serde_json::to_value(Rules::default()).unwrap_or_default(), &mut keys);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Dispatch;

    #[test]
    fn settings_lie_over_whatever_rules_are_in_force() {
        let overrides = Overrides::parse(["unpaid_ms=60000", "max.speed.mps = 30", "dispatch=nearest"]).unwrap();
        let before = Rules { rules_version: 2, dwell_ms: 5, unpaid_ms: 7, ..Rules::default() };
        let after = overrides.over(&before).unwrap();
        assert_eq!((after.unpaid_ms, after.max_speed_mps, after.dispatch), (60_000, 30.0, Dispatch::Nearest));
        assert_eq!((after.dwell_ms, after.rules_version), (5, 2));
        assert_eq!(overrides.to_string(), r#"unpaid_ms=60000 max_speed_mps=30 dispatch="nearest""#);
        assert_eq!(Overrides::default().over(&before).unwrap(), before);
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let says = |setting: &str, words: &[&str]| {
            let error = Overrides::parse([setting]).unwrap_err().to_string();
            assert!(words.iter().all(|w| error.contains(w)), "{error}");
        };
        says("unpaid_ms", &["KEY=VALUE"]);
        says("off_piste=3", &["`off_piste`", "dwell_ms, ", "unpaid_ms"]);
        says("unpaid_ms=soon", &["unpaid_ms: "]);
        says("unpaid_ms=-1", &["unpaid_ms: must be"]);
        says("rules_version=99", &["rules_version: must be at most"]);
    }
}
