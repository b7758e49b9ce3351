//! The parts that speak NATS, each against a nats-server of its own that is killed, restarted and robbed of its store.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests measure and spawn")]

mod alerts;
mod backup;
mod bad_input;
mod boards;
mod cells;
mod dead;
mod epoch;
mod feed;
mod harness;
mod history;
mod lost_update;
mod node;
mod outbox;
mod owner;
mod ownership_full_disk;
mod ownership_restart;
mod places;
mod reload;
mod replay;
mod routes;
mod screen;
mod server;
mod sessions;
mod snapshot;
mod spine;
mod spine_expiry;
mod spine_keys;
mod spine_memory;
mod spine_personal;
mod storms;
mod timers;
mod tokens;
mod views;
mod world;
