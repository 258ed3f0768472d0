//! A part of the keys of the memory store: on a shelf for each kind, by name and by when they end.
//!
//! What the keys of a kind begin with (`paid/entry/`) is kept once for all of them, not in each row. Shelves side by side are
//! in the order of the whole keys: no kind is the beginning of another one's.

use super::super::deadline::Deadline;
use super::super::{Key, Quota};
use super::row::{ByEnd, Row};
use crate::protocol::Timestamp;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// Shelves, in the order of their kinds. A handful: what there is a kind for is written in the program.
#[derive(Default)]
pub(super) struct Shard(Vec<Shelf>);

/// The rows of one kind of keys, in both orders.
struct Shelf {
    kind: Arc<str>,
    quota: Quota,
    rows: BTreeSet<Row>,
    // Exactly the rows whose deadline is not `NEVER`.
    ending: BTreeSet<ByEnd>,
}

impl Shard {
    /// The row of a key, which may have ended.
    pub(super) fn get(&self, key: &Key) -> Option<&Row> {
        self.0[self.place(key).ok()?].rows.get(name_of(key).as_bytes())
    }

    /// Puts a row that bears the key's [`name_of`] in its place.
    pub(super) fn put(&mut self, key: &Key, row: Row) {
        let at = self.place(key).unwrap_or_else(|at| {
            let (kind, quota) = (Arc::from(kind_of(key)), key.quota());
            self.0.insert(at, Shelf { kind, quota, rows: BTreeSet::new(), ending: BTreeSet::new() });
            at
        });
        self.0[at].put(row);
    }

    /// Whether there was one.
    pub(super) fn remove(&mut self, key: &Key) -> bool {
        let Ok(at) = self.place(key) else { return false };
        let was_there = self.0[at].remove(name_of(key));
        if self.0[at].rows.is_empty() {
            self.0.remove(at);
        }
        was_there
    }

    /// Keys that begin with the prefix and come after another, without those that have ended: by kind, in the order of the
    /// keys.
    pub(super) fn page<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'a Arc<str>, impl Iterator<Item = &'a Row>)> {
        self.0.iter().filter_map(move |shelf| {
            let rows = shelf.page(prefix, after)?;
            Some((&shelf.kind, rows.filter(move |row| !row.deadline().passed(now))))
        })
    }

    /// Drops at most `most` rows of this quota that have ended; says how many.
    pub(super) fn reclaim(&mut self, quota: Quota, now: Timestamp, most: usize) -> usize {
        let mut reclaimed = 0;
        for shelf in self.0.iter_mut().filter(|shelf| shelf.quota == quota) {
            reclaimed += shelf.reclaim(now, most - reclaimed);
        }
        if reclaimed > 0 {
            self.0.retain(|shelf| !shelf.rows.is_empty());
        }
        reclaimed
    }

    /// Where the shelf of a key is, or would be.
    fn place(&self, key: &Key) -> Result<usize, usize> {
        let kind = kind_of(key);
        self.0.binary_search_by(|shelf| shelf.kind.as_ref().cmp(kind))
    }
}

impl Shelf {
    fn put(&mut self, row: Row) {
        let ends = (row.deadline() != Deadline::NEVER).then(|| ByEnd(row.clone()));
        if let Some(former) = self.rows.replace(row) {
            self.forget_end(former);
        }
        self.ending.extend(ends);
    }

    fn remove(&mut self, name: &str) -> bool {
        self.rows.take(name.as_bytes()).map(|row| self.forget_end(row)).is_some()
    }

    fn forget_end(&mut self, row: Row) {
        if row.deadline() != Deadline::NEVER {
            self.ending.remove(&ByEnd(row));
        }
    }

    fn reclaim(&mut self, now: Timestamp, most: usize) -> usize {
        let mut reclaimed = 0;
        while reclaimed < most && self.ending.first().is_some_and(|ByEnd(row)| row.deadline().passed(now)) {
            if let Some(ByEnd(row)) = self.ending.pop_first() {
                self.rows.remove(&row);
            }
            reclaimed += 1;
        }
        reclaimed
    }

    /// As of [`Shard::page`], those that have ended included. `None` when no key of this kind is meant.
    fn page<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> Option<impl Iterator<Item = &'a Row> + use<'a>> {
        let kind = self.kind.as_ref();
        // What is asked of the names; of all of them when the prefix ends within the kind.
        let prefix = match prefix.strip_prefix(kind) {
            Some(prefix) => prefix,
            None if kind.starts_with(prefix) => "",
            None => return None,
        };
        let from = match after.map(|after| (after, after.strip_prefix(kind))) {
            Some((_, Some(after))) if after >= prefix => Bound::Excluded(after.as_bytes()),
            // Of a later kind.
            Some((after, None)) if after > kind => return None,
            _ => Bound::Included(prefix.as_bytes()),
        };
        let rows = self.rows.range::<[u8], _>((from, Bound::Unbounded));
        Some(rows.take_while(move |row| row.name().starts_with(prefix.as_bytes())))
    }
}

/// What a key shares with others: all up to its second slash. A key without one is a kind alone.
fn kind_of(key: &Key) -> &str {
    split(key).0
}

/// What sets a key apart from others of its kind.
pub(super) fn name_of(key: &Key) -> &str {
    split(key).1
}

fn split(key: &Key) -> (&str, &str) {
    let (text, quota) = (key.as_str(), key.quota().name().len());
    // After the one behind the quota.
    let second = text.as_bytes().get(quota + 1..).and_then(|rest| memchr::memchr(b'/', rest));
    text.split_at(second.map_or(text.len(), |at| quota + 1 + at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    proptest! {
        #[test]
        fn pages_are_those_of_the_whole_keys_in_their_order(
            texts in prop::collection::btree_set("(paid|free)(/[a!]{0,2}){0,3}", 0..30),
            (prefix, after) in ("(paid|free)?[/a!]{0,4}", prop::option::of("(paid|free)[/a!]{0,4}")),
        ) {
            let mut shard = Shard::default();
            for (version, text) in (1..).zip(&texts) {
                let key = Key::from_text(text.clone()).unwrap();
                shard.put(&key, Row::new(name_of(&key), Vec::new(), version, Deadline::NEVER).unwrap());
            }
            let page = shard.page(&prefix, after.as_deref(), NOW);
            let text = |kind: &str, row: &Row| format!("{kind}{}", String::from_utf8_lossy(row.name()));
            let page: Vec<String> =
                page.flat_map(|(kind, rows)| rows.map(move |row| text(kind, row))).collect();
            let meant = texts.iter().filter(|text| text.starts_with(&prefix));
            let meant: Vec<&String> =
                meant.filter(|text| after.as_ref().is_none_or(|after| *text > after)).collect();
            prop_assert_eq!(page.iter().collect::<Vec<_>>(), meant);
        }
    }

    #[test]
    fn a_shelf_goes_with_its_last_row() {
        let mut shard = Shard::default();
        let (one, other) = (Key::new(Quota::Paid, "a", "x"), Key::new(Quota::Free, "b", "x"));
        for (key, deadline) in [(&one, Deadline(NOW.unix())), (&other, Deadline::NEVER)] {
            shard.put(key, Row::new(name_of(key), Vec::new(), 1, deadline).unwrap());
        }
        assert_eq!(shard.reclaim(Quota::Free, NOW, 9), 0, "of another quota");
        assert_eq!(shard.reclaim(Quota::Paid, NOW, 9), 1);
        assert!(shard.remove(&other) && !shard.remove(&other));
        assert!(shard.0.is_empty());
    }
}
