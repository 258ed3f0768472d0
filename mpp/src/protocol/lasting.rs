//! The HMAC of challenges that are issued for as long as a server lives.
//!
//! What is left to hash of a challenge of a fixed price begins with the moment at which it expires and goes on to the nonce in its
//! `opaque`: that much is the same for all that are issued in one second, without a digest. Where it completes the block that is pending
//! (in nearly half of all offers, depending on the length of their text), the block is the same for all of them too: each thread
//! compresses it once and remembers the state after it. Mostly it is one of four; of a short operation, where much is missing, one of
//! three.
//!
//! With a digest the beginning is another one, and as long. Where a price is asked for with a body and without one in turn, and more than
//! the moment is missing, nothing is gained: each block is compressed, and copied besides.
//!
//! Only what this server issues goes this way, never what a client sends back: nobody else chooses what is remembered, but for whether
//! it sends a body.

use super::mac::MacState;
use arrayvec::ArrayVec;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes that texts have in common for a while: a moment in RFC 3339, no digest, and the beginning of an `opaque`, as
/// `server::scope` writes it. With a digest they are as many: `|sha-256=:`.
const COMMON: usize = "2026-11-21T10:05:00Z||eyJuIjoi".len();

/// How many a thread remembers, at some 200 bytes each.
const PLACES: usize = 16;

/// What is known of a state that codes are made from again and again, of texts that begin alike for a while.
#[derive(Clone, Copy)]
pub(super) struct Lasting {
    /// Of the state and its clones.
    name: u64,
    missing: usize,
}

/// Where a block is remembered, of those that share the place for the one that was asked for last.
struct Place {
    name: u64,
    completed: Option<Completed>,
}

/// A block that was completed and compressed. As secret as the state it began with, and not wiped either: a thread keeps it until
/// another takes its place or the thread ends, however long ago the server did.
struct Completed {
    by: ArrayVec<u8, COMMON>,
    state: MacState,
}

thread_local! {
    // Each thread its own: what all of them wrote to would cost more than it saves.
    static REMEMBERED: RefCell<[Option<Place>; PLACES]> = const { RefCell::new([const { None }; PLACES]) };
}

impl Lasting {
    /// `None` where what texts have in common does not complete a block.
    pub(super) fn of(state: &MacState) -> Option<Lasting> {
        static NAMES: AtomicU64 = AtomicU64::new(0);
        let missing = state.missing();
        (missing <= COMMON).then(|| Lasting { name: NAMES.fetch_add(1, Ordering::Relaxed), missing })
    }

    /// As [`MacState::code`], by the state this was made [of](Self::of) or a clone of it.
    pub(super) fn code(self, state: &MacState, text: &[u8]) -> [u8; 32] {
        let Some((by, rest)) = text.split_at_checked(self.missing) else { return state.code([text]) };
        let code = REMEMBERED.try_with(|places| {
            let place = &mut places.borrow_mut()[(self.name % PLACES as u64) as usize];
            let completed = match place {
                Some(Place { name, completed }) if *name == self.name => completed,
                // Another was asked for meanwhile. Where many take turns, none of them is worth a copy.
                _ => {
                    *place = Some(Place { name: self.name, completed: None });
                    return state.code([text]);
                }
            };
            let completed = match completed {
                Some(last) if *last.by == *by => last,
                _ => completed.insert(Completed::of(state, by)),
            };
            completed.state.code([rest])
        });
        // A thread that is ending remembers nothing any more.
        code.unwrap_or_else(|_| state.code([text]))
    }
}

impl Completed {
    fn of(state: &MacState, by: &[u8]) -> Self {
        let mut state = state.clone();
        state.absorb(by);
        Self { by: by.iter().copied().collect(), state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use proptest::prelude::*;
    use sha2::Sha256;

    const TEXT: &[u8] = b"2026-11-21T10:05:00Z||e30";

    fn absorbed(text: &[u8]) -> (MacState, Lasting) {
        let mut state = MacState::keyed(b"a key");
        state.absorb(text);
        let lasting = Lasting::of(&state).unwrap();
        (state, lasting)
    }

    fn whole(parts: [&[u8]; 2]) -> [u8; 32] {
        let mut whole = Hmac::<Sha256>::new_from_slice(b"a key").unwrap();
        parts.iter().for_each(|part| whole.update(part));
        whole.finalize().into_bytes().into()
    }

    #[test]
    fn only_a_block_that_the_common_beginning_completes_is_remembered() {
        for length in 0..130 {
            let mut state = MacState::keyed(b"a key");
            state.absorb(&vec![b'x'; length]);
            assert_eq!(Lasting::of(&state).is_some(), length % 64 >= 34, "{length}");
        }
    }

    #[test]
    fn a_thread_remembers_a_block_that_is_asked_for_twice_until_another_text_completes_it() {
        let (state, lasting) = absorbed(&[b'x'; 50]);
        let remembered = || {
            REMEMBERED.with_borrow(|places| {
                let ours = places.iter().flatten().find(|place| place.name == lasting.name)?;
                ours.completed.as_ref().map(|completed| completed.by.to_vec())
            })
        };
        for (text, by) in [
            ("a beginning, once", None),
            ("a beginning, one", Some("a beginning, o")),
            ("a beginning, only", Some("a beginning, o")),
            ("short", Some("a beginning, o")),
            ("another beginning", Some("another beginn")),
        ] {
            lasting.code(&state, text.as_bytes());
            assert_eq!(remembered().as_deref(), by.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn two_that_share_a_place_never_take_each_other_s_block() {
        // One more than there are places, of the same length.
        let texts: Vec<Vec<u8>> = (0..=PLACES).map(|i| vec![i as u8; 50]).collect();
        let states: Vec<_> = texts.iter().map(|text| absorbed(text)).collect();
        for _ in 0..2 {
            for (text, (state, lasting)) in texts.iter().zip(&states) {
                for _ in 0..3 {
                    assert_eq!(lasting.code(&state.clone(), TEXT), whole([text, TEXT]));
                }
            }
        }
    }

    #[test]
    fn a_thread_that_is_ending_makes_the_same_codes() {
        struct AtTheEnd((MacState, Lasting), std::sync::mpsc::Sender<[u8; 32]>);
        impl Drop for AtTheEnd {
            fn drop(&mut self) {
                let (state, lasting) = &self.0;
                let _ = self.1.send(lasting.code(state, TEXT));
            }
        }
        thread_local! {
            static LAST: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
        }
        let (sender, codes) = std::sync::mpsc::channel();
        let ending = std::thread::spawn(move || {
            // What was first used last ends first: what is remembered is gone when this makes its code.
            LAST.set(Some(AtTheEnd(absorbed(&[b'x'; 50]), sender)));
            let (state, lasting) = absorbed(&[b'x'; 50]);
            lasting.code(&state, TEXT);
        });
        ending.join().unwrap();
        assert_eq!(codes.recv(), Ok(whole([&[b'x'; 50], TEXT])));
    }

    proptest! {
        /// Texts of a few beginnings, some too short.
        #[test]
        fn what_is_remembered_changes_no_code(
            length in 64 - COMMON..64,
            texts in proptest::collection::vec((0..3usize, proptest::collection::vec(any::<u8>(), 0..150)), 1..30),
        ) {
            let begun = vec![b'x'; length];
            let (state, lasting) = absorbed(&begun);
            for (beginning, end) in texts {
                let beginning = ["2026-11-21T10:05:00Z||eyJuIjoi", "2026-11-21T10:05:00Z|sha-256=:", ""][beginning].as_bytes();
                let text = [beginning, &*end].concat();
                prop_assert_eq!(lasting.code(&state, &text), whole([&begun, &text]));
            }
        }
    }
}
