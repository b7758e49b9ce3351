//! What would have been decided by other settings, or had every fix come in time: the log is played twice and the
//! decisions are compared.

use super::{
    OpenLog, ReplayError,
    compare::{Comparison, compare},
    decisions::Decision,
    late::Late,
    override_rules::Overrides,
    player::Player,
};
use crate::{
    clock::Stopwatch,
    domain::{CellId, UnixMillis, rules::Rules},
};
use serde::Serialize;
use std::time::Duration;

/// What is different in the second play.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Settings over every rules message, and over what is in force before the first.
    pub settings: Overrides,
    /// Late fixes come where they belong.
    pub late: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WhatIf {
    pub cell: CellId,
    /// Entries played, in each play.
    pub entries: u64,
    /// Cell time of the first and the last.
    pub from_ms: UnixMillis,
    pub to_ms: UnixMillis,
    /// Orders that the log has.
    pub orders: u64,
    /// Fixes that came late, if they were moved.
    pub late_fixes: Option<u64>,
    /// Timers fired in the play as it was, and in the other.
    pub timers: [u64; 2],
    #[serde(flatten)]
    pub comparison: Comparison,
    /// The rules in force at the end of each play.
    pub rules: [Rules; 2],
    pub took: Duration,
}

/// See the module. `reached` hears now and then how many places of both plays together are done; there are twice as many
/// as the log has.
pub async fn what_if(log: &OpenLog, change: &Change, mut reached: impl FnMut(u64)) -> Result<WhatIf, ReplayError> {
    log.has_beginning()?;
    let watch = Stopwatch::start();
    let mut late = Late::default();
    let mut first = Player::new(Overrides::default())?;
    let (mut entries, mut from, mut last) = (0, None, 0);
    let mut reading = log.read();
    while let Some(chunk) = reading.next().await? {
        for read in chunk {
            if change.late {
                late.notice(&first, &read.entry);
            }
            last = read.entry.seq;
            first.play(read.entry)?;
            from.get_or_insert(first.cell().head().clock.now());
            entries += 1;
        }
        reached(last);
    }
    first.end();

    let mut second = Player::new(change.settings.clone())?;
    let mut reading = log.read();
    while let Some(chunk) = reading.next().await? {
        let mut seq = 0;
        for read in chunk {
            seq = read.entry.seq;
            if change.late { late.play(&mut second, read.entry)? } else { second.play(read.entry)? }
        }
        reached(last + seq);
    }
    late.end(&mut second)?;
    second.end();

    let head = |player: &Player| player.cell().head().clone();
    let (a, b) = (head(&first), head(&second));
    let orders = first.orders();
    let timers = [first.fired, second.fired];
    let decided = |player: Player| -> Vec<Decision> { player.decisions.into_all() };
    Ok(WhatIf {
        cell: log.head().cell.clone(),
        entries,
        from_ms: from.unwrap_or_default(),
        to_ms: a.clock.now(),
        orders,
        late_fixes: change.late.then(|| late.len() as u64),
        timers,
        comparison: compare(decided(first), decided(second)),
        rules: [a.rules, b.rules],
        took: watch.elapsed(),
    })
}
