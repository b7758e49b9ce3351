//! One run of nats-server: started with a configuration, a store and a port, watched until it is ready, ended politely.

use super::{ServerError, binary};
use crate::clock::Stopwatch;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

/// The configuration that stands in the repository, for a binary that stands alone.
const DEFAULT_CONFIG: &str = include_str!("../../../nats.conf");

/// Recovery of a large store takes its time: about 1 s for 10 GB here.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a server may take to end after SIGTERM before it is killed.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Free ports that are tried.
const FREE_PORTS: u32 = 5;

/// Between two looks at whether it is ready.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What to start, as an operator names it.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The binary; `None` looks on PATH and under `.tools/`.
    pub binary: Option<PathBuf>,
    /// A configuration file; `None` takes the one that this program was built with (`nats.conf`).
    pub config: Option<PathBuf>,
    /// Working directory of the server: its configuration's relative paths, as the store's, are beneath it. Made if
    /// it isn't there.
    pub dir: PathBuf,
    /// Port for clients on loopback; `None` takes a free one.
    pub port: Option<u16>,
    /// Port for monitoring; `None` takes a free one.
    pub monitor_port: Option<u16>,
}

/// A launch whose binary, configuration and port are settled: it can be repeated.
#[derive(Clone, Debug)]
pub struct Ready {
    binary: PathBuf,
    config: PathBuf,
    dir: PathBuf,
    monitor_port: Option<u16>,
    pub(super) version: String,
    pub port: u16,
}

/// A running nats-server. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

/// A client's address of a server on loopback.
pub(super) fn url(port: u16) -> String {
    format!("nats://127.0.0.1:{port}")
}

impl Launch {
    /// A server for a test: everything under `dir`, on free ports.
    pub fn for_test(dir: &Path) -> Self {
        Self { binary: None, config: None, dir: dir.to_owned(), port: None, monitor_port: None }
    }

    /// Starts it and waits until it is ready. What comes back can be started again on the same port and store.
    pub async fn start(self) -> Result<(Ready, Process), ServerError> {
        let binary::Binary { path, version } = binary::find(self.binary.as_deref()).await?;
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| ServerError::File { path, source }
        };
        std::fs::create_dir_all(&self.dir).map_err(file(&self.dir))?;
        let dir = self.dir.canonicalize().map_err(file(&self.dir))?;
        let config = match &self.config {
            Some(config) => config.canonicalize().map_err(file(config))?,
            None => {
                let config = dir.join("nats.conf");
                std::fs::write(&config, DEFAULT_CONFIG).map_err(file(&config))?;
                config
            }
        };
        let mut ready = Ready { binary: path, config, dir, monitor_port: self.monitor_port, version, port: 0 };
        if let Some(port) = self.port {
            ready.port = port;
            let process = ready.again().await?;
            return Ok((ready, process));
        }
        // A free port may be taken by somebody else before the server takes it: then another one.
        let mut attempt = 0;
        loop {
            attempt += 1;
            ready.port = free_port().map_err(file(Path::new("127.0.0.1:0")))?;
            match ready.again().await {
                Err(ServerError::PortTaken { .. }) if attempt < FREE_PORTS => {}
                Err(error) => return Err(error),
                Ok(process) => return Ok((ready, process)),
            }
        }
    }
}

impl Ready {
    /// Its address for clients.
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// Starts it on the same port and store (as before a death) and waits until it is ready.
    pub async fn again(&self) -> Result<Process, ServerError> {
        self.end_leftover().await;
        // Names the run, so that another server on the port isn't taken for ours.
        let name = format!("trunkline-{}", uuid::Uuid::now_v7().simple());
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file())
            .map_err(|source| ServerError::File { path: self.log_file(), source })?;
        let log_starts = log.metadata().map(|m| m.len()).unwrap_or(0);
        let mut command = Command::new(&self.binary);
        command
            .arg("--config")
            .arg(&self.config)
            .args(["--port", &self.port.to_string(), "--addr", "127.0.0.1", "--server_name", &name])
            // -1: any free port.
            .args(["--http_port", &self.monitor_port.map_or(-1, i32::from).to_string()])
            .arg("--pid")
            .arg(self.pid_file())
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C at a terminal goes to the whole group: the server must outlive those who still publish.
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|source| ServerError::File { path: self.binary.clone(), source })?;
        let mut process = Process { child };
        self.until_ready(&mut process, &name, log_starts).await?;
        Ok(process)
    }

    /// What the server writes about itself.
    pub fn log_file(&self) -> PathBuf {
        self.dir.join("nats-server.log")
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("nats-server.pid")
    }

    async fn until_ready(&self, process: &mut Process, name: &str, log_starts: u64) -> Result<(), ServerError> {
        let watch = Stopwatch::start();
        let mut last = String::from("no connection");
        while watch.elapsed() < READY_WITHIN {
            if let Ok(Some(status)) = process.child.try_wait() {
                if let Ok(Hello { server_name }) = hello(self.port).await {
                    return Err(ServerError::PortTaken { port: self.port, name: server_name });
                }
                return Err(ServerError::Ended { status: status.to_string(), said: self.last_words(log_starts) });
            }
            match hello(self.port).await {
                Ok(Hello { server_name }) if server_name == name => return Ok(()),
                Ok(Hello { server_name }) => last = format!("`{server_name}` answers there"),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(ServerError::NotReady { port: self.port, seconds: READY_WITHIN.as_secs(), last })
    }

    /// The complaints of the run that began at this place of its log.
    fn last_words(&self, log_starts: u64) -> String {
        let log = std::fs::read(self.log_file()).unwrap_or_default();
        let from = usize::try_from(log_starts).unwrap_or(0).min(log.len());
        let text = String::from_utf8_lossy(&log[from..]).into_owned();
        let lines: Vec<&str> = text.lines().filter(|l| !l.contains("[INF]")).collect();
        lines[lines.len().saturating_sub(5)..].join(" / ")
    }

    /// Ends a server that an earlier run of this program left behind on this store, because it was killed itself: two
    /// on one store would ruin it.
    async fn end_leftover(&self) {
        let Ok(text) = std::fs::read_to_string(self.pid_file()) else { return };
        let Ok(pid) = text.trim().parse::<u32>() else { return };
        let ours = |pid: u32| {
            // The pid may be somebody else's by now: only a process that was told to write this very file is ours.
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&*self.pid_file().to_string_lossy()))
        };
        if !ours(pid) {
            return;
        }
        tracing::warn!(pid, "ending the nats-server that an earlier run left on this store");
        signal(pid, "TERM").await;
        let watch = Stopwatch::start();
        while ours(pid) && watch.elapsed() < END_WITHIN {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if ours(pid) {
            signal(pid, "KILL").await;
        }
    }
}

impl Process {
    /// `None` once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it ends by itself.
    pub(super) async fn wait(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Asks it to end, and kills it if it doesn't.
    pub async fn terminate(mut self) {
        let Some(pid) = self.child.id() else { return };
        if !signal(pid, "TERM").await {
            self.kill().await;
        } else if tokio::time::timeout(END_WITHIN, self.child.wait()).await.is_err() {
            tracing::warn!("nats-server didn't end in time, killing it");
            self.kill().await;
        }
    }

    /// Kills it as a crash would (SIGKILL) and reaps it.
    pub async fn kill(mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::debug!(%error, "nats-server had ended already");
        }
    }
}

/// Sends a signal by the `kill` command; this program has no unsafe code to call the system with.
async fn signal(pid: u32, name: &str) -> bool {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status().await;
    sent.is_ok_and(|status| status.success())
}

/// The part of a server's greeting that is looked at.
#[derive(serde::Deserialize)]
struct Hello {
    server_name: String,
}

/// Connects and reads the greeting, which the server sends when its streams are recovered.
async fn hello(port: u16) -> std::io::Result<Hello> {
    let greeting = async {
        let mut line = String::new();
        BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?).read_line(&mut line).await?;
        let json = line.strip_prefix("INFO ").ok_or_else(|| std::io::Error::other("no nats-server answers there"))?;
        serde_json::from_str(json).map_err(std::io::Error::other)
    };
    match tokio::time::timeout(Duration::from_secs(1), greeting).await {
        Ok(hello) => hello,
        Err(_) => Err(std::io::Error::other("it doesn't say hello")),
    }
}

/// A port that is free now. Somebody may take it before the server does; then the start fails and says so.
fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
