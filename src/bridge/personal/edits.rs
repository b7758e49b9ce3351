//! Edits of personal data, and their erasure.
//!
//! Whether an edit takes effect only the log decides; and since the order's state names the edit whose data hold now
//! (`personal`, the id of its idempotency key), the data need no settling to be shown at the right moment: they are written
//! under `{order}.{key}` before the edit is published, and seen by whoever sees a state that names it. An accepted edit is
//! then merged into `{order}.edited`, field by field, each with the rev of the edit that it is of: edits that overtake one
//! another on their way here leave what they leave in the log, and a repetition finds that its rev is in already. An edit
//! is acknowledged after that, so what was acknowledged is never lost behind a later one.
//!
//! An erasure leaves an `edited` without data at the order's present rev: an earlier edit that is repeated brings nothing
//! back.

use super::{PersonalData, aside, encode};
use crate::{
    bridge::{bucket::BucketError, source::SourceError},
    domain::{KeyId, OrderId},
    wire::{
        command::hex,
        personal::{Edited, Edits, Entry, Personal},
    },
};
use bytes::Bytes;
use serde_json::Value;

/// Tries to write over a value that others write as well; they are an order's edits, which are few.
const TRIES: usize = 16;

fn place(order: &OrderId) -> String {
    format!("{order}.edited")
}

impl PersonalData {
    /// What views join to an order's state.
    pub async fn of(&self, order: &OrderId, state: &Value) -> Result<Option<Value>, SourceError> {
        let unreachable = |e: BucketError| SourceError::Unreachable(e.to_string());
        let created = self.created(order).await.map_err(unreachable)?;
        let data = match state.get("personal").and_then(Value::as_str) {
            None => created,
            Some(edit) => Some(self.edited(order, edit, created.unwrap_or_default()).await.map_err(unreachable)?),
        };
        let value = data.map(serde_json::to_value).transpose();
        value.map_err(|e| SourceError::Garbled(format!("personal data: {e}")))
    }

    /// The data after the edit that the state names.
    async fn edited(&self, order: &OrderId, edit: &str, created: Personal) -> Result<Personal, BucketError> {
        let (_, edits) = self.edits(order).await?;
        if edits.by == edit {
            return Ok(edits.over(created));
        }
        // Accepted, and not merged yet; or merged just now.
        let key = format!("{order}.{edit}");
        match self.bucket.get(&key).await?.and_then(|(_, bytes)| self.read(&key, &bytes)) {
            Some(Entry { data, .. }) => Ok(over(edits.over(created), data)),
            None => Ok(self.edits(order).await?.1.over(created)),
        }
    }

    /// Before an edit is published. A repetition finds its own and changes nothing.
    pub async fn propose(&self, order: &OrderId, key: KeyId, data: Personal) -> Result<(), BucketError> {
        if self.edits(order).await?.1.by == hex(key) {
            return Ok(());
        }
        let entry = Entry { by: hex(key), settled: false, data };
        self.bucket.create(&aside(order, key), encode(&entry)).await.map(drop)
    }

    /// After an edit was refused.
    pub async fn withdraw(&self, order: &OrderId, key: KeyId) -> Result<(), BucketError> {
        self.bucket.purge(&aside(order, key), None).await.map(drop)
    }

    /// After an edit was accepted as `rev`, which is the same however often it is repeated.
    pub async fn accept(&self, order: &OrderId, key: KeyId, rev: u64) -> Result<(), BucketError> {
        let aside = aside(order, key);
        let Some((_, bytes)) = self.bucket.get(&aside).await? else { return Ok(()) };
        if let Some(Entry { data, .. }) = self.read(&aside, &bytes) {
            self.merge(order, key, rev, &data).await?;
        }
        self.bucket.purge(&aside, None).await.map(drop)
    }

    async fn merge(&self, order: &OrderId, key: KeyId, rev: u64, data: &Personal) -> Result<(), BucketError> {
        let place = place(order);
        for _ in 0..TRIES {
            let (revision, mut edits) = self.edits(order).await?;
            if !edits.take(&hex(key), rev, data) {
                return Ok(());
            }
            let value = Bytes::from(serde_json::to_vec(&edits).unwrap_or_default());
            match revision {
                // Whether it was written shows the next look.
                Some(revision) => self.bucket.replace(&place, value, revision).await?,
                None => drop(self.bucket.create(&place, value).await?),
            }
        }
        Err(BucketError { bucket: place, reason: "others write it all the time".into() })
    }

    /// Erases all that names a person of this order, whose state is given.
    pub async fn erase(&self, order: &OrderId, state: &Value) -> Result<(), BucketError> {
        self.unlist_all(order).await?;
        self.bucket.purge_below(order.as_str()).await?;
        self.bucket.purge(order.as_str(), None).await?;
        let Some(edit) = state.get("personal").and_then(Value::as_str) else { return Ok(()) };
        let rev = state.get("rev").and_then(Value::as_u64).unwrap_or(u64::MAX);
        let edits = Edits {
            by: edit.to_owned(),
            contact: Some(Edited { rev, value: None }),
            address: Some(Edited { rev, value: None }),
            notes: Some(Edited { rev, value: None }),
        };
        self.bucket.put(&place(order), Bytes::from(serde_json::to_vec(&edits).unwrap_or_default())).await
    }

    pub(super) async fn edits(&self, order: &OrderId) -> Result<(Option<u64>, Edits), BucketError> {
        let found = self.bucket.get(&place(order)).await?;
        Ok(found.map_or((None, Edits::default()), |(revision, bytes)| {
            // One that can't be read is written anew by the next edit.
            (Some(revision), serde_json::from_slice(&bytes).unwrap_or_default())
        }))
    }
}

fn over(below: Personal, above: Personal) -> Personal {
    Personal {
        contact: above.contact.or(below.contact),
        address: above.address.or(below.address),
        notes: above.notes.or(below.notes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::bucket::{Bucket, MemoryBucket};
    use serde_json::json;
    use std::sync::Arc;

    fn address(text: &str) -> Personal {
        Personal { address: Some(text.into()), ..Personal::default() }
    }

    fn notes(text: &str) -> Personal {
        Personal { notes: Some(text.into()), ..Personal::default() }
    }

    struct Scene {
        bucket: MemoryBucket,
        data: PersonalData,
        order: OrderId,
    }

    impl Scene {
        async fn new() -> Self {
            let bucket = MemoryBucket::default();
            let data = PersonalData::new(Arc::new(bucket.clone()));
            let order: OrderId = "o1".parse().unwrap();
            let created = KeyId([9; 16]);
            let first = Personal { notes: Some("ring".into()), ..address("first") };
            let written = data.write(&order, created, first, false).await.unwrap();
            data.settle(&order, created, written, true).await.unwrap();
            Self { bucket, data, order }
        }

        /// Address and notes as seen with a state that names an edit.
        async fn seen(&self, edit: Option<KeyId>) -> (Option<String>, Option<String>) {
            let state = edit.map_or(json!({}), |key| json!({"personal": hex(key), "rev": 9}));
            let seen = self.data.of(&self.order, &state).await.unwrap().unwrap_or_default();
            let text = |name: &str| seen.get(name).and_then(Value::as_str).map(str::to_owned);
            (text("address"), text("notes"))
        }
    }

    fn both(address: &str, notes: &str) -> (Option<String>, Option<String>) {
        (Some(address.into()), Some(notes.into()))
    }

    #[tokio::test]
    async fn an_edit_is_seen_with_the_state_that_names_it_and_not_before() {
        let scene = Scene::new().await;
        let (a, refused) = (KeyId([1; 16]), KeyId([2; 16]));
        scene.data.propose(&scene.order, a, address("second")).await.unwrap();
        scene.data.propose(&scene.order, refused, address("never")).await.unwrap();
        assert_eq!(scene.seen(None).await, both("first", "ring"));
        assert_eq!(scene.seen(Some(a)).await, both("second", "ring"), "accepted, not merged yet");
        scene.data.withdraw(&scene.order, refused).await.unwrap();
        scene.data.accept(&scene.order, a, 4).await.unwrap();
        assert_eq!(scene.seen(Some(a)).await, both("second", "ring"));
        assert_eq!(scene.bucket.get(&aside(&scene.order, a)).await.unwrap(), None);
        assert_eq!(scene.bucket.get(&aside(&scene.order, refused)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn edits_that_overtake_one_another_leave_what_the_log_leaves() {
        let scene = Scene::new().await;
        let (a, b) = (KeyId([1; 16]), KeyId([2; 16]));
        let whole = Personal { notes: Some("knock".into()), ..address("by a") };
        scene.data.propose(&scene.order, a, whole).await.unwrap();
        scene.data.propose(&scene.order, b, address("by b")).await.unwrap();
        // b came later in the log, and is merged first.
        scene.data.accept(&scene.order, b, 5).await.unwrap();
        scene.data.accept(&scene.order, a, 4).await.unwrap();
        assert_eq!(scene.seen(Some(b)).await, both("by b", "knock"));
        // a is repeated, with other data even.
        scene.data.propose(&scene.order, a, address("again")).await.unwrap();
        scene.data.accept(&scene.order, a, 4).await.unwrap();
        assert_eq!(scene.seen(Some(b)).await, both("by b", "knock"));
    }

    #[tokio::test]
    async fn what_was_erased_stays_so_until_it_is_edited_anew() {
        let scene = Scene::new().await;
        let (a, b) = (KeyId([1; 16]), KeyId([2; 16]));
        scene.data.propose(&scene.order, a, notes("secret")).await.unwrap();
        scene.data.accept(&scene.order, a, 4).await.unwrap();
        scene.data.propose(&scene.order, b, notes("lost on its way")).await.unwrap();
        scene.data.erase(&scene.order, &json!({"personal": hex(a), "rev": 6})).await.unwrap();
        assert_eq!(scene.seen(Some(a)).await, (None, None));
        scene.data.propose(&scene.order, a, notes("secret")).await.unwrap();
        scene.data.accept(&scene.order, a, 4).await.unwrap();
        assert_eq!(scene.seen(Some(a)).await, (None, None));
        for key in ["o1".to_owned(), aside(&scene.order, b)] {
            assert_eq!(scene.bucket.get(&key).await.unwrap(), None, "{key}");
        }
        scene.data.propose(&scene.order, b, notes("new")).await.unwrap();
        scene.data.accept(&scene.order, b, 7).await.unwrap();
        assert_eq!(scene.seen(Some(b)).await, (None, Some("new".into())));
    }
}
