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
//! While its payment is open, a proof of real money is kept without a term, because nobody knows how long that takes. It gets one
//! after the write that ends the payment, or goes when the claim is undone; a process that dies in between, or comes back to a
//! claim that others have undone, leaves it behind. [`Mpp::recover`](crate::Mpp::recover) forgets those whose payment is
//! forgotten ([`Journal::forget_proof`]). A [`Holder`] says whether it has a term, so that it need not ask about all the others.
//!
//! Keys bear the challenge's id and not their claim's, and the same challenge may be claimed anew by anybody. So whoever takes a
//! proof writes it, though it was its own already, and whoever removes one does so by the version it has read
//! ([`Journal::held`]) before it made sure that the claim is over or its own: what has been taken since is another version.
//!
//! A proof is of one quota, as the method's payment is; an `Idempotency-Key` may come with either. It is kept under that of its
//! first request, so that who pays nothing takes no payer's room, and found under both: whoever has taken it looks whether the
//! other one is taken too, and gives it back then. Of two at once so at most one goes on.

use super::super::replay::IdempotencyKey;
use super::{Entry, Journal, PROOF};
use crate::protocol::b64;
use crate::store::{Cas, Keep, Key, Quota, StoreError, Version, Versioned, Write};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How often a proof may change while it is taken.
const TURNS: usize = 20;
/// How many `Idempotency-Key`s a payment has: clients name another one after a failure. Each is a value in the store, and who has paid
/// once could write any number of them.
const KEYS: usize = 4;

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

/// A proof, and the version in which it is ours.
pub(super) struct HeldProof {
    name: String,
    version: Version,
}

/// How taking a proof ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taking {
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
                return Holder::read(&held.value).map(|holder| Some(holder.id()));
            }
        }
        Ok(None)
    }

    /// Names the key of a later attempt in its entry, as the last of those it was tried under. Returns the one that gives way, if it is
    /// held: it may be given back once the entry is written without it.
    pub(super) async fn name_key(
        &self,
        quota: Quota,
        id: &str,
        entry: &mut Entry,
        key: &str,
    ) -> Result<Option<HeldProof>, StoreError> {
        let proofs = &mut entry.proof_keys;
        proofs.retain(|proof| proof != key);
        let keys = || proofs.iter().enumerate().filter(|(_, proof)| IdempotencyKey::is_proof(proof));
        let oldest = keys().nth_back(KEYS - 1).map(|(oldest, _)| oldest);
        let oldest = oldest.map(|oldest| proofs.remove(oldest));
        proofs.push(key.to_owned());
        let Some(name) = oldest else { return Ok(None) };
        self.held(quota, &name, id).await
    }

    /// Takes a proof for a challenge. Doing it twice is doing it once.
    pub(super) async fn take(
        &self,
        quota: Quota,
        name: &str,
        id: &str,
        keep: Keep,
    ) -> Result<Taking, StoreError> {
        let key = Key::new(quota, PROOF, name);
        let write = Write { value: Holder::of(id, keep).write(), keep };
        let (mut expect, mut before) = (None, None);
        for _ in 0..TURNS {
            let there = match self.store.cas(&key, expect, Some(write.clone())).await? {
                Cas::Written(version) => return self.taken(quota, name, &key, version, before).await,
                Cas::Removed => None,
                Cas::Conflict(there) => there,
            };
            before = there.as_ref().map(|there| there.version);
            match &there {
                Some(there) if !Holder::read(&there.value)?.is(id) => return Ok(Taking::Theirs),
                _ => expect = before,
            }
        }
        Err(StoreError::Backend("a proof was changed again and again".to_owned()))
    }

    /// Has written a proof, where ours stood `before` or nothing: looks under the other quota, too.
    async fn taken(
        &self,
        quota: Quota,
        name: &str,
        key: &Key,
        written: Version,
        before: Option<Version>,
    ) -> Result<Taking, StoreError> {
        if !IdempotencyKey::is_proof(name)
            || self.store.get(&Key::new(quota.other(), PROOF, name)).await?.is_none()
        {
            return Ok(Taking::Ours);
        }
        // What a copy of this request has taken is for that one to give back: it may have looked before the other was there.
        if before.is_none() {
            self.store.cas(key, Some(written), None).await?;
        }
        Ok(Taking::Theirs)
    }

    /// A proof, if this challenge holds it now. What cannot be read is not known to be its own.
    pub(super) async fn held(
        &self,
        quota: Quota,
        name: &str,
        id: &str,
    ) -> Result<Option<HeldProof>, StoreError> {
        let there = self.store.get(&Key::new(quota, PROOF, name)).await?;
        let ours = there.filter(|there| Holder::read(&there.value).is_ok_and(|holder| holder.is(id)));
        Ok(ours.map(|there| HeldProof { name: name.to_owned(), version: there.version }))
    }

    /// Lets others take a proof, unless it was taken again since this version.
    pub(super) async fn give_back(&self, quota: Quota, held: &HeldProof) -> Result<(), StoreError> {
        self.store.cas(&Key::new(quota, PROOF, &held.name), Some(held.version), None).await.map(drop)
    }

    /// Forgets a proof in time, if this challenge holds it.
    pub(super) async fn let_end(
        &self,
        quota: Quota,
        name: &str,
        id: &str,
        keep: Keep,
    ) -> Result<(), StoreError> {
        if let Some(held) = self.held(quota, name, id).await? {
            let write = Write { value: Holder::of(id, keep).write(), keep };
            self.store.cas(&Key::new(quota, PROOF, name), Some(held.version), Some(write)).await?;
        }
        Ok(())
    }

    /// A page of proofs of real money, and the last key of it to go on after. Those of other payments end by themselves.
    pub(crate) async fn proofs(&self, after: Option<&Key>) -> Result<Vec<(Key, Versioned)>, StoreError> {
        const PAGE: usize = 100;
        self.store.scan(&format!("{}/{PROOF}/", Quota::Paid.name()), after, PAGE).await
    }

    /// Forgets a proof that has no term and whose payment is forgotten.
    pub(crate) async fn forget_proof(&self, key: &Key, held: &Versioned) -> Result<(), StoreError> {
        let holder = Holder::read(&held.value)?;
        if let Term::None = holder.term
            && self.find(Quota::Paid, &holder.id()).await?.is_none()
        {
            self.store.cas(key, Some(held.version), None).await?;
        }
        Ok(())
    }
}

/// Who holds a proof, in postcard.
#[derive(Serialize, Deserialize)]
struct Holder<'a> {
    #[serde(borrow)]
    challenge: Challenge<'a>,
    term: Term,
}

/// An id: as bytes, where it is the text of 32 of them, as those of our challenges are.
#[derive(PartialEq, Serialize, Deserialize)]
enum Challenge<'a> {
    Bound([u8; 32]),
    Other(&'a str),
}

/// Whether a proof ends by itself.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Term {
    None,
    Some,
}

impl<'a> Holder<'a> {
    fn of(id: &'a str, keep: Keep) -> Self {
        let term = match keep {
            Keep::Live => Term::None,
            Keep::For(_) => Term::Some,
        };
        Self { challenge: Challenge::of(id), term }
    }

    fn write(&self) -> Vec<u8> {
        // Bytes and text: there is nothing that postcard could refuse.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    fn read(value: &'a [u8]) -> Result<Self, StoreError> {
        postcard::from_bytes(value).map_err(|e| StoreError::Unreadable(format!("the holder of a proof: {e}")))
    }

    fn is(&self, id: &str) -> bool {
        self.challenge == Challenge::of(id)
    }

    fn id(&self) -> String {
        match self.challenge {
            Challenge::Bound(bytes) => b64::encode(bytes),
            Challenge::Other(id) => id.to_owned(),
        }
    }
}

impl<'a> Challenge<'a> {
    fn of(id: &'a str) -> Self {
        let bytes = b64::decode(id).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.map_or(Self::Other(id), Self::Bound)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ENTRY, Record, encode, numbers};
    use super::*;
    use crate::store::MemoryStore;
    use std::sync::Arc;
    use std::time::Duration;

    const MINUTE: Duration = Duration::from_secs(60);

    fn journal() -> Journal {
        Journal::new(Arc::new(MemoryStore::new()), MINUTE, MINUTE, MINUTE)
    }

    async fn sweep(journal: &Journal) {
        for (key, held) in journal.proofs(None).await.unwrap() {
            journal.forget_proof(&key, &held).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_proof_without_a_term_is_forgotten_after_its_payment_and_not_before() {
        let journal = journal();
        let entry = Key::new(Quota::Paid, ENTRY, "id");
        let over = Write { value: encode(&Record::Delivered(7)).unwrap(), keep: Keep::Live };
        let Ok(Cas::Written(version)) = journal.store.cas(&entry, None, Some(over)).await else { panic!() };
        for (name, keep) in [("left", Keep::Live), ("ending", Keep::For(MINUTE))] {
            assert_eq!(journal.take(Quota::Paid, name, "id", keep).await, Ok(Taking::Ours));
        }
        sweep(&journal).await;
        for name in ["left", "ending"] {
            assert_eq!(journal.holder(name).await, Ok(Some("id".to_owned())), "{name}");
        }
        journal.store.cas(&entry, Some(version), None).await.unwrap();
        sweep(&journal).await;
        assert_eq!(journal.holder("left").await, Ok(None));
        assert_eq!(journal.holder("ending").await, Ok(Some("id".to_owned())), "it ends by itself");
    }

    #[tokio::test]
    async fn a_proof_that_its_challenge_takes_again_while_a_sweep_looks_at_it_stays() {
        let journal = journal();
        let take = |keep| journal.take(Quota::Paid, "left", "id", keep);
        take(Keep::For(MINUTE)).await.unwrap();
        take(Keep::Live).await.unwrap();
        let seen = journal.proofs(None).await.unwrap();
        assert_eq!(take(Keep::Live).await, Ok(Taking::Ours));
        journal.forget_proof(&seen[0].0, &seen[0].1).await.unwrap();
        assert_eq!(journal.holder("left").await, Ok(Some("id".to_owned())));
        sweep(&journal).await;
        assert_eq!(journal.holder("left").await, Ok(None), "nobody came for it");
    }

    #[test]
    fn a_holder_is_read_as_it_was_written_and_no_two_are_written_alike() {
        let ours = b64::encode([7; 32]);
        // The last character of the second has bits to spare: it would be the same bytes.
        let others =
            ["", "id", &ours[1..], &format!("{}d", &ours[..42]), &"x".repeat(32), &b64::encode([7; 33])];
        let mut seen = Vec::new();
        for id in others.into_iter().chain([ours.as_str()]) {
            for keep in [Keep::Live, Keep::For(MINUTE)] {
                let written = Holder::of(id, keep).write();
                let read = Holder::read(&written).unwrap();
                assert_eq!((read.id().as_str(), read.term == Term::None), (id, keep == Keep::Live));
                assert!(read.is(id) && !read.is("another"));
                assert!(!seen.contains(&written), "{id}");
                seen.push(written);
            }
        }
        assert_eq!(seen.last().map(Vec::len), Some(34));
        assert_eq!(numbers(&[Challenge::of(&ours), Challenge::of("id")]), [0, 1]);
        assert_eq!(numbers(&[Term::None, Term::Some]), [0, 1]);
        for garbage in [&b""[..], ours.as_bytes()] {
            assert!(matches!(Holder::read(garbage), Err(StoreError::Unreadable(_))));
        }
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
