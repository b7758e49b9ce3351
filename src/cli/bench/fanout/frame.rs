//! The frame that all servers deliver: one update of a position, as our bridge says it, of one length whatever it holds.

use super::super::owner::{self, EPOCH, FIRST_VERSION};
use crate::{
    domain::UnixMillis,
    wire::{client::ServerFrame, topic::Topic},
};
use serde_json::Value;

/// What `sent_us` counts from: so that it has the same number of digits all the time.
pub(super) const SENT_BASE_US: u64 = 1_000_000_000_000;

/// A position as JSON text, a new one for each `n`. `sent_us` comes last, also in an update's whole text. `pad` spaces it out.
pub(in crate::cli::bench) fn position(n: u32, sent_us: u64, pad: usize) -> String {
    let (lat, lon) = (n % 1_000, n % 997);
    // The number in front, so that no two in a row are equal and a delta holds all of it.
    format!(r#"{{"lat":31.2{lat:03}5,"lon":121.4{lon:03}5,"pad":"{n:010}{:pad$}","sent_us":{sent_us}}}"#, "")
}

/// The update's text, as the bridge would say it.
pub(super) fn text(channel: u32, position: &str) -> anyhow::Result<String> {
    let topic = Topic::Order(owner::order(channel).parse()?).to_string();
    // Its place comes later: a number of the same length stands for it.
    let patch: Value = serde_json::from_str(&format!(r#"{{"position":{position}}}"#))?;
    let (from, to) = (FIRST_VERSION, FIRST_VERSION + 1);
    let at_ms = UnixMillis(1_700_000_000_000);
    Ok(serde_json::to_string(&ServerFrame::Delta { topic, epoch: EPOCH, from, to, at_ms, patch })?)
}

/// How much a position is to be spaced out for an update of `bytes` bytes.
pub(super) fn pad(bytes: usize) -> anyhow::Result<usize> {
    let bare = text(0, &position(0, SENT_BASE_US, 0))?.len();
    bytes.checked_sub(bare).ok_or_else(|| anyhow::anyhow!("an update has at least {bare} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::socket::sent_us;

    #[test]
    fn all_frames_have_one_length_and_tell_when_they_were_sent() {
        let pad = pad(240).unwrap();
        for n in [0, 1, 999, 123_456, 4_000_000_000] {
            let text = text(n % 5_000, &position(n, SENT_BASE_US + u64::from(n), pad)).unwrap();
            assert_eq!((text.len(), sent_us(text.as_bytes())), (240, Some(SENT_BASE_US + u64::from(n))), "{text}");
        }
        assert!(super::pad(50).is_err());
    }
}
