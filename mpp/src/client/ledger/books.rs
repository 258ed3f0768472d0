//! The arithmetic of a ledger: what counts under a limit, and whether it holds with one payment more.
//!
//! Sums are kept as payments are entered and released, so that a limit over everything costs the same after a million
//! payments as after one; a limit over a window costs one step per second in which something was paid. What is kept per
//! entry is what releasing it needs.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

use super::{Entry, EntryId, LedgerError, Outcome, ReserveError, Spent};
use crate::client::budget::{Budget, Limit, Scope};
use crate::client::origin::Origin;
use crate::protocol::{Amount, BaseUnits};

/// The sums of a ledger.
#[derive(Default)]
pub(super) struct Books {
    /// Every asset that was ever spent, without an amount.
    assets: Vec<Spent>,
    totals: Vec<Sum>,
    by_origin: HashMap<Origin, Vec<Sum>>,
    /// Per asset, by the second of the entry.
    by_second: Vec<BTreeMap<i64, Sum>>,
    entries: HashMap<EntryId, Booked>,
    challenges: HashMap<[u8; 32], EntryId>,
}

/// Base units of one asset; none once they did not fit, which is over every limit.
#[derive(Clone, Copy)]
struct Sum(Option<u128>);

/// What is remembered of an entry.
struct Booked {
    origin: Origin,
    second: i64,
    spent: Vec<(usize, u128)>,
    outcome: Outcome,
}

impl Books {
    /// Whether this entry may be added.
    pub(super) fn check(&self, entry: &Entry, budgets: &[Budget]) -> Result<(), ReserveError> {
        let paid = challenge_key(entry).and_then(|key| self.entries.get(self.challenges.get(&key)?));
        if paid.is_some_and(|earlier| earlier.outcome.counts()) {
            return Err(ReserveError::Challenge);
        }
        for limit in budgets.iter().flat_map(Budget::limits) {
            let adding = limit.counts(&entry.spent);
            if adding.is_zero() {
                continue;
            }
            let would_be = adding + self.counted(&limit, entry);
            // The explicit test is for a limit that is itself out of range.
            if would_be.is_overflow() || would_be > limit.most() {
                return Err(ReserveError::Limit(Box::new(limit.to_broken(&entry.origin, would_be))));
            }
        }
        Ok(())
    }

    /// What counts already under a limit to which `entry` would be added.
    fn counted(&self, limit: &Limit<'_>, entry: &Entry) -> Amount {
        let in_all = |sums: &[Sum]| -> Amount {
            self.assets.iter().zip(sums).map(|(asset, sum)| limit.counts_sum(asset, sum.0)).sum()
        };
        match limit.scope() {
            Scope::Request => Amount::ZERO,
            Scope::Total => in_all(&self.totals),
            Scope::Origin => self.by_origin.get(&entry.origin).map_or(Amount::ZERO, |sums| in_all(sums)),
            Scope::Window(window) => {
                // A part of a second is a second: a window counts too much rather than too little.
                let whole = window.as_secs().saturating_add(u64::from(window.subsec_nanos() > 0));
                let length = i64::try_from(whole).unwrap_or(i64::MAX);
                // Seconds are whole: what was paid at the very beginning of the first second may still be within. And
                // what is from the future (the clock was set back) is within every window.
                let since = entry.at.unix().saturating_sub(length);
                let within = |seconds: &BTreeMap<i64, Sum>| {
                    seconds.range(since..).fold(Sum(Some(0)), |sum, (_, second)| sum.plus(*second))
                };
                in_all(&self.by_second.iter().map(within).collect::<Vec<_>>())
            }
        }
    }

    pub(super) fn has(&self, id: &EntryId) -> bool {
        self.entries.contains_key(id)
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        let spent = entry.spent.iter().map(|spent| (self.position(spent), spent.units.get())).collect();
        let booked = Booked {
            origin: entry.origin.clone(),
            second: entry.at.unix(),
            spent,
            outcome: entry.outcome.clone(),
        };
        if booked.outcome.counts() {
            self.change(&booked, Sum::plus);
        }
        if let Some(key) = challenge_key(entry) {
            self.challenges.insert(key, entry.id);
        }
        self.entries.insert(entry.id, booked);
    }

    pub(super) fn conclude(&mut self, id: &EntryId, outcome: &Outcome) -> Result<(), LedgerError> {
        let mut booked = self.entries.remove(id).ok_or(LedgerError::Missing(*id))?;
        let counted = booked.outcome.counts();
        booked.outcome.then(outcome);
        match (counted, booked.outcome.counts()) {
            (true, false) => self.change(&booked, Sum::minus),
            (false, true) => self.change(&booked, Sum::plus),
            _ => {}
        }
        self.entries.insert(*id, booked);
        Ok(())
    }

    fn change(&mut self, booked: &Booked, by: fn(Sum, Sum) -> Sum) {
        let of_origin = self.by_origin.entry(booked.origin.clone()).or_default();
        for (asset, units) in &booked.spent {
            let units = Sum(Some(*units));
            if of_origin.len() <= *asset {
                of_origin.resize(asset + 1, Sum(Some(0)));
            }
            let second = self.by_second[*asset].entry(booked.second).or_insert(Sum(Some(0)));
            for sum in [&mut self.totals[*asset], &mut of_origin[*asset], second] {
                *sum = by(*sum, units);
            }
        }
    }

    fn position(&mut self, spent: &Spent) -> usize {
        let asset = Spent { units: BaseUnits::ZERO, ..spent.clone() };
        if let Some(position) = self.assets.iter().position(|known| *known == asset) {
            return position;
        }
        self.assets.push(asset);
        self.totals.push(Sum(Some(0)));
        self.by_second.push(BTreeMap::new());
        self.assets.len() - 1
    }
}

impl Sum {
    fn plus(self, other: Sum) -> Sum {
        Sum(self.0.zip(other.0).and_then(|(one, other)| one.checked_add(other)))
    }

    /// Of what was added before.
    fn minus(self, other: Sum) -> Sum {
        Sum(self.0.zip(other.0).and_then(|(one, other)| one.checked_sub(other)))
    }
}

/// Ids are unique to who made them: the same one of another origin is another challenge.
fn challenge_key(entry: &Entry) -> Option<[u8; 32]> {
    let id = entry.challenge_id.as_deref()?;
    let origin = entry.origin.to_string();
    Some(Sha256::new().chain_update(origin).chain_update([0]).chain_update(id).finalize().into())
}
