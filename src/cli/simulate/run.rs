//! Carries a plan out by the cell clock: begins what is due when those before it are done, takes the answers, keeps count
//! and the truth.

use super::{
    act::{Hands, Performed},
    day::{Act, Day, What},
    deed::Deed,
    lanes::Lanes,
    plan::Plan,
    tasks::Task,
    truth::{Ended, Times, Truth},
};
use crate::{
    cli::{interrupted, outside::say},
    clock::Stopwatch,
    domain::{OrderId, Stage, UnixMillis},
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use serde_json::json;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;

/// Requests under way at once.
const AT_ONCE: usize = 256;
/// Acts that wait for others; when they are, the city waits.
const MOST_WAITING: usize = 8_192;
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// For requests under way at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// A picking task that doesn't come for so long doesn't come at all.
const TASK_PATIENCE: Duration = Duration::from_secs(30);
const MAX_LISTED: usize = 20;

/// Counts for the progress line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    created: u64,
    packed: u64,
    assigned: u64,
    delivered: u64,
    cancelled: u64,
    fixes: u64,
}

/// See the module.
pub(super) struct Run {
    pub(super) plan: Arc<Plan>,
    pub(super) hands: Hands,
    pub(super) truth: Truth,
    day: Day,
    lanes: Lanes<Act>,
    /// Can begin, but too much is under way.
    ready: VecDeque<(u64, Act)>,
    under_way: FuturesUnordered<BoxFuture<'static, (u64, Performed)>>,
    numbers: HashMap<OrderId, u32>,
    /// Picking tasks that came, and warehouses that wait for theirs.
    tasks: HashSet<u32>,
    without_task: HashMap<u32, (u64, Act, Stopwatch)>,
    /// Orders of which something failed: what would follow is left out.
    broken: HashSet<u32>,
    counts: Counts,
    wrong: Vec<String>,
    wrong_count: u64,
}

impl Run {
    pub(super) fn new(plan: Arc<Plan>, hands: Hands, truth: Truth) -> Self {
        let numbers = (0..).zip(&plan.wishes).map(|(n, wish)| (wish.order.clone(), n)).collect();
        Self {
            hands,
            truth,
            day: Day::new(plan.clone()),
            plan,
            lanes: Lanes::default(),
            ready: VecDeque::new(),
            under_way: FuturesUnordered::new(),
            numbers,
            tasks: HashSet::new(),
            without_task: HashMap::new(),
            broken: HashSet::new(),
            counts: Counts::default(),
            wrong: Vec::new(),
            wrong_count: 0,
        }
    }

    /// Runs to the plan's end, to the limit, or until it is interrupted.
    pub(super) async fn until_the_end(&mut self, mut tasks: mpsc::Receiver<Task>, limit: Option<Duration>) {
        let (since, mut progress) = (Stopwatch::start(), Stopwatch::start());
        let mut interrupted = std::pin::pin!(interrupted());
        while !self.is_done() && limit.is_none_or(|limit| since.elapsed() < limit) {
            if progress.elapsed() >= PROGRESS_EVERY {
                progress = Stopwatch::start();
                self.progress();
            }
            self.line_up_what_is_due();
            self.begin();
            let nap = match self.day.next_due() {
                Some(due) if self.lanes.len() < MOST_WAITING => self.hands.pace.until(due),
                Some(_) | None => Duration::from_millis(200),
            };
            tokio::select! {
                () = &mut interrupted => break,
                Some((id, done)) = self.under_way.next(), if !self.under_way.is_empty() => self.took(id, done),
                Some(task) = tasks.recv() => self.task(&task),
                // Not longer than to the next line or the end.
                () = tokio::time::sleep(nap.min(Duration::from_millis(200))) => self.give_up_on_tasks(),
            }
        }
        self.progress();
        let complete = self.is_done();
        let last = Stopwatch::start();
        while !self.under_way.is_empty() && last.elapsed() < LAST_ANSWERS {
            match tokio::time::timeout(LAST_ANSWERS, self.under_way.next()).await {
                Ok(Some((id, done))) => self.took(id, done),
                Ok(None) | Err(_) => break,
            }
        }
        if !complete {
            self.send_home().await;
        }
        // What was sent and not answered may have taken effect all the same.
        let unanswered = self.under_way.len();
        self.truth.line(&json!({
            "kind": "end", "at_ms": self.hands.pace.now(), "complete": complete, "unanswered": unanswered,
            "wall_ms": u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
        }));
    }

    /// Ends the shifts of a run that is cut short, so that nobody stays on shift for ever. Who has orders in hand is rightly
    /// refused.
    async fn send_home(&self) {
        let now = self.hands.pace.now();
        let on = (0..self.plan.riders.len()).filter(|rider| self.plan.riders[*rider].shift.0 <= now);
        let ask = |rider| {
            let what = What::Deed(Deed::Shift { rider, on: false, after: Vec::new() });
            self.hands.clone().perform(Act { due: now, what })
        };
        let asked = futures::stream::iter(on.map(ask)).buffer_unordered(AT_ONCE);
        let _ = tokio::time::timeout(LAST_ANSWERS, asked.for_each(|_| std::future::ready(()))).await;
    }

    fn is_done(&self) -> bool {
        self.day.next_due().is_none() && self.lanes.len() == 0 && self.hands.pace.now() >= self.plan.end
    }

    fn line_up_what_is_due(&mut self) {
        let now = self.hands.pace.now();
        while self.lanes.len() < MOST_WAITING && self.day.next_due().is_some_and(|due| due <= now) {
            for act in self.day.step() {
                self.lanes.push(act.lanes(), act);
            }
        }
    }

    fn begin(&mut self) {
        while let Some((id, mut act)) = self.lanes.begin() {
            if self.is_void(&mut act) {
                self.skip(id, act);
            } else if let Some(order) = waits_for_task(&act).filter(|order| !self.tasks.contains(order)) {
                self.without_task.insert(order, (id, act, Stopwatch::start()));
            } else {
                self.ready.push_back((id, act));
            }
        }
        while self.under_way.len() < AT_ONCE
            && let Some((id, act)) = self.ready.pop_front()
        {
            let hands = self.hands.clone();
            self.under_way.push(async move { (id, hands.perform(act).await) }.boxed());
        }
    }

    /// Whether an act makes no sense any more. A trip goes on without the stops that failed.
    fn is_void(&self, act: &mut Act) -> bool {
        match &mut act.what {
            What::Fixes { .. } => false,
            What::Deed(Deed::Trip { stops, .. } | Deed::HandOver { orders: stops, .. }) => {
                stops.retain(|order| !self.broken.contains(order));
                stops.is_empty()
            }
            What::Deed(deed) => deed.order().is_some_and(|order| self.broken.contains(&order)),
        }
    }

    fn skip(&mut self, id: u64, act: Act) {
        let now = self.hands.pace.now();
        let times = Times { planned_ms: act.due, sent_ms: now, answered_ms: now };
        if let What::Deed(deed) = &act.what {
            self.truth_of(deed, times, &Ended::Skipped);
        }
        self.lanes.done(id);
    }

    fn task(&mut self, task: &Task) {
        let Some(&order) = self.numbers.get(&task.order) else { return };
        self.tasks.insert(order);
        if let Some((id, act, _)) = self.without_task.remove(&order) {
            self.ready.push_back((id, act));
        }
    }

    fn give_up_on_tasks(&mut self) {
        let late = self.without_task.iter().filter(|(_, (_, _, since))| since.elapsed() > TASK_PATIENCE);
        for order in late.map(|(order, _)| *order).collect::<Vec<_>>() {
            let Some((id, act, _)) = self.without_task.remove(&order) else { continue };
            self.broken.insert(order);
            self.complain(format!("{}: no picking task came", self.plan.wishes[order as usize].order));
            self.skip(id, act);
        }
    }

    fn took(&mut self, id: u64, Performed { act, times, ended, tally }: Performed) {
        match act.what {
            What::Fixes { rider, message } => {
                let answer = tally.as_ref().ok_or(&ended);
                self.truth.fixes(&self.plan, rider, times, message.again, &message.fixes, answer);
                self.counts.fixes += message.fixes.len() as u64;
                self.judge(&ended, false);
            }
            What::Deed(deed) => {
                self.truth_of(&deed, times, &ended);
                self.count(&deed, &ended);
            }
        }
        self.lanes.done(id);
    }

    fn count(&mut self, deed: &Deed, ended: &Ended) {
        let as_meant = self.judge(ended, deed.must_be_refused());
        if let Some(order) = deed.order().filter(|_| !as_meant) {
            self.broken.insert(order);
        }
        let counts = &mut self.counts;
        let counter = match deed {
            Deed::Create { .. } => &mut counts.created,
            Deed::Cancel { .. } | Deed::Returned { .. } => &mut counts.cancelled,
            Deed::Stage { stage: Stage::Packed, .. } => &mut counts.packed,
            Deed::Assign { .. } => &mut counts.assigned,
            Deed::Delivered { .. } => &mut counts.delivered,
            Deed::Pay { .. }
            | Deed::Edit { .. }
            | Deed::Missing { .. }
            | Deed::Stage { .. }
            | Deed::Trip { .. }
            | Deed::Failed { .. }
            | Deed::Shift { .. }
            | Deed::HandOver { .. } => return,
        };
        *counter += u64::from(as_meant);
    }

    /// Whether it ended as it should.
    fn judge(&mut self, ended: &Ended, must_be_refused: bool) -> bool {
        match ended {
            Ended::Accepted if must_be_refused => self.complain("accepted what should be refused".into()),
            Ended::Accepted => return true,
            Ended::Refused(_) if must_be_refused => return true,
            Ended::Refused(reason) | Ended::Unknown(reason) => self.complain(reason.clone()),
            Ended::Skipped => {}
        }
        false
    }

    fn complain(&mut self, what: String) {
        self.wrong_count += 1;
        if self.wrong.len() < MAX_LISTED {
            self.wrong.push(what);
        }
    }

    fn truth_of(&mut self, deed: &Deed, times: Times, ended: &Ended) {
        let what = deed.told(&self.plan);
        self.truth.line(&json!({"kind": "deed", "deed": what, "times": times, "ended": ended}));
    }

    fn progress(&self) {
        let Counts { created, packed, assigned, delivered, cancelled, fixes } = self.counts;
        let now: UnixMillis = self.hands.pace.now();
        let at = jiff::Timestamp::from_millisecond(now.0).map(|t| t.to_string()).unwrap_or_default();
        say(format_args!(
            "{at}  placed {created}  packed {packed}  assigned {assigned}  delivered {delivered}  cancelled {cancelled}  \
             fixes {fixes}  refused {}",
            self.wrong_count
        ));
    }

    /// Lists what went otherwise than it should; gives how much that was.
    pub(super) fn report(&self) -> u64 {
        for error in &self.wrong {
            say(format_args!("refused  {error}"));
        }
        self.wrong_count
    }
}

/// A warehouse begins with an order when its task has come.
fn waits_for_task(act: &Act) -> Option<u32> {
    match &act.what {
        What::Deed(Deed::Stage { order, stage: Stage::Received, .. }) => Some(*order),
        What::Deed(_) | What::Fixes { .. } => None,
    }
}
