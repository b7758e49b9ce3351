//! The cell's owner as its bridges ask it: from memory where an order is active or recent, else from the store.

use super::{counted::Counted, places};
use crate::{
    actors::CellHandle,
    clock::{self, Stopwatch},
    domain::{CellId, OrderId, RiderId, Status, cell::Rider},
    metrics::Metrics,
    ports::{self, StoreError},
    store::{Counts, ListError, Store},
    wire::{
        alert::{AlertBody, AlertPage, AlertQuery, AlertsQuery},
        blob,
        board::{self, CellPage, CellQuery, CellWord, RiderWord},
        doc,
        figures::{ENDED_WITHIN_MS, Figures, RiderFigures},
        query::{
            CellState, Deltas, DeltasQuery, ListQuery, NearRiders, NearestQuery, OrderPage, OrderQuery, PassedPage,
            PassedQuery, Reply, RiderPage, RiderQuery, RiderState, RidersQuery, Snapshot, TrackPage, TrackQuery,
        },
    },
};
use futures::future::BoxFuture;
use std::{collections::BTreeMap, future::ready, time::Duration};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct CellOwner {
    pub id: CellId,
    pub cell: CellHandle,
    pub store: Store,
    pub epoch: u64,
    /// Since when versions mean what they mean now.
    pub since_epoch: u64,
    /// The owner's own time, in which interest ends.
    pub since: Stopwatch,
    pub counted: Counted,
    pub metrics: Metrics,
}

impl CellOwner {
    /// Why nothing can be told now, if so: a stopped cell's state is of the past, and must not be taken for the present.
    fn unavailable<T>(&self) -> Option<Reply<T>> {
        self.cell.stopped().borrow().clone().map(Reply::Unavailable)
    }

    /// Until when interest lasts that is shown now.
    fn interest(&self) -> Duration {
        self.since.elapsed() + Duration::from_millis(board::INTEREST_MS)
    }

    fn is_stopped(&self) -> bool {
        self.cell.stopped().borrow().is_some()
    }

    async fn count(&self) -> Result<Figures, StoreError> {
        let count = || async {
            let at_ms = self.cell.clock().at_log(clock::wall());
            Ok((at_ms, self.store.counts(at_ms.plus(-ENDED_WITHIN_MS)).await?))
        };
        let (at_ms, Counts { orders, late, eta }) = self.counted.get(|| self.since.elapsed(), count).await?;
        Ok(Figures {
            cell: self.id.clone(),
            at_ms,
            orders: Status::ALL.map(|status| status.code().to_string()).into_iter().zip(orders).collect(),
            late,
            eta,
            backlog: self.metrics.backlog.get().try_into().unwrap_or(0),
            riders: RiderFigures { on_shift: self.cell.hot().on_shift() },
            connections: BTreeMap::new(),
        })
    }

    async fn rider_state(&self, id: RiderId) -> Result<Reply<RiderState>, StoreError> {
        let Some(blob) = self.store.rider(&id).await? else { return Ok(Reply::NotFound) };
        let rider: Rider = blob::decode(&blob).map_err(|e| StoreError(format!("rider {id}: {e}")))?;
        Ok(Reply::Ok(RiderState {
            on_shift: rider.on_shift,
            position: rider.position().map(|p| doc::position(&p)),
            stops: rider.stops().to_vec(),
            rider: id,
        }))
    }
}

/// What was found, or why not.
fn reply<T>(found: Result<Option<T>, StoreError>) -> Reply<T> {
    match found {
        Ok(Some(found)) => Reply::Ok(found),
        Ok(None) => Reply::NotFound,
        Err(error) => Reply::Unavailable(error.to_string()),
    }
}

/// A page, or why there is none.
fn listed<T>(page: Result<T, ListError>) -> Reply<T> {
    match page {
        Ok(page) => Reply::Ok(page),
        Err(ListError::Field(error)) => Reply::BadRequest(error),
        Err(ListError::Store(error)) => Reply::Unavailable(error.to_string()),
    }
}

impl ports::Owner for CellOwner {
    fn order(&self, ask: OrderQuery) -> BoxFuture<'static, Reply<Snapshot>> {
        let Self { cell, store, epoch, since_epoch, .. } = self.clone();
        let unavailable = self.unavailable();
        Box::pin(async move {
            if let Some(unavailable) = unavailable {
                return unavailable;
            }
            let since_epoch = Some(since_epoch);
            match cell.hot().get(&ask.order) {
                Some(order) => Reply::Ok(Snapshot {
                    epoch,
                    since_epoch,
                    version: order.version,
                    at_ms: order.at,
                    state: order.document(&ask.order),
                }),
                None => {
                    let found = store.snapshot(ask, epoch).await;
                    reply(found.map(|found| found.map(|snapshot| Snapshot { since_epoch, ..snapshot })))
                }
            }
        })
    }

    fn deltas(&self, ask: DeltasQuery) -> BoxFuture<'static, Reply<Deltas>> {
        let Self { store, epoch, .. } = self.clone();
        let unavailable = self.unavailable();
        Box::pin(async move {
            match unavailable {
                Some(unavailable) => unavailable,
                None => reply(store.deltas(ask, epoch).await),
            }
        })
    }

    fn orders(&self, ask: ListQuery) -> BoxFuture<'static, Reply<OrderPage>> {
        let Self { cell, store, epoch, .. } = self.clone();
        let unavailable = self.unavailable();
        Box::pin(async move {
            if let Some(unavailable) = unavailable {
                return unavailable;
            }
            if let Some(page) = places::orders(cell.hot(), &ask, epoch) {
                return page.map_or_else(Reply::BadRequest, Reply::Ok);
            }
            listed(store.orders(ask, epoch).await)
        })
    }

    fn track(&self, ask: TrackQuery) -> BoxFuture<'static, Reply<TrackPage>> {
        let store = self.store.clone();
        let unavailable = self.unavailable();
        Box::pin(async move {
            match unavailable {
                Some(unavailable) => unavailable,
                None => reply(store.track(ask).await),
            }
        })
    }

    fn passed(&self, ask: PassedQuery) -> BoxFuture<'static, Reply<PassedPage>> {
        let store = self.store.clone();
        let unavailable = self.unavailable();
        Box::pin(async move {
            match unavailable {
                Some(unavailable) => unavailable,
                None => listed(store.passed(ask).await),
            }
        })
    }

    fn alerts(&self, ask: AlertsQuery) -> BoxFuture<'static, Reply<AlertPage>> {
        let store = self.store.clone();
        let unavailable = self.unavailable();
        Box::pin(async move {
            match unavailable {
                Some(unavailable) => unavailable,
                None => listed(store.alerts(ask).await),
            }
        })
    }

    fn alert(&self, ask: AlertQuery) -> BoxFuture<'static, Reply<AlertBody>> {
        let store = self.store.clone();
        let unavailable = self.unavailable();
        Box::pin(async move {
            match unavailable {
                Some(unavailable) => unavailable,
                None => reply(store.alert(ask).await),
            }
        })
    }

    fn rider(&self, ask: RiderQuery) -> BoxFuture<'static, Reply<RiderState>> {
        let owner = self.clone();
        Box::pin(async move {
            match owner.unavailable() {
                Some(unavailable) => unavailable,
                None => owner.rider_state(ask.rider).await.unwrap_or_else(|e| Reply::Unavailable(e.to_string())),
            }
        })
    }

    fn nearest(&self, ask: NearestQuery) -> BoxFuture<'static, Reply<NearRiders>> {
        let owner = self.clone();
        Box::pin(async move {
            let found = || places::nearest(owner.cell.hot(), &ask).map_or_else(Reply::BadRequest, Reply::Ok);
            owner.unavailable().unwrap_or_else(found)
        })
    }

    fn riders(&self, ask: RidersQuery) -> BoxFuture<'static, Reply<RiderPage>> {
        let owner = self.clone();
        Box::pin(async move {
            let found = || places::riders(owner.cell.hot(), &ask).map_or_else(Reply::BadRequest, Reply::Ok);
            owner.unavailable().unwrap_or_else(found)
        })
    }

    fn cell(&self) -> BoxFuture<'static, Reply<CellState>> {
        let owner = self.clone();
        Box::pin(async move {
            if let Some(unavailable) = owner.unavailable() {
                return unavailable;
            }
            let clock = owner.cell.clock();
            Reply::Ok(CellState {
                epoch: owner.epoch,
                cursor: owner.cell.cursor(),
                cell_time_ms: clock.at_log(clock::wall()),
                clock_scale: clock.scale(),
            })
        })
    }

    fn figures(&self) -> BoxFuture<'static, Reply<Figures>> {
        let owner = self.clone();
        Box::pin(async move {
            match owner.unavailable() {
                Some(unavailable) => unavailable,
                None => owner.count().await.map_or_else(|e| Reply::Unavailable(e.to_string()), Reply::Ok),
            }
        })
    }

    fn rider_board(&self, ask: RiderQuery) -> BoxFuture<'static, Reply<RiderWord>> {
        let found = || self.cell.hot().rider_board(&ask.rider, self.epoch, self.interest());
        Box::pin(ready(self.unavailable().unwrap_or_else(|| found().map_or(Reply::NotFound, Reply::Ok))))
    }

    fn cell_board(&self, ask: CellQuery) -> BoxFuture<'static, Reply<CellPage>> {
        let page = || Reply::Ok(self.cell.hot().cell_page(&ask.after, self.epoch, self.interest()));
        Box::pin(ready(self.unavailable().unwrap_or_else(page)))
    }

    // Of a stopped cell there is nothing to say, as there is nothing to confirm.

    fn rider_words(&self) -> Vec<RiderWord> {
        let words = || self.cell.hot().rider_words(self.epoch, self.since.elapsed());
        if self.is_stopped() { Vec::new() } else { words() }
    }

    fn cell_words(&self) -> Vec<CellWord> {
        let words = || self.cell.hot().cell_words(self.epoch, self.since.elapsed());
        if self.is_stopped() { Vec::new() } else { words() }
    }

    fn cell_heartbeat(&self) -> Option<CellWord> {
        if self.is_stopped() { None } else { self.cell.hot().cell_heartbeat(self.epoch) }
    }

    fn versions(&self) -> BoxFuture<'static, Vec<(OrderId, u64)>> {
        // A stopped cell confirms nothing.
        let stopped = self.cell.stopped().borrow().is_some();
        let versions = if stopped { Vec::new() } else { self.cell.hot().versions() };
        Box::pin(async move { versions })
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }
}
