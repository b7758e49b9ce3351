//! Answers what bridges ask the owner of a cell. Each answer says what is committed and comes with the owner's epoch.

use super::encode;
use crate::{
    domain::CellId,
    ports::Owner,
    wire::{
        parse_json,
        query::{Reply, what},
        subject,
    },
};
use async_nats::{Client, Message};
use bytes::Bytes;
use futures::StreamExt;
use serde::{Serialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How much is answered at once.
#[derive(Clone, Debug)]
pub struct Options {
    /// Requests being answered; further ones wait in the subscription, and time out at the one who asked.
    pub concurrency: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { concurrency: 64 }
    }
}

/// The subscription could not be made: the client is closed.
#[derive(Debug, thiserror::Error)]
#[error("queries can't be answered: {0}")]
pub struct QueriesError(#[from] async_nats::SubscribeError);

/// Answers until `stop` is cancelled; then finishes what it began, on `tasks`.
pub async fn run(
    client: Client,
    cell: CellId,
    owner: Arc<dyn Owner>,
    options: Options,
    tasks: TaskTracker,
    stop: CancellationToken,
) -> Result<(), QueriesError> {
    let mut requests = client.subscribe(subject::queries(&cell)).await?;
    let room = Arc::new(Semaphore::new(options.concurrency));
    loop {
        let request = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            request = requests.next() => request,
        };
        // The client is closed only when the process ends.
        let Some(request) = request else { return Ok(()) };
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
        let (client, cell, owner) = (client.clone(), cell.clone(), Arc::clone(&owner));
        tasks.spawn(async move {
            answer(&client, &cell, owner.as_ref(), request).await;
            drop(permit);
        });
    }
}

/// An owner that takes longer is stuck; the one who asked has given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

async fn answer(client: &Client, cell: &CellId, owner: &dyn Owner, request: Message) {
    let Some(reply) = request.reply.clone() else { return };
    let answer = tokio::time::timeout(ANSWER_WITHIN, ask(cell, owner, &request)).await;
    let mut payload = match answer {
        Ok(payload) => payload,
        Err(_) => unavailable("the owner is too slow"),
    };
    if payload.as_ref().is_some_and(|p| p.len() > client.max_payload()) {
        payload = unavailable("the answer is larger than NATS takes");
    }
    let Some(payload) = payload else { return };
    if let Err(error) = client.publish(reply, payload).await {
        tracing::warn!(%error, subject = %request.subject, "not answered");
    }
}

fn unavailable(why: &str) -> Option<Bytes> {
    encode(&Reply::<()>::Unavailable(why.to_owned()))
}

async fn ask(cell: &CellId, owner: &dyn Owner, request: &Message) -> Option<Bytes> {
    let payload = &request.payload;
    let asked = |word| request.subject.as_str() == subject::query(cell, word);
    if asked(what::ORDER) {
        with(payload, |ask| owner.order(ask)).await
    } else if asked(what::DELTAS) {
        with(payload, |ask| owner.deltas(ask)).await
    } else if asked(what::ORDERS) {
        with(payload, |ask| owner.orders(ask)).await
    } else if asked(what::TRACK) {
        with(payload, |ask| owner.track(ask)).await
    } else if asked(what::ALERTS) {
        with(payload, |ask| owner.alerts(ask)).await
    } else if asked(what::ALERT) {
        with(payload, |ask| owner.alert(ask)).await
    } else if asked(what::PASSED) {
        with(payload, |ask| owner.passed(ask)).await
    } else if asked(what::RIDER) {
        with(payload, |ask| owner.rider(ask)).await
    } else if asked(what::NEAREST) {
        with(payload, |ask| owner.nearest(ask)).await
    } else if asked(what::RIDERS) {
        with(payload, |ask| owner.riders(ask)).await
    } else if asked(what::RIDER_BOARD) {
        with(payload, |ask| owner.rider_board(ask)).await
    } else if asked(what::CELL_BOARD) {
        with(payload, |ask| owner.cell_board(ask)).await
    } else if asked(what::CELL) {
        encode(&owner.cell().await)
    } else if asked(what::FIGURES) {
        encode(&owner.figures().await)
    } else {
        let words = what::ALL.join(", ");
        encode(&Reply::<()>::BadRequest(crate::wire::FieldError::new(
            "subject",
            format!("must end with one of {words}"),
        )))
    }
}

async fn with<Q, T, F>(payload: &Bytes, ask: impl FnOnce(Q) -> F) -> Option<Bytes>
where
    Q: DeserializeOwned,
    T: Serialize,
    F: Future<Output = Reply<T>>,
{
    match parse_json(payload) {
        Ok(query) => encode(&ask(query).await),
        Err(error) => encode(&Reply::<T>::BadRequest(error)),
    }
}
