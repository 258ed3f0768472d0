//! One key of the memory store and what is there, in a single allocation.
//!
//! A million of them are kept, so a row is a thin pointer to its counter, a head of two words and the bytes of value and
//! name. It never changes: a write puts another in its place. So the two orders of a shard, by name and by end, share
//! it, and a reader may keep it when the shard is no longer locked.

use super::super::deadline::Deadline;
use super::super::{Version, Versioned};
use std::borrow::Borrow;
use std::cmp::Ordering;
use triomphe::ThinArc;

/// A key and its value. Equal and ordered by name alone, as the text of keys is.
#[derive(Clone)]
pub(super) struct Row(ThinArc<Head, u8>);

#[derive(Clone, Copy)]
struct Head {
    version: u64,
    /// 48 bits of when it ends, in seconds, and 16 bits of how long its name is.
    packed: u64,
}

/// Longest name of a row, in bytes.
pub(super) const LONGEST_NAME: usize = NAME_BITS as usize;

const NAME_BITS: u64 = 0xffff;
/// Of a row that does not end.
const NEVER: u64 = 0xffff_ffff_ffff;

impl Row {
    /// `None` when the name is longer than [`LONGEST_NAME`].
    pub(super) fn new(name: &str, value: Vec<u8>, version: u64, deadline: Deadline) -> Option<Self> {
        let name_length = u16::try_from(name.len()).ok()?;
        let ends = match deadline {
            Deadline::NEVER => NEVER,
            // Nothing is dropped early: what would end in nine million years or later ends then.
            Deadline(at) => u64::try_from(at).unwrap_or(0).min(NEVER - 1),
        };
        let head = Head { version, packed: (ends << 16) | u64::from(name_length) };
        // The name comes last: what was just encoded has room for it, as a rule.
        let mut bytes = value;
        bytes.extend_from_slice(name.as_bytes());
        Some(Self(ThinArc::from_header_and_slice(head, &bytes)))
    }

    pub(super) fn name(&self) -> &[u8] {
        self.parts().1
    }

    pub(super) fn value(&self) -> &[u8] {
        self.parts().0
    }

    pub(super) fn version(&self) -> Version {
        Version(self.0.header.header.version)
    }

    pub(super) fn deadline(&self) -> Deadline {
        match self.0.header.header.packed >> 16 {
            NEVER => Deadline::NEVER,
            // 48 bits.
            ends => Deadline(ends as i64),
        }
    }

    pub(super) fn versioned(&self) -> Versioned {
        Versioned { version: self.version(), value: self.value().to_vec() }
    }

    /// Value and name.
    fn parts(&self) -> (&[u8], &[u8]) {
        let name_length = (self.0.header.header.packed & NAME_BITS) as usize;
        // As many as were put there.
        self.0.slice.split_at(self.0.slice.len() - name_length)
    }
}

impl Borrow<[u8]> for Row {
    fn borrow(&self) -> &[u8] {
        self.name()
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Row {}

/// A row in the order in which rows end. Versions make it the only one of its place.
pub(super) struct ByEnd(pub(super) Row);

impl ByEnd {
    fn place(&self) -> (Deadline, Version) {
        (self.0.deadline(), self.0.version())
    }
}

impl Ord for ByEnd {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for ByEnd {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByEnd {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for ByEnd {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_was_put_into_it() {
        for deadline in
            [0, 1, 1_800_000_000, (1 << 48) - 2].map(Deadline).into_iter().chain([Deadline::NEVER])
        {
            let row = Row::new("paid/entry/n3vQ", b"value".to_vec(), u64::MAX, deadline).unwrap();
            assert_eq!((row.name(), row.value()), (&b"paid/entry/n3vQ"[..], &b"value"[..]));
            assert_eq!((row.version(), row.deadline()), (Version(u64::MAX), deadline));
        }
        let longest = "n".repeat(LONGEST_NAME);
        assert_eq!(Row::new(&longest, b"v".to_vec(), 1, Deadline::NEVER).unwrap().value(), b"v");
        assert!(Row::new(&format!("{longest}n"), b"v".to_vec(), 1, Deadline::NEVER).is_none());
    }

    #[test]
    fn a_row_that_ends_in_ages_is_not_one_that_never_does() {
        let ends = |at| Row::new("n", Vec::new(), 1, Deadline(at)).unwrap().deadline();
        assert_eq!(ends(i64::MAX - 1), Deadline((1 << 48) - 2));
        assert_eq!(ends(-1), Deadline(0), "and one before 1970 has ended");
    }
}
