//! Requests under a base URL: what each asks for is parsed once, then served from this node's session or from another's.

use super::{
    Mount,
    framing::{self, BUSY, Callback, Shape},
    hosting::admits,
    identity::Presented,
    pages,
    paths::{Target, Transport, target},
    peers::{Answer, Ask, Bearer, PeersError, SessionKey},
    rack::OpenError,
    remote::{ASK_TIMEOUT, RemoteReceiver},
    session::{Refused, Untaken},
    socket,
};
use crate::{
    bridge::{Inner, reject::Rejection},
    wire::problem::Problem,
};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use std::{io, sync::Arc};

/// A response's bytes. An error breaks it.
type Chunks = BoxStream<'static, io::Result<Bytes>>;

/// Serves one request.
pub(super) async fn enter(bridge: Arc<Inner>, mount: Arc<Mount>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let Some(target) = path.strip_prefix(mount.base).and_then(target) else { return pages::not_found() };
    if !target.allows(&parts.method) {
        return pages::not_allowed(target.allow());
    }
    let asks_first = parts.method == Method::OPTIONS;
    let (response, shared) = match target {
        Target::Greeting => return pages::greeting(),
        Target::Iframe => return pages::iframe(&bridge.options.sockjs.client_url, &parts.headers),
        Target::Info if asks_first => (pages::preflight(target.allow()), true),
        Target::Info => (never_kept(pages::info(mount.websocket, mount.cookie_needed)), true),
        Target::RawWebSocket if mount.raw_websocket => return socket::raw(bridge, mount, parts).await,
        Target::Session { transport: Transport::WebSocket, .. } if mount.websocket => {
            return socket::framed(bridge, mount, parts).await;
        }
        Target::RawWebSocket | Target::Session { transport: Transport::WebSocket, .. } => return pages::not_found(),
        Target::Session { transport, id } => {
            let key = SessionKey::new(mount.base, id);
            let shared = matches!(transport, Transport::Xhr | Transport::XhrStreaming | Transport::XhrSend);
            let mut response = if asks_first {
                pages::preflight(target.allow())
            } else {
                let served = session(&bridge, &mount, &mut parts, body, key, transport).await;
                never_kept(served.unwrap_or_else(|response| response))
            };
            if mount.cookie_needed {
                pages::stick(response.headers_mut(), &parts.headers);
            }
            (response, shared)
        }
    };
    if shared { share(response, &parts.headers) } else { response }
}

fn never_kept(mut response: Response) -> Response {
    pages::never_keep(response.headers_mut());
    response
}

fn share(mut response: Response, request: &HeaderMap) -> Response {
    pages::share(response.headers_mut(), request);
    response
}

/// One request of a session.
async fn session(
    bridge: &Arc<Inner>,
    mount: &Arc<Mount>,
    parts: &mut Parts,
    body: Body,
    key: SessionKey,
    transport: Transport,
) -> Result<Response, Response> {
    let callback = Callback::of(parts.uri.query());
    let shape = match transport {
        Transport::Xhr => Shape::XhrPolling,
        Transport::XhrStreaming => Shape::XhrStreaming,
        Transport::EventSource => Shape::EventSource,
        Transport::HtmlFile => Shape::HtmlFile(callback.map_err(IntoResponse::into_response)?),
        Transport::Jsonp => Shape::JsonpPolling(callback.map_err(IntoResponse::into_response)?),
        Transport::XhrSend => {
            let body = read(bridge, body).await?;
            let texts = framing::texts(&body).map_err(IntoResponse::into_response)?;
            send(bridge, parts, &key, texts).await?;
            // With a type, though there is nothing: some browsers take it for XML otherwise.
            return Ok(pages::text(StatusCode::NO_CONTENT, ""));
        }
        Transport::JsonpSend => {
            let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
            let is_form = kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
            let payload = framing::jsonp_payload(&read(bridge, body).await?, is_form);
            let texts = framing::texts(&payload).map_err(IntoResponse::into_response)?;
            send(bridge, parts, &key, texts).await?;
            return Ok(pages::text(StatusCode::OK, "ok"));
        }
        // Served before it came here.
        Transport::WebSocket => return Err(pages::not_found()),
    };
    let chunks = receive(bridge, mount, parts, key, &shape).await?;
    respond(&shape, chunks).await
}

/// A response of these bytes: polls have one frame and its length, streams go on.
async fn respond(shape: &Shape, mut chunks: Chunks) -> Result<Response, Response> {
    let body = if shape.is_polling() {
        let mut whole = Vec::new();
        while let Some(chunk) = chunks.next().await {
            whole.extend_from_slice(&chunk.map_err(|error| unavailable(&error.to_string()))?);
        }
        Body::from(whole)
    } else {
        let prelude = shape.prelude();
        Body::from_stream(stream::once(std::future::ready(Ok(prelude))).chain(chunks))
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(shape.content_type()));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// A body of messages, within its bounds of size and time.
async fn read(bridge: &Inner, body: Body) -> Result<Bytes, Response> {
    let read = axum::body::to_bytes(body, bridge.options.sockjs.send_max_bytes);
    match tokio::time::timeout(bridge.options.body_timeout, read).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(pages::text(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large.")),
        Err(_) => Err(pages::text(StatusCode::REQUEST_TIMEOUT, "Payload too slow.")),
    }
}

/// Attaches a receiver to the session, which it opens if there is none.
async fn receive(
    bridge: &Arc<Inner>,
    mount: &Arc<Mount>,
    parts: &mut Parts,
    key: SessionKey,
    shape: &Shape,
) -> Result<Chunks, Response> {
    let rack = &bridge.sockjs.rack;
    let presented = presented(bridge, parts).await?;
    let limit = if shape.is_polling() { 1 } else { mount.response_limit };
    let mut here = rack.held(&key);
    if here.is_none() {
        let receiver = uuid::Uuid::now_v7().as_u128();
        // It may be an opening, and who opens is told what is wrong with a token.
        let bearer = presented.bearer(bridge).await.map_err(IntoResponse::into_response)?;
        let attach = Ask::Attach { bearer, receiver, shape: shape.clone(), limit: limit as u64 };
        match rack.peers().ask(&key, attach, ASK_TIMEOUT).await {
            Ok(Some(Answer::Unknown)) => return Err(pages::not_found()),
            Ok(Some(first)) => {
                let (peers, tracker) = (rack.peers().clone(), rack.tracker());
                return Ok(RemoteReceiver::start(peers, key, receiver, first, tracker).boxed());
            }
            Ok(None) => {}
            Err(error) => return Err(unavailable(&error.to_string())),
        }
        let opening = presented.opening(bridge).await.map_err(IntoResponse::into_response)?;
        let opener = opening.bearer();
        let converse = |link| mount.talk.begin(bridge.clone(), opening, Box::new(link));
        here = Some(rack.open(key, opener, shape.name(), converse).await.map_err(|error| match error {
            OpenError::NotYours => pages::not_found(),
            OpenError::Full | OpenError::Peers(_) => unavailable(&error.to_string()),
        })?);
    } else if let Some(held) = &here {
        if !admits(held.bearer, bearer(bridge, &presented).await?) {
            return Err(pages::not_found());
        }
        // What the client sends next may reach another node.
        held.listening().await.map_err(|PeersError(error)| unavailable(&error))?;
    }
    let Some(held) = here else { return Err(pages::not_found()) };
    match held.seat.attach(shape, limit, rack.timing().grace).await {
        Ok(receiver) => Ok(receiver.map(Ok).boxed()),
        Err(Refused::Busy) => {
            let close = shape.wrap(&framing::close(BUSY.0, BUSY.1));
            Ok(stream::once(std::future::ready(Ok(close))).boxed())
        }
        // It timed out while this request was on its way.
        Err(Refused::Over) => Err(pages::not_found()),
    }
}

/// Brings a client's messages to the session.
async fn send(bridge: &Arc<Inner>, parts: &mut Parts, key: &SessionKey, texts: Vec<String>) -> Result<(), Response> {
    let rack = &bridge.sockjs.rack;
    let presented = presented(bridge, parts).await?;
    let bearer = bearer(bridge, &presented).await?;
    let answer = match rack.held(key) {
        Some(held) if !admits(held.bearer, bearer) => Answer::Unknown,
        Some(held) => match held.seat.push(texts, rack.timing().push_patience).await {
            Ok(()) => Answer::Taken,
            Err(Untaken::Full) => Answer::Full,
            Err(Untaken::Closed) => Answer::Unknown,
        },
        None => {
            let asked = rack.peers().ask(key, Ask::Send { bearer, texts }, ASK_TIMEOUT).await;
            asked.map_err(|PeersError(error)| unavailable(&error))?.unwrap_or(Answer::Unknown)
        }
    };
    match answer {
        Answer::Taken => Ok(()),
        Answer::Full => Err(unavailable("too many messages wait")),
        Answer::Unknown | Answer::Chunk { .. } | Answer::Nothing => Err(pages::not_found()),
    }
}

async fn presented(bridge: &Arc<Inner>, parts: &mut Parts) -> Result<Presented, Response> {
    Presented::of(parts, bridge).await.map_err(IntoResponse::into_response)
}

/// Who uses a session. Bad credentials are answered like somebody else's.
async fn bearer(bridge: &Inner, presented: &Presented) -> Result<Option<Bearer>, Response> {
    presented.bearer(bridge).await.map_err(|Rejection(problem)| match problem.status {
        503 => Rejection(problem).into_response(),
        _ => pages::not_found(),
    })
}

fn unavailable(detail: &str) -> Response {
    Rejection::from(Problem::new(503, "unavailable", "Sessions can't be reached now").with_detail(detail))
        .into_response()
}
