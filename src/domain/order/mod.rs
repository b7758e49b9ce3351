//! One order: its state and what each input does to it.

mod apply;
mod record;
mod state;
#[cfg(test)]
mod tests;

pub use apply::{FixInput, MAX_KEYS, MAX_STOPS, OrderInput, apply};
pub use state::{Facts, Live, Money, Order, Place, Promise, Route};
