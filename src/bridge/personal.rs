//! The bucket of personal data: contact, address text, notes, under the order's id and nowhere in the log, so that
//! erasing them is a purge of that key (and of `{order}.*`, what unanswered creates left).
//!
//! The data are written before the create is published, yet whose create takes effect only the log decides. So an entry
//! ([`Entry`]) names its create, and is joined to the order only once it is *settled*: when that create was
//! accepted. Who finds another's entry puts its own aside, under `{order}.{key}`. The accepted create settles its own,
//! wherever it stands; the refused one takes its own away; what a create without an answer leaves is shown to nobody, and
//! settled when the same create is repeated and accepted. A repetition finds its own entry and writes nothing; after an
//! erasure it writes nothing either, because the order exists. What becomes of edits is told in `edits`, how orders are found
//! by a telephone number in [`phones`].

mod edits;
pub mod phones;

use super::bucket::{Bucket, BucketError};
use crate::{
    domain::{KeyId, OrderId},
    wire::{
        command::hex,
        personal::{Entry, Personal},
    },
};
use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// What was written before a create was published, so that its outcome can settle it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Under the order's id, at this revision.
    InPlace(u64, Entry),
    /// Beside another create's.
    Aside(Entry),
    /// Nothing: the order exists, or a repetition found its own.
    Nothing,
}

/// The bucket.
#[derive(Clone, Debug)]
pub struct PersonalData {
    bucket: Arc<dyn Bucket>,
    /// The index by telephone numbers.
    phones: Option<Arc<dyn Bucket>>,
    /// An entry that can't be read was reported. Once is enough: it would be read at every look at its order.
    warned: Arc<AtomicBool>,
}

impl PersonalData {
    pub fn new(bucket: Arc<dyn Bucket>) -> Self {
        Self { bucket, phones: None, warned: Arc::default() }
    }

    /// What came with the order's create. An entry that can't be read is none: it must not hide the order.
    async fn created(&self, order: &OrderId) -> Result<Option<Personal>, BucketError> {
        let found = self.bucket.get(order.as_str()).await?;
        let entry = found.and_then(|(_, bytes)| self.read(order.as_str(), &bytes)).filter(|entry| entry.settled);
        Ok(entry.map(|entry| entry.data))
    }

    /// Before the create is published. `exists`: the owner knows the order already.
    pub async fn write(
        &self,
        order: &OrderId,
        key: KeyId,
        data: Personal,
        exists: bool,
    ) -> Result<Written, BucketError> {
        if exists {
            return Ok(Written::Nothing);
        }
        // Written even if empty: a repetition that brings other data must find that this create had none.
        let entry = Entry { by: hex(key), settled: false, data };
        if let Some(revision) = self.bucket.create(order.as_str(), encode(&entry)).await? {
            return Ok(Written::InPlace(revision, entry));
        }
        if self.own(order, key).await?.is_some() {
            return Ok(Written::Nothing);
        }
        // One that is there is this create's own, of an earlier try: it stays.
        let created = self.bucket.create(&aside(order, key), encode(&entry)).await?;
        Ok(created.map_or(Written::Nothing, |_| Written::Aside(entry)))
    }

    /// After the create's outcome. Repeating it is harmless.
    pub async fn settle(
        &self,
        order: &OrderId,
        key: KeyId,
        written: Written,
        accepted: bool,
    ) -> Result<(), BucketError> {
        let (place, aside) = (order.as_str(), aside(order, key));
        match (written, accepted) {
            (Written::InPlace(revision, _), false) => self.bucket.purge(place, Some(revision)).await.map(drop),
            (Written::Aside(_), false) => self.bucket.purge(&aside, None).await.map(drop),
            (Written::Nothing, false) => Ok(()),
            // Over what was written only: an erasure in between stays one.
            (Written::InPlace(revision, entry), true) => self.bucket.replace(place, settled(entry), revision).await,
            (Written::Aside(entry), true) => {
                self.bucket.put(place, settled(entry)).await?;
                self.bucket.purge(&aside, None).await.map(drop)
            }
            // An earlier try of the same create may have ended between outcome and settling.
            (Written::Nothing, true) => {
                if let Some((revision, entry)) = self.own(order, key).await? {
                    return if entry.settled {
                        Ok(())
                    } else {
                        self.bucket.replace(place, settled(entry), revision).await
                    };
                }
                let Some((_, bytes)) = self.bucket.get(&aside).await? else { return Ok(()) };
                if let Some(entry) = self.read(&aside, &bytes) {
                    self.bucket.put(place, settled(entry)).await?;
                }
                self.bucket.purge(&aside, None).await.map(drop)
            }
        }
    }

    /// The entry under the order's id, if it is of this create.
    async fn own(&self, order: &OrderId, key: KeyId) -> Result<Option<(u64, Entry)>, BucketError> {
        let Some((revision, bytes)) = self.bucket.get(order.as_str()).await? else { return Ok(None) };
        let entry = self.read(order.as_str(), &bytes).filter(|entry| entry.by == hex(key));
        Ok(entry.map(|entry| (revision, entry)))
    }

    fn read(&self, key: &str, bytes: &[u8]) -> Option<Entry> {
        match Entry::parse(bytes) {
            Ok(entry) => Some(entry),
            Err(error) => {
                if !self.warned.swap(true, Ordering::Relaxed) {
                    // The field, not what it holds: that may name somebody.
                    tracing::warn!(key, field = %error.field, "personal data that can't be read count as none; said once");
                }
                None
            }
        }
    }
}

fn encode(entry: &Entry) -> Bytes {
    // Ours always serialize: their maps have string keys.
    Bytes::from(serde_json::to_vec(entry).unwrap_or_default())
}

fn settled(entry: Entry) -> Bytes {
    encode(&Entry { settled: true, ..entry })
}

fn aside(order: &OrderId, key: KeyId) -> String {
    format!("{order}.{}", hex(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::bucket::MemoryBucket;

    fn at(address: &str) -> Personal {
        Personal { address: Some(address.into()), ..Personal::default() }
    }

    async fn address(data: &PersonalData, order: &OrderId) -> Option<String> {
        Some(data.of(order, &serde_json::Value::Null).await.unwrap()?["address"].as_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn only_the_accepted_create_is_kept_whoever_came_first() {
        let order: OrderId = "o1".parse().unwrap();
        let (a, b) = (KeyId([1; 16]), KeyId([2; 16]));
        for a_wins in [true, false] {
            let data = PersonalData::new(Arc::new(MemoryBucket::default()));
            let written_a = data.write(&order, a, at("A"), false).await.unwrap();
            let written_b = data.write(&order, b, at("B"), false).await.unwrap();
            assert!(matches!(written_b, Written::Aside(_)));
            data.settle(&order, b, written_b, !a_wins).await.unwrap();
            data.settle(&order, a, written_a, a_wins).await.unwrap();
            assert_eq!(address(&data, &order).await.as_deref(), Some(if a_wins { "A" } else { "B" }));
        }
    }

    #[tokio::test]
    async fn a_repetition_neither_damages_nor_resurrects() {
        let (order, key): (OrderId, _) = ("o1".parse().unwrap(), KeyId([1; 16]));
        let bucket = MemoryBucket::default();
        let data = PersonalData::new(Arc::new(bucket.clone()));
        let written = data.write(&order, key, at("A"), false).await.unwrap();
        data.settle(&order, key, written, true).await.unwrap();
        let again = data.write(&order, key, at("other"), false).await.unwrap();
        data.settle(&order, key, again, true).await.unwrap();
        assert_eq!(address(&data, &order).await.as_deref(), Some("A"));
        bucket.purge("o1", None).await.unwrap();
        let again = data.write(&order, key, at("A"), true).await.unwrap();
        data.settle(&order, key, again, true).await.unwrap();
        assert_eq!(address(&data, &order).await, None);
    }

    #[tokio::test]
    async fn an_entry_that_cannot_be_read_or_is_not_settled_is_none() {
        let order: OrderId = "o1".parse().unwrap();
        let bucket = MemoryBucket::default();
        let data = PersonalData::new(Arc::new(bucket.clone()));
        for (text, seen) in [
            (r#"{"address":"unsigned"}"#, None),
            ("no JSON", None),
            (r#"{"by":"x","address":"unsettled"}"#, None),
            (r#"{"by":"x","settled":true,"address":"A"}"#, Some("A")),
        ] {
            bucket.put("o1", Bytes::from(text)).await.unwrap();
            assert_eq!(address(&data, &order).await.as_deref(), seen, "{text}");
        }
    }

    #[tokio::test]
    async fn what_an_unanswered_create_left_is_joined_to_nobody_elses_order() {
        let order: OrderId = "o1".parse().unwrap();
        let (lost, other) = (KeyId([1; 16]), KeyId([2; 16]));
        let data = PersonalData::new(Arc::new(MemoryBucket::default()));
        data.write(&order, lost, at("lost"), false).await.unwrap();
        // The order comes into being over NATS: it has no data of its own, and gets none.
        assert_eq!(address(&data, &order).await, None);
        // Or by another create, whose bridge ends before it could settle; its repetition settles it.
        assert!(matches!(data.write(&order, other, at("B"), false).await.unwrap(), Written::Aside(_)));
        assert_eq!(address(&data, &order).await, None);
        let again = data.write(&order, other, at("B"), true).await.unwrap();
        data.settle(&order, other, again, true).await.unwrap();
        assert_eq!(address(&data, &order).await.as_deref(), Some("B"));
        // The lost one, repeated, is refused, and changes nothing.
        let again = data.write(&order, lost, at("lost"), true).await.unwrap();
        data.settle(&order, lost, again, false).await.unwrap();
        assert_eq!(address(&data, &order).await.as_deref(), Some("B"));
    }

    #[tokio::test]
    async fn an_erasure_between_outcome_and_settling_stays_one() {
        let (order, key): (OrderId, _) = ("o1".parse().unwrap(), KeyId([1; 16]));
        let bucket = MemoryBucket::default();
        let data = PersonalData::new(Arc::new(bucket.clone()));
        let written = data.write(&order, key, at("A"), false).await.unwrap();
        bucket.purge("o1", None).await.unwrap();
        data.settle(&order, key, written, true).await.unwrap();
        assert_eq!(bucket.get("o1").await.unwrap(), None);
    }
}
