//! Who gets in, by which way, for how long, and who is shown the door. The authenticator is made up; tokens are
//! `role:id:lifetime_ms[:order]`.

use crate::{
    fake::{Fake, Mode, Owned, Rig},
    rest::serve,
};
use futures::{SinkExt, StreamExt, future::BoxFuture};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};
use trunkline::{
    bridge::{Options, gate::Gate},
    clock,
    domain::Refusal,
    ports::{Authenticator, Claims, SignError, TokenError, TokenSigner},
    wire::{
        access::Principal,
        answer::{Outcome, RefusalBody},
    },
};

#[derive(Debug)]
struct Made;

impl Authenticator for Made {
    fn authenticate(&self, token: &str) -> BoxFuture<'static, Result<Principal, TokenError>> {
        let fields: Vec<_> = token.split('-').map(str::to_owned).collect();
        Box::pin(async move {
            let malformed = || TokenError::Malformed("it is not made up".into());
            let role = fields.first().and_then(|role| role.parse().ok()).ok_or_else(malformed)?;
            let expires_at = fields.get(2).and_then(|at| at.parse().ok()).map(trunkline::domain::UnixMillis);
            let expires_at = expires_at.ok_or_else(malformed)?;
            if expires_at <= clock::wall() {
                return Err(TokenError::Expired);
            }
            let (id, order) = (fields[1].as_str().into(), fields.get(3).and_then(|order| order.parse().ok()));
            Ok(Principal { role, id, cells: None, order, expires_at: Some(expires_at), everyone: false })
        })
    }
}

impl TokenSigner for Made {
    fn sign(&self, claims: &Claims) -> Result<String, SignError> {
        let (share, order) = (claims.jti.as_ref().unwrap(), claims.order.as_ref().unwrap());
        Ok(format!("shared-{share}-{}-{order}", claims.expires_at.0))
    }
}

pub fn token(role: &str, id: &str, lifetime_ms: i64) -> String {
    format!("{role}-{id}-{}", clock::wall().plus(lifetime_ms).0)
}

pub const HOUR: i64 = 3_600_000;

pub fn gate() -> Gate {
    Gate::closed(Arc::new(Made), Arc::new(Made))
}

pub fn options() -> Options {
    Options { expiry_grace: Duration::from_millis(300), ..Options::default() }
}

/// An order of user `u`, rider `r` and warehouse `w`.
pub fn state() -> Value {
    json!({"id": "o1", "cell": "default", "status": 3, "rev": 4, "user_id": "u", "stops_ahead": 0,
        "rider": {"id": "r"}, "warehouse": {"id": "w"}, "position": {"lat": 31.0, "lon": 121.0}})
}

fn rig() -> (Fake, Rig) {
    let fake = Fake::default();
    fake.put("o1", Owned::new(state()));
    let rig = fake.bridge_with(options(), gate());
    (fake, rig)
}

pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(address: &str, headers: &[(&'static str, &str)]) -> Result<(Self, Option<String>), u16> {
        let mut request = format!("ws://{address}/v1/ws").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match connect_async(request).await {
            Ok((socket, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol");
                Ok((Self(socket), protocol.map(|p| p.to_str().unwrap().to_owned())))
            }
            Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn bearer(address: &str, token: &str) -> Self {
        Self::open(address, &[("authorization", &format!("Bearer {token}"))]).await.unwrap().0
    }

    pub async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next frame that isn't a heartbeat, or the close code.
    pub async fn next(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(5), self.0.next()).await.unwrap();
            match message.unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => return u16::from(frame.unwrap().code).into(),
                Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
            }
        }
    }

    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind || frame.is_u64() {
                return frame;
            }
        }
    }

    async fn follows(&mut self) -> bool {
        self.send(json!({"type": "subscribe", "topic": "order/o1"})).await;
        loop {
            let frame = self.next().await;
            match frame["type"].as_str() {
                Some("snapshot") => return true,
                Some("error") => {
                    assert_eq!(frame["problem"]["status"], 404);
                    return false;
                }
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_token_comes_in_four_ways() {
    let (_fake, rig) = rig();
    let address = serve(&rig).await;
    let good = token("customer", "u", HOUR);
    let mut header = Socket::bearer(&address, &good).await;
    assert_eq!(header.until("hello").await["view"], "customer");
    assert!(header.next().await["expires_at_ms"].is_i64());

    let offer = format!("trunkline.v1, bearer.{good}");
    let (mut offered, chosen) = Socket::open(&address, &[("sec-websocket-protocol", &offer)]).await.unwrap();
    assert_eq!(chosen.as_deref(), Some("trunkline.v1"), "and never the token");
    assert_eq!(offered.until("hello").await["view"], "customer");

    let (mut first, _) = Socket::open(&address, &[]).await.unwrap();
    first.send(json!({"type": "authenticate", "token": good})).await;
    assert_eq!(first.until("hello").await["view"], "customer");

    let cookie = format!("trunkline_token={good}");
    let origin = format!("http://{address}");
    let (mut cookies, _) = Socket::open(&address, &[("cookie", &cookie), ("origin", &origin)]).await.unwrap();
    assert_eq!(cookies.until("hello").await["view"], "customer");
    for foreign in [&[("cookie", cookie.as_str())][..], &[("cookie", &cookie), ("origin", "http://evil.example")]] {
        assert_eq!(Socket::open(&address, foreign).await.err(), Some(403));
    }

    for bad in ["", "x", &token("customer", "u", -1), &token("king", "u", HOUR)] {
        assert_eq!(Socket::open(&address, &[("authorization", &format!("Bearer {bad}"))]).await.err(), Some(401));
        let (mut late, _) = Socket::open(&address, &[]).await.unwrap();
        late.send(json!({"type": "authenticate", "token": bad})).await;
        assert_eq!(late.next().await["problem"]["field"], "token");
        assert_eq!(late.next().await, json!(4203));
    }
    let (mut hasty, _) = Socket::open(&address, &[]).await.unwrap();
    hasty.send(json!({"type": "subscribe", "topic": "order/o1"})).await;
    assert_eq!(hasty.until("closed").await, json!(4203));
}

#[tokio::test]
async fn an_expired_token_closes_the_connection_and_a_newer_one_keeps_it() {
    let (_fake, rig) = rig();
    let address = serve(&rig).await;
    let mut lazy = Socket::bearer(&address, &token("customer", "u", 600)).await;
    let mut diligent = Socket::bearer(&address, &token("customer", "u", 600)).await;
    let mut impostor = Socket::bearer(&address, &token("customer", "u", 600)).await;
    assert!(diligent.follows().await && impostor.follows().await);
    diligent.send(json!({"type": "authenticate", "token": token("customer", "u", HOUR)})).await;
    impostor.send(json!({"type": "authenticate", "token": token("customer", "v", HOUR)})).await;
    assert_eq!(lazy.until("expired").await["grace_ms"], 300);
    assert_eq!(lazy.next().await, json!(4202));
    assert!(diligent.until("authenticated").await["expires_at_ms"].is_i64());
    assert_eq!(impostor.until("closed").await, json!(4203));
    // A token that ends later than its first one did: when that one's connection is closed, its own would have been.
    let mut later = Socket::bearer(&address, &token("customer", "u", 600)).await;
    assert_eq!(later.until("closed").await, json!(4202));
    diligent.send(json!({"type": "ping", "id": 1})).await;
    assert_eq!(diligent.until("pong").await["id"], 1);
}

#[tokio::test]
async fn rights_follow_the_order_from_hand_to_hand() {
    let (fake, rig) = rig();
    let address = serve(&rig).await;
    let mut old = Socket::bearer(&address, &token("rider", "r", HOUR)).await;
    let mut new = Socket::bearer(&address, &token("rider", "s", HOUR)).await;
    let mut customer = Socket::bearer(&address, &token("customer", "u", HOUR)).await;
    let mut other = Socket::bearer(&address, &token("customer", "v", HOUR)).await;
    let mut warehouse = Socket::bearer(&address, &token("warehouse", "w", HOUR)).await;
    let mut elsewhere = Socket::bearer(&address, &token("warehouse", "x", HOUR)).await;
    assert!(old.follows().await && customer.follows().await && warehouse.follows().await);
    assert!(!new.follows().await && !other.follows().await && !elsewhere.follows().await);
    let update = fake.with("o1", |owned| {
        let mut next = owned.state.clone();
        next["rider"] = json!({"id": "s", "secret": "of the next"});
        owned.step(next)
    });
    fake.say("o1", &update);
    let withdrawn = old.next().await;
    assert_eq!((&withdrawn["type"], &withdrawn["problem"]["type"]), (&json!("error"), &json!("withdrawn")));
    assert!(!withdrawn.to_string().contains("of the next"));
    assert_eq!(customer.until("delta").await["patch"]["rider"]["id"], "s");
    assert!(new.follows().await && !old.follows().await);
    // What was sent before the order was theirs is not for the next rider to catch up with.
    let snapshot = fake.owned("o1");
    new.send(json!({"type": "unsubscribe", "topic": "order/o1"})).await;
    new.until("unsubscribed").await;
    new.send(json!({"type": "subscribe", "topic": "order/o1", "version": 1, "epoch": snapshot.epoch})).await;
    assert_eq!(new.until("delta").await["to"], 2);
}

#[tokio::test]
async fn lists_answer_no_question_about_what_is_hidden() {
    let (_fake, rig) = rig();
    let address = serve(&rig).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let status = async |role: &str, id: &str, query: &str| {
        let request = http.get(format!("http://{address}/v1/orders?{query}")).bearer_auth(token(role, id, HOUR));
        request.send().await.unwrap().status().as_u16()
    };
    for (role, id, query) in [
        ("customer", "u", "box=121,31,122,32"),
        ("warehouse", "w", "box=121,31,122,32"),
        ("warehouse", "w", "user=u"),
        ("rider", "r", "user=u"),
        ("customer", "u", "user=v"),
        ("rider", "r", "rider=s"),
        ("warehouse", "w", "warehouse=x"),
    ] {
        assert_eq!(status(role, id, query).await, 403, "{role} {query}");
    }
    for (role, id, query) in
        [("customer", "u", "user=u"), ("rider", "r", "box=121,31,122,32"), ("operations", "a", "user=u")]
    {
        assert_eq!(status(role, id, query).await, 200, "{role} {query}");
    }
}

#[tokio::test]
async fn a_refused_report_tells_nothing_of_anothers_order() {
    let (fake, rig) = rig();
    let address = serve(&rig).await;
    let refusal =
        RefusalBody::from(&Refusal::Mismatch { field: "rider".into(), given: "s".into(), expected: "r".into() });
    fake.set_mode(Mode::Answer(Outcome::Refused(refusal)));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |path: &str, role: &str, id: &str, body: Value| {
        let request = http.post(format!("http://{address}{path}")).bearer_auth(token(role, id, HOUR)).json(&body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let order = json!({"order": "o1"});
    let (status, text) = post("/v1/riders/s/delivered", "rider", "s", order.clone()).await;
    assert!(status == 404 && !text.contains("`r`"), "{status} {text}");
    assert_eq!(post("/v1/warehouses/x/orders/o1/stages/picking", "warehouse", "x", json!({})).await.0, 404);
    assert_eq!(post("/v1/riders/r/delivered", "rider", "r", order).await.0, 409);
    assert_eq!(post("/v1/warehouses/w/orders/o1/stages/picking", "warehouse", "w", json!({})).await.0, 409);
}

#[tokio::test]
async fn a_share_link_shows_one_order_until_it_is_revoked() {
    let (fake, rig) = rig();
    fake.put("o2", Owned::new(json!({"id": "o2", "cell": "default", "status": 3, "user_id": "u"})));
    let address = serve(&rig).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = |method: &str, path: &str, token: &str, key: &str, body: Value| {
        let request = http.request(method.parse().unwrap(), format!("http://{address}{path}")).bearer_auth(token);
        let request = request.header("idempotency-key", key).header("content-type", "application/json");
        async move {
            let response =
                request.body(if body.is_null() { String::new() } else { body.to_string() }).send().await.unwrap();
            let status = response.status().as_u16();
            (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
        }
    };
    let (owner, stranger) = (token("customer", "u", HOUR), token("customer", "v", HOUR));
    let path = "/v1/orders/o1/shares";
    assert_eq!(call("POST", path, &stranger, "k", json!({})).await.0, 404);
    assert_eq!(call("POST", path, &token("rider", "r", HOUR), "k", json!({})).await.0, 403);
    for (body, field) in [(json!({"expires_in_s": 0}), "expires_in_s"), (json!({"for": 1}), "for")] {
        let (status, problem) = call("POST", path, &owner, "k", body).await;
        assert_eq!((status, &problem["field"]), (400, &json!(field)));
    }
    let (status, made) = call("POST", path, &owner, "k", json!({"expires_in_s": 60})).await;
    assert_eq!(status, 201);
    assert_eq!(call("POST", path, &owner, "k", json!({"expires_in_s": 60})).await, (201, made.clone()), "once");
    let other = call("POST", path, &owner, "k2", Value::Null).await.1;
    let share = made["token"].as_str().unwrap();
    let (status, seen) = call("GET", "/v1/orders/o1", share, "", Value::Null).await;
    assert_eq!((status, seen["state"].get("user_id")), (200, None));
    assert_eq!(call("GET", "/v1/orders/o2", share, "", Value::Null).await.0, 404);
    assert_eq!(call("GET", "/v1/orders", share, "", Value::Null).await.0, 403);

    let mut watching = Socket::bearer(&address, share).await;
    let mut beside = Socket::bearer(&address, other["token"].as_str().unwrap()).await;
    assert!(watching.follows().await && beside.follows().await);
    let id = made["share"].as_str().unwrap();
    assert_eq!(call("DELETE", &format!("{path}/{id}"), &stranger, "", Value::Null).await.0, 404);
    assert_eq!(call("DELETE", &format!("{path}/nope"), &owner, "", Value::Null).await.0, 404);
    assert_eq!(call("DELETE", &format!("{path}/{id}"), &owner, "", Value::Null).await.0, 204);
    assert_eq!(watching.until("closed").await, json!(4204));
    beside.send(json!({"type": "ping"})).await;
    assert_eq!(beside.until("pong").await["type"], "pong");
    assert_eq!(call("GET", "/v1/orders/o1", share, "", Value::Null).await.0, 401);
    assert_eq!(Socket::open(&address, &[("authorization", &format!("Bearer {share}"))]).await.err(), Some(401));
    assert_eq!(call("POST", path, &owner, "k", json!({"expires_in_s": 60})).await.0, 409, "it doesn't come back");
    let list = call("GET", path, &owner, "", Value::Null).await.1;
    let revoked: Vec<_> = list["shares"].as_array().unwrap().iter().map(|share| share["revoked"] == true).collect();
    assert_eq!(revoked.iter().filter(|revoked| **revoked).count(), 1);
}

#[tokio::test]
async fn a_session_is_a_cookie_that_scripts_cannot_read() {
    let (_fake, rig) = rig();
    let address = serve(&rig).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{address}/v1/session");
    assert_eq!(http.post(&url).send().await.unwrap().status(), 401);
    let begun = http.post(&url).bearer_auth(token("customer", "u", HOUR)).send().await.unwrap();
    let cookie = begun.headers()["set-cookie"].to_str().unwrap().to_owned();
    for part in ["HttpOnly", "Secure", "SameSite=Strict", "Max-Age=3"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = cookie.split(';').next().unwrap();
    let order = format!("http://{address}/v1/orders/o1");
    assert_eq!(http.get(&order).header("cookie", cookie).send().await.unwrap().status(), 200);
    assert_eq!(http.get(&order).send().await.unwrap().status(), 401);
    let ended = http.delete(&url).send().await.unwrap();
    assert!(ended.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
}
