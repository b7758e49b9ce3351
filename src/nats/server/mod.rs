//! nats-server as a child of this process, for those who run Trunkline without a NATS of their own.
//!
//! `binary` finds it, `process` is one run of it, and [`NatsServer`] here keeps one running: a server that dies is
//! started again on the same port and store, after a wait that grows while it keeps dying.

pub mod binary;
pub mod process;

pub use process::{Launch, Process, Ready};

use crate::clock::Stopwatch;
use std::{path::PathBuf, time::Duration};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Why there is no nats-server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("no usable nats-server ({least} or newer): {tried}; `scripts/nats path` installs one", least = binary::LEAST)]
    NoBinary { tried: String },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("nats-server ended at once ({status}): {said}")]
    Ended { status: String, said: String },
    #[error("nats-server is not ready on port {port} after {seconds} s: {last}")]
    NotReady { port: u16, seconds: u64, last: String },
    #[error("port {port} is taken by another server ({name}); give another port, or its address as the NATS address")]
    PortTaken { port: u16, name: String },
}

/// First wait before a dead server is started again; doubles up to [`MAX_WAIT`] while it keeps dying.
const MIN_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(5);

/// A server that ran this long died of something new.
const SETTLED: Duration = Duration::from_secs(30);

/// A nats-server that is kept running until it is stopped or dropped.
#[derive(Debug)]
pub struct NatsServer {
    port: u16,
    version: String,
    pid: watch::Receiver<Option<u32>>,
    stop: CancellationToken,
}

impl NatsServer {
    /// Starts the server and waits until it takes connections and has recovered its streams.
    pub async fn start(launch: Launch, tasks: &TaskTracker) -> Result<Self, ServerError> {
        let (launch, process) = launch.start().await?;
        let (pid, watched) = watch::channel(process.pid());
        let stop = CancellationToken::new();
        let server = Self { port: launch.port, version: launch.version.clone(), pid: watched, stop: stop.clone() };
        tasks.spawn(supervise(launch, process, pid, stop));
        Ok(server)
    }

    /// Its address for clients.
    pub fn url(&self) -> String {
        process::url(self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// As it says itself, `v2.15.1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Of the present run; `None` between two.
    pub fn pid(&self) -> Option<u32> {
        *self.pid.borrow()
    }

    /// Ends it and waits until it has ended: last in a shutdown, when nobody publishes any more.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // The supervisor drops its end when the process is gone.
        while self.pid.changed().await.is_ok() {}
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn supervise(launch: Ready, mut process: Process, pid: watch::Sender<Option<u32>>, stop: CancellationToken) {
    let mut wait = MIN_WAIT;
    loop {
        let run = Stopwatch::start();
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                process.terminate().await;
                return;
            }
            status = process.wait() => {
                pid.send_replace(None);
                tracing::error!(%status, ran_ms = run.elapsed().as_millis(), "nats-server died, starting it again");
            }
        }
        if run.elapsed() > SETTLED {
            wait = MIN_WAIT;
        }
        process = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(MAX_WAIT);
            match launch.again().await {
                Ok(process) => break process,
                Err(error) => tracing::error!(%error, wait_ms = wait.as_millis(), "nats-server doesn't start"),
            }
        };
        pid.send_replace(process.pid());
        tracing::info!(port = launch.port, "nats-server runs again");
    }
}
