//! A whole node around a nats-server, in this process or as the program, and the parties that drive it from outside: a
//! shop over HTTP and a publisher over NATS. They know the wire's names and nothing of the insides.

use crate::harness::Server;
use async_nats::{Client, HeaderMap, jetstream::Context};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};
use trunkline::{
    app::App,
    config::Settings,
    store::{StateHash, state_hash},
    wire::header,
};

/// When a wait is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A node's settings on a database of its own; heartbeats as often as they go.
pub(crate) fn settings(data: &Path, nats: &str) -> Settings {
    let mut settings = Settings { data: data.to_owned(), ..Settings::default() };
    settings.http.addr = "127.0.0.1:0".into();
    settings.http.insecure = true;
    settings.nats.url = Some(nats.to_owned());
    // The server sets it aside at once, for each test that runs.
    settings.nats.log_max_mib = Some(256);
    settings.tracker.heartbeat_s = 1;
    settings.bridge.heartbeat_s = 1;
    settings
}

/// The cell's database below a data directory.
pub(crate) fn database(data: &Path) -> PathBuf {
    data.join("cells/default.sqlite")
}

/// Hashes of the tables that an input may change, by name.
pub(crate) fn tables(data: &Path) -> BTreeMap<&'static str, String> {
    let hash: StateHash = state_hash(&database(data)).unwrap();
    let kept = |t: &&trunkline::store::TableHash| ["orders", "order_tracking", "riders"].contains(&t.table);
    hash.tables.iter().filter(kept).map(|t| (t.table, t.to_string())).collect()
}

/// One number out of the database.
pub(crate) fn count(data: &Path, sql: &str) -> i64 {
    let connection = rusqlite::Connection::open(database(data)).unwrap();
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// A node in this process.
pub(crate) struct Node {
    app: App,
    pub(crate) web: Web,
}

impl Node {
    pub(crate) async fn start(settings: Settings) -> Self {
        let app = App::start(settings.check().unwrap()).await.unwrap();
        let web = Web::new(&app.http().map_or_else(String::new, |addr| addr.to_string()));
        Self { app, web }
    }

    pub(crate) fn metrics(&self) -> &trunkline::metrics::Metrics {
        self.app.metrics()
    }

    /// Last committed place in the log.
    pub(crate) fn cursor(&self) -> Option<u64> {
        self.app.cursor()
    }

    pub(crate) async fn stop(self) {
        self.app.stop().await;
    }
}

/// The program, killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) web: Web,
}

impl Program {
    /// Starts `trunkline serve` and waits until it is ready. `wrap` is a shell's prologue, as `ulimit -f 100;`.
    pub(crate) async fn start(data: &Path, nats: &str, wrap: &str) -> Self {
        let program = Self::spawn(data, nats, wrap, "tracker,bridge");
        program.web.ready().await;
        program
    }

    /// Starts it in these roles.
    pub(crate) fn spawn(data: &Path, nats: &str, wrap: &str, roles: &str) -> Self {
        let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        std::fs::create_dir_all(data).unwrap();
        let said = std::fs::OpenOptions::new().create(true).append(true).open(data.join("said.log")).unwrap();
        let child = Command::new("sh")
            .arg("-c")
            .arg(format!("{wrap} exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_trunkline"))
            .args(["serve", "--http", &addr, "--nats", nats, "--roles", roles, "--insecure", "--data"])
            .arg(data)
            .envs([("TRUNKLINE_TRACKER__HEARTBEAT_S", "1"), ("TRUNKLINE_BRIDGE__HEARTBEAT_S", "1")])
            .env("TRUNKLINE_NATS__LOG_MAX_MIB", "256")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, web: Web::new(&addr) }
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM; the exit code.
    pub(crate) async fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap().code()
    }
}

/// What HTTP answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }

    /// The problem, after looking at what all problems have.
    #[track_caller]
    pub(crate) fn problem(&self) -> Value {
        let problem = self.json();
        assert!(self.status >= 400, "{self:?}");
        assert_eq!(self.kind, "application/problem+json", "{self:?}");
        assert_eq!(problem["status"], self.status, "{problem}");
        assert!(problem["type"].is_string() && problem["title"].is_string(), "{problem}");
        problem
    }
}

/// HTTP against one node.
#[derive(Clone)]
pub(crate) struct Web {
    pub(crate) addr: String,
    client: reqwest::Client,
}

impl Web {
    fn new(addr: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { addr: addr.to_owned(), client }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), format!("http://{}{path}", self.addr))
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let kind = response.headers().get("content-type").map_or("", |v| v.to_str().unwrap()).to_owned();
        Answer { status: response.status().as_u16(), kind, body: response.bytes().await.unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    /// A POST of JSON, under a key if one is given.
    pub(crate) async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> Answer {
        self.post_text(path, key, body.to_string()).await
    }

    pub(crate) async fn post_text(&self, path: &str, key: Option<&str>, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request("POST", path).header("content-type", "application/json").body(body);
        self.send(key.into_iter().fold(request, |r, key| r.header("idempotency-key", key))).await
    }

    /// Waits until the node is ready.
    pub(crate) async fn ready(&self) {
        eventually("the node is ready", || async {
            self.request("GET", "/readyz").send().await.is_ok_and(|r| r.status() == 200)
        })
        .await;
    }

    /// The state that a role sees.
    pub(crate) async fn state(&self, order: &str, role: &str) -> Value {
        self.get(&format!("/v1/orders/{order}?role={role}")).await.ok()["state"].clone()
    }

    pub(crate) async fn version(&self, order: &str) -> u64 {
        self.get(&format!("/v1/orders/{order}")).await.ok()["version"].as_u64().unwrap()
    }

    /// All history lines of an order.
    pub(crate) async fn track(&self, order: &str) -> Vec<Value> {
        self.get(&format!("/v1/orders/{order}/track")).await.ok()["rows"].as_array().unwrap().clone()
    }

    pub(crate) async fn cell_time(&self) -> i64 {
        self.get("/v1/cell").await.ok()["cell_time_ms"].as_i64().unwrap()
    }

    pub(crate) async fn create(&self, order: &str) -> Answer {
        self.post("/v1/orders", Some(&format!("create-{order}")), &create_body(order)).await
    }

    /// A command without content, with a key made of verb and order.
    pub(crate) async fn command(&self, order: &str, verb: &str, body: &Value) -> Answer {
        self.post(&format!("/v1/orders/{order}/{verb}"), Some(&format!("{verb}-{order}")), body).await
    }

    pub(crate) async fn stage(&self, order: &str, stage: &str) -> Answer {
        self.post(&format!("/v1/warehouses/w1/orders/{order}/stages/{stage}"), None, &json!({})).await
    }

    pub(crate) async fn fix(&self, rider: &str, place: (f64, f64), fix_time_ms: i64) -> Answer {
        self.post(&format!("/v1/riders/{rider}/fix"), None, &fix_body(place, fix_time_ms)).await
    }

    /// An order on its way to the door with `rider`.
    pub(crate) async fn delivering(&self, order: &str, rider: &str) {
        self.create(order).await.ok();
        self.command(order, "pay", &json!({})).await.ok();
        self.stage(order, "packed").await.ok();
        self.command(order, "assign", &json!({"rider": rider})).await.ok();
        assert_eq!(self.state(order, "operations").await["status"], 3);
    }
}

/// A create's body over HTTP.
pub(crate) fn create_body(order: &str) -> Value {
    let mut body = facts();
    body["id"] = order.into();
    body
}

/// A create's payload over NATS.
pub(crate) fn facts() -> Value {
    json!({
        "user_id": "u1", "warehouse": {"id": "w1", "name": "North", "lat": 31.2, "lon": 121.4},
        "destination": {"lat": 31.21, "lon": 121.45}, "amount_minor": 4200, "currency": "CNY", "items": 3
    })
}

pub(crate) fn fix_body((lat, lon): (f64, f64), fix_time_ms: i64) -> Value {
    json!({"lat": lat, "lon": lon, "fix_time_ms": fix_time_ms, "accuracy_m": 5.0})
}

/// A publisher on the cell's log.
pub(crate) struct Party {
    pub(crate) client: Client,
    pub(crate) js: Context,
    /// As in the publisher's header; none sends none.
    publisher: Option<&'static str>,
}

impl Party {
    pub(crate) async fn new(server: &Server, publisher: Option<&'static str>) -> Self {
        let client = server.client().await;
        Self { js: trunkline::nats::client::jetstream(&client), client, publisher }
    }

    /// Publishes without waiting for an outcome; the place in the log.
    pub(crate) async fn say(&self, subject: &str, key: Option<&str>, payload: impl Into<Bytes>) -> u64 {
        self.publish(subject, key, None, payload.into()).await
    }

    /// Publishes and waits for the outcome, byte for byte.
    pub(crate) async fn ask(&self, subject: &str, key: Option<&str>, payload: impl Into<Bytes>) -> Bytes {
        let inbox = self.client.new_inbox();
        let mut outcomes = self.client.subscribe(inbox.clone()).await.unwrap();
        self.publish(subject, key, Some(&inbox), payload.into()).await;
        tokio::time::timeout(PATIENCE, outcomes.next()).await.expect("an outcome").unwrap().payload
    }

    /// The outcome as JSON.
    pub(crate) async fn outcome(&self, subject: &str, key: Option<&str>, payload: &Value) -> Value {
        serde_json::from_slice(&self.ask(subject, key, payload.to_string()).await).unwrap()
    }

    /// Moves the cell clock on to `cell_time_ms`.
    pub(crate) async fn clock_to(&self, cell_time_ms: i64) {
        let payload = json!({"scale": 1, "cell_time_ms": cell_time_ms});
        assert!(self.outcome("control.default.clock", None, &payload).await["accepted"].is_object());
    }

    async fn publish(&self, subject: &str, key: Option<&str>, reply: Option<&str>, payload: Bytes) -> u64 {
        let mut headers = HeaderMap::new();
        let named = [(header::IDEMPOTENCY_KEY, key), (header::PUBLISHER, self.publisher), (header::REPLY, reply)];
        for (name, value) in named {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        let ack = self.js.publish_with_headers(subject.to_owned(), headers, payload).await.unwrap();
        ack.await.unwrap().sequence
    }
}

/// Looks again and again until it is so.
#[track_caller]
pub(crate) fn eventually<F: Future<Output = bool>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + PATIENCE;
        while !look().await {
            assert!(Instant::now() < deadline, "{caller}: waited in vain: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
