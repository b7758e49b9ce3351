//! The cell and its orders together, run by [`Solo`]: scenes from life.

mod life;
mod scenes;
mod stage;
