//! Tickets, other bridges and a node that leaves, with a real server between them.

use crate::{
    harness::{Server, ensure},
    node::{Program, Web, eventually},
};
use futures::{SinkExt, StreamExt, future::join_all};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use trunkline::{
    bridge::{
        bucket::{Bucket, NatsBucket},
        peers::{NatsPeers, Peers},
        tickets::{TicketError, Tickets},
    },
    clock,
    domain::CellId,
    nats::streams,
    wire::{
        access::{Principal, Role},
        subject,
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_who_show_a_ticket_on_two_nodes_one_gets_in() {
    let server = Server::start().await;
    ensure(&server.jetstream().await).await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let bucket = NatsBucket::new(server.jetstream().await, subject::TICKETS_BUCKET);
        nodes.push(Tickets::new(Arc::new(bucket)));
    }
    let expires_at = Some(clock::wall().plus(600_000));
    let (role, cells) = (Role::Customer, Some(Arc::new([CellId::default()].into())));
    let who = Principal { role, id: "u".into(), cells, order: None, expires_at, everyone: false };
    for _ in 0..20 {
        let (ticket, _) = nodes[0].make(&who, clock::wall()).await.unwrap();
        let takers = (0..8).map(|n| nodes[n % 2].take(&ticket, clock::wall()));
        let taken = join_all(takers).await;
        let (good, bad): (Vec<_>, Vec<_>) = taken.into_iter().partition(Result::is_ok);
        assert!(good.len() == 1 && *good[0].as_ref().unwrap() == who);
        assert!(bad.iter().all(|taken| matches!(taken, Err(TicketError::NotGood))), "{bad:?}");
    }
    // What nobody used goes by itself, and no backup keeps it.
    let js = server.jetstream().await;
    let info = js.get_stream(subject::bucket_stream(subject::TICKETS_BUCKET)).await.unwrap();
    assert_eq!(info.cached_info().config.max_age, Duration::from_secs(60));
    assert_eq!(info.cached_info().config.max_bytes, 16 << 20);
    assert!(streams::names(&CellId::default()).iter().all(|name| !name.stream.contains("tickets")));
    // Other buckets are told who removed what as well.
    let shares = NatsBucket::new(js, subject::SHARES_BUCKET);
    let revision = shares.create("k", "v".into()).await.unwrap().unwrap();
    assert!(!shares.purge("k", Some(revision + 7)).await.unwrap());
    assert!(shares.purge("k", Some(revision)).await.unwrap() && shares.get("k").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_tickets_wait_as_there_is_room_for() {
    let server = Server::start().await;
    let js = server.jetstream().await;
    ensure(&js).await;
    let stream = subject::bucket_stream(subject::TICKETS_BUCKET);
    let config = |max_bytes| {
        let (js, stream) = (js.clone(), stream.clone());
        async move {
            let found = js.get_stream(&stream).await.unwrap().cached_info().config.clone();
            js.update_stream(async_nats::jetstream::stream::Config { max_bytes, ..found }).await.unwrap();
        }
    };
    // One from before there was a limit gets it; another's stays.
    config(-1).await;
    ensure(&js).await;
    assert_eq!(js.get_stream(&stream).await.unwrap().cached_info().config.max_bytes, 16 << 20);
    config(4_096).await;
    ensure(&js).await;
    let tickets = Tickets::new(Arc::new(NatsBucket::new(js.clone(), subject::TICKETS_BUCKET)));
    let expires_at = Some(clock::wall().plus(600_000));
    let who = Principal { role: Role::Customer, id: "u".into(), cells: None, order: None, expires_at, everyone: false };
    let mut made = Vec::new();
    let error = loop {
        match tickets.make(&who, clock::wall()).await {
            Ok((ticket, _)) => made.push(ticket),
            Err(error) => break error,
        }
        assert!(made.len() < 100, "there is no limit");
    };
    assert!(made.len() > 3 && matches!(error, TicketError::Bucket(_)), "{error}");
    assert_eq!(trunkline::wire::problem::Problem::from(error).status, 503);
    assert_eq!(tickets.take(&made[0], clock::wall()).await.unwrap(), who, "the oldest is still good");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_knows_whether_it_is_the_last() {
    let server = Server::start().await;
    let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
    let start = |client| NatsPeers::start(client, &tracker, cancel.clone());
    let (one, other) = (start(server.client().await), start(server.client().await));
    let client = server.client().await;
    let both_answer = || async {
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.unwrap();
        client.publish_with_reply(subject::bridge_alive(), inbox, "".into()).await.unwrap();
        let both = async { (answers.next().await, answers.next().await) };
        tokio::time::timeout(Duration::from_millis(500), both).await.is_ok()
    };
    eventually("they listen", both_answer).await;
    assert!(one.others().await, "there is the other one");
    let watch = clock::Stopwatch::start();
    assert!(!other.others().await, "the first has left");
    assert!(watch.elapsed() < Duration::from_millis(400), "where nobody listens nobody is waited for");
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A client as it should be: follows one order, and comes back with what it has.
#[derive(Default)]
struct Client {
    socket: Option<Socket>,
    at: Option<(u64, u64)>,
    statuses: Vec<u64>,
    told: Option<u64>,
    recovery: Value,
}

impl Client {
    async fn connect(&mut self, web: &Web) {
        let url = format!("ws://{}/v1/ws?role=customer", web.addr);
        let (mut socket, _) = connect_async(url).await.unwrap();
        let mut frame = json!({"type": "subscribe", "topic": "order/o1"});
        if let Some((epoch, version)) = self.at {
            (frame["epoch"], frame["version"]) = (epoch.into(), version.into());
        }
        socket.send(Message::text(frame.to_string())).await.unwrap();
        self.socket = Some(socket);
    }

    /// Reads until `enough`, or until the connection is closed; gives the code.
    async fn read(&mut self, enough: impl Fn(&Self) -> bool) -> Option<u16> {
        while !enough(self) {
            let message = tokio::time::timeout(Duration::from_secs(30), self.socket.as_mut().unwrap().next());
            let text = match message.await.unwrap() {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(close))) => return Some(close.unwrap().code.into()),
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return Some(0),
            };
            let frame: Value = serde_json::from_str(&text).unwrap();
            let (state, version) = match frame["type"].as_str().unwrap() {
                "subscribed" => {
                    self.recovery = frame["recovery"].clone();
                    continue;
                }
                "snapshot" => (&frame["state"], &frame["version"]),
                "delta" => {
                    assert_eq!(frame["from"].as_u64(), self.at.map(|(_, version)| version), "{frame}");
                    (&frame["patch"], &frame["to"])
                }
                "going_away" => {
                    self.told = frame["reconnect_in_ms"].as_u64();
                    continue;
                }
                _ => continue,
            };
            self.statuses.extend(state["status"].as_u64());
            self.at = Some((frame["epoch"].as_u64().unwrap(), version.as_u64().unwrap()));
        }
        None
    }

    fn status(&self) -> Option<u64> {
        self.statuses.last().copied()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_ends_and_comes_again_costs_no_client_an_update() {
    let (server, data) = (Server::start().await, TempDir::new().unwrap());
    let program = Program::start(data.path(), &server.ready.url(), "").await;
    program.web.create("o1").await.ok();
    let mut clients: Vec<Client> = (0..200).map(|_| Client::default()).collect();
    for client in &mut clients {
        client.connect(&program.web).await;
    }
    join_all(clients.iter_mut().map(|client| client.read(|c| c.status() == Some(1)))).await;
    let web = program.web.clone();
    // While clients are told to go, things happen, and those who are still there see them at once.
    let change = async {
        eventually("it leaves", || async { web.get("/readyz").await.status == 503 }).await;
        web.command("o1", "pay", &json!({})).await.ok();
    };
    let reading = join_all(clients.iter_mut().map(|client| client.read(|_| false)));
    let (exit, (), codes) = tokio::join!(program.terminate(), change, reading);
    assert_eq!(exit, Some(0));
    assert!(codes.iter().all(|code| *code == Some(4100)), "{codes:?}");
    let told: Vec<_> = clients.iter().map(|client| client.told.unwrap()).collect();
    assert!(told.iter().all(|ms| (2_000..=6_500).contains(ms)), "alone: after its restart. {told:?}");
    let seen = clients.iter().filter(|client| client.status() == Some(2)).count();
    assert!(seen > 0, "nobody was told of what happened meanwhile");

    let program = Program::start(data.path(), &server.ready.url(), "").await;
    for client in &mut clients {
        client.connect(&program.web).await;
    }
    // Another owner of the same log: nobody begins anew.
    join_all(clients.iter_mut().map(|client| client.read(|c| c.status() == Some(2)))).await;
    program.web.command("o1", "cancel", &json!({"reason": "test"})).await.ok();
    join_all(clients.iter_mut().map(|client| client.read(|c| c.status() == Some(5)))).await;
    for client in &clients {
        assert_eq!((&client.recovery, client.statuses.as_slice()), (&json!("resumed"), &[1, 2, 5][..]));
    }
    // With another bridge beside it, clients are told to come at once.
    let other = Program::spawn(&data.path().join("other"), &server.ready.url(), "", "bridge");
    other.web.ready().await;
    let mut client = Client::default();
    client.connect(&program.web).await;
    let (exit, code) = tokio::join!(program.terminate(), client.read(|_| false));
    assert_eq!((exit, code), (Some(0), Some(4100)));
    assert!(client.told.unwrap() <= 1_000);
}
