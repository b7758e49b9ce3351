//! Keys: an id, an algorithm, and what verifies and perhaps signs by it. Everything is looked into when it is read, so that a key
//! that can't be used is an error at the start and not of every token.

use super::AuthError;
use crate::config::auth::{self, Algorithm, Material};
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use jsonwebtoken::{
    DecodingKey, EncodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use rsa::{
    BigUint, RsaPrivateKey, RsaPublicKey,
    pkcs1::{DecodeRsaPrivateKey, DecodeRsaPublicKey, EncodeRsaPrivateKey},
    traits::PublicKeyParts,
};
use sha2::{Digest, Sha256};
use std::{fmt, sync::Arc};

/// Shortest RSA key (RFC 7518, 3.3). The longest that the verifier takes is 4,096 bits; longer ones cost a hostile sender nothing
/// and the server much.
const RSA_MIN_BITS: usize = 2_048;
const RSA_MAX_BITS: usize = 4_096;

/// What is wrong with a key. Names no part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("is no PEM of {0}")]
    Unreadable(&'static str),
    #[error("has {0} bits, RSA needs {RSA_MIN_BITS} to {RSA_MAX_BITS}")]
    Bits(usize),
    #[error("is a weak or broken key")]
    Weak,
    /// In a JWKS: a key for something else, or of another kind.
    #[error("isn't for this: {0}")]
    Foreign(&'static str),
    #[error("{alg} doesn't go with this kind of key")]
    Kind { alg: &'static str },
}

/// A key that verifies, and signs if it was configured to.
pub(super) struct Key {
    pub(super) kid: Box<str>,
    pub(super) alg: Algorithm,
    pub(super) verify: DecodingKey,
    pub(super) sign: Option<EncodingKey>,
    /// Of what it verifies by: two fetches of one key are one key.
    print: [u8; 32],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).field("alg", &self.alg).finish_non_exhaustive()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid && self.alg == other.alg && self.print == other.print
    }
}

/// An issuer's configured keys.
pub(super) fn of(issuer: &auth::Issuer) -> Result<Vec<Arc<Key>>, AuthError> {
    let named = |kid: &str, source| AuthError::Key { issuer: issuer.name.clone(), kid: kid.to_owned(), source };
    issuer.keys.iter().map(|key| Key::read(key).map(Arc::new).map_err(|error| named(&key.kid, error))).collect()
}

/// The algorithm as the JWT library names it.
pub(super) fn jwt(alg: Algorithm) -> jsonwebtoken::Algorithm {
    match alg {
        Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
    }
}

impl Key {
    fn read(key: &auth::Key) -> Result<Self, KeyError> {
        let wrong = || KeyError::Kind { alg: key.alg.name() };
        let (verify, print, sign) = match (key.alg, &key.material) {
            (Algorithm::Hs256, Material::Secret(secret)) => {
                (DecodingKey::from_secret(secret), print(&[secret]), Some(EncodingKey::from_secret(secret)))
            }
            (Algorithm::EdDsa, Material::PublicPem(pem)) => {
                let public = ed25519_dalek::VerifyingKey::from_public_key_pem(pem);
                let (verify, print) = ed25519(&public.map_err(|_| KeyError::Unreadable("an Ed25519 public key"))?)?;
                (verify, print, None)
            }
            (Algorithm::EdDsa, Material::PrivatePem(pem)) => {
                let unreadable = || KeyError::Unreadable("an Ed25519 private key (PKCS#8)");
                let private = ed25519_dalek::SigningKey::from_pkcs8_pem(pem).map_err(|_| unreadable())?;
                let sign = EncodingKey::from_ed_pem(pem.as_bytes()).map_err(|_| unreadable())?;
                let (verify, print) = ed25519(&private.verifying_key())?;
                (verify, print, Some(sign))
            }
            (Algorithm::Rs256, Material::PublicPem(pem)) => {
                let public =
                    RsaPublicKey::from_public_key_pem(pem).or_else(|_| RsaPublicKey::from_pkcs1_pem(pem).map_err(drop));
                let (verify, print) = rs256(&public.map_err(|()| KeyError::Unreadable("an RSA public key"))?)?;
                (verify, print, None)
            }
            (Algorithm::Rs256, Material::PrivatePem(pem)) => {
                let private =
                    RsaPrivateKey::from_pkcs8_pem(pem).or_else(|_| RsaPrivateKey::from_pkcs1_pem(pem).map_err(drop));
                let private = private.map_err(|()| KeyError::Unreadable("an RSA private key"))?;
                let (verify, print) = rs256(&private.to_public_key())?;
                private.validate().map_err(|_| KeyError::Weak)?;
                let der = private.to_pkcs1_der().map_err(|_| KeyError::Weak)?;
                (verify, print, Some(EncodingKey::from_rsa_der(der.as_bytes())))
            }
            (Algorithm::Hs256, Material::PublicPem(_) | Material::PrivatePem(_))
            | (Algorithm::EdDsa | Algorithm::Rs256, Material::Secret(_)) => return Err(wrong()),
        };
        Ok(Self { kid: key.kid.as_str().into(), alg: key.alg, verify, sign: sign.filter(|_| key.sign), print })
    }

    /// One of a JWKS: public, meant for signatures, RSA or Ed25519. A symmetric one there would be a published secret.
    pub(super) fn from_jwk(jwk: &Jwk) -> Result<Self, KeyError> {
        let common = &jwk.common;
        let kid = common.key_id.as_deref().filter(|kid| (1..=256).contains(&kid.len()));
        let kid = kid.ok_or(KeyError::Foreign("has no `kid`"))?;
        if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return Err(KeyError::Foreign("`use` isn't `sig`"));
        }
        if common.key_operations.as_ref().is_some_and(|all| !all.contains(&KeyOperations::Verify)) {
            return Err(KeyError::Foreign("`key_ops` has no `verify`"));
        }
        let (alg, said, (verify, print)) = if let AlgorithmParameters::RSA(rsa) = &jwk.algorithm {
            (Algorithm::Rs256, KeyAlgorithm::RS256, rs256(&public(&rsa.n, &rsa.e)?)?)
        } else if let AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm {
            if pair.curve != EllipticCurve::Ed25519 {
                return Err(KeyError::Foreign("neither RSA nor Ed25519"));
            }
            let bytes = decoded(&pair.x)?;
            let key = bytes.as_slice().try_into().map(ed25519_dalek::VerifyingKey::from_bytes);
            let key = key.ok().and_then(Result::ok).ok_or(KeyError::Weak)?;
            (Algorithm::EdDsa, KeyAlgorithm::EdDSA, ed25519(&key)?)
        } else if let AlgorithmParameters::OctetKey(_) = &jwk.algorithm {
            return Err(KeyError::Foreign("it is symmetric"));
        } else {
            return Err(KeyError::Foreign("neither RSA nor Ed25519"));
        };
        if common.key_algorithm.is_some_and(|named| named != said) {
            return Err(KeyError::Foreign("`alg` is another"));
        }
        Ok(Self { kid: kid.into(), alg, verify, sign: None, print })
    }
}

fn print(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn ed25519(key: &ed25519_dalek::VerifyingKey) -> Result<(DecodingKey, [u8; 32]), KeyError> {
    match key.is_weak() {
        true => Err(KeyError::Weak),
        false => Ok((DecodingKey::from_ed_der(key.as_bytes()), print(&[key.as_bytes()]))),
    }
}

fn rs256(key: &RsaPublicKey) -> Result<(DecodingKey, [u8; 32]), KeyError> {
    let bits = key.n().bits();
    if !(RSA_MIN_BITS..=RSA_MAX_BITS).contains(&bits) {
        return Err(KeyError::Bits(bits));
    }
    // 1 would sign everything; an even one is no exponent.
    let (n, e) = (key.n().to_bytes_be(), key.e().to_bytes_be());
    if *key.e() < BigUint::from(3u8) || e.last().is_none_or(|low| low % 2 == 0) {
        return Err(KeyError::Weak);
    }
    Ok((DecodingKey::from_rsa_raw_components(&n, &e), print(&[&n, &e])))
}

/// Base64url, by the JWT library's own decoder.
fn decoded(text: &str) -> Result<Vec<u8>, KeyError> {
    let key = DecodingKey::from_ed_components(text).map_err(|_| KeyError::Weak)?;
    key.try_get_as_bytes().map(<[u8]>::to_vec).map_err(|_| KeyError::Weak)
}

fn public(n: &str, e: &str) -> Result<RsaPublicKey, KeyError> {
    let n = BigUint::from_bytes_be(&decoded(n)?);
    // Before anything is computed with it.
    if !(RSA_MIN_BITS..=RSA_MAX_BITS).contains(&n.bits()) {
        return Err(KeyError::Bits(n.bits()));
    }
    RsaPublicKey::new(n, BigUint::from_bytes_be(&decoded(e)?)).map_err(|_| KeyError::Weak)
}
