//! `/ws/websocket`: STOMP over a WebSocket of its own, without SockJS around it.

use super::{Stomp, session::Options, version::Version};
use crate::bridge::{
    Inner,
    connection::Connection,
    conversation,
    params::Params,
    reject::{Query, Rejection},
    ws,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use std::sync::Arc;

/// A message of a client: stock clients split at 8 or 16 KiB, some of them counting characters.
const MESSAGE_MAX: usize = 64 << 10;

impl Stomp {
    /// For a new connection of this bridge.
    pub(in crate::bridge) fn of(bridge: &Inner) -> Self {
        let heartbeat = *bridge.heartbeat.read();
        Self::new(Options { heartbeat, connect_within: bridge.options.authenticate_within })
    }
}

/// The subprotocol that a client offers is its own affair: which version is spoken says its CONNECT.
pub(in crate::bridge) async fn upgrade(
    State(bridge): State<Arc<Inner>>,
    Query(params): Query<Params>,
    request: Request,
) -> Result<Response, Rejection> {
    let (who, datum) = ws::whose(&bridge, request.headers(), params).await?;
    let protocols = [Version::V12, Version::V11, Version::V10].map(Version::subprotocol);
    ws::accept(bridge.clone(), request, &protocols, ("stomp", MESSAGE_MAX), move |socket| async move {
        let protocol = Stomp::of(&bridge);
        conversation::run(Connection::open(bridge, datum), who, protocol, socket).await;
    })
}
