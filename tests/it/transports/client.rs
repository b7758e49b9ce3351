//! A client of each transport: it connects again and again, merges what it gets and keeps what it saw.

use super::ORDER;
use crate::fake::Owned;
use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, watch};
use tokio_tungstenite::{connect_async, tungstenite::Message};
use trunkline::wire::{
    merge,
    view::{View, project},
    whole,
};

/// When a wait is given up: then something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    WebSocket,
    Events,
    Polls,
    /// STOMP over a WebSocket, with deltas.
    Stomp,
    /// The same with whole bodies, as pages take them that don't merge.
    Whole,
    /// STOMP over SockJS: a WebSocket, responses that go on, and one for each message.
    Framed,
    Streaming,
    EventSource,
    HtmlFile,
    Polling,
    Jsonp,
}

pub const WAYS: [Way; 11] = [
    Way::WebSocket,
    Way::Events,
    Way::Polls,
    Way::Stomp,
    Way::Whole,
    Way::Framed,
    Way::Streaming,
    Way::EventSource,
    Way::HtmlFile,
    Way::Polling,
    Way::Jsonp,
];

/// What a client has seen, frame by frame.
#[derive(Debug)]
pub enum Seen {
    /// From there to there, and perhaps a status.
    Delta { from: u64, to: u64, status: Option<u64> },
    /// Anew from there.
    Snapshot { version: u64 },
    /// A whole body that follows from the one before it.
    Body { version: u64, status: Value },
}

/// What a client has.
#[derive(Debug, Default)]
pub struct Screen {
    pub state: Option<Value>,
    at: Option<(u64, u64)>,
    pub seen: Vec<Seen>,
}

impl Screen {
    fn take(&mut self, frame: &Value) {
        let number = |name: &str| frame[name].as_u64().unwrap();
        match frame["type"].as_str().unwrap() {
            "snapshot" => {
                self.state = Some(frame["state"].clone());
                self.at = Some((number("epoch"), number("version")));
                self.seen.push(Seen::Snapshot { version: number("version") });
            }
            "delta" => {
                let (epoch, version) = self.at.expect("a delta before any snapshot");
                assert_eq!(version, number("from"), "a delta over a gap: {frame}");
                assert!(number("epoch") >= epoch && number("to") > version, "{frame}");
                merge::patch(self.state.as_mut().unwrap(), &frame["patch"]);
                self.at = Some((number("epoch"), number("to")));
                let status = frame["patch"]["rev"].as_u64();
                self.seen.push(Seen::Delta { from: number("from"), to: number("to"), status });
            }
            "body" => {
                self.state = Some(frame["state"].clone());
                self.seen.push(Seen::Body { version: number("version"), status: frame["state"][0].clone() });
            }
            "error" => panic!("{frame}"),
            _ => {}
        }
    }
}

pub struct Client {
    pub way: Way,
    pub screen: Mutex<Screen>,
    /// It reads nothing as long as this is so.
    pub stalled: watch::Sender<bool>,
    /// Breaks the connection that there is.
    pub cut: Notify,
    /// How often it has connected.
    changed: watch::Sender<u64>,
}

impl Client {
    pub fn new(way: Way) -> Arc<Self> {
        let (screen, cut) = (Mutex::default(), Notify::new());
        Arc::new(Self { way, screen, cut, changed: watch::Sender::new(0), stalled: watch::Sender::new(false) })
    }

    /// Connects again and again, wherever the address leads then.
    pub async fn live(self: Arc<Self>, address: watch::Receiver<String>) {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        loop {
            let address = address.borrow().clone();
            let at = self.screen.lock().at;
            let session = async {
                match self.way {
                    Way::WebSocket => self.web_socket(&address, at).await,
                    Way::Events => self.events(&http, &address, at).await,
                    Way::Polls => self.poll(&http, &address, at).await,
                    Way::Stomp => self.stomp(&address, "/delta", at).await,
                    Way::Whole => self.stomp(&address, "", None).await,
                    Way::Framed => self.framed(&address, at).await,
                    Way::Streaming => self.sockjs(&http, &address, "xhr_streaming", at).await,
                    Way::EventSource => self.sockjs(&http, &address, "eventsource", at).await,
                    Way::HtmlFile => self.sockjs(&http, &address, "htmlfile?c=cb", at).await,
                    Way::Polling => self.sockjs(&http, &address, "xhr", at).await,
                    Way::Jsonp => self.sockjs(&http, &address, "jsonp?c=cb", at).await,
                }
            };
            tokio::select! {
                _ = session => {}
                () = self.cut.notified() => {}
            }
            // Refused, or cut off: others are to run before the next attempt.
            tokio::task::yield_now().await;
        }
    }

    /// Waits while it reads nothing.
    async fn go(&self) {
        self.stalled.subscribe().wait_for(|stalled| !stalled).await.unwrap();
    }

    fn take(&self, frame: &Value) {
        self.screen.lock().take(frame);
        self.changed.send_modify(|n| *n += 1);
    }

    async fn web_socket(&self, address: &str, at: Option<(u64, u64)>) -> Option<()> {
        let (mut socket, _) = connect_async(format!("ws://{address}/v1/ws")).await.ok()?;
        let mut frame = json!({"type": "subscribe", "topic": format!("order/{ORDER}")});
        if let Some((epoch, version)) = at {
            (frame["epoch"], frame["version"]) = (epoch.into(), version.into());
        }
        socket.send(Message::text(frame.to_string())).await.ok()?;
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(text) => self.take(&serde_json::from_str(&text).unwrap()),
                Message::Close(_) => break,
                _ => {}
            }
            self.go().await;
        }
        None
    }

    async fn events(&self, http: &reqwest::Client, address: &str, at: Option<(u64, u64)>) -> Option<()> {
        let mut request = http.get(format!("http://{address}/v1/orders/{ORDER}/events"));
        if let Some((epoch, version)) = at {
            request = request.header("last-event-id", format!("{epoch}.{version}"));
        }
        let mut response = request.send().await.ok()?;
        if response.status() != 200 {
            return None;
        }
        let mut text = String::new();
        while let Some(chunk) = response.chunk().await.ok()? {
            text += std::str::from_utf8(&chunk).unwrap();
            while let Some((event, rest)) = text.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
                let data: Value = serde_json::from_str(data).unwrap();
                if data["type"].is_string() {
                    self.take(&data);
                }
                text = rest.to_owned();
            }
            self.go().await;
        }
        None
    }

    async fn poll(&self, http: &reqwest::Client, address: &str, at: Option<(u64, u64)>) -> Option<()> {
        self.go().await;
        let since = at.map(|(epoch, version)| format!("since={epoch}.{version}&")).unwrap_or_default();
        let response =
            http.get(format!("http://{address}/v1/orders/{ORDER}/updates?{since}wait=5")).send().await.ok()?;
        if response.status() == 200 {
            let body: Value = response.json().await.ok()?;
            body["frames"].as_array().unwrap().iter().for_each(|frame| self.take(frame));
        }
        None
    }

    async fn stomp(&self, address: &str, what: &str, at: Option<(u64, u64)>) -> Option<()> {
        let (mut socket, _) = connect_async(format!("ws://{address}/ws/websocket")).await.ok()?;
        for frame in stomp_opening(what, at) {
            socket.send(Message::text(frame)).await.ok()?;
        }
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(text) => self.take_stomp(&text),
                Message::Close(_) => break,
                _ => {}
            }
            self.go().await;
        }
        None
    }

    async fn sockjs(
        &self,
        http: &reqwest::Client,
        address: &str,
        transport: &str,
        at: Option<(u64, u64)>,
    ) -> Option<()> {
        let session = format!("http://{address}{}", session());
        let mut text = String::new();
        loop {
            self.go().await;
            let url = format!("{session}/{transport}");
            let request = if transport.starts_with("xhr") { http.post(url) } else { http.get(url) };
            let mut response = request.send().await.ok()?;
            if response.status() != 200 {
                return None;
            }
            while let Some(chunk) = response.chunk().await.ok()? {
                text += std::str::from_utf8(&chunk).unwrap();
                while let Some((line, rest)) = text.split_once('\n') {
                    let Some(frame) = framed_in(transport, line.trim_end_matches('\r')) else {
                        text = rest.to_owned();
                        continue;
                    };
                    match frame.split_at_checked(1)? {
                        ("o", _) => {
                            let body = serde_json::to_string(&stomp_opening("/delta", at)).unwrap();
                            let sent = http.post(format!("{session}/xhr_send")).body(body).send().await.ok()?;
                            assert!([204, 404, 503].contains(&sent.status().as_u16()), "{}", sent.status());
                        }
                        ("a", messages) => self.take_messages(messages),
                        ("c", _) => return None,
                        ("h", _) => {}
                        _ => panic!("{frame}"),
                    }
                    text = rest.to_owned();
                }
                if !["xhr", "jsonp?c=cb"].contains(&transport) {
                    self.go().await;
                }
            }
        }
    }

    async fn framed(&self, address: &str, at: Option<(u64, u64)>) -> Option<()> {
        let (mut socket, _) = connect_async(format!("ws://{address}{}/websocket", session())).await.ok()?;
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(frame) => match frame.split_at_checked(1)? {
                    ("o", _) => {
                        let opening = serde_json::to_string(&stomp_opening("/delta", at)).unwrap();
                        socket.send(Message::text(opening)).await.ok()?;
                    }
                    ("a", messages) => self.take_messages(messages),
                    _ => {}
                },
                Message::Close(_) => break,
                _ => {}
            }
            self.go().await;
        }
        None
    }

    fn take_messages(&self, messages: &str) {
        let messages: Vec<String> = serde_json::from_str(messages).unwrap();
        messages.iter().for_each(|message| self.take_stomp(message));
    }

    fn take_stomp(&self, text: &str) {
        let text = text.trim_start_matches('\n');
        let Some((head, body)) = text.split_once("\n\n").filter(|(head, _)| head.starts_with("MESSAGE\n")) else {
            return;
        };
        let body: Value = serde_json::from_str(body.trim_end_matches('\0')).unwrap();
        if self.way != Way::Whole {
            return self.take(&body);
        }
        assert!(head.contains("destination:/topic/orders/o1\n"), "{head}");
        let version = &body["version"];
        // The first one of a connection is a beginning, and says so.
        let kind = if head.contains("\nrecovery:") { "snapshot" } else { "body" };
        let frame = json!({"type": kind, "epoch": 0, "version": version, "state": in_whole(&body)});
        self.take(&frame);
    }

    /// Waits until it has this state at this version or, where the view hid what came last, an earlier one.
    pub async fn reaches(&self, owned: &Owned, what: &str) {
        let mut changed = self.changed.subscribe();
        let state = project(View::Operations, &owned.state, None);
        let state = match self.way {
            Way::Whole => in_whole(&whole::body(&state)),
            _ => state,
        };
        let there = async {
            while self.screen.lock().state.as_ref() != Some(&state) {
                changed.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, there).await.is_err() {
            let screen = self.screen.lock();
            panic!("{what}: {:?} never came to {} {state}; it has {screen:?}", self.way, owned.version);
        }
    }
}

/// A SockJS session's path.
fn session() -> String {
    static SESSIONS: AtomicU64 = AtomicU64::new(0);
    format!("/ws/000/s{}", SESSIONS.fetch_add(1, Ordering::Relaxed))
}

/// The SockJS frame in a line of a transport's response, if there is one.
fn framed_in(transport: &str, line: &str) -> Option<String> {
    let quoted = |begin: &str| {
        let text = line.strip_prefix(begin)?.strip_suffix(");")?;
        Some(serde_json::from_str::<String>(text).unwrap())
    };
    match transport {
        "eventsource" => line.strip_prefix("data: ").map(str::to_owned),
        "htmlfile?c=cb" => quoted("p("),
        "jsonp?c=cb" => quoted("/**/cb("),
        _ => Some(line.to_owned()),
    }
}

/// What of a whole body says where the order is; the rest hangs on the clock.
fn in_whole(body: &Value) -> Value {
    json!([body["status"], body["statusText"], body["latitude"], body["longitude"]])
}

/// What a STOMP client says first.
fn stomp_opening(what: &str, at: Option<(u64, u64)>) -> [String; 2] {
    let resume = at.map(|(epoch, version)| format!("epoch:{epoch}\nversion:{version}\n")).unwrap_or_default();
    let subscribe = format!("SUBSCRIBE\nid:s\ndestination:/topic/orders/{ORDER}{what}\n{resume}\n\0");
    ["CONNECT\naccept-version:1.2\nhost:x\nheart-beat:0,0\n\n\0".to_owned(), subscribe]
}
