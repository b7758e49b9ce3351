//! WebSockets: the handshake, the frames, and `/v1/ws`.

mod codec;
mod socket;

use super::{
    Inner,
    connection::Connection,
    conversation,
    gate::{self, SUBPROTOCOL},
    json::Json,
    params::Params,
    reject::{Query, Rejection},
    serve::Placed,
};
use crate::{
    geo::Datum,
    wire::{access::Principal, problem::Problem},
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use hyper_util::rt::TokioIo;
pub(super) use socket::Socket;
use std::sync::Arc;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

pub(super) async fn upgrade(
    State(bridge): State<Arc<Inner>>,
    Query(params): Query<Params>,
    request: Request,
) -> Result<Response, Rejection> {
    let (who, datum) = whose(&bridge, request.headers(), params).await?;
    let max = bridge.options.frame_max_bytes;
    // Never the offer that holds the token.
    accept(bridge.clone(), request, &[SUBPROTOCOL], ("ws", max), move |socket| async move {
        let connection = Connection::open(bridge, datum);
        // Frames are said as they are, so they may pass by.
        connection.outbox.open_lane(socket.lane());
        conversation::run(connection, who, Json, socket).await;
    })
}

/// Whose a connection is that may begin now, if its request says so, and the datum of its map. The query string has nothing
/// else.
pub(super) async fn whose(
    bridge: &Inner,
    headers: &HeaderMap,
    mut params: Params,
) -> Result<(Option<Arc<Principal>>, Datum), Rejection> {
    bridge.admit_session()?;
    let datum = gate::take_datum(&mut params)?;
    // A token that is there must be good; without one the first frame may bring it.
    let who = bridge.identify(headers, &Method::GET, &mut params).await?.map(Arc::new);
    params.end()?;
    Ok((who, datum))
}

/// Answers a WebSocket's handshake (RFC 6455, 4.2) and gives the socket to `run`, which the node's shutdown waits for.
/// `protocols`: ours, of which the first is taken that the client offers. `max`: the largest message.
pub(super) fn accept<F: Future<Output = ()> + Send + 'static>(
    bridge: Arc<Inner>,
    mut request: Request,
    protocols: &[&'static str],
    (transport, max): (&'static str, usize),
    run: impl FnOnce(Socket) -> F + Send + 'static,
) -> Result<Response, Rejection> {
    let (key, protocol) = handshake(&request, protocols)?;
    let upgrade = hyper::upgrade::on(&mut request);
    let tracker = bridge.tracker.clone();
    tracker.spawn(async move {
        // A peer that went away meanwhile, which is nobody's loss.
        let Ok(upgraded) = upgrade.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<Placed>>() else {
            return tracing::error!("an upgraded connection is none of this listener's");
        };
        // Not the buffer itself, of which this is a view: it would stay as long as the connection.
        let early = Bytes::copy_from_slice(&parts.read_buf);
        drop(parts.read_buf);
        let socket = Socket::new(parts.io.into_inner(), early, transport, max);
        // On the heap, and no larger than it is: this task's own frame would stay as large as the largest.
        Box::pin(run(socket)).await;
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok(response)
}

/// The handshake's key, and the first of `protocols` that the client offers.
fn handshake(request: &Request, protocols: &[&'static str]) -> Result<(HeaderValue, Option<&'static str>), Rejection> {
    let headers = request.headers();
    let bad = |status: u16, field: &str, detail: &str| -> Rejection {
        let problem = Problem::new(status, "no_websocket", "Not a WebSocket's handshake");
        problem.with_field(field).with_detail(detail).into()
    };
    if !has(headers, &header::CONNECTION, "upgrade") {
        return Err(bad(400, "Connection", "must be `Upgrade`"));
    }
    if !has(headers, &header::UPGRADE, "websocket") {
        return Err(bad(400, "Upgrade", "must be `websocket`"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(bad(426, "Sec-WebSocket-Version", "must be 13"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| bad(400, "Sec-WebSocket-Key", "is missing"))?;
    let offered = |protocol: &&&str| has(headers, &header::SEC_WEBSOCKET_PROTOCOL, protocol);
    Ok((key.clone(), protocols.iter().find(offered).copied()))
}

/// Whether a list of tokens has one.
pub(super) fn has(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}
