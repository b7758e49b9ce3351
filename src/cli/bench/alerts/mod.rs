//! `trunkline bench alerts`: whether alerts come when they should and stay away when they shouldn't, on recorded trips and on
//! riders who stand. Everything runs through the whole core, orders, timers and all, without a server; what is judged is
//! measured by the evaluation itself, and not by what the core believes.

mod disorder;
mod off_route;
mod recorded;
mod scene;
mod standing;

use crate::cli::outside::say;
use anyhow::Context as _;
use recorded::Recorded;
use std::{fmt::Display, path::PathBuf};

/// Which trips.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct AlertsArgs {
    /// Recorded fixes: `id,time,geometry` (WKT).
    #[arg(long, value_name = "CSV")]
    points: PathBuf,
    /// The way that each trip really took: `id,WKT`.
    #[arg(long, value_name = "CSV")]
    routes: PathBuf,
    /// Trips set against others' ways: `track_id,planned_route_id,off_route,max_offset_m,first_idx_15s_gt150m`.
    #[arg(long, value_name = "CSV")]
    pairs: PathBuf,
    /// Judge phones that report so often, in seconds.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(i64).range(1..=600))]
    every_s: i64,
}

/// What must be so, line by line.
#[derive(Debug, Default)]
struct Verdict {
    kept: usize,
    missed: usize,
}

impl Verdict {
    fn must(&mut self, so: bool, told: impl Display) {
        let (word, count) = if so { ("ok    ", &mut self.kept) } else { ("MISSED", &mut self.missed) };
        *count += 1;
        say(format_args!("  {word} {told}"));
    }
}

/// Prints all of it; an error if something that must be so isn't.
pub(super) fn run(args: &AlertsArgs) -> anyhow::Result<()> {
    let AlertsArgs { points, routes, pairs, every_s } = args;
    let recorded = Recorded::read(points, routes, pairs).context("recorded trips")?;
    let mut verdict = Verdict::default();
    off_route::run(&recorded, *every_s, &mut verdict)?;
    standing::recorded(&recorded, *every_s, &mut verdict)?;
    standing::made(&mut verdict)?;
    disorder::run(&recorded, *every_s, &mut verdict)?;
    let Verdict { kept, missed } = verdict;
    anyhow::ensure!(missed == 0, "{missed} of {} goals missed, marked MISSED above", kept + missed);
    say(format_args!("all {kept} goals met"));
    Ok(())
}
