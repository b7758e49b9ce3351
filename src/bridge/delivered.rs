//! Frames that reached a transport, counted in one place whatever wrote them.

use super::frame::Frame;
use crate::{
    clock,
    domain::UnixMillis,
    metrics::{Metrics, Step, Transport},
};
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

/// Of one transport. Looked up once, where frames are many.
#[derive(Clone, Debug)]
pub(super) struct Delivered {
    frames: Counter,
    latency: Histogram,
}

impl Delivered {
    pub(super) fn over(metrics: &Metrics, transport: &'static str) -> Self {
        Self {
            frames: metrics.frames_delivered.get_or_create(&Transport { transport }).clone(),
            latency: metrics.latency_seconds.get_or_create(&Step { step: "delivered" }).clone(),
        }
    }

    /// These were written now.
    pub(super) fn note<'a>(&self, frames: impl IntoIterator<Item = &'a Frame>) {
        let now = clock::wall();
        let count = frames.into_iter().inspect(|frame| self.observe(now, frame.log_time())).count();
        self.frames.inc_by(count as u64);
    }

    /// So many followers have one frame. They got it within microseconds of each other: one sample tells their latency.
    pub(super) fn note_alike(&self, frames: u64, log_time: Option<UnixMillis>) {
        self.frames.inc_by(frames);
        self.observe(clock::wall(), log_time);
    }

    fn observe(&self, now: UnixMillis, log_time: Option<UnixMillis>) {
        if let Some(time) = log_time {
            self.latency.observe(now.since(time).max(0) as f64 / 1_000.0);
        }
    }
}
