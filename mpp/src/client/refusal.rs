//! Why an offer is not paid: the rule that refused it, in one sentence.

use std::time::Duration;

use super::budget::BrokenLimit;
use super::origin::Origin;
use crate::method::{Cost, PayError, Shortfall};
use crate::outbound::is_loopback;
use crate::protocol::{ChallengeError, Intent, MethodName};

/// The rule that refused a payment. Nothing was signed.
///
/// ```
/// use mpp::client::Refusal;
/// let refusal = Refusal::RealmForeign { realm: "bank.example".into(), host: "evil.example".into() };
/// assert_eq!(refusal.to_string(), r#"its realm "bank.example" is not that of evil.example"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A credential would travel in the clear (CORE-33).
    #[error("{0} is plain http; a credential is sent over https or to this machine only")]
    Insecure(Origin),
    /// The policy names origins, and this is none of them.
    #[error("the policy does not allow payments to {0}")]
    OriginNotAllowed(Origin),
    /// A redirect led to somebody else, who asks for money.
    #[error("a redirect led from {from} to {to}, which asks for a payment")]
    Redirected {
        /// Who was asked.
        from: Origin,
        /// Who answered.
        to: Origin,
    },
    /// The challenge is somebody else's, or says so.
    // Text of the server is written with escapes: it may end in a log or on a terminal.
    #[error("its realm {realm:?} is not that of {host}{}", other_name(realm, host))]
    RealmForeign {
        /// Of the challenge.
        realm: String,
        /// Who was asked.
        host: String,
    },
    /// The policy pins another realm for this origin.
    #[error("its realm is {realm:?}, the policy expects {pinned:?}")]
    RealmNotPinned {
        /// Of the challenge.
        realm: String,
        /// Of the policy.
        pinned: String,
    },
    /// It has expired (CORE-16), or does before a payment could arrive.
    #[error("it has expired")]
    Expired,
    /// It is valid for longer than the policy allows.
    #[error("it is valid for more than {} s", longest.as_secs())]
    ValidTooLong {
        /// The most the policy allows.
        longest: Duration,
    },
    /// It does not say when it expires.
    #[error("it does not say when it expires")]
    Endless,
    /// Its digest cannot be read, or is that of another body (CORE-14).
    #[error("its digest is not that of the request's body")]
    Digest,
    /// The policy does not name the method.
    #[error("the policy does not allow the method `{0}`")]
    MethodNotAllowed(MethodName),
    /// No wallet pays by the method.
    #[error("no wallet pays by `{0}`")]
    NoWallet(MethodName),
    /// No wallet of the method pays this challenge.
    #[error("{0}")]
    Unsupported(PayError),
    /// No wallet of the method pays this challenge, whose intent is not `charge`: no wallet of this library knows another.
    #[error("it asks for a `{intent}`, which no wallet pays here; an offer of a single `charge` is needed")]
    UnsupportedIntent {
        /// Of the challenge: `session`, say.
        intent: Intent,
        /// What the wallet says.
        error: PayError,
    },
    /// The policy does not name the network.
    #[error("the policy does not allow payments on {0:?}")]
    NetworkNotAllowed(String),
    /// The policy names recipients, and this is none of them.
    #[error("the policy does not allow payments to the account {0:?}")]
    RecipientNotAllowed(String),
    /// The policy names recipients, and the challenge does not.
    #[error("it does not say who is paid, and the policy allows some recipients only")]
    NoRecipient,
    /// No budget covers what is spent.
    #[error("no budget covers {0:?}")]
    CurrencyNotAllowed(String),
    /// A limit of a budget.
    #[error("{0}")]
    Limit(Box<BrokenLimit>),
    /// The account has less than that, as far as its wallet can see.
    #[error("{0}")]
    Shortfall(Box<Shortfall>),
    /// The challenge is in the ledger already.
    #[error("this challenge was paid already")]
    PaidAlready,
    /// A further challenge, after a payment that did not happen, that asks for more or for somebody else.
    #[error("the server's further challenge asks for more than its first, or pays somebody else")]
    Changed,
    /// The approver said no.
    #[error("it was not approved: {0}")]
    Denied(String),
    /// The client's own selection took another offer, or none.
    #[error("another offer was preferred")]
    NotSelected,
}

/// What to do where a realm and a host are two names of this machine: nothing is wrong there but the name that was asked for.
fn other_name(realm: &str, host: &str) -> String {
    match is_loopback(realm) && is_loopback(host) {
        true if realm.contains(':') && !realm.starts_with('[') => {
            format!("; ask for [{realm}] instead of {host}")
        }
        true => format!("; ask for {realm} instead of {host}"),
        false => String::new(),
    }
}

/// An offer that was not paid.
///
/// ```
/// use mpp::client::{Refusal, RefusedOffer};
/// use mpp::protocol::MethodName;
/// let offer = RefusedOffer { method: MethodName::from_static("tempo"), cost: None, why: Refusal::Expired };
/// assert_eq!(offer.to_string(), "tempo: it has expired");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedOffer {
    /// How it would be paid.
    pub method: MethodName,
    /// What it would cost, if a wallet could tell.
    pub cost: Option<Cost>,
    /// The rule.
    pub why: Refusal,
}

impl std::fmt::Display for RefusedOffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.cost {
            Some(cost) => write!(f, "{} ({cost}): {}", self.method, self.why),
            None => write!(f, "{}: {}", self.method, self.why),
        }
    }
}

/// None of a server's offers was paid. Nothing was signed.
///
/// ```
/// use mpp::client::{NotPaid, Refusal, RefusedOffer};
/// use mpp::protocol::MethodName;
/// let refused = RefusedOffer { method: MethodName::from_static("tempo"), cost: None, why: Refusal::Expired };
/// let error = NotPaid { origin: "https://api.example.com".parse().unwrap(), offers: vec![refused], malformed: vec![] };
/// assert_eq!(error.to_string(), "https://api.example.com was not paid: tempo: it has expired");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotPaid {
    /// Who asked for a payment.
    pub origin: Origin,
    /// The offers, each with the rule that refused it.
    pub offers: Vec<RefusedOffer>,
    /// What was no offer, though it said `Payment`.
    pub malformed: Vec<ChallengeError>,
}

impl NotPaid {
    /// Whether some offer was refused by this rule.
    ///
    /// ```
    /// # use mpp::client::{NotPaid, Refusal, RefusedOffer};
    /// # let refused = RefusedOffer { method: mpp::protocol::MethodName::from_static("tempo"), cost: None, why: Refusal::Expired };
    /// # let error = NotPaid { origin: "https://a.example".parse().unwrap(), offers: vec![refused], malformed: vec![] };
    /// assert!(error.is_because(|why| *why == Refusal::Expired));
    /// ```
    pub fn is_because(&self, rule: impl Fn(&Refusal) -> bool) -> bool {
        self.offers.iter().any(|offer| rule(&offer.why))
    }
}

impl std::error::Error for NotPaid {}

impl std::fmt::Display for NotPaid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} was not paid: ", self.origin)?;
        for (position, offer) in self.offers.iter().enumerate() {
            write!(f, "{}{offer}", if position == 0 { "" } else { "; " })?;
        }
        match (self.offers.is_empty(), self.malformed.first()) {
            (true, Some(error)) => write!(f, "{error}"),
            (true, None) => write!(f, "it offers no way to pay"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_this_machine_under_another_name_than_its_server_has_is_told_the_name() {
        let said = |realm: &str, host: &str| {
            Refusal::RealmForeign { realm: realm.into(), host: host.into() }.to_string()
        };
        assert_eq!(
            said("127.0.0.1", "localhost"),
            r#"its realm "127.0.0.1" is not that of localhost; ask for 127.0.0.1 instead of localhost"#
        );
        assert!(said("localhost", "127.0.0.1").ends_with("; ask for localhost instead of 127.0.0.1"));
        assert!(said("::1", "localhost").ends_with("; ask for [::1] instead of localhost"));
        // Anybody else's name is the reason why it is not paid, and nothing to be advised.
        for (realm, host) in [("127.0.0.1", "api.example.com"), ("api.example.com", "localhost"), ("a", "b")]
        {
            assert!(!said(realm, host).contains("ask for"), "{realm} {host}");
        }
    }
}
