//! Settlement plans and stored responses at rest: sealed with keys derived from the secret ring (XChaCha20-Poly1305).
//!
//! A plan may hold a signed payment. It is written to the journal before anything is claimed, so it is sealed under the
//! challenge id and erased when the payment reaches a terminal state. A response is what somebody paid for: it is sealed
//! under the credential and request it answered, and erased with its entry.
//!
//! A response ends with its credential, so before a secret is taken out of the ring. A plan whose outcome nobody knows, that of a
//! refund and a page of a [`notebook`](super::Notebook) last as long as they last: with every sweep of `Mpp::recover`, and
//! when an entry is taken over, what another key than the first opens is sealed with the first.

use crate::protocol::SecretRing;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

const NONCE: usize = 24;

/// Seals and opens; the first key seals, all open, so plans survive a rotation of the secrets.
pub(crate) struct Sealer(Vec<XChaCha20Poly1305>);

/// What was sealed, and by which key.
pub(crate) enum Opened {
    /// The one that seals.
    ByFirst(Vec<u8>),
    /// One that only opens, and may be gone with the next deployment.
    ByAnother(Vec<u8>),
}

impl Sealer {
    /// Of settlement plans, and of what methods remember.
    pub(crate) fn new(ring: &SecretRing) -> Self {
        Self::labelled(ring, "mpp settlement plan v1")
    }

    /// Of stored responses: what one of the two sealed the other does not open.
    pub(crate) fn of_responses(ring: &SecretRing) -> Self {
        Self::labelled(ring, "mpp stored response v1")
    }

    fn labelled(ring: &SecretRing, label: &str) -> Self {
        Self(ring.keys_for(label).iter().map(|key| XChaCha20Poly1305::new(key.as_bytes().into())).collect())
    }

    /// `None` only if the cipher refuses the length, which it does above 256 GiB.
    pub(crate) fn seal(&self, challenge_id: &str, plain: &[u8]) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE] = rand::random();
        let payload = Payload { msg: plain, aad: challenge_id.as_bytes() };
        let cipher = self.0.first()?.encrypt(XNonce::from_slice(&nonce), payload).ok()?;
        Some([&nonce[..], &cipher].concat())
    }

    /// `None` when no key of the ring opens it: the secrets were rotated away too early, or it was altered.
    pub(crate) fn open(&self, challenge_id: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        match self.look(challenge_id, sealed)? {
            Opened::ByFirst(plain) | Opened::ByAnother(plain) => Some(plain),
        }
    }

    /// As [`open`](Self::open), and by which key.
    pub(crate) fn look(&self, challenge_id: &str, sealed: &[u8]) -> Option<Opened> {
        let (nonce, cipher) = sealed.split_at_checked(NONCE)?;
        let payload = || Payload { msg: cipher, aad: challenge_id.as_bytes() };
        let opens = |key: &XChaCha20Poly1305| key.decrypt(XNonce::from_slice(nonce), payload()).ok();
        let (first, others) = self.0.split_first()?;
        opens(first).map(Opened::ByFirst).or_else(|| others.iter().find_map(opens).map(Opened::ByAnother))
    }

    /// What another key than the first opens, sealed with the first. `None` when there is nothing to do, or no key opens it.
    pub(crate) fn seal_again(&self, challenge_id: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        if !self.has_others() {
            return None;
        }
        match self.look(challenge_id, sealed)? {
            Opened::ByFirst(_) => None,
            Opened::ByAnother(plain) => self.seal(challenge_id, &plain),
        }
    }

    /// Whether a rotation is under way: there are keys that only open.
    pub(crate) fn has_others(&self) -> bool {
        self.0.len() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Secret;

    #[test]
    fn a_plan_opens_under_its_own_challenge_and_after_a_rotation_only() {
        let (old, new) = (Secret::generate(), Secret::generate());
        let before = Sealer::new(&SecretRing::new(old.clone()));
        let (old_too, after) = (old.clone(), Sealer::new(&SecretRing::new(new.clone()).also(old)));
        let sealed = before.seal("id", b"signed transaction").unwrap();
        assert_eq!(after.open("id", &sealed).as_deref(), Some(&b"signed transaction"[..]));
        assert_eq!(after.open("other id", &sealed), None);
        assert_eq!(Sealer::new(&SecretRing::new(new)).open("id", &sealed), None);
        assert_eq!(before.open("id", b"short"), None);
        assert!(!sealed.windows(6).any(|w| w == b"signed"), "not in the clear");
        let responses = Sealer::of_responses(&SecretRing::new(old_too));
        assert_eq!(responses.open("id", &sealed), None, "a plan is no response");
    }

    #[test]
    fn what_another_key_sealed_is_sealed_again_with_the_first_once() {
        let (old, new) = (Secret::generate(), Secret::generate());
        let sealed = Sealer::new(&SecretRing::new(old.clone())).seal("id", b"plan").unwrap();
        let both = Sealer::new(&SecretRing::new(new.clone()).also(old));
        let again = both.seal_again("id", &sealed).unwrap();
        let alone = Sealer::new(&SecretRing::new(new));
        assert_eq!(alone.open("id", &again).as_deref(), Some(&b"plan"[..]));
        assert_eq!(both.seal_again("id", &again), None, "it is under the first");
        assert_eq!(both.seal_again("other id", &sealed), None, "nobody opens it");
        assert_eq!(alone.seal_again("id", &sealed), None);
    }
}
