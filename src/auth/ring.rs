//! Issuers and their keys as they are in force, and the way of one token through them. A ring is never changed, only replaced.

use super::{
    AuthError, TOKEN_MAX_BYTES,
    claims::{Rules, text},
    jwks::{Jwks, Lookup},
    keys::{self, Key},
    seen::{self, Seen},
};
use crate::{
    config::auth::Auth,
    domain::UnixMillis,
    ports::{Claims, SignError, TokenError},
    wire::access::Principal,
};
use jsonwebtoken::{Header, TokenData, dangerous::insecure_decode};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::{collections::HashMap, sync::Arc};

/// Whose tokens are taken. A reload makes another one of it, with other rules perhaps.
#[derive(Debug)]
pub(super) struct Issuer {
    rules: Rules,
    keys: Vec<Arc<Key>>,
    jwks: Option<Arc<Jwks>>,
}

/// The issuers by name.
#[derive(Debug, Default)]
pub(super) struct Ring {
    issuers: HashMap<String, Arc<Issuer>>,
    signing: Option<(Arc<Issuer>, Arc<Key>)>,
}

/// What can be said of a token at once.
#[derive(Debug)]
pub(super) enum Verdict {
    Known(Result<Principal, TokenError>),
    /// Its issuer may have published its key meanwhile.
    Ask(Arc<Jwks>),
}

/// A token's parts as they stand there, believed by nobody.
#[derive(Clone, Debug)]
pub struct Unverified {
    pub header: Header,
    pub claims: Map<String, Value>,
}

/// Reads a token without looking at its signature.
pub fn read(token: &str) -> Result<Unverified, TokenError> {
    if token.len() > TOKEN_MAX_BYTES {
        return Err(TokenError::Malformed(format!("it has more than {TOKEN_MAX_BYTES} bytes")));
    }
    if token.split('.').count() != 3 {
        return Err(TokenError::Malformed("it isn't three parts with dots between".into()));
    }
    let unreadable =
        |_| TokenError::Malformed("its header or its claims aren't base64url of JSON, or `alg` isn't known".into());
    let TokenData { header, claims } = insecure_decode(token).map_err(unreadable)?;
    Ok(Unverified { header, claims })
}

/// What the header asks for and nobody here does, and a token of another kind.
fn plain(header: &Header) -> Result<(), TokenError> {
    if header.crit.is_some() || header.enc.is_some() || header.zip.is_some() {
        return Err(TokenError::Malformed("its header asks for extensions".into()));
    }
    let kind = header.typ.as_deref().unwrap_or("JWT").to_ascii_lowercase();
    match ["jwt", "at+jwt"].contains(&kind.trim_start_matches("application/")) {
        true => Ok(()),
        false => Err(TokenError::Malformed("its `typ` is neither JWT nor at+jwt".into())),
    }
}

/// Whether the signature is this key's, by this key's algorithm.
fn signed_by(key: &Key, token: &str) -> Result<(), TokenError> {
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Signature)?;
    match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.verify, keys::jwt(key.alg)) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(TokenError::Signature),
    }
}

impl Ring {
    /// Reads the keys; `start` begins to fetch those of an issuer that `before` doesn't fetch from the same place.
    pub(super) fn new(
        auth: &Auth,
        before: &Self,
        start: impl Fn(&str, &str) -> Result<Jwks, AuthError>,
    ) -> Result<Self, AuthError> {
        // All that may fail by a key first: no task is started for a ring that doesn't come to be.
        let keys: Vec<_> = auth.issuers.iter().map(keys::of).collect::<Result<_, _>>()?;
        let ms = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let mut ring = Self::default();
        for (issuer, keys) in auth.issuers.iter().zip(keys) {
            let kept = before.issuers.get(&issuer.name).and_then(|issuer| issuer.jwks.clone());
            let jwks = match &issuer.jwks_url {
                None => None,
                Some(url) => match kept.filter(|jwks| jwks.url() == url) {
                    Some(jwks) => Some(jwks),
                    None => Some(Arc::new(start(&issuer.name, url)?)),
                },
            };
            let rules = Rules {
                issuer: issuer.name.clone(),
                audience: issuer.audience.clone(),
                roles: issuer.roles.clone(),
                cells: issuer.cells.clone().map(Arc::new),
                leeway_ms: ms(auth.leeway),
                lifetime_max_ms: ms(auth.lifetime_max),
            };
            let made = Arc::new(Issuer { rules, keys, jwks });
            if ring.signing.is_none() {
                let key = made.keys.iter().find(|key| key.sign.is_some()).cloned();
                ring.signing = key.map(|key| (made.clone(), key));
            }
            ring.issuers.insert(issuer.name.clone(), made);
        }
        Ok(ring)
    }

    pub(super) fn verdict(&self, token: &str, now: UnixMillis, seen: &Mutex<Seen>) -> Verdict {
        let (issuer, key, claims) = match self.key(token) {
            Ok(Found::Key(issuer, key, claims)) => (issuer, key, claims),
            Ok(Found::Ask(jwks)) => return Verdict::Ask(jwks),
            Err(error) => return Verdict::Known(Err(error)),
        };
        let print = seen::print(token);
        let known = seen.lock().get(&print, &issuer, &key);
        if let Some(principal) = known {
            return Verdict::Known(match principal.expires_at.is_some_and(|at| issuer.rules.over(at, now)) {
                true => {
                    seen.lock().remove(&print);
                    Err(TokenError::Expired)
                }
                false => Ok(principal),
            });
        }
        let result = signed_by(&key, token).and_then(|()| issuer.rules.principal(&claims, now));
        if let Ok(principal) = &result {
            seen.lock().put(print, &issuer, &key, principal.clone());
        }
        Verdict::Known(result)
    }

    /// The key that a token must be signed by, if it says the truth about itself.
    fn key(&self, token: &str) -> Result<Found, TokenError> {
        let Unverified { header, claims } = read(token)?;
        plain(&header)?;
        let issuer = self.issuers.get(text(&claims, "iss")?).ok_or(TokenError::Signature)?;
        let found = match (&header.kid, &issuer.jwks) {
            // Many who sign with one key don't name it.
            (None, None) if issuer.keys.len() == 1 => issuer.keys.first().cloned(),
            (None, _) => return Err(TokenError::Malformed("its header names no key (`kid`)".into())),
            (Some(kid), jwks) => match (issuer.keys.iter().find(|key| *key.kid == **kid), jwks) {
                (Some(key), _) => Some(key.clone()),
                (None, None) => None,
                (None, Some(jwks)) => match jwks.key(kid) {
                    Lookup::Found(key) => Some(key),
                    Lookup::Missing(error) => return Err(error),
                    Lookup::Ask => return Ok(Found::Ask(jwks.clone())),
                },
            },
        };
        let key = found.filter(|key| keys::jwt(key.alg) == header.alg).ok_or(TokenError::Signature)?;
        Ok(Found::Key(issuer.clone(), key, claims))
    }

    /// Signs with the first key that may.
    pub(super) fn sign(&self, claims: &Claims, now: UnixMillis) -> Result<String, SignError> {
        let (issuer, key) = self.signing.as_ref().ok_or(SignError::NoKey)?;
        let sign = key.sign.as_ref().ok_or(SignError::NoKey)?;
        let claims = issuer.rules.issue(claims, now)?;
        let header = Header { kid: Some(key.kid.to_string()), ..Header::new(keys::jwt(key.alg)) };
        let token =
            jsonwebtoken::encode(&header, &claims, sign).map_err(|error| SignError::Failed(error.to_string()))?;
        match token.len() > TOKEN_MAX_BYTES {
            true => Err(SignError::Failed(format!("the token has more than {TOKEN_MAX_BYTES} bytes"))),
            false => Ok(token),
        }
    }
}

enum Found {
    /// With the claims, which nobody has proven yet.
    Key(Arc<Issuer>, Arc<Key>, Map<String, Value>),
    Ask(Arc<Jwks>),
}
