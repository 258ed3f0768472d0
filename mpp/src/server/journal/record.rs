//! What the journal writes under a challenge id, and how: [`Record`] in postcard.
//!
//! While a payment is open the record is its whole [`Entry`]; when it is over, the few bytes that refuse its credential, or
//! the response that answers it again (`Idempotency-Key`, `replay = "response"`: [`Kept`]), which so is committed with the
//! delivery and erased with it. Nothing here touches a store.

use super::JournalError;
use super::archive::{Listed, Listing};
use crate::protocol::{Amount, BaseUnits, Timestamp};
use crate::store::seal::Sealer;
use crate::store::{Keep, Quota, StoreError, Version, Versioned, Write};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the store holds under a challenge id.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Record {
    Open(Box<Entry>),
    /// Delivered, by the run that came to own this version of the entry: whoever lost the answer to that write can tell its own
    /// delivery from another's. A few bytes, so that a million of them cost little.
    Delivered(u64),
    /// Held and released again: this credential bought nothing and cannot be used again.
    Released,
    /// Delivered, by a request that may be answered again.
    Kept(Box<Kept>),
    /// One of those that are over, with its line of the ledger. Taken apart where records are read.
    Listed(Box<Listed>),
    /// Paid, never delivered, and given back: this credential bought nothing and cannot be used again.
    Refunded,
}

/// A delivery that may be answered again.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// As in [`Record::Delivered`].
    pub(crate) run: u64,
    /// As in [`Entry`].
    pub(crate) fingerprint: [u8; 32],
    /// As in [`Entry`].
    pub(crate) target: [u8; 32],
    /// The response, sealed; `None` when it is too large, or a stream that has not ended.
    #[serde(with = "serde_bytes")]
    pub(crate) response: Option<Vec<u8>>,
}

/// Which delivery a response belongs to.
pub(crate) struct Identity {
    pub(crate) quota: Quota,
    /// Of the challenge.
    pub(crate) id: String,
    /// As in [`Entry`].
    pub(crate) fingerprint: [u8; 32],
    /// As in [`Entry`].
    pub(crate) target: [u8; 32],
    /// As in [`Entry`].
    pub(crate) expires: i64,
    /// When its record is erased, unix seconds.
    pub(crate) until: i64,
}

/// Whether a delivery may be answered again.
pub(crate) enum Again {
    /// It is never: a few bytes remember it.
    Never,
    /// With this sealed response, or none.
    Kept(Option<Vec<u8>>),
}

/// A payment that is not over.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// SHA-256 of the credential's payload and source: whose payment this is.
    pub(crate) fingerprint: [u8; 32],
    /// SHA-256 of verb, path, query and body digest: what it was for.
    pub(crate) target: [u8; 32],
    /// When the challenge expires, unix seconds.
    pub(crate) expires: i64,
    /// Name of the payment method.
    pub(crate) method: String,
    pub(crate) bill: Bill,
    /// As established by the method.
    pub(crate) payer: Option<String>,
    /// The merchant's reference of the request, for the receipt.
    pub(crate) external_id: Option<String>,
    /// Proof keys claimed for this payment.
    pub(crate) proof_keys: Vec<String>,
    pub(crate) payment: PaymentState,
    pub(crate) lease: Lease,
    /// Runs of the handler that have started.
    pub(crate) attempts: u32,
    pub(crate) delivery: DeliveryState,
}

/// What is sold for how much: for logs, hooks and the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bill {
    /// Verb and route template, never a concrete path.
    pub(crate) operation: String,
    /// Base units.
    pub(crate) units: u128,
    pub(crate) decimals: u8,
    /// As the price names it.
    pub(crate) currency: String,
    /// What the method calls it: a token's address.
    pub(crate) asset: String,
}

impl Bill {
    pub(crate) fn amount(&self) -> Amount {
        BaseUnits::new(self.units).to_amount(self.decimals)
    }
}

/// The payment axis. Plans are sealed.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum PaymentState {
    /// Proof keys are being taken; nothing else happened. That all of them are held is not written: what would be done about
    /// it is the same.
    Claiming(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The method was asked to reserve funds.
    Holding(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Funds are reserved.
    Held(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The method was asked to move money; from here on only a look-up may tell what happened.
    Settling(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Asked, and the answer was lost.
    Unknown(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Paid. The receipt, as JSON.
    Settled(#[serde(with = "serde_bytes")] Vec<u8>),
}

impl PaymentState {
    /// The sealed plan; empty once it is erased.
    pub(crate) fn plan(&self) -> &[u8] {
        match self {
            Self::Claiming(plan)
            | Self::Holding(plan)
            | Self::Held(plan)
            | Self::Settling(plan)
            | Self::Unknown(plan) => plan,
            Self::Settled(_) => &[],
        }
    }

    /// Has the plan sealed with the ring's first key, if another one opens it. Whether it was another one.
    pub(super) fn seal_again(&mut self, sealer: &Sealer, challenge_id: &str) -> bool {
        let (Self::Claiming(plan)
        | Self::Holding(plan)
        | Self::Held(plan)
        | Self::Settling(plan)
        | Self::Unknown(plan)) = self
        else {
            return false;
        };
        let again = sealer.seal_again(challenge_id, plan);
        let sealed = again.is_some();
        *plan = again.unwrap_or_else(|| std::mem::take(plan));
        sealed
    }

    /// Goes on to another state with the same plan.
    pub(super) fn turn(&mut self, into: fn(Vec<u8>) -> Self) {
        let plan = match self {
            Self::Claiming(plan)
            | Self::Holding(plan)
            | Self::Held(plan)
            | Self::Settling(plan)
            | Self::Unknown(plan) => std::mem::take(plan),
            Self::Settled(_) => Vec::new(),
        };
        *self = into(plan);
    }
}

/// The delivery axis of a payment that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum DeliveryState {
    None,
    Running,
    /// No run may start any more: the operator owes the payer a refund.
    RefundDue,
}

/// Who works on an entry, and until when others must keep away.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// Random, for each time that somebody takes it.
    pub(crate) owner: u64,
    /// Unix seconds; 0 when nobody does.
    pub(crate) until: i64,
}

impl Lease {
    pub(super) const NOBODY: Self = Self { owner: 0, until: 0 };

    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.until > now.unix()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("method", &self.method)
            .field("payment", &self.payment)
            .field("delivery", &self.delivery)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PaymentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Claiming(_) => "claiming",
            Self::Holding(_) => "holding",
            Self::Held(_) => "held",
            Self::Settling(_) => "settling",
            Self::Unknown(_) => "unknown",
            Self::Settled(_) => "settled",
        })
    }
}

/// An entry as read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) version: Version,
    /// Never [`Record::Listed`].
    pub(crate) record: Record,
    /// A line that has not been moved to the ledger yet.
    pub(crate) listing: Option<Box<Listing>>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(entry) => entry.fmt(f),
            Self::Delivered(_) => f.write_str("delivered"),
            Self::Released => f.write_str("released"),
            Self::Refunded => f.write_str("refunded"),
            Self::Kept(_) => f.write_str("delivered, to be answered again"),
            Self::Listed(listed) => listed.record.fmt(f),
        }
    }
}

pub(super) fn encode(record: &Record) -> Result<Vec<u8>, JournalError> {
    encode_value("entry", record)
}

/// What [`encode`] writes of [`Record::Open`], without a copy of the entry.
pub(super) fn encode_open(entry: &Entry) -> Result<Vec<u8>, JournalError> {
    // The first variant of both.
    #[derive(Serialize)]
    enum Record<'a> {
        Open(&'a Entry),
    }
    encode_value("entry", &Record::Open(entry))
}

pub(super) fn encode_value(what: &str, value: &impl Serialize) -> Result<Vec<u8>, JournalError> {
    // Most are about as long; growing byte by byte took a third of the time.
    let buffer = Vec::with_capacity(512);
    postcard::to_extend(value, buffer)
        .map_err(|e| JournalError::Store(StoreError::Backend(format!("{what}: {e}"))))
}

pub(super) fn open(entry: &Entry, keep: Keep) -> Result<Write, JournalError> {
    Ok(Write { value: encode_open(entry)?, keep })
}

pub(super) fn read(found: Option<Versioned>) -> Result<Option<Found>, StoreError> {
    let Some(Versioned { version, value }) = found else { return Ok(None) };
    // An entry we cannot read may be a payment: never treated as absent.
    let record = postcard::from_bytes(&value)
        .map_err(|e| StoreError::Unreadable(format!("an entry of the journal: {e}")))?;
    let (record, listing) = apart(record);
    Ok(Some(Found { version, record, listing }))
}

pub(super) fn listed(record: Record, listing: Option<Box<Listing>>) -> Record {
    match listing {
        None => record,
        Some(listing) => Record::Listed(Box::new(Listed { listing: *listing, record })),
    }
}

/// A record and its line.
pub(super) fn apart(record: Record) -> (Record, Option<Box<Listing>>) {
    match record {
        Record::Listed(listed) => (listed.record, Some(Box::new(listed.listing))),
        record => (record, None),
    }
}

/// What a stored entry says, for tests that name what they saw.
#[cfg(feature = "testing")]
pub(crate) fn state_of(value: &[u8]) -> String {
    match postcard::from_bytes(value) {
        Ok(Record::Open(entry)) => match entry.delivery {
            DeliveryState::None => format!("{:?}", entry.payment),
            DeliveryState::Running => format!("{:?}, running", entry.payment),
            DeliveryState::RefundDue => format!("{:?}, refund due", entry.payment),
        },
        Ok(record) => format!("{record:?}"),
        Err(_) => "unreadable".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::archive::{Ending, Line};
    use super::super::numbers;
    use super::*;

    fn entry() -> Entry {
        Entry {
            fingerprint: [1; 32],
            target: [2; 32],
            expires: 1_800_000_000,
            method: "tempo".to_owned(),
            bill: Bill {
                operation: "GET /weather".to_owned(),
                units: u128::MAX,
                decimals: 6,
                currency: "usdc".to_owned(),
                asset: "0x20c0".to_owned(),
            },
            payer: None,
            external_id: Some("sku-42".to_owned()),
            proof_keys: vec!["tempo:0xabc".to_owned()],
            payment: PaymentState::Settling(vec![0, 127, 128, 255]),
            lease: Lease { owner: 7, until: 1_800_000_030 },
            attempts: 1,
            delivery: DeliveryState::None,
        }
    }

    #[test]
    fn an_open_entry_is_written_as_the_record_it_is_read_as() {
        let record = Record::Open(Box::new(entry()));
        let written = encode_open(&entry()).unwrap();
        assert_eq!(written, encode(&record).unwrap());
        assert!(postcard::from_bytes::<Record>(&written).unwrap() == record);
    }

    #[test]
    fn every_variant_keeps_its_number() {
        let kept = Kept { run: 3, fingerprint: [1; 32], target: [2; 32], response: None };
        let bill = entry().bill;
        let line = Line {
            bill,
            method: String::new(),
            payer: None,
            reference: String::new(),
            external_id: None,
            settled_at: 0,
            runs: 1,
            ending: Ending::Open,
        };
        let listed = Listed { listing: Listing { line, expires: 0 }, record: Record::Released };
        let records = [
            Record::Open(Box::new(entry())),
            Record::Delivered(7),
            Record::Released,
            Record::Kept(Box::new(kept)),
            Record::Listed(Box::new(listed)),
            Record::Refunded,
        ];
        assert_eq!(numbers(&records), [0, 1, 2, 3, 4, 5]);
        type State = fn(Vec<u8>) -> PaymentState;
        let states: [State; 6] = [
            PaymentState::Claiming,
            PaymentState::Holding,
            PaymentState::Held,
            PaymentState::Settling,
            PaymentState::Unknown,
            PaymentState::Settled,
        ];
        assert_eq!(numbers(&states.map(|state| state(Vec::new()))), [0, 1, 2, 3, 4, 5]);
        let deliveries = [DeliveryState::None, DeliveryState::Running, DeliveryState::RefundDue];
        assert_eq!(numbers(&deliveries), [0, 1, 2]);
    }

    #[test]
    fn what_another_version_wrote_byte_by_byte_is_read() {
        #[derive(Serialize)]
        enum Before {
            Claiming(Vec<u8>),
        }
        #[derive(Serialize)]
        struct KeptBefore {
            run: u64,
            fingerprint: [u8; 32],
            target: [u8; 32],
            response: Option<Vec<u8>>,
        }
        let plan: Vec<u8> = (0..=255).collect();
        let before = postcard::to_allocvec(&Before::Claiming(plan.clone())).unwrap();
        assert_eq!(postcard::to_allocvec(&PaymentState::Claiming(plan.clone())).unwrap(), before);
        for response in [None, Some(plan)] {
            let (run, fingerprint, target) = (3, [1; 32], [2; 32]);
            let before = KeptBefore { run, fingerprint, target, response: response.clone() };
            let kept = Kept { run, fingerprint, target, response };
            assert_eq!(postcard::to_allocvec(&kept).unwrap(), postcard::to_allocvec(&before).unwrap());
        }
    }
}
