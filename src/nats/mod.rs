//! NATS as Trunkline uses it: the connection, the streams and buckets that have to be there, the owner's epoch, and
//! nats-server itself where nobody else runs one.
//!
//! Everything else that speaks NATS (`feed`, `publish`, the bridge) builds on these and on async-nats directly.

pub mod client;
pub mod dead;
pub mod epoch;
pub mod server;
pub mod snapshot;
pub mod streams;

pub use client::{NatsError, Options, connect, ready};
