//! A desk's loop: commands, time, and whatever its work waits for. And what desks have in common when they ask.

use super::{BoardOptions, Command, Desk, Inner};
use crate::bridge::source::SourceError;
use futures::future::BoxFuture;
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::MissedTickBehavior};

/// What a desk does. Nothing in it waits for a connection.
pub(super) trait Work: Send + 'static {
    fn on_command(&mut self, command: Command, now: Duration);
    /// Waits for the next thing to happen and takes it. Dropped while it waits, it has lost nothing.
    fn event(&mut self, now: Duration) -> impl Future<Output = ()> + Send;
    fn on_tick(&mut self, now: Duration);
    /// Whether nobody has followed for a while.
    fn is_over(&self, now: Duration) -> bool;
}

/// Runs a desk until nobody needs it any more.
pub(super) async fn keep<W: Work>(mut work: W, desk: Desk, inner: Arc<Inner>, mut commands: mpsc::Receiver<Command>) {
    let mut ticks = tokio::time::interval(inner.options.tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The interval's own time is the desk's clock; nothing here needs a finer one.
    let start = ticks.tick().await;
    let mut now = Duration::ZERO;
    loop {
        tokio::select! {
            () = inner.cancel.cancelled() => return drop(inner.desks.lock().remove(&desk)),
            Some(command) = commands.recv() => work.on_command(command, now),
            at = ticks.tick() => {
                now = at - start;
                work.on_tick(now);
                if work.is_over(now) {
                    let Some((left, again)) = inner.close(&desk, commands) else { return };
                    commands = again;
                    left.into_iter().for_each(|command| work.on_command(command, now));
                }
            }
            () = work.event(now) => {}
        }
    }
}

impl Inner {
    /// Takes a desk off the list, unless somebody came in the meantime: then what they said, and the way to say more.
    fn close(
        &self,
        desk: &Desk,
        mut commands: mpsc::Receiver<Command>,
    ) -> Option<(Vec<Command>, mpsc::Receiver<Command>)> {
        let mut desks = self.desks.lock();
        commands.close();
        let left: Vec<_> = std::iter::from_fn(|| commands.try_recv().ok()).collect();
        if left.is_empty() {
            desks.remove(desk);
            return None;
        }
        let (sender, commands) = mpsc::channel(self.options.commands_max);
        desks.insert(desk.clone(), sender);
        Some((left, commands))
    }
}

/// One question at a time, and when the next may be asked.
pub(super) struct Asking<T> {
    under_way: Option<BoxFuture<'static, T>>,
    retry_at: Duration,
    backoff: Duration,
    first: Duration,
    last: Duration,
}

impl<T> Asking<T> {
    pub(super) fn new(options: &BoardOptions) -> Self {
        let (first, last) = (options.retry_first, options.retry_last);
        Self { under_way: None, retry_at: Duration::ZERO, backoff: first, first, last }
    }

    pub(super) fn may_ask(&self, now: Duration) -> bool {
        self.under_way.is_none() && self.retry_at <= now
    }

    pub(super) fn ask(&mut self, question: BoxFuture<'static, T>) {
        self.under_way = Some(question);
    }

    /// The answer, when it is there.
    pub(super) async fn answer(&mut self) -> T {
        match &mut self.under_way {
            Some(question) => {
                let answer = question.await;
                self.under_way = None;
                answer
            }
            None => std::future::pending().await,
        }
    }

    /// It was in vain: not so soon again.
    pub(super) fn wait(&mut self, now: Duration) {
        self.retry_at = now + self.backoff;
        self.backoff = (self.backoff * 2).min(self.last);
    }

    pub(super) fn succeeded(&mut self) {
        self.backoff = self.first;
    }
}

/// The next of a stream that may not be there.
pub(super) async fn next_of<S: futures::Stream + Unpin>(stream: &mut Option<S>) -> Option<S::Item> {
    match stream {
        Some(stream) => futures::StreamExt::next(stream).await,
        None => std::future::pending().await,
    }
}

/// How long an answer keeps the owner's interest alive before it is asked again: three times in its life.
pub(super) const RENEW_EVERY: Duration = Duration::from_millis(crate::wire::board::INTEREST_MS / 3);

/// The problem of those who wait for an owner that doesn't answer.
pub(super) fn silent() -> SourceError {
    SourceError::Unreachable("the owner hasn't said everything yet".into())
}
