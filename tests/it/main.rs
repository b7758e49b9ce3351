//! Parts joined, without a broker.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests")]

mod access;
mod api;
mod boards;
mod check_views;
mod decisions;
mod fake;
mod frames;
mod history;
mod hub;
mod matrix;
mod recovery;
mod rest;
mod rig;
mod routes;
mod screens;
mod socket;
mod sockjs;
mod storms;
mod streams;
mod transports;
