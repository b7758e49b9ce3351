//! Where boards get their data from: the owner's answers and words, and the stream of alerts.

use super::alerts::AlertMessage;
use crate::{
    bridge::source::{Found, NatsSource, SourceError, UpdateStream},
    domain::{CellId, RiderId, UnixMillis},
    nats::streams,
    wire::{
        board::{CellPage, CellQuery, RiderWord},
        query::{RiderQuery, what},
        subject,
    },
};
use async_nats::jetstream::{
    self,
    consumer::{DeliverPolicy, pull::OrderedConfig},
    context::GetStreamError,
};
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use serde_json::Value;

/// Alert messages in the stream's order, from its beginning; an error ends it.
pub type AlertStream = BoxStream<'static, Result<AlertMessage, SourceError>>;

/// What the owner of the cell tells boards. Of the streams: once a future resolves, every word said afterwards is in
/// its stream, so that what is read now leaves no gap before it. Dropping a stream ends it.
pub trait BoardSource: Send + Sync + std::fmt::Debug + 'static {
    /// Also keeps the owner's interest in the rider alive.
    fn rider(&self, ask: RiderQuery) -> BoxFuture<'static, Found<RiderWord>>;
    /// Also keeps the owner's interest in the cell alive.
    fn cell(&self, ask: CellQuery) -> BoxFuture<'static, Found<CellPage>>;
    fn follow_rider(&self, rider: &RiderId) -> BoxFuture<'static, Result<UpdateStream, SourceError>>;
    fn follow_cell(&self) -> BoxFuture<'static, Result<UpdateStream, SourceError>>;
    /// The last message per subject, and those that come.
    fn alerts(&self) -> BoxFuture<'static, Result<AlertStream, SourceError>>;
    /// Place of the last alert message; 0 while there is no stream of them.
    fn alerts_last(&self) -> BoxFuture<'static, Result<u64, SourceError>>;
}

/// All of it over NATS, for one cell.
#[derive(Clone, Debug)]
pub struct NatsBoards {
    nats: NatsSource,
    js: jetstream::Context,
    cell: CellId,
}

impl NatsBoards {
    pub fn new(nats: NatsSource, js: jetstream::Context, cell: CellId) -> Self {
        Self { nats, js, cell }
    }
}

fn unreachable(error: impl std::fmt::Display) -> SourceError {
    SourceError::Unreachable(error.to_string())
}

/// `None` where there is no such stream.
fn or_missing<T>(found: Result<T, GetStreamError>) -> Result<Option<T>, SourceError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if streams::is_missing(&error) => Ok(None),
        Err(error) => Err(unreachable(error)),
    }
}

impl BoardSource for NatsBoards {
    fn rider(&self, ask: RiderQuery) -> BoxFuture<'static, Found<RiderWord>> {
        self.nats.ask(what::RIDER_BOARD, Some(ask))
    }

    fn cell(&self, ask: CellQuery) -> BoxFuture<'static, Found<CellPage>> {
        self.nats.ask(what::CELL_BOARD, Some(ask))
    }

    fn follow_rider(&self, rider: &RiderId) -> BoxFuture<'static, Result<UpdateStream, SourceError>> {
        self.nats.listen(subject::update_rider(&self.cell, rider))
    }

    fn follow_cell(&self) -> BoxFuture<'static, Result<UpdateStream, SourceError>> {
        self.nats.listen(subject::update_cell(&self.cell))
    }

    fn alerts(&self) -> BoxFuture<'static, Result<AlertStream, SourceError>> {
        let (js, name) = (self.js.clone(), subject::alert_stream(&self.cell));
        let filter_subject = subject::alert_subjects(&self.cell);
        Box::pin(async move {
            let Some(found) = or_missing(js.get_stream(name).await)? else { return Ok(stream::pending().boxed()) };
            let deliver_policy = DeliverPolicy::LastPerSubject;
            let config = OrderedConfig { filter_subject, deliver_policy, ..OrderedConfig::default() };
            let consumer = found.create_consumer(config).await.map_err(unreachable)?;
            let messages = consumer.messages().await.map_err(unreachable)?;
            let parsed = messages.map(|message| {
                let message = message.map_err(unreachable)?;
                let info = message.info().map_err(unreachable)?;
                let ms = info.published.unix_timestamp_nanos() / 1_000_000;
                let at = UnixMillis(i64::try_from(ms).unwrap_or(i64::MAX));
                // What is no JSON is no alert, but it has its place.
                let body = serde_json::from_slice(&message.payload).unwrap_or(Value::Null);
                Ok(AlertMessage { seq: info.stream_sequence, at, body })
            });
            Ok(parsed.boxed())
        })
    }

    fn alerts_last(&self) -> BoxFuture<'static, Result<u64, SourceError>> {
        let (js, name) = (self.js.clone(), subject::alert_stream(&self.cell));
        Box::pin(async move {
            let found = or_missing(js.get_stream(name).await)?;
            Ok(found.map_or(0, |found| found.cached_info().state.last_sequence))
        })
    }
}
