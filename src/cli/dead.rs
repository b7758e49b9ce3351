//! `trunkline dead`: what could not be applied, looked at and put back into the log.

use crate::{
    clock,
    domain::{CellId, UnixMillis},
    nats::{
        self,
        dead::{DeadLetters, Filter, Letter, Opened, PutBack},
    },
};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::{process::ExitCode, time::Duration};

const PATIENCE: Duration = Duration::from_secs(10);

/// Look at what could not be applied, and put it back into the log.
#[derive(Debug, Args)]
pub(super) struct DeadArgs {
    #[command(subcommand)]
    task: Task,
    /// NATS that has the cell's streams.
    #[arg(long, global = true, default_value = "nats://127.0.0.1:4222")]
    nats: String,
    #[arg(long, global = true, default_value = "default")]
    cell: CellId,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// List dead letters, the oldest first.
    List(ListArgs),
    /// Show one, with its message's headers and payload.
    Show {
        /// The message's place in the log, as `list` names it.
        seq: u64,
    },
    /// Publish messages once more, on their subjects and with their headers. Their publisher gets no answer.
    PutBack {
        /// Places in the log, as `list` names them.
        #[arg(required = true)]
        seq: Vec<u64>,
        /// Also what was put back before.
        #[arg(long)]
        again: bool,
        /// Another idempotency key, for one message: an order that refused a command keeps that answer under the old key.
        #[arg(long)]
        key: Option<String>,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// The field to blame, with all that is below it: `fixes`, `fix_time_ms`, `payload`.
    #[arg(long)]
    field: Option<String>,
    /// Text within the reason.
    #[arg(long)]
    reason: Option<String>,
    /// Written since then: `2h`, `3d` (ago), or a time as `2026-03-01T08:00:00Z`.
    #[arg(long, value_parser = moment)]
    since: Option<Moment>,
    /// Written before then.
    #[arg(long, value_parser = moment)]
    until: Option<Moment>,
    /// The newest so many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

/// A point in time as an operator says it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    Ago(Duration),
    At(UnixMillis),
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(Moment::At(UnixMillis(at.as_millisecond())));
    }
    let unit_s = |unit: char| [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)].into_iter().find(|(u, _)| *u == unit);
    let ago = text.char_indices().last().and_then(|(end, unit)| {
        let (n, (_, unit_s)) = (text[..end].parse::<u64>().ok()?, unit_s(unit)?);
        Some(Moment::Ago(Duration::from_secs(n.checked_mul(unit_s)?)))
    });
    ago.ok_or_else(|| "is neither a time as 2026-03-01T08:00:00Z nor one as 90s, 15m, 2h, 3d ago".to_owned())
}

impl Moment {
    fn resolve(self) -> UnixMillis {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => clock::wall().plus(-i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)),
        }
    }
}

/// A line of `list --json`.
#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    written_ms: i64,
    subject: Option<&'a str>,
    field: &'a str,
    reason: &'a str,
    payload_bytes: usize,
    put_back: bool,
    put_back_seq: Option<u64>,
}

pub(super) async fn run(args: DeadArgs) -> anyhow::Result<ExitCode> {
    let options = nats::Options::new(&args.nats, "trunkline-dead");
    let client = nats::connect(&options).await?;
    nats::ready(&client, &options, PATIENCE).await?;
    let letters = DeadLetters::open(nats::client::jetstream(&client), args.cell).await?;
    match args.task {
        Task::List(list) => {
            for letter in letters.list(&list.filter()).await? {
                print(&letter, letters.put_back_before(letter.seq).await?, list.json)?;
            }
        }
        Task::Show { seq } => {
            let opened = letters.open_letter(seq).await?;
            let before = letters.put_back_before(seq).await?;
            show(&opened, before)?;
        }
        Task::PutBack { seq, again, key } => {
            anyhow::ensure!(key.is_none() || seq.len() == 1, "--key is for one message, {} are named", seq.len());
            return Ok(put_back(&letters, &seq, key.as_deref(), again).await);
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl ListArgs {
    fn filter(&self) -> Filter {
        Filter {
            field: self.field.clone(),
            reason: self.reason.clone(),
            since: self.since.map(Moment::resolve),
            until: self.until.map(Moment::resolve),
            limit: usize::try_from(self.limit).unwrap_or(usize::MAX),
        }
    }
}

/// Each on its own: one that is refused doesn't stop the others.
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the command's result")]
async fn put_back(letters: &DeadLetters, seqs: &[u64], key: Option<&str>, again: bool) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for seq in seqs {
        match letters.put_back(*seq, key, again).await {
            Ok(log_seq) => println!("{seq} put back at {log_seq}"),
            Err(error) => {
                eprintln!("trunkline: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

#[allow(clippy::print_stdout, reason = "this is the command's result")]
fn print(letter: &Letter, before: Option<PutBack>, json: bool) -> anyhow::Result<()> {
    let Letter { seq, written, subject, field, reason, bytes } = letter;
    if json {
        let line = Line {
            seq: *seq,
            written_ms: written.0,
            subject: subject.as_deref(),
            field,
            reason,
            payload_bytes: *bytes,
            put_back: before.is_some(),
            put_back_seq: before.and_then(|b| b.log_seq),
        };
        println!("{}", serde_json::to_string(&line)?);
        return Ok(());
    }
    let subject = subject.as_deref().unwrap_or("(erased)");
    println!("{seq:>9}  {}  {subject}  {field}: {reason}{}", time(*written), back(before));
    Ok(())
}

#[allow(clippy::print_stdout, reason = "this is the command's result")]
fn show(opened: &Opened, before: Option<PutBack>) -> anyhow::Result<()> {
    let Opened { letter, headers, payload, left_out } = opened;
    print(letter, before, false)?;
    for (name, value) in headers {
        println!("{name}: {value}");
    }
    for part in left_out {
        println!("({part} left out: too large for a dead letter; the log may have it)");
    }
    println!("\n{}", String::from_utf8_lossy(payload));
    Ok(())
}

fn back(before: Option<PutBack>) -> String {
    match before {
        None => String::new(),
        Some(PutBack { log_seq: Some(seq), .. }) => format!("  [put back at {seq}]"),
        Some(PutBack { log_seq: None, .. }) => "  [put back, to an unknown end]".to_owned(),
    }
}

fn time(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| format!("{} ms", at.0), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_so_long_ago() {
        assert_eq!(moment("2h"), Ok(Moment::Ago(Duration::from_secs(7_200))));
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(Moment::At(UnixMillis(1_000))));
        for wrong in ["", "h", "2", "2x", "-1h", "99999999999999999999d", "2026-03-01", "é"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
