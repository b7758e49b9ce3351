//! `/v1/ws` over a real socket.

use crate::{
    fake::{Fake, Owned, Rig},
    rest::serve,
    rig::eventually,
};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};
use trunkline::{bridge::Options, metrics::CloseReason};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn connect(rig: &Rig, query: &str) -> Socket {
    let address = serve(rig).await;
    connect_async(format!("ws://{address}/v1/ws?{query}")).await.unwrap().0
}

pub(crate) async fn send(socket: &mut Socket, frame: Value) {
    socket.send(Message::text(frame.to_string())).await.unwrap();
}

/// The next frame of ours, or the close code.
pub(crate) async fn next(socket: &mut Socket) -> Value {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(5), socket.next()).await.unwrap();
        match message.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Close(frame) => return u16::from(frame.unwrap().code).into(),
            Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
        }
    }
}

#[tokio::test]
async fn follows_an_order_in_its_view_and_datum() {
    let fake = Fake::default();
    let at = |lat: f64| json!({"status": 3, "rev": 4, "stops_ahead": 0, "position": {"lat": lat, "lon": 121.5272106}});
    fake.put("o1", Owned::new(at(31.0)));
    let rig = fake.bridge(Options { heartbeat: Duration::from_millis(300), ..Options::default() });
    let mut socket = connect(&rig, "role=customer&datum=gcj02").await;
    assert_eq!(next(&mut socket).await["view"], "customer");
    send(&mut socket, json!({"type": "subscribe", "topic": "order/nobody"})).await;
    let error = next(&mut socket).await;
    assert_eq!((&error["problem"]["status"], &error["problem"]["field"]), (&json!(404), &json!("topic")));
    send(&mut socket, json!({"type": "subscribe", "topic": "order/o1"})).await;
    assert_eq!(next(&mut socket).await["recovery"], "fresh");
    let snapshot = next(&mut socket).await;
    assert_eq!((&snapshot["version"], snapshot["state"].get("rev")), (&json!(1), None));
    let update = fake.with("o1", |owned| owned.step(at(31.1774276)));
    fake.say("o1", &update);
    let delta = next(&mut socket).await;
    assert_eq!((&delta["from"], &delta["to"]), (&json!(1), &json!(2)));
    assert!((delta["patch"]["position"]["lat"].as_f64().unwrap() - 31.175304).abs() < 1e-5);
    assert_eq!(next(&mut socket).await["orders"], json!({"o1": 2}));
    send(&mut socket, json!({"type": "ping", "id": 9})).await;
    send(&mut socket, json!({"type": "unsubscribe", "topic": "order/o1"})).await;
    let mut seen = Vec::new();
    while seen.last() != Some(&json!("unsubscribed")) {
        seen.push(next(&mut socket).await["type"].clone());
    }
    assert!(seen.contains(&json!("pong")));
    assert!(rig.metrics.encode().unwrap().contains(r#"trunkline_connections{transport="ws"} 1"#));
    rig.cancel.cancel();
    assert_eq!(next(&mut socket).await, json!(4100));
}

#[tokio::test]
async fn frames_that_are_none_close_the_connection() {
    let fake = Fake::default();
    let rig = fake.bridge(Options { bad_frames_max: 2, ..Options::default() });
    let mut socket = connect(&rig, "").await;
    next(&mut socket).await;
    send(&mut socket, json!({"type": "sing"})).await;
    assert_eq!(next(&mut socket).await["problem"]["status"], 400);
    send(&mut socket, json!({"type": "subscribe", "topic": "user/u1"})).await;
    assert_eq!(next(&mut socket).await["problem"]["field"], "topic");
    assert_eq!(next(&mut socket).await, json!(4201));
    let mut socket = connect(&rig, "").await;
    next(&mut socket).await;
    send(&mut socket, json!({"type": "x".repeat(20_000)})).await;
    assert_eq!(next(&mut socket).await, json!(4200));
}

#[tokio::test]
async fn a_peer_that_stops_reading_loses_its_place() {
    let fake = Fake::default();
    // More than the kernel buffers, on an order of which nothing more is heard.
    fake.put("o1", Owned::new(json!({"status": 3, "route": "x".repeat(48 << 20)})));
    let options = Options { heartbeat: Duration::from_millis(200), outbox_max_bytes: 64 << 20, ..Options::default() };
    let rig = fake.bridge(options);
    let mut socket = connect(&rig, "").await;
    next(&mut socket).await;
    send(&mut socket, json!({"type": "subscribe", "topic": "order/o1"})).await;
    let silent = || rig.metrics.connections_closed.get_or_create(&CloseReason { reason: "silent" }).get();
    eventually("it is taken for gone", || silent() == 1).await;
    drop(socket);
}

#[tokio::test]
async fn a_subscribe_that_crosses_a_refusal_is_left_at_the_end() {
    let fake = Fake::default();
    let mut options = Options::default();
    options.hub.linger = Duration::from_millis(100);
    let rig = fake.bridge(options);
    let mut socket = connect(&rig, "").await;
    next(&mut socket).await;
    let order = json!({"type": "subscribe", "topic": "order/o1"}).to_string();
    for _ in 0..20 {
        // Refused, and asked again before the connection has looked at its outbox, when the order is there.
        let batch = [Message::text(order.clone()), Message::text(order.clone()), Message::text(order.clone())];
        socket.send_all(&mut futures::stream::iter(batch.map(Ok))).await.unwrap();
        // The last of the three is under way or answered when the next three come.
        while next(&mut socket).await["type"] != "error" {}
    }
    fake.put("o1", Owned::new(json!({"status": 3})));
    socket.send(Message::text(order)).await.unwrap();
    while next(&mut socket).await["type"] != "snapshot" {}
    assert_eq!(rig.metrics.watched_orders.get(), 1);
    socket.close(None).await.unwrap();
    eventually("nobody follows", || rig.metrics.watched_orders.get() == 0).await;
}
