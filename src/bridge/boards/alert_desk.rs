//! The alerts' desk: the stream of alerts, and who follows.

use super::{
    Command, Cut, Inner, Label,
    alerts::{AlertBoard, AlertMessage},
    desk::{Asking, Work, next_of, silent},
    source::AlertStream,
    stand::Stand,
};
use crate::{
    bridge::source::SourceError,
    geo::Datum,
    wire::{problem::Problem, topic::Topic},
};
use std::{sync::Arc, time::Duration};

/// An answer to a question.
pub(super) enum Done {
    Opened(Result<AlertStream, SourceError>),
    Last(Result<u64, SourceError>),
}

pub(super) struct AlertDesk {
    inner: Arc<Inner>,
    board: AlertBoard,
    stand: Stand,
    messages: Option<AlertStream>,
    asking: Asking<Done>,
    /// The stream's last place when it was last asked for, and when that was.
    last: Option<(u64, Duration)>,
    /// The place for which the stream was opened anew: what doesn't come after that was deleted.
    opened_for: Option<u64>,
    ask_at: Duration,
    /// All that the stream had at first was here.
    loaded: bool,
}

impl AlertDesk {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self {
            board: AlertBoard::default(),
            stand: Stand::new(Label::new(Topic::Alerts, inner.metrics.clone()), inner.options),
            messages: None,
            asking: Asking::new(&inner.options),
            last: None,
            opened_for: None,
            ask_at: Duration::ZERO,
            loaded: false,
            inner,
        }
    }

    fn ask(&mut self, now: Duration) {
        if !self.asking.may_ask(now) {
            return;
        }
        if self.messages.is_none() {
            let open = self.inner.source.alerts();
            self.asking.ask(Box::pin(async move { Done::Opened(open.await) }));
        } else if self.ask_at <= now {
            let last = self.inner.source.alerts_last();
            self.asking.ask(Box::pin(async move { Done::Last(last.await) }));
        }
    }

    fn on_done(&mut self, done: Done, now: Duration) {
        match done {
            Done::Opened(Ok(messages)) => {
                self.asking.succeeded();
                self.messages = Some(messages);
                self.ask_at = now;
            }
            Done::Last(Ok(last)) => {
                self.asking.succeeded();
                self.ask_at = now + self.inner.options.owner_heartbeat;
                let before = self.last.replace((last, now));
                if last < self.board.seq {
                    // Another stream under the same name: its places begin anew.
                    (self.board, self.messages, self.opened_for) = (AlertBoard::default(), None, None);
                    self.loaded = false;
                } else if before.is_some_and(|(before, _)| self.board.seq < before) && self.opened_for < Some(last) {
                    // What was there a heartbeat ago hasn't come.
                    self.inner.metrics.hub_resyncs.inc();
                    (self.messages, self.opened_for) = (None, Some(last));
                }
                self.admit();
            }
            Done::Opened(Err(error)) | Done::Last(Err(error)) => {
                self.asking.wait(now);
                self.last = None;
                if self.stand.is_impatient(now) {
                    self.stand.refuse(&Problem::from(error));
                }
            }
        }
        self.ask(now);
    }

    /// Whether all that the stream is known to have is here.
    fn is_level(&self) -> bool {
        self.messages.is_some()
            && self.last.is_some_and(|(last, _)| self.board.seq >= last || self.opened_for >= Some(last))
    }

    fn on_message(&mut self, message: Option<Result<AlertMessage, SourceError>>, now: Duration) {
        match message {
            Some(Ok(message)) => {
                let seq = message.seq;
                if !self.board.take(message, now, self.loaded) {
                    tracing::warn!(seq, "an alert message without an alert's id");
                }
                self.show();
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "the stream of alerts is opened anew");
                self.messages = None;
                self.asking.wait(now);
            }
            None => self.messages = None,
        }
    }

    fn show(&mut self) {
        let (board, at) = (&self.board, self.board.at);
        self.stand.turn(at, |_| board.draw());
        self.admit();
    }

    fn admit(&mut self) {
        // From here on, what is cleared is shown so.
        self.loaded |= self.is_level();
        if self.is_level() && self.stand.has_waiting() {
            let (board, at) = (&self.board, self.board.at);
            self.stand.admit(at, |_| board.draw());
        }
    }
}

impl Work for AlertDesk {
    fn on_command(&mut self, command: Command, now: Duration) {
        match command {
            Command::Follow(_, mut follower) => {
                follower.cut = Cut { datum: Datum::Wgs84, bounds: None };
                self.stand.follow(follower, now);
                self.admit();
                self.ask(now);
            }
            Command::Unfollow(_, id, outbox) => self.stand.unfollow(id, &outbox),
            Command::Leave(_, id) => self.stand.leave(id),
        }
    }

    async fn event(&mut self, now: Duration) {
        let Self { messages, asking, .. } = self;
        tokio::select! {
            message = next_of(messages) => self.on_message(message, now),
            done = asking.answer() => self.on_done(done, now),
        }
    }

    fn on_tick(&mut self, now: Duration) {
        if self.loaded {
            self.board.forget_cleared(now);
            self.show();
        }
        if self.stand.is_impatient(now) {
            self.stand.refuse(&Problem::from(silent()));
        }
        let asked = self.last.is_some_and(|(_, at)| now.saturating_sub(at) <= self.inner.options.silence());
        self.stand.confirm(asked && self.is_level());
        self.stand.tick(now);
        self.ask(now);
    }

    fn is_over(&self, now: Duration) -> bool {
        self.stand.is_over(now)
    }
}
