//! A part of the keys of the memory store: its rows by name, and by when they end.

use super::super::deadline::Deadline;
use super::super::{Key, Quota};
use super::row::{ByEnd, Row};
use crate::protocol::Timestamp;
use std::collections::BTreeSet;
use std::ops::Bound;

/// Rows in both orders.
#[derive(Default)]
pub(super) struct Shard {
    rows: BTreeSet<Row>,
    // Per quota. Exactly the rows whose deadline is not `NEVER`.
    ending: [BTreeSet<ByEnd>; 2],
}

impl Shard {
    /// The row of a key, unless it has ended.
    pub(super) fn get(&self, key: &Key, now: Timestamp) -> Option<&Row> {
        self.rows.get(key.as_str().as_bytes()).filter(|row| !row.deadline().passed(now))
    }

    /// Whether a row takes the key's place, ended or not.
    pub(super) fn holds(&self, key: &Key) -> bool {
        self.rows.contains(key.as_str().as_bytes())
    }

    /// Rows whose name begins with the prefix and comes after another, in the order of their names, without those that
    /// have ended.
    pub(super) fn page<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a [u8]>,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Row> {
        let from = match after {
            Some(after) if after >= prefix.as_bytes() => Bound::Excluded(after),
            _ => Bound::Included(prefix.as_bytes()),
        };
        self.rows
            .range::<[u8], _>((from, Bound::Unbounded))
            .take_while(|row| row.name().starts_with(prefix.as_bytes()))
            .filter(move |row| !row.deadline().passed(now))
    }

    /// Puts a row in the key's place.
    pub(super) fn put(&mut self, key: &Key, row: Row) {
        self.remove(key);
        if row.deadline() != Deadline::NEVER {
            self.ending[key.quota().index()].insert(ByEnd(row.clone()));
        }
        self.rows.insert(row);
    }

    /// Whether there was one.
    pub(super) fn remove(&mut self, key: &Key) -> bool {
        let Some(row) = self.rows.take(key.as_str().as_bytes()) else { return false };
        if row.deadline() != Deadline::NEVER {
            self.ending[key.quota().index()].remove(&ByEnd(row));
        }
        true
    }

    /// Drops at most `most` rows of this quota that have ended; says how many.
    pub(super) fn reclaim(&mut self, quota: Quota, now: Timestamp, most: usize) -> usize {
        let ending = &mut self.ending[quota.index()];
        let mut reclaimed = 0;
        while reclaimed < most && ending.first().is_some_and(|ByEnd(row)| row.deadline().passed(now)) {
            if let Some(ByEnd(row)) = ending.pop_first() {
                self.rows.remove(&row);
            }
            reclaimed += 1;
        }
        reclaimed
    }
}
