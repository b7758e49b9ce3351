//! The client that stalls: it follows all orders, stops reading when it is told to, and reads again. What it has is merged
//! as a page would merge it, so that at the end it can be held against what the owner has said.

use crate::{
    cli::bench::{
        owner::{self, Owner},
        socket::{Heard, Socket},
    },
    wire::{
        client::{ClientFrame, Recovery, ServerFrame},
        merge,
    },
};
use anyhow::{Context as _, bail, ensure};
use parking_lot::Mutex;
use serde_json::Value;
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Between a close and the next attempt.
const RECONNECT: Duration = Duration::from_millis(200);

/// An order as the client has it.
#[derive(Clone, Debug, Default)]
struct Had {
    epoch: u64,
    version: u64,
    state: Value,
}

/// What happened to it in a round.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    /// Deltas and snapshots that came.
    pub(super) frames: u64,
    /// Deltas that covered more than one version: what they left out was conflated.
    pub(super) conflated: u64,
    /// Close codes.
    pub(super) closed: Vec<u16>,
    pub(super) resumed: u64,
    pub(super) reset: u64,
    /// Deltas that didn't begin where the client was: none is ever right.
    pub(super) gaps: u64,
}

#[derive(Debug, Default)]
struct Page {
    orders: BTreeMap<String, Had>,
    story: Story,
}

/// Seen from outside.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader {
    page: Arc<Mutex<Page>>,
}

impl Reader {
    /// Reads whenever `stalled` says no; ends with an error only.
    pub(super) async fn read(
        self,
        addr: SocketAddr,
        orders: u32,
        mut stalled: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        loop {
            let mut socket = self.follow(addr, orders).await?;
            let code = loop {
                stalled.wait_for(|stalled| !stalled).await.context("the round is over")?;
                let mut closed = None;
                let mut wrong = None;
                let read = socket.hear(|heard| match heard {
                    Heard::Text(text) => wrong = wrong.take().or(self.page.lock().take(text).err()),
                    Heard::Close(code) => closed = Some(code),
                    Heard::Ping(_) | Heard::Other => {}
                });
                let going_on = tokio::select! {
                    read = read => read,
                    // Amid a wait, not amid a read.
                    _ = stalled.wait_for(|&stalled| stalled) => Ok(true),
                };
                if let Some(wrong) = wrong {
                    return Err(wrong);
                }
                match (going_on, closed) {
                    (Ok(true), None) => {}
                    // 1006: it ended without a word.
                    (Ok(_), code) => break code.unwrap_or(1006),
                    (Err(_), code) => break code.unwrap_or(1006),
                }
            };
            self.page.lock().story.closed.push(code);
            ensure!(code == 1006 || code < 4200, "closed with {code}, which is not to be come back from");
            tokio::time::sleep(RECONNECT).await;
        }
    }

    /// Connects and asks for each order from where it is.
    async fn follow(&self, addr: SocketAddr, orders: u32) -> anyhow::Result<Socket> {
        let mut socket = Socket::open(addr, "/v1/ws?role=customer").await?;
        for n in 0..orders {
            let topic = format!("order/{}", owner::order(n));
            let had = self.page.lock().orders.get(&topic).map(|had| (had.epoch, had.version));
            let (epoch, version) = had.unzip();
            let follow = ClientFrame::Subscribe { topic, version, epoch, bounds: None };
            socket.say(&serde_json::to_string(&follow)?).await?;
        }
        Ok(socket)
    }

    /// What happened since the last time.
    pub(super) fn story(&self) -> Story {
        std::mem::take(&mut self.page.lock().story)
    }

    /// How many of the orders aren't as the owner has them now.
    pub(super) fn behind(&self, owner: &Owner, orders: u32) -> anyhow::Result<u32> {
        let page = self.page.lock();
        let mut behind = 0;
        for n in 0..orders {
            let (version, position) = owner.now(n)?;
            let had = page.orders.get(&format!("order/{}", owner::order(n)));
            let same = had.is_some_and(|had| had.version == version && had.state.get("position") == Some(&position));
            behind += u32::from(!same);
        }
        Ok(behind)
    }
}

impl Page {
    fn take(&mut self, text: &[u8]) -> anyhow::Result<()> {
        match serde_json::from_slice(text)? {
            ServerFrame::Snapshot { topic, epoch, version, state, .. } => {
                self.story.frames += 1;
                self.orders.insert(topic, Had { epoch, version, state });
            }
            ServerFrame::Delta { topic, from, to, patch, .. } => {
                self.story.frames += 1;
                self.story.conflated += u64::from(to > from + 1);
                let had = self.orders.entry(topic).or_default();
                self.story.gaps += u64::from(had.version != from);
                merge::patch(&mut had.state, &patch);
                had.version = to;
            }
            ServerFrame::Subscribed { recovery, .. } => match recovery {
                Recovery::Resumed => self.story.resumed += 1,
                Recovery::Reset => self.story.reset += 1,
                Recovery::Fresh => {}
            },
            ServerFrame::Error { problem, .. } => bail!("{}", problem.title),
            ServerFrame::Hello { .. }
            | ServerFrame::Authenticated { .. }
            | ServerFrame::Expired { .. }
            | ServerFrame::GoingAway { .. }
            | ServerFrame::Unsubscribed { .. }
            | ServerFrame::Heartbeat { .. }
            | ServerFrame::Pong { .. }
            | ServerFrame::Replay(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_merges_and_notices_a_gap() {
        let mut page = Page::default();
        for text in [
            r#"{"type":"snapshot","topic":"order/a","epoch":1,"version":5,"at_ms":1,"state":{"position":{"lat":1.0,"x":2}}}"#,
            r#"{"type":"delta","topic":"order/a","epoch":1,"from":5,"to":8,"at_ms":1,"patch":{"position":{"lat":2.0}}}"#,
            r#"{"type":"delta","topic":"order/a","epoch":1,"from":9,"to":10,"at_ms":1,"patch":{}}"#,
        ] {
            page.take(text.as_bytes()).unwrap();
        }
        assert_eq!(page.orders["order/a"].state, serde_json::json!({"position": {"lat": 2.0, "x": 2}}));
        assert_eq!((page.story.frames, page.story.conflated, page.story.gaps), (3, 1, 1));
        assert!(page.take(b"{").is_err());
    }
}
