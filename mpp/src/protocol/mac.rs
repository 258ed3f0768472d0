//! HMAC-SHA256 (RFC 2104) of a text whose beginning is always the same: what is absorbed once is finished many times.
//!
//! A [`MacState`] is an `hmac::Hmac` in its two parts, the keyed core and the bytes that do not fill a block yet. An `Hmac` ends by
//! value: it is copied once more for each code, and a tenth of what a code costs is in that.

use hmac::KeyInit as _;
use hmac::block_api::HmacCore;
use hmac::digest::Output;
#[cfg(feature = "server")]
use hmac::digest::block_api::Block;
use hmac::digest::block_api::{Buffer, FixedOutputCore as _, UpdateCore as _};
use sha2::Sha256;

type Core = HmacCore<Sha256>;

/// As secret as the key it was made from. Neither it nor a copy of it is wiped: while the server lives there is always one.
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

    /// How many bytes the block that is pending misses.
    #[cfg(feature = "server")]
    pub(super) fn missing(&self) -> usize {
        size_of::<Block<Core>>() - self.pending.get_pos()
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

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::{Hmac, Mac as _};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_code_is_that_of_the_whole_text_however_it_was_cut(
            key in proptest::collection::vec(any::<u8>(), 0..200),
            absorbed in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..150), 0..4),
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..150), 0..4),
        ) {
            let mut state = MacState::keyed(&key);
            let mut whole = Hmac::<Sha256>::new_from_slice(&key).unwrap();
            absorbed.iter().for_each(|part| state.absorb(part));
            absorbed.iter().chain(&parts).for_each(|part| whole.update(part));
            let code = state.code(parts.iter().map(Vec::as_slice));
            prop_assert_eq!(code, <[u8; 32]>::from(whole.finalize().into_bytes()));
            // And again: a state is not used up.
            prop_assert_eq!(code, state.code(parts.iter().map(Vec::as_slice)));
        }
    }
}
