//! What happens to some orders and not to most: attempts that failed, goods that went back, items that were missing,
//! edits, and the proof that a delivery took place. Kept behind one pointer, so that the others pay eight bytes for it.

use crate::{
    domain::{
        command::KeyId,
        order::{Live, Promise},
        time::UnixMillis,
    },
    geo::Point,
};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// What isn't so with most orders. Published; [`Default`] says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circumstances {
    /// Deliveries tried in vain.
    pub attempts: u32,
    /// Of the last attempt.
    pub attempt_reason: Option<String>,
    pub attempted_at: Option<UnixMillis>,
    /// The goods went back to the warehouse; the order's reason says why.
    pub returned: bool,
    pub missing: Option<Missing>,
    pub proof: Option<Proof>,
    /// When promise, destination or personal data were last edited.
    pub edited_at: Option<UnixMillis>,
    /// The key of the edit whose personal data hold now; none for those of the order's creation. Whoever shows personal
    /// data reads by it, and so never shows them before or after their edit.
    pub personal: Option<KeyId>,
}

/// Items that the order's warehouse or rider don't have. The last report counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// How many are missing, at most the order's items; where items are named, their sum.
    pub count: u32,
    pub items: Vec<MissingItem>,
    pub note: Option<String>,
}

/// So many of one article.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingItem {
    pub name: String,
    pub count: u32,
}

/// That the goods were handed over: opaque references, at least one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub photo: Option<String>,
    pub code: Option<String>,
    pub signature: Option<String>,
}

/// What an edit changes; what it doesn't name stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    pub promise: Option<Promise>,
    /// A planned route to the former destination is dropped.
    pub destination: Option<Point>,
    /// Contact, address text or notes changed, where they are kept.
    pub personal: bool,
}

/// The history line's words: `2 × milk, 1 × eggs: sold out`.
impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items: Vec<_> = self.items.iter().map(|i| format!("{} × {}", i.count, i.name)).collect();
        if items.is_empty() { write!(f, "{}", self.count) } else { f.write_str(&items.join(", ")) }?;
        self.note.as_ref().map_or(Ok(()), |note| write!(f, ": {note}"))
    }
}

/// `photo p-1, code 4711`.
impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { photo, code, signature } = self;
        let parts = [("photo", photo), ("code", code), ("signature", signature)];
        let said: Vec<_> = parts.iter().filter_map(|(name, text)| Some(format!("{name} {}", text.as_ref()?))).collect();
        f.write_str(&said.join(", "))
    }
}

/// `promise, destination, personal data`.
impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { promise, destination, personal } = self;
        let parts =
            [("promise", promise.is_some()), ("destination", destination.is_some()), ("personal data", *personal)];
        let said: Vec<_> = parts.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        f.write_str(&said.join(", "))
    }
}

impl Live {
    /// The circumstances, to be changed.
    pub(super) fn circumstances_mut(&mut self) -> &mut Circumstances {
        Arc::make_mut(self.circumstances.get_or_insert_default())
    }
}
