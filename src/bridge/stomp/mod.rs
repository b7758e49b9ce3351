//! STOMP 1.0, 1.1 and 1.2 (stomp.github.io) as one more protocol of a conversation, for pages that speak to a broker.
//!
//! ```text
//! text ─▶ codec ─▶ session ─▶ wishes: topics (subscriptions), commands (sends), answers (print)
//! frames ─▶ session ─▶ messages: what is of one subscription ─ what all share, encoded once (print)
//! ```
//!
//! There is no broker behind it. A subscription begins with the state as it is, not with what was sent since; nothing is
//! redelivered; what is sent goes to the cell's log, and a receipt means that its outcome is stored. docs/stomp.md says more.

pub mod codec;
pub mod destination;
pub mod heartbeat;
pub mod print;
#[cfg(test)]
mod properties;
mod refusal;
mod sends;
mod session;
pub mod subscriptions;
#[cfg(test)]
mod tests;
mod upgrade;
pub mod version;

pub(in crate::bridge) use session::Stomp;
pub(in crate::bridge) use upgrade::upgrade;
