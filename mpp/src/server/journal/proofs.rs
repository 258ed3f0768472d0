//! Proofs, and who holds them: what buys once is a key of its own while its payment is known.
//!
//! A proof is what a method names ([`Verified::proof_keys`](crate::method::Verified)): a transaction's hash, a token. It may
//! be a secret and of any length, so the store has a hash of it. An `Idempotency-Key` is claimed in the same way, under the
//! hash it already is.
//!
//! | key | value |
//! | --- | --- |
//! | `<quota>/proof/<name>` | [`Holder`]: the challenge that was first |
//!
//! A proof is of one quota, as the method's payment is; an `Idempotency-Key` may come with either. It is kept under that of its
//! first request, so that who pays nothing takes no payer's room, and found under both: whoever has taken it looks whether the
//! other one is taken too, and gives it back then. Of two at once so at most one goes on.

use super::super::replay::IdempotencyKey;
use super::{Journal, PROOF};
use crate::protocol::{Timestamp, b64};
use crate::store::{Cas, Keep, Key, Quota, StoreError, Write};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a proof is called in the store and in its entry.
///
/// Half a SHA-256: whoever finds two proofs of one name has two of which one is refused, and to find one that has the name of
/// somebody else's takes 2^128 attempts.
pub(super) fn name_of(proof: String) -> String {
    if IdempotencyKey::is_proof(&proof) {
        return proof;
    }
    let hash = Sha256::digest(&proof);
    b64::encode(&hash[..16])
}

/// How taking a proof ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taking {
    /// It is ours, or was already.
    Ours,
    /// Another challenge holds it.
    Theirs,
}

impl Journal {
    /// Which challenge holds an `Idempotency-Key`.
    pub(crate) async fn holder(&self, name: &str) -> Result<Option<String>, StoreError> {
        for quota in [Quota::Paid, Quota::Free] {
            if let Some(held) = self.store.get(&Key::new(quota, PROOF, name)).await? {
                return Holder::read(&held.value).map(Some);
            }
        }
        Ok(None)
    }

    /// Takes an `Idempotency-Key` for a payment that is settled already, as long as its credential opens the route.
    pub(crate) async fn hold(
        &self,
        quota: Quota,
        name: &str,
        id: &str,
        expires: i64,
        now: Timestamp,
    ) -> Result<Taking, StoreError> {
        self.take(quota, name, id, Keep::For(self.retention(expires, now))).await
    }

    /// Takes a proof for a challenge. Doing it twice is doing it once.
    pub(super) async fn take(
        &self,
        quota: Quota,
        name: &str,
        id: &str,
        keep: Keep,
    ) -> Result<Taking, StoreError> {
        let ours = Holder::write(id);
        let write = Write { value: ours.clone(), keep };
        let is_new = match self.store.cas(&Key::new(quota, PROOF, name), None, Some(write)).await? {
            Cas::Written(_) | Cas::Removed => true,
            Cas::Conflict(Some(held)) if held.value == ours => false,
            Cas::Conflict(_) => return Ok(Taking::Theirs),
        };
        if !IdempotencyKey::is_proof(name)
            || self.store.get(&Key::new(quota.other(), PROOF, name)).await?.is_none()
        {
            return Ok(Taking::Ours);
        }
        // What a copy of this request has taken is for that one to give back: it may have looked before the other was there.
        if is_new {
            self.give_back(quota, name, id).await?;
        }
        Ok(Taking::Theirs)
    }

    /// Lets others take a proof, if this challenge holds it.
    pub(super) async fn give_back(&self, quota: Quota, name: &str, id: &str) -> Result<(), StoreError> {
        self.put_held(quota, name, id, None).await
    }

    /// Forgets a proof in time, if this challenge holds it.
    pub(super) async fn let_end(
        &self,
        quota: Quota,
        name: &str,
        id: &str,
        keep: Keep,
    ) -> Result<(), StoreError> {
        self.put_held(quota, name, id, Some(Write { value: Holder::write(id), keep })).await
    }

    async fn put_held(
        &self,
        quota: Quota,
        name: &str,
        id: &str,
        new: Option<Write>,
    ) -> Result<(), StoreError> {
        let key = Key::new(quota, PROOF, name);
        if let Some(held) = self.store.get(&key).await?
            && held.value == Holder::write(id)
        {
            self.store.cas(&key, Some(held.version), new).await?;
        }
        Ok(())
    }
}

/// Who holds a proof, in postcard: as bytes, where the id is the text of 32 of them, as those of our challenges are.
#[derive(Serialize, Deserialize)]
enum Holder<'a> {
    Challenge([u8; 32]),
    Other(&'a str),
}

impl Holder<'_> {
    fn write(id: &str) -> Vec<u8> {
        let bytes = b64::decode(id).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let holder = bytes.map_or(Holder::Other(id), Holder::Challenge);
        // Bytes and text: there is nothing that postcard could refuse.
        postcard::to_allocvec(&holder).unwrap_or_default()
    }

    fn read(value: &[u8]) -> Result<String, StoreError> {
        match postcard::from_bytes(value) {
            Ok(Holder::Challenge(bytes)) => Ok(b64::encode(bytes)),
            Ok(Holder::Other(id)) => Ok(id.to_owned()),
            Err(e) => Err(StoreError::Backend(format!("unreadable holder of a proof: {e}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_read_as_it_was_written_and_no_two_are_written_alike() {
        let ours = b64::encode([7; 32]);
        // The last character of the second has bits to spare: it would be the same bytes.
        let others =
            ["", "id", &ours[1..], &format!("{}d", &ours[..42]), &"x".repeat(32), &b64::encode([7; 33])];
        let mut seen = vec![Holder::write(&ours)];
        assert_eq!(seen[0].len(), 33);
        assert_eq!(Holder::read(&seen[0]), Ok(ours.clone()));
        for id in others {
            let written = Holder::write(id);
            assert_eq!(Holder::read(&written).as_deref(), Ok(id));
            assert!(!seen.contains(&written), "{id}");
            seen.push(written);
        }
        assert!(Holder::read(b"").is_err() && Holder::read(ours.as_bytes()).is_err());
    }

    #[test]
    fn a_proof_is_not_in_its_name_and_an_idempotency_key_is_the_hash_it_was() {
        let name = |proof: &str| name_of(proof.to_owned());
        assert_eq!(name("stripe:spt_123").len(), 22);
        assert_eq!(name("stripe:spt_123"), name("stripe:spt_123"));
        assert_ne!(name("stripe:spt_123"), name("stripe:spt_124"));
        assert_eq!(name(&"long".repeat(10_000)).len(), 22);
        let key = format!("idempotency={}", b64::encode([7; 32]));
        assert_eq!(name(&key), key);
    }
}
