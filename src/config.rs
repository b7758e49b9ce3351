//! Settings: defaults, then a TOML file, then the environment (`TRUNKLINE_HTTP__ADDR`), then the command line. Read once
//! into [`Settings`], checked once into [`Config`]; nobody else reads the environment.

pub mod auth;
mod effective;
mod map;
mod origins;
mod routing;

pub use auth::AuthSettings;
pub use effective::Change;
pub use map::{Map, MapSettings, Tiles};
pub use origins::Origins;
pub use routing::{Routing, RoutingSettings};

use crate::domain::CellId;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// What can be set, as it stands in the file. Every key has a default; an unknown key is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The cell that this node owns or serves.
    pub cell: String,
    /// Where the database and, unless `nats.url` is set, nats-server's store are kept.
    pub data: PathBuf,
    /// `tracker` owns the cell, `bridge` serves clients.
    pub roles: Vec<String>,
    /// What to log, as `info` or `trunkline=debug,async_nats=warn`.
    pub log: String,
    pub http: HttpSettings,
    pub nats: NatsSettings,
    pub tracker: TrackerSettings,
    pub bridge: BridgeSettings,
    pub auth: AuthSettings,
    pub routing: RoutingSettings,
    pub map: MapSettings,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    pub addr: String,
    /// Serve clients without tokens: on loopback only, and only where no keys are configured.
    pub insecure: bool,
    /// Where pages of other sites load the SockJS client from, in the frame that this server gives them: a path of this
    /// server or a URL.
    pub sockjs_client_url: String,
    /// Serve `/echo`, `/close` and so on, which the SockJS protocol's tests ask for: on loopback only.
    pub sockjs_test_services: bool,
    /// Other sites whose pages may use the API, and with a cookie, as `https://shop.example`.
    pub origins: Vec<String>,
    /// Sessions that begin in a second, in the long run; twice as many at once.
    pub admissions_per_s: u32,
    /// Over how long a time clients are told to go when the node ends; 0: all at once.
    pub drain_s: u64,
    /// Where pages send those who have no token: a URL or a path of this server.
    pub sign_in_url: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsSettings {
    /// Without it, a nats-server of our own is started and supervised.
    pub url: Option<String>,
    /// Of that server; a free one without it.
    pub port: Option<u16>,
    /// That server's program; without it, the one on PATH or under `.tools/`.
    pub server: Option<PathBuf>,
    /// That server's configuration; without it, `nats.conf` in the working directory if there is one.
    pub config: Option<PathBuf>,
    /// Bytes that the cell's log may take, in MiB. At the limit the log refuses, and loses nothing.
    pub log_max_mib: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrackerSettings {
    /// How often the owner says every active order's version.
    pub heartbeat_s: u64,
    /// An order without input for so long lets its actor go.
    pub passivate_after_s: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BridgeSettings {
    /// How often a client hears the versions of what it follows.
    pub heartbeat_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cell: "default".into(),
            data: "data".into(),
            roles: vec!["tracker".into(), "bridge".into()],
            log: "info".into(),
            http: HttpSettings::default(),
            nats: NatsSettings::default(),
            tracker: TrackerSettings::default(),
            bridge: BridgeSettings::default(),
            auth: AuthSettings::default(),
            routing: RoutingSettings::default(),
            map: MapSettings::default(),
        }
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            addr: "127.0.0.1:8080".into(),
            insecure: false,
            sockjs_client_url: "https://cdn.jsdelivr.net/npm/sockjs-client@1.6.1/dist/sockjs.min.js".into(),
            sockjs_test_services: false,
            origins: Vec::new(),
            admissions_per_s: 1_000,
            drain_s: 10,
            sign_in_url: None,
        }
    }
}

impl Default for TrackerSettings {
    fn default() -> Self {
        Self { heartbeat_s: 5, passivate_after_s: 15 * 60 }
    }
}

impl Default for BridgeSettings {
    fn default() -> Self {
        Self { heartbeat_s: 10 }
    }
}

/// Settings that have been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub cell: CellId,
    pub data: PathBuf,
    pub tracker: bool,
    pub bridge: bool,
    pub http: SocketAddr,
    /// Meant to serve without tokens.
    pub insecure: bool,
    pub sockjs_client_url: String,
    pub sockjs_test_services: bool,
    pub origins: Origins,
    pub admissions_per_s: u32,
    pub drain: Duration,
    pub sign_in_url: Option<String>,
    /// Whose tokens are taken; `None` where nobody is configured.
    pub auth: Option<auth::Auth>,
    /// Who is asked for routes; `None` where nobody is.
    pub routing: Option<Routing>,
    pub map: Map,
    pub nats: NatsSettings,
    pub owner_heartbeat: Duration,
    pub passivate_after: Duration,
    pub client_heartbeat: Duration,
}

/// Which setting doesn't fit.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration: {0}")]
    Read(#[from] config::ConfigError),
    #[error("configuration: {key}: {reason}")]
    Key { key: &'static str, reason: String },
}

impl Settings {
    /// Reads the file, if one is named, and the environment.
    pub fn read(file: Option<&std::path::Path>) -> Result<Self, ConfigError> {
        let mut sources = config::Config::builder().add_source(config::Config::try_from(&Self::default())?);
        if let Some(file) = file {
            sources = sources.add_source(config::File::from(file).format(config::FileFormat::Toml));
        }
        let environment = config::Environment::with_prefix(PREFIX).prefix_separator("_").separator("__");
        let environment = environment
            .try_parsing(true)
            .list_separator(",")
            .with_list_parse_key("roles")
            .with_list_parse_key("http.origins");
        let (text, other) = variables(std::env::vars());
        // A secret of digits is no number.
        let verbatim = config::Environment::with_prefix(PREFIX).prefix_separator("_").separator("__");
        let sources = sources.add_source(environment.source(Some(other))).add_source(verbatim.source(Some(text)));
        Ok(sources.build()?.try_deserialize()?)
    }

    /// Checks every key.
    pub fn check(self) -> Result<Config, ConfigError> {
        let bad = |key, reason: String| ConfigError::Key { key, reason };
        for role in &self.roles {
            if role != "tracker" && role != "bridge" {
                return Err(bad("roles", format!("`{role}` is no role; the roles are tracker, bridge")));
            }
        }
        let has = |role: &str| self.roles.iter().any(|r| r == role);
        if self.roles.is_empty() {
            return Err(bad("roles", "must name at least one of tracker, bridge".into()));
        }
        if self.nats.url.is_none() && !has("tracker") {
            return Err(bad("nats.url", "is needed by a node that owns no cell".into()));
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log) {
            return Err(bad("log", format!("`{}`: {error}", self.log)));
        }
        if self.nats.log_max_mib.is_some_and(|mib| !(1..=MOST_LOG_MIB).contains(&mib)) {
            return Err(bad("nats.log_max_mib", format!("must be 1 to {MOST_LOG_MIB}")));
        }
        if !(1..=MOST_ADMISSIONS).contains(&self.http.admissions_per_s) {
            return Err(bad("http.admissions_per_s", format!("must be 1 to {MOST_ADMISSIONS}")));
        }
        if self.http.drain_s > MOST_DRAIN_S {
            return Err(bad("http.drain_s", format!("must be 0 to {MOST_DRAIN_S} seconds")));
        }
        let seconds = |key, s: u64, most: u64| {
            if (1..=most).contains(&s) {
                Ok(Duration::from_secs(s))
            } else {
                Err(bad(key, format!("must be 1 to {most} seconds")))
            }
        };
        let http: SocketAddr =
            self.http.addr.parse().map_err(|e| {
                bad("http.addr", format!("`{}` must be an address as 127.0.0.1:8080: {e}", self.http.addr))
            })?;
        if self.http.sockjs_test_services && !http.ip().to_canonical().is_loopback() {
            return Err(bad("http.sockjs_test_services", format!("only on loopback, which {http} is not")));
        }
        // The first stands in quotes in a page, the second becomes a link.
        let pages = [
            ("http.sockjs_client_url", Some(&self.http.sockjs_client_url), "\"'<>&"),
            ("http.sign_in_url", self.http.sign_in_url.as_ref(), "\"'<>"),
        ];
        for (key, url, without) in pages {
            let fits = |url: &str| {
                let is_url = ["/", "http://", "https://"].iter().any(|start| url.starts_with(start));
                is_url && url.chars().all(|c| c.is_ascii_graphic() && !without.contains(c))
            };
            if let Some(url) = url.filter(|url| !fits(url)) {
                return Err(bad(key, format!("`{url}` must be a URL, or a path of this server")));
            }
        }
        Ok(Config {
            cell: self.cell.parse().map_err(|e: crate::domain::ids::IdError| bad("cell", e.to_string()))?,
            tracker: has("tracker"),
            bridge: has("bridge"),
            http,
            insecure: self.http.insecure,
            sockjs_client_url: self.http.sockjs_client_url,
            sockjs_test_services: self.http.sockjs_test_services,
            origins: Origins::parse(&self.http.origins).map_err(|reason| bad("http.origins", reason))?,
            admissions_per_s: self.http.admissions_per_s,
            drain: Duration::from_secs(self.http.drain_s),
            auth: self.auth.check()?,
            routing: self.routing.check()?,
            map: self.map.check()?,
            sign_in_url: self.http.sign_in_url,
            owner_heartbeat: seconds("tracker.heartbeat_s", self.tracker.heartbeat_s, 60)?,
            passivate_after: seconds("tracker.passivate_after_s", self.tracker.passivate_after_s, 86_400)?,
            client_heartbeat: seconds("bridge.heartbeat_s", self.bridge.heartbeat_s, 60)?,
            data: self.data,
            nats: self.nats,
        })
    }
}

/// A PiB: what lies above is a slip, and would not fit the server's figures.
const MOST_LOG_MIB: u64 = 1 << 30;

/// What lies above is no bound at all.
const MOST_ADMISSIONS: u32 = 1_000_000;

/// Those who end processes wait for minutes at most.
const MOST_DRAIN_S: u64 = 300;

/// What a setting's name in the environment begins with.
const PREFIX: &str = "TRUNKLINE";

type Variables = std::collections::HashMap<String, String>;

/// The variables that are settings: those that are text whatever they look like, and the others. Others with our prefix are
/// somebody else's: those that `nats.conf` refers to, and the command line's own.
fn variables(all: impl Iterator<Item = (String, String)>) -> (Variables, Variables) {
    const KEYS: [&str; 10] = ["CELL", "DATA", "ROLES", "HTTP", "NATS", "TRACKER", "BRIDGE", "AUTH", "ROUTING", "MAP"];
    const TEXT: [&str; 2] = ["AUTH__SECRET", "AUTH__SECRET_FILE"];
    fn key(name: &str) -> Option<&str> {
        name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('_'))
    }
    let is_setting =
        |name: &str| key(name).is_some_and(|key| KEYS.contains(&key.split("__").next().unwrap_or_default()));
    let is_text = |name: &str| key(name).is_some_and(|key| TEXT.contains(&key));
    all.filter(|(name, _)| is_setting(name)).partition(|(name, _)| is_text(name))
}

/// The search path for programs, as the environment has it.
#[allow(clippy::disallowed_methods, reason = "this is the configuration")]
pub fn search_path() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_their_check() {
        let config = Settings::default().check().unwrap();
        assert!(config.tracker && config.bridge && config.http.ip().is_loopback());
    }

    #[test]
    fn only_settings_are_taken_from_the_environment() {
        let all = ["HTTP__ADDR", "LOG", "NATS_TOKEN", "CELL", "TOKEN", "AUTH__SECRET", "AUTH__LEEWAY_S"];
        let all = all.map(|name| format!("TRUNKLINE_{name}")).into_iter().chain(["PATH".to_owned()]);
        let (text, other) = variables(all.map(|name| (name, String::new())));
        let mut names: Vec<_> = other.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["TRUNKLINE_AUTH__LEEWAY_S", "TRUNKLINE_CELL", "TRUNKLINE_HTTP__ADDR"]);
        assert_eq!(text.keys().collect::<Vec<_>>(), ["TRUNKLINE_AUTH__SECRET"]);
    }

    #[test]
    fn a_file_is_read_and_wrong_keys_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trunkline.toml");
        std::fs::write(&path, "cell = \"shanghai\"\n[tracker]\nheartbeat_s = 3\n").unwrap();
        let config = Settings::read(Some(&path)).unwrap().check().unwrap();
        assert_eq!((config.cell.as_str(), config.owner_heartbeat), ("shanghai", Duration::from_secs(3)));

        std::fs::write(&path, "[tracker]\nheartbeats = 3\n").unwrap();
        assert!(Settings::read(Some(&path)).unwrap_err().to_string().contains("heartbeats"));

        let wrong = Settings { cell: "a.b".into(), ..Settings::default() };
        assert!(wrong.check().unwrap_err().to_string().contains("cell"));
        let mut open = Settings::default();
        (open.http.addr, open.http.sockjs_test_services) = ("0.0.0.0:8080".into(), true);
        assert!(open.check().unwrap_err().to_string().contains("http.sockjs_test_services"));
        let mut script = Settings::default();
        script.http.sockjs_client_url = "/x.js\"><script>".into();
        assert!(script.check().unwrap_err().to_string().contains("http.sockjs_client_url"));
        let mut sign_in = Settings::default();
        sign_in.http.sign_in_url = Some("javascript:alert(1)".into());
        assert!(sign_in.check().unwrap_err().to_string().contains("http.sign_in_url"));
        let alone = Settings { roles: vec!["bridge".into()], ..Settings::default() };
        assert!(alone.check().unwrap_err().to_string().contains("nats.url"));
    }
}
