//! The order core: pure. It takes inputs and the time and returns effects; it knows no NATS, no SQLite, no clock and no
//! randomness, so that the state of a cell is a function of its log.

pub mod alert;
pub mod cell;
pub mod command;
pub mod effect;
pub mod eta;
pub mod fix;
pub mod ids;
pub mod marker;
pub mod odometer;
pub mod order;
pub mod progress;
pub mod quality;
pub mod rules;
pub mod spatial;
pub mod status;
pub mod stay;
pub mod still;
#[cfg(test)]
pub(crate) mod testing;
pub mod thresholds;
pub mod time;
pub mod track;

pub use alert::{Alert, AlertKind, AlertState, Severity};
pub use command::{Accepted, Action, Answer, Command, KeyId, Operator, OperatorKind, Refusal, Verb};
pub use effect::{Change, Effect};
pub use eta::Eta;
pub use fix::{Fix, FixId, Mark, Position, Verdict};
pub use ids::{CellId, OrderId, RiderId, UserId, WarehouseId};
pub use order::{Facts, Live, Order, OrderInput};
pub use rules::{Dispatch, Rules};
pub use status::{Event, Stage, Status};
pub use time::{CellClock, UnixMillis};
