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

/// In dead letters: what of the original is missing because it is too large, `payload` or `headers`. The log has it.
pub const DEAD_LEFT_OUT: &str = "Trunkline-Left-Out";

/// In the log: the message repeats the one at this sequence, which had become a dead letter.
pub const PUT_BACK: &str = "Trunkline-Put-Back";

/// Whether a message keeps this header as a dead letter, and gets it again when it is put back. Not those that tell NATS
/// what to do, nor ours: a reply subject is nobody's by then, and the others are the dead letter's own.
pub fn is_kept(name: &str) -> bool {
    let begins = |prefix: &str| name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    name == PUBLISHER || !(begins("Nats-") || begins("Trunkline-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_letter_keeps() {
        for kept in [IDEMPOTENCY_KEY, PUBLISHER, "traceparent", "Nat", "X-Nats-"] {
            assert!(is_kept(kept), "{kept}");
        }
        for left in [REPLY, DEAD_SUBJECT, PUT_BACK, "Nats-Rollup", "nats-ttl", "trunkline-publisher"] {
            assert!(!is_kept(left), "{left}");
        }
    }
}
