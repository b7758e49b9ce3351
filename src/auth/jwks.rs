//! An issuer's published keys (JWKS, RFC 7517), fetched by one task per issuer.
//!
//! Nobody but that task fetches: who needs a key that isn't there leaves word and waits for the task's next answer. So there is
//! never more than one fetch at a time, and a sender who goes away, or a thousand who invent key ids, change nothing about
//! it: word is heeded at most once per [`JwksOptions::rest`].
//!
//! ```text
//! fetched ──▶ fresh ──(0.8 of its age)──▶ fetch again ──▶ fresh
//!                                            │ fails: again after 10 s, 20 s … 5 min; meanwhile the old keys hold
//!                                            └─ for `stale_max` beyond their age, then: unavailable
//! ```

use super::{Time, keys::Key};
use crate::{
    metrics::{Metrics, OutcomeLabel},
    ports::TokenError,
};
use jsonwebtoken::jwk::Jwk;
use parking_lot::Mutex;
use reqwest::{StatusCode, header};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::{Instant, sleep_until},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Each with the reason for its default.
#[derive(Clone, Debug)]
pub struct JwksOptions {
    pub connect_timeout: Duration,
    /// For the whole answer.
    pub timeout: Duration,
    /// Large providers' sets, certificate chains included, are some 20 kB.
    pub body_max_bytes: usize,
    /// Keys taken of one set; nobody rotates through more.
    pub keys_max: usize,
    /// Bounds of what `max-age` may say, and what holds without it.
    pub age_min: Duration,
    pub age_max: Duration,
    pub age_default: Duration,
    /// How long keys hold beyond their age while their issuer doesn't answer: over a night's outage, but no longer than a stolen
    /// key should outlive its removal.
    pub stale_max: Duration,
    /// Between fetches that unknown key ids ask for.
    pub rest: Duration,
    /// Most that a repetition after a failure waits.
    pub retry_max: Duration,
    /// Requests that wait for keys at once; beyond it they are refused as if the issuer were away.
    pub waiting_max: usize,
}

impl Default for JwksOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(5),
            body_max_bytes: 256 << 10,
            keys_max: 64,
            age_min: Duration::from_secs(60),
            age_max: Duration::from_secs(24 * 3_600),
            age_default: Duration::from_secs(15 * 60),
            stale_max: Duration::from_secs(24 * 3_600),
            rest: Duration::from_secs(10),
            retry_max: Duration::from_secs(5 * 60),
            waiting_max: 256,
        }
    }
}

/// Why a fetch brought no keys.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Request(reqwest::Error),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("more than {0} bytes")]
    TooLarge(usize),
    #[error("no JWKS: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("has no key that could be used")]
    Empty,
}

/// Without the address: the log names it beside the error, once.
impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        Self::Request(error.without_url())
    }
}

/// What is known of a key id.
#[derive(Debug)]
pub(super) enum Lookup {
    Found(Arc<Key>),
    /// It isn't there, and it is too early to ask again.
    Missing(TokenError),
    /// It may be worth waiting for [`Jwks::refreshed`].
    Ask,
}

/// One issuer's keys. Dropping it ends its task.
#[derive(Debug)]
pub(super) struct Jwks {
    shared: Arc<Shared>,
    _task: DropGuard,
}

#[derive(Debug)]
struct Shared {
    url: String,
    client: reqwest::Client,
    options: JwksOptions,
    time: Time,
    metrics: Metrics,
    cached: Mutex<Cached>,
    /// Word that a key is missing.
    wanted: Notify,
    /// Counts the task's answers to such word.
    answers: watch::Sender<u64>,
    waiting: Semaphore,
}

#[derive(Debug, Default)]
struct Cached {
    keys: Vec<Arc<Key>>,
    /// Until when they hold, by the steady clock; `None` before the first.
    good_until_ms: Option<i64>,
    /// Since when a fetch is under way.
    fetching: bool,
    /// When the last fetch ended.
    fetched_ms: Option<i64>,
    failures: u32,
}

impl Jwks {
    /// Begins to fetch at once.
    pub(super) fn start(
        url: &str,
        options: JwksOptions,
        time: Time,
        metrics: Metrics,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Result<Self, String> {
        // A redirect could lead from https to anywhere; a proxy of the environment isn't configuration.
        let client = reqwest::Client::builder()
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| error.to_string())?;
        let cancel = cancel.child_token();
        let waiting = Semaphore::new(options.waiting_max);
        let shared = Arc::new(Shared {
            url: url.to_owned(),
            client,
            options,
            time,
            metrics,
            cached: Mutex::new(Cached { fetching: true, ..Cached::default() }),
            wanted: Notify::new(),
            answers: watch::Sender::new(0),
            waiting,
        });
        tasks.spawn(shared.clone().run(cancel.clone()));
        Ok(Self { shared, _task: cancel.drop_guard() })
    }

    pub(super) fn url(&self) -> &str {
        &self.shared.url
    }

    pub(super) fn key(&self, kid: &str) -> Lookup {
        let now_ms = (self.shared.time.steady_ms)();
        let cached = self.shared.cached.lock();
        let hold = cached.good_until_ms.is_some_and(|until| now_ms < until);
        let found = cached.keys.iter().find(|key| hold && *key.kid == *kid);
        match found {
            Some(key) => Lookup::Found(key.clone()),
            None if cached.fetching || self.shared.rested(&cached) => Lookup::Ask,
            None => Lookup::Missing(missing(hold)),
        }
    }

    /// What to say of a key that isn't there.
    pub(super) fn missing(&self) -> TokenError {
        let now_ms = (self.shared.time.steady_ms)();
        missing(self.shared.cached.lock().good_until_ms.is_some_and(|until| now_ms < until))
    }

    /// Waits until the task has looked once more, or has said that it won't; never longer than a fetch may take.
    pub(super) async fn refreshed(&self) {
        let shared = &self.shared;
        let Ok(_place) = shared.waiting.try_acquire() else { return };
        let mut answers = shared.answers.subscribe();
        answers.mark_unchanged();
        shared.wanted.notify_one();
        // Two fetches: one may have begun before the key was published.
        let most = shared.options.timeout * 2;
        let _ = tokio::time::timeout(most, answers.changed()).await;
    }
}

fn missing(hold: bool) -> TokenError {
    if hold { TokenError::Signature } else { TokenError::Unavailable }
}

impl Shared {
    /// Whether unknown key ids may ask again.
    fn rested(&self, cached: &Cached) -> bool {
        let rest_ms = i64::try_from(self.options.rest.as_millis()).unwrap_or(i64::MAX);
        cached.fetched_ms.is_none_or(|at| (self.time.steady_ms)() - at >= rest_ms)
    }

    async fn run(self: Arc<Self>, cancel: CancellationToken) {
        let mut next = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = sleep_until(next) => {}
                () = self.wanted.notified() => {
                    let rested = self.rested(&self.cached.lock());
                    if !rested {
                        self.answers.send_modify(|n| *n += 1);
                        continue;
                    }
                }
            }
            self.cached.lock().fetching = true;
            let fetched = tokio::select! {
                () = cancel.cancelled() => return,
                fetched = self.fetch() => fetched,
            };
            next = Instant::now() + self.took(fetched);
            self.answers.send_modify(|n| *n += 1);
        }
    }

    /// Keeps what was fetched; says when to fetch again.
    fn took(&self, fetched: Result<(Vec<Key>, Duration), FetchError>) -> Duration {
        let now_ms = (self.time.steady_ms)();
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let outcome = if fetched.is_ok() { "good" } else { "failed" };
        self.metrics.jwks_fetches.get_or_create(&OutcomeLabel { outcome }).inc();
        let mut cached = self.cached.lock();
        cached.fetching = false;
        cached.fetched_ms = Some(now_ms);
        match fetched {
            Ok((keys, age)) => {
                // A key that stays is the same one: what it signed needn't be looked at again.
                let old = std::mem::take(&mut cached.keys);
                let same = |key: &Key| old.iter().find(|before| ***before == *key).cloned();
                cached.keys = keys.into_iter().map(|key| same(&key).unwrap_or_else(|| Arc::new(key))).collect();
                cached.failures = 0;
                let hold = age.saturating_add(self.options.stale_max);
                cached.good_until_ms = Some(now_ms.saturating_add(ms(hold)));
                tracing::debug!(url = %self.url, keys = cached.keys.len(), ?age, "an issuer's keys are here");
                age.mul_f64(0.8)
            }
            Err(error) => {
                let pause = self.options.rest.saturating_mul(1 << cached.failures.min(16)).min(self.options.retry_max);
                cached.failures = cached.failures.saturating_add(1);
                let left_s = cached.good_until_ms.map_or(0, |until| (until - now_ms).max(0) / 1_000);
                tracing::warn!(url = %self.url, %error, keys_hold_s = left_s, ?pause, "an issuer's keys can't be had");
                pause
            }
        }
    }

    async fn fetch(&self) -> Result<(Vec<Key>, Duration), FetchError> {
        let most = self.options.body_max_bytes;
        let request = self.client.get(&self.url).header(header::ACCEPT, "application/json, application/jwk-set+json");
        let mut response = request.send().await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let age = max_age(response.headers()).unwrap_or(self.options.age_default);
        let age = age.clamp(self.options.age_min, self.options.age_max);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > most {
                return Err(FetchError::TooLarge(most));
            }
            body.extend_from_slice(&chunk);
        }
        let keys = self.keys(&body)?;
        if keys.is_empty() { Err(FetchError::Empty) } else { Ok((keys, age)) }
    }

    /// The keys that can be used. One that can't doesn't spoil the others: sets hold keys for other uses too.
    fn keys(&self, body: &[u8]) -> Result<Vec<Key>, serde_json::Error> {
        #[derive(serde::Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let mut keys: Vec<Key> = Vec::new();
        for value in serde_json::from_slice::<Set>(body)?.keys {
            let kid = value.get("kid").and_then(|kid| kid.as_str()).unwrap_or_default().to_owned();
            let key = match serde_json::from_value::<Jwk>(value).map(|jwk| Key::from_jwk(&jwk)) {
                Ok(Ok(key)) => key,
                Ok(Err(error)) => {
                    tracing::debug!(url = %self.url, kid, %error, "a published key is left out");
                    continue;
                }
                Err(error) => {
                    tracing::debug!(url = %self.url, kid, %error, "a published key is left out");
                    continue;
                }
            };
            if keys.len() < self.options.keys_max && keys.iter().all(|other| other.kid != key.kid) {
                keys.push(key);
            }
        }
        Ok(keys)
    }
}

/// Of `Cache-Control`. What may not be kept is kept for the shortest time.
fn max_age(headers: &header::HeaderMap) -> Option<Duration> {
    let said = headers.get(header::CACHE_CONTROL)?.to_str().ok()?.to_ascii_lowercase();
    let directives = || said.split(',').map(str::trim);
    if directives().any(|directive| directive == "no-store" || directive == "no-cache") {
        return Some(Duration::ZERO);
    }
    let seconds = directives().find_map(|directive| directive.strip_prefix("max-age="))?;
    seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
}
