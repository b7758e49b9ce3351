//! The cell as actors.
//!
//! ```text
//! CellActor ── one per cell; owns domain::cell::Cell
//!   └─ OrderActor ×n ── one per active order; owns domain::Order
//! ```
//!
//! The cell takes the log's entries batch by batch, routes them, and gives every order its share of the batch in one
//! message. Where an entry depends on what an order decides (a *barrier*), the shares so far go out as one *wave* and
//! the entry waits for the wave to be answered; so results don't depend on where batches are cut. When all is answered,
//! the batch goes to the store, and once it is durable it is announced, while the next batch is already applied.
//!
//! How actors end, and what follows:
//!
//! | actor | ends because | then |
//! |---|---|---|
//! | order | it was quiet, or its order is final | rehydrated from the store (or from what is queued for it) on its next input |
//! | order | an input made it panic | rehydrated, its share given again; after the second time the input is a dead letter |
//! | order | its state can't be read | the cell stops: data is damaged and an operator has to look |
//! | cell | the store refuses a commit | nothing is announced, the feed is told, the node reports why it doesn't serve |
//! | cell | shutdown | it finishes the batches that it has |

mod batch;
mod boards;
mod cell;
mod handle;
mod hot;
mod interest;
mod order;
mod wave;

pub use cell::{CellOptions, Restored};
pub use handle::CellHandle;
pub use hot::{Hot, HotOrder, HotRider};
pub use order::Apply;

#[cfg(test)]
mod tests;
