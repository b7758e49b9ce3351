//! A statement that grows condition by condition, each with its values: what lists are asked by.

use rusqlite::types::Value;
use std::collections::BTreeSet;

/// See the module. It begins with a `WHERE`.
#[derive(Debug, PartialEq)]
pub(super) struct Conditions {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

impl Conditions {
    pub(super) fn new(sql: &str) -> Self {
        Self { sql: sql.to_owned(), values: Vec::new() }
    }

    /// A condition on a value, if one is given.
    pub(super) fn when(&mut self, condition: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.sql += " AND ";
            self.sql += condition;
            self.values.push(value);
        }
    }

    /// One of these, if any are given; each once: the statement's text must not grow with the query's.
    pub(super) fn any_of<T: Ord + Into<Value>>(&mut self, column: &str, values: impl Iterator<Item = T>) {
        let mut values: Vec<Value> = values.collect::<BTreeSet<_>>().into_iter().map(Into::into).collect();
        match values.len() {
            0 => {}
            1 => self.when(&format!("{column} = ?"), values.pop()),
            n => {
                self.sql += &format!(" AND {column} IN ({})", vec!["?"; n].join(","));
                self.values.append(&mut values);
            }
        }
    }
}
