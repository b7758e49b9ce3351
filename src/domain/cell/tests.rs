//! The cell and its orders together, run by [`Solo`]: scenes from life.

mod scenes;
mod stage;
