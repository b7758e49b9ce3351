//! A node with keys, and clients with tokens that `trunkline token` made: who gets in, for how long, and by which link.

use crate::{
    harness::Server,
    node::{Node, Web, create_body, settings},
};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest},
};

const SECRET: &str = "a secret of thirty-two bytes, and more";

/// A node that takes tokens, and the means to make them.
struct Guarded {
    _server: Server,
    place: tempfile::TempDir,
    node: Node,
}

impl Guarded {
    async fn start() -> Self {
        let server = Server::start().await;
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("secret"), SECRET).unwrap();
        let mut settings = settings(&place.path().join("data"), &server.ready.url());
        settings.http.insecure = false;
        settings.auth.secret = Some(SECRET.to_owned().into());
        settings.auth.expiry_grace_s = 1;
        // Clients here read only what they wait for.
        settings.bridge.heartbeat_s = 10;
        let node = Node::start(settings).await;
        Self { _server: server, place, node }
    }

    /// What `trunkline token` prints.
    fn token(&self, role: &str, sub: &str, lifetime: &str) -> String {
        let made = std::process::Command::new(env!("CARGO_BIN_EXE_trunkline"))
            .args(["token", "--role", role, "--sub", sub, "--for", lifetime, "--secret-file"])
            .arg(self.place.path().join("secret"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }

    fn web(&self) -> &Web {
        &self.node.web
    }

    async fn call(&self, method: &str, path: &str, token: &str, body: Value) -> (u16, Value) {
        let request = self.web().request(method, path).bearer_auth(token).header("idempotency-key", "k");
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = self.web().send(request).await;
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    async fn connect(&self, token: &str) -> Result<Client, u16> {
        let mut request = format!("ws://{}/v1/ws", self.web().addr).into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        match tokio_tungstenite::connect_async(request).await {
            Ok((socket, _)) => Ok(Client(socket)),
            Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next frame of this type, or the close code if that comes first.
    async fn until(&mut self, kind: &str) -> Value {
        let wait = async {
            loop {
                match self.0.next().await.unwrap().unwrap() {
                    Message::Text(text) => {
                        let frame: Value = serde_json::from_str(&text).unwrap();
                        if frame["type"] == kind {
                            return frame;
                        }
                    }
                    Message::Close(close) => return u16::from(close.unwrap().code).into(),
                    Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap()
    }

    async fn follow(&mut self, order: &str) -> Value {
        self.send(json!({"type": "subscribe", "topic": format!("order/{order}")})).await;
        self.until("snapshot").await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_expires_closes_its_connection_and_a_newer_one_keeps_it() {
    let guarded = Guarded::start().await;
    let shop = guarded.token("system", "shop", "1h");
    assert_eq!(guarded.call("POST", "/v1/orders", &shop, create_body("a")).await.0, 201);
    let user = create_body("a")["user_id"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    let brief = guarded.token("customer", &user, "3s");
    let (mut lazy, mut diligent) = (guarded.connect(&brief).await.unwrap(), guarded.connect(&brief).await.unwrap());
    assert_eq!(lazy.follow("a").await["state"]["status"], 1);
    diligent.follow("a").await;
    let newer = guarded.token("customer", &user, "1h");
    diligent.send(json!({"type": "authenticate", "token": newer})).await;
    assert!(diligent.until("authenticated").await["expires_at_ms"].is_i64());

    assert_eq!(lazy.until("expired").await["grace_ms"], 1_000);
    assert!(begun.elapsed() >= Duration::from_secs(2), "not before its time");
    assert_eq!(lazy.until("closed").await, json!(4202));
    let elapsed = begun.elapsed();
    assert!(elapsed >= Duration::from_secs(3) && elapsed < Duration::from_secs(15), "{elapsed:?}");
    // The other one still hears what happens.
    assert_eq!(guarded.call("POST", "/v1/orders/a/pay", &shop, json!({})).await.0, 200);
    assert_eq!(diligent.until("delta").await["patch"]["status"], 2);
    // Somebody else's token is none for this connection.
    diligent.send(json!({"type": "authenticate", "token": guarded.token("customer", "another", "1h")})).await;
    assert_eq!(diligent.until("closed").await, json!(4203));
    guarded.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_link_is_signed_shows_one_order_and_ends_when_it_is_revoked() {
    let guarded = Guarded::start().await;
    let shop = guarded.token("system", "shop", "1h");
    for order in ["a", "b"] {
        let request = guarded.web().request("POST", "/v1/orders").bearer_auth(&shop).header("idempotency-key", order);
        assert_eq!(guarded.web().send(request.json(&create_body(order))).await.status, 201);
    }
    let user = create_body("a")["user_id"].as_str().unwrap().to_owned();
    let owner = guarded.token("customer", &user, "1h");
    let (status, made) = guarded.call("POST", "/v1/orders/a/shares", &owner, json!({"expires_in_s": 60})).await;
    assert_eq!(status, 201, "{made}");
    let link = made["token"].as_str().unwrap();
    let (status, seen) = guarded.call("GET", "/v1/orders/a", link, Value::Null).await;
    assert_eq!((status, seen["state"].get("amount_minor"), seen["state"].get("user_id")), (200, None, None));
    assert_eq!(guarded.call("GET", "/v1/orders/b", link, Value::Null).await.0, 404);
    assert_eq!(guarded.call("POST", "/v1/orders/a/cancel", link, json!({"reason": "x"})).await.0, 403);
    // Its claims hang together by the signature.
    let forged = format!("{}x", &link[..link.len() - 1]);
    assert_eq!(guarded.call("GET", "/v1/orders/a", &forged, Value::Null).await.0, 401);

    let mut watching = guarded.connect(link).await.unwrap();
    assert_eq!(watching.follow("a").await["state"]["status"], 1);
    let path = format!("/v1/orders/a/shares/{}", made["share"].as_str().unwrap());
    let begun = Instant::now();
    assert_eq!(guarded.call("DELETE", &path, &owner, Value::Null).await.0, 204);
    assert_eq!(watching.until("closed").await, json!(4204));
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(guarded.call("GET", "/v1/orders/a", link, Value::Null).await.0, 401);
    assert_eq!(guarded.connect(link).await.err(), Some(401));
    guarded.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_in_without_a_token() {
    let guarded = Guarded::start().await;
    for path in ["/v1/orders", "/v1/orders?role=operations", "/v1/cell", "/v1/riders/r1"] {
        assert_eq!(guarded.web().get(path).await.status, 401, "{path}");
    }
    for path in ["/healthz", "/openapi.json"] {
        assert_eq!(guarded.web().get(path).await.status, 200, "{path}");
    }
    let expired = guarded.token("operations", "alice", "1s");
    let elsewhere = std::process::Command::new(env!("CARGO_BIN_EXE_trunkline"))
        .args(["token", "--role", "operations", "--sub", "alice", "--cells", "harbour", "--secret-file"])
        .arg(guarded.place.path().join("secret"))
        .output()
        .unwrap();
    let elsewhere = String::from_utf8(elsewhere.stdout).unwrap().trim().to_owned();
    let (status, problem) = guarded.call("GET", "/v1/orders", &elsewhere, Value::Null).await;
    assert_eq!((status, &problem["field"]), (403, &json!("cell")));
    let mut foreign = guarded.connect(&elsewhere).await.unwrap();
    foreign.send(json!({"type": "subscribe", "topic": "cell"})).await;
    assert_eq!(foreign.until("error").await["problem"]["status"], 403);
    // Within the leeway it counts for a request; a connection ends all the same.
    let mut late = guarded.connect(&expired).await.unwrap();
    assert_eq!(late.until("closed").await, json!(4202));
    guarded.node.stop().await;
}
