//! Header names over NATS; the first is HTTP's too.

/// Every command carries one.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// Who publishes: `rider.{id}`, `warehouse.{id}`, `operations.{id}` or `system.{id}`. Without it, `system.nats`.
pub const PUBLISHER: &str = "Trunkline-Publisher";

/// A subject on which the publisher waits for the outcome. Without it, refusals are found under `dead.`.
pub const REPLY: &str = "Trunkline-Reply";

/// In dead letters: the subject and the sequence of the message that could not be applied, and the reason.
pub const DEAD_SUBJECT: &str = "Trunkline-Subject";
pub const DEAD_SEQUENCE: &str = "Trunkline-Sequence";
pub const DEAD_FIELD: &str = "Trunkline-Field";
pub const DEAD_REASON: &str = "Trunkline-Reason";
