//! The three spellings of a transaction that expects a fee payer.
//!
//! What is signed is the same for all; they differ in one place, where the fee payer's signature will be. The draft's own
//! (`0x76` with the placeholder `0x00`), the library's (`0x76` with a signature of zeros), and what deployed clients send
//! (first byte `0x78`, with the sender's address in that place; WIRE, headline 5). Transactions are decoded and encoded by
//! tempo-alloy, which knows the second one only, so the others are rewritten into it and back, item by item.

use alloy::primitives::{Address, Bytes};
use alloy::rlp::{Decodable, Header};
use tempo_alloy::primitives::AASigned;
use tempo_alloy::primitives::transaction::TEMPO_TX_TYPE_ID;

/// First byte of what deployed clients send, and of what the fee payer signs.
pub(super) const FEE_PAYER_MAGIC: u8 = 0x78;
/// Which item of the list the fee payer's signature is.
const SLOT: usize = 11;
/// RLP of a signature of zeros, which the library takes for "not signed yet".
const MARKER: [u8; 4] = [0xc3, 0x80, 0x80, 0x80];
/// The draft's placeholder.
const PLACEHOLDER: [u8; 1] = [0x00];

/// What stood where the fee payer's signature will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Placeholder,
    Marker,
    Sender(Address),
}

/// Reads a sender-signed transaction that expects a fee payer; `None` if these bytes are none, or not its one spelling.
///
/// The result has the marker in place: [`AASigned::signature_hash`] is what the sender signed.
pub(super) fn read(raw: &[u8]) -> Option<(AASigned, Slot)> {
    let (first, list) = raw.split_first()?;
    let items = items(list)?;
    let slot = match (*first, *items.get(SLOT)?) {
        (TEMPO_TX_TYPE_ID, item) if item == PLACEHOLDER => Slot::Placeholder,
        (TEMPO_TX_TYPE_ID, item) if item == MARKER => Slot::Marker,
        (FEE_PAYER_MAGIC, mut item) => Slot::Sender(Address::decode(&mut item).ok()?),
        _ => return None,
    };
    let signed = AASigned::rlp_decode(&mut with_slot(&items, &MARKER).as_slice()).ok()?;
    // One spelling only: otherwise the same payment would come as many different texts.
    (*write(&signed, slot)? == *raw).then_some((signed, slot))
}

/// The spelling of `signed` with `slot` in the fee payer's place.
pub(super) fn write(signed: &AASigned, slot: Slot) -> Option<Bytes> {
    let mut list = Vec::new();
    signed.rlp_encode(&mut list);
    let items = items(&list)?;
    let (first, list) = match slot {
        Slot::Placeholder => (TEMPO_TX_TYPE_ID, with_slot(&items, &PLACEHOLDER)),
        Slot::Marker => (TEMPO_TX_TYPE_ID, with_slot(&items, &MARKER)),
        Slot::Sender(sender) => (FEE_PAYER_MAGIC, with_slot(&items, &alloy::rlp::encode(sender))),
    };
    Some([&[first], list.as_slice()].concat().into())
}

/// The items of an RLP list, each with its header; `None` if anything is left over or missing.
fn items(list: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = list;
    let header = Header::decode(&mut rest).ok()?;
    if !header.list || header.payload_length != rest.len() {
        return None;
    }
    let mut items = Vec::new();
    while !rest.is_empty() {
        let start = rest;
        let item = Header::decode(&mut rest).ok()?;
        // A single byte is its own header, and is not consumed with it.
        rest = rest.get(item.payload_length..)?;
        items.push(&start[..start.len() - rest.len()]);
    }
    Some(items)
}

/// The list with another item in the fee payer's place.
fn with_slot(items: &[&[u8]], slot: &[u8]) -> Vec<u8> {
    let parts = items.iter().enumerate().map(|(at, item)| if at == SLOT { slot } else { *item });
    let payload = parts.collect::<Vec<_>>().concat();
    let mut list = Vec::with_capacity(payload.len() + 4);
    Header { list: true, payload_length: payload.len() }.encode(&mut list);
    list.extend(payload);
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::consensus::transaction::SignerRecoverable;
    use alloy::hex;
    use alloy::primitives::address;
    use proptest::prelude::*;

    /// `payload.signature` of `tests/fixtures/mppx-charge-sponsored.json`.
    const RECORDED: &str = "78f90118827a69843b9aca008447868c08830c0a08f87ef87c9420c000000000000000000000000000000000000080b86495777d5900000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c80000000000000000000000000000000000000000000000000000000000004e20ef1ed7120134b0aeb03b48916345410000000000000000000075cfb651a30464c0a0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff80846b002091840f5ea27b8094f39fd6e51aad88f6f4ce6ab8827279cfffb92266c0b841cdea7b2ebf3c1f052f732ac910219ff61fc909a152066c7b87f7a1e818a067da7f7fb21f2f11e52e0b14801c7fdb4eee0465eaa49dcf17a800541bf31c8884ed1c";
    const SENDER: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");

    fn recorded() -> Vec<u8> {
        hex::decode(RECORDED).unwrap()
    }

    #[test]
    fn the_recorded_envelope_is_read_and_written_back_in_every_spelling() {
        let (signed, slot) = read(&recorded()).unwrap();
        assert_eq!(slot, Slot::Sender(SENDER));
        assert_eq!(signed.recover_signer().unwrap(), SENDER);
        assert_eq!(signed.tx().fee_token, None);
        for slot in [slot, Slot::Placeholder, Slot::Marker] {
            let raw = write(&signed, slot).unwrap();
            let (again, found) = read(&raw).unwrap();
            assert_eq!((again.signature_hash(), found), (signed.signature_hash(), slot));
        }
        assert_eq!(signed.signature_hash(), signed.tx().signature_hash());
    }

    #[test]
    fn what_is_not_waiting_for_a_fee_payer_is_not_read() {
        let raw = recorded();
        let (signed, _) = read(&raw).unwrap();
        let mut plain = signed.tx().clone();
        plain.fee_payer_signature = None;
        let mut out = Vec::new();
        plain.into_signed(signed.signature().clone()).eip2718_encode(&mut out);
        assert!(read(&out).is_none(), "pays for itself");
        assert!(read(&[&[0x77], &raw[1..]].concat()).is_none());
        assert!(read(&[&raw[..], &[0]].concat()).is_none());
        assert!(read(&raw[..raw.len() - 1]).is_none());
        assert!(read(&[0x78]).is_none());
        assert!(read(&[]).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&raw);
            let _ = read(&[&[0x78][..], &raw].concat());
            let _ = read(&[&[0x76, 0xf9, 0x01, 0x18][..], &raw].concat());
        }

        #[test]
        fn a_changed_envelope_has_another_sender_or_none(at in 0usize..283, bit in 0u8..8) {
            let mut raw = recorded();
            raw[at] ^= 1 << bit;
            if let Some((signed, Slot::Sender(claimed))) = read(&raw) {
                // The claim is not signed; whoever uses it compares it with the signature.
                let signer = signed.recover_signer().ok();
                prop_assert!(signer != Some(SENDER) || claimed != SENDER);
            }
        }
    }
}
