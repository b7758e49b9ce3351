//! Payloads of `control.{cell}.…`: how what lies outside the log gets into it.

use super::{FieldError, parse_json};
use crate::domain::{Rules, UnixMillis, time::MAX_CLOCK_SCALE};
use serde::{Deserialize, Serialize};

/// Last tokens of the control subjects.
pub const CLOCK: &str = "clock";
pub const RULES: &str = "rules";

/// Payload of `control.{cell}.clock`: the cell clock's scale, and where it jumps to, if anywhere. It never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockBody {
    /// Cell milliseconds per millisecond, 1 to 100,000.
    pub scale: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell_time_ms: Option<i64>,
}

/// Parses and checks a clock message.
pub fn clock(payload: &[u8]) -> Result<(u32, Option<UnixMillis>), FieldError> {
    let ClockBody { scale, cell_time_ms } = parse_json(payload)?;
    if !(1..=MAX_CLOCK_SCALE).contains(&scale) {
        return Err(FieldError::new("scale", format!("must be 1 to {MAX_CLOCK_SCALE}")));
    }
    if cell_time_ms.is_some_and(|ms| !(0..=253_402_300_799_999).contains(&ms)) {
        return Err(FieldError::new("cell_time_ms", "must be milliseconds since 1970"));
    }
    Ok((scale, cell_time_ms.map(UnixMillis)))
}

/// Parses and checks a rules message: every threshold that isn't named has its default.
pub fn rules(payload: &[u8]) -> Result<Rules, FieldError> {
    let rules: Rules = parse_json(payload)?;
    rules.check().map_err(|(field, reason)| FieldError::new(field, reason))?;
    Ok(rules)
}
