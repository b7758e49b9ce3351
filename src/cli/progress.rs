//! Progress as a bar on a terminal, and as a plain line now and then elsewhere.

use crate::{cli::outside::say, clock::Stopwatch};
use indicatif::{ProgressBar, ProgressStyle};
use std::{io::IsTerminal, time::Duration};

/// Between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// One stretch of work of known length.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    done: u64,
    total: u64,
    since_line: Stopwatch,
}

impl Progress {
    pub(super) fn new(what: &'static str, total: usize) -> Self {
        let total = total as u64;
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            let template = "{msg:>10} {wide_bar} {pos}/{len} {per_sec} {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message(what);
            bar
        });
        Self { what, bar, done: 0, total, since_line: Stopwatch::start() }
    }

    pub(super) fn step(&mut self) {
        self.reach(self.done + 1);
    }

    /// So much is done by now.
    pub(super) fn reach(&mut self, done: u64) {
        if std::mem::replace(&mut self.done, done) == done {
            return;
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.done == self.total || self.since_line.elapsed() >= LINE_EVERY {
            say(format_args!("{}: {} of {}", self.what, self.done, self.total));
            self.since_line = Stopwatch::start();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}
