//! `trunkline doctor`: what an operator asks of a cell's database.

use crate::{
    app::{self, RebuildOptions},
    domain::CellId,
    store::{StateHash, state_hash},
};
use clap::Args;
use std::{path::PathBuf, process::ExitCode};

/// Look into a cell's database.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("task").required(true))]
pub(super) struct DoctorArgs {
    /// Print the hash of the state in this database: equal for equal logs, however they were read.
    #[arg(long, value_name = "DB", group = "task")]
    state_hash: Option<PathBuf>,
    /// Read the whole log into a fresh database under --data and print its state hash. Serves nobody meanwhile.
    #[arg(long, group = "task", requires = "nats", requires = "data")]
    rebuild: bool,
    /// With --rebuild: NATS that has the log.
    #[arg(long)]
    nats: Option<String>,
    /// With --rebuild: where the fresh database goes.
    #[arg(long)]
    data: Option<PathBuf>,
    /// With --rebuild: the cell.
    #[arg(long, default_value = "default")]
    cell: CellId,
    /// With --rebuild: most log entries in a batch.
    #[arg(long, default_value_t = 1_000)]
    batch: usize,
    /// With --rebuild: let every order actor go after each batch.
    #[arg(long)]
    passivate_each: bool,
    /// With --state-hash: print a hash per table too.
    #[arg(long)]
    tables: bool,
}

pub(super) async fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let path = match (args.state_hash, args.nats, args.data) {
        (Some(path), ..) => path,
        (None, Some(nats), Some(data)) => {
            let options = RebuildOptions { cell: args.cell, batch: args.batch, passivate_each: args.passivate_each };
            app::rebuild(&nats, &data, options).await?
        }
        (None, ..) => anyhow::bail!("--rebuild needs --nats and --data"),
    };
    print(&tokio::task::spawn_blocking(move || state_hash(&path)).await??, args.tables);
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout, reason = "this is the command's result")]
fn print(hash: &StateHash, tables: bool) {
    if tables {
        for table in &hash.tables {
            println!("{table}");
        }
    }
    println!("{hash}");
}
