//! The connection: it never gives up, and it says in the log what the server complains about.
//!
//! A permission violation has no negative answer in NATS, the publish just times out; the reason comes as an event, and
//! this is where it becomes visible.

use async_nats::{Client, ConnectOptions, Event, jetstream};
use std::{path::PathBuf, time::Duration};

/// How to reach NATS.
#[derive(Clone, Debug)]
pub struct Options {
    /// One or more addresses with commas between, as `nats://127.0.0.1:4222`; user and password may stand in it.
    pub url: String,
    /// What the server lists the connection as.
    pub name: String,
    /// First token of the subjects on which answers come. Users that share an account need one each, and the
    /// permission for it, or they read each other's answers. `None`: `_INBOX`.
    pub inbox_prefix: Option<String>,
    /// A credentials file (JWT and seed).
    pub credentials: Option<PathBuf>,
}

impl Options {
    /// An address and a name, the rest by default.
    pub fn new(url: impl Into<String>, name: impl Into<String>) -> Self {
        Self { url: url.into(), name: name.into(), inbox_prefix: None, credentials: None }
    }
}

/// No connection.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    #[error("credentials file {path}: {source}")]
    Credentials { path: PathBuf, source: std::io::Error },
    #[error("NATS address `{url}`: {source}")]
    Address { url: String, source: async_nats::ConnectError },
    #[error("NATS at {url} doesn't answer within {within_ms} ms")]
    Unreachable { url: String, within_ms: u128 },
}

/// Longest wait between two attempts to connect: short, since a cell stands still meanwhile.
const MAX_DELAY_MS: u64 = 1_000;

/// Requests of JetStream's API and acks of publishes that take longer are asked again by whoever waits for them. Twice
/// what a single server needs to come back after a kill; a cluster's election takes longer and more attempts.
const JETSTREAM_TIMEOUT: Duration = Duration::from_secs(3);

/// Publishes of one context that wait for their acks. The outbox and the timers bound themselves far below.
const MAX_ACKS_INFLIGHT: usize = 4_096;

/// Connects, or goes on trying in the background if the server isn't there yet: see [`ready`].
pub async fn connect(options: &Options) -> Result<Client, NatsError> {
    let mut connect = ConnectOptions::new()
        .name(&options.name)
        .retry_on_initial_connect()
        .max_reconnects(None)
        .reconnect_delay_callback(delay)
        .connection_timeout(Duration::from_secs(3))
        // Two missed pongs close a connection whose other end vanished without a word.
        .ping_interval(Duration::from_secs(5))
        .event_callback(|event| async move { log(&event) });
    if let Some(prefix) = &options.inbox_prefix {
        connect = connect.custom_inbox_prefix(prefix);
    }
    if let Some(path) = &options.credentials {
        connect = connect
            .credentials_file(path)
            .await
            .map_err(|source| NatsError::Credentials { path: path.clone(), source })?;
    }
    let addresses: Vec<&str> = options.url.split(',').map(str::trim).collect();
    connect.connect(addresses).await.map_err(|source| NatsError::Address { url: options.url.clone(), source })
}

/// Waits until the connection stands.
pub async fn ready(client: &Client, options: &Options, within: Duration) -> Result<(), NatsError> {
    match tokio::time::timeout(within, client.flush()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(NatsError::Unreachable { url: options.url.clone(), within_ms: within.as_millis() }),
    }
}

/// JetStream with the timeouts that this program is written for.
pub fn jetstream(client: &Client) -> jetstream::Context {
    jetstream::context::ContextBuilder::new()
        .timeout(JETSTREAM_TIMEOUT)
        .ack_timeout(JETSTREAM_TIMEOUT)
        .max_ack_inflight(MAX_ACKS_INFLIGHT)
        .backpressure_on_inflight(true)
        .build(client.clone())
}

/// 0, then 25 ms doubling up to a second, jittered so that nodes don't come back in step.
fn delay(attempts: usize) -> Duration {
    let Some(doublings) = attempts.checked_sub(2) else { return Duration::ZERO };
    let most = MAX_DELAY_MS.min(25_u64 << doublings.min(6));
    Duration::from_millis(rand::random_range(most / 2..=most))
}

/// A short random wait before the same thing is tried again.
pub(crate) fn pause() -> Duration {
    Duration::from_millis(rand::random_range(10..50))
}

fn log(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("lost the connection to NATS, trying again"),
        Event::LameDuckMode => tracing::warn!("the NATS server is shutting down"),
        Event::Draining | Event::Closed => tracing::debug!(%event, "NATS connection"),
        Event::SlowConsumer(subscription) => {
            tracing::warn!(subscription, "a NATS subscription is full: messages were dropped");
        }
        Event::ServerError(error) => tracing::error!(%error, "the NATS server complains"),
        Event::ClientError(error) => tracing::error!(%error, "NATS client"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_short() {
        assert_eq!(delay(0), Duration::ZERO);
        assert_eq!(delay(1), Duration::ZERO);
        for attempts in 2..100 {
            let ms = u64::try_from(delay(attempts).as_millis()).unwrap();
            assert!((12..=MAX_DELAY_MS).contains(&ms), "{attempts}: {ms}");
        }
    }
}
