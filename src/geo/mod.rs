//! Positions, distances and datums. Pure arithmetic: everything here gives the same bits on every machine, because
//! what a cell decides must be a function of its log. Trigonometry therefore comes from `libm`, not from the platform.

mod bounds;
mod datum;
mod distance;
mod fence;
mod grid;
mod line;
mod point;

pub use bounds::Bounds;
pub use datum::{Datum, from_wgs84, to_wgs84};
pub use distance::{EARTH_RADIUS_M, apart_m, distance_m};
pub use fence::{Fence, FenceError};
pub use grid::{grid_cell, grid_cells, grid_count};
pub use line::{Foot, Offset, Plane, Ruler, distance_to_line_m, distance_to_segment_m, length_m};
pub use point::{CoordinateError, Point};
