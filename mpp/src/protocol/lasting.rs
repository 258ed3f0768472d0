//! The HMAC of challenges that are issued for as long as a server lives.
//!
//! What is left to hash of a challenge of a fixed price begins with the moment at which it expires, which is the same for all that
//! are issued in one second. Where it completes the block that is pending (in a third of all offers, depending on the length of their
//! text), the block is the same for all of them too: each thread compresses it once and remembers the state after it. Mostly it is one
//! of four.
//!
//! Only what this server issues goes this way, never what a client sends back: nobody else chooses what is remembered.

use super::mac::MacState;
use arrayvec::ArrayVec;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes that texts have in common for a while: a moment in RFC 3339.
const COMMON: usize = "2026-11-21T10:05:00Z".len();

/// How many states a thread remembers, at some 200 bytes each. An offer that has to share its place with one that is asked for as
/// often copies a state more than without.
const REMEMBERED: usize = 16;

/// A state that codes are made from again and again, of texts that begin alike for a while.
#[derive(Clone)]
pub(super) struct LastingMac {
    state: MacState,
    /// Its own and that of its clones.
    name: u64,
    missing: usize,
}

/// A block that was completed and compressed. As secret as the state it began with, and not wiped either: a thread keeps it until
/// another takes its place or the thread ends, however long ago the server did.
struct Completed {
    name: u64,
    by: ArrayVec<u8, COMMON>,
    state: MacState,
}

thread_local! {
    // Each thread its own: what all of them wrote to would cost more than it saves.
    static COMPLETED: RefCell<[Option<Completed>; REMEMBERED]> = const { RefCell::new([const { None }; REMEMBERED]) };
}

impl LastingMac {
    /// `None` where what texts have in common does not complete a block.
    pub(super) fn of(state: &MacState) -> Option<LastingMac> {
        static NAMES: AtomicU64 = AtomicU64::new(0);
        let missing = state.missing();
        let named = || NAMES.fetch_add(1, Ordering::Relaxed);
        (missing <= COMMON).then(|| LastingMac { state: state.clone(), name: named(), missing })
    }

    /// The code of what was absorbed, with this text after it.
    pub(super) fn code(&self, text: &[u8]) -> [u8; 32] {
        let Some((by, rest)) = text.split_at_checked(self.missing) else { return self.state.code([text]) };
        let remembered = COMPLETED.try_with(|remembered| {
            let place = &mut remembered.borrow_mut()[(self.name % REMEMBERED as u64) as usize];
            let same = |last: &&mut Completed| last.name == self.name && *last.by == *by;
            let completed = match place.as_mut().filter(same) {
                Some(last) => last,
                None => place.insert(self.completed(by)),
            };
            completed.state.code([rest])
        });
        // A thread that is ending remembers nothing any more.
        remembered.unwrap_or_else(|_| self.state.code([text]))
    }

    fn completed(&self, by: &[u8]) -> Completed {
        let mut state = self.state.clone();
        state.absorb(by);
        Completed { name: self.name, by: by.iter().copied().collect(), state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use proptest::prelude::*;
    use sha2::Sha256;

    fn absorbed(text: &[u8]) -> MacState {
        let mut state = MacState::keyed(b"a key");
        state.absorb(text);
        state
    }

    fn whole(parts: [&[u8]; 2]) -> [u8; 32] {
        let mut whole = Hmac::<Sha256>::new_from_slice(b"a key").unwrap();
        parts.iter().for_each(|part| whole.update(part));
        whole.finalize().into_bytes().into()
    }

    #[test]
    fn only_a_block_that_a_moment_completes_is_remembered() {
        for length in 0..130 {
            let state = absorbed(&vec![b'x'; length]);
            assert_eq!(LastingMac::of(&state).is_some(), length % 64 >= 44, "{length}");
        }
    }

    #[test]
    fn a_thread_remembers_a_block_until_another_text_completes_it() {
        let mac = LastingMac::of(&absorbed(&[b'x'; 50])).unwrap();
        let remembered = || {
            COMPLETED.with_borrow(|all| {
                let ours = all.iter().flatten().find(|completed| completed.name == mac.name);
                ours.map(|completed| completed.by.to_vec())
            })
        };
        assert_eq!(remembered(), None);
        for (text, by) in [
            ("a beginning, one", "a beginning, o"),
            ("a beginning, only", "a beginning, o"),
            ("short", "a beginning, o"),
            ("another beginning", "another beginn"),
        ] {
            mac.code(text.as_bytes());
            assert_eq!(remembered().as_deref(), Some(by.as_bytes()), "{text}");
        }
    }

    #[test]
    fn two_that_share_a_place_never_take_each_other_s_block() {
        // One more than there are places, of the same length.
        let texts: Vec<Vec<u8>> = (0..=REMEMBERED).map(|i| vec![i as u8; 50]).collect();
        let macs: Vec<_> = texts.iter().map(|text| LastingMac::of(&absorbed(text)).unwrap()).collect();
        for _ in 0..2 {
            for (text, mac) in texts.iter().zip(&macs) {
                assert_eq!(
                    mac.clone().code(b"2026-11-21T10:05:00Z||e30"),
                    whole([text, b"2026-11-21T10:05:00Z||e30"])
                );
            }
        }
    }

    #[test]
    fn a_thread_that_is_ending_makes_the_same_codes() {
        struct AtTheEnd(LastingMac, std::sync::mpsc::Sender<[u8; 32]>);
        impl Drop for AtTheEnd {
            fn drop(&mut self) {
                let _ = self.1.send(self.0.code(b"2026-11-21T10:05:00Z||e30"));
            }
        }
        thread_local! {
            static LAST: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
        }
        let (sender, codes) = std::sync::mpsc::channel();
        let mac = LastingMac::of(&absorbed(&[b'x'; 50])).unwrap();
        let ending = std::thread::spawn(move || {
            // What was first used last ends first: what is remembered is gone when this makes its code.
            LAST.set(Some(AtTheEnd(mac.clone(), sender)));
            mac.code(b"2026-11-21T10:05:00Z||e30");
        });
        ending.join().unwrap();
        assert_eq!(codes.recv(), Ok(whole([&[b'x'; 50], b"2026-11-21T10:05:00Z||e30"])));
    }

    proptest! {
        /// Texts of a few beginnings, some too short.
        #[test]
        fn what_is_remembered_changes_no_code(
            length in 64 - COMMON..64,
            texts in proptest::collection::vec((0..3usize, proptest::collection::vec(any::<u8>(), 0..150)), 1..30),
        ) {
            let begun = vec![b'x'; length];
            let mac = LastingMac::of(&absorbed(&begun)).unwrap();
            for (beginning, end) in texts {
                let beginning = ["2026-11-21T10:05:00Z", "3026-11-21T10:05:00Z", ""][beginning].as_bytes();
                let text = [beginning, &*end].concat();
                prop_assert_eq!(mac.code(&text), whole([&begun, &text]));
            }
        }
    }
}
