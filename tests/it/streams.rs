//! Server-sent events, long polling and whole bodies: the same frames over what the network allows.

use crate::{
    fake::{Fake, Owned, Rig},
    rest::serve,
    socket::{connect, next, send},
};
use reqwest::Response;
use serde_json::{Value, json};
use std::time::Duration;
use trunkline::{bridge::Options, wire::merge};

fn at(status: u8, lat: f64) -> Value {
    json!({"id": "o1", "status": status, "stops_ahead": 0, "rider": {"id": "r1"}, "position": {"lat": lat, "lon": 121.5}})
}

fn step(fake: &Fake, state: Value) {
    let update = fake.with("o1", |owned| owned.step(state));
    fake.say("o1", &update);
}

async fn get(rig: &Rig, path: &str, headers: &[(&str, &str)]) -> Response {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http.get(format!("http://{}{path}", serve(rig).await));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
}

/// A reader of events.
struct Events {
    body: Response,
    text: String,
}

impl Events {
    fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        assert!(response.headers()["cache-control"].to_str().unwrap().contains("no-transform"));
        Self { body: response, text: String::new() }
    }

    /// The next event's name, id and data; `None` at the end.
    async fn next(&mut self) -> Option<(String, Option<String>, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let event = (
                    field("event: ").unwrap(),
                    field("id: "),
                    serde_json::from_str(&field("data: ").unwrap()).unwrap(),
                );
                self.text = rest.to_owned();
                return Some(event);
            }
            let chunk = tokio::time::timeout(Duration::from_secs(5), self.body.chunk()).await.unwrap().unwrap()?;
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// The next event of that name.
    async fn find(&mut self, name: &str) -> (Option<String>, Value) {
        loop {
            let (event, id, data) = self.next().await.unwrap();
            if event == name {
                return (id, data);
            }
        }
    }
}

#[tokio::test]
async fn events_follow_an_order_and_go_on_from_where_they_were() {
    let fake = Fake::default();
    fake.put("o1", Owned::new(at(3, 31.0)));
    let rig = fake.bridge(Options { heartbeat: Duration::from_millis(200), ..Options::default() });
    let path = "/v1/orders/o1/events?role=customer";
    let mut events = Events::of(get(&rig, path, &[]).await);
    assert_eq!(events.find("subscribed").await.1["recovery"], "fresh");
    let (id, snapshot) = events.find("snapshot").await;
    assert_eq!((id.as_deref(), &snapshot["state"]["status"]), (Some("1.1"), &json!(3)));
    step(&fake, at(3, 31.1));
    let (id, delta) = events.find("delta").await;
    assert_eq!((id.as_deref(), &delta["patch"]["position"]["lat"]), (Some("1.2"), &json!(31.1)));
    assert_eq!(events.find("heartbeat").await.1["orders"], json!({"o1": 2}));
    drop(events);
    step(&fake, at(3, 31.2));
    step(&fake, at(4, 31.2));
    let mut events = Events::of(get(&rig, path, &[("Last-Event-ID", "1.2")]).await);
    assert_eq!(events.find("subscribed").await.1["recovery"], "resumed");
    assert_eq!(events.find("delta").await.0.as_deref(), Some("1.3"));
    assert_eq!(events.find("delta").await.1["patch"]["status"], 4);
    rig.cancel.cancel();
    assert_eq!(events.find("close").await.1["code"], 4100);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_the_first_event() {
    let fake = Fake::default();
    fake.put("o1", Owned::new(at(3, 31.0)));
    let rig = fake.bridge(Options::default());
    for (path, header, status, field) in [
        ("/v1/orders/nobody/events", "", 404, "topic"),
        ("/v1/orders/a.b/events", "", 400, "order"),
        ("/v1/orders/o1/events", "x", 400, "Last-Event-ID"),
        ("/v1/orders/o1/events?since=1", "", 400, "since"),
        ("/v1/orders/nobody/updates", "", 404, "topic"),
        ("/v1/orders/o1/updates?wait=56", "", 400, "wait"),
        ("/v1/orders/o1/updates?epoch=1", "", 400, "since"),
        ("/v1/orders/o1/updates?since=x", "", 400, "since"),
    ] {
        let response = get(&rig, path, &[("Last-Event-ID", header)]).await;
        assert_eq!(response.status(), status, "{path}");
        let problem: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(problem["field"], field, "{path}");
    }
}

#[tokio::test]
async fn a_poll_waits_for_news_and_answers_with_them() {
    let fake = Fake::default();
    fake.put("o1", Owned::new(at(3, 31.0)));
    let rig = fake.bridge(Options::default());
    let poll = async |query: &str| {
        let response = get(&rig, &format!("/v1/orders/o1/updates?role=customer&{query}"), &[]).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["cache-control"]),
            (200, &"no-store".parse().unwrap())
        );
        serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap()["frames"].as_array().unwrap().clone()
    };
    let first = poll("").await;
    let kinds: Vec<_> = first.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["subscribed", "snapshot", "heartbeat"]);
    let mut state = first[1]["state"].clone();
    let nothing = poll("since=1&wait=0").await;
    assert_eq!((&nothing[0]["recovery"], &nothing[1]["type"]), (&json!("resumed"), &json!("heartbeat")));
    let waiting = poll("since=1&epoch=1&wait=20");
    let change = async {
        // The poll follows by now, or finds the change when it does.
        tokio::task::yield_now().await;
        step(&fake, at(4, 31.0));
    };
    let (frames, ()) = tokio::join!(waiting, change);
    assert_eq!((&frames[1]["type"], &frames[1]["to"]), (&json!("delta"), &json!(2)));
    merge::patch(&mut state, &frames[1]["patch"]);
    assert_eq!(state["status"], 4);
    assert_eq!(poll("since=1.2&wait=0").await[0]["recovery"], "resumed");
    assert_eq!(poll("since=9.2").await[0]["recovery"], "reset");
}

#[tokio::test]
async fn whole_bodies_come_beside_deltas() {
    let fake = Fake::default();
    fake.put("o1", Owned::new(at(3, 31.0)));
    let rig = fake.bridge(Options::default());
    let mut socket = connect(&rig, "role=customer").await;
    next(&mut socket).await;
    for topic in ["order/o1", "order/o1/whole"] {
        send(&mut socket, json!({"type": "subscribe", "topic": topic})).await;
        assert_eq!(next(&mut socket).await["topic"], topic);
        assert_eq!(next(&mut socket).await["version"], 1);
    }
    step(&fake, at(4, 31.0));
    let (mut delta, mut whole) = (next(&mut socket).await, next(&mut socket).await);
    if delta["type"] != "delta" {
        std::mem::swap(&mut delta, &mut whole);
    }
    assert_eq!((&delta["topic"], &delta["patch"]["status"]), (&json!("order/o1"), &json!(4)));
    let body = &whole["state"];
    assert_eq!((&whole["type"], &body["status"], &body["version"]), (&json!("snapshot"), &json!(4), &json!(2)));
    assert_eq!((&body["statusText"], &body["operatorId"]), (&json!("已送达"), &json!("r1")));
    // The one is left, the other goes on.
    send(&mut socket, json!({"type": "unsubscribe", "topic": "order/o1"})).await;
    assert_eq!(next(&mut socket).await, json!({"type": "unsubscribed", "topic": "order/o1"}));
    send(&mut socket, json!({"type": "subscribe", "topic": "order/o1/whole", "version": 2, "epoch": 1})).await;
    assert_eq!(next(&mut socket).await["recovery"], "resumed");
    step(&fake, at(5, 31.0));
    assert_eq!(next(&mut socket).await["state"]["status"], 5);
}
