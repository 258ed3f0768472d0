//! Two steps on the path of an unpaid request that cannot be reached from outside, for the benchmarks alone
//! (`benches/peers`): finding a price's plan, and writing its challenges. Hidden, and no name here is stable.

use crate::pricing::PriceSpec;
use crate::protocol::Amount;
use crate::server::Mpp;
use crate::server::gate::Quote;
use crate::server::pipeline::Visit;
use axum::extract::Request;
use axum::http::HeaderMap;

/// A request without a credential on its way through a price.
pub struct Unpaid<'m>(Visit<'m>);

impl<'m> Unpaid<'m> {
    /// From the head; `None` where the head alone is answered, as it is for a bare price.
    pub fn open(mpp: &'m Mpp, price: &'static PriceSpec, mut request: Request) -> Option<Self> {
        Visit::open(mpp, price, &mut request).ok().map(Self)
    }

    /// The headers of the 402, with a challenge per offer: of a fixed price, or of a computed one that came to `amount`.
    pub fn challenges(&self, amount: Option<Amount>) -> HeaderMap {
        let quote = amount.map_or(Quote::Fixed, Quote::Computed);
        self.0.challenge_headers(&quote).unwrap_or_default()
    }

    /// The challenge of the first offer of a fixed price, as it is in its header: with a nonce and an expiry of its own.
    pub fn challenge(&self) -> Option<String> {
        self.0.challenge_line(&Quote::Fixed)
    }
}

/// How many offers the plan of a price has, found as a request finds it.
pub fn offers(mpp: &Mpp, price: &'static PriceSpec) -> usize {
    mpp.plan(price).map_or(0, |plan| plan.offers.len())
}
