//! `[auth]`: whose tokens are taken and by which keys. Key files are read here, once per check, so that a rotation needs no
//! more than new files and a SIGHUP; what is in them is read by [`crate::auth`], which knows cryptography.

use super::ConfigError;
use crate::{domain::CellId, wire::access::Role};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Shortest HS256 secret: as long as the hash, or it is the weaker of the two (RFC 7518, 3.2).
const SECRET_MIN_BYTES: usize = 32;
/// A PEM of 4,096 bits is some 3 kB; what is far larger is another file.
const FILE_MAX_BYTES: u64 = 64 << 10;
const ISSUERS_MAX: usize = 32;
const KEYS_MAX: usize = 64;
/// Longest name of an issuer (a URL, often), an audience or a key.
const NAME_MAX_BYTES: usize = 256;
/// Issuer and audience of the one key that `auth.secret` makes.
pub const SIMPLE_NAME: &str = "trunkline";
/// That key's id.
pub const SIMPLE_KID: &str = "default";

/// As it stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// How far an issuer's clock may be off.
    pub leeway_s: u64,
    /// How long an open connection outlives its token.
    pub expiry_grace_s: u64,
    /// Longest life of a token that is taken.
    pub lifetime_max_s: u64,
    /// One HS256 secret for everything: issuer and audience `trunkline`, key `default`, every role, signs too.
    pub secret: Option<SecretText>,
    /// The same from a file; line ends at its end don't count.
    pub secret_file: Option<PathBuf>,
    pub issuers: Vec<IssuerSettings>,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            leeway_s: 30,
            expiry_grace_s: 30,
            // A share link to a month's delivery is the longest that anybody needs.
            lifetime_max_s: 31 * 86_400,
            secret: None,
            secret_file: None,
            issuers: Vec::new(),
        }
    }
}

/// Whose tokens are taken, and what they may grant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IssuerSettings {
    /// The tokens' `iss`.
    pub name: String,
    /// What `aud` must be or contain.
    pub audience: String,
    pub keys: Vec<KeySettings>,
    /// Where its public keys are: https, or http on loopback.
    pub jwks_url: Option<String>,
    pub roles: Vec<String>,
    /// Cells that its tokens may name; without it, all.
    pub cells: Option<Vec<String>>,
}

/// One key. Exactly one of the four sources is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeySettings {
    pub kid: String,
    /// `HS256`, `EdDSA` or `RS256`.
    pub alg: String,
    pub secret: Option<SecretText>,
    pub secret_file: Option<PathBuf>,
    pub public_key_file: Option<PathBuf>,
    pub private_key_file: Option<PathBuf>,
    /// Whether this node signs with it; the first such key of all does.
    pub sign: bool,
}

/// A secret that shows itself only to whoever serialises it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How a key signs. A token's own `alg` only has to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Hs256,
    EdDsa,
    Rs256,
}

impl Algorithm {
    pub const ALL: [Self; 3] = [Self::Hs256, Self::EdDsa, Self::Rs256];

    /// As JWTs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }
}

impl std::str::FromStr for Algorithm {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|alg| alg.name() == text);
        found.ok_or_else(|| format!("`{text}` must be one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// `[auth]`, checked. There is at least one issuer.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    pub leeway: Duration,
    pub expiry_grace: Duration,
    pub lifetime_max: Duration,
    /// Each name once.
    pub issuers: Vec<Issuer>,
}

/// An issuer with at least one key or an address to get them from, and at least one role.
#[derive(Clone, Debug, PartialEq)]
pub struct Issuer {
    pub name: String,
    pub audience: String,
    /// Each id once.
    pub keys: Vec<Key>,
    pub jwks_url: Option<String>,
    pub roles: BTreeSet<Role>,
    /// `None` for all.
    pub cells: Option<BTreeSet<CellId>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub kid: String,
    pub alg: Algorithm,
    pub material: Material,
    pub sign: bool,
}

/// What a key is made of; of the algorithm's kind, but not yet looked into.
#[derive(Clone, PartialEq, Eq)]
pub enum Material {
    /// At least 32 bytes.
    Secret(Vec<u8>),
    PublicPem(String),
    PrivatePem(String),
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret(***)",
            Self::PublicPem(_) => "PublicPem(…)",
            Self::PrivatePem(_) => "PrivatePem(***)",
        })
    }
}

impl AuthSettings {
    /// Checks every key and reads the files; `None` if there is nobody whose tokens could be taken.
    pub(super) fn check(&self) -> Result<Option<Auth>, ConfigError> {
        let bad = |key, reason| ConfigError::Key { key, reason };
        let seconds = |key, s: u64, least: u64, most: u64| match (least..=most).contains(&s) {
            true => Ok(Duration::from_secs(s)),
            false => Err(bad(key, format!("must be {least} to {most} seconds"))),
        };
        let leeway = seconds("auth.leeway_s", self.leeway_s, 0, 600)?;
        let expiry_grace = seconds("auth.expiry_grace_s", self.expiry_grace_s, 0, 3_600)?;
        let lifetime_max = seconds("auth.lifetime_max_s", self.lifetime_max_s, 60, 366 * 86_400)?;
        let mut issuers = Vec::new();
        if let Some(material) = self.simple()? {
            let key = Key { kid: SIMPLE_KID.into(), alg: Algorithm::Hs256, material, sign: true };
            issuers.push(Issuer {
                name: SIMPLE_NAME.into(),
                audience: SIMPLE_NAME.into(),
                keys: vec![key],
                jwks_url: None,
                roles: Role::ALL.into(),
                cells: None,
            });
        }
        if self.issuers.len() > ISSUERS_MAX {
            return Err(bad("auth.issuers", format!("are {}, at most {ISSUERS_MAX}", self.issuers.len())));
        }
        for (n, issuer) in self.issuers.iter().enumerate() {
            let named = |reason: String| match issuer.name.is_empty() {
                true => bad("auth.issuers", format!("number {}: {reason}", n + 1)),
                false => bad("auth.issuers", format!("`{}`: {reason}", issuer.name)),
            };
            if issuers.iter().any(|other| other.name == issuer.name) {
                return Err(named("this name is there twice".into()));
            }
            issuers.push(issuer.check().map_err(named)?);
        }
        Ok((!issuers.is_empty()).then_some(Auth { leeway, expiry_grace, lifetime_max, issuers }))
    }

    fn simple(&self) -> Result<Option<Material>, ConfigError> {
        let bad = |key| move |reason| ConfigError::Key { key, reason };
        match (&self.secret, &self.secret_file) {
            (None, None) => Ok(None),
            (Some(text), None) => secret(&text.0).map(Some).map_err(bad("auth.secret")),
            (None, Some(file)) => {
                read(file).and_then(|text| secret(trimmed(&text))).map(Some).map_err(bad("auth.secret_file"))
            }
            (Some(_), Some(_)) => Err(bad("auth.secret_file")("there is `auth.secret` too; give one of them".into())),
        }
    }
}

impl IssuerSettings {
    fn check(&self) -> Result<Issuer, String> {
        name("name", &self.name)?;
        name("audience", &self.audience)?;
        if self.keys.len() > KEYS_MAX {
            return Err(format!("has {} keys, at most {KEYS_MAX}", self.keys.len()));
        }
        let mut keys: Vec<Key> = Vec::new();
        for (n, key) in self.keys.iter().enumerate() {
            name("kid", &key.kid).map_err(|reason| format!("key number {}: {reason}", n + 1))?;
            let named = |reason| format!("key `{}`: {reason}", key.kid);
            if keys.iter().any(|other| other.kid == key.kid) {
                return Err(named("this id is there twice".into()));
            }
            keys.push(key.check().map_err(named)?);
        }
        if let Some(url) = &self.jwks_url {
            jwks_url(url).map_err(|reason| format!("jwks_url: {reason}"))?;
        } else if keys.is_empty() {
            return Err("has neither keys nor jwks_url".into());
        }
        if self.roles.is_empty() {
            let roles = Role::ALL.map(Role::name).join(", ");
            return Err(format!("roles: name those that it may grant, of {roles}"));
        }
        let roles = self.roles.iter().map(|role| role.parse()).collect::<Result<_, String>>();
        let cell = |cell: &String| cell.parse().map_err(|error| format!("cells: `{cell}` {error}"));
        Ok(Issuer {
            name: self.name.clone(),
            audience: self.audience.clone(),
            keys,
            jwks_url: self.jwks_url.clone(),
            roles: roles.map_err(|reason| format!("roles: {reason}"))?,
            cells: self.cells.as_ref().map(|cells| cells.iter().map(cell).collect()).transpose()?,
        })
    }
}

impl KeySettings {
    fn check(&self) -> Result<Key, String> {
        let alg: Algorithm = self.alg.parse().map_err(|reason| format!("alg: {reason}"))?;
        let Self { secret: text, secret_file, public_key_file, private_key_file, .. } = self;
        let given = [text.is_some(), secret_file.is_some(), public_key_file.is_some(), private_key_file.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err("needs exactly one of secret, secret_file, public_key_file, private_key_file".into());
        }
        let pem = |field, file: &Option<PathBuf>, into: fn(String) -> Material| {
            let text = file.as_ref().map(|file| read(file).map_err(|reason| format!("{field}: {reason}")));
            text.transpose().map(|text| text.map(into))
        };
        let public = pem("public_key_file", public_key_file, Material::PublicPem)?;
        let private = pem("private_key_file", private_key_file, Material::PrivatePem)?;
        let shared = match (text, secret_file) {
            (Some(text), _) => Some(secret(&text.0).map_err(|reason| format!("secret: {reason}"))?),
            (None, Some(file)) => {
                let text = read(file).and_then(|text| secret(trimmed(&text)));
                Some(text.map_err(|reason| format!("secret_file: {reason}"))?)
            }
            (None, None) => None,
        };
        let material = match alg {
            Algorithm::Hs256 => shared.ok_or("HS256 needs secret or secret_file")?,
            Algorithm::EdDsa | Algorithm::Rs256 => {
                private.or(public).ok_or_else(|| format!("{} needs public_key_file or private_key_file", self.alg))?
            }
        };
        if self.sign && matches!(material, Material::PublicPem(_)) {
            return Err("sign: a public key only verifies; give private_key_file".into());
        }
        Ok(Key { kid: self.kid.clone(), alg, material, sign: self.sign })
    }
}

fn name(field: &str, text: &str) -> Result<(), String> {
    match (1..=NAME_MAX_BYTES).contains(&text.len()) && !text.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(format!("{field} must be 1 to {NAME_MAX_BYTES} bytes without control characters")),
    }
}

fn secret(text: &str) -> Result<Material, String> {
    if text.len() < SECRET_MIN_BYTES {
        return Err(format!("has {} bytes, HS256 needs at least {SECRET_MIN_BYTES}", text.len()));
    }
    // A public key as a secret is a secret that everybody knows.
    if text.trim_start().starts_with("-----BEGIN") {
        return Err("is a PEM, no secret".into());
    }
    Ok(Material::Secret(text.into()))
}

fn trimmed(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

fn read(path: &Path) -> Result<String, String> {
    let text = std::fs::metadata(path).and_then(|file| match file.len() > FILE_MAX_BYTES {
        true => Err(std::io::Error::other("too large for a key")),
        false => std::fs::read_to_string(path),
    });
    text.map_err(|error| format!("`{}`: {error}", path.display()))
}

/// What is fetched in the clear could be anybody's keys.
fn jwks_url(text: &str) -> Result<(), String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("`{text}`: {error}"))?;
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let loopback = host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        _ => return Err(format!("`{text}` must be https, or http on loopback")),
    }
    match url.username().is_empty() && url.password().is_none() {
        true => Ok(()),
        false => Err("must not have a user or password in it: the log names it".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(toml: &str) -> Result<Option<Auth>, String> {
        let source = config::File::from_str(toml, config::FileFormat::Toml);
        let read = config::Config::builder().add_source(source).build().unwrap();
        let settings: AuthSettings = read.try_deserialize().map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())
    }

    const ACME: &str = "[[issuers]]\nname = \"acme\"\naudience = \"t\"\nroles = [\"rider\"]\n";

    #[test]
    fn nobody_is_nobody_and_one_secret_is_enough() {
        assert_eq!(checked(""), Ok(None));
        let auth = checked("secret = \"0123456789abcdef0123456789abcdef\"").unwrap().unwrap();
        let key = &auth.issuers[0].keys[0];
        assert_eq!((&*auth.issuers[0].name, &*key.kid, key.alg), ("trunkline", "default", Algorithm::Hs256));
        assert!(key.sign && auth.issuers[0].roles.len() == Role::ALL.len());
        assert!(!format!("{auth:?}").contains("0123"), "{auth:?}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "0123456789abcdef0123456789abcdef\r\n").unwrap();
        assert_eq!(checked(&format!("secret_file = {file:?}")), Ok(Some(auth)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let key = |fields: &str| format!("{ACME}keys = [{{ kid = \"k\", {fields} }}]");
        let long = "x".repeat(40);
        for (toml, words) in [
            ("secret = \"short\"".to_owned(), "auth.secret: has 5 bytes"),
            (format!("secret = \"{long}\"\nsecret_file = \"x\""), "auth.secret_file"),
            (format!("secret = \"-----BEGIN PUBLIC KEY-----{long}\""), "PEM"),
            ("leeway_s = 601".to_owned(), "auth.leeway_s"),
            ("lifetime_max_s = 1".to_owned(), "auth.lifetime_max_s"),
            ("issuers = [{}]".to_owned(), "number 1: name must"),
            (ACME.to_owned(), "`acme`: has neither keys"),
            (format!("{ACME}jwks_url = \"http://acme.example/jwks\""), "https, or http on loopback"),
            (format!("{ACME}jwks_url = \"http://127.0.0.1.example/\""), "https, or http on loopback"),
            (format!("{ACME}jwks_url = \"https://me:hush@acme.example/\""), "user or password"),
            (format!("{ACME}jwks_url = \"https://a/\"\ncells = [\"a.b\"]"), "cells: `a.b`"),
            (format!("{ACME}jwks_url = \"https://a/\"\n{ACME}jwks_url = \"https://a/\""), "`acme`: this name"),
            (key("alg = \"none\""), "key `k`: alg: `none` must be one of HS256, EdDSA, RS256"),
            (key("alg = \"HS256\""), "exactly one of"),
            (key("alg = \"HS256\", secret = \"x\""), "`acme`: key `k`: secret: has 1 bytes"),
            (key(&format!("alg = \"EdDSA\", secret = \"{long}\"")), "EdDSA needs public_key_file"),
            (key("alg = \"RS256\", public_key_file = \"nowhere.pem\""), "public_key_file: `nowhere.pem`"),
            (key(&format!("alg = \"HS256\", secret = \"{long}\", secret_file = \"x\"")), "exactly one of"),
            (ACME.replace("rider", "king") + "jwks_url = \"https://a/\"", "roles: `king`"),
            (ACME.replace("\"rider\"", "") + "jwks_url = \"https://a/\"", "roles: name those"),
        ] {
            let error = checked(&toml).unwrap_err();
            assert!(error.contains(words) && !error.contains(&long), "{words}: {error}");
        }
        for url in ["https://acme.example/jwks", "http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost/"] {
            assert!(checked(&format!("{ACME}jwks_url = \"{url}\"")).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_public_key_does_not_sign_and_ids_are_there_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("k.pem");
        std::fs::write(&file, "x").unwrap();
        let key = format!("{{ kid = \"k\", alg = \"EdDSA\", public_key_file = {file:?}, sign = true }}");
        assert!(checked(&format!("{ACME}keys = [{key}]")).unwrap_err().contains("only verifies"));
        let key = key.replace(", sign = true", "");
        assert!(checked(&format!("{ACME}keys = [{key}, {key}]")).unwrap_err().contains("this id is there twice"));
    }
}
