//! REST as a patient shop uses it: every command carries an idempotency key, so whatever leaves the outcome unknown (a
//! refused connection, a timeout, a 5xx) is simply sent again, for as long as the patience lasts.

use super::{OutsideError, Record, Token, backoff};
use crate::{
    clock::Stopwatch,
    domain::OrderId,
    wire::{
        answer::Acceptance,
        header,
        problem::Problem,
        query::{CellState, OrderPage, Snapshot, TrackPage, TrackRow},
        view::View,
    },
};
use reqwest::{Method, StatusCode, header::AUTHORIZATION};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;
use tokio_tungstenite::tungstenite::{client::IntoClientRequest, handshake::client::Request};

/// Longest wait for one answer. The server gives up on its own after 10 s and says so.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The WebSocket's path.
pub(super) const WS_PATH: &str = "/v1/ws";

/// A client of the REST routes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    base: String,
    role: View,
    patience: Duration,
    token: Option<Token>,
    record: Record,
}

impl Http {
    /// `base` as `http://127.0.0.1:8080`; `patience` bounds the repetition of one request.
    pub fn new(base: &str, role: View, patience: Duration) -> Result<Self, OutsideError> {
        let argument = |reason: String| OutsideError::Argument { field: "http", reason };
        if !base.starts_with("http://") {
            return Err(argument(format!("`{base}` must begin with http://")));
        }
        // A proxy of the environment must not come between the programs of one machine.
        let client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .build()
            .map_err(|e| argument(e.to_string()))?;
        let (base, record) = (base.trim_end_matches('/').to_owned(), Record::default());
        Ok(Self { client, base, role, patience, token: None, record })
    }

    /// With a token in every request.
    #[must_use]
    pub fn with_token(self, token: Option<Token>) -> Self {
        Self { token, ..self }
    }

    /// The request that opens a WebSocket, with the token if there is one.
    pub fn ws_request(&self) -> Result<Request, OutsideError> {
        let url = self.ws_url();
        let request = url.as_str().into_client_request();
        let mut request =
            request.map_err(|error| OutsideError::Argument { field: "http", reason: format!("`{url}`: {error}") })?;
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.header());
        }
        Ok(request)
    }

    /// Keeps every answer to a read.
    pub fn recorded(mut self, record: Record) -> Self {
        self.record = record;
        self
    }

    /// Where answers to reads are kept.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The WebSocket's address with this client's role.
    pub fn ws_url(&self) -> String {
        format!("{}{}", self.base.replacen("http://", "ws://", 1), self.in_role(WS_PATH))
    }

    /// A path, asked in this client's role: the one place that says who is asking.
    fn in_role(&self, path: &str) -> String {
        // A token says it, and leaves nothing to say.
        if self.token.is_some() {
            return path.to_owned();
        }
        let joint = if path.contains('?') { '&' } else { '?' };
        format!("{path}{joint}role={}", self.role.name())
    }

    /// The role that reads are made in.
    pub fn role(&self) -> View {
        self.role
    }

    /// Sends a command under `key` until there is an answer. A refusal is an error.
    pub async fn command<B: Serialize + Sync>(
        &self,
        path: &str,
        key: &str,
        body: &B,
    ) -> Result<Acceptance, OutsideError> {
        let request = format!("POST {path}");
        let body = serde_json::to_vec(body)
            .map_err(|e| OutsideError::Unreadable { request: request.clone(), reason: e.to_string() })?;
        self.exchange(Method::POST, path, Some((key, body))).await
    }

    /// An order as this client's role sees it.
    pub async fn order(&self, order: &OrderId) -> Result<Snapshot, OutsideError> {
        self.get(&self.in_role(&format!("/v1/orders/{order}"))).await
    }

    /// A page of orders, newest first.
    pub async fn orders(&self, cursor: Option<&str>, limit: u32) -> Result<OrderPage, OutsideError> {
        let cursor = cursor.map(|c| format!("&cursor={}", percent(c))).unwrap_or_default();
        self.get(&self.in_role(&format!("/v1/orders?limit={limit}{cursor}"))).await
    }

    /// The whole history of an order, page by page.
    pub async fn track(&self, order: &OrderId) -> Result<Vec<TrackRow>, OutsideError> {
        let mut rows = Vec::new();
        let mut path = format!("/v1/orders/{order}/track");
        loop {
            let page: TrackPage = self.get(&path).await?;
            let got = page.rows.len();
            rows.extend(page.rows);
            match page.next {
                Some(next) if got > 0 => path = format!("/v1/orders/{order}/track?after={next}"),
                Some(_) | None => return Ok(rows),
            }
        }
    }

    /// The cell's clock and place.
    pub async fn cell(&self) -> Result<CellState, OutsideError> {
        self.get("/v1/cell").await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, OutsideError> {
        self.exchange(Method::GET, path, None).await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        command: Option<(&str, Vec<u8>)>,
    ) -> Result<T, OutsideError> {
        let since = Stopwatch::start();
        let mut tries = 0;
        loop {
            let request = || format!("{method} {path}");
            let last = match self.once(method.clone(), path, command.as_ref()).await {
                Ok((status, body)) if status.is_success() => {
                    return serde_json::from_slice(&body)
                        .map_err(|e| OutsideError::Unreadable { request: request(), reason: e.to_string() });
                }
                Ok((status, body)) => {
                    let problem = problem(status, &body);
                    if !worth_repeating(&problem) {
                        return Err(OutsideError::Refused { request: request(), problem: Box::new(problem) });
                    }
                    format!("{} {}", problem.status, problem.detail.unwrap_or(problem.title))
                }
                Err(error) => error.to_string(),
            };
            tries += 1;
            if since.elapsed() >= self.patience {
                return Err(OutsideError::NoAnswer { request: request(), tries, last });
            }
            tokio::time::sleep(backoff(tries)).await;
        }
    }

    async fn once(
        &self,
        method: Method,
        path: &str,
        command: Option<&(&str, Vec<u8>)>,
    ) -> Result<(StatusCode, Vec<u8>), reqwest::Error> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.header());
        }
        if let Some((key, body)) = command {
            request = request
                .header(header::IDEMPOTENCY_KEY, *key)
                .header(reqwest::header::CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        let response = request.send().await?;
        let (status, body) = (response.status(), response.bytes().await?);
        if command.is_none() {
            self.record.keep(path, &body);
        }
        Ok((status, body.to_vec()))
    }
}

/// What the server said, or the bare status if it wasn't a problem document.
fn problem(status: StatusCode, body: &[u8]) -> Problem {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
        Problem::new(status.as_u16(), "about:blank", status.canonical_reason().unwrap_or("error")).with_detail(text)
    })
}

/// An outcome that is unknown, or a server that has no time now. `set_aside` is an answer although it is a 500.
fn worth_repeating(problem: &Problem) -> bool {
    (problem.status >= 500 && problem.kind != "set_aside") || problem.status == 429 || problem.status == 408
}

/// Percent-encodes what isn't unreserved (RFC 3986).
fn percent(text: &str) -> String {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if unreserved(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    #[test]
    fn only_unknown_outcomes_are_repeated() {
        let of = |status, kind| worth_repeating(&Problem::new(status, kind, ""));
        assert!(of(503, "unavailable") && of(504, "timeout") && of(429, "busy"));
        assert!(!of(409, "transition") && !of(400, "bad_input") && !of(500, "set_aside"));
    }

    #[test]
    fn cursors_are_encoded_and_addresses_checked() {
        assert_eq!(percent("a b/+="), "a%20b%2F%2B%3D");
        assert!(Http::new("https://x", View::Operations, Duration::ZERO).is_err());
        let http = Http::new("http://h:1/", View::Customer, Duration::ZERO).unwrap();
        assert_eq!(http.ws_url(), "ws://h:1/v1/ws?role=customer");
        assert_eq!(http.ws_request().unwrap().headers().get(AUTHORIZATION), None);
        let http = http.with_token("a.b.c".parse().ok());
        assert_eq!(http.ws_request().unwrap().headers()[AUTHORIZATION], "Bearer a.b.c");
    }

    /// A server that is away twice gets the same command under the same key until it answers.
    #[tokio::test]
    async fn repeats_with_the_same_key() {
        let calls = Arc::new(AtomicU32::new(0));
        let seen = calls.clone();
        let pay = move |headers: axum::http::HeaderMap| {
            let seen = seen.clone();
            async move {
                assert_eq!(headers[header::IDEMPOTENCY_KEY], "k1");
                assert_eq!(headers["authorization"], "Bearer a.b.c");
                if seen.fetch_add(1, Ordering::SeqCst) < 2 {
                    return (StatusCode::SERVICE_UNAVAILABLE, String::new());
                }
                (StatusCode::OK, r#"{"version":2,"rev":2,"status":2}"#.to_owned())
            }
        };
        let refuse = || async { (StatusCode::CONFLICT, r#"{"type":"transition","title":"No","status":409}"#) };
        let router = axum::Router::new()
            .route("/v1/orders/o/pay", axum::routing::post(pay))
            .route("/v1/orders/o/cancel", axum::routing::post(refuse));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let tasks = tokio_util::task::TaskTracker::new();
        tasks.spawn(async move { axum::serve(listener, router).await });
        let http = Http::new(&base, View::Operations, Duration::from_secs(5)).unwrap().with_token("a.b.c".parse().ok());
        let done = http.command("/v1/orders/o/pay", "k1", &serde_json::json!({})).await.unwrap();
        assert_eq!((done.version, calls.load(Ordering::SeqCst)), (2, 3));
        let refused = http.command("/v1/orders/o/cancel", "k1", &serde_json::json!({})).await.unwrap_err();
        assert!(matches!(refused, OutsideError::Refused { problem, .. } if problem.kind == "transition"));
    }
}
