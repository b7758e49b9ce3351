//! How the decisions of two plays differ. Those of one order and kind are paired in time, so that a decision that only
//! moved isn't told as one that disappeared and another that appeared.

use super::decisions::Decision;
use crate::domain::{OrderId, UnixMillis};
use serde::Serialize;
use std::collections::BTreeMap;

/// Two decisions farther apart than this are two.
pub const SAME_WITHIN_MS: i64 = 30 * 60_000;

/// A decision that isn't the same in both plays.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    Appears(Decision),
    Disappears(Decision),
    Moves(Box<Move>),
}

/// From where to where a decision moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    pub order: OrderId,
    pub kind: &'static str,
    pub before: Span,
    pub after: Span,
    /// By how much it is raised later; negative: earlier.
    pub raised_later_ms: i64,
}

/// From when to when it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    pub raised_ms: UnixMillis,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleared_ms: Option<UnixMillis>,
}

/// Decisions of a kind in both plays, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub before: u64,
    pub after: u64,
    pub appear: u64,
    pub disappear: u64,
    pub moved: u64,
}

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// By kind.
    pub kinds: BTreeMap<&'static str, Counts>,
    /// In the order of time.
    pub changes: Vec<Change>,
}

impl Change {
    /// When it is, or was first.
    pub fn at(&self) -> UnixMillis {
        match self {
            Self::Appears(decision) | Self::Disappears(decision) => decision.raised,
            Self::Moves(moved) => moved.before.raised_ms.min(moved.after.raised_ms),
        }
    }

    pub fn order(&self) -> &OrderId {
        match self {
            Self::Appears(decision) | Self::Disappears(decision) => &decision.order,
            Self::Moves(moved) => &moved.order,
        }
    }
}

/// Decisions of one order and kind, in the one play and in the other.
type Both = (Vec<Decision>, Vec<Decision>);

/// Compares the decisions of one play with those of another.
pub fn compare(before: Vec<Decision>, after: Vec<Decision>) -> Comparison {
    let mut pairs: BTreeMap<(OrderId, &'static str), Both> = BTreeMap::new();
    for decision in before {
        pairs.entry((decision.order.clone(), decision.kind)).or_default().0.push(decision);
    }
    for decision in after {
        pairs.entry((decision.order.clone(), decision.kind)).or_default().1.push(decision);
    }
    let mut comparison = Comparison::default();
    for ((_, kind), (before, after)) in pairs {
        let counts = comparison.kinds.entry(kind).or_default();
        counts.before += before.len() as u64;
        counts.after += after.len() as u64;
        for pair in paired(&before, &after) {
            match pair {
                (Some(a), Some(b)) if a.is_same(b) => {}
                (Some(a), Some(b)) => {
                    counts.moved += 1;
                    comparison.changes.push(Change::Moves(Box::new(moved(a, b))));
                }
                (Some(a), None) => {
                    counts.disappear += 1;
                    comparison.changes.push(Change::Disappears(a.clone()));
                }
                (None, Some(b)) => {
                    counts.appear += 1;
                    comparison.changes.push(Change::Appears(b.clone()));
                }
                (None, None) => {}
            }
        }
    }
    comparison.changes.sort_by(|a, b| (a.at(), a.order()).cmp(&(b.at(), b.order())));
    comparison
}

fn moved(before: &Decision, after: &Decision) -> Move {
    let span = |d: &Decision| Span { raised_ms: d.raised, cleared_ms: d.cleared };
    Move {
        order: before.order.clone(),
        kind: before.kind,
        before: span(before),
        after: span(after),
        raised_later_ms: after.raised.since(before.raised),
    }
}

type Pair<'a> = (Option<&'a Decision>, Option<&'a Decision>);

/// Goes through both in the order of time: the nearest that are near enough make a pair, unless the next fits better.
fn paired<'a>(before: &'a [Decision], after: &'a [Decision]) -> Vec<Pair<'a>> {
    let apart = |a: &Decision, b: &Decision| a.raised.since(b.raised).saturating_abs();
    let (mut pairs, mut i, mut j) = (Vec::new(), 0, 0);
    while let (Some(a), Some(b)) = (before.get(i), after.get(j)) {
        let gap = apart(a, b);
        let a_fits_later = after.get(j + 1).is_some_and(|b| apart(a, b) < gap);
        let b_fits_later = before.get(i + 1).is_some_and(|a| apart(a, b) < gap);
        if gap <= SAME_WITHIN_MS && !a_fits_later && !b_fits_later {
            pairs.push((Some(a), Some(b)));
            (i, j) = (i + 1, j + 1);
        } else if a.raised <= b.raised {
            pairs.push((Some(a), None));
            i += 1;
        } else {
            pairs.push((None, Some(b)));
            j += 1;
        }
    }
    pairs.extend(before[i..].iter().map(|a| (Some(a), None)));
    pairs.extend(after[j..].iter().map(|b| (None, Some(b))));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: i64 = 60_000;

    fn decisions(order: &str, at_min: &[i64]) -> Vec<Decision> {
        let one = |min: &i64| Decision {
            order: order.parse().unwrap(),
            kind: "stalled",
            raised: UnixMillis(min * MIN),
            cleared: Some(UnixMillis((min + 2) * MIN)),
            evidence: None,
        };
        at_min.iter().map(one).collect()
    }

    fn told(before: &[i64], after: &[i64]) -> Vec<String> {
        let comparison = compare(decisions("o", before), decisions("o", after));
        let one = |change: &Change| match change {
            Change::Appears(d) => format!("+{}", d.raised.0 / MIN),
            Change::Disappears(d) => format!("-{}", d.raised.0 / MIN),
            Change::Moves(m) => format!("{} by {}", m.before.raised_ms.0 / MIN, m.raised_later_ms / MIN),
        };
        comparison.changes.iter().map(one).collect()
    }

    #[test]
    fn decisions_are_paired_by_time() {
        assert_eq!(told(&[10, 50], &[10, 50]), Vec::<String>::new());
        assert_eq!(told(&[10, 50], &[10, 55]), ["50 by 5"]);
        assert_eq!(told(&[10, 50], &[50]), ["-10"]);
        assert_eq!(told(&[50], &[10, 49]), ["+10", "50 by -1"]);
        assert_eq!(told(&[10], &[100]), ["-10", "+100"], "too far apart to be the same");
        assert_eq!(told(&[10, 12, 14], &[12]), ["-10", "-14"]);
    }

    #[test]
    fn counts_and_order_of_what_changed() {
        let mut before = decisions("b", &[10]);
        before.extend(decisions("a", &[20]));
        let mut after = decisions("a", &[20, 60]);
        after[0].cleared = None;
        after[1].kind = "late";
        let Comparison { kinds, changes } = compare(before, after);
        let stalled = Counts { before: 2, after: 1, appear: 0, disappear: 1, moved: 1 };
        assert_eq!(kinds["stalled"], stalled, "cleared at another time counts as moved");
        assert_eq!(kinds["late"], Counts { after: 1, appear: 1, ..Counts::default() });
        assert_eq!(changes.iter().map(|c| c.order().as_str()).collect::<Vec<_>>(), ["b", "a", "a"]);
        assert!(changes.is_sorted_by_key(Change::at));
    }
}
