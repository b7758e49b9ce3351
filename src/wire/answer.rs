//! What a publisher that named a reply subject hears, after the commit.

use super::schema::StatusCode;
use crate::domain::{Accepted, Answer, Mark, Refusal, Status, Verdict};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The outcome of one message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A command, a stage, a shift or a trip took effect (or had, under the same key).
    Accepted(Acceptance),
    /// Fixes: what became of each, summed up.
    Fixes(FixTally),
    Refused(RefusalBody),
}

/// The order after the command; zeros where no order is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acceptance {
    pub version: u64,
    pub rev: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = StatusCode, required = false)]
    pub status: Option<Status>,
}

/// Why nothing changed: enough for a problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalBody {
    /// Stable name, as `transition` or `rev_conflict`.
    pub code: String,
    /// The field that it is about.
    pub field: String,
    pub detail: String,
    /// With `transition`: the present status and what would be possible; in a final one, an empty list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Vec<String>>,
    /// With `rev_conflict`: both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_rev: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_rev: Option<u64>,
}

/// How many fixes of a message went which way. The counts are exclusive and add up to the message's fixes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct FixTally {
    /// Kept without a mark.
    pub good: u32,
    pub inaccurate: u32,
    pub jump: u32,
    pub duplicate: u32,
    pub stale: u32,
    pub future: u32,
    pub too_old: u32,
    pub track_full: u32,
}

impl FixTally {
    /// Counts one more.
    pub fn add(&mut self, verdict: Verdict) {
        let count = match verdict {
            Verdict::Kept(Mark::Good) => &mut self.good,
            Verdict::Kept(Mark::Inaccurate) => &mut self.inaccurate,
            Verdict::Kept(Mark::Jump) => &mut self.jump,
            Verdict::Duplicate => &mut self.duplicate,
            Verdict::Stale => &mut self.stale,
            Verdict::Future => &mut self.future,
            Verdict::TooOld => &mut self.too_old,
            Verdict::TrackFull => &mut self.track_full,
        };
        *count += 1;
    }

    /// Adds another message's counts.
    pub fn absorb(&mut self, other: &Self) {
        let Self { good, inaccurate, jump, duplicate, stale, future, too_old, track_full } = other;
        self.good += good;
        self.inaccurate += inaccurate;
        self.jump += jump;
        self.duplicate += duplicate;
        self.stale += stale;
        self.future += future;
        self.too_old += too_old;
        self.track_full += track_full;
    }

    /// Fixes that are in a track or moved the rider.
    pub fn kept(&self) -> u32 {
        self.good + self.inaccurate + self.jump
    }
}

impl From<&Answer> for Outcome {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Accepted(Accepted { version, rev, status }) => {
                Self::Accepted(Acceptance { version: *version, rev: *rev, status: Some(*status) })
            }
            Answer::Refused(refusal) => Self::Refused(refusal.into()),
        }
    }
}

impl From<&Refusal> for RefusalBody {
    fn from(refusal: &Refusal) -> Self {
        let mut body = Self {
            code: refusal.code().into(),
            field: refusal.field_name().into(),
            detail: refusal.to_string(),
            status: None,
            allowed: None,
            if_rev: None,
            current_rev: None,
        };
        match refusal {
            Refusal::Transition { status, .. } => {
                body.status = Some(*status);
                let names = crate::domain::status::allowed(*status).into_iter().map(|e| e.name().to_owned());
                body.allowed = Some(names.collect());
            }
            Refusal::RevConflict { given, current } => {
                body.if_rev = Some(*given);
                body.current_rev = Some(*current);
            }
            Refusal::UnknownOrder
            | Refusal::OrderExists
            | Refusal::StageBack { .. }
            | Refusal::Mismatch { .. }
            | Refusal::OrdersInHand { .. }
            | Refusal::Field { .. }
            | Refusal::TooManyCommands { .. }
            | Refusal::SetAside => {}
        }
        body
    }
}
