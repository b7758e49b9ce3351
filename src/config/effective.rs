//! Settings as key and value: what is in force, for an operator to read, and what a new reading of the file would change.

use super::Settings;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a running node takes over. Every other setting, also one that is added later, needs a restart.
const LIVE: [&str; 10] = [
    "auth.issuers",
    "auth.leeway_s",
    "auth.lifetime_max_s",
    "auth.secret",
    "auth.secret_file",
    "bridge.heartbeat_s",
    "log",
    "nats.log_max_mib",
    "tracker.heartbeat_s",
    "tracker.passivate_after_s",
];

/// Parts of a key's name whose values nobody should read in a terminal or a log.
const SECRET: [&str; 4] = ["password", "secret", "token", "key"];

const MASK: &str = "***";

/// A setting that another reading of its sources gives another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    /// Whether a running node takes it over.
    pub live: bool,
}

impl Settings {
    /// Every key that has a value, one per line as `http.addr = "127.0.0.1:8080"`: TOML, with secrets masked.
    pub fn printed(&self) -> String {
        let set = self.keys().into_iter().filter(|(_, value)| !value.is_null());
        set.map(|(key, value)| format!("{key} = {}\n", toml(&masked(&key, value)))).collect()
    }

    /// What differs in `newer`.
    pub fn changes(&self, newer: &Self) -> Vec<Change> {
        let (old, new) = (self.keys(), newer.keys());
        let differs = new.into_iter().filter(|(key, value)| old.get(key) != Some(value));
        differs.map(|(key, _)| Change { live: LIVE.contains(&key.as_str()), key }).collect()
    }

    /// These settings with those of `newer` that a running node takes over.
    #[must_use]
    pub fn with_live(mut self, newer: &Self) -> Self {
        self.log.clone_from(&newer.log);
        self.nats.log_max_mib = newer.nats.log_max_mib;
        self.tracker.heartbeat_s = newer.tracker.heartbeat_s;
        self.tracker.passivate_after_s = newer.tracker.passivate_after_s;
        self.bridge.heartbeat_s = newer.bridge.heartbeat_s;
        let expiry_grace_s = self.auth.expiry_grace_s;
        self.auth = super::AuthSettings { expiry_grace_s, ..newer.auth.clone() };
        self
    }

    fn keys(&self) -> BTreeMap<String, Value> {
        let mut keys = BTreeMap::new();
        // Plain structs of strings, numbers and lists always become JSON.
        flatten("", serde_json::to_value(self).unwrap_or_default(), &mut keys);
        keys
    }
}

fn flatten(at: &str, value: Value, keys: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                flatten(&if at.is_empty() { name } else { format!("{at}.{name}") }, value, keys);
            }
        }
        leaf @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            keys.insert(at.to_owned(), leaf);
        }
    }
}

fn masked(key: &str, value: Value) -> Value {
    let name = key.rsplit('.').next().unwrap_or_default();
    // Where a secret lies is none.
    let secret = !name.ends_with("_file") && SECRET.iter().any(|part| name.contains(part));
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key.clone(), masked(&key, value))).collect(),
        Value::Array(all) => all.into_iter().map(|value| masked(key, value)).collect(),
        Value::String(_) if secret => MASK.into(),
        Value::String(text) => without_credentials(&text).into(),
    }
}

/// JSON and TOML differ in tables only; what has no value is left out of them.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let set = fields.iter().filter(|(_, value)| !value.is_null());
            let all: Vec<_> = set.map(|(key, value)| format!("{key} = {}", toml(value))).collect();
            format!("{{ {} }}", all.join(", "))
        }
        Value::Array(all) => format!("[{}]", all.iter().map(toml).collect::<Vec<_>>().join(",")),
        leaf @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => leaf.to_string(),
    }
}

/// A list of addresses without what stands before their `@`: user and password, or a token.
fn without_credentials(text: &str) -> String {
    let address = |address: &str| match address.split_once("://").map(|(scheme, rest)| (scheme, rest.rsplit_once('@')))
    {
        Some((scheme, Some((_, host)))) => format!("{scheme}://{MASK}@{host}"),
        Some((_, None)) | None => address.to_owned(),
    };
    text.split(',').map(address).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::auth::{IssuerSettings, KeySettings};

    #[test]
    fn what_is_printed_can_be_read_again_and_tells_no_secret() {
        let mut settings = Settings::default();
        settings.nats.url = Some("nats://me:hush@a:4222, nats://t0ken@b:4222,nats://c:4222".to_owned());
        settings.auth.secret = Some("hush".to_owned().into());
        settings.auth.issuers = vec![IssuerSettings {
            name: "acme".to_owned(),
            keys: vec![
                KeySettings { kid: "k1".to_owned(), secret: Some("hush".to_owned().into()), ..Default::default() },
                KeySettings { private_key_file: Some("keys/k2.pem".into()), sign: true, ..Default::default() },
            ],
            ..Default::default()
        }];
        let printed = settings.printed();
        assert!(printed.contains("name = \"acme\"") && printed.contains("kid = \"k1\""), "{printed}");
        assert!(printed.contains("private_key_file = \"keys/k2.pem\""), "{printed}");
        assert!(printed.contains("auth.secret = \"***\"\n"), "{printed}");
        assert!(printed.contains("http.addr = \"127.0.0.1:8080\"\n"), "{printed}");
        assert!(printed.contains("roles = [\"tracker\",\"bridge\"]\n"), "{printed}");
        assert!(!printed.contains("hush") && !printed.contains("t0ken"), "{printed}");
        assert!(printed.contains("nats://***@a:4222, nats://***@b:4222,nats://c:4222"), "{printed}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("printed.toml");
        std::fs::write(&path, &printed).unwrap();
        assert_eq!(Settings::read(Some(&path)).unwrap().printed(), printed);
        assert_eq!(masked("auth.signing_key", "k".into()), "***");
    }

    #[test]
    fn a_running_node_takes_over_what_is_listed_and_nothing_else() {
        let old = Settings::default();
        let mut new = old.clone();
        assert_eq!(old.changes(&new), []);
        new.log = "debug".to_owned();
        new.tracker.heartbeat_s = 2;
        new.tracker.passivate_after_s = 60;
        new.bridge.heartbeat_s = 5;
        new.auth.leeway_s = 5;
        new.auth.lifetime_max_s = 60;
        new.auth.secret = Some("s".to_owned().into());
        new.auth.secret_file = Some("f".into());
        new.auth.issuers = vec![IssuerSettings::default()];
        new.nats.log_max_mib = Some(100);
        let live = old.changes(&new);
        assert!(live.iter().all(|change| change.live));
        let keys: Vec<_> = live.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(keys, LIVE);
        new.cell = "north".to_owned();
        new.http.addr = "127.0.0.1:1".to_owned();
        new.auth.expiry_grace_s = 1;
        let taken = old.with_live(&new);
        let left: Vec<_> = taken.changes(&new).into_iter().map(|change| (change.key, change.live)).collect();
        let stay = ["auth.expiry_grace_s", "cell", "http.addr"].map(|key| (key.to_owned(), false));
        assert_eq!(left, stay);
    }
}
