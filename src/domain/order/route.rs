//! Routes that are found for orders that came without one. What a routing engine says is no decision of the core's: it comes
//! through the log, and is taken if it is still what the order needs.

use super::{Facts, FoundRoute, Order, watch::Cause};
use crate::{
    domain::{
        command::{Operator, Refusal},
        effect::{Effect, RouteEnds, RowKind},
        rules::Rules,
        time::UnixMillis,
    },
    geo::Point,
};
use std::sync::Arc;

/// Ends may differ by 1e-6 degree (a decimetre) from the order's, as publishers round coordinates.
const SAME_E7: u32 = 10;

impl Order {
    /// Asks for a route, if the order has none.
    pub(super) fn seek_route(&self, rules: &Rules, out: &mut Vec<Effect>) {
        if rules.finds_routes() && self.facts.route.is_none() {
            out.push(Effect::SeekRoute(self.route_ends()));
        }
    }

    fn route_ends(&self) -> RouteEnds {
        RouteEnds { from: self.facts.warehouse.point, to: self.facts.destination }
    }

    /// No command: a version and a history line, no rev. What comes twice, or too late, changes nothing.
    pub(super) fn take_route(
        &mut self,
        found: &FoundRoute,
        (at, rules): (UnixMillis, &Rules),
        out: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if self.live.status.is_final() {
            return Err(Refusal::field("order", "has ended, and needs no route"));
        }
        if self.facts.route.is_some() {
            return Err(Refusal::field("route", "the order has one already"));
        }
        let own = self.route_ends();
        if !is_same(found.ends.from, own.from) {
            return Err(Refusal::field("from", "is not the order's warehouse"));
        }
        if !is_same(found.ends.to, own.to) {
            return Err(Refusal::field("to", "is not the order's destination"));
        }
        let facts = Facts { route: Some(found.route.clone()), ..(*self.facts).clone() };
        self.advance_to(Arc::new(facts), (at, rules), Cause::Change, out, |_| {});
        let mut row = self.row(RowKind::Route, &Operator::router(), at);
        row.note = Some(found.source.clone());
        out.push(Effect::Row(Box::new(row)));
        Ok(())
    }
}

fn is_same(a: Point, b: Point) -> bool {
    a.lat_e7.abs_diff(b.lat_e7) <= SAME_E7 && a.lon_e7.abs_diff(b.lon_e7) <= SAME_E7
}
