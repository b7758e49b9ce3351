//! Where a benchmark works: a folder, a nats-server of its own, and what the kernel says of a process.

use super::super::outside::say;
use crate::{
    config::{Config, Settings},
    nats::server::{Launch, NatsServer},
};
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use tokio_util::task::TaskTracker;

/// A folder that goes when it is dropped, unless it was named.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    temporary: bool,
}

impl Place {
    pub(super) fn new(named: Option<PathBuf>) -> anyhow::Result<Self> {
        let temporary = named.is_none();
        let fresh = || std::env::temp_dir().join(format!("trunkline-bench-{}", uuid::Uuid::now_v7().simple()));
        let dir = named.unwrap_or_else(fresh);
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(Self { dir, temporary })
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A folder in it that is empty.
    pub(super) fn fresh(&self, name: &str) -> anyhow::Result<PathBuf> {
        let dir = self.dir.join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
        }
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(dir)
    }

    /// A nats-server with its store in the folder `name`, by the configuration that the product ships. What is stored
    /// there already is there again.
    pub(super) async fn nats(&self, name: &str, tasks: &TaskTracker) -> anyhow::Result<NatsServer> {
        let dir = self.dir.join(name);
        let launch = Launch { binary: None, config: None, dir, port: None, monitor_port: None };
        let server = NatsServer::start(launch, tasks).await?;
        say(format_args!("nats-server {} of its own at {}", server.version(), server.url()));
        Ok(server)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.temporary {
            // What can't be removed is left to the system's cleaning of temporary files.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// The configuration of a node on `nats_url`, with its files under `data`, listening on any free port of loopback.
pub(super) fn config(nats_url: &str, data: &Path, roles: &[&str]) -> anyhow::Result<Config> {
    let mut settings = Settings { data: data.to_owned(), ..Settings::default() };
    settings.nats.url = Some(nats_url.to_owned());
    settings.http.addr = "127.0.0.1:0".into();
    settings.http.insecure = true;
    settings.roles = roles.iter().map(|&role| role.to_owned()).collect();
    Ok(settings.check()?)
}

/// Ticks of `/proc/PID/stat` in a second: fixed in Linux's interface.
const TICKS_PER_S: f64 = 100.0;

/// CPU seconds that a process (`self` or a number) has used, where the kernel tells (Linux); else not a number.
pub(super) fn cpu_s(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name in brackets may hold spaces; user and system time are the 12th and 13th field behind it.
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    let ticks: Vec<f64> = behind.split_whitespace().skip(11).take(2).filter_map(|t| t.parse().ok()).collect();
    if ticks.len() == 2 { ticks.iter().sum::<f64>() / TICKS_PER_S } else { f64::NAN }
}

/// Resident memory of a process in kB, where the kernel tells.
pub(super) fn rss_kb(process: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_place_goes_and_a_named_one_stays() {
        let place = Place::new(None).unwrap();
        let dir = place.fresh("a").unwrap();
        std::fs::write(dir.join("f"), "x").unwrap();
        assert!(std::fs::read_dir(place.fresh("a").unwrap()).unwrap().next().is_none());
        drop(place);
        assert!(!dir.exists());

        let named = tempfile::tempdir().unwrap();
        drop(Place::new(Some(named.path().to_owned())).unwrap());
        assert!(named.path().exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_tells() {
        assert!(rss_kb("self") > 1_000.0 && cpu_s("self") >= 0.0);
        assert!(cpu_s("0").is_nan());
    }
}
