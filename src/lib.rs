//! Trunkline: real-time order tracking. Each active order is an actor whose state is a function of its cell's log.
//!
//! Layers, each importing only what stands to its left (`tests/tidy.rs` keeps it so):
//! `geo ← domain ← wire ← ports ← { nats, feed, publish, router, store, actors, auth, bridge } ← app ← cli ← main`.

pub mod actors;
pub mod app;
pub mod auth;
pub mod bridge;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod feed;
pub mod geo;
pub mod metrics;
pub mod nats;
pub mod ports;
pub mod publish;
pub mod router;
pub mod store;
pub mod wire;
