//! Good and bad tokens against issuers with every kind of key. Bad ones are made by signing what no signer of ours would.

mod published;

use super::{
    keygen,
    keys::{Key, jwt},
    *,
};
use crate::{
    config::auth::{self as settings, Algorithm, Issuer, Material},
    domain::CellId,
    wire::access::Role,
};
use jsonwebtoken::{EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::OnceLock, time::Duration};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const NOW_S: i64 = NOW.0 / 1_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// RSA keys take a while to make.
fn rsa() -> &'static (String, String) {
    static PAIR: OnceLock<(String, String)> = OnceLock::new();
    PAIR.get_or_init(|| pair(Algorithm::Rs256))
}

/// Private and public PEM.
fn pair(alg: Algorithm) -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    let made = keygen::make(alg, "k", dir.path()).unwrap();
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    (read(&made.private), read(&made.public.unwrap()))
}

fn key(kid: &str, alg: Algorithm, material: Material, sign: bool) -> settings::Key {
    settings::Key { kid: kid.into(), alg, material, sign }
}

fn hs256(kid: &str, secret: &str) -> settings::Key {
    key(kid, Algorithm::Hs256, Material::Secret(secret.into()), true)
}

fn issuer(name: &str, keys: Vec<settings::Key>) -> Issuer {
    let roles = Role::ALL.into();
    Issuer { name: name.into(), audience: "trunkline".into(), keys, jwks_url: None, roles, cells: None }
}

fn auth(issuers: Vec<Issuer>) -> Auth {
    let seconds = Duration::from_secs;
    Auth { leeway: seconds(30), expiry_grace: seconds(30), lifetime_max: seconds(86_400), issuers }
}

/// A clock that tests move.
#[derive(Clone, Default)]
struct Hands(Arc<std::sync::atomic::AtomicI64>);

impl Hands {
    fn new() -> Self {
        let hands = Self::default();
        hands.turn(NOW.0);
        hands
    }

    fn turn(&self, ms: i64) {
        self.0.fetch_add(ms, std::sync::atomic::Ordering::SeqCst);
    }

    fn time(&self) -> Time {
        let at = self.0.clone();
        Time::of(move || UnixMillis(at.load(std::sync::atomic::Ordering::SeqCst)))
    }
}

fn tokens_with(auth: &Auth, hands: &Hands, options: Options) -> Tokens {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    Tokens::start(auth, options, hands.time(), Metrics::default(), tasks, stop).unwrap()
}

fn tokens(auth: &Auth) -> Tokens {
    tokens_with(auth, &Hands::new(), Options::default())
}

/// One HS256 key `k` of the issuer `acme`, with which the tests sign themselves.
fn simple() -> Tokens {
    tokens(&auth(vec![issuer("acme", vec![hs256("k", SECRET)])]))
}

fn header(kid: &str, alg: jsonwebtoken::Algorithm) -> Header {
    Header { kid: Some(kid.into()), ..Header::new(alg) }
}

fn good() -> Value {
    json!({"iss": "acme", "aud": "trunkline", "sub": "alice", "role": "operations", "exp": NOW_S + 600})
}

fn with(changes: Value) -> Value {
    let mut claims = good();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&header("k", jsonwebtoken::Algorithm::HS256), claims, &key).unwrap()
}

fn asked(tokens: &Tokens, token: &str) -> Result<Principal, TokenError> {
    tokens.authenticate(token).now_or_never().expect("there is nothing to wait for")
}

fn claims(role: Role, sub: &str) -> Claims {
    let expires_at = NOW.plus(3_600_000);
    Claims { role, sub: sub.into(), cells: None, order: None, jti: None, not_before: None, expires_at }
}

/// Base64url of a part's JSON, by the library's own encoder.
fn part(value: &Value) -> String {
    let key = EncodingKey::from_secret(b"x");
    let token = jsonwebtoken::encode(&Header::default(), value, &key).unwrap();
    token.split('.').nth(1).unwrap().to_owned()
}

#[test]
fn every_algorithm_there_and_back() {
    let ed = pair(Algorithm::EdDsa);
    let all = [
        (Algorithm::Hs256, Material::Secret(SECRET.into()), Material::Secret(SECRET.into())),
        (Algorithm::EdDsa, Material::PrivatePem(ed.0), Material::PublicPem(ed.1)),
        (Algorithm::Rs256, Material::PrivatePem(rsa().0.clone()), Material::PublicPem(rsa().1.clone())),
    ];
    for (alg, private, public) in all {
        let signs = tokens(&auth(vec![issuer("acme", vec![key("k", alg, private, true)])]));
        let verifies = tokens(&auth(vec![issuer("acme", vec![key("k", alg, public, false)])]));
        let cells: BTreeSet<CellId> = ["north", "south"].map(|cell| cell.parse().unwrap()).into();
        let claims = Claims { cells: Some(cells.clone()), ..claims(Role::Rider, "r1") };
        let token = signs.signer().sign(&claims).unwrap();
        let read = read(&token).unwrap();
        assert_eq!((read.header.alg, read.header.kid.as_deref()), (jwt(alg), Some("k")));
        for tokens in [&signs, &verifies] {
            // The second time from memory.
            for _ in 0..2 {
                let who = asked(tokens, &token).unwrap();
                assert_eq!((who.role, &*who.id, who.order.clone()), (Role::Rider, "r1", None));
                assert_eq!((who.cells.as_deref(), who.expires_at), (Some(&cells), Some(claims.expires_at)));
            }
        }
        assert_eq!(verifies.signer().sign(&claims), Err(SignError::NoKey));
        // One bit of the signature, one of the claims.
        for at in [token.len() - 5, token.find('.').unwrap() + 9] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let bent = String::from_utf8(bytes).unwrap();
            assert!(asked(&verifies, &bent).is_err(), "{alg:?} {at}");
        }
    }
}

#[test]
fn claims_that_do_not_fit_are_named() {
    let mut acme = issuer("acme", vec![hs256("k", SECRET)]);
    acme.roles = [Role::Operations, Role::Shared, Role::Rider].into();
    acme.cells = Some(["north", "south"].map(|cell| cell.parse().unwrap()).into());
    let tokens = tokens(&auth(vec![acme]));
    let refused = |changes: Value| asked(&tokens, &signed(&with(changes))).unwrap_err();
    let many: Vec<_> = (0..300).map(|n| n.to_string()).collect();
    for (claim, changes) in [
        ("iss", json!({"iss": null})),
        ("iss", json!({"iss": 1})),
        ("aud", json!({"aud": null})),
        ("aud", json!({"aud": "other"})),
        ("aud", json!({"aud": ["other", "third"]})),
        ("aud", json!({"aud": {"trunkline": 1}})),
        ("aud", json!({"aud": []})),
        ("sub", json!({"sub": null})),
        ("sub", json!({"sub": "a.b"})),
        ("sub", json!({"sub": "x".repeat(65)})),
        ("sub", json!({"sub": ["alice"]})),
        ("exp", json!({"exp": null})),
        ("exp", json!({"exp": "soon"})),
        ("exp", json!({"exp": -1})),
        ("exp", json!({"exp": 1e300})),
        ("exp", json!({"exp": NOW_S + 86_400 + 31})),
        ("exp", json!({"exp": NOW_S + 600, "iat": NOW_S - 86_400})),
        ("nbf", json!({"nbf": true})),
        ("iat", json!({"iat": "now"})),
        ("role", json!({"role": null})),
        ("role", json!({"role": "king"})),
        ("role", json!({"role": "customer"})),
        ("role", json!({"role": ["operations"]})),
        ("cells", json!({"cells": "north"})),
        ("cells", json!({"cells": ["north", "west"]})),
        ("cells", json!({"cells": ["a.b"]})),
        ("cells", json!({"cells": [1]})),
        ("cells", json!({"cells": many})),
        ("order", json!({"order": "o1"})),
        ("order", json!({"role": "shared", "jti": "j"})),
        ("order", json!({"role": "shared", "jti": "j", "order": "a.b"})),
        ("jti", json!({"role": "shared", "order": "o1"})),
        ("jti", json!({"role": "shared", "order": "o1", "jti": "j j"})),
    ] {
        let error = refused(changes.clone());
        assert!(matches!(error, TokenError::Claim { claim: named, .. } if named == claim), "{changes}: {error:?}");
    }
    assert_eq!(refused(json!({"iss": "stranger"})), TokenError::Signature);

    let granted = asked(&tokens, &signed(&good())).unwrap();
    assert_eq!(granted.cells.as_ref().map(|cells| cells.len()), Some(2), "all of the issuer's, and no more");
    let narrow = asked(&tokens, &signed(&with(json!({"cells": ["south"], "aud": ["x", "trunkline"]})))).unwrap();
    assert!(narrow.reaches(&"south".parse().unwrap()) && !narrow.reaches(&"north".parse().unwrap()));
    let nowhere = asked(&tokens, &signed(&with(json!({"cells": []})))).unwrap();
    assert!(!nowhere.reaches(&"south".parse().unwrap()), "an empty list is no cell");
    let shared = asked(&tokens, &signed(&with(json!({"role": "shared", "order": "o1", "jti": "j1"})))).unwrap();
    assert_eq!((&*shared.id, shared.order), ("j1", "o1".parse().ok()));
}

#[test]
fn times_count_to_the_leeway_and_no_further() {
    let hands = Hands::new();
    let tokens = tokens_with(&auth(vec![issuer("acme", vec![hs256("k", SECRET)])]), &hands, Options::default());
    for (changes, result) in [
        (json!({"exp": NOW_S - 29}), Ok(())),
        (json!({"exp": NOW_S - 30}), Err(TokenError::Expired)),
        (json!({"exp": NOW_S as f64 - 29.5}), Ok(())),
        (json!({"nbf": NOW_S + 30}), Ok(())),
        (json!({"nbf": NOW_S + 31}), Err(TokenError::NotYet)),
        (json!({"iat": NOW_S + 30}), Ok(())),
        (json!({"iat": NOW_S + 31}), Err(TokenError::NotYet)),
        (json!({"exp": NOW_S + 86_430}), Ok(())),
    ] {
        assert_eq!(asked(&tokens, &signed(&with(changes.clone()))).map(drop), result, "{changes}");
    }
    // One that is remembered ends all the same.
    let token = signed(&good());
    assert!(asked(&tokens, &token).is_ok());
    hands.turn(629_999);
    assert!(asked(&tokens, &token).is_ok());
    hands.turn(1);
    assert_eq!(asked(&tokens, &token), Err(TokenError::Expired));
    assert_eq!(asked(&tokens, &token), Err(TokenError::Expired));
}

#[test]
fn the_key_says_which_algorithm_holds() {
    let public = rsa().1.clone();
    let material = Material::PublicPem(public.clone());
    let tokens = tokens(&auth(vec![
        issuer("acme", vec![key("rsa", Algorithm::Rs256, material, false), hs256("k", SECRET)]),
        issuer("other", vec![hs256("k", "another secret of more than 32 bytes")]),
    ]));
    let signed = |kid: &str, alg, key: &EncodingKey| jsonwebtoken::encode(&header(kid, alg), &good(), key).unwrap();
    // The public key, which everybody has, as a secret.
    for secret in [public.as_bytes(), public.trim_end().as_bytes()] {
        let token = signed("rsa", jsonwebtoken::Algorithm::HS256, &EncodingKey::from_secret(secret));
        assert_eq!(asked(&tokens, &token), Err(TokenError::Signature));
    }
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    for alg in [jsonwebtoken::Algorithm::HS384, jsonwebtoken::Algorithm::HS512] {
        assert_eq!(asked(&tokens, &signed("k", alg, &secret)), Err(TokenError::Signature), "{alg:?}");
    }
    // Signed as the key would have it, while the header says otherwise.
    let message = format!("{}.{}", part(&json!({"alg": "HS512", "kid": "k"})), part(&good()));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &secret, jwt(Algorithm::Hs256)).unwrap();
    assert_eq!(asked(&tokens, &format!("{message}.{signature}")), Err(TokenError::Signature));
    let private = EncodingKey::from_rsa_pem(rsa().0.as_bytes()).unwrap();
    for (alg, fits) in [
        (jsonwebtoken::Algorithm::RS256, true),
        (jsonwebtoken::Algorithm::RS512, false),
        (jsonwebtoken::Algorithm::PS256, false),
    ] {
        assert_eq!(asked(&tokens, &signed("rsa", alg, &private)).is_ok(), fits, "{alg:?}");
    }
    // Another issuer's key of the same id, a key id that isn't there, and none where there are two.
    let theirs = EncodingKey::from_secret(b"another secret of more than 32 bytes");
    let hs256 = jsonwebtoken::Algorithm::HS256;
    assert_eq!(asked(&tokens, &signed("k", hs256, &theirs)), Err(TokenError::Signature));
    assert_eq!(asked(&tokens, &signed("q", hs256, &secret)), Err(TokenError::Signature));
    let nameless = jsonwebtoken::encode(&Header::new(hs256), &good(), &secret).unwrap();
    assert!(matches!(asked(&tokens, &nameless), Err(TokenError::Malformed(why)) if why.contains("kid")));
    assert!(asked(&simple(), &nameless).is_ok(), "where there is one key, it needn't be named");
}

#[test]
fn what_is_no_token_is_none() {
    let tokens = simple();
    let token = signed(&good());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let claims = part(&good());
    let of = |header: Value| format!("{}.{claims}.{signature}", part(&header));
    let huge = signed(&with(json!({"note": "x".repeat(TOKEN_MAX_BYTES)})));
    assert!(asked(&tokens, &signed(&with(json!({"note": "x".repeat(4_000)})))).is_ok());
    for (what, token) in [
        ("empty", String::new()),
        ("dots", "..".into()),
        ("two parts", message.to_owned()),
        ("four parts", format!("{token}.x")),
        ("huge", huge),
        ("none", of(json!({"alg": "none", "kid": "k"}))),
        ("None", of(json!({"alg": "None", "kid": "k"}))),
        ("no alg", of(json!({"kid": "k"}))),
        ("crit", of(json!({"alg": "HS256", "kid": "k", "crit": ["exp"]}))),
        ("zip", of(json!({"alg": "HS256", "kid": "k", "zip": "DEF"}))),
        ("typ", of(json!({"alg": "HS256", "kid": "k", "typ": "dpop+jwt"}))),
        ("list of claims", format!("{}.{}.{signature}", part(&json!({"alg": "HS256", "kid": "k"})), part(&json!([1])))),
        ("spaces", format!(" {token}")),
        ("padding", format!("{token}=")),
    ] {
        assert!(matches!(asked(&tokens, &token), Err(TokenError::Malformed(_) | TokenError::Signature)), "{what}");
    }
    let none = format!("{}.{claims}.", part(&json!({"alg": "none", "kid": "k"})));
    assert!(matches!(asked(&tokens, &none), Err(TokenError::Malformed(_))));
    assert_eq!(asked(&tokens, &format!("{message}.")), Err(TokenError::Signature), "without its signature");
}

#[test]
fn keys_rotate_and_take_their_tokens_with_them() {
    let (old, new) = (hs256("old", SECRET), hs256("new", "fedcba9876543210fedcba9876543210"));
    let tokens = tokens(&auth(vec![issuer("acme", vec![old.clone()])]));
    let signer = tokens.signer();
    let kid = |token: &str| read(token).unwrap().header.kid.unwrap();
    let first = signer.sign(&claims(Role::Customer, "u1")).unwrap();
    assert!(asked(&tokens, &first).is_ok());
    // The new key is known before it signs, then it signs, then the old one is gone.
    tokens.reload(&auth(vec![issuer("acme", vec![old.clone(), new.clone()])])).unwrap();
    assert_eq!(kid(&signer.sign(&claims(Role::Customer, "u1")).unwrap()), "old");
    tokens.reload(&auth(vec![issuer("acme", vec![new.clone(), old])])).unwrap();
    let second = signer.sign(&claims(Role::Customer, "u1")).unwrap();
    assert_eq!(kid(&second), "new");
    assert!(asked(&tokens, &first).is_ok() && asked(&tokens, &second).is_ok());
    tokens.reload(&auth(vec![issuer("acme", vec![new])])).unwrap();
    assert_eq!(asked(&tokens, &first), Err(TokenError::Signature));
    assert!(asked(&tokens, &second).is_ok());
    // The same id with another secret is another key.
    tokens.reload(&auth(vec![issuer("acme", vec![hs256("new", SECRET)])])).unwrap();
    assert_eq!(asked(&tokens, &second), Err(TokenError::Signature));
    // A key that can't be read changes nothing.
    let broken = key("bad", Algorithm::EdDsa, Material::PublicPem("no PEM".into()), false);
    let error = tokens.reload(&auth(vec![issuer("acme", vec![broken])])).unwrap_err().to_string();
    assert!(error.contains("`acme`") && error.contains("`bad`"), "{error}");
    let third = signer.sign(&claims(Role::Customer, "u1")).unwrap();
    assert!(asked(&tokens, &third).is_ok());
}

#[test]
fn keys_that_are_weak_or_of_another_kind_are_refused() {
    let ed = pair(Algorithm::EdDsa);
    let small = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 1_024).unwrap();
    let small = rsa::pkcs8::EncodePrivateKey::to_pkcs8_pem(&small, rsa::pkcs8::LineEnding::LF).unwrap();
    let zeros = format!("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA{}=\n-----END PUBLIC KEY-----\n", "A".repeat(43));
    for (alg, material, words) in [
        (Algorithm::Rs256, Material::PrivatePem(small.to_string()), "1024 bits"),
        (Algorithm::Rs256, Material::PublicPem(ed.1.clone()), "RSA public key"),
        (Algorithm::Rs256, Material::PrivatePem(rsa().1.clone()), "RSA private key"),
        (Algorithm::EdDsa, Material::PublicPem(rsa().1.clone()), "Ed25519 public key"),
        (Algorithm::EdDsa, Material::PrivatePem(ed.1), "Ed25519 private key"),
        (Algorithm::EdDsa, Material::PublicPem(zeros), "weak"),
        (Algorithm::Hs256, Material::PublicPem(ed.0), "HS256 doesn't go"),
    ] {
        let error = check(&auth(vec![issuer("acme", vec![key("k7", alg, material, false)])])).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("`acme`: key `k7`"), "{words}: {error}");
    }
}

#[test]
fn a_signer_makes_nothing_that_its_own_server_refuses() {
    let mut acme = issuer("acme", vec![hs256("k", SECRET)]);
    acme.roles = [Role::Shared, Role::Rider].into();
    acme.cells = Some(["north".parse().unwrap()].into());
    let signer = tokens(&auth(vec![acme])).signer();
    let refused = |claims: Claims| match signer.sign(&claims) {
        Err(SignError::Refused(error)) => error,
        other => panic!("{other:?}"),
    };
    let named = |claims: Claims| {
        let error = refused(claims);
        let TokenError::Claim { claim, .. } = error else { panic!("{error:?}") };
        claim
    };
    assert_eq!(named(claims(Role::Operations, "a")), "role");
    assert_eq!(named(claims(Role::Rider, "a b")), "sub");
    assert_eq!(named(claims(Role::Shared, "a")), "jti");
    assert_eq!(named(Claims { order: "o".parse().ok(), ..claims(Role::Rider, "a") }), "order");
    assert_eq!(named(Claims { cells: Some(["west".parse().unwrap()].into()), ..claims(Role::Rider, "a") }), "cells");
    assert_eq!(named(Claims { expires_at: NOW.plus(200_000_000), ..claims(Role::Rider, "a") }), "exp");
    assert_eq!(refused(Claims { expires_at: NOW.plus(-60_000), ..claims(Role::Rider, "a") }), TokenError::Expired);
    let later = Claims { not_before: Some(NOW.plus(600_000)), ..claims(Role::Rider, "a") };
    assert!(signer.sign(&later).is_ok(), "it may be for later");
}

#[test]
fn what_is_remembered_is_bounded_and_counted() {
    let options = Options { seen_max: 10, ..Options::default() };
    let tokens = tokens_with(&auth(vec![issuer("acme", vec![hs256("k", SECRET)])]), &Hands::new(), options);
    for n in 0..50 {
        assert!(asked(&tokens, &signed(&with(json!({"sub": format!("u{n}")})))).is_ok());
        assert!(asked(&tokens, "x").is_err());
        assert!(tokens.inner.seen.lock().len() <= 10);
    }
    let text = tokens.inner.metrics.encode().unwrap();
    assert!(text.contains(r#"trunkline_tokens_total{outcome="good"} 50"#), "{text}");
    assert!(text.contains(r#"trunkline_tokens_total{outcome="malformed"} 50"#), "{text}");
}

#[test]
fn debug_output_tells_no_secret() {
    let tokens = simple();
    let shown = format!("{tokens:?} {:?}", tokens.signer());
    assert!(shown.contains("\"k\"") && !shown.contains(&SECRET[..8]), "{shown}");
}

#[test]
fn files_of_new_keys_are_their_owners_alone_and_stay() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("deep/keys");
    for alg in [Algorithm::Hs256, Algorithm::EdDsa] {
        let made = keygen::make(alg, alg.name(), &keys).unwrap();
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&made.private), mode(&keys)), (0o600, 0o700));
        assert_eq!(made.public.is_some(), alg == Algorithm::EdDsa);
        let before = std::fs::read(&made.private).unwrap();
        assert!(keygen::make(alg, alg.name(), &keys).is_err());
        assert_eq!(std::fs::read(&made.private).unwrap(), before);
    }
    let kids: BTreeSet<_> = (0..20).map(|_| keygen::fresh_kid().unwrap()).collect();
    assert_eq!(kids.len(), 20);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn garbage_never_passes_and_never_panics(text in "\\PC{0,200}", parts in prop::collection::vec("[A-Za-z0-9_=-]{0,60}", 0..5)) {
        let tokens = simple();
        prop_assert!(asked(&tokens, &text).is_err());
        prop_assert!(asked(&tokens, &parts.join(".")).is_err());
    }

    /// Whatever stands in header and claims, signed by a good key or not.
    #[test]
    fn claims_of_any_shape_never_panic(name in "iss|aud|sub|exp|nbf|iat|role|cells|order|jti", value in json_value(), head in json_value()) {
        let tokens = simple();
        let _ = asked(&tokens, &signed(&with(json!({name.as_str(): value}))));
        let unsigned = |head: &Value, claims: &Value| asked(&tokens, &format!("{}.{}.AAAA", part(head), part(claims)));
        prop_assert!(unsigned(&head, &value).is_err());
        let header = json!({"alg": "HS256", "kid": head});
        prop_assert!(unsigned(&header, &good()).is_err());
    }

    /// One byte changed anywhere.
    #[test]
    fn a_bent_token_never_passes(at in any::<prop::sample::Index>(), byte in "[A-Za-z0-9_.-]") {
        let tokens = simple();
        let token = signed(&good());
        let at = at.index(token.len());
        let bent = format!("{}{byte}{}", &token[..at], &token[at + 1..]);
        // The last character of a part of 32 bytes has two bits that say nothing; they must be zero.
        prop_assert_eq!(asked(&tokens, &bent).is_ok(), bent == token, "{}", bent);
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..4).prop_map(Value::from_iter),
        ]
    })
}

#[test]
fn equal_keys_are_equal_whatever_they_were_read_from() {
    let ed = pair(Algorithm::EdDsa);
    let read = |material, sign| {
        let issuer = issuer("acme", vec![key("k", Algorithm::EdDsa, material, sign)]);
        keys::of(&issuer).unwrap().pop().unwrap()
    };
    let (private, public): (Arc<Key>, Arc<Key>) =
        (read(Material::PrivatePem(ed.0), true), read(Material::PublicPem(ed.1), false));
    assert_eq!(private, public);
    assert!(private.sign.is_some() && public.sign.is_none());
    assert_ne!(public, read(Material::PublicPem(pair(Algorithm::EdDsa).1), false));
}
