//! SockJS (protocol 0.3.3): messages both ways for pages whose network or browser allows no WebSocket, under a base URL.
//!
//! A [`Mount`] is one base URL and what is talked there: [`Talk`] begins a conversation over any [`Link`], and doesn't learn
//! which transport it is. A WebSocket is a link by itself; for all others the link is one end of a session that requests come
//! and go from. Such a session is on the node that it was opened at and is found from every other one by its id, so that no
//! load balancer needs to know of it.
//!
//! ```text
//! request ─▶ entry ─ here? ─▶ seat ◀─ link ◀─ conversation ◀─ outbox
//!              └─ elsewhere ─▶ peers (NATS) ─▶ hosting ─▶ seat
//! ```

mod entry;
pub mod framing;
mod hosting;
mod identity;
mod pages;
mod paths;
pub mod peers;
mod rack;
mod remote;
mod seat;
mod session;
mod socket;
mod trials;

pub(super) use identity::Opening;

use super::{
    Inner,
    connection::Connection,
    conversation::{self, Protocol},
    link::Link,
};
use axum::{
    Router,
    extract::{Request, State},
    routing::any,
};
use futures::future::BoxFuture;
use std::{fmt, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Settings, each with the reason for its default.
#[derive(Clone, Debug)]
pub struct Options {
    /// The protocol's own. Proxies cut idle connections at 60 s.
    pub heartbeat: Duration,
    /// The protocol's own: how long a session waits for its next receiver.
    pub disconnect_after: Duration,
    /// A body of messages: clients split what is larger than some 16 kB.
    pub send_max_bytes: usize,
    /// A WebSocket message, which may hold as much as a body.
    pub message_max_bytes: usize,
    /// Messages, and their bytes, that wait to be read: a conversation reads as they come.
    pub inbound_max: usize,
    pub inbound_max_bytes: usize,
    /// How long a body waits for room, well below what browsers wait for an answer.
    pub push_patience: Duration,
    /// How long a second receiver waits for the first to be gone: news of that may be under way between nodes.
    pub grace: Duration,
    /// Sessions without WebSocket at once; one costs a task, a subscription and its outbox.
    pub sessions_max: usize,
    /// How long receivers get for their close frames when the node stops.
    pub last_words: Duration,
    /// Where the page for frames of other sites finds the client library.
    pub client_url: String,
    /// Serve what the protocol's tests ask for.
    pub test_services: bool,
}

/// The protocol's own: after so many bytes a streaming response ends, for browsers keep all of it.
const RESPONSE_LIMIT: usize = 128 << 10;

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(25),
            disconnect_after: Duration::from_secs(5),
            send_max_bytes: 256 << 10,
            message_max_bytes: 256 << 10,
            inbound_max: 1_024,
            inbound_max_bytes: 256 << 10,
            push_patience: Duration::from_secs(4),
            grace: Duration::from_millis(250),
            sessions_max: 20_000,
            last_words: Duration::from_secs(1),
            client_url: "/sockjs.min.js".into(),
            test_services: false,
        }
    }
}

/// What is talked under a base URL.
pub(super) trait Talk: Send + Sync + fmt::Debug + 'static {
    /// Begins a conversation; it lasts until the future resolves.
    fn begin(&self, bridge: Arc<Inner>, opening: Opening, link: Box<dyn Link>) -> BoxFuture<'static, ()>;
}

/// A conversation of this protocol with the session behind it.
pub(super) struct Speaks<P>(pub(super) fn(&Inner) -> P);

impl<P> fmt::Debug for Speaks<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Speaks")
    }
}

impl<P: Protocol> Talk for Speaks<P> {
    fn begin(&self, bridge: Arc<Inner>, opening: Opening, link: Box<dyn Link>) -> BoxFuture<'static, ()> {
        let protocol = (self.0)(&bridge);
        let connection = Connection::open(bridge, opening.datum);
        Box::pin(conversation::run(connection, opening.who, protocol, link))
    }
}

/// A base URL.
#[derive(Debug)]
pub(super) struct Mount {
    /// Its path, without a slash at the end.
    pub(super) base: &'static str,
    pub(super) websocket: bool,
    /// Whether there is a WebSocket without framing as well. The product's STOMP has a route of its own for that.
    pub(super) raw_websocket: bool,
    /// Whether clients get a cookie for load balancers that need one.
    pub(super) cookie_needed: bool,
    /// Bytes after which a streaming response ends.
    pub(super) response_limit: usize,
    pub(super) talk: Arc<dyn Talk>,
}

impl Mount {
    /// As the product serves it: all of SockJS's transports, no cookie.
    pub(super) fn new(base: &'static str, talk: Arc<dyn Talk>) -> Self {
        let (websocket, raw_websocket, cookie_needed) = (true, false, false);
        Self { base, websocket, raw_websocket, cookie_needed, response_limit: RESPONSE_LIMIT, talk }
    }
}

/// What a bridge holds of SockJS.
#[derive(Debug)]
pub(crate) struct Sockjs {
    rack: rack::Rack,
    mounts: Vec<Arc<Mount>>,
}

impl Sockjs {
    /// `talks`: the product's own, by base.
    pub(super) fn new(
        options: &Options,
        talks: Vec<Mount>,
        peers: Arc<dyn peers::Peers>,
        (tracker, cancel): (&TaskTracker, &CancellationToken),
    ) -> Self {
        let trials = if options.test_services { trials::mounts() } else { Vec::new() };
        let mounts = talks.into_iter().chain(trials).map(Arc::new).collect();
        Self { rack: rack::Rack::new(options, peers, tracker.clone(), cancel.clone()), mounts }
    }
}

/// Routes of all base URLs.
pub(super) fn routes(bridge: &Arc<Inner>) -> Router<Arc<Inner>> {
    let mut router = Router::new();
    for mount in &bridge.sockjs.mounts {
        let enter = {
            let mount = mount.clone();
            move |State(bridge): State<Arc<Inner>>, request: Request| entry::enter(bridge, mount.clone(), request)
        };
        router = router
            .route(mount.base, any(enter.clone()))
            .route(&format!("{}/", mount.base), any(enter.clone()))
            .route(&format!("{}/{{*rest}}", mount.base), any(enter));
    }
    router
}
