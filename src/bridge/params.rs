//! The parameters of a query string. Each route takes what it knows, and what is left over is an error: a parameter with a
//! slip in its name must not pass for one that was never given.

use crate::wire::FieldError;
use std::collections::BTreeMap;

/// The parameters of a query string, taken one by one; what is left over is refused.
#[derive(Clone, Debug, Default)]
pub struct Params(pub BTreeMap<String, String>);

impl Params {
    /// Takes a parameter out.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Takes a parameter out and parses it.
    pub fn parse<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, FieldError>
    where
        T::Err: std::fmt::Display,
    {
        self.take(name).map(|text| text.parse().map_err(|e: T::Err| FieldError::new(name, e.to_string()))).transpose()
    }

    /// Refuses parameters that nobody took.
    pub fn end(self) -> Result<(), FieldError> {
        match self.0.into_keys().next() {
            Some(name) => Err(FieldError::new(name, "is no parameter here")),
            None => Ok(()),
        }
    }
}
