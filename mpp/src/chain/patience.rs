//! Waiting for transactions, in fair shares.
//!
//! Anybody can name a transaction that does not exist and make a server poll for it. So at most so many requests wait
//! at once, and one client holds only a part of those places; who finds no place is told to come back.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

/// The places to wait in.
#[derive(Debug, Clone)]
pub(crate) struct Patience(Arc<Room>);

#[derive(Debug)]
struct Room {
    places: usize,
    share: usize,
    // Holds waiting clients only, so it never has more entries than there are places.
    waiting: Mutex<HashMap<String, usize>>,
}

impl Patience {
    /// `places` in all, of which one client may hold `share`.
    pub(crate) fn new(places: usize, share: usize) -> Self {
        Self(Arc::new(Room { places, share, waiting: Mutex::default() }))
    }

    /// A place for `client`, or `None` when it has its share or nothing is left. A client nobody knows (the empty
    /// name) is not one client, so only the total binds it.
    pub(crate) fn place(&self, client: &str) -> Option<Place> {
        let mut waiting = self.0.lock();
        if waiting.values().sum::<usize>() >= self.0.places {
            return None;
        }
        let held = waiting.entry(client.to_owned()).or_default();
        if *held >= self.0.share && !client.is_empty() {
            return None;
        }
        *held += 1;
        Some(Place { room: Arc::clone(&self.0), client: client.to_owned() })
    }
}

impl Room {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, usize>> {
        // Counts are changed in one step, so a panic elsewhere cannot leave them half written.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place; given back when dropped, also when the request is cancelled.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    client: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut held) = self.room.lock().entry(std::mem::take(&mut self.client)) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_cannot_take_every_place() {
        let patience = Patience::new(5, 2);
        let _held = [patience.place("eve").unwrap(), patience.place("eve").unwrap()];
        assert!(patience.place("eve").is_none());
        assert!(patience.place("alice").is_some());
    }

    #[test]
    fn places_are_given_back_and_clients_forgotten() {
        let patience = Patience::new(2, 2);
        let held = [patience.place("").unwrap(), patience.place("").unwrap()];
        assert!(patience.place("bob").is_none());
        drop(held);
        assert!(patience.0.lock().is_empty());
        assert!(patience.place("bob").is_some());
    }
}
