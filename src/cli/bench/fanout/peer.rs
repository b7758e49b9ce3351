//! Other push servers, each as lean as its settings make it: nginx with Nchan, and the npm package ws.

use super::super::node::free_addr;
use anyhow::{Context as _, ensure};
use serde::Serialize;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Nchan,
    /// By `send`, as its documentation has it.
    Ws,
    /// Each message's frame made once and written to the sockets behind its back.
    WsPrepared,
}

/// What is installed, by `scripts/peers`.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    dir: PathBuf,
}

/// A process of its own, ended when it is dropped.
#[derive(Debug)]
pub(super) struct Peer {
    process: Child,
    pub(super) addr: SocketAddr,
}

const START_WITHIN: Duration = Duration::from_secs(10);

impl Installed {
    pub(super) fn new(dir: &Path) -> anyhow::Result<Self> {
        Ok(Self { dir: std::path::absolute(dir)? })
    }

    fn nginx(&self) -> PathBuf {
        self.dir.join("nginx/usr/sbin/nginx")
    }

    fn packages(&self) -> PathBuf {
        self.dir.join("ws/node_modules")
    }

    /// The version, if it is there.
    pub(super) async fn version(&self, kind: Kind) -> Option<String> {
        match kind {
            Kind::Nchan => {
                let said = Command::new(self.nginx()).arg("-v").stdin(Stdio::null()).output().await.ok()?;
                let said = String::from_utf8_lossy(&said.stderr).trim().to_owned();
                Some(said.rsplit_once('/').map_or(said.clone(), |(_, version)| format!("nginx {version} with Nchan")))
            }
            Kind::Ws | Kind::WsPrepared => {
                let package = std::fs::read(self.packages().join("ws/package.json")).ok()?;
                let package: serde_json::Value = serde_json::from_slice(&package).ok()?;
                let node = Command::new("node").arg("--version").stdin(Stdio::null()).output().await.ok()?;
                let node = String::from_utf8_lossy(&node.stdout).trim().to_owned();
                Some(format!("ws {} on Node {node}", package.get("version")?.as_str()?))
            }
        }
    }

    /// Starts one; `work` is an empty folder of its own.
    pub(super) async fn start(&self, kind: Kind, work: &Path) -> anyhow::Result<Peer> {
        let addr = free_addr()?;
        let mut command = match kind {
            Kind::Nchan => {
                let config = work.join("nginx.conf");
                std::fs::write(&config, self.nginx_conf(work, addr))?;
                let mut command = Command::new(self.nginx());
                command.arg("-c").arg(config).arg("-p").arg(work).args(["-e", "error.log"]);
                command
            }
            Kind::Ws | Kind::WsPrepared => {
                let program = work.join("ws-server.cjs");
                std::fs::write(&program, include_str!("ws-server.cjs"))?;
                let mut command = Command::new("node");
                command.env("NODE_PATH", self.packages()).arg(program).arg(addr.port().to_string());
                command.args((kind == Kind::WsPrepared).then_some("prepared"));
                command
            }
        };
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn()?;
        let listening = async {
            while TcpStream::connect(addr).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(START_WITHIN, listening).await.with_context(|| format!("{kind:?} doesn't listen"))?;
        Ok(Peer { process, addr })
    }

    /// One worker, which saves Nchan its traffic between workers; no log, no buffering of what is passed on, messages kept
    /// for resuming as many as our hub keeps.
    fn nginx_conf(&self, work: &Path, addr: SocketAddr) -> String {
        let (module, work) = (self.dir.join("nginx/usr/lib/nginx/modules/ngx_nchan_module.so"), work.display());
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|of| format!("{of}_temp_path {work}/{of};\n"))
            .concat();
        format!(
            "load_module {};\ndaemon off;\nworker_processes 1;\npid {work}/nginx.pid;\nworker_rlimit_nofile 20000;\n\
             error_log {work}/error.log warn;\nevents {{ worker_connections 12000; use epoll; }}\n\
             http {{\naccess_log off;\ntcp_nodelay on;\nkeepalive_timeout 1h;\nkeepalive_requests 1000000000;\n\
             {temp}nchan_max_reserved_memory 256m;\n\
             server {{\nlisten {addr} backlog=4096;\n\
             location ~ ^/sub/(\\w+)$ {{ nchan_subscriber websocket; nchan_channel_id $1; nchan_subscriber_first_message newest; }}\n\
             location ~ ^/pub/(\\w+)$ {{ nchan_publisher http; nchan_channel_id $1; nchan_message_buffer_length 16; nchan_message_timeout 1m; }}\n\
             }}\n}}\n",
            module.display()
        )
    }
}

impl Peer {
    /// The processes that serve: nginx's workers, Node itself.
    pub(super) fn pids(&self) -> anyhow::Result<Vec<String>> {
        let pid = self.process.id().context("it has ended")?;
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let children: Vec<_> = children.split_whitespace().map(str::to_owned).collect();
        Ok(if children.is_empty() { vec![pid.to_string()] } else { children })
    }

    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        // nginx's workers outlive a master that is killed.
        let pid = self.process.id().context("it has ended")?;
        let asked = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        ensure!(asked.success(), "no signal to {pid}");
        if tokio::time::timeout(START_WITHIN, self.process.wait()).await.is_err() {
            self.process.kill().await?;
        }
        Ok(())
    }
}
