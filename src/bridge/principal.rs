//! Who is asking. **Until tokens come this is believed from the query string**, which is why the server binds to
//! loopback only; everything that will depend on a token is here, in one place.
//!
//! | `role` | sees | publishes commands as |
//! |---|---|---|
//! | none, or `operations` | operations' view | `operations.http` |
//! | `system` | operations' view | `system.http` |
//! | `rider`, `warehouse` | its own view | `rider.http`, `warehouse.http` |
//! | `customer`, `shared` | its own view | – (403) |
//!
//! Routes that name a rider or a warehouse publish as that one.

use super::{hub::Lens, params::Params, reject::Rejection};
use crate::{
    geo::Datum,
    wire::{FieldError, problem::Problem, view::View},
};

/// A role that may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Principal {
    pub view: View,
    publisher: Option<&'static str>,
}

impl Principal {
    /// Takes `role`.
    pub fn take(params: &mut Params) -> Result<Self, FieldError> {
        let role = params.take("role");
        if role.as_deref() == Some("system") {
            return Ok(Self { view: View::Operations, publisher: Some("system.http") });
        }
        let view = role.map_or(Ok(View::Operations), |text| text.parse()).map_err(|e| FieldError::new("role", e))?;
        let publisher = match view {
            View::Customer | View::Shared => None,
            View::Rider => Some("rider.http"),
            View::Warehouse => Some("warehouse.http"),
            View::Operations => Some("operations.http"),
        };
        Ok(Self { view, publisher })
    }

    /// The publisher of commands, for roles that may send any.
    pub fn publisher(&self) -> Result<&'static str, Rejection> {
        self.publisher.ok_or_else(|| self.forbidden("send commands"))
    }

    /// Only for operations.
    pub fn operations(&self, what: &str) -> Result<(), Rejection> {
        if self.view == View::Operations { Ok(()) } else { Err(self.forbidden(what)) }
    }

    fn forbidden(&self, what: &str) -> Rejection {
        let detail = format!("`{}` may not {what}", self.view.name());
        Problem::new(403, "forbidden", "Not for this role").with_field("role").with_detail(detail).into()
    }
}

/// Takes `datum`: what the client's map refers to.
pub fn take_datum(params: &mut Params) -> Result<Datum, FieldError> {
    match params.take("datum").as_deref() {
        None | Some("wgs84") => Ok(Datum::Wgs84),
        Some("gcj02") => Ok(Datum::Gcj02),
        Some("bd09") => Ok(Datum::Bd09),
        Some(other) => Err(FieldError::new("datum", format!("`{other}` is no datum; they are wgs84, gcj02, bd09"))),
    }
}

/// Takes both.
pub fn take_lens(params: &mut Params) -> Result<Lens, FieldError> {
    Ok(Lens { view: Principal::take(params)?.view, datum: take_datum(params)? })
}
