//! New keys, as files that the configuration names.

use crate::{config::auth::Algorithm, wire::hex};
use ed25519_dalek::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, KeypairBytes, spki::der::pem::LineEnding};
use rand::{TryRngCore, rngs::OsRng};
use rsa::{RsaPrivateKey, rand_core};
use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Good beyond 2030 (NIST SP 800-57), and verified as fast as it gets.
const RSA_BITS: usize = 3_072;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeygenError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("the system gives no randomness: {0}")]
    Random(String),
    #[error("the key can't be made: {0}")]
    Made(String),
}

/// The files of a new key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub alg: Algorithm,
    pub kid: String,
    /// The secret or the private key: for its owner alone (0600).
    pub private: PathBuf,
    /// What verifies, where that is another thing.
    pub public: Option<PathBuf>,
}

/// An id that no other key has: `k` and 12 hexadecimal digits.
pub fn fresh_kid() -> Result<String, KeygenError> {
    Ok(format!("k{}", hex(&random::<6>()?)))
}

/// Makes a key and writes `KID.secret`, or `KID.private.pem` and `KID.public.pem`, into `dir`, which is made if need be (0700).
/// Overwrites nothing.
pub fn make(alg: Algorithm, kid: &str, dir: &Path) -> Result<Made, KeygenError> {
    let failed = |source| KeygenError::File { path: dir.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let made = |error: &dyn std::fmt::Display| KeygenError::Made(error.to_string());
    let (name, private, public) = match alg {
        Algorithm::Hs256 => ("secret", hex(&random::<32>()?) + "\n", None),
        Algorithm::EdDsa => {
            let key = ed25519_dalek::SigningKey::from_bytes(&random()?);
            // Without the public half, which many programs don't expect there (RFC 5958 against RFC 8410).
            let alone = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
            let private = alone.to_pkcs8_pem(LineEnding::LF).map_err(|error| made(&error))?;
            let public = key.verifying_key().to_public_key_pem(LineEnding::LF).map_err(|error| made(&error))?;
            ("private.pem", private.to_string(), Some(public))
        }
        Algorithm::Rs256 => {
            let key = RsaPrivateKey::new(&mut rand_core::OsRng, RSA_BITS).map_err(|error| made(&error))?;
            let private = key.to_pkcs8_pem(LineEnding::LF).map_err(|error| made(&error))?;
            let public = key.to_public_key().to_public_key_pem(LineEnding::LF).map_err(|error| made(&error))?;
            ("private.pem", private.to_string(), Some(public))
        }
    };
    let path = dir.join(format!("{kid}.{name}"));
    write(&path, &private, 0o600)?;
    let public = match public {
        None => None,
        Some(text) => {
            let path = dir.join(format!("{kid}.public.pem"));
            write(&path, &text, 0o644)?;
            Some(path)
        }
    };
    Ok(Made { alg, kid: kid.to_owned(), private: path, public })
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), KeygenError> {
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|source| KeygenError::File { path: path.to_owned(), source })
}

fn random<const N: usize>() -> Result<[u8; N], KeygenError> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).map_err(|error| KeygenError::Random(error.to_string()))?;
    Ok(bytes)
}
