//! A watched order within its shard: what has been asked for it, what it needs next, and when that may be asked.
//!
//! One question at a time, so that an owner which comes back after an outage isn't asked twice for anything.

use super::{HubOptions, watch::Watch};
use crate::{bridge::source::SourceError, wire::problem::Problem};
use futures::stream::AbortHandle;
use std::time::Duration;

/// What a watched order needs next.
pub(super) enum Question {
    /// Its updates: subscribed first, then read, so that what is said in between is held.
    Updates,
    /// Its state, which is missing or behind.
    Read,
    /// Its state, to see that it is still the same.
    Confirm,
    /// Its personal data, as they are now.
    Personal,
}

/// A watched order and what is under way for it.
pub(super) struct Entry {
    pub(super) watch: Watch,
    pub(super) life: u64,
    pub(super) since: Duration,
    /// Ends the subscription. `None`: not subscribed yet.
    pub(super) updates: Option<AbortHandle>,
    /// A question is queued or in flight; there is never a second.
    pub(super) busy: bool,
    /// Nothing is asked of the owner before this time, and nothing of the bucket before the next.
    pub(super) retry_at: Duration,
    pub(super) personal_retry_at: Duration,
    pub(super) backoff: Duration,
    /// No reading for confirmation before this time.
    pub(super) confirm_at: Duration,
    pub(super) idle_since: Option<Duration>,
}

impl Entry {
    /// A watch that begins: everything is to be asked, and at once.
    pub(super) fn new(watch: Watch, life: u64, now: Duration, options: &HubOptions) -> Self {
        Self {
            watch,
            life,
            since: now,
            updates: None,
            busy: false,
            retry_at: Duration::ZERO,
            personal_retry_at: Duration::ZERO,
            backoff: options.retry_first,
            confirm_at: Duration::ZERO,
            idle_since: None,
        }
    }

    /// What to ask now. A follower who waits for personal data alone goes before what the owner is asked: it is served
    /// while the owner is silent.
    pub(super) fn question(&self, now: Duration, options: &HubOptions) -> Option<Question> {
        let loaded = self.watch.is_loaded();
        let old = now.saturating_sub(self.watch.personal_at()) >= options.personal_every || self.watch.is_edited();
        let old = old && !self.watch.is_idle();
        let personal = loaded && self.personal_retry_at <= now && (self.watch.has_waiting() || old);
        if personal && self.watch.has_waiting() {
            return Some(Question::Personal);
        }
        let owner = self.retry_at <= now;
        if owner && self.updates.is_none() {
            return Some(Question::Updates);
        }
        if owner && self.watch.is_behind() {
            return Some(Question::Read);
        }
        if owner && self.confirm_at <= now && !self.watch.is_idle() && self.watch.wants_confirmation(now) {
            return Some(Question::Confirm);
        }
        personal.then_some(Question::Personal)
    }

    /// Refuses those who wait for too long.
    pub(super) fn lose_patience(&mut self, now: Duration, options: &HubOptions, error: SourceError) {
        if self.watch.has_waiting() && now.saturating_sub(self.since) >= options.patience {
            self.watch.refuse(&Problem::from(error));
        }
    }

    pub(super) fn wait(&mut self, now: Duration, options: &HubOptions) {
        self.retry_at = now + self.backoff;
        self.backoff = (self.backoff * 2).min(options.retry_last);
    }
}
