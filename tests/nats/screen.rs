//! A WebSocket client as a page would be: it keeps what it is told and counts what doesn't fit. It merges by a patch of its
//! own, so that it can't share a mistake with the bridge.

use crate::node::{PATIENCE, Web};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{collections::BTreeMap, future::Future, time::Instant};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

/// What a screen has of one order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) epoch: u64,
    pub(crate) version: u64,
    pub(crate) state: Value,
    pub(crate) snapshots: u32,
    /// `from`, `to` and patch of every delta.
    pub(crate) deltas: Vec<(u64, u64, Value)>,
    /// Deltas whose `from` was not the version here.
    pub(crate) gaps: u32,
    /// How each subscription began.
    pub(crate) recoveries: Vec<String>,
    /// The version that the last heartbeat said.
    pub(crate) beat: Option<u64>,
    pub(crate) unconfirmed: bool,
}

/// A WebSocket client.
pub(crate) struct Screen {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// By the order's id; of other topics, by the topic.
    pub(crate) orders: BTreeMap<String, Seen>,
    /// Every text as it came.
    pub(crate) texts: Vec<String>,
    pub(crate) errors: Vec<Value>,
    pub(crate) beats: u32,
    /// The close code and reason, or code 0 where the connection broke.
    pub(crate) closed: Option<(u16, String)>,
}

impl Screen {
    pub(crate) async fn open(web: &Web, role: &str) -> Self {
        let url = format!("ws://{}/v1/ws?role={role}", web.addr);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Self { socket, orders: BTreeMap::new(), texts: vec![], errors: vec![], beats: 0, closed: None }
    }

    /// Subscribes (from what is known of the order, if `orders` holds it) and waits for the state.
    pub(crate) async fn follow(&mut self, order: &str) {
        let mut frame = json!({"type": "subscribe", "topic": format!("order/{order}")});
        let seen = self.orders.entry(order.to_owned()).or_default();
        let answers = seen.recoveries.len();
        if seen.version > 0 {
            frame["version"] = seen.version.into();
            frame["epoch"] = seen.epoch.into();
        }
        self.send(&frame.to_string()).await;
        self.until("the subscription", |s| {
            let seen = &s.orders[order];
            seen.recoveries.len() > answers && seen.version > 0
        })
        .await;
    }

    /// Subscribes to a topic that isn't an order, with what else the frame has, and waits for the document.
    pub(crate) async fn follow_board(&mut self, topic: &str, mut frame: Value) {
        frame["type"] = "subscribe".into();
        frame["topic"] = topic.into();
        let before = self.orders.entry(topic.to_owned()).or_default().snapshots;
        self.send(&frame.to_string()).await;
        self.until("the board", |s| s.orders[topic].snapshots > before).await;
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Reads on until `reached`.
    #[track_caller]
    pub(crate) fn until<'a>(
        &'a mut self,
        what: &'a str,
        reached: impl Fn(&Self) -> bool + 'a,
    ) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let deadline = Instant::now() + PATIENCE;
            while !reached(self) {
                let left = deadline.saturating_duration_since(Instant::now());
                if tokio::time::timeout(left, self.next()).await.is_err() || (self.closed.is_some() && !reached(self)) {
                    let last: Vec<_> = self.texts.iter().rev().take(5).collect();
                    panic!("{caller}: waited in vain for {what}: {:?} {last:?}", self.closed);
                }
            }
        }
    }

    /// Reads until the order's version is at least this one.
    #[track_caller]
    pub(crate) fn reaches<'a>(&'a mut self, order: &'a str, version: u64) -> impl Future<Output = ()> + 'a {
        self.until("a version", move |s| s.orders[order].version >= version)
    }

    /// Reads on while something else goes on: a client that is there.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let reading = async {
            loop {
                self.next().await;
            }
        };
        tokio::select! {
            done = work => done,
            () = reading => unreachable!(),
        }
    }

    async fn next(&mut self) {
        if self.closed.is_some() {
            return std::future::pending().await;
        }
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => self.take(text.as_str()),
            Some(Ok(Message::Close(close))) => {
                self.closed = Some(close.map_or((0, String::new()), |c| (c.code.into(), c.reason.to_string())));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(other @ (Message::Binary(_) | Message::Frame(_)))) => panic!("{other:?}"),
            Some(Err(_)) | None => self.closed = Some((0, String::new())),
        }
    }

    fn take(&mut self, text: &str) {
        self.texts.push(text.to_owned());
        let frame: Value = serde_json::from_str(text).unwrap();
        let number = |field: &str| frame[field].as_u64().unwrap();
        let kind = frame["type"].as_str().unwrap();
        if kind == "heartbeat" {
            self.beats += 1;
            let unconfirmed = [&frame["unconfirmed"], &frame["unconfirmed_topics"]];
            let unconfirmed: Vec<_> = unconfirmed.iter().filter_map(|v| v.as_array()).flatten().collect();
            for (order, seen) in &mut self.orders {
                seen.beat = frame["orders"][order].as_u64().or_else(|| frame["topics"][order].as_u64());
                seen.unconfirmed = unconfirmed.iter().any(|u| u.as_str().unwrap().ends_with(order.as_str()));
            }
            return;
        }
        if kind == "error" {
            return self.errors.push(frame);
        }
        let Some(topic) = frame["topic"].as_str() else { return };
        let order = topic.strip_prefix("order/").unwrap_or(topic);
        let seen = self.orders.entry(order.to_owned()).or_default();
        match kind {
            "subscribed" => seen.recoveries.push(frame["recovery"].as_str().unwrap().to_owned()),
            "snapshot" => {
                seen.snapshots += 1;
                (seen.epoch, seen.version) = (number("epoch"), number("version"));
                seen.state = frame["state"].clone();
            }
            "delta" => {
                let (from, to) = (number("from"), number("to"));
                seen.deltas.push((from, to, frame["patch"].clone()));
                if from == seen.version {
                    patch(&mut seen.state, &frame["patch"]);
                    (seen.epoch, seen.version) = (number("epoch"), to);
                } else {
                    seen.gaps += 1;
                }
            }
            _ => {}
        }
    }
}

/// RFC 7396, as its text has it.
pub(crate) fn patch(target: &mut Value, change: &Value) {
    let Value::Object(members) = change else { return target.clone_from(change) };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in members {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            patch(&mut target[name], value);
        }
    }
}
