//! From claims to a principal, and back. Each claim is looked at by itself, so that a refusal names the one that doesn't fit.
//!
//! | claim | |
//! |---|---|
//! | `iss` | one of the configured issuers; it chose the key |
//! | `aud` | the issuer's audience, or a list with it |
//! | `sub` | who: `[A-Za-z0-9_-]{1,64}` |
//! | `exp` | required; at most the maximal lifetime after `iat`, or after now |
//! | `nbf`, `iat` | if there, not in the future |
//! | `role` | one that the issuer may grant |
//! | `cells` | list of cell ids that the issuer may grant; without it, all that it may |
//! | `order`, `jti` | of `shared`: the one order, and the link's id. `order` is nobody else's: it would promise a limit |
//!
//! Times are seconds, perhaps with a fraction (RFC 7519, 2).

use crate::{
    domain::{CellId, OrderId, UnixMillis, ids::is_token},
    ports::{Claims, TokenError},
    wire::access::{Principal, Role},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// 9999-12-31: what lies beyond is a mistake, and would not fit.
const TIME_MAX_S: f64 = 253_402_300_799.0;
/// Cells or audiences in one token.
const LIST_MAX: usize = 256;

/// What an issuer's tokens are held against.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) roles: BTreeSet<Role>,
    pub(super) cells: Option<Arc<BTreeSet<CellId>>>,
    pub(super) leeway_ms: i64,
    pub(super) lifetime_max_ms: i64,
}

fn bad(claim: &'static str, reason: impl Into<String>) -> TokenError {
    TokenError::Claim { claim, reason: reason.into() }
}

/// A claim as text.
pub(super) fn text<'a>(claims: &'a Map<String, Value>, claim: &'static str) -> Result<&'a str, TokenError> {
    match claims.get(claim) {
        None => Err(bad(claim, "is missing")),
        Some(value) => value.as_str().ok_or_else(|| bad(claim, "must be a string")),
    }
}

fn time(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<UnixMillis>, TokenError> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..=TIME_MAX_S).contains(seconds));
    let seconds = seconds.ok_or_else(|| bad(claim, "must be seconds since 1970"))?;
    #[allow(clippy::cast_possible_truncation, reason = "bounded above")]
    Ok(Some(UnixMillis((seconds * 1_000.0) as i64)))
}

fn list<'a>(value: &'a Value, claim: &'static str) -> Result<Vec<&'a str>, TokenError> {
    let all = value.as_array().filter(|all| all.len() <= LIST_MAX);
    let all = all.and_then(|all| all.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    all.ok_or_else(|| bad(claim, format!("must be a list of at most {LIST_MAX} strings")))
}

fn id<T: std::str::FromStr>(text: &str, claim: &'static str) -> Result<T, TokenError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| bad(claim, error.to_string()))
}

impl Rules {
    /// Who a token speaks for at `now`, from claims whose signature is good.
    pub(super) fn principal(&self, claims: &Map<String, Value>, now: UnixMillis) -> Result<Principal, TokenError> {
        if text(claims, "iss")? != self.issuer {
            return Err(bad("iss", "isn't this key's issuer"));
        }
        self.audience(claims)?;
        let expires_at = self.times(claims, now)?;
        let sub = text(claims, "sub")?;
        if !is_token(sub) {
            return Err(bad("sub", crate::domain::ids::IdError.to_string()));
        }
        let role: Role = id(text(claims, "role")?, "role")?;
        if !self.roles.contains(&role) {
            return Err(bad("role", format!("`{}` isn't its issuer's to grant", role.name())));
        }
        let (id, order) = if role == Role::Shared {
            let jti = text(claims, "jti")?;
            if !is_token(jti) {
                return Err(bad("jti", crate::domain::ids::IdError.to_string()));
            }
            (jti, Some(id::<OrderId>(text(claims, "order")?, "order")?))
        } else if claims.contains_key("order") {
            return Err(bad("order", "is for the role `shared` only"));
        } else {
            (sub, None)
        };
        let (id, cells, expires_at) = (id.into(), self.cells(claims)?, Some(expires_at));
        Ok(Principal { role, id, cells, order, expires_at, everyone: false })
    }

    fn audience(&self, claims: &Map<String, Value>) -> Result<(), TokenError> {
        let fits = match claims.get("aud") {
            None => return Err(bad("aud", "is missing")),
            Some(Value::String(one)) => *one == self.audience,
            Some(several) => list(several, "aud")?.contains(&&*self.audience),
        };
        if fits { Ok(()) } else { Err(bad("aud", "isn't this server's audience")) }
    }

    fn times(&self, claims: &Map<String, Value>, now: UnixMillis) -> Result<UnixMillis, TokenError> {
        let expires_at = time(claims, "exp")?.ok_or_else(|| bad("exp", "is missing"))?;
        let (from, issued) = (time(claims, "nbf")?, time(claims, "iat")?);
        if self.over(expires_at, now) {
            return Err(TokenError::Expired);
        }
        if [from, issued].into_iter().flatten().any(|at| at.since(now) > self.leeway_ms) {
            return Err(TokenError::NotYet);
        }
        // One that is issued early in its life still ends in time.
        let begins = issued.map_or(now, |at| at.min(now));
        if expires_at.since(begins) > self.lifetime_max_ms.saturating_add(self.leeway_ms) {
            return Err(bad("exp", format!("is more than {} seconds ahead", self.lifetime_max_ms / 1_000)));
        }
        Ok(expires_at)
    }

    /// Whether a token has ended: at `exp` it has (RFC 7519, 4.1.4), plus the leeway.
    pub(super) fn over(&self, expires_at: UnixMillis, now: UnixMillis) -> bool {
        now.since(expires_at) >= self.leeway_ms
    }

    fn cells(&self, claims: &Map<String, Value>) -> Result<Option<Arc<BTreeSet<CellId>>>, TokenError> {
        let Some(value) = claims.get("cells") else { return Ok(self.cells.clone()) };
        let named: BTreeSet<CellId> =
            list(value, "cells")?.into_iter().map(|cell| id(cell, "cells")).collect::<Result<_, _>>()?;
        let granted = |cell: &&CellId| self.cells.as_ref().is_some_and(|granted| !granted.contains(*cell));
        match named.iter().find(granted) {
            Some(cell) => Err(bad("cells", format!("`{cell}` isn't its issuer's to grant"))),
            None => Ok(Some(Arc::new(named))),
        }
    }

    /// The claims of a new token, which this server would take itself (from its `nbf` on).
    pub(super) fn issue(&self, claims: &Claims, now: UnixMillis) -> Result<Map<String, Value>, TokenError> {
        let Claims { role, sub, cells, order, jti, not_before, expires_at } = claims;
        let mut out = Map::new();
        let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
        put("iss", self.issuer.as_str().into());
        put("aud", self.audience.as_str().into());
        put("sub", sub.as_str().into());
        put("role", role.name().into());
        put("iat", now.0.div_euclid(1_000).into());
        put("exp", expires_at.plus(999).0.div_euclid(1_000).into());
        if let Some(at) = not_before {
            put("nbf", at.0.div_euclid(1_000).into());
        }
        if let Some(cells) = cells {
            put("cells", json!(cells));
        }
        if let Some(order) = order {
            put("order", order.as_str().into());
        }
        if let Some(jti) = jti {
            put("jti", jti.as_str().into());
        }
        self.principal(&out, not_before.map_or(now, |at| at.max(now)))?;
        Ok(out)
    }
}
