//! Orders that wait for a route. Bounded: what doesn't fit isn't kept, since who has no route can be seen from the orders
//! themselves; it is only remembered that they have to be looked through.

use crate::domain::{OrderId, effect::RouteEnds};
use std::collections::{HashMap, VecDeque};

/// What there is to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    Ask(OrderId, RouteEnds),
    /// Orders without a route behind this one, by id, go to [`Queue::page`].
    Look(Option<OrderId>),
    Nothing,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    most: usize,
    /// In the order of their coming, each with its last word.
    waiting: VecDeque<OrderId>,
    ends: HashMap<OrderId, RouteEnds>,
    /// All orders have to be looked through.
    missed: bool,
    /// Behind which order the look goes on that is under way.
    looking: Option<Option<OrderId>>,
}

impl Queue {
    pub(super) fn new(most: usize) -> Self {
        Self { most, waiting: VecDeque::new(), ends: HashMap::new(), missed: false, looking: None }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// An order's new word replaces the one that still waits.
    pub(super) fn put(&mut self, order: OrderId, ends: RouteEnds) {
        if let Some(before) = self.ends.get_mut(&order) {
            *before = ends;
        } else if self.waiting.len() < self.most {
            self.waiting.push_back(order.clone());
            self.ends.insert(order, ends);
        } else {
            self.missed = true;
        }
    }

    /// Looks through all orders, after those that wait.
    pub(super) fn look(&mut self) {
        self.missed = true;
    }

    /// Nothing waits any more, and nothing is looked for.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.most);
    }

    pub(super) fn next(&mut self) -> Next {
        while let Some(order) = self.waiting.pop_front() {
            if let Some(ends) = self.ends.remove(&order) {
                return Next::Ask(order, ends);
            }
        }
        if self.looking.is_none() && std::mem::take(&mut self.missed) {
            self.looking = Some(None);
        }
        self.looking.clone().map_or(Next::Nothing, Next::Look)
    }

    /// What a look found; nothing ends it. Orders that came meanwhile keep their word.
    pub(super) fn page(&mut self, found: Vec<(OrderId, RouteEnds)>) {
        self.looking = found.last().map(|(last, _)| Some(last.clone()));
        for (order, ends) in found {
            if !self.ends.contains_key(&order) {
                self.put(order, ends);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::Point;

    fn order(id: &str) -> OrderId {
        id.parse().unwrap()
    }

    fn ends(n: i32) -> RouteEnds {
        let from = Point { lat_e7: n, lon_e7: 0 };
        RouteEnds { from, to: from }
    }

    #[test]
    fn the_last_word_counts_and_keeps_its_place() {
        let mut queue = Queue::new(2);
        queue.put(order("a"), ends(1));
        queue.put(order("b"), ends(2));
        queue.put(order("a"), ends(3));
        assert_eq!(queue.next(), Next::Ask(order("a"), ends(3)));
        assert_eq!(queue.next(), Next::Ask(order("b"), ends(2)));
        assert_eq!(queue.next(), Next::Nothing);
    }

    #[test]
    fn what_does_not_fit_is_found_by_a_look() {
        let mut queue = Queue::new(1);
        queue.put(order("b"), ends(1));
        queue.put(order("a"), ends(2));
        assert_eq!(queue.next(), Next::Ask(order("b"), ends(1)));
        assert_eq!(queue.next(), Next::Look(None));
        // Its own word came while the orders were looked through, and is newer.
        queue.put(order("a"), ends(4));
        queue.page(vec![(order("a"), ends(3))]);
        assert_eq!(queue.next(), Next::Ask(order("a"), ends(4)));
        assert_eq!(queue.next(), Next::Look(Some(order("a"))));
        queue.page(vec![]);
        assert_eq!(queue.next(), Next::Nothing);
    }

    #[test]
    fn a_look_that_overflows_is_followed_by_another() {
        let mut queue = Queue::new(1);
        queue.look();
        assert_eq!(queue.next(), Next::Look(None));
        queue.page(vec![(order("a"), ends(1)), (order("b"), ends(1))]);
        assert_eq!(queue.next(), Next::Ask(order("a"), ends(1)));
        assert_eq!(queue.next(), Next::Look(Some(order("b"))));
        queue.page(vec![]);
        assert_eq!(queue.next(), Next::Look(None));
        queue.clear();
        assert_eq!(queue.next(), Next::Nothing);
        assert_eq!(queue.len(), 0);
    }
}
