//! What lies where, as the owner of a cell tells it: from the committed spatial index, page by page.

use crate::{
    actors::{Hot, HotOrder, HotRider},
    domain::{OrderId, RiderId},
    geo::Point,
    wire::{
        FieldError, doc,
        query::{
            ListQuery, MAX_NEAREST, NearRider, NearRiders, NearestQuery, OrderCursor, OrderPage, PAGE_BYTES, RiderPage,
            RiderState, RidersQuery, Snapshot, page_limit,
        },
    },
};
use serde::Serialize;

/// The nearest riders.
pub(super) fn nearest(hot: &Hot, ask: &NearestQuery) -> Result<NearRiders, FieldError> {
    let NearestQuery { lat, lon, k, free, max_distance_m } = ask;
    let point = Point::from_degrees(*lat, *lon).map_err(|e| FieldError::new(e.field, e.to_string()))?;
    if !(1..=MAX_NEAREST).contains(k) {
        return Err(FieldError::new("k", format!("must be 1 to {MAX_NEAREST}")));
    }
    if max_distance_m.is_some_and(|max| max.is_nan() || max < 0.0) {
        return Err(FieldError::new("max_distance_m", "must not be negative"));
    }
    let suits = suits(hot, *free);
    let k = usize::try_from(*k).unwrap_or(usize::MAX);
    let found = hot.nearest_riders(point, k, max_distance_m.unwrap_or(f64::INFINITY), suits);
    let near = |(id, rider, distance_m)| NearRider { state: state(id, rider), distance_m };
    // A hundred riders with all the stops that they may have fit in an answer.
    Ok(NearRiders { riders: found.into_iter().map(near).collect() })
}

/// The riders in an area.
pub(super) fn riders(hot: &Hot, ask: &RidersQuery) -> Result<RiderPage, FieldError> {
    let RidersQuery { within, free, after, limit } = ask;
    let (region, limit) = (within.region()?, page_limit(*limit)?);
    let found = hot.riders_within(&region, after.as_ref(), limit + 1, suits(hot, *free));
    let (riders, more) = cut(found.into_iter().map(|(id, rider)| state(id, rider)), limit);
    let next = riders.last().filter(|_| more).map(|last| last.rider.clone());
    Ok(RiderPage { riders, next })
}

/// The active orders in the query's area; `None` if it names no area.
pub(super) fn orders(hot: &Hot, ask: &ListQuery, epoch: u64) -> Option<Result<OrderPage, FieldError>> {
    let within = ask.within.as_ref()?;
    let page = || {
        let cursor: Option<OrderCursor> = ask.cursor.as_ref().map(|text| text.parse()).transpose()?;
        let (region, limit) = (within.region()?, page_limit(ask.limit)?);
        let found = hot.orders_within(&region, cursor.as_ref(), limit + 1, |id, order| is_asked_for(ask, id, order));
        let mut cursors = Vec::with_capacity(found.len());
        let snapshots = found.into_iter().map(|(order, known)| {
            let state = known.document(&order);
            cursors.push(OrderCursor { created_at: known.live.created_at, order });
            Snapshot { epoch, since_epoch: None, version: known.version, at_ms: known.at, state }
        });
        let (orders, more) = cut(snapshots, limit);
        let last = orders.len().checked_sub(1).filter(|_| more).and_then(|last| cursors.get(last));
        Ok(OrderPage { next: last.map(ToString::to_string), orders })
    };
    Some(page())
}

/// The filters of [`crate::store`]'s lists, on an order in memory.
fn is_asked_for(ask: &ListQuery, id: &OrderId, order: &HotOrder) -> bool {
    let ListQuery {
        status,
        rider,
        warehouse,
        user,
        created_from_ms,
        created_to_ms,
        updated_from_ms,
        updated_to_ms,
        among,
        within: _,
        cursor: _,
        limit: _,
    } = ask;
    let HotOrder { at, facts, live, .. } = order;
    (status.is_empty() || status.contains(&live.status))
        && rider.as_ref().is_none_or(|rider| live.rider.as_ref() == Some(rider))
        && warehouse.as_ref().is_none_or(|warehouse| facts.warehouse.id == *warehouse)
        && user.as_ref().is_none_or(|user| facts.user == *user)
        && created_from_ms.is_none_or(|from| live.created_at >= from)
        && created_to_ms.is_none_or(|to| live.created_at < to)
        && updated_from_ms.is_none_or(|from| *at >= from)
        && updated_to_ms.is_none_or(|to| *at < to)
        && among.as_ref().is_none_or(|among| among.contains(id))
}

/// Everybody, or those on shift who have room for another order.
fn suits(hot: &Hot, free: bool) -> impl Fn(&HotRider) -> bool {
    let max = hot.max_orders_per_rider();
    move |rider| !free || (rider.on_shift && rider.stops.len() < max)
}

fn state(rider: RiderId, HotRider { on_shift, position, stops }: HotRider) -> RiderState {
    RiderState { rider, on_shift, position: position.map(|p| doc::position(&p)), stops: stops.to_vec() }
}

/// At most `limit`, and no more than an answer holds, but at least one; and whether there are more.
fn cut<T: Serialize>(mut items: impl Iterator<Item = T>, limit: usize) -> (Vec<T>, bool) {
    let (mut page, mut size) = (Vec::new(), 0);
    for item in items.by_ref() {
        size += serde_json::to_vec(&item).map_or(PAGE_BYTES, |json| json.len());
        if page.len() == limit || (size > PAGE_BYTES && !page.is_empty()) {
            return (page, true);
        }
        page.push(item);
    }
    (page, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_cut_by_count_and_by_size() {
        assert_eq!(cut([1, 2, 3].into_iter(), 3), (vec![1, 2, 3], false));
        assert_eq!(cut([1, 2, 3].into_iter(), 2), (vec![1, 2], true));
        let large = "x".repeat(PAGE_BYTES / 2 - 10);
        let (page, more) = cut(vec![large; 3].into_iter(), 10);
        assert_eq!((page.len(), more), (2, true));
        let (page, more) = cut(["x".repeat(PAGE_BYTES + 1)].into_iter(), 10);
        assert_eq!((page.len(), more), (1, false));
    }
}
