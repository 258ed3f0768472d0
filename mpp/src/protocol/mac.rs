//! HMAC-SHA256 (RFC 2104) of a text whose beginning is always the same: what is absorbed once is finished many times.
//!
//! A [`MacState`] is an `hmac::Hmac` in its two parts, the keyed core and the bytes that do not fill a block yet. An `Hmac` ends by
//! value: it is copied once more for each code, and a tenth of what a code costs is in that.
//!
//! The texts that are finished do not differ from their first byte on either: they begin with the moment at which a challenge
//! expires, and all those of one second expire at one. Where that completes the block that is pending (in a third of all offers, by
//! how long theirs is), a [`FirstBlock`] is compressed once a second, and not for every code: it is one of three or four.

use arrayvec::ArrayVec;
use hmac::KeyInit as _;
use hmac::block_api::HmacCore;
use hmac::digest::Output;
use hmac::digest::block_api::{Block, Buffer, FixedOutputCore as _, UpdateCore as _};
use sha2::Sha256;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

type Core = HmacCore<Sha256>;

/// The bytes that texts have in common for a while: a moment in RFC 3339.
const COMMON: usize = "2026-11-21T10:05:00Z".len();

/// As secret as the key it was made from. Neither it nor a copy of it is wiped: while the server lives there is always one, and a
/// thread keeps the last few [`FirstBlock`]s.
#[derive(Clone)]
pub(super) struct MacState {
    core: Core,
    pending: Buffer<Core>,
}

impl MacState {
    /// That has absorbed nothing but its key.
    pub(super) fn keyed(key: &[u8]) -> MacState {
        let core = Core::new_from_slice(key).expect("HMAC takes a key of any length");
        MacState { core, pending: Buffer::<Core>::default() }
    }

    pub(super) fn absorb(&mut self, part: &[u8]) {
        let Self { core, pending } = self;
        pending.digest_blocks(part, |blocks| core.update_blocks(blocks));
    }

    /// The code of what was absorbed, with these parts after it. The fewer they are the faster it is.
    pub(super) fn code<'p>(&self, parts: impl IntoIterator<Item = &'p [u8]>) -> [u8; 32] {
        let mut state = self.clone();
        for part in parts {
            state.absorb(part);
        }
        let mut code = Output::<Core>::default();
        state.core.finalize_fixed_core(&mut state.pending, &mut code);
        code.into()
    }
}

/// The first block that is completed by the texts that follow on one state, where what they have in common completes it.
#[derive(Clone, Copy)]
pub(super) struct FirstBlock {
    /// Of the state: no other has it, in this process.
    name: u64,
    missing: usize,
}

/// A first block that was completed and compressed.
struct Completed {
    name: u64,
    by: ArrayVec<u8, COMMON>,
    state: MacState,
}

/// How many a thread remembers.
const REMEMBERED: usize = 8;

thread_local! {
    // Each thread its own: what all of them wrote to would cost more than it saves.
    static COMPLETED: RefCell<[Option<Completed>; REMEMBERED]> = const { RefCell::new([const { None }; REMEMBERED]) };
}

impl FirstBlock {
    /// `None` where it is not completed by what texts have in common.
    pub(super) fn of(state: &MacState) -> Option<FirstBlock> {
        static NAMES: AtomicU64 = AtomicU64::new(0);
        let missing = size_of::<Block<Core>>() - state.pending.get_pos();
        (missing <= COMMON).then(|| FirstBlock { name: NAMES.fetch_add(1, Ordering::Relaxed), missing })
    }

    /// As [`MacState::code`], of a text that may begin as the one before it did. `state` is the one this block was [made
    /// of](Self::of), or a clone of it.
    pub(super) fn code(self, state: &MacState, text: &[u8]) -> [u8; 32] {
        let Some((by, rest)) = text.split_at_checked(self.missing) else { return state.code([text]) };
        COMPLETED.with_borrow_mut(|remembered| {
            let place = &mut remembered[(self.name % REMEMBERED as u64) as usize];
            let same = |last: &&mut Completed| last.name == self.name && *last.by == *by;
            let completed = match place.as_mut().filter(same) {
                Some(last) => last,
                None => {
                    let mut state = state.clone();
                    state.absorb(by);
                    place.insert(Completed { name: self.name, by: by.iter().copied().collect(), state })
                }
            };
            completed.state.code([rest])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::{Hmac, Mac as _};
    use proptest::prelude::*;

    /// As it is absorbed and finished in one.
    fn whole(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut whole = Hmac::<Sha256>::new_from_slice(key).unwrap();
        parts.iter().for_each(|part| whole.update(part));
        whole.finalize().into_bytes().into()
    }

    proptest! {
        #[test]
        fn a_code_is_that_of_the_whole_text_however_it_was_cut(
            key in proptest::collection::vec(any::<u8>(), 0..200),
            absorbed in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..150), 0..4),
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..150), 0..4),
        ) {
            let mut state = MacState::keyed(&key);
            absorbed.iter().for_each(|part| state.absorb(part));
            let all: Vec<&[u8]> = absorbed.iter().chain(&parts).map(Vec::as_slice).collect();
            let code = state.code(parts.iter().map(Vec::as_slice));
            prop_assert_eq!(code, whole(&key, &all));
            // And again: a state is not used up.
            prop_assert_eq!(code, state.code(parts.iter().map(Vec::as_slice)));
        }

        /// Texts of a few beginnings, on more states than are remembered: those that share a place miss as much as each other.
        #[test]
        fn a_first_block_changes_no_code(
            steps in proptest::collection::vec(
                (0..2 * REMEMBERED, 0..3usize, proptest::collection::vec(any::<u8>(), 0..150)),
                1..100,
            ),
        ) {
            let states: Vec<(Vec<u8>, MacState, FirstBlock)> = (0..2 * REMEMBERED).map(|i| {
                let absorbed = vec![i as u8; 64 - COMMON + 5 * (i % 4)];
                let mut state = MacState::keyed(b"a key");
                state.absorb(&absorbed);
                let first_block = FirstBlock::of(&state).unwrap();
                (absorbed, state, first_block)
            }).collect();
            for (state, beginning, end) in steps {
                let (absorbed, state, first_block) = &states[state];
                // Too short for most of them, too.
                let beginning = &["2026-11-21T10:05:00Z", "2026-11-21T10:05:01Z", ""][beginning].as_bytes();
                let text = [beginning, &*end].concat();
                prop_assert_eq!(first_block.code(state, &text), whole(b"a key", &[absorbed, &text]));
            }
        }
    }

    #[test]
    fn a_first_block_is_remembered_where_what_texts_have_in_common_completes_it() {
        for absorbed in 0..130 {
            let mut state = MacState::keyed(b"a key");
            state.absorb(&vec![b'x'; absorbed]);
            assert_eq!(FirstBlock::of(&state).is_some(), absorbed % 64 >= 44, "{absorbed}");
        }
    }

    #[test]
    fn a_thread_remembers_a_block_until_another_text_completes_it() {
        let mut state = MacState::keyed(b"a key");
        state.absorb(&[b'x'; 50]);
        let first_block = FirstBlock::of(&state).unwrap();
        let remembered = || {
            COMPLETED.with_borrow(|all| {
                let ours = all.iter().flatten().find(|completed| completed.name == first_block.name);
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
            first_block.code(&state, text.as_bytes());
            assert_eq!(remembered().as_deref(), Some(by.as_bytes()), "{text}");
        }
    }
}
