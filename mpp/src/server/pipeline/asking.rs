//! The answers that ask for a payment: 402 with a fresh challenge for each offer, best first, or what is said instead.

use super::quoting::Quoted;
use super::{Presented, Visit};
use crate::method::Rejection;
use crate::pricing::Tier;
use crate::protocol::{AcceptPayment, Detail, FreshSlots, Intent, Problem, ProblemType};
use crate::server::Mpp;
#[cfg(feature = "testing")]
use crate::server::gate::Quote;
use crate::server::page::Page;
use crate::server::rate::Drawn;
use crate::server::respond::{Answer, Challenges, as_page};
#[cfg(feature = "testing")]
use axum::http::HeaderMap;
use axum::http::{HeaderValue, Uri};
use std::borrow::Cow;
use std::time::Duration;

impl Visit<'_> {
    /// The 402 of a request without a credential.
    pub(super) fn unpaid(&self, quoted: &[Quoted<'_>]) -> Answer {
        if quoted.is_empty() {
            return nothing_to_offer();
        }
        const DETAIL: Detail<'static> = Detail::plain("This resource has to be paid for.");
        self.ask(quoted, ProblemType::PaymentRequired, DETAIL)
    }

    /// The answer to a credential that is not accepted: a fresh challenge if the problem is a 402.
    pub(super) fn refuse(
        &self,
        quoted: &[Quoted<'_>],
        kind: ProblemType,
        detail: Cow<'static, str>,
    ) -> Answer {
        if kind.status() != 402 {
            let answer = || Answer::from_problem(&Problem::new(kind, detail));
            return self.draw(Drawn::Refusal).err().unwrap_or_else(answer);
        }
        // A 402 always carries a challenge.
        if quoted.is_empty() {
            return nothing_to_offer();
        }
        self.ask(quoted, kind, Detail::from(&*detail))
    }

    pub(super) fn reject(&self, quoted: &[Quoted<'_>], rejection: Rejection) -> Answer {
        match rejection {
            Rejection::Refused { kind, detail } => self.refuse(quoted, kind, detail),
            Rejection::Unavailable { retry_after, detail } => {
                tracing::warn!(target: "mpp", price = self.plan.spec.name, detail, "a payment could not be judged");
                Answer::unavailable(
                    retry_after,
                    "this payment cannot be checked right now; send the same credential again",
                )
            }
        }
    }

    /// A 402: a problem for programs, a page for people.
    fn ask(&self, quoted: &[Quoted<'_>], kind: ProblemType, detail: Detail<'_>) -> Answer {
        // Nobody is asked to pay a server that will not take it.
        if self.mpp.0.journal.doors().are_closed() {
            return Answer::closed();
        }
        let drawn = if kind == ProblemType::PaymentRequired { Drawn::Challenge } else { Drawn::Refusal };
        if let Err(limited) = self.draw(drawn) {
            return limited;
        }
        let answer = Answer::challenge(kind, detail, self.challenges(quoted));
        match self.wishes.as_ref().and_then(|wishes| wishes.reader.as_ref()) {
            None => answer,
            Some(url) => as_page(answer, self.page(quoted, kind, detail.text, url)),
        }
    }

    #[cold]
    fn page(&self, quoted: &[Quoted<'_>], kind: ProblemType, detail: &str, url: &str) -> String {
        let expires = (self.mpp.now() + self.mpp.0.lifetime).to_rfc3339();
        let page = Page {
            realm: self.mpp.realm(),
            url,
            verb: self.scope.verb(),
            spec: self.plan.spec,
            kind,
            detail,
            expires: expires.as_str(),
            offers: quoted.iter().map(|q| (q.offer, q.prepared.challenge.request())).collect(),
        };
        page.html()
    }

    /// One header per offer, best first by the client's `Accept-Payment`, and the id of the first.
    pub(super) fn challenges(&self, quoted: &[Quoted<'_>]) -> Challenges {
        let fresh = self.fresh_slots();
        let mut challenges = Challenges::for_offers(quoted.len());
        let order = self.wishes.as_ref().and_then(|wishes| self.ranking(quoted, wishes.payment.as_ref()?));
        let count = order.as_ref().map_or(quoted.len(), Vec::len);
        let places = (0..count).map(|nth| order.as_ref().map_or(nth, |order| order[nth]));
        // One loop with and without an order: what writes a challenge is there once, and in its place.
        for offer in places.filter_map(|place| quoted.get(place)) {
            let (id, line) = offer.prepared.challenge.issue(&fresh);
            challenges.push(id, line);
        }
        challenges
    }

    /// What is new in each answer, and the same in all its challenges: the expiry, the body's digest, a nonce with the route.
    fn fresh_slots(&self) -> FreshSlots {
        let expires = (self.mpp.now() + self.mpp.0.lifetime).to_rfc3339_shared();
        let digest = self.digest.map(|d| d.to_string()).unwrap_or_default();
        let (scope, target) = (&self.scope, self.target.as_ref());
        let opaque = |text: &mut String| scope.write_opaque(target, text);
        FreshSlots::ending_in(&expires, &digest, scope.opaque_len(target), opaque)
    }

    /// The first challenge alone, as the value of its header.
    #[cfg(feature = "testing")]
    pub(crate) fn challenge_line(&self, quote: &Quote) -> Option<String> {
        let quoted = self.quote(quote).ok()?;
        Some(quoted.first()?.prepared.challenge.issue(&self.fresh_slots()).1)
    }

    /// The headers of a 402, with its challenges.
    #[cfg(feature = "testing")]
    pub(crate) fn challenge_headers(&self, quote: &Quote) -> Result<HeaderMap, Answer> {
        Ok(self.challenges(&self.quote(quote)?).into_headers())
    }

    /// The client's order of preference; `None` for ours (no header, a malformed one, or no match).
    #[inline(never)]
    pub(super) fn ranking(&self, quoted: &[Quoted<'_>], payment: &HeaderValue) -> Option<Vec<usize>> {
        let accept = AcceptPayment::parse(payment.to_str().ok()?).ok()?;
        let order = accept.rank(quoted.iter().map(|q| (q.offer.name.as_str(), Intent::CHARGE.as_str())));
        (!order.is_empty()).then_some(order)
    }

    /// Counts an answer, where rates are limited.
    ///
    /// # Errors
    /// The 429 that is sent instead.
    pub(super) fn draw(&self, what: Drawn) -> Result<(), Answer> {
        let (Some(rates), Some(client)) = (&self.mpp.0.rates, self.counted) else { return Ok(()) };
        rates.draw(what, client).map_err(limited)
    }

    /// A client that has had its share is told before its body is read and its request is looked at. Not where it may be
    /// free, and never one with an authentic credential.
    pub(super) fn check_rate(&self) -> Result<(), Answer> {
        let (Some(rates), Some(client)) = (&self.mpp.0.rates, self.counted) else { return Ok(()) };
        match self.presented {
            _ if self.plan.spec.tier == Tier::FreeIf => Ok(()),
            Presented::Nothing => rates.peek(Drawn::Challenge, client).map_err(limited),
            Presented::Refused(_) => rates.peek(Drawn::Refusal, client).map_err(limited),
            Presented::Unplaced(_) | Presented::Authentic(_) | Presented::Misplaced(..) => Ok(()),
        }
    }
}

impl Mpp {
    /// The public address of a request's target.
    pub(super) fn address(&self, uri: &Uri) -> String {
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        format!("{}{target}", self.public_url().trim_end_matches('/'))
    }
}

/// Too many answers that cost the client nothing.
#[inline(never)] // for the sake of all others
pub(super) fn limited(wait: Duration) -> Answer {
    Answer::limited(wait, "too many requests that were not paid for; wait before asking again")
}

/// There is a price, and no method that can take it now.
pub(super) fn nothing_to_offer() -> Answer {
    Answer::unavailable(Duration::from_secs(60), "no payment method is available for this resource")
}
