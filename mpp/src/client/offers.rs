//! From the challenges of a 402 to the offers that may be paid, best first.
//!
//! One bad offer does not spoil the others: each is held to the rules alone, and what it failed is kept for the error. The
//! rules are those of [`policy`](super::policy); limits and approval come later, for the one offer that is about to be paid
//! (`purchase`).

use std::sync::Arc;
use std::time::Duration;

use super::budget::is_same_account;
use super::error::Asked;
use super::origin::Origin;
use super::policy::{Endless, Policy, Spending};
use super::refusal::{Refusal, RefusedOffer};
use crate::method::{ClientMethod, Cost, PayError};
use crate::protocol::{BodyDigest, Challenge, Intent, Timestamp};

/// A payment needs some time to be made and to arrive: what ends sooner is treated as ended.
const LEAD: Duration = Duration::from_secs(2);

/// An offer that passed every rule that is about the offer itself.
///
/// ```
/// use mpp::client::{Candidate, Client, MemoryLedger, Policy};
/// # use mpp::method::sandbox::Wallet;
/// // Takes whatever is offered by cards, and else what comes first.
/// let client = Client::builder(Policy::unlimited(), MemoryLedger::new())
///     .method(Wallet::generate())
///     .select(|offers: &[Candidate]| offers.iter().position(|offer| offer.challenge.method.as_str() == "stripe").or(Some(0)))
///     .build();
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Candidate {
    /// The challenge.
    pub challenge: Challenge,
    /// What it costs at worst.
    pub cost: Cost,
    pub(super) wallet: Arc<dyn ClientMethod>,
    /// The place of its wallet in the builder's order.
    preference: usize,
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate")
            .field("method", &self.challenge.method)
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

impl Candidate {
    pub(super) fn refused(&self, why: Refusal) -> RefusedOffer {
        RefusedOffer { method: self.challenge.method.clone(), cost: Some(self.cost.clone()), why }
    }
}

/// What remains of a server's challenges.
#[derive(Default)]
pub(super) struct Offers {
    /// Best first.
    pub(super) candidates: Vec<Candidate>,
    pub(super) refused: Vec<RefusedOffer>,
}

impl Offers {
    pub(super) fn of(
        challenges: Vec<Challenge>,
        origin: &Origin,
        asked: &Asked,
        policy: &Policy,
        wallets: &[Arc<dyn ClientMethod>],
        now: Timestamp,
    ) -> Offers {
        let mut offers = Offers::default();
        for challenge in challenges {
            match consider(&challenge, origin, asked, policy, wallets, now) {
                Ok((cost, wallet, preference)) => {
                    offers.candidates.push(Candidate { challenge, cost, wallet, preference });
                }
                Err(refused) => {
                    let (why, cost) = *refused;
                    offers.refused.push(RefusedOffer { method: challenge.method, cost, why });
                }
            }
        }
        rank(&mut offers.candidates);
        offers
    }
}

/// The payer's preference first, then the price where prices can be compared, then the server's order.
pub(super) fn rank(candidates: &mut [Candidate]) {
    // Of one wallet some offers may be in one asset and some in another: the cheapest of an asset stands for it, at the place
    // of that asset's first offer, so that the order is total.
    let mut assets = Vec::new();
    for candidate in candidates.iter() {
        if !assets.contains(&candidate.cost.asset) {
            assets.push(candidate.cost.asset.clone());
        }
    }
    let place = |candidate: &Candidate| assets.iter().position(|asset| *asset == candidate.cost.asset);
    candidates.sort_by_key(|candidate| (candidate.preference, place(candidate), candidate.cost.amount));
}

type Considered = Result<(Cost, Arc<dyn ClientMethod>, usize), Box<(Refusal, Option<Cost>)>>;

fn consider(
    challenge: &Challenge,
    origin: &Origin,
    asked: &Asked,
    policy: &Policy,
    wallets: &[Arc<dyn ClientMethod>],
    now: Timestamp,
) -> Considered {
    let bare = |why| Box::new((why, None));
    check_origin(origin, policy).map_err(bare)?;
    check_validity(challenge, policy, now).map_err(bare)?;
    check_digest(challenge, &asked.body).map_err(bare)?;
    if policy.methods.as_ref().is_some_and(|allowed| !allowed.contains(&challenge.method)) {
        return Err(bare(Refusal::MethodNotAllowed(challenge.method.clone())));
    }
    // Of several wallets of one method, say for two chains, the first that can pay does.
    let mut refused = None;
    for (preference, wallet) in wallets.iter().enumerate() {
        if *wallet.name() != challenge.method {
            continue;
        }
        match wallet.cost(challenge) {
            Ok(cost) => match check_cost(challenge, &cost, origin, policy) {
                Ok(()) => return Ok((cost, wallet.clone(), preference)),
                Err(why) => refused = Some(Box::new((why, Some(cost)))),
            },
            // What a wallet that got further was refused says more.
            Err(error) => refused = refused.or_else(|| Some(bare(unsupported(challenge, error)))),
        }
    }
    Err(refused.unwrap_or_else(|| bare(Refusal::NoWallet(challenge.method.clone()))))
}

/// A wallet reads the intent first: where that is another than it knows, nothing else of the offer, and no key, would change it.
fn unsupported(challenge: &Challenge, error: PayError) -> Refusal {
    match error {
        PayError::Unsupported(_) if challenge.intent != Intent::CHARGE => {
            Refusal::UnsupportedIntent { intent: challenge.intent.clone(), error }
        }
        error => Refusal::Unsupported(error),
    }
}

/// Whether this origin may be paid at all.
pub(super) fn check_origin(origin: &Origin, policy: &Policy) -> Result<(), Refusal> {
    if !origin.is_private() {
        return Err(Refusal::Insecure(origin.clone()));
    }
    if policy.origins.as_ref().is_some_and(|allowed| !allowed.contains(origin)) {
        return Err(Refusal::OriginNotAllowed(origin.clone()));
    }
    Ok(())
}

/// Whether a challenge may be paid at this time: before and after waiting for anybody.
pub(super) fn check_validity(challenge: &Challenge, policy: &Policy, now: Timestamp) -> Result<(), Refusal> {
    // A challenge whose `expires` cannot be read has not got past the parser.
    match challenge.expires_at() {
        Ok(Some(expires)) if expires <= now + LEAD => Err(Refusal::Expired),
        Ok(Some(expires)) if expires.since(now) > policy.longest => {
            Err(Refusal::ValidTooLong { longest: policy.longest })
        }
        Ok(Some(_)) => Ok(()),
        Ok(None) if policy.endless == Endless::Allowed => Ok(()),
        Ok(None) => Err(Refusal::Endless),
        Err(_) => Err(Refusal::Expired),
    }
}

/// CORE-14: what is sent has to be what the offer is for.
fn check_digest(challenge: &Challenge, body: &[u8]) -> Result<(), Refusal> {
    let Some(digest) = &challenge.digest else { return Ok(()) };
    match BodyDigest::parse(digest) {
        Ok(digest) if digest == BodyDigest::of(body) => Ok(()),
        _ => Err(Refusal::Digest),
    }
}

fn check_cost(challenge: &Challenge, cost: &Cost, origin: &Origin, policy: &Policy) -> Result<(), Refusal> {
    check_realm(challenge, cost, origin, policy)?;
    if policy.networks.as_ref().is_some_and(|allowed| !allowed.contains(&cost.asset.network)) {
        return Err(Refusal::NetworkNotAllowed(cost.asset.network.clone()));
    }
    if let Some(allowed) = &policy.recipients {
        if cost.payees.is_empty() && !cost.amount.is_zero() {
            return Err(Refusal::NoRecipient);
        }
        let stranger = |account: &&str| !allowed.iter().any(|known| is_same_account(known, account));
        if let Some(account) = cost.payees.iter().map(|payee| payee.account.as_str()).find(stranger) {
            return Err(Refusal::RecipientNotAllowed(account.to_owned()));
        }
    }
    if let Spending::Within(budgets) = &policy.spending {
        let price = (!cost.amount.is_zero()).then_some(&cost.asset);
        let fees = cost.fees.iter().filter(|(units, _)| !units.is_zero()).map(|(_, asset)| asset);
        for asset in price.into_iter().chain(fees) {
            if !budgets.iter().any(|budget| budget.covers(asset)) {
                return Err(Refusal::CurrencyNotAllowed(
                    asset.name.clone().unwrap_or_else(|| asset.id.clone()),
                ));
            }
        }
    }
    Ok(())
}

/// The challenge has to be of whom we talk to. A server that hands on the challenge of another one would have us pay there
/// and deliver here what it likes; with a proof of identity, which costs nothing, it could act in our name, so there not
/// even a parent domain will do: strangers share those.
fn check_realm(challenge: &Challenge, cost: &Cost, origin: &Origin, policy: &Policy) -> Result<(), Refusal> {
    let realm = challenge.realm.as_str();
    if let Some(pinned) = policy.pinned(origin) {
        let (realm, pinned) = (realm.to_owned(), pinned.to_owned());
        return if realm == pinned { Ok(()) } else { Err(Refusal::RealmNotPinned { realm, pinned }) };
    }
    let host = origin.host();
    // An IPv6 address is written with brackets in a URL, and without them by some as a realm.
    let plain = match realm.to_ascii_lowercase() {
        bare if bare.contains(':') && !bare.starts_with('[') => format!("[{bare}]"),
        other => other,
    };
    let is_host = plain == host;
    // `example.com` is the parent of `api.example.com`; `com` is nobody's.
    let is_parent = plain.contains('.')
        && host.strip_suffix(plain.as_str()).is_some_and(|child| child.ends_with('.'))
        && host.parse::<std::net::Ipv4Addr>().is_err();
    if is_host || (is_parent && !cost.amount.is_zero()) {
        Ok(())
    } else {
        Err(Refusal::RealmForeign { realm: realm.to_owned(), host: host.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Budget;
    use crate::method::{Asset, Payee, Proof, Step};
    use crate::protocol::{Amount, BaseUnits, MethodName};

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    fn challenge(realm: &str) -> Challenge {
        let line = format!(
            r#"Payment id="a", realm="{realm}", method="tempo", intent="charge", request="e30", expires="{}""#,
            (NOW + Duration::from_secs(300)).to_rfc3339().as_str()
        );
        Challenge::parse_all([line.as_str()]).offers.remove(0)
    }

    fn cost(units: u128) -> Cost {
        Cost::new(BaseUnits::new(units), Asset::known("eip155:4217", "0xa", "usdc", 6))
    }

    fn origin(text: &str) -> Origin {
        text.parse().unwrap()
    }

    fn policy() -> Policy {
        Policy::new(Budget::total("usdc", Amount::whole(1)))
    }

    #[test]
    fn the_realm_is_the_host_or_a_parent_domain_that_belongs_to_somebody() {
        for (realm, at, expected) in [
            ("api.example.com", "https://api.example.com", true),
            ("API.example.com", "https://api.example.com", true),
            ("example.com", "https://api.example.com", true),
            ("com", "https://example.com", false),
            ("ample.com", "https://example.com", false),
            ("api.example.com", "https://example.com", false),
            ("evil.example", "https://api.example.com", false),
            ("127.0.0.1", "http://127.0.0.1:3000", true),
            ("0.0.1", "http://127.0.0.1:3000", false),
            ("::1", "http://[::1]:3000", true),
            ("[::1]", "http://[::1]:3000", true),
        ] {
            let checked = check_realm(&challenge(realm), &cost(5), &origin(at), &policy());
            assert_eq!(checked.is_ok(), expected, "{realm} at {at}");
        }
    }

    #[test]
    fn a_proof_of_identity_is_for_exactly_the_host_or_the_pinned_realm() {
        let at = origin("https://api.example.com");
        assert!(check_realm(&challenge("api.example.com"), &cost(0), &at, &policy()).is_ok());
        assert!(check_realm(&challenge("example.com"), &cost(0), &at, &policy()).is_err());
        let pinned = policy().pin_realm("https://api.example.com", "example.com");
        assert!(check_realm(&challenge("example.com"), &cost(0), &at, &pinned).is_ok());
        assert!(check_realm(&challenge("api.example.com"), &cost(5), &at, &pinned).is_err());
    }

    #[test]
    fn what_has_expired_or_ends_too_late_or_never_is_not_paid() {
        let with =
            |expires: Option<&str>| Challenge { expires: expires.map(str::to_owned), ..challenge("r") };
        let check = |expires: Option<&str>, policy: &Policy| check_validity(&with(expires), policy, NOW);
        let at = |seconds: i64| Timestamp::from_unix(NOW.unix() + seconds).to_rfc3339().as_str().to_owned();
        assert_eq!(check(Some(&at(300)), &policy()), Ok(()));
        assert_eq!(check(Some(&at(0)), &policy()), Err(Refusal::Expired));
        assert_eq!(check(Some(&at(2)), &policy()), Err(Refusal::Expired), "it would expire on its way");
        let longest = Duration::from_secs(3600);
        assert_eq!(check(Some(&at(3600)), &policy()), Ok(()), "as long as is allowed");
        assert_eq!(check(Some(&at(3601)), &policy()), Err(Refusal::ValidTooLong { longest }));
        assert_eq!(check(Some("2999-01-01T00:00:00Z"), &policy()), Err(Refusal::ValidTooLong { longest }));
        assert_eq!(check(None, &policy()), Err(Refusal::Endless));
        assert_eq!(check(None, &policy().allow_endless_challenges()), Ok(()));
    }

    struct NoWallet(MethodName);

    impl ClientMethod for NoWallet {
        fn name(&self) -> &MethodName {
            &self.0
        }

        fn pay<'a>(&'a self, _: &'a Challenge) -> Step<'a, Result<Proof, PayError>> {
            Step::ready(Err(PayError::Declined("no".into())))
        }
    }

    #[test]
    fn the_cheapest_offer_of_an_asset_stands_where_the_assets_first_one_was_and_a_wallet_before_the_next() {
        let wallet: Arc<dyn ClientMethod> = Arc::new(NoWallet(MethodName::from_static("tempo")));
        let offers =
            [(1, "usdc", 2), (0, "usdc", 5), (0, "eurc", 1), (0, "usdc", 3), (0, "eurc", 9), (1, "eurc", 1)];
        let mut candidates = offers.map(|(preference, asset, units)| Candidate {
            challenge: challenge("r"),
            cost: Cost::new(BaseUnits::new(units), Asset::known("eip155:4217", asset, asset, 6)),
            wallet: wallet.clone(),
            preference,
        });
        rank(&mut candidates);
        let ranked = candidates.map(|offer| (offer.preference, offer.cost.asset.id, offer.cost.amount.get()));
        let ranked =
            ranked.each_ref().map(|(preference, asset, units)| (*preference, asset.as_str(), *units));
        assert_eq!(
            ranked,
            [(0, "usdc", 3), (0, "usdc", 5), (0, "eurc", 1), (0, "eurc", 9), (1, "usdc", 2), (1, "eurc", 1)]
        );
    }

    #[test]
    fn every_recipient_of_a_split_has_to_be_known() {
        let payee = |account: &str| Payee { account: account.to_owned(), units: BaseUnits::new(1) };
        let allowed = policy().recipients(["0xAB", "0xCD"]);
        let check =
            |cost: Cost| check_cost(&challenge("a.example"), &cost, &origin("https://a.example"), &allowed);
        assert_eq!(check(cost(5).paid_to([payee("0xab"), payee("0xcd")])), Ok(()));
        assert_eq!(
            check(cost(5).paid_to([payee("0xab"), payee("0xef")])),
            Err(Refusal::RecipientNotAllowed("0xef".into()))
        );
        assert_eq!(check(cost(5)), Err(Refusal::NoRecipient));
    }

    #[test]
    fn fees_need_a_budget_too() {
        let check = |cost: Cost, policy: &Policy| {
            check_cost(&challenge("a.example"), &cost, &origin("https://a.example"), policy)
        };
        let ether = Asset::known("eip155:1", "native", "eth", 18);
        let costly = cost(5).fee(BaseUnits::new(21_000), ether);
        assert_eq!(check(costly.clone(), &policy()), Err(Refusal::CurrencyNotAllowed("eth".into())));
        let both = policy().budget(Budget::total("eth", Amount::cents(1)));
        assert_eq!(check(costly.clone(), &both), Ok(()));
        assert_eq!(check(costly, &Policy::unlimited()), Ok(()));
    }

    #[test]
    fn an_intent_that_its_wallets_do_not_take_is_the_reason_and_not_what_they_say_of_themselves() {
        let says = PayError::Unsupported("a sandbox knows no `session`".into());
        let session = Challenge { intent: Intent::SESSION, ..challenge("r") };
        let expected = Refusal::UnsupportedIntent { intent: Intent::SESSION, error: says.clone() };
        assert_eq!(unsupported(&session, says.clone()), expected);
        assert_eq!(unsupported(&challenge("r"), says.clone()), Refusal::Unsupported(says));
        let no = PayError::Declined("no".into());
        assert_eq!(unsupported(&session, no.clone()), Refusal::Unsupported(no));
    }

    #[test]
    fn a_digest_has_to_be_that_of_the_body() {
        let mut offer = challenge("r");
        assert_eq!(check_digest(&offer, b"anything"), Ok(()));
        offer.digest = Some(BodyDigest::of(b"hello").to_string());
        assert_eq!(check_digest(&offer, b"hello"), Ok(()));
        assert_eq!(check_digest(&offer, b"hullo"), Err(Refusal::Digest));
        offer.digest = Some("md5=:x:".into());
        assert_eq!(check_digest(&offer, b"hello"), Err(Refusal::Digest));
    }
}
