//! The rounds.

use super::{
    Load, Shape,
    crowd::Crowd,
    frame,
    peer::{Installed, Kind},
    report::{Idle, Measured, Turns},
    server::Server,
};
use crate::{
    cli::{
        bench::{figures::Latency, place::Place, steady::steady},
        outside::say,
    },
    nats::server::NatsServer,
};
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// Until a server that was started or left alone has come to rest.
const SETTLE: Duration = Duration::from_secs(2);
/// An idle connection's memory is that after a heartbeat has passed over it.
const IDLE: Duration = Duration::from_secs(12);
/// Connections that pay for what all share, before the others come.
const FIRST: u32 = 10;

/// What the rounds need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bench<'a> {
    pub(super) place: &'a Place,
    pub(super) nats: &'a NatsServer,
    pub(super) installed: &'a Installed,
    pub(super) peers: &'a [Kind],
    pub(super) tasks: &'a TaskTracker,
    /// Of a position, for the frame's length.
    pub(super) pad: usize,
}

/// One server's turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) cpu_us_per_frame: f64,
    /// Of the updates published, times the subscribers: the part that was delivered. Where it is less than 1, the rest was
    /// conflated.
    pub(super) delivered: f64,
    pub(super) latency: Latency,
}

impl Bench<'_> {
    /// All servers, fresh, with the shape's subscribers, taking turns.
    pub(super) async fn shape(&self, shape: Shape, rounds: u32, turn: Duration) -> anyhow::Result<Measured> {
        let load = shape.load();
        let mut servers = Vec::new();
        for server in self.servers(load).await? {
            let crowd = Crowd::gather(&server, load.channels, load.each, self.tasks).await?;
            servers.push((server, crowd, Vec::new()));
        }
        say(format_args!("{}, {rounds} rounds of {} s", shape.name(), turn.as_secs()));
        for round in 0..=rounds {
            for (server, crowd, turns) in &mut servers {
                let taken = self.turn(server, crowd, load, turn).await?;
                // The first is for warming up: buffers, branches, the just-in-time compiler.
                if round > 0 {
                    let Turn { cpu_us_per_frame, delivered, latency } = taken;
                    let name = server.name();
                    say(format_args!(
                        "  round {round}: {name:13} {cpu_us_per_frame:6.2} µs/frame, delivered {:.1} %, {latency}",
                        delivered * 100.0
                    ));
                    turns.push(taken);
                }
            }
        }
        let mut measured = Measured { shape, name: shape.name(), servers: Vec::new() };
        for (server, crowd, turns) in servers {
            crowd.check()?;
            measured.servers.push(Turns::new(server.name(), &turns));
            drop(crowd);
            server.end().await?;
        }
        Ok(measured)
    }

    async fn servers(&self, load: Load) -> anyhow::Result<Vec<Server>> {
        let mut servers = vec![Server::ours(self.nats, self.place, load.channels, self.tasks).await?];
        // A frame that goes to one subscriber gains nothing by being prepared.
        for &kind in self.peers.iter().filter(|&&kind| kind != Kind::WsPrepared || load.each > 1) {
            servers.push(Server::peer(kind, self.installed, self.place, self.tasks).await?);
        }
        Ok(servers)
    }

    async fn turn(&self, server: &mut Server, crowd: &Crowd, load: Load, length: Duration) -> anyhow::Result<Turn> {
        let (heard, cpu_s) = (crowd.tally.updates(), server.cpu_s()?);
        let _ = crowd.tally.take();
        let rate = load.channels * load.rate;
        let sent = steady(rate, length, async |n| {
            let position = frame::position(n, crowd.tally.sent_us(), self.pad);
            server.publish(n % load.channels, position).await
        });
        let sent = sent.await?;
        let due = u64::from(sent) * u64::from(load.each);
        crowd.heard(heard + due).await;
        let frames = (crowd.tally.updates() - heard) as f64;
        let cpu_us_per_frame = (server.cpu_s()? - cpu_s) * 1e6 / frames;
        Ok(Turn { cpu_us_per_frame, delivered: frames / due as f64, latency: crowd.tally.take() })
    }

    /// Memory of idle connections, each server in a process that has done nothing else.
    pub(super) async fn idle(&self, connections: u32) -> anyhow::Result<Vec<Idle>> {
        say(format_args!("{connections} idle connections, {} s after the last has come", IDLE.as_secs()));
        let mut found = Vec::new();
        let ours = async || Server::ours(self.nats, self.place, connections, self.tasks).await;
        found.push(self.idle_on(ours().await?, "subscribed to one channel", 1, connections).await?);
        found.push(self.idle_on(ours().await?, "subscribed to a channel each", connections, connections).await?);
        found.push(self.silent(ours().await?, connections).await?);
        for &kind in self.peers {
            if kind == Kind::WsPrepared {
                // Connected, it is the same.
                continue;
            }
            let server = async || Server::peer(kind, self.installed, self.place, self.tasks).await;
            found.push(self.idle_on(server().await?, "subscribed to one channel", 1, connections).await?);
            found.push(self.idle_on(server().await?, "subscribed to a channel each", connections, connections).await?);
        }
        Ok(found)
    }

    async fn idle_on(
        &self,
        server: Server,
        how: &'static str,
        channels: u32,
        connections: u32,
    ) -> anyhow::Result<Idle> {
        let first = Crowd::gather(&server, FIRST.min(channels), FIRST / FIRST.min(channels), self.tasks).await?;
        tokio::time::sleep(SETTLE).await;
        let before_kb = server.rss_kb()?;
        let crowd = Crowd::gather(&server, channels, connections / channels, self.tasks).await?;
        tokio::time::sleep(IDLE).await;
        let found = Idle::new(server.name(), how, before_kb, server.rss_kb()?, crowd.size);
        first.check()?;
        crowd.check()?;
        drop((first, crowd));
        server.end().await?;
        Ok(found)
    }

    /// Connections that are subscribed to nothing.
    async fn silent(&self, server: Server, connections: u32) -> anyhow::Result<Idle> {
        let first = Crowd::silent(&server, FIRST, self.tasks).await?;
        tokio::time::sleep(SETTLE).await;
        let before_kb = server.rss_kb()?;
        let crowd = Crowd::silent(&server, connections, self.tasks).await?;
        tokio::time::sleep(IDLE).await;
        let found = Idle::new(server.name(), "subscribed to nothing", before_kb, server.rss_kb()?, crowd.size);
        first.check()?;
        crowd.check()?;
        drop((first, crowd));
        server.end().await?;
        Ok(found)
    }
}
