//! The warehouses' side of the task stream: picking tasks as they are issued. Read without acks and made anew on any doubt,
//! as the server reads its log; what comes twice is told by its number.

use crate::{
    cli::outside::{Nats, backoff},
    domain::{CellId, OrderId, WarehouseId},
    wire::subject,
};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use futures::StreamExt;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A picking task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) warehouse: WarehouseId,
    pub(super) order: OrderId,
}

/// Reads tasks issued from now on until `stop`.
pub(super) async fn read(nats: Nats, cell: CellId, tasks: mpsc::Sender<Task>, stop: CancellationToken) {
    let mut next = None;
    let mut failures = 0;
    while !stop.is_cancelled() {
        let read = tokio::select! {
            () = stop.cancelled() => return,
            read = read_on(&nats, &cell, &tasks, &mut next) => read,
        };
        match read {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                tracing::debug!(%error, "task stream");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff(failures)) => {}
        }
    }
}

/// Reads until the consumer fails or ends. `next` is the place to go on from.
async fn read_on(
    nats: &Nats,
    cell: &CellId,
    tasks: &mpsc::Sender<Task>,
    next: &mut Option<u64>,
) -> Result<(), async_nats::Error> {
    let stream = nats.context().get_stream(subject::task_stream(cell)).await?;
    if next.is_none() {
        // Named once, so that tasks issued while a consumer is made anew aren't missed.
        *next = Some(stream.cached_info().state.last_sequence + 1);
    }
    let config = pull::Config {
        deliver_policy: match *next {
            Some(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
            None => DeliverPolicy::New,
        },
        ack_policy: AckPolicy::None,
        inactive_threshold: Duration::from_secs(30),
        memory_storage: true,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let mut messages =
        consumer.stream().heartbeat(Duration::from_secs(1)).expires(Duration::from_secs(5)).messages().await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let place = message.info()?.stream_sequence;
        if let Some((warehouse, order, _)) = subject::parse_task(message.subject.as_str()) {
            tasks.send(Task { warehouse, order }).await?;
        }
        *next = Some(place + 1);
    }
    Ok(())
}
