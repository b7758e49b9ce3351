//! What actors need of the world, as traits, and what passes through them: actors know neither NATS nor SQLite, and
//! the store and the publishers know no actors.

use crate::{
    domain::{
        CellClock, CellId, OrderId, RiderId, UnixMillis,
        effect::{Revision, RouteEnds, Row, TimerKind},
    },
    wire::{
        access::{Principal, Role},
        alert::{AlertBody, AlertPage, AlertQuery, AlertsQuery},
        answer::Outcome,
        board,
        figures::Figures,
        log::Batch,
        query,
        update::OwnDelta,
    },
};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::{collections::BTreeSet, sync::Arc};

/// The store refused or is gone. The cell stops: what isn't stored must not be published.
#[derive(Clone, Debug, thiserror::Error)]
#[error("store: {0}")]
pub struct StoreError(pub String);

/// An order as the store keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderImage {
    /// The state blob without the sealed part of its track. Empty: there is no such order.
    pub head: Bytes,
    /// Sealed chunks of the track, by number from 0.
    pub chunks: Vec<Bytes>,
}

/// How the store recognises its log: a log of another creation, or with another message at the cursor, or that ends
/// before the cursor, is not the one that made this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogMark {
    /// When the stream was created, nanoseconds since 1970.
    pub created_ns: i64,
    /// Last applied sequence.
    pub cursor: u64,
    /// [`crate::wire::log::digest`] of the message there; zeros at cursor 0.
    pub digest: [u8; 32],
}

/// Why a token is no good. The texts are for whoever holds it: they say nothing of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token can't be read: {0}")]
    Malformed(String),
    #[error("the token's key or signature isn't one of this server's issuers")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token isn't valid yet")]
    NotYet,
    /// A claim that is missing or doesn't fit, and why.
    #[error("claim `{claim}`: {reason}")]
    Claim { claim: &'static str, reason: String },
    #[error("the share link was revoked")]
    Revoked,
    /// The issuer's keys can't be had now; the token may be good.
    #[error("the issuer's keys can't be read now")]
    Unavailable,
}

/// Tells who is asking from the token presented.
pub trait Authenticator: Send + Sync + std::fmt::Debug + 'static {
    fn authenticate(&self, token: &str) -> BoxFuture<'static, Result<Principal, TokenError>>;
}

/// What a token is to say; who signs adds issuer, audience and time of issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub role: Role,
    /// The user, rider, warehouse, shop or operator; of a share link, who shared it.
    pub sub: String,
    /// Cells that it may ask about; `None` for all that the issuer may grant.
    pub cells: Option<BTreeSet<CellId>>,
    /// The one order of a share link, and the link's own id; nobody else's.
    pub order: Option<OrderId>,
    pub jti: Option<String>,
    /// By the wall clock, as is the end; rounded to whole seconds outwards.
    pub not_before: Option<UnixMillis>,
    pub expires_at: UnixMillis,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error("no key is configured to sign with (`sign = true`)")]
    NoKey,
    /// This server itself wouldn't take such a token.
    #[error(transparent)]
    Refused(#[from] TokenError),
    #[error("signing: {0}")]
    Failed(String),
}

/// Makes tokens that the [`Authenticator`] beside it takes.
pub trait TokenSigner: Send + Sync + std::fmt::Debug + 'static {
    fn sign(&self, claims: &Claims) -> Result<String, SignError>;
}

/// Takes the log's batches, in order. Waits while too much is in flight; that is the feed's only back-pressure.
pub trait Sink: Send + Sync + std::fmt::Debug + 'static {
    fn deliver(&self, batch: Batch) -> BoxFuture<'static, Result<(), Stopped>>;
    /// Where the committed state stands in its log, or `None` for a store that has not seen one.
    fn mark(&self) -> BoxFuture<'static, Result<Option<LogMark>, StoreError>>;
}

/// The cell takes no more input.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the cell has stopped: {0}")]
pub struct Stopped(pub String);

/// The outbox as its publisher sees it.
pub trait Outbox: Send + Sync + std::fmt::Debug + 'static {
    /// Of the entries that no PubAck came for, the oldest with an id above `after` (0: all), at most `limit`, by id. Ids
    /// grow: what is added later comes behind.
    fn pending(&self, after: i64, limit: usize) -> BoxFuture<'static, Result<Vec<(i64, OutboxItem)>, StoreError>>;
    /// Deletes entries whose PubAck is in.
    fn done(&self, ids: Vec<i64>) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// What the owner of a cell can tell about it. Everything it says is committed.
pub trait Owner: Send + Sync + std::fmt::Debug + 'static {
    fn order(&self, ask: query::OrderQuery) -> BoxFuture<'static, query::Reply<query::Snapshot>>;
    fn deltas(&self, ask: query::DeltasQuery) -> BoxFuture<'static, query::Reply<query::Deltas>>;
    fn orders(&self, ask: query::ListQuery) -> BoxFuture<'static, query::Reply<query::OrderPage>>;
    fn track(&self, ask: query::TrackQuery) -> BoxFuture<'static, query::Reply<query::TrackPage>>;
    fn alerts(&self, ask: AlertsQuery) -> BoxFuture<'static, query::Reply<AlertPage>>;
    fn alert(&self, ask: AlertQuery) -> BoxFuture<'static, query::Reply<AlertBody>>;
    fn passed(&self, ask: query::PassedQuery) -> BoxFuture<'static, query::Reply<query::PassedPage>>;
    fn rider(&self, ask: query::RiderQuery) -> BoxFuture<'static, query::Reply<query::RiderState>>;
    fn nearest(&self, ask: query::NearestQuery) -> BoxFuture<'static, query::Reply<query::NearRiders>>;
    fn riders(&self, ask: query::RidersQuery) -> BoxFuture<'static, query::Reply<query::RiderPage>>;
    fn cell(&self) -> BoxFuture<'static, query::Reply<query::CellState>>;
    fn figures(&self) -> BoxFuture<'static, query::Reply<Figures>>;
    /// The committed version of every order that is active or was completed within the last hour: what heartbeats say.
    fn versions(&self) -> BoxFuture<'static, Vec<(OrderId, u64)>>;
    /// A rider's whole document, which is announced at every change until some time after the last question.
    fn rider_board(&self, ask: query::RiderQuery) -> BoxFuture<'static, query::Reply<board::RiderWord>>;
    /// A page of the cell, of whose changes [`Self::cell_words`] tells until some time after the last question.
    fn cell_board(&self, ask: board::CellQuery) -> BoxFuture<'static, query::Reply<board::CellPage>>;
    /// The documents of riders that somebody asks for, to be said again.
    fn rider_words(&self) -> Vec<board::RiderWord>;
    /// What changed in the cell since the last call, while somebody asks.
    fn cell_words(&self) -> Vec<board::CellWord>;
    /// The cell's version, while somebody asks.
    fn cell_heartbeat(&self) -> Option<board::CellWord>;
    /// This owner's epoch.
    fn epoch(&self) -> u64;
}

/// Reads what is committed and commits batches. One per cell.
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// The committed image of an order, if there is one.
    fn load(&self, order: &OrderId) -> BoxFuture<'static, Result<Option<OrderImage>, StoreError>>;

    /// Queues a batch for the writer; resolves when it is durable. Batches become durable in the order of these calls,
    /// several perhaps in one transaction.
    fn commit(&self, batch: Commit) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Where the committed state stands in its log, or `None` for a store that has not seen one.
    fn mark(&self) -> BoxFuture<'static, Result<Option<LogMark>, StoreError>>;
}

/// Everything that a batch of log entries changed. Applied in one transaction, with the cursor.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Last place in the log that the batch covers, and the digest of the message there.
    pub cursor: u64,
    pub cursor_digest: [u8; 32],
    /// The cell core's own blob.
    pub cell_head: Bytes,
    pub cell_time: UnixMillis,
    /// Changed riders: blob of each.
    pub riders: Vec<(RiderId, Bytes)>,
    /// Changed orders, once each.
    pub orders: Vec<OrderCommit>,
    /// History lines and revisions in log order.
    pub history: Vec<HistoryItem>,
    /// Alerts that changed, each as it is after that change, in log order.
    pub alerts: Vec<AlertBody>,
    /// Messages to be published once the batch is durable, and until their PubAck is in.
    pub outbox: Vec<OutboxItem>,
}

/// A timer of an order: its kind, its number, and when it is due in cell time.
pub type RunningTimer = (TimerKind, u32, UnixMillis);

/// One changed order.
#[derive(Clone, Debug)]
pub struct OrderCommit {
    pub order: OrderId,
    /// What analysts' columns are filled from.
    pub columns: OrderColumns,
    pub head: Bytes,
    /// Track chunks that were sealed or changed, by number.
    pub chunks: Vec<(u32, Bytes)>,
    /// Running timers of the order, replacing all that were; `None` leaves them as they are, as most commits do.
    pub timers: Option<Vec<RunningTimer>>,
}

/// The order's row for analysts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderColumns {
    pub user_id: String,
    pub warehouse_id: String,
    pub warehouse_name: String,
    pub rider_id: Option<String>,
    pub status: u8,
    pub stage: Option<&'static str>,
    pub version: u64,
    pub rev: u64,
    pub total_minor: i64,
    pub currency: String,
    pub create_time: UnixMillis,
    pub update_time: UnixMillis,
    pub complete_time: Option<UnixMillis>,
    /// Of an order that has ended; in no column of the row.
    pub ended: Option<Ended>,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Completed or cancelled, cell time.
    pub at: UnixMillis,
    pub promise_to: Option<UnixMillis>,
}

/// A history line or a change to one.
#[derive(Clone, Debug)]
pub enum HistoryItem {
    Append {
        seq: u64,
        order: OrderId,
        row: Box<Row>,
        /// The delta of this version (RFC 7396, compact JSON), if the input made one.
        patch: Option<Bytes>,
    },
    Revise {
        order: OrderId,
        revision: Box<Revision>,
    },
}

/// A message for a stream, on a subject that is used once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxItem {
    pub subject: String,
    pub headers: Vec<(String, String)>,
    pub payload: Bytes,
    /// Log time of what it says. It isn't published once it is older than its stream keeps messages: a database made anew
    /// from an old log says again what the stream has long forgotten. `None`: it is published at any age.
    pub log_time: Option<UnixMillis>,
}

/// What goes out once a batch is durable; nothing here is repeated after a crash.
#[derive(Clone, Debug, Default)]
pub struct Announcements {
    pub updates: Vec<(OrderId, OwnDelta)>,
    /// Riders that changed, of those that somebody asks for.
    pub riders: Vec<board::RiderWord>,
    /// Outcomes for those who named a reply subject.
    pub answers: Vec<(Arc<str>, Outcome)>,
    /// Orders whose timers changed, each with all that run now (due in cell time).
    pub timers: Vec<(OrderId, Vec<RunningTimer>)>,
    /// The cell clock after the batch: when timers are due by the wall.
    pub clock: CellClock,
    /// Whether the batch put something into the outbox.
    pub outbox: bool,
    /// Orders that have no planned route since this batch, and between which places one would lead.
    pub seeking: Vec<(OrderId, RouteEnds)>,
}

/// Finds routes for orders that have none. What it finds it says in the log; whether that is taken, the order decides.
pub trait RouteFinder: Send + Sync + std::fmt::Debug + 'static {
    /// Takes note, without waiting for anything.
    fn seek(&self, orders: Vec<(OrderId, RouteEnds)>);
}

/// Who knows which orders have no planned route.
pub trait Routeless: Send + Sync + std::fmt::Debug + 'static {
    /// The active orders without a route, by id: at most `limit` of those after `after`.
    fn routeless(&self, after: Option<&OrderId>, limit: usize) -> Vec<(OrderId, RouteEnds)>;
}

/// Announces what became durable.
pub trait Publish: Send + Sync + std::fmt::Debug + 'static {
    /// Says it all; waits only for room in the client's own buffer.
    fn announce(&self, announcements: Announcements) -> BoxFuture<'static, ()>;
}
