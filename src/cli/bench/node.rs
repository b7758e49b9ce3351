//! A server process of this program, fresh: what is measured shares neither memory nor threads with what measures.

use super::{super::outside::Http, place};
use crate::{nats::server::NatsServer, wire::view::View};
use anyhow::Context as _;
use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::Duration,
};
use tokio::process::{Child, Command};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// For what is still being freed.
const SETTLE: Duration = Duration::from_secs(2);

/// A node, killed when it is dropped.
#[derive(Debug)]
pub(super) struct Node {
    process: Child,
    pub(super) pid: String,
    pub(super) addr: SocketAddr,
    pub(super) http: Http,
}

impl Node {
    pub(super) fn start(nats: &NatsServer, data: &Path, roles: &str) -> anyhow::Result<Self> {
        let addr = free_addr()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--log", "warn", "serve", "--insecure", "--roles", roles, "--nats", &nats.url()]);
        command.args(["--http", &addr.to_string(), "--data"]).arg(data);
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let process = command.spawn()?;
        let pid = process.id().context("the server ended at once")?.to_string();
        let http = Http::new(&format!("http://{addr}"), View::Operations, PATIENCE)?;
        Ok(Self { process, pid, addr, http })
    }

    /// Resident kB, when it has come to rest.
    pub(super) async fn rss_kb(&self) -> f64 {
        tokio::time::sleep(SETTLE).await;
        place::rss_kb(&self.pid)
    }

    pub(super) async fn applied(&self, cursor: u64) -> anyhow::Result<()> {
        let waiting = async {
            while self.http.cell().await?.cursor < cursor {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE * 5, waiting).await.context("the log isn't applied in time")?
    }

    pub(super) async fn end(mut self) {
        // It has nothing that anybody needs.
        let _ = self.process.kill().await;
    }
}

/// An address of loopback on which nobody listens now.
pub(super) fn free_addr() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
