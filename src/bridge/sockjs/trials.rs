//! Base URLs for tests: those that the protocol's tests ask for, which echo or close at once, and one that speaks the session's
//! own language. On loopback only, and only where the configuration says so.

use super::{Mount, Speaks, Talk, identity::Opening};
use crate::bridge::{
    Inner,
    json::Json,
    link::{Gone, Incoming, Link, Message},
};
use futures::future::BoxFuture;
use std::{future::poll_fn, sync::Arc, task::Poll};

/// Responses end after so many bytes, as the protocol's tests ask.
const RESPONSE_LIMIT: usize = 4_096;

/// All of them.
pub(super) fn mounts() -> Vec<Mount> {
    let mount = |base, talk| Mount { raw_websocket: true, response_limit: RESPONSE_LIMIT, ..Mount::new(base, talk) };
    vec![
        mount("/echo", Arc::new(Echo)),
        Mount { websocket: false, raw_websocket: false, ..mount("/disabled_websocket_echo", Arc::new(Echo)) },
        Mount { cookie_needed: true, ..mount("/cookie_needed_echo", Arc::new(Echo)) },
        mount("/close", Arc::new(Closes)),
        mount("/json", Arc::new(Speaks(|_| Json))),
    ]
}

/// Says what it hears.
#[derive(Debug)]
struct Echo;

impl Talk for Echo {
    fn begin(&self, bridge: Arc<Inner>, _: Opening, mut link: Box<dyn Link>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            tokio::select! {
                _ = echo(&mut link) => {}
                () = bridge.cancel.cancelled() => link.close(1001, "going away"),
            }
            say_goodbye(&bridge, link).await;
        })
    }
}

/// What waits for a listener and isn't read meanwhile.
const WAITING_MAX: usize = 1_024;

async fn echo(link: &mut Box<dyn Link>) -> Result<(), Gone> {
    let mut waiting = Vec::new();
    loop {
        let heard = poll_fn(|cx| {
            if link.poll_flush(cx)?.is_ready() && !waiting.is_empty() {
                link.queue(std::mem::take(&mut waiting));
                let _ = link.poll_flush(cx)?;
            }
            if waiting.len() < WAITING_MAX { link.poll_recv(cx) } else { Poll::Pending }
        });
        if let Incoming::Text(text) = heard.await? {
            waiting.push(Message::own(text));
        }
    }
}

/// Closes at once.
#[derive(Debug)]
struct Closes;

impl Talk for Closes {
    fn begin(&self, bridge: Arc<Inner>, _: Opening, mut link: Box<dyn Link>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            link.close(3000, "Go away!");
            say_goodbye(&bridge, link).await;
        })
    }
}

async fn say_goodbye(bridge: &Inner, mut link: Box<dyn Link>) {
    let rest = async {
        if poll_fn(|cx| link.poll_flush(cx)).await.is_ok() {
            poll_fn(|cx| link.poll_linger(cx)).await;
        }
    };
    let _ = tokio::time::timeout(bridge.options.close_timeout, rest).await;
}
