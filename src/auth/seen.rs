//! Tokens whose signature was found good, by their SHA-256: a crowd that reconnects costs no signatures. What is
//! remembered is that this key signed it and what this issuer's rules made of it; both are compared anew, as objects, and so is
//! the end.

use super::{keys::Key, ring::Issuer};
use crate::wire::access::Principal;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

/// A token's SHA-256.
pub(super) type Print = [u8; 32];

#[derive(Debug)]
struct Entry {
    /// Weak, so that what was replaced goes.
    issuer: Weak<Issuer>,
    key: Weak<Key>,
    principal: Principal,
}

/// Bounded: what wasn't asked for while half of the room was filled anew is forgotten. Only good tokens get in, so who has
/// none can't push others out.
#[derive(Debug)]
pub(super) struct Seen {
    young: HashMap<Print, Entry>,
    old: HashMap<Print, Entry>,
    half: usize,
}

pub(super) fn print(token: &str) -> Print {
    Sha256::digest(token).into()
}

impl Seen {
    pub(super) fn new(max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (max / 2).max(1) }
    }

    /// For whom the token speaks, if it was looked at by this key and these rules.
    pub(super) fn get(&mut self, print: &Print, issuer: &Arc<Issuer>, key: &Arc<Key>) -> Option<Principal> {
        if let Some(entry) = self.young.get(print) {
            return entry.by(issuer, key);
        }
        let entry = self.old.remove(print)?;
        let principal = entry.by(issuer, key)?;
        self.put(*print, issuer, key, principal.clone());
        Some(principal)
    }

    pub(super) fn put(&mut self, print: Print, issuer: &Arc<Issuer>, key: &Arc<Key>, principal: Principal) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(print, Entry { issuer: Arc::downgrade(issuer), key: Arc::downgrade(key), principal });
    }

    pub(super) fn remove(&mut self, print: &Print) {
        self.young.remove(print);
        self.old.remove(print);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

impl Entry {
    fn by(&self, issuer: &Arc<Issuer>, key: &Arc<Key>) -> Option<Principal> {
        // A weak reference keeps the address from being used again.
        let same = self.key.as_ptr() == Arc::as_ptr(key) && self.issuer.as_ptr() == Arc::as_ptr(issuer);
        same.then(|| self.principal.clone())
    }
}
