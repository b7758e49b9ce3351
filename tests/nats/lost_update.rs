//! An update that is lost between owner and bridge, and an owner that falls silent: what the heartbeats are for.

use crate::{
    harness::Server,
    node::{Node, Program, eventually, settings},
    screen::Screen,
};
use parking_lot::Mutex;
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, tcp},
};

/// Stands between a client and nats-server, reads what the server sends, and drops the one message it was told to.
pub(crate) struct Proxy {
    pub(crate) url: String,
    /// The subject whose next delta is dropped.
    drop: Arc<Mutex<Option<String>>>,
    dropped: Arc<AtomicU32>,
}

impl Proxy {
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let proxy = Self { url, drop: Arc::default(), dropped: Arc::default() };
        let (drop, dropped) = (proxy.drop.clone(), proxy.dropped.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = TcpStream::connect(("127.0.0.1", server)).await.unwrap().into_split();
                tokio::spawn(copy(from_client, to_server));
                tokio::spawn(filter(from_server, to_client, drop.clone(), dropped.clone()));
            }
        });
        proxy
    }

    /// Drops the next delta of an order.
    fn drop_next(&self, order: &str) {
        self.drop_next_on(&format!("update.default.order.{order}"));
    }

    /// Drops the next delta on a subject.
    pub(crate) fn drop_next_on(&self, subject: &str) {
        *self.drop.lock() = Some(subject.to_owned());
    }

    pub(crate) async fn has_dropped(&self, n: u32) {
        eventually("the delta is dropped", || async { self.dropped.load(Ordering::Acquire) == n }).await;
    }
}

async fn copy(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf) {
    // Either end may go first.
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

/// `MSG subject sid [reply] bytes` and `HMSG subject sid [reply] header-bytes bytes` are followed by that many bytes
/// and a line end; everything else is one line.
async fn filter(
    from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    drop: Arc<Mutex<Option<String>>>,
    dropped: Arc<AtomicU32>,
) {
    let mut from = BufReader::new(from);
    loop {
        let mut message = Vec::new();
        if from.read_until(b'\n', &mut message).await.is_ok_and(|n| n == 0) {
            return;
        }
        let line = String::from_utf8_lossy(&message).into_owned();
        let words: Vec<_> = line.split_whitespace().collect();
        if matches!(words.first(), Some(&("MSG" | "HMSG"))) {
            let head = message.len();
            let bytes: usize = words.last().unwrap().parse().unwrap();
            message.resize(head + bytes + 2, 0);
            from.read_exact(&mut message[head..]).await.unwrap();
            let text = String::from_utf8_lossy(&message[head..]);
            // A rider's words are all of one kind.
            let is_delta = text.contains(r#""type":"delta""#) || words[1].starts_with("update.default.rider.");
            let chosen = is_delta && drop.lock().take_if(|subject| subject == words[1]).is_some();
            if chosen {
                dropped.fetch_add(1, Ordering::AcqRel);
                continue;
            }
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_update_is_made_good_within_one_heartbeat() {
    let server = Server::start().await;
    let mut owning = settings(server.dir.path(), &server.ready.url());
    owning.roles = vec!["tracker".into()];
    let tracker = Node::start(owning).await;
    let proxy = Proxy::start(server.ready.port).await;
    let mut serving = settings(server.dir.path(), &proxy.url);
    serving.roles = vec!["bridge".into()];
    let bridge = Node::start(serving).await;
    let web = bridge.web.clone();
    web.ready().await;
    web.delivering("a", "r1").await;
    let mut screen = Screen::open(&web, "operations").await;
    screen.follow("a").await;
    let start = web.cell_time().await;
    web.fix("r1", (31.201, 121.4), start + 1_000).await.ok();
    screen.reaches("a", web.version("a").await).await;
    assert_eq!((bridge.metrics().hub_resyncs.get(), screen.orders["a"].deltas.len()), (0, 1));

    // Nothing follows the lost one: only the owner's heartbeat can tell.
    proxy.drop_next("a");
    web.fix("r1", (31.2011, 121.4), start + 2_000).await.ok();
    proxy.has_dropped(1).await;
    let lost = Instant::now();
    let version = web.version("a").await;
    assert!(screen.orders["a"].version < version);
    screen.reaches("a", version).await;
    // A second for the owner's, a second for the bridge's, and one for a busy machine.
    assert!(lost.elapsed() < Duration::from_secs(3), "{:?}", lost.elapsed());
    let seen = &screen.orders["a"];
    assert_eq!((&seen.state, seen.gaps, seen.snapshots), (&web.state("a", "operations").await, 0, 1));
    assert_eq!(bridge.metrics().hub_resyncs.get(), 1);

    // One that is followed by another shows at once, and the client gets each change once.
    proxy.drop_next("a");
    web.fix("r1", (31.2012, 121.4), start + 3_000).await.ok();
    proxy.has_dropped(2).await;
    web.fix("r1", (31.2013, 121.4), start + 4_000).await.ok();
    screen.reaches("a", web.version("a").await).await;
    let seen = &screen.orders["a"];
    assert_eq!((&seen.state, seen.gaps), (&web.state("a", "operations").await, 0));
    assert_eq!(bridge.metrics().hub_resyncs.get(), 2);

    // Then nothing is missing any more: what the heartbeats say is what is here.
    let beats = screen.beats;
    screen.until("two heartbeats", |s| s.beats >= beats + 2).await;
    let seen = &screen.orders["a"];
    assert_eq!((seen.beat, seen.unconfirmed), (Some(seen.version), false));
    assert_eq!(bridge.metrics().hub_resyncs.get(), 2);
    bridge.stop().await;
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_lost_frames_gets_them_from_its_version() {
    let server = Server::start().await;
    let node = Node::start(settings(server.dir.path(), &server.ready.url())).await;
    node.web.delivering("a", "r1").await;
    let mut screen = Screen::open(&node.web, "customer").await;
    screen.follow("a").await;
    let start = node.web.cell_time().await;
    let old = screen.orders["a"].clone();
    for n in 1..=3_u32 {
        node.web.fix("r1", (31.2 + f64::from(n) * 1e-5, 121.4), start + i64::from(n) * 1_000).await.ok();
    }
    screen.reaches("a", old.version + 3).await;
    let new = screen.orders["a"].clone();
    // As if the deltas had never come.
    screen.orders.insert("a".into(), crate::screen::Seen { recoveries: new.recoveries.clone(), ..old });
    screen.follow("a").await;
    screen.reaches("a", new.version).await;
    let seen = &screen.orders["a"];
    assert_eq!((&seen.state, seen.gaps, seen.snapshots), (&new.state, 0, 1));
    assert_eq!(seen.recoveries, ["fresh", "resumed"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_owner_is_told_and_a_new_one_believed() {
    let server = Server::start().await;
    let (data, url) = (server.dir.path().join("data"), server.ready.url());
    let tracker = Program::spawn(&data, &url, "", "tracker");
    let mut serving = settings(&data, &url);
    serving.roles = vec!["bridge".into()];
    let ready = || async { server.jetstream().await.get_key_value("personal").await.is_ok() };
    eventually("the owner has made its streams", ready).await;
    let bridge = Node::start(serving).await;
    let web = bridge.web.clone();
    eventually("the owner answers", || async { web.get("/v1/cell").await.status == 200 }).await;
    web.delivering("a", "r1").await;
    let mut screen = Screen::open(&web, "customer").await;
    screen.follow("a").await;
    screen.until("a confirming heartbeat", |s| s.orders["a"].beat.is_some()).await;

    tracker.kill().await;
    screen.until("the order is unconfirmed", |s| s.orders["a"].unconfirmed).await;
    assert_eq!(screen.orders["a"].beat, None);
    web.get("/v1/orders/a").await.problem();
    // The rider goes on meanwhile: the log takes it, and nobody is told that it was applied.
    let start = trunkline::clock::wall().0;
    let unheard = {
        let web = web.clone();
        tokio::spawn(async move { web.fix("r1", (31.205, 121.4), start).await })
    };
    let tracker = Program::spawn(&data, &url, "", "tracker");
    screen.until("the order is confirmed again", |s| s.orders["a"].beat.is_some() && !s.orders["a"].unconfirmed).await;
    let outcome = unheard.await.unwrap();
    assert_eq!(outcome.ok()["good"], json!(1));
    screen.until("the fix", |s| s.orders["a"].state["position"]["lat"] == 31.205).await;
    let seen = &screen.orders["a"];
    assert_eq!((&seen.state, seen.gaps), (&web.state("a", "customer").await, 0));
    assert_eq!(tracker.terminate().await, Some(0));
    bridge.stop().await;
}
