//! One of the servers under the same load: who subscribes, who publishes, what it has cost.

use super::{
    super::{
        node::{Node, PATIENCE},
        owner::{self, Owner},
        place::{self, Place},
        socket::{Heard, Socket},
    },
    frame,
    peer::{Installed, Kind, Peer},
};
use crate::{
    clock::Stopwatch,
    nats::server::NatsServer,
    wire::{client::ClientFrame, view::View},
};
use anyhow::{Context as _, bail};
use std::time::Duration;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Until who was turned away comes again.
const TURNED_AWAY: Duration = Duration::from_millis(200);

/// A server, its processes fresh.
#[derive(Debug)]
pub(super) enum Server {
    Ours { node: Box<Node>, owner: Owner, stop: CancellationToken },
    Peer { kind: Kind, peer: Peer, say: Voice },
}

/// How one publishes to a peer, on a connection that stays.
#[derive(Debug)]
pub(super) enum Voice {
    /// Requests of HTTP, answers read by a task: nothing waits for them.
    Http(tokio::net::tcp::OwnedWriteHalf),
    WebSocket(Socket),
}

impl Server {
    /// Our bridge in a process of its own, and an owner for it.
    pub(super) async fn ours(
        nats: &NatsServer,
        place: &Place,
        orders: u32,
        tasks: &TaskTracker,
    ) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let owner = Owner::start(&nats.url(), orders, tasks, &stop).await?;
        let node = Box::new(Node::start(nats, &place.fresh("bridge")?, "bridge")?);
        listening(async || Socket::open(node.addr, &bridge_path()).await.map(drop)).await?;
        Ok(Self::Ours { node, owner, stop })
    }

    pub(super) async fn peer(
        kind: Kind,
        installed: &Installed,
        place: &Place,
        tasks: &TaskTracker,
    ) -> anyhow::Result<Self> {
        let name = match kind {
            Kind::Nchan => "nchan",
            Kind::Ws => "ws",
            Kind::WsPrepared => "ws-prepared",
        };
        let peer = installed.start(kind, &place.fresh(name)?).await?;
        let say = match kind {
            Kind::Nchan => {
                let stream = TcpStream::connect(peer.addr).await?;
                stream.set_nodelay(true)?;
                let (mut answers, say) = stream.into_split();
                // It ends with the connection.
                tasks.spawn(async move { tokio::io::copy(&mut answers, &mut tokio::io::sink()).await });
                Voice::Http(say)
            }
            Kind::Ws | Kind::WsPrepared => Voice::WebSocket(Socket::open(peer.addr, "/publish").await?),
        };
        Ok(Self::Peer { kind, peer, say })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ours { .. } => "trunkline",
            Self::Peer { kind: Kind::Nchan, .. } => "nchan",
            Self::Peer { kind: Kind::Ws, .. } => "ws",
            Self::Peer { kind: Kind::WsPrepared, .. } => "ws, prepared",
        }
    }

    /// A connection that is subscribed to the channel, and knows it.
    pub(super) async fn subscribe(&self, channel: u32) -> anyhow::Result<Socket> {
        match self {
            Self::Ours { node, .. } => {
                let mut socket = admitted(node).await?;
                let topic = format!("order/{}", owner::order(channel));
                let follow = ClientFrame::Subscribe { topic, version: None, epoch: None, bounds: None };
                socket.say(&serde_json::to_string(&follow)?).await?;
                tokio::time::timeout(PATIENCE, begun(&mut socket)).await.context("no snapshot came")??;
                Ok(socket)
            }
            Self::Peer { kind: Kind::Nchan, peer, .. } => Socket::open(peer.addr, &format!("/sub/{channel}")).await,
            Self::Peer { kind: Kind::Ws | Kind::WsPrepared, peer, .. } => {
                Socket::open(peer.addr, &format!("/{channel}")).await
            }
        }
    }

    /// A connection that says nothing and is subscribed to nothing.
    pub(super) async fn connect(&self) -> anyhow::Result<Socket> {
        match self {
            Self::Ours { node, .. } => admitted(node).await,
            Self::Peer { .. } => self.subscribe(u32::MAX).await,
        }
    }

    /// One update to all on the channel.
    pub(super) async fn publish(&mut self, channel: u32, position: String) -> anyhow::Result<()> {
        match self {
            Self::Ours { owner, .. } => owner.tell(channel, position).await,
            Self::Peer { say: Voice::Http(say), .. } => {
                let text = frame::text(channel, &position)?;
                let length = text.len();
                let request =
                    format!("POST /pub/{channel} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{text}");
                Ok(say.write_all(request.as_bytes()).await?)
            }
            Self::Peer { say: Voice::WebSocket(say), .. } => {
                say.say(&format!("{channel}\n{}", frame::text(channel, &position)?)).await
            }
        }
    }

    fn pids(&self) -> anyhow::Result<Vec<String>> {
        match self {
            Self::Ours { node, .. } => Ok(vec![node.pid.clone()]),
            Self::Peer { peer, .. } => peer.pids(),
        }
    }

    /// CPU seconds of the processes that serve.
    pub(super) fn cpu_s(&self) -> anyhow::Result<f64> {
        Ok(self.pids()?.iter().map(|pid| place::cpu_s(pid)).sum())
    }

    /// Their resident kB.
    pub(super) fn rss_kb(&self) -> anyhow::Result<f64> {
        Ok(self.pids()?.iter().map(|pid| place::rss_kb(pid)).sum())
    }

    pub(super) async fn end(self) -> anyhow::Result<()> {
        match self {
            Self::Ours { node, stop, .. } => {
                stop.cancel();
                node.end().await;
                Ok(())
            }
            Self::Peer { peer, .. } => peer.end().await,
        }
    }
}

/// Where our bridge is asked, as a customer.
fn bridge_path() -> String {
    format!("/v1/ws?role={}", View::Customer.name())
}

/// A connection to our bridge, which lets in so many a second: who is turned away comes again.
async fn admitted(node: &Node) -> anyhow::Result<Socket> {
    let since = Stopwatch::start();
    loop {
        match Socket::open(node.addr, &bridge_path()).await {
            Err(error) if since.elapsed() > PATIENCE || !error.to_string().contains(" 503 ") => return Err(error),
            Err(_) => tokio::time::sleep(TURNED_AWAY).await,
            Ok(socket) => return Ok(socket),
        }
    }
}

async fn listening(connect: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let patience = async {
        while connect().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, patience).await.context("the bridge doesn't listen")
}

/// Waits for the first state.
async fn begun(socket: &mut Socket) -> anyhow::Result<()> {
    let (mut begun, mut refused) = (false, None);
    while !begun {
        let going_on = socket.hear(|heard| match heard {
            Heard::Text(text) if text.starts_with(br#"{"type":"snapshot""#) => begun = true,
            Heard::Text(text) if text.starts_with(br#"{"type":"error""#) => {
                refused = Some(String::from_utf8_lossy(text).into_owned());
            }
            Heard::Text(_) | Heard::Ping(_) | Heard::Close(_) | Heard::Other => {}
        });
        let going_on = going_on.await?;
        if let Some(refused) = refused {
            bail!(refused);
        }
        anyhow::ensure!(going_on, "the bridge ended the connection");
    }
    Ok(())
}
