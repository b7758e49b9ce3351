//! `trunkline replay --verify`: what it prints.

use crate::{
    app::replay::{
        OpenLog,
        verify::{MOST_TOLD, Verified, verify},
    },
    cli::{outside::say, progress::Progress},
};
use std::{path::Path, process::ExitCode, time::Duration};

pub(super) async fn run(database: &Path, log: &OpenLog, json: bool) -> anyhow::Result<ExitCode> {
    let mut progress = (!json).then(|| Progress::new("played", super::places(log.head().last_seq)));
    let reached = |seq| {
        if let Some(progress) = &mut progress {
            progress.reach(seq);
        }
    };
    let verified = verify(database, log, reached).await?;
    drop(progress);
    if json {
        say(serde_json::to_string_pretty(&verified)?);
    } else {
        print(&verified);
    }
    Ok(if verified.is_equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(verified: &Verified) {
    let Verified {
        cell,
        cursor,
        entries,
        erased,
        fixes,
        orders,
        alerts,
        riders,
        equal_orders,
        equal_alerts,
        equal_riders,
        database_hash,
        log_hash,
        differing,
        played,
        compared,
    } = verified;
    for one in differing {
        for detail in &one.details {
            say(format_args!("{}: {}: database {}, log {}", one.what, detail.field, detail.database, detail.log));
        }
    }
    if differing.len() == MOST_TOLD {
        say(format_args!("only the first {MOST_TOLD} differences are listed"));
    }
    say(format_args!(
        "cell {cell}: {entries} entries with {fixes} fixes played up to {cursor} in {:.2} s: {:.0} entries/s, {:.0} orders/s",
        played.as_secs_f64(),
        per_second(*entries, *played),
        per_second(*orders, *played),
    ));
    if *erased > 0 {
        say(format_args!(
            "{erased} places of the log are empty: what was there was erased, and may have decided something"
        ));
    }
    say(format_args!("compared in {:.2} s", compared.as_secs_f64()));
    say(format_args!("database {database_hash}\nlog      {log_hash}"));
    let word = if verified.is_equal() { "equal" } else { "NOT EQUAL" };
    let of_cell = if differing.iter().any(|d| d.what == "cell") { "the cell differs" } else { "the cell is equal" };
    say(format_args!(
        "{word}: {equal_orders} of {orders} orders, {equal_alerts} of {alerts} alerts, {equal_riders} of {riders} riders, \
         and {of_cell}"
    ));
}

#[allow(clippy::cast_precision_loss, reason = "a rate")]
fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(1e-9)
}
