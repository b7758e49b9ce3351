//! Whose word is taken: tokens (JWT, RFC 7519) are checked here and signed here, and nowhere else.
//!
//! A token names its issuer, the issuer and the token's `kid` choose the key, and the key alone says which algorithm holds; the
//! token's own `alg` only has to agree. What a token grants is cut to what its issuer may grant.
//!
//! ```text
//! token ─▶ issuer (allow-list) ─▶ key (static, or JWKS) ─▶ signature ─▶ claims ─▶ Principal
//!                                  └─ unknown: asked for at most every 10 s, by one task per issuer
//! ```
//!
//! Keys change while the program runs: by [`Tokens::reload`], and when an issuer publishes others. What is remembered of a
//! token is bound to the key and the rules that it was looked at by, so a key that is gone takes its tokens with it.

mod claims;
mod jwks;
pub mod keygen;
mod keys;
mod ring;
mod seen;
#[cfg(test)]
mod tests;

pub use jwks::JwksOptions;
pub use keys::KeyError;
pub use ring::{Unverified, read};

use crate::{
    clock::{self, Stopwatch},
    config::auth::Auth,
    domain::UnixMillis,
    metrics::{Metrics, OutcomeLabel},
    ports::{Authenticator, Claims, SignError, TokenError, TokenSigner},
    wire::access::Principal,
};
use futures::future::{BoxFuture, FutureExt};
use parking_lot::{Mutex, RwLock};
use ring::{Ring, Verdict};
use std::{fmt, sync::Arc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Longest token, in bytes. One signed by 4,096 bits of RSA with a hundred cells stays below 6,000.
pub const TOKEN_MAX_BYTES: usize = 8 << 10;

/// Why the keys can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("auth.issuers: `{issuer}`: key `{kid}`: {source}")]
    Key { issuer: String, kid: String, source: KeyError },
    #[error("auth.issuers: `{issuer}`: jwks_url: no HTTP client: {reason}")]
    Client { issuer: String, reason: String },
}

/// Settings, each with the reason for its default.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tokens remembered as verified, at some 100 bytes each: every user of a busy bridge, so that a reconnecting crowd costs
    /// no signatures.
    pub seen_max: usize,
    pub jwks: JwksOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self { seen_max: 20_000, jwks: JwksOptions::default() }
    }
}

/// Where the time comes from.
#[derive(Clone)]
pub struct Time {
    /// What `exp` and `nbf` are compared with.
    wall: Arc<dyn Fn() -> UnixMillis + Send + Sync>,
    /// Milliseconds since some moment, never set back or forth: how old an issuer's keys are.
    steady_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl Time {
    /// The machine's clocks.
    pub fn machine() -> Self {
        let since = Stopwatch::start();
        let steady_ms = move || i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX);
        Self { wall: Arc::new(clock::wall), steady_ms: Arc::new(steady_ms) }
    }

    /// One clock for both: what tests use.
    pub fn of(now: impl Fn() -> UnixMillis + Send + Sync + 'static) -> Self {
        let wall: Arc<dyn Fn() -> UnixMillis + Send + Sync> = Arc::new(now);
        let steady = wall.clone();
        Self { wall, steady_ms: Arc::new(move || steady().0) }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Time").finish_non_exhaustive()
    }
}

/// Looks into every key without using any: what `serve --check` asks.
pub fn check(auth: &Auth) -> Result<(), AuthError> {
    for issuer in &auth.issuers {
        keys::of(issuer)?;
    }
    Ok(())
}

/// Checks tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tokens {
    inner: Arc<Inner>,
}

/// Signs with the first key of `sign = true`, also after a reload.
#[derive(Clone, Debug)]
pub struct Signer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ring: RwLock<Arc<Ring>>,
    seen: Mutex<seen::Seen>,
    time: Time,
    options: Options,
    metrics: Metrics,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Tokens {
    /// Reads the keys. Issuers' published keys are fetched by tasks on `tasks`, one per issuer, until `cancel` or until the last
    /// clone is gone; a token that needs them before they are there waits for them.
    pub fn start(
        auth: &Auth,
        options: Options,
        time: Time,
        metrics: Metrics,
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) -> Result<Self, AuthError> {
        let seen = Mutex::new(seen::Seen::new(options.seen_max));
        let ring = RwLock::new(Arc::new(Ring::default()));
        let tokens = Self { inner: Arc::new(Inner { ring, seen, time, options, metrics, tasks, cancel }) };
        tokens.reload(auth)?;
        Ok(tokens)
    }

    /// Takes other issuers and keys from now on, or changes nothing. Keys fetched for an issuer that stays are kept.
    pub fn reload(&self, auth: &Auth) -> Result<(), AuthError> {
        let inner = &self.inner;
        let before = inner.ring.read().clone();
        let ring = Ring::new(auth, &before, |issuer, url| {
            let start = jwks::Jwks::start(
                url,
                inner.options.jwks.clone(),
                inner.time.clone(),
                inner.metrics.clone(),
                &inner.tasks,
                &inner.cancel,
            );
            start.map_err(|reason| AuthError::Client { issuer: issuer.to_owned(), reason })
        })?;
        *inner.ring.write() = Arc::new(ring);
        Ok(())
    }

    /// Signs by the same keys.
    pub fn signer(&self) -> Signer {
        Signer { inner: self.inner.clone() }
    }
}

impl Authenticator for Tokens {
    fn authenticate(&self, token: &str) -> BoxFuture<'static, Result<Principal, TokenError>> {
        let (inner, ring) = (self.inner.clone(), self.inner.ring.read().clone());
        // Nearly always there is nothing to wait for, and no copy of the token is needed.
        match inner.verdict(&ring, token) {
            Verdict::Known(result) => std::future::ready(inner.counted(result)).boxed(),
            Verdict::Ask(jwks) => {
                let token = token.to_owned();
                async move {
                    jwks.refreshed().await;
                    let result = match inner.verdict(&ring, &token) {
                        Verdict::Known(result) => result,
                        Verdict::Ask(jwks) => Err(jwks.missing()),
                    };
                    inner.counted(result)
                }
                .boxed()
            }
        }
    }
}

impl TokenSigner for Signer {
    fn sign(&self, claims: &Claims) -> Result<String, SignError> {
        let ring = self.inner.ring.read().clone();
        ring.sign(claims, (self.inner.time.wall)())
    }
}

impl Inner {
    fn verdict(&self, ring: &Ring, token: &str) -> Verdict {
        ring.verdict(token, (self.time.wall)(), &self.seen)
    }

    fn counted(&self, result: Result<Principal, TokenError>) -> Result<Principal, TokenError> {
        let outcome = match &result {
            Ok(_) => "good",
            Err(TokenError::Malformed(_)) => "malformed",
            Err(TokenError::Signature) => "signature",
            Err(TokenError::Expired) => "expired",
            Err(TokenError::NotYet) => "not_yet",
            Err(TokenError::Claim { .. }) => "claim",
            Err(TokenError::Revoked) => "revoked",
            Err(TokenError::Unavailable) => "unavailable",
        };
        self.metrics.tokens.get_or_create(&OutcomeLabel { outcome }).inc();
        result
    }
}
