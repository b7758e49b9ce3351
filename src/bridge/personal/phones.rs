//! Orders by the last digits of their contact's telephone number.
//!
//! An index in a bucket of its own, `phones`, with empty values: the key is the cell, the number's last eight digits with the
//! last one first, each a token (`_` where there are fewer), and the order, so that what ends alike stands together and a key
//! filter finds it. Beside it `{order}.tail-{digits}` in the bucket `personal` says which keys of the index are the
//! order's, so that an erasure finds all of them without a search.
//!
//! Both are written after the data that they are of, the note first, and before the command that brings them is published: who
//! tidies meanwhile and finds the note finds what needs it too, and no order can be seen before it can be found. What they
//! name is looked up before it is told: a key too many, of a create that was refused or a number that was edited away, costs
//! a look and shows nothing. Keys that nothing needs any more go with the next outcome of a command that brought personal data.

use super::PersonalData;
use crate::{
    bridge::bucket::{Bucket, BucketError},
    domain::{CellId, OrderId},
    wire::{FieldError, personal::Personal},
};
use bytes::Bytes;
use std::{collections::BTreeSet, sync::Arc};

/// Fewest digits that are searched by: with fewer, a large cell's orders would nearly all be found.
pub const TAIL_MIN: usize = 3;
/// Most digits that are kept, and searched by.
pub const TAIL_MAX: usize = 8;
/// Most orders that a search looks at; who hits it gives more digits.
pub const FOUND_MAX: usize = 2_000;
/// Keys of one order beside its own that are looked through: its commands are 1,024 at most.
const ASIDE_MAX: usize = 2_048;

/// What a number is searched by: 3 to 8 digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail(String);

impl std::str::FromStr for Tail {
    type Err = FieldError;
    fn from_str(text: &str) -> Result<Self, FieldError> {
        let fits = (TAIL_MIN..=TAIL_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let bad = || FieldError::new("phone_tail", format!("must be {TAIL_MIN} to {TAIL_MAX} digits"));
        if fits { Ok(Self(text.to_owned())) } else { Err(bad()) }
    }
}

impl Tail {
    /// Whether a contact's number ends so.
    pub fn fits(&self, personal: &serde_json::Value) -> bool {
        let phone = personal.pointer("/contact/phone").and_then(serde_json::Value::as_str);
        phone.is_some_and(|phone| digits(phone).ends_with(&self.0))
    }
}

/// The digits of a number, however it is written.
fn digits(phone: &str) -> String {
    let digit = |c: char| match c {
        '0'..='9' => Some(c),
        // As Chinese keyboards may write them.
        '０'..='９' => char::from_digit(u32::from(c) - u32::from('０'), 10),
        _ => None,
    };
    phone.chars().filter_map(digit).collect()
}

/// The last digits that are kept of a number; `None` for one that can't be searched for.
fn kept(phone: &str) -> Option<String> {
    let digits = digits(phone);
    (digits.len() >= TAIL_MIN).then(|| digits[digits.len().saturating_sub(TAIL_MAX)..].to_owned())
}

fn phone(data: &Personal) -> Option<String> {
    kept(data.contact.as_ref()?.phone.as_deref()?)
}

/// The tokens of the last digits, the last one first.
fn tokens(digits: &str) -> String {
    digits.chars().rev().map(String::from).collect::<Vec<_>>().join(".")
}

fn key(cell: &str, digits: &str, order: &OrderId) -> String {
    let missing = "._".repeat(TAIL_MAX - digits.len());
    format!("{cell}.{}{missing}.{order}", tokens(digits))
}

/// The order's own note of a key of the index.
fn note(order: &OrderId, digits: &str) -> String {
    format!("{order}.tail-{digits}")
}

impl PersonalData {
    /// With the index, without which no order is found by its contact's number.
    #[must_use]
    pub fn with_phones(self, phones: Arc<dyn Bucket>) -> Self {
        Self { phones: Some(phones), ..self }
    }

    /// After data were written that a command brings, and before it is published.
    pub async fn index(&self, cell: &CellId, order: &OrderId, data: &Personal) -> Result<(), BucketError> {
        let (Some(phones), Some(digits)) = (&self.phones, phone(data)) else { return Ok(()) };
        self.bucket.put(&note(order, &digits), Bytes::new()).await?;
        phones.put(&key(cell.as_str(), &digits, order), Bytes::new()).await
    }

    /// After the outcome of a command that brought some: takes out of the index what nothing of the order's needs. What other
    /// commands brought that are under way stays.
    pub async fn tidy(&self, order: &OrderId) -> Result<(), BucketError> {
        let keys = self.bucket.keys(&format!("{order}.*"), ASIDE_MAX).await?;
        let tails = tails(order, &keys);
        if tails.is_empty() {
            return Ok(());
        }
        let needed = self.phones_of(order, &keys).await?;
        for digits in tails.difference(&needed) {
            self.unlist(order, digits).await?;
        }
        Ok(())
    }

    /// The numbers' ends in all that stands of an order, settled or not.
    async fn phones_of(&self, order: &OrderId, keys: &[String]) -> Result<BTreeSet<String>, BucketError> {
        let mut needed = BTreeSet::new();
        // What stands beside comes first: what is gone from there has been merged by then, and is found where it went.
        for key in keys.iter().filter(|key| !key.contains(".tail-") && !key.ends_with(".edited")) {
            let Some((_, bytes)) = self.bucket.get(key).await? else { continue };
            needed.extend(self.read(key, &bytes).and_then(|entry| phone(&entry.data)));
        }
        let (_, edits) = self.edits(order).await?;
        let edited = edits.contact.is_some();
        needed.extend(phone(&edits.over(Personal::default())));
        // An edited contact stands for the created one.
        if !edited && let Some((_, bytes)) = self.bucket.get(order.as_str()).await? {
            needed.extend(self.read(order.as_str(), &bytes).and_then(|entry| phone(&entry.data)));
        }
        Ok(needed)
    }

    /// Takes an order out of the index, before its data are erased.
    pub(super) async fn unlist_all(&self, order: &OrderId) -> Result<(), BucketError> {
        let keys = self.bucket.keys(&format!("{order}.*"), ASIDE_MAX).await?;
        for digits in tails(order, &keys) {
            self.unlist(order, &digits).await?;
        }
        // And what no note names: somebody may have tidied the note away while the key was being written, or left it out.
        let Some(phones) = &self.phones else { return Ok(()) };
        phones.purge_all(&format!("*{}.{order}", ".*".repeat(TAIL_MAX))).await
    }

    /// Without a trace: a key names a number.
    async fn unlist(&self, order: &OrderId, digits: &str) -> Result<(), BucketError> {
        if let Some(phones) = &self.phones {
            phones.purge_all(&key("*", digits, order)).await?;
        }
        self.bucket.purge_all(&note(order, digits)).await
    }

    /// Orders of a cell whose contact's number may end so, or `None` if there are more than [`FOUND_MAX`].
    pub async fn by_phone(&self, cell: &CellId, Tail(tail): &Tail) -> Result<Option<Vec<OrderId>>, BucketError> {
        let Some(phones) = &self.phones else { return Ok(Some(Vec::new())) };
        let keys = phones.keys(&format!("{cell}.{}.>", tokens(tail)), FOUND_MAX + 1).await?;
        let orders = || keys.iter().filter_map(|key| key.rsplit_once('.')?.1.parse().ok()).collect();
        Ok((keys.len() <= FOUND_MAX).then(orders))
    }
}

/// The numbers' ends under which the index has an order.
fn tails(order: &OrderId, keys: &[String]) -> BTreeSet<String> {
    let noted = note(order, "");
    keys.iter().filter_map(|key| key.strip_prefix(&noted).map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bridge::bucket::MemoryBucket, domain::KeyId, wire::personal::Contact};
    use serde_json::json;

    struct Scene {
        data: PersonalData,
        personal: MemoryBucket,
        phones: MemoryBucket,
        cell: CellId,
    }

    fn with(phone: &str) -> Personal {
        Personal { contact: Some(Contact { name: None, phone: Some(phone.into()) }), ..Personal::default() }
    }

    impl Scene {
        fn new() -> Self {
            let (personal, phones) = (MemoryBucket::default(), MemoryBucket::default());
            let data = PersonalData::new(Arc::new(personal.clone())).with_phones(Arc::new(phones.clone()));
            Self { data, personal, phones, cell: CellId::default() }
        }

        async fn create(&self, order: &str, key: u8, phone: &str, accepted: bool) {
            let (order, key, data) = (order.parse().unwrap(), KeyId([key; 16]), with(phone));
            let written = self.data.write(&order, key, data.clone(), false).await.unwrap();
            self.data.index(&self.cell, &order, &data).await.unwrap();
            self.data.settle(&order, key, written, accepted).await.unwrap();
            self.data.tidy(&order).await.unwrap();
        }

        async fn find(&self, tail: &str) -> Vec<String> {
            let found = self.data.by_phone(&self.cell, &tail.parse().unwrap()).await.unwrap().unwrap();
            let mut found: Vec<_> = found.iter().map(ToString::to_string).collect();
            found.sort();
            found
        }

        async fn keys(&self) -> usize {
            self.phones.keys(">", 100).await.unwrap().len()
        }
    }

    #[test]
    fn tails_are_digits() {
        for good in ["678", "12345678"] {
            assert!(good.parse::<Tail>().is_ok());
        }
        for bad in ["", "12", "123456789", "12a4", "*", "1.2.3", "１２３"] {
            assert_eq!(bad.parse::<Tail>().unwrap_err().field, "phone_tail", "{bad}");
        }
        let tail: Tail = "5678".parse().unwrap();
        assert!(tail.fits(&json!({"contact": {"phone": "+86 138-1234-５６ 78"}})));
        assert!(!tail.fits(&json!({"contact": {"phone": "13812345679"}})) && !tail.fits(&json!({})));
    }

    #[tokio::test]
    async fn orders_are_found_by_any_tail_and_by_no_other() {
        let scene = Scene::new();
        scene.create("a", 1, "+86 138 1234 5678", true).await;
        scene.create("b", 2, "021-5678", true).await;
        scene.create("c", 3, "555678", true).await;
        // Too short to be searched for.
        scene.create("d", 4, "78", true).await;
        // An id that looks like a digit more.
        scene.create("4", 5, "5678", true).await;
        assert_eq!(scene.find("678").await, ["4", "a", "b", "c"]);
        assert_eq!(scene.find("5678").await, ["4", "a", "b", "c"]);
        assert_eq!(scene.find("45678").await, ["a"]);
        assert_eq!(scene.find("12345678").await, ["a"]);
        assert_eq!(scene.find("1678").await, Vec::<String>::new());
        let other = scene.data.by_phone(&"north".parse().unwrap(), &"678".parse().unwrap()).await.unwrap();
        assert_eq!(other, Some(vec![]));
    }

    #[tokio::test]
    async fn what_was_refused_edited_away_or_erased_leaves_no_key() {
        let scene = Scene::new();
        scene.create("a", 1, "13812345678", true).await;
        scene.create("a", 2, "13900001111", false).await;
        assert_eq!((scene.find("1111").await.len(), scene.keys().await), (0, 1));
        let (order, edit): (OrderId, _) = ("a".parse().unwrap(), KeyId([3; 16]));
        let anew = with("13700002222");
        scene.data.propose(&order, edit, anew.clone()).await.unwrap();
        scene.data.index(&scene.cell, &order, &anew).await.unwrap();
        scene.data.tidy(&order).await.unwrap();
        assert_eq!((scene.find("5678").await, scene.find("2222").await), (vec!["a".into()], vec!["a".to_owned()]));
        scene.data.accept(&order, edit, 4).await.unwrap();
        scene.data.tidy(&order).await.unwrap();
        assert_eq!((scene.find("5678").await.len(), scene.find("2222").await.len(), scene.keys().await), (0, 1, 1));
        // A create whose outcome nobody heard, and one that was never published.
        scene.data.index(&scene.cell, &order, &with("13612349999")).await.unwrap();
        scene.data.erase(&order, &json!({})).await.unwrap();
        assert_eq!((scene.keys().await, scene.personal.keys(">", 100).await.unwrap().len()), (0, 0));
    }

    #[tokio::test]
    async fn an_erasure_also_takes_keys_that_no_note_names_and_no_other_orders() {
        let scene = Scene::new();
        for (order, key) in [("a", 1), ("b", 2), ("1", 3)] {
            scene.create(order, key, "13812345678", true).await;
        }
        // Long numbers, short ones, and one of a cell that the order came from.
        for (cell, digits) in [("default", "99990000"), ("default", "1111"), ("north", "22223333")] {
            scene.phones.put(&key(cell, digits, &"a".parse().unwrap()), Bytes::new()).await.unwrap();
        }
        scene.data.erase(&"a".parse().unwrap(), &json!({})).await.unwrap();
        let mut left = scene.phones.keys(">", 100).await.unwrap();
        left.sort();
        assert_eq!(left, ["default.8.7.6.5.4.3.2.1.1", "default.8.7.6.5.4.3.2.1.b"]);
    }

    #[tokio::test]
    async fn who_tidies_while_a_number_is_put_in_leaves_it() {
        let scene = Scene::new();
        let (order, edit): (OrderId, _) = ("a".parse().unwrap(), KeyId([3; 16]));
        scene.create("a", 1, "13812345678", true).await;
        // Another command's outcome comes between the data, the note and the key of the index.
        scene.data.propose(&order, edit, with("13700002222")).await.unwrap();
        scene.data.tidy(&order).await.unwrap();
        scene.personal.put(&note(&order, "00002222"), Bytes::new()).await.unwrap();
        scene.data.tidy(&order).await.unwrap();
        scene.phones.put(&key("default", "00002222", &order), Bytes::new()).await.unwrap();
        scene.data.tidy(&order).await.unwrap();
        assert_eq!(scene.find("2222").await, ["a"]);
        // It named the keys before the edit was merged, and looks afterwards.
        let keys = scene.personal.keys("a.*", 100).await.unwrap();
        scene.data.accept(&order, edit, 4).await.unwrap();
        assert_eq!(scene.data.phones_of(&order, &keys).await.unwrap(), BTreeSet::from(["00002222".to_owned()]));
        scene.data.tidy(&order).await.unwrap();
        scene.data.erase(&order, &json!({})).await.unwrap();
        assert_eq!((scene.keys().await, scene.personal.keys(">", 100).await.unwrap().len()), (0, 0));
    }

    #[tokio::test]
    async fn too_many_are_none() {
        let scene = Scene::new();
        for n in 0..=FOUND_MAX {
            let order = format!("o{n}").parse().unwrap();
            scene.data.index(&scene.cell, &order, &with("5551234")).await.unwrap();
        }
        assert_eq!(scene.data.by_phone(&scene.cell, &"1234".parse().unwrap()).await.unwrap(), None);
    }
}
