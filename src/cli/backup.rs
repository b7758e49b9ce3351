//! `trunkline backup` and `trunkline restore`: a cell's database and log together.

use crate::{
    app::backup::{self, Manifest, RestoreOptions, Restored},
    config::Settings,
    domain::CellId,
};
use clap::Args;
use std::{path::PathBuf, process::ExitCode};

/// Save a cell's database, its log and other streams, and the buckets, while the node serves.
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Where the node keeps its database.
    #[arg(long, default_value = "data")]
    data: PathBuf,
    /// NATS that has the cell's streams.
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    nats: String,
    #[arg(long, default_value = "default")]
    cell: CellId,
    /// The folder to make. It will hold what names persons: protect it.
    #[arg(long)]
    to: PathBuf,
}

/// Put a backup back where nothing of its cell is. The node must not run.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup's folder.
    #[arg(long)]
    from: PathBuf,
    /// Where the node will keep its database.
    #[arg(long, default_value = "data")]
    data: PathBuf,
    /// NATS to restore the streams to. Without it, a nats-server is started on the store of the node's own.
    #[arg(long)]
    nats: Option<String>,
    /// The node's configuration, for the settings of its own nats-server.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Leave buckets that are there as they are, because other cells use them.
    #[arg(long)]
    keep_buckets: bool,
    /// Only read the backup and compare every file with its checksum.
    #[arg(long)]
    check: bool,
}

pub(super) async fn save(args: BackupArgs) -> anyhow::Result<ExitCode> {
    let manifest = backup::backup(&args.nats, &args.data, &args.cell, &args.to).await?;
    say(&manifest, &format!("saved to {}", args.to.display()));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn restore(args: RestoreArgs) -> anyhow::Result<ExitCode> {
    if args.check {
        let manifest = Manifest::read(&args.from).await?;
        manifest.check(&args.from).await?;
        say(&manifest, "whole");
        return Ok(ExitCode::SUCCESS);
    }
    let mut settings = Settings::read(args.config.as_deref())?;
    settings.nats.url = args.nats.or(settings.nats.url);
    settings.data = args.data;
    // A node that owns no cell has no nats-server of its own.
    settings.roles = vec!["tracker".to_owned()];
    let options = RestoreOptions { from: args.from, keep_buckets: args.keep_buckets };
    let Restored { manifest, database, kept, epoch } = backup::restore(&settings.check()?, options).await?;
    say(&manifest, &format!("restored to {}, epoch {epoch}", database.display()));
    if !kept.is_empty() {
        say_line(&format!("left as they were: {}", kept.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
}

fn say(manifest: &Manifest, what: &str) {
    let log = manifest.streams.first().map_or(0, |s| s.figures.last_seq);
    say_line(&format!(
        "cell {}: {what}; {} streams, {} bytes, database at {} of the log's {log}\nstate hash {}",
        manifest.cell,
        manifest.streams.len(),
        manifest.bytes(),
        manifest.database.cursor,
        manifest.database.state_hash,
    ));
}

#[allow(clippy::print_stdout, reason = "this is the command's result")]
fn say_line(text: &str) {
    println!("{text}");
}
