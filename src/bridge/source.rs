//! Where the bridge gets live state from: questions to a cell's owner, and the owner's updates.
//!
//! Two traits, because they fail in different ways: a question has an answer or an error; an update that is lost leaves
//! no trace here, and only the owner's heartbeat shows it.

use super::directory::Directory;
use crate::{
    domain::{CellId, OrderId},
    wire::{
        FieldError,
        alert::{AlertBody, AlertPage, AlertQuery, AlertsQuery, parse_alert_id},
        figures::Figures,
        query::{
            CellState, Deltas, DeltasQuery, ListQuery, NearRiders, NearestQuery, OrderPage, OrderQuery, PassedPage,
            PassedQuery, Reply, RiderPage, RiderQuery, RiderState, RidersQuery, Snapshot, TrackPage, TrackQuery, what,
        },
        subject,
    },
};
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// The owner didn't answer, or not in our words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("no owner answers: {0}")]
    Unreachable(String),
    #[error("the owner doesn't serve the cell: {0}")]
    Unavailable(String),
    #[error("the owner's answer can't be read: {0}")]
    Garbled(String),
    /// The question doesn't fit; the owner names the field.
    #[error(transparent)]
    Question(FieldError),
}

/// An answer: `None` where there is no such thing.
pub type Found<T> = Result<Option<T>, SourceError>;

/// What the owner of a cell tells when asked.
pub trait SnapshotSource: Send + Sync + std::fmt::Debug + 'static {
    fn order(&self, ask: OrderQuery) -> BoxFuture<'static, Found<Snapshot>>;
    fn deltas(&self, ask: DeltasQuery) -> BoxFuture<'static, Found<Deltas>>;
    fn orders(&self, ask: ListQuery) -> BoxFuture<'static, Found<OrderPage>>;
    fn track(&self, ask: TrackQuery) -> BoxFuture<'static, Found<TrackPage>>;
    fn alerts(&self, ask: AlertsQuery) -> BoxFuture<'static, Found<AlertPage>>;
    fn alert(&self, ask: AlertQuery) -> BoxFuture<'static, Found<AlertBody>>;
    fn passed(&self, ask: PassedQuery) -> BoxFuture<'static, Found<PassedPage>>;
    fn rider(&self, ask: RiderQuery) -> BoxFuture<'static, Found<RiderState>>;
    fn nearest(&self, ask: NearestQuery) -> BoxFuture<'static, Found<NearRiders>>;
    fn riders(&self, ask: RidersQuery) -> BoxFuture<'static, Found<RiderPage>>;
    fn cell(&self) -> BoxFuture<'static, Found<CellState>>;
    fn figures(&self) -> BoxFuture<'static, Found<Figures>>;
}

/// Update messages of one order ([`crate::wire::update::Update`] as JSON).
pub type UpdateStream = BoxStream<'static, Bytes>;

/// The owner's word, as it is said.
pub trait Updates: Send + Sync + std::fmt::Debug + 'static {
    /// Follows an order. Once this resolves, every update said afterwards is in the stream, so that a snapshot read now
    /// leaves no gap before it. Dropping the stream ends it.
    fn follow(&self, order: &OrderId) -> BoxFuture<'static, Result<UpdateStream, SourceError>>;
}

/// Both over NATS: orders of any cell, and all else of one.
#[derive(Clone, Debug)]
pub struct NatsSource {
    client: async_nats::Client,
    cell: CellId,
    directory: Directory,
    timeout: Duration,
}

impl NatsSource {
    /// `timeout` bounds each question.
    pub fn new(client: async_nats::Client, (cell, directory): (CellId, Directory), timeout: Duration) -> Self {
        Self { client, cell, directory, timeout }
    }

    /// A question to the owner of the node's cell; `timeout` bounds it.
    pub(super) fn ask<Q: Serialize, T: DeserializeOwned + Send + 'static>(
        &self,
        what: &'static str,
        ask: Option<Q>,
    ) -> BoxFuture<'static, Found<T>> {
        let payload = ask.map(|ask| serde_json::to_vec(&ask)).transpose();
        let (this, cell) = (self.clone(), self.cell.clone());
        Box::pin(async move {
            let payload = payload.map_err(|e| SourceError::Garbled(e.to_string()))?.unwrap_or_default();
            this.ask_owner(&cell, what, payload).await
        })
    }

    /// A question to the owner of an order's cell.
    fn ask_of<Q: Serialize, T: DeserializeOwned + Send + 'static>(
        &self,
        order: OrderId,
        what: &'static str,
        ask: Q,
    ) -> BoxFuture<'static, Found<T>> {
        let (payload, this) = (serde_json::to_vec(&ask), self.clone());
        Box::pin(async move {
            let payload = payload.map_err(|e| SourceError::Garbled(e.to_string()))?;
            let cell = this.cell_of(&order).await?;
            this.ask_owner(&cell, what, payload).await
        })
    }

    async fn cell_of(&self, order: &OrderId) -> Result<CellId, SourceError> {
        let cell = tokio::time::timeout(self.timeout, self.directory.cell_of(order)).await;
        let unreachable = |error: String| SourceError::Unreachable(error);
        cell.map_err(|_| unreachable("the directory doesn't answer".into()))?.map_err(|e| unreachable(e.to_string()))
    }

    async fn ask_owner<T: DeserializeOwned>(&self, cell: &CellId, what: &str, payload: Vec<u8>) -> Found<T> {
        let (client, subject, timeout) = (&self.client, subject::query(cell, what), self.timeout);
        let reply = tokio::time::timeout(timeout, client.request(subject, payload.into()))
            .await
            .map_err(|_| SourceError::Unreachable(format!("no answer within {timeout:?}")))?
            .map_err(|e| SourceError::Unreachable(e.to_string()))?;
        match serde_json::from_slice::<Reply<T>>(&reply.payload) {
            Ok(Reply::Ok(found)) => Ok(Some(found)),
            Ok(Reply::NotFound) => Ok(None),
            Ok(Reply::Unavailable(reason)) => Err(SourceError::Unavailable(reason)),
            Ok(Reply::BadRequest(error)) => Err(SourceError::Question(error)),
            Err(e) => Err(SourceError::Garbled(e.to_string())),
        }
    }
}

impl SnapshotSource for NatsSource {
    fn order(&self, ask: OrderQuery) -> BoxFuture<'static, Found<Snapshot>> {
        self.ask_of(ask.order.clone(), what::ORDER, ask)
    }

    fn deltas(&self, ask: DeltasQuery) -> BoxFuture<'static, Found<Deltas>> {
        self.ask_of(ask.order.clone(), what::DELTAS, ask)
    }

    fn orders(&self, ask: ListQuery) -> BoxFuture<'static, Found<OrderPage>> {
        self.ask(what::ORDERS, Some(ask))
    }

    fn track(&self, ask: TrackQuery) -> BoxFuture<'static, Found<TrackPage>> {
        self.ask_of(ask.order.clone(), what::TRACK, ask)
    }

    fn alerts(&self, ask: AlertsQuery) -> BoxFuture<'static, Found<AlertPage>> {
        self.ask(what::ALERTS, Some(ask))
    }

    fn alert(&self, ask: AlertQuery) -> BoxFuture<'static, Found<AlertBody>> {
        match parse_alert_id(&ask.alert) {
            Some((order, _)) => self.ask_of(order, what::ALERT, ask),
            None => self.ask(what::ALERT, Some(ask)),
        }
    }

    fn passed(&self, ask: PassedQuery) -> BoxFuture<'static, Found<PassedPage>> {
        self.ask(what::PASSED, Some(ask))
    }

    fn rider(&self, ask: RiderQuery) -> BoxFuture<'static, Found<RiderState>> {
        self.ask(what::RIDER, Some(ask))
    }

    fn nearest(&self, ask: NearestQuery) -> BoxFuture<'static, Found<NearRiders>> {
        self.ask(what::NEAREST, Some(ask))
    }

    fn riders(&self, ask: RidersQuery) -> BoxFuture<'static, Found<RiderPage>> {
        self.ask(what::RIDERS, Some(ask))
    }

    fn cell(&self) -> BoxFuture<'static, Found<CellState>> {
        self.ask(what::CELL, None::<()>)
    }

    fn figures(&self) -> BoxFuture<'static, Found<Figures>> {
        self.ask(what::FIGURES, None::<()>)
    }
}

impl Updates for NatsSource {
    fn follow(&self, order: &OrderId) -> BoxFuture<'static, Result<UpdateStream, SourceError>> {
        let (this, order) = (self.clone(), order.clone());
        Box::pin(async move {
            let cell = this.cell_of(&order).await?;
            this.listen(subject::update_order(&cell, &order)).await
        })
    }
}

impl NatsSource {
    /// A subscription that the server knows of when this resolves.
    pub(super) fn listen(&self, subject: String) -> BoxFuture<'static, Result<UpdateStream, SourceError>> {
        let (client, timeout) = (self.client.clone(), self.timeout);
        Box::pin(async move {
            let unreachable = |e: String| SourceError::Unreachable(e);
            let subscribed = async {
                let stream = client.subscribe(subject).await.map_err(|e| unreachable(e.to_string()))?;
                client.flush().await.map_err(|e| unreachable(e.to_string()))?;
                Ok(stream.map(|message| message.payload).boxed())
            };
            tokio::time::timeout(timeout, subscribed)
                .await
                .map_err(|_| unreachable(format!("no subscription within {timeout:?}")))?
        })
    }
}
