//! SockJS over real HTTP: one session by way of several nodes, whose it is, and what waits between two polls.

use crate::{
    access::{HOUR, gate, token},
    fake::{Beside, Fake, Owned, Rig},
    rest::serve,
    rig::eventually,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_tungstenite::{connect_async, tungstenite::Error};
use trunkline::bridge::{Options, gate::Gate, sockjs::peers::MemoryPeers};

/// A client with one session and the addresses of the nodes that it may reach.
struct Page {
    http: reqwest::Client,
    nodes: Vec<String>,
    path: String,
    /// Of every request, as the client library keeps it.
    query: String,
    /// Headers of every request.
    headers: Vec<(&'static str, String)>,
    turn: usize,
    got: std::collections::VecDeque<Value>,
}

impl Page {
    async fn new(rigs: &[&Rig], id: &str) -> Self {
        let mut nodes = Vec::new();
        for rig in rigs {
            nodes.push(serve(rig).await);
        }
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let path = format!("/json/000/{id}");
        Self { http, nodes, path, query: String::new(), headers: Vec::new(), turn: 0, got: Default::default() }
    }

    /// A request by way of the next node: status and body.
    async fn post(&mut self, what: &str, body: &str) -> (u16, String) {
        self.turn += 1;
        let node = &self.nodes[self.turn % self.nodes.len()];
        let mut request =
            self.http.post(format!("http://{node}{}/{what}?{}", self.path, self.query)).body(body.to_owned());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn poll(&mut self) -> String {
        let (status, body) = self.post("xhr", "").await;
        assert_eq!(status, 200, "{body}");
        body.trim_end().to_owned()
    }

    async fn send(&mut self, frame: Value) -> u16 {
        self.post("xhr_send", &json!([frame.to_string()]).to_string()).await.0
    }

    /// The next frame of ours.
    async fn next(&mut self) -> Value {
        while self.got.is_empty() {
            let body = self.poll().await;
            let array = body.strip_prefix('a').unwrap_or_else(|| panic!("{body}"));
            let texts: Vec<String> = serde_json::from_str(array).unwrap();
            self.got.extend(texts.iter().map(|text| serde_json::from_str::<Value>(text).unwrap()));
        }
        self.got.pop_front().unwrap()
    }
}

fn at(lat: f64) -> Value {
    json!({"status": 3, "rev": 4, "stops_ahead": 0, "position": {"lat": lat, "lon": 121.5}})
}

fn quiet() -> Options {
    let mut options = Options { heartbeat: Duration::from_secs(600), ..Options::default() };
    options.sockjs.test_services = true;
    options
}

#[tokio::test]
async fn one_session_is_found_from_every_node() {
    let (fake, peers) = (Fake::default(), MemoryPeers::default());
    fake.put("o1", Owned::new(at(31.0)));
    let [a, b] = [(); 2].map(|()| {
        fake.bridge_beside(quiet(), Gate::insecure(), Beside { sessions: peers.clone(), ..Beside::default() })
    });
    let mut page = Page::new(&[&a, &b], "s1").await;
    assert_eq!(page.poll().await, "o");
    assert_eq!(page.next().await["type"], "hello");
    assert_eq!(page.send(json!({"type": "subscribe", "topic": "order/o1"})).await, 204);
    assert_eq!(page.next().await["type"], "subscribed");
    let mut version = page.next().await["version"].as_u64().unwrap();
    for n in 1..=40 {
        let update = fake.with("o1", |owned| owned.step(at(31.0 + f64::from(n) / 1e3)));
        fake.say("o1", &update);
        let delta = page.next().await;
        assert_eq!(delta["from"], version, "no gap, nothing twice");
        version = delta["to"].as_u64().unwrap();
    }
    assert_eq!(version, 41);
    // The node that holds it goes: the client hears so by way of either.
    let held = [&a, &b].map(|rig| rig.metrics.encode().unwrap().contains(r#"connections{transport="xhr-polling"} 1"#));
    assert!(held[0] != held[1], "one node has the conversation");
    let poll = page.poll();
    let holder = if held[0] { &a } else { &b };
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        holder.cancel.cancel();
    };
    assert!(tokio::join!(poll, stop).0.starts_with("c[4100,"));
}

#[tokio::test]
async fn what_comes_between_two_polls_is_conflated_and_leaves_no_gap() {
    let fake = Fake::default();
    fake.put("o1", Owned::new(at(31.0)));
    let rig = fake.bridge(quiet());
    let mut page = Page::new(&[&rig], "s1").await;
    assert_eq!(page.poll().await, "o");
    page.next().await;
    page.send(json!({"type": "subscribe", "topic": "order/o1"})).await;
    page.next().await;
    let mut version = page.next().await["version"].as_u64().unwrap();
    for n in 1..=100 {
        let update = fake.with("o1", |owned| owned.step(at(31.0 + f64::from(n) / 1e3)));
        fake.say("o1", &update);
        tokio::task::yield_now().await;
    }
    let mut deltas = 0;
    while version < 101 {
        let delta = page.next().await;
        assert_eq!(delta["from"], version);
        version = delta["to"].as_u64().unwrap();
        deltas += 1;
    }
    assert!(deltas < 10, "{deltas} deltas for 100 positions that nobody listened to");
}

#[tokio::test]
async fn last_words_wait_for_the_next_poll() {
    let fake = Fake::default();
    fake.put("o1", Owned::new(at(31.0)));
    let rig = fake.bridge(Options { close_timeout: Duration::from_millis(20), bad_frames_max: 1, ..quiet() });
    let mut page = Page::new(&[&rig], "s1").await;
    page.path = "/ws/000/s1".into();
    assert_eq!(page.poll().await, "o");
    let said = |text: &str| json!([text]).to_string();
    page.post("xhr_send", &said("CONNECT\naccept-version:1.2\nhost:x\n\n\0")).await;
    assert!(page.poll().await.contains("CONNECTED"));
    let talks = || rig.metrics.connections_over("xhr-polling").get();
    assert_eq!(talks(), 1);
    assert_eq!(page.post("xhr_send", &said("DISCONNECT\nreceipt:bye\n\n\0")).await.0, 204);
    eventually("the conversation is over, though nobody polls", || talks() == 0).await;
    assert!(page.poll().await.contains("receipt-id:bye"));
    assert!(page.poll().await.starts_with("c["));

    // More than is taken at once waits before what explains the close.
    let mut page = Page::new(&[&rig], "s2").await;
    assert_eq!(page.poll().await, "o");
    assert_eq!(page.next().await["type"], "hello");
    let pings: Vec<_> = (0..100).map(|id| json!({"type": "ping", "id": id}).to_string()).collect();
    for _ in 0..8 {
        assert_eq!(page.post("xhr_send", &json!(pings).to_string()).await.0, 204);
    }
    assert_eq!(talks(), 1);
    assert_eq!(page.post("xhr_send", &said("rubbish")).await.0, 204);
    eventually("it is over by the server's word", || talks() == 0).await;
    let last = page.poll().await;
    assert!(last.contains("payload"), "{last}");
    assert_eq!(last.matches("pong").count(), 800);
    assert!(page.poll().await.starts_with("c[4201,"));
}

#[tokio::test]
async fn a_session_stays_with_who_opened_it() {
    let (fake, peers) = (Fake::default(), MemoryPeers::default());
    let [a, b] =
        [(); 2].map(|()| fake.bridge_beside(quiet(), gate(), Beside { sessions: peers.clone(), ..Beside::default() }));
    let bearer = |id: &str| ("authorization", format!("Bearer {}", token("customer", id, HOUR)));
    let mut page = Page::new(&[&a, &b], "s1").await;
    page.headers = vec![bearer("c1")];
    assert_eq!(page.poll().await, "o");
    assert_eq!(page.next().await["type"], "hello", "the request said who it is");
    let ping = json!({"type": "ping"});
    for _ in 0..2 {
        page.headers = vec![bearer("c2")];
        assert_eq!((page.post("xhr", "").await.0, page.send(ping.clone()).await), (404, 404), "somebody else");
        page.headers = vec![("authorization", "Bearer rubbish".into())];
        assert_eq!(page.send(ping.clone()).await, 404);
        page.headers = Vec::new();
        assert_eq!(page.send(ping.clone()).await, 204, "the id is the client's secret");
    }
    page.headers = vec![bearer("c1")];
    assert_eq!(page.send(ping).await, 204, "a newer token of the same");

    let mut other = Page::new(&[&a], "s2").await;
    other.headers = vec![("authorization", "Bearer rubbish".into())];
    assert_eq!(other.post("xhr", "").await.0, 401, "who opens is told");
}

#[tokio::test]
async fn a_cookie_counts_for_pages_of_this_server_only() {
    let fake = Fake::default();
    let rig = fake.bridge_with(quiet(), gate());
    let cookie = format!("trunkline_token={}", token("customer", "c1", HOUR));
    for (id, own) in [("s1", true), ("s2", false)] {
        let mut page = Page::new(&[&rig], id).await;
        let origin = if own { format!("http://{}", page.nodes[0]) } else { "https://evil.example".into() };
        page.headers = vec![("cookie", cookie.clone()), ("origin", origin)];
        assert_eq!(page.poll().await, "o");
        if !own {
            // Nobody knows who it is until it says so itself.
            let token = token("customer", "c9", HOUR);
            assert_eq!(page.send(json!({"type": "authenticate", "token": token})).await, 204);
        }
        assert_eq!(page.next().await["type"], "hello");
    }
}

#[tokio::test]
async fn a_ticket_opens_one_session_and_may_stay_in_its_url() {
    let fake = Fake::default();
    let rig = fake.bridge_with(quiet(), gate());
    let mut page = Page::new(&[&rig], "s1").await;
    let made = page.http.post(format!("http://{}/v1/tickets", page.nodes[0]));
    let made = made.bearer_auth(token("customer", "c1", HOUR)).send().await.unwrap().text().await.unwrap();
    let made: Value = serde_json::from_str(&made).unwrap();
    page.query = format!("ticket={}", made["ticket"].as_str().unwrap());
    // A cookie that comes along by itself is nothing that was chosen.
    let origin = format!("http://{}", page.nodes[0]);
    page.headers = vec![("cookie", format!("trunkline_token={}", token("customer", "c2", HOUR))), ("origin", origin)];
    assert_eq!(page.poll().await, "o");
    assert_eq!(page.next().await["type"], "hello");
    assert_eq!(page.next().await["type"], "authenticated");
    assert_eq!(page.send(json!({"type": "ping"})).await, 204);
    assert_eq!(page.next().await["type"], "pong");
    page.path = "/json/000/s2".into();
    assert_eq!(page.post("xhr", "").await.0, 401, "it is used up");
    page.headers = vec![("authorization", format!("Bearer {}", token("customer", "c1", HOUR)))];
    assert_eq!(page.post("xhr", "").await.0, 400, "one of them is enough");
}

#[tokio::test]
async fn test_services_are_there_only_where_asked_for() {
    let fake = Fake::default();
    let rig = fake.bridge(Options::default());
    let page = Page::new(&[&rig], "s1").await;
    for (path, status) in [("/ws", 200), ("/ws/info", 200), ("/echo", 404), ("/close/info", 404)] {
        let response = page.http.get(format!("http://{}{path}", page.nodes[0])).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
    // The product's WebSocket without framing is a route of its own, and this is no second one.
    let trials = fake.bridge(quiet());
    let trials = Page::new(&[&trials], "s1").await;
    for (page, path, opens) in [
        (&page, "/ws/websocket", true),
        (&page, "/ws/websocket/", false),
        (&trials, "/ws/websocket/", false),
        (&trials, "/echo/websocket", true),
    ] {
        let opened = connect_async(format!("ws://{}{path}", page.nodes[0])).await;
        match opened {
            Ok(_) => assert!(opens, "{path}"),
            Err(Error::Http(response)) => assert_eq!((response.status().as_u16(), opens), (404, false), "{path}"),
            Err(error) => panic!("{path}: {error}"),
        }
    }
}
