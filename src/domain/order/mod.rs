//! One order: its state and what each input does to it.

mod apply;
mod carry;
mod input;
mod life;
mod record;
mod route;
mod state;
#[cfg(test)]
mod tests;
mod turns;
mod watch;

pub use apply::{MAX_KEYS, apply};
pub use input::{FixInput, FoundRoute, OrderInput};
pub use life::{Circumstances, Edit, Missing, MissingItem, Proof};
pub use state::{Facts, Live, Money, Order, Place, Promise, Route};
pub use watch::{Outlook, Watch};
