//! Who has to wait for whom: each party does one thing after the other, in the order of the plan. A deed is in the lanes
//! of the orders and the rider that it concerns, and begins when it is the first in all of them. Lanes are joined in one
//! go, so two deeds are in the same order wherever they meet, and none waits for ever.

use std::collections::{HashMap, VecDeque};

/// A party that does one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    Order(u32),
    Rider(usize),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    queues: HashMap<Lane, VecDeque<u64>>,
    held: HashMap<u64, (Vec<Lane>, Option<T>)>,
    ready: VecDeque<u64>,
    next: u64,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { queues: HashMap::new(), held: HashMap::new(), ready: VecDeque::new(), next: 0 }
    }
}

impl<T> Lanes<T> {
    /// Deeds that wait or are under way.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Lines a deed up in its lanes, each named once.
    pub(super) fn push(&mut self, lanes: Vec<Lane>, deed: T) {
        let id = self.next;
        self.next += 1;
        for lane in &lanes {
            self.queues.entry(*lane).or_default().push_back(id);
        }
        let first = self.is_first(&lanes, id);
        self.held.insert(id, (lanes, Some(deed)));
        if first {
            self.ready.push_back(id);
        }
    }

    /// The next deed that can begin, and its number for [`Self::done`].
    pub(super) fn begin(&mut self) -> Option<(u64, T)> {
        while let Some(id) = self.ready.pop_front() {
            if let Some(deed) = self.held.get_mut(&id).and_then(|held| held.1.take()) {
                return Some((id, deed));
            }
        }
        None
    }

    /// A deed is over: whoever waited for it moves up.
    pub(super) fn done(&mut self, id: u64) {
        let Some((lanes, _)) = self.held.remove(&id) else { return };
        for lane in lanes {
            let Some(queue) = self.queues.get_mut(&lane) else { continue };
            queue.pop_front();
            match queue.front().copied() {
                Some(next) if self.held.get(&next).is_some_and(|(lanes, _)| self.is_first(lanes, next)) => {
                    self.ready.push_back(next);
                }
                Some(_) => {}
                None => drop(self.queues.remove(&lane)),
            }
        }
    }

    fn is_first(&self, lanes: &[Lane], id: u64) -> bool {
        lanes.iter().all(|lane| self.queues.get(lane).and_then(VecDeque::front) == Some(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other_in_each_lane_and_side_by_side_in_different_ones() {
        let (order, rider) = (Lane::Order, Lane::Rider);
        let mut lanes = Lanes::default();
        lanes.push(vec![order(1)], "create 1");
        lanes.push(vec![order(2)], "create 2");
        lanes.push(vec![rider(1)], "fix");
        lanes.push(vec![rider(1), order(1), order(2)], "trip");
        lanes.push(vec![rider(1)], "fix 2");
        let mut begun = Vec::new();
        while let Some(next) = lanes.begin() {
            begun.push(next);
        }
        assert_eq!(begun.iter().map(|b| b.1).collect::<Vec<_>>(), ["create 1", "create 2", "fix"]);
        lanes.done(begun[0].0);
        lanes.done(begun[2].0);
        assert!(lanes.begin().is_none());
        lanes.done(begun[1].0);
        let (id, deed) = lanes.begin().unwrap();
        assert_eq!(deed, "trip");
        assert!(lanes.begin().is_none());
        lanes.done(id);
        let (id, deed) = lanes.begin().unwrap();
        assert_eq!((deed, lanes.len()), ("fix 2", 1));
        lanes.done(id);
        assert_eq!((lanes.len(), lanes.queues.len()), (0, 0));
    }
}
