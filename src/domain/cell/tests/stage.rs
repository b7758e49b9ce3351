//! Where scenes are played: a cell with a clock that the scene moves.

use crate::domain::{
    Action, Answer, Dispatch, Fix, Order, Refusal, RiderId, Rules, Stage as Picking, UnixMillis,
    cell::{Entry, Input, Solo, SoloOutcome},
    testing::{T0, command, facts, fix, order, rider},
};

#[derive(Debug)]
pub(super) struct Stage {
    pub solo: Solo,
    /// The log's time.
    pub now: i64,
    seq: u64,
}

impl Default for Stage {
    fn default() -> Self {
        Self { solo: Solo::default(), now: T0, seq: 0 }
    }
}

impl Stage {
    /// A cell that plays by version 2.
    pub(super) fn later(dispatch: Dispatch) -> Self {
        let mut stage = Self::default();
        let rules = Rules { rules_version: 2, dispatch, ..Rules::default() };
        assert_eq!(stage.say(Input::Rules { rules, needs: 2 }).answer, Some(Ok(())));
        stage
    }

    /// Orders 0 and up, paid and packed, in the hands of `rider`.
    pub(super) fn with_orders_on(rider: RiderId, orders: u32) -> Self {
        let mut stage = Self::default();
        stage.give_orders(&rider, orders);
        stage
    }

    pub(super) fn give_orders(&mut self, rider: &RiderId, orders: u32) {
        for n in 0..orders {
            self.create_paid(n);
            self.pack(n);
            self.command(n, Action::Assign { rider: rider.clone() });
        }
    }

    pub(super) fn pack(&mut self, n: u32) -> SoloOutcome {
        self.say(Input::Stage { warehouse: "w1".parse().unwrap(), order: order(n), stage: Picking::Packed })
    }

    pub(super) fn shift(&mut self, who: u32, on: bool, to: Option<u32>) -> Option<Result<(), Refusal>> {
        self.say(Input::Shift { rider: rider(who), on, handover_to: to.map(rider) }).answer
    }

    pub(super) fn create_paid(&mut self, n: u32) {
        self.command(n, Action::Create(facts()));
        self.command(n, Action::Pay);
    }

    pub(super) fn wait(&mut self, ms: i64) {
        self.now += ms;
    }

    pub(super) fn say(&mut self, input: Input) -> SoloOutcome {
        self.seq += 1;
        self.solo.apply(&Entry { seq: self.seq, log_time: UnixMillis(self.now), input })
    }

    /// With a key of its own.
    pub(super) fn command(&mut self, n: u32, action: Action) -> Answer {
        self.keyed(n, action, u128::from(self.seq))
    }

    pub(super) fn keyed(&mut self, n: u32, action: Action, key: u128) -> Answer {
        let input = Input::Command { order: order(n), command: command(action, key) };
        self.say(input).order_answer().cloned().unwrap()
    }

    pub(super) fn assign(&mut self, n: u32, to: u32) {
        let answer = self.command(n, Action::Assign { rider: rider(to) });
        assert!(matches!(answer, Answer::Accepted(_)), "{answer:?}");
    }

    pub(super) fn fixes(&mut self, who: u32, sent_time: Option<UnixMillis>, fixes: Vec<Fix>) -> SoloOutcome {
        self.say(Input::Fixes { rider: rider(who), sent_time, fixes })
    }

    /// A fix of `back_ms` ago, so many metres north.
    pub(super) fn fix(&mut self, who: u32, back_ms: i64, north_m: f64) -> SoloOutcome {
        self.fixes(who, None, vec![fix(self.now.saturating_sub(back_ms), None, north_m)])
    }

    pub(super) fn order(&self, n: u32) -> &Order {
        self.solo.orders[&order(n)].as_ref().unwrap()
    }
}
