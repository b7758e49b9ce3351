//! `trunkline replay`: an order's story, the proof of a database by its log, and what other settings would have done.

mod verify;
mod what_if;

use super::{outside::say, progress::Progress};
use crate::{
    app::{
        self,
        replay::{OpenLog, Source, chronicle, export::export, save, story},
    },
    config::Settings,
    domain::{CellId, OrderId},
    store::Look,
    wire::track,
};
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio_util::task::TaskTracker;

/// Look back: at an order, or at a whole log.
///
/// A cell's decisions are a function of its log, so they can be made again: by the same settings, which proves the
/// database, or by others, which shows what those would have done. Nothing is written and nobody is told; the node may
/// serve meanwhile.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("task").required(true),
    after_long_help = "\
Examples:
  trunkline replay o-1042
      what happened to an order, from the database of the cell `default` under ./data
  trunkline replay o-1042 --format json --db /var/lib/trunkline/cells/default.sqlite
  trunkline replay o-1042 --format gpx > o-1042.gpx
  trunkline replay --verify data/cells/default.sqlite --nats nats://127.0.0.1:4222
      play the log up to where the database stands, and compare: exit code 1 if anything differs
  trunkline replay --save-log monday.jsonl
  trunkline replay --what-if unpaid_ms=600000 --log-file monday.jsonl
  trunkline replay --what-if late --log-file monday.jsonl
      as if every fix that came late had come in time"
)]
pub(super) struct ReplayArgs {
    /// Tell this order's story, from the database, or from a log that is named.
    #[arg(group = "task")]
    order: Option<OrderId>,
    /// Play the log from its first message to where this database stands and compare hashes of states, versions,
    /// riders and the cell, order by order.
    #[arg(long, value_name = "DATABASE", group = "task")]
    verify: Option<PathBuf>,
    /// Play the log as it was and with these rules over those in force, and tell how the cell's own decisions differ. Keys
    /// are those of `control.{cell}.rules`. The word `late` stands for: every late fix as if it had come in time.
    #[arg(long, value_name = "KEY=VALUE|late", num_args = 1.., group = "task")]
    what_if: Option<Vec<String>>,
    /// Save the log to a file of JSON lines, for `--log-file`. It holds all that the log holds: protect it.
    #[arg(long, value_name = "FILE", group = "task")]
    save_log: Option<PathBuf>,
    /// Take the log from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "nats")]
    log_file: Option<PathBuf>,
    /// Take the log from the cell's stream on this server. By default the one of the configuration, or
    /// nats://127.0.0.1:4222.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// With an order: the cell's database. By default that of the cell under the data folder.
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// With an order: where the node keeps its databases. By default as configured.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The cell. By default as configured.
    #[arg(long)]
    cell: Option<CellId>,
    /// The node's configuration, for the defaults above.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// With an order: how to tell its story.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// With --verify and --what-if: the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// Every line of the history with what it changed, the order's alerts, and its state.
    Json,
    /// As `/v1/orders/{order}/track` has it.
    Geojson,
    Gpx,
    Csv,
}

pub(super) async fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let place = Place::of(&args)?;
    if let Some(order) = &args.order {
        return tell(&args, &place, order).await;
    }
    let tasks = TaskTracker::new();
    let log = OpenLog::open(&place.source, tasks.clone()).await?;
    let ended = if let Some(database) = &args.verify {
        verify::run(database, &log, args.json).await
    } else if let Some(settings) = &args.what_if {
        what_if::run(settings, &log, args.json).await
    } else if let Some(to) = &args.save_log {
        save_log(to, &log).await
    } else {
        // The group above lets nothing else through.
        Ok(ExitCode::FAILURE)
    };
    drop(log);
    tasks.close();
    tasks.wait().await;
    ended
}

/// Where to look.
struct Place {
    source: Source,
    database: PathBuf,
}

impl Place {
    fn of(args: &ReplayArgs) -> anyhow::Result<Self> {
        let settings = Settings::read(args.config.as_deref())?;
        let cell = match &args.cell {
            Some(cell) => cell.clone(),
            None => settings.cell.parse().context("cell")?,
        };
        let data = args.data.as_deref().unwrap_or(&settings.data);
        let database = args.db.clone().unwrap_or_else(|| app::database_path(data, &cell));
        let source = match &args.log_file {
            Some(file) => Source::File(file.clone()),
            None => {
                let url = args.nats.clone().or(settings.nats.url);
                Source::Nats { url: url.unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned()), cell }
            }
        };
        Ok(Self { source, database })
    }
}

async fn tell(args: &ReplayArgs, place: &Place, order: &OrderId) -> anyhow::Result<ExitCode> {
    let told = if args.log_file.is_some() || args.nats.is_some() {
        let tasks = TaskTracker::new();
        let log = OpenLog::open(&place.source, tasks.clone()).await?;
        chronicle::from_log(&log, Some(order), |_| {}).await?.stories.remove(order)
    } else {
        let path = &place.database;
        let look = Look::open(path).with_context(|| format!("database {}", path.display()))?;
        chronicle::from_store(&look, order)?
    };
    let Some(told) = told else { anyhow::bail!("there is no order {order}") };
    let exported = |format| export(&told, format);
    let text = match args.format {
        Format::Text => story::tell(&told),
        Format::Json => serde_json::to_string_pretty(&told)?,
        Format::Geojson => exported(track::Format::GeoJson),
        Format::Gpx => exported(track::Format::Gpx),
        Format::Csv => exported(track::Format::Csv),
    };
    say(text.strip_suffix('\n').unwrap_or(&text));
    Ok(ExitCode::SUCCESS)
}

async fn save_log(to: &Path, log: &OpenLog) -> anyhow::Result<ExitCode> {
    let mut progress = Progress::new("messages", places(log.head().last_seq));
    let messages = save(log, to, |seq| progress.reach(seq)).await?;
    drop(progress);
    say(format_args!("cell {}: {messages} messages saved to {}", log.head().cell, to.display()));
    Ok(ExitCode::SUCCESS)
}

fn places(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
