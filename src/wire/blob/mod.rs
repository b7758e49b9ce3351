//! State as bytes: what the store keeps and the state hash is taken over. The first byte is the format's version, so
//! that one release back stays readable.

mod before;

use crate::domain::{
    Order,
    cell::{CellHead, Rider},
};
use serde::{Serialize, de::DeserializeOwned};

/// The present format: postcard of the domain's own types.
const FORMAT: u8 = 4;

/// The format before, which is still read: the present one without an order's notes, which come last.
const FORMAT_BEFORE: u8 = 3;

/// What a state of the format before lacks at its end: no notes. Other states end before it.
const NO_NOTES: u8 = 0;

/// An older one that is still read: without what an order watches of itself.
const FORMAT_OLD: u8 = 2;

/// What is kept as a blob, and what it was in format 2.
pub trait State: Serialize + DeserializeOwned {
    type Before: DeserializeOwned + Into<Self>;
}

impl State for Order {
    type Before = before::Order;
}

impl State for CellHead {
    type Before = before::CellHead;
}

impl State for Rider {
    type Before = Self;
}

/// A blob that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("state blob of format {0}, this program reads up to {FORMAT}")]
    Format(u8),
    #[error("state blob is empty")]
    Empty,
    #[error("state blob: {0}")]
    Content(#[from] postcard::Error),
}

/// Nearly every state fits; encoding into a place that never grows is several times quicker.
const USUAL: usize = 2_048;

/// Encodes a state.
pub fn encode<T: State>(state: &T) -> Result<Vec<u8>, BlobError> {
    let mut usual = [FORMAT; USUAL];
    match postcard::to_slice(state, &mut usual[1..]).map(|content| content.len()) {
        Ok(content) => Ok(usual[..=content].to_vec()),
        Err(postcard::Error::SerializeBufferFull) => Ok(postcard::to_extend(state, vec![FORMAT])?),
        Err(error) => Err(error.into()),
    }
}

/// Decodes what [`encode`] gave.
pub fn decode<T: State>(blob: &[u8]) -> Result<T, BlobError> {
    match blob.split_first() {
        Some((&FORMAT, content)) => Ok(postcard::from_bytes(content)?),
        Some((&FORMAT_BEFORE, content)) => Ok(postcard::from_bytes(&[content, &[NO_NOTES]].concat())?),
        Some((&FORMAT_OLD, content)) => Ok(postcard::from_bytes::<T::Before>(content)?.into()),
        Some((&format, _)) => Err(BlobError::Format(format)),
        None => Err(BlobError::Empty),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl State for Vec<u8> {
        type Before = Self;
    }

    #[test]
    fn any_size_comes_back() {
        for size in [0, 1, USUAL - 4, USUAL - 3, USUAL - 2, USUAL - 1, USUAL, 3 * USUAL] {
            let state = vec![7u8; size];
            let blob = encode(&state).unwrap();
            assert_eq!(blob, postcard::to_extend(&state, vec![FORMAT]).unwrap());
            assert_eq!(decode::<Vec<u8>>(&blob).unwrap(), state);
        }
    }
}
