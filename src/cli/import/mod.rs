//! `trunkline import`: plays recorded tracks as riders with orders, and says what became of every fix. It drives the
//! system only from outside and believes only what the outside shows, so its summary is evidence, not an own word.

mod plan;
mod play;
mod reckoning;
pub(in crate::cli) mod rows;

pub use plan::Align;
pub use play::Speed;
pub use reckoning::Summary;
pub use rows::Mapping;

use super::interrupted;
use super::outside::{FollowerOptions, Followers, Http, Nats, Pace, TokenOptions, agreement, say, write_json};
use crate::{clock::Stopwatch, domain::CellId, wire::view::View};
use anyhow::Context;
use plan::{Plan, Shape};
use play::Play;
use reckoning::WatchSummary;
use std::{fs::File, path::PathBuf, process::ExitCode, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Patience with a request, without and with restarts of the server in the middle.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_RESUME_SAFE: Duration = Duration::from_secs(300);
/// For the watching clients to come to rest at the end: more than two heartbeats.
const SETTLE: Duration = Duration::from_secs(25);

/// Plays recorded tracks (CSV) as riders with orders
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    /// The recorded fixes, with a header line
    #[arg(long)]
    pub csv: PathBuf,
    /// Columns: id=COL,time=COL and lat=COL,lon=COL or wkt=COL; optional accuracy, speed, heading
    #[arg(long)]
    pub map: Mapping,
    /// Address of the server
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub http: String,
    #[command(flatten)]
    pub token: TokenOptions,
    /// Address of NATS
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    pub nats: String,
    #[arg(long, default_value = "default")]
    pub cell: CellId,
    /// `max`, or how many times life's pace
    #[arg(long, default_value = "max", value_parser = speed)]
    pub speed: Speed,
    /// Whether all tracks start together or keep their distance in time
    #[arg(long, value_enum, default_value = "start")]
    pub align: Align,
    /// Follow every order over WebSocket and compare at the end
    #[arg(long)]
    pub watch: bool,
    /// Shuffle rows within windows of so much recorded time, as 1h, 30m or 90s
    #[arg(long, value_parser = span_ms)]
    pub shuffle_window: Option<i64>,
    /// Seed of the shuffle
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Send every row so many times
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeat: u32,
    /// Send at most so many fixes per second, as 500 or 500/s
    #[arg(long, value_parser = rate)]
    pub limit_rate: Option<u32>,
    /// Begins the ids of orders and riders
    #[arg(long, default_value = "")]
    pub prefix: String,
    /// Where to write the summary as JSON
    #[arg(long)]
    pub summary_json: Option<PathBuf>,
    /// Keep trying for minutes: the server will be killed and restarted in the middle
    #[arg(long)]
    pub resume_safe: bool,
}

/// Runs the import. Fails (exit code 1) if anything doesn't add up.
pub async fn run(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let patience = if args.resume_safe { PATIENCE_RESUME_SAFE } else { PATIENCE };
    let http = Http::new(&args.http, View::Operations, patience)?.with_token(args.token.read()?);
    let nats = Nats::connect(&args.nats, patience, &tasks, stop.clone()).await?;
    let played = tokio::select! {
        played = Box::pin(play(&args, &http, &nats, &tasks, &stop)) => played,
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    // Whatever happened: leave the cell's clock at life's pace.
    let restored = Pace::set(&nats, &http, &args.cell, 1, None).await;
    nats.flush().await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    let summary = played?;
    restored?;
    report(&summary);
    if let Some(path) = &args.summary_json {
        write_json(path, &summary).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(if summary.disagreements.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn play(
    args: &ImportArgs,
    http: &Http,
    nats: &Nats,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<Summary> {
    let since = Stopwatch::start();
    let file = File::open(&args.csv).with_context(|| format!("open {}", args.csv.display()))?;
    let recording = rows::read(file, &args.map)?;
    let shape = Shape { align: args.align, shuffle_ms: args.shuffle_window, seed: args.seed, repeat: args.repeat };
    let plan = Plan::new(&recording.rows, &args.prefix, &shape).context("--prefix and track id make no id")?;
    let [tracks, good, bad] = [plan.tracks.len(), recording.rows.len(), recording.bad.len()];
    say(format_args!("{tracks} tracks, {good} fixes, {bad} unreadable rows"));
    let mut followers = args.watch.then(|| {
        let options = FollowerOptions { http: http.clone(), orders_per_connection: 100, changes: None };
        Followers::new(options, tasks.clone(), stop.child_token())
    });
    let play = Play {
        http,
        nats,
        cell: &args.cell,
        plan: &plan,
        rows: &recording.rows,
        run: uuid::Uuid::now_v7().simple().to_string(),
        prefix: &args.prefix,
        speed: args.speed,
        limit_rate: args.limit_rate,
    };
    play.prepare(followers.as_mut()).await.context("an order could not be prepared (used ids need a --prefix)")?;
    let (start, reckoning) = play.fixes().await?;
    play.deliver(start).await.context("deliver")?;
    let (stored, tracks, wrong) = play.read_back(start).await.context("read a track back")?;
    let mut summary = Summary {
        rows: recording.rows.len(),
        unreadable: recording.bad.len(),
        unreadable_rows: recording.bad,
        repeat: args.repeat,
        sent: reckoning.sent,
        resent: reckoning.resent,
        unanswered: reckoning.unanswered,
        refused: reckoning.refused,
        kept_unheard: reckoning.kept_unheard(),
        duplicates: reckoning.duplicates(),
        refusals: reckoning.refusals,
        answers: reckoning.answers,
        identities: plan.tracks.iter().map(|track| track.identities).sum(),
        stored,
        tracks,
        watch: None,
        disagreements: wrong,
        took_ms: 0,
    };
    if let Some(followers) = &followers {
        let agreement = agreement(http, followers.all(), SETTLE).await;
        summary.watch = Some(WatchSummary { tally: followers.tally(), agreement, errors: followers.errors() });
    }
    summary.took_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    summary.check();
    Ok(summary)
}

/// The summary for people.
fn report(summary: &Summary) {
    let Summary { rows, unreadable, sent, resent, unanswered, refused, answers, identities, .. } = summary;
    say(format_args!("rows       {rows} readable, {unreadable} not"));
    for bad in summary.unreadable_rows.iter().take(20) {
        say(format_args!("  line {}: {}: {}", bad.line, bad.field, bad.reason));
    }
    say(format_args!("sent       {sent} fixes, {resent} of them again for want of an answer"));
    say(format_args!(
        "answers    good {}, inaccurate {}, jump {}, duplicate {}, stale {}, future {}, too old {}",
        answers.good,
        answers.inaccurate,
        answers.jump,
        answers.duplicate,
        answers.stale,
        answers.future,
        answers.too_old
    ));
    say(format_args!("refused    {refused} messages, {unanswered} without an answer"));
    for refusal in summary.refusals.iter().take(20) {
        say(format_args!("  {refusal}"));
    }
    say(format_args!("identities {identities}, {} duplicates of them", summary.duplicates));
    let reckoning::Stored { fixes, good, inaccurate, jump } = summary.stored;
    say(format_args!("stored     {fixes} fixes: good {good}, inaccurate {inaccurate}, jump {jump}"));
    if let Some(WatchSummary { tally, agreement, errors }) = &summary.watch {
        say(format_args!(
            "watched    {} orders: {} deltas, {} gaps, {} resumes, {} reconnects, {} healed by a heartbeat",
            agreement.orders, tally.deltas, tally.gaps, tally.resumes, tally.reconnects, tally.healed
        ));
        say(format_args!("agree      {} of {} orders equal the snapshot", agreement.equal, agreement.orders));
        for mismatch in agreement.mismatches.iter().take(20) {
            say(format_args!("  {}: {}", mismatch.order, mismatch.reason));
        }
        for error in errors.iter().take(5) {
            say(format_args!("  {error}"));
        }
    }
    let seconds = summary.took_ms as f64 / 1_000.0;
    say(format_args!("took       {seconds:.1} s"));
    for disagreement in &summary.disagreements {
        say(format_args!("DISAGREES  {disagreement}"));
    }
}

fn speed(text: &str) -> Result<Speed, String> {
    match text {
        "max" => Ok(Speed::Max),
        times => match times.parse() {
            Ok(n) if (1..=crate::domain::time::MAX_CLOCK_SCALE).contains(&n) => Ok(Speed::Times(n)),
            Ok(_) | Err(_) => Err("must be `max`, or 1 to 100000".into()),
        },
    }
}

/// `1h`, `30m` or `90s` in milliseconds.
fn span_ms(text: &str) -> Result<i64, String> {
    let unit_ms = match text.chars().last() {
        Some('h') => 3_600_000,
        Some('m') => 60_000,
        Some('s') => 1_000,
        Some(_) | None => return Err("must be a number and h, m or s, as 1h".into()),
    };
    match text[..text.len() - 1].parse::<i64>() {
        Ok(n) if (1..=86_400).contains(&n) => Ok(n * unit_ms),
        Ok(_) | Err(_) => Err("must be 1 to 86400 and h, m or s, as 1h".into()),
    }
}

fn rate(text: &str) -> Result<u32, String> {
    match text.strip_suffix("/s").unwrap_or(text).parse() {
        Ok(n) if n > 0 => Ok(n),
        Ok(_) | Err(_) => Err("must be fixes per second, at least 1".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        import: ImportArgs,
    }

    fn parse(arguments: &str) -> Result<ImportArgs, clap::Error> {
        let given = "trunkline --csv f.csv --map id=id,time=time,wkt=geometry".split(' ');
        Line::try_parse_from(given.chain(arguments.split_whitespace())).map(|line| line.import)
    }

    #[test]
    fn arguments_as_the_issue_writes_them() {
        let args = parse("--shuffle-window 1h --seed 3 --repeat 2 --limit-rate 500/s --speed 60 --align keep").unwrap();
        assert_eq!((args.shuffle_window, args.limit_rate, args.repeat), (Some(3_600_000), Some(500), 2));
        assert_eq!((args.speed, args.align, args.watch), (Speed::Times(60), Align::Keep, false));
        assert_eq!(parse("").unwrap().speed, Speed::Max);
        for wrong in
            ["--speed 0", "--shuffle-window 1", "--shuffle-window é", "--repeat 0", "--limit-rate 0", "--cell a.b"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
