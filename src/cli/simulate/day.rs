//! What is due next: the plan's deeds and the phones' messages, in order of time. Messages are made when they are due, so
//! that a long day needs no more memory than a short one.

use super::{deed::Deed, lanes::Lane, phone::Message, plan::Plan};
use crate::domain::UnixMillis;
use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

/// Something for the outside to do.
#[derive(Clone, Debug)]
pub(super) enum What {
    Deed(Deed),
    Fixes { rider: usize, message: Message },
}

/// With the time for which it was meant.
#[derive(Clone, Debug)]
pub(super) struct Act {
    pub(super) due: UnixMillis,
    pub(super) what: What,
}

impl Act {
    /// Who does it, and whom it waits for.
    pub(super) fn lanes(&self) -> Vec<Lane> {
        match &self.what {
            What::Fixes { rider, .. } => vec![Lane::Rider(*rider)],
            What::Deed(deed) => deed.lanes(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Day {
    plan: Arc<Plan>,
    next_deed: usize,
    phones: Vec<super::phone::Phone>,
    reports: BinaryHeap<Reverse<(UnixMillis, usize)>>,
}

impl Day {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        let phones = plan.riders.iter().map(|rider| rider.phone.clone()).collect();
        let on = plan.riders.iter().enumerate().filter(|(_, rider)| rider.shift.0 <= plan.end);
        let reports = on.map(|(n, rider)| Reverse((rider.shift.0, n))).collect();
        Self { plan, next_deed: 0, phones, reports }
    }

    /// When the next thing is due; `None` when the day is over.
    pub(super) fn next_due(&self) -> Option<UnixMillis> {
        let deed = self.plan.deeds.get(self.next_deed).map(|deed| deed.0);
        let report = self.reports.peek().map(|Reverse((due, _))| *due);
        deed.into_iter().chain(report).min()
    }

    /// All that happens at the next due time, one party at a time.
    pub(super) fn step(&mut self) -> Vec<Act> {
        let report = self.reports.peek().map(|Reverse((due, _))| *due);
        if let Some((due, deed)) = self.plan.deeds.get(self.next_deed)
            && report.is_none_or(|report| *due <= report)
        {
            self.next_deed += 1;
            return vec![Act { due: *due, what: What::Deed(deed.clone()) }];
        }
        let Some(Reverse((due, rider))) = self.reports.pop() else { return Vec::new() };
        let (motion, frame) = (&self.plan.riders[rider].motion, &self.plan.streets.frame);
        let (messages, next) = self.phones[rider].report(due, motion, frame);
        if next < self.plan.riders[rider].shift.1.min(self.plan.end) {
            self.reports.push(Reverse((next, rider)));
        }
        messages.into_iter().map(|message| Act { due, what: What::Fixes { rider, message } }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{demand::Demand, plan::Size, streets::Streets};
    use super::*;

    fn acts(seed: u64) -> Vec<String> {
        let demand = Demand::Even { every_ms: 20_000 };
        let size = Size { seed, orders: 30, riders: 4, warehouses: 2, pickers: 2, demand };
        let plan = Plan::new(size, Streets::grid().unwrap(), "t-", UnixMillis(50_000)).unwrap();
        let mut day = Day::new(Arc::new(plan));
        let (mut acts, mut last) = (Vec::new(), UnixMillis(0));
        while let Some(due) = day.next_due() {
            assert!(due >= last);
            last = due;
            acts.extend(day.step().into_iter().map(|act| format!("{act:?}")));
        }
        acts
    }

    #[test]
    fn one_seed_gives_the_same_acts_to_the_last_digit() {
        let once = acts(5);
        assert!(once.iter().filter(|act| act.contains("Fixes")).count() > 100);
        assert_eq!(acts(5), once);
        assert_ne!(acts(6), once);
    }
}
