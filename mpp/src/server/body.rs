//! Bodies that are read before anything is paid.
//!
//! A challenge is bound to the body it was asked with (draft-httpauth-payment-00 section 5.1.3), so the body of a priced request is
//! read and digested before there is money: under the framework's limit for one body, a deadline, and a budget for all of them
//! together. A byte counts from its arrival, whatever `Content-Length` announced, until the request is answered or the handler
//! has it. What a layer in front decompresses counts at the size it has here.

use super::peer::Client;
use super::respond::Answer;
use crate::protocol::{BodyDigest, ProblemType};
use axum::RequestExt;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use http_body_util::{BodyExt, LengthLimitError};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a client is told to wait when there is no room: a body is gone in about that time.
const RETRY: Duration = Duration::from_secs(1);

/// Reads the whole body, digests it and puts it back. `None` for an empty one: a client that resends without one is the same
/// request.
///
/// # Errors
/// 408, 413, 429, 503 and 400.
pub(super) async fn read(
    req: Request,
    deadline: Duration,
    held: &mut Held,
) -> Result<(Request, Option<BodyDigest>), Answer> {
    let (parts, body) = req.with_limited_body().into_parts();
    let Ok(read) = tokio::time::timeout(deadline, collect(body, held)).await else {
        return Err(Answer::problem(ProblemType::RequestTimeout, "the body did not arrive in time"));
    };
    let bytes = read?;
    let digest = (!bytes.is_empty()).then(|| BodyDigest::of(&bytes));
    Ok((Request::from_parts(parts, Body::from(bytes)), digest))
}

/// The data of a body in one piece. What comes in several is copied: a byte must not keep the buffer it arrived in.
async fn collect(mut body: Body, held: &mut Held) -> Result<Bytes, Answer> {
    let (mut only, mut joined) = (Bytes::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        // Trailers say nothing that a price or a digest is made of.
        let Ok(data) = frame.map_err(|e| unreadable(&e))?.into_data() else { continue };
        held.take(data.len()).map_err(Shortage::answer)?;
        if only.is_empty() && joined.is_empty() {
            only = data;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut only));
            joined.extend_from_slice(&data);
        }
    }
    Ok(if joined.is_empty() { only } else { joined.into() })
}

/// All the room there is for bodies of requests that have not paid.
#[derive(Debug)]
pub(super) struct BodyBudget(Arc<Room>);

struct Room {
    total: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    // Clients that hold something, so never more than there are requests.
    by_client: HashMap<(Client, Reader), usize>,
}

/// Who reads a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Reader {
    /// Anybody: a share, and not of what is kept for payers.
    Stranger,
    /// Somebody with a credential for a challenge of ours. That costs nothing yet, so it is a share, too, beside the stranger's.
    Payer,
}

impl BodyBudget {
    pub(super) fn new(total: usize) -> Self {
        Self(Arc::new(Room { total, taken: Mutex::default() }))
    }

    /// Room for a body of this client, nothing yet.
    pub(super) fn open(&self, client: Client, reader: Reader) -> Held {
        Held { room: self.0.clone(), client, reader, bytes: 0 }
    }
}

/// The room that one body takes; given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    room: Arc<Room>,
    client: Client,
    reader: Reader,
    bytes: usize,
}

impl Held {
    fn take(&mut self, bytes: usize) -> Result<(), Shortage> {
        let share = self.room.total / SHARE;
        if self.bytes.saturating_add(bytes) > share {
            return Err(Shortage::TooLarge);
        }
        let mut taken = self.room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = &mut *taken;
        let most = match self.reader {
            Reader::Stranger => self.room.total - share,
            Reader::Payer => self.room.total,
        };
        if taken.total.saturating_add(bytes) > most {
            return Err(Shortage::NoRoom);
        }
        let of_client = taken.by_client.entry((self.client, self.reader)).or_default();
        if self.client.is_known() && *of_client + bytes > share {
            // An entry that was made for the question is taken away by the drop of whoever holds it, or of this.
            return Err(match self.reader {
                Reader::Stranger => Shortage::NoShare,
                // Who pays is not limited, and comes again.
                Reader::Payer => Shortage::NoRoom,
            });
        }
        *of_client += bytes;
        taken.total += bytes;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.total -= self.bytes;
        if let Entry::Occupied(mut of_client) = taken.by_client.entry((self.client, self.reader)) {
            *of_client.get_mut() -= self.bytes;
            if *of_client.get() == 0 {
                of_client.remove();
            }
        }
    }
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shortage {
    /// This body is more than anybody may have at once, which matters where the framework's own limit is switched off.
    TooLarge,
    /// The client has its share already.
    NoShare,
    /// Everything is taken, or all that a payer can have.
    NoRoom,
}

impl Shortage {
    fn answer(self) -> Answer {
        match self {
            Self::TooLarge => too_large(),
            Self::NoShare => Answer::limited(RETRY, "too many bodies of this client are being read"),
            Self::NoRoom => Answer::unavailable(RETRY, "too many bodies are being read; try again"),
        }
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("total", &self.total).finish_non_exhaustive()
    }
}

fn unreadable(error: &axum::Error) -> Answer {
    if is_over_limit(error) {
        too_large()
    } else {
        Answer::problem(ProblemType::BadRequest, "the body could not be read")
    }
}

fn too_large() -> Answer {
    Answer::problem(ProblemType::BodyTooLarge, "the body is larger than this resource reads")
}

/// Whether reading a body failed because of the framework's limit.
fn is_over_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(e) = next {
        if e.is::<LengthLimitError>() {
            return true;
        }
        next = e.source();
    }
    false
}

/// One client's part of the room, once as a stranger and once as a payer; one body's; and what strangers leave free.
const SHARE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn client(n: u8) -> Client {
        Client::at(IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)))
    }

    #[test]
    fn strangers_share_what_is_there_and_leave_some_of_it_to_payers() {
        let budget = BodyBudget::new(400);
        let mut held: Vec<Held> = (0..4).map(|n| budget.open(client(n), Reader::Stranger)).collect();
        assert_eq!(
            [100, 60, 40].map(|bytes| held[0].take(bytes)),
            [Ok(()), Err(Shortage::TooLarge), Err(Shortage::TooLarge)]
        );
        let mut second = budget.open(client(0), Reader::Stranger);
        assert_eq!(second.take(1), Err(Shortage::NoShare), "one client, one share");
        assert_eq!((held[1].take(100), held[2].take(99)), (Ok(()), Ok(())));
        assert_eq!((held[3].take(2), held[3].take(1)), (Err(Shortage::NoRoom), Ok(())));
        let mut payer = budget.open(client(0), Reader::Payer);
        assert_eq!(payer.take(100), Ok(()), "its share is taken by strangers");
        assert_eq!(budget.open(client(9), Reader::Payer).take(1), Err(Shortage::NoRoom));
        drop(payer);
        assert_eq!(budget.open(client(9), Reader::Payer).take(1), Ok(()));
    }

    #[tokio::test]
    async fn a_body_in_one_piece_is_not_copied() {
        let sent = Bytes::from("all of it".repeat(1000));
        let mut held = BodyBudget::new(1 << 20).open(client(0), Reader::Stranger);
        let read = collect(Body::from(sent.clone()), &mut held).await.unwrap();
        assert_eq!((read.as_ptr(), read.len()), (sent.as_ptr(), sent.len()));
    }

    #[test]
    fn a_credential_that_has_cost_nothing_yet_does_not_let_one_client_fill_the_room() {
        let budget = BodyBudget::new(400);
        let mut held = [Reader::Payer, Reader::Payer, Reader::Stranger, Reader::Stranger]
            .map(|reader| budget.open(client(0), reader));
        assert_eq!(
            held.each_mut().map(|held| held.take(100)),
            [Ok(()), Err(Shortage::NoRoom), Ok(()), Err(Shortage::NoShare)]
        );
        assert_eq!(budget.open(client(1), Reader::Stranger).take(100), Ok(()));
        assert_eq!(budget.open(client(1), Reader::Payer).take(100), Ok(()));
    }

    #[test]
    fn nothing_is_left_of_those_who_are_gone() {
        let budget = BodyBudget::new(400);
        {
            let mut held = [1, 1, 2].map(|n| budget.open(client(n), Reader::Stranger));
            held.iter_mut().for_each(|held| assert_eq!(held.take(50), Ok(())));
            assert_eq!(budget.open(client(1), Reader::Stranger).take(51), Err(Shortage::NoShare));
            assert_eq!(budget.open(client(3), Reader::Stranger).take(101), Err(Shortage::TooLarge));
        }
        let taken = budget.0.taken.lock().unwrap();
        assert_eq!((taken.total, taken.by_client.len()), (0, 0));
    }

    #[test]
    fn a_client_nobody_knows_is_not_one_client() {
        let budget = BodyBudget::new(400);
        let nobody = Client::unknown();
        let mut held = [(); 3].map(|()| budget.open(nobody, Reader::Stranger));
        assert_eq!(held.each_mut().map(|held| held.take(100)), [Ok(()); 3]);
    }
}
