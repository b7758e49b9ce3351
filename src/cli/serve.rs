//! `trunkline serve`.

use crate::{
    app::App,
    config::{Config, Settings},
};
use clap::Args;
use std::{path::PathBuf, process::ExitCode};

/// Run a node. Settings come from the defaults, the file, the environment (`TRUNKLINE_HTTP__ADDR=…`) and these flags, each
/// over the one before.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// A TOML file.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Where to listen for clients.
    #[arg(long)]
    http: Option<String>,
    /// NATS to use. Without it, a nats-server of our own is started and supervised.
    #[arg(long)]
    nats: Option<String>,
    /// Where the database (and our own nats-server's store) is kept.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The cell that this node owns or serves.
    #[arg(long)]
    cell: Option<String>,
    /// `tracker`, `bridge` or both.
    #[arg(long, value_delimiter = ',')]
    roles: Option<Vec<String>>,
    /// Listen on an address that isn't loopback although there is no authentication yet.
    #[arg(long)]
    insecure: bool,
}

impl ServeArgs {
    fn config(self) -> Result<Config, crate::config::ConfigError> {
        let mut settings = Settings::read(self.config.as_deref())?;
        settings.http.addr = self.http.unwrap_or(settings.http.addr);
        settings.http.insecure |= self.insecure;
        settings.nats.url = self.nats.or(settings.nats.url);
        settings.data = self.data.unwrap_or(settings.data);
        settings.cell = self.cell.unwrap_or(settings.cell);
        settings.roles = self.roles.unwrap_or(settings.roles);
        settings.check()
    }
}

/// Runs until it is interrupted.
pub(super) async fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let app = App::start(args.config()?).await?;
    super::interrupted().await;
    tracing::info!("shutting down");
    app.stop().await;
    Ok(ExitCode::SUCCESS)
}
