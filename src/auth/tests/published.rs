//! Issuers that publish their keys, played by a small server: they rotate, go away, answer slowly or too much.

use super::*;
use axum::{Router, extract::State, http::HeaderMap, response::IntoResponse, routing::get};
use jsonwebtoken::jwk::Jwk;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// What it answers next.
#[derive(Clone, Debug)]
enum Answer {
    Keys(Vec<Value>),
    KeysFor(Vec<Value>, &'static str),
    Status(u16),
    Text(String),
    /// After so long.
    Slow(Duration),
    Elsewhere(String),
}

#[derive(Clone)]
struct Provider {
    url: String,
    answer: Arc<Mutex<Answer>>,
    fetches: Arc<AtomicU32>,
    _tasks: Arc<tokio::task::JoinSet<()>>,
}

async fn answer(State((answer, fetches)): State<(Arc<Mutex<Answer>>, Arc<AtomicU32>)>) -> axum::response::Response {
    fetches.fetch_add(1, Ordering::SeqCst);
    let answer = answer.lock().clone();
    let mut headers = HeaderMap::new();
    match answer {
        Answer::Keys(keys) => json!({"keys": keys}).to_string().into_response(),
        Answer::KeysFor(keys, cache) => {
            headers.insert("cache-control", cache.parse().unwrap());
            (headers, json!({"keys": keys}).to_string()).into_response()
        }
        Answer::Status(status) => axum::http::StatusCode::from_u16(status).unwrap().into_response(),
        Answer::Text(text) => text.into_response(),
        Answer::Slow(pause) => {
            tokio::time::sleep(pause).await;
            json!({"keys": []}).to_string().into_response()
        }
        Answer::Elsewhere(url) => {
            headers.insert("location", url.parse().unwrap());
            (axum::http::StatusCode::FOUND, headers).into_response()
        }
    }
}

impl Provider {
    async fn start(first: Answer) -> Self {
        let (shared, fetches) = (Arc::new(Mutex::new(first)), Arc::new(AtomicU32::new(0)));
        let router = Router::new().route("/jwks", get(answer)).with_state((shared.clone(), fetches.clone()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, answer: shared, fetches, _tasks: Arc::new(tasks) }
    }

    fn says(&self, answer: Answer) {
        *self.answer.lock() = answer;
    }

    fn fetches(&self) -> u32 {
        self.fetches.load(Ordering::SeqCst)
    }

    fn auth(&self) -> Auth {
        auth(vec![Issuer { jwks_url: Some(self.url.clone()), ..issuer("acme", vec![]) }])
    }

    fn tokens(&self, hands: &Hands, jwks: JwksOptions) -> Tokens {
        tokens_with(&self.auth(), hands, Options { jwks, ..Options::default() })
    }
}

/// A private key and what is published of it.
struct Pair {
    kid: &'static str,
    alg: Algorithm,
    private: EncodingKey,
    published: Value,
}

impl Pair {
    fn new(kid: &'static str, alg: Algorithm) -> Self {
        let private = match alg {
            Algorithm::EdDsa => EncodingKey::from_ed_pem(pair(alg).0.as_bytes()).unwrap(),
            Algorithm::Rs256 => EncodingKey::from_rsa_pem(rsa().0.as_bytes()).unwrap(),
            Algorithm::Hs256 => EncodingKey::from_secret(SECRET.as_bytes()),
        };
        let mut published = serde_json::to_value(Jwk::from_encoding_key(&private, jwt(alg)).unwrap()).unwrap();
        published["kid"] = kid.into();
        published["use"] = "sig".into();
        Self { kid, alg, private, published }
    }

    fn token(&self) -> String {
        jsonwebtoken::encode(&header(self.kid, jwt(self.alg)), &good(), &self.private).unwrap()
    }

    fn keys(&self) -> Answer {
        Answer::Keys(vec![self.published.clone()])
    }
}

/// An unknown key id's token.
fn invented(n: u32) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&header(&format!("k{n}"), jsonwebtoken::Algorithm::HS256), &good(), &key).unwrap()
}

#[tokio::test]
async fn published_keys_verify_and_rotate() {
    let (first, second) = (Pair::new("one", Algorithm::EdDsa), Pair::new("two", Algorithm::Rs256));
    let (provider, hands) = (Provider::start(first.keys()).await, Hands::new());
    let tokens = provider.tokens(&hands, JwksOptions::default());
    // The very first token waits for the keys.
    assert!(tokens.authenticate(&first.token()).await.is_ok());
    assert_eq!(provider.fetches(), 1);
    // Another key: found out by its id, at once if the last fetch is long enough ago.
    provider.says(Answer::Keys(vec![first.published.clone(), second.published.clone()]));
    assert_eq!(tokens.authenticate(&second.token()).await, Err(TokenError::Signature));
    assert_eq!(provider.fetches(), 1);
    hands.turn(10_000);
    assert!(tokens.authenticate(&second.token()).await.is_ok());
    assert_eq!(provider.fetches(), 2);
    // The same key, fetched again, is the same key.
    let ring = tokens.inner.ring.read().clone();
    assert!(matches!(ring.verdict(&first.token(), NOW, &tokens.inner.seen), Verdict::Known(Ok(_))));
    // One that is taken back is no good from the next fetch on, though it was remembered.
    provider.says(second.keys());
    hands.turn(10_000);
    assert_eq!(tokens.authenticate(&invented(1)).await, Err(TokenError::Signature));
    assert_eq!(tokens.authenticate(&first.token()).await, Err(TokenError::Signature));
    assert!(tokens.authenticate(&second.token()).await.is_ok());
    // A reload keeps what was fetched.
    let fetches = provider.fetches();
    tokens.reload(&provider.auth()).unwrap();
    assert!(asked(&tokens, &second.token()).is_ok());
    assert_eq!(provider.fetches(), fetches);
    // What its issuer may no longer grant, a token that is remembered doesn't either.
    let mut narrower = provider.auth();
    narrower.issuers[0].roles = [Role::Rider].into();
    tokens.reload(&narrower).unwrap();
    assert!(matches!(asked(&tokens, &second.token()), Err(TokenError::Claim { claim: "role", .. })));
    assert_eq!(provider.fetches(), fetches);
}

#[tokio::test]
async fn invented_key_ids_cost_one_fetch_in_ten_seconds() {
    let pair = Pair::new("one", Algorithm::EdDsa);
    let (provider, hands) = (Provider::start(pair.keys()).await, Hands::new());
    let tokens = provider.tokens(&hands, JwksOptions::default());
    assert!(tokens.authenticate(&pair.token()).await.is_ok());
    for round in 0..3 {
        hands.turn(10_000);
        let all = (0..300).map(|n| tokens.authenticate(&invented(n)));
        let refused = futures::future::join_all(all).await;
        assert!(refused.iter().all(|result| *result == Err(TokenError::Signature)), "round {round}");
        for n in 0..300 {
            assert_eq!(tokens.authenticate(&invented(n)).await, Err(TokenError::Signature));
        }
        assert_eq!(provider.fetches(), round + 2);
        assert!(asked(&tokens, &pair.token()).is_ok(), "the good key doesn't wait for anything");
    }
}

#[tokio::test]
async fn old_keys_hold_while_the_issuer_is_away_but_not_for_ever() {
    let pair = Pair::new("one", Algorithm::EdDsa);
    let (provider, hands) =
        (Provider::start(Answer::KeysFor(vec![pair.published.clone()], "public, max-age=600")).await, Hands::new());
    let tokens = provider.tokens(&hands, JwksOptions::default());
    let long = jsonwebtoken::encode(
        &header("one", jsonwebtoken::Algorithm::EdDSA),
        &with(json!({"exp": NOW_S + 86_400 * 2, "iat": null})),
        &pair.private,
    );
    assert!(tokens.authenticate(&pair.token()).await.is_ok());
    provider.says(Answer::Status(503));
    // A day and ten minutes, less a moment; a token of then.
    hands.turn(86_400_000 + 600_000 - 1_000);
    let token = long.unwrap();
    assert!(tokens.authenticate(&token).await.is_ok());
    assert_eq!(tokens.authenticate(&invented(1)).await, Err(TokenError::Signature));
    hands.turn(1_000);
    assert_eq!(tokens.authenticate(&token).await, Err(TokenError::Unavailable));
    // Once it is back, so are its keys.
    provider.says(pair.keys());
    hands.turn(10_000);
    assert!(tokens.authenticate(&token).await.is_ok());
}

#[tokio::test]
async fn keys_are_fetched_anew_before_they_are_old() {
    let pair = Pair::new("one", Algorithm::EdDsa);
    let provider = Provider::start(Answer::KeysFor(vec![pair.published.clone()], "max-age=0")).await;
    let options = JwksOptions { age_min: Duration::from_millis(50), ..JwksOptions::default() };
    let tokens = provider.tokens(&Hands::new(), options);
    assert!(tokens.authenticate(&pair.token()).await.is_ok());
    let until = async {
        while provider.fetches() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), until).await.expect("nobody asked, and it fetched");
    // With the last clone ends the task.
    let (tasks, shut) = (tokens.inner.tasks.clone(), tokens.inner.tasks.clone());
    drop(tokens);
    shut.close();
    tokio::time::timeout(Duration::from_secs(20), tasks.wait()).await.expect("the task ends");
}

#[tokio::test]
async fn an_issuer_that_misbehaves_is_unavailable_and_costs_little() {
    let pair = Pair::new("one", Algorithm::EdDsa);
    let large = json!({"keys": [pair.published], "pad": "x".repeat(300 << 10)}).to_string();
    let other = Provider::start(pair.keys()).await;
    let options = JwksOptions { timeout: Duration::from_millis(300), ..JwksOptions::default() };
    for (what, answer) in [
        ("an error", Answer::Status(500)),
        ("too much", Answer::Text(large)),
        ("no JSON", Answer::Text("<html>".into())),
        ("no set", Answer::Text("[]".into())),
        ("no keys", Answer::Keys(vec![])),
        ("too slow", Answer::Slow(Duration::from_secs(30))),
        ("elsewhere", Answer::Elsewhere(other.url.clone())),
    ] {
        let (provider, hands) = (Provider::start(answer).await, Hands::new());
        let tokens = provider.tokens(&hands, options.clone());
        assert_eq!(tokens.authenticate(&pair.token()).await, Err(TokenError::Unavailable), "{what}");
        for _ in 0..100 {
            assert_eq!(asked(&tokens, &pair.token()), Err(TokenError::Unavailable), "{what}");
        }
        assert_eq!(provider.fetches(), 1, "{what}");
        provider.says(pair.keys());
        hands.turn(10_000);
        assert!(tokens.authenticate(&pair.token()).await.is_ok(), "{what}: it is back");
    }
    assert_eq!(other.fetches(), 0, "nobody was led there");
}

#[tokio::test]
async fn who_waits_is_bounded() {
    let provider = Provider::start(Answer::Slow(Duration::from_secs(30))).await;
    let options = JwksOptions { timeout: Duration::from_millis(500), waiting_max: 2, ..JwksOptions::default() };
    let tokens = provider.tokens(&Hands::new(), options);
    let (token, mut waiting) = (invented(1), Vec::new());
    for _ in 0..2 {
        let mut one = tokens.authenticate(&token);
        assert!(futures::poll!(&mut one).is_pending());
        waiting.push(one);
    }
    assert_eq!(asked(&tokens, &token), Err(TokenError::Unavailable));
    for one in waiting {
        assert_eq!(one.await, Err(TokenError::Unavailable));
    }
}

#[tokio::test]
async fn of_a_set_only_what_fits_is_taken() {
    let good_one = Pair::new("one", Algorithm::EdDsa);
    let rsa_one = Pair::new("rsa", Algorithm::Rs256);
    let with = |pair: &Pair, changes: Value| {
        let mut key = pair.published.clone();
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    };
    let secret =
        json!({"kty": "oct", "kid": "k0", "k": part(&json!("0123456789abcdef0123456789abcdef")), "alg": "HS256"});
    let set = vec![
        secret,
        json!("no key"),
        json!({"kty": "XYZ", "kid": "new kind"}),
        json!({"kty": "EC", "kid": "ec", "crv": "P-256", "x": "AA", "y": "AA"}),
        with(&good_one, json!({"kid": "short", "x": "AAAA"})),
        with(&good_one, json!({"kid": "garbled", "x": "%%%"})),
        with(&good_one, json!({"kid": "curve", "crv": "P-256"})),
        with(&good_one, json!({"kid": "enc", "use": "enc"})),
        with(&good_one, json!({"kid": "ops", "key_ops": ["sign"]})),
        with(&good_one, json!({"kid": "alg", "alg": "RS256"})),
        with(&rsa_one, json!({"kid": "small", "n": "AQAB"})),
        with(&rsa_one, json!({"kid": "even", "e": "AQAC"})),
        with(&rsa_one, json!({"kid": "e1", "e": "AQ"})),
        with(&rsa_one, json!({"kid": "ps", "alg": "PS256"})),
        good_one.published.clone(),
        with(&rsa_one, json!({"kid": "one"})),
        rsa_one.published.clone(),
    ];
    let provider = Provider::start(Answer::Keys(set)).await;
    let tokens = provider.tokens(&Hands::new(), JwksOptions::default());
    assert!(tokens.authenticate(&good_one.token()).await.is_ok());
    assert!(asked(&tokens, &rsa_one.token()).is_ok());
    assert_eq!(asked(&tokens, &invented(0)), Err(TokenError::Signature), "a published secret");
    for kid in ["short", "garbled", "curve", "enc", "ops", "alg"] {
        let token =
            jsonwebtoken::encode(&header(kid, jsonwebtoken::Algorithm::EdDSA), &good(), &good_one.private).unwrap();
        assert_eq!(asked(&tokens, &token), Err(TokenError::Signature), "{kid}");
    }
    for kid in ["small", "even", "e1", "ps"] {
        let token =
            jsonwebtoken::encode(&header(kid, jsonwebtoken::Algorithm::RS256), &good(), &rsa_one.private).unwrap();
        assert_eq!(asked(&tokens, &token), Err(TokenError::Signature), "{kid}");
    }
}
