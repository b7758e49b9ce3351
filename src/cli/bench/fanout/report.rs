//! What is printed and kept of it.

use super::{Shape, measure::Turn};
use crate::cli::{bench::figures::Spread, outside::say};
use serde::Serialize;

/// Of Must show: less CPU than both; of the design's goals: at most so much of Nchan's, and so many kB.
const OF_NCHAN: f64 = 0.75;
const IDLE_MAX_KB: f64 = 8.0;
/// Frames that must arrive for a turn to count.
const DELIVERED_MIN: f64 = 0.99;
const IDLE_GOAL_KB: f64 = 7.0;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    cores: usize,
    frame_bytes: u32,
    trunkline: &'static str,
    peers: Vec<String>,
    pub(super) shapes: Vec<Measured>,
    pub(super) idle: Vec<Idle>,
}

/// A shape, on every server.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) shape: Shape,
    #[serde(skip)]
    pub(super) name: &'static str,
    pub(super) servers: Vec<Turns>,
}

/// Medians of one server's turns.
#[derive(Debug, Serialize)]
pub(super) struct Turns {
    server: &'static str,
    cpu_us_per_frame: f64,
    cpu_us_per_frame_min: f64,
    cpu_us_per_frame_max: f64,
    delivered: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Turns {
    pub(super) fn new(server: &'static str, turns: &[Turn]) -> Self {
        let of = |figure: fn(&Turn) -> f64| Spread::of(turns.iter().map(figure));
        let cpu = of(|t| t.cpu_us_per_frame);
        Self {
            server,
            cpu_us_per_frame: cpu.median,
            cpu_us_per_frame_min: cpu.min,
            cpu_us_per_frame_max: cpu.max,
            delivered: of(|t| t.delivered).median,
            p50_ms: of(|t| t.latency.p50_ms).median,
            p99_ms: of(|t| t.latency.p99_ms).median,
        }
    }
}

/// Memory of idle connections on one server.
#[derive(Debug, Serialize)]
pub(super) struct Idle {
    server: &'static str,
    how: &'static str,
    before_kb: f64,
    after_kb: f64,
    per_connection_kb: f64,
}

impl Idle {
    pub(super) fn new(
        server: &'static str,
        how: &'static str,
        before_kb: f64,
        after_kb: f64,
        connections: u32,
    ) -> Self {
        let per_connection_kb = (after_kb - before_kb) / f64::from(connections);
        say(format_args!("  {server:13} {how:28} {per_connection_kb:6.2} kB ({before_kb:.0}, then {after_kb:.0})"));
        Self { server, how, before_kb, after_kb, per_connection_kb }
    }
}

impl Report {
    pub(super) fn new(frame_bytes: u32, peers: Vec<String>) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let trunkline = env!("CARGO_PKG_VERSION");
        Self { cores, frame_bytes, trunkline, peers, shapes: Vec::new(), idle: Vec::new() }
    }

    /// The table and the verdicts; true if none says MISSED.
    pub(super) fn print(&self) -> bool {
        let beside = if self.peers.is_empty() { "nobody".to_owned() } else { self.peers.join(", ") };
        say(format_args!(
            "server CPU per frame of {} B delivered, medians (least to most); beside {beside}",
            self.frame_bytes
        ));
        let mut met = true;
        for Measured { shape, name, servers } in &self.shapes {
            say(format_args!("  {name}"));
            for t in servers {
                say(format_args!(
                    "    {:13} {:6.2} µs ({:.2} to {:.2}), p50 {:.2} ms, p99 {:.2} ms, delivered {:.1} %",
                    t.server,
                    t.cpu_us_per_frame,
                    t.cpu_us_per_frame_min,
                    t.cpu_us_per_frame_max,
                    t.p50_ms,
                    t.p99_ms,
                    t.delivered * 100.0
                ));
            }
            // A server that leaves frames out has less to do for each that it delivers.
            for t in servers.iter().filter(|t| t.delivered < DELIVERED_MIN) {
                met = false;
                say(format_args!("    {} delivered too few to be compared: MISSED", t.server));
            }
            let Some((ours, peers)) = servers.split_first() else { continue };
            for peer in peers {
                let ratio = ours.cpu_us_per_frame / peer.cpu_us_per_frame;
                let goal = if peer.server == "nchan" { format!(", goal {OF_NCHAN}") } else { String::new() };
                if *shape == Shape::Life {
                    // An update of its own for each frame: the others pass bytes on, ours keeps an order's state.
                    say(format_args!("    ours / {}: {ratio:.2}", peer.server));
                    continue;
                }
                met &= ratio < 1.0;
                say(format_args!(
                    "    ours / {}: {ratio:.2} (less than 1{goal}): {}",
                    peer.server,
                    verdict(ratio < 1.0)
                ));
            }
        }
        if !self.idle.is_empty() {
            say("resident kB per idle connection of a fresh process");
        }
        let ours = self.idle.first().map(|idle| idle.server);
        for idle in &self.idle {
            let Idle { server, how, per_connection_kb, .. } = idle;
            // With an order each, the orders' states are in the figure as well: printed, beside the others' empty channels.
            let judged = if Some(*server) == ours && !how.ends_with("each") {
                met &= *per_connection_kb <= IDLE_MAX_KB;
                let verdict = verdict(*per_connection_kb <= IDLE_MAX_KB);
                format!(" (at most {IDLE_MAX_KB}, goal {IDLE_GOAL_KB}): {verdict}")
            } else {
                String::new()
            };
            say(format_args!("  {server:13} {how:28} {per_connection_kb:6.2}{judged}"));
        }
        met
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}
