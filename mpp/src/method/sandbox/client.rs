//! The paying side: a key that signs for challenges of any sandbox.
//!
//! What it signs and sends is in the [module](super)'s "On the wire" (`source` and `payload` of
//! draft-httpauth-payment-00 section 5.2).

use super::SANDBOX;
use super::request::{Signed, is_test_money, payload};
use crate::method::{Asset, ClientMethod, Cost, Fate, PayError, Payee, Proof, Step};
use crate::protocol::{
    Challenge, ChargeRequest, Currency, Did, Intent, MethodName, ProblemType, ReceivedProblem,
};
use ed25519_dalek::{Signer, SigningKey};
use std::fmt;

/// An account holder: an ed25519 key that pays sandbox challenges, and nothing that asks for real money.
///
/// ```
/// use mpp::method::sandbox::Wallet;
///
/// let wallet = Wallet::generate();
/// assert!(wallet.did().starts_with("did:key:z6Mk"));
/// ```
#[derive(Clone)]
pub struct Wallet {
    // Overwritten when dropped.
    key: SigningKey,
    did: String,
    method: MethodName,
}

impl Wallet {
    /// A new account, from the system's randomness.
    ///
    /// ```
    /// # use mpp::method::sandbox::Wallet;
    /// assert_ne!(Wallet::generate().did(), Wallet::generate().did());
    /// ```
    pub fn generate() -> Self {
        let mut seed = rand::random::<[u8; 32]>();
        let wallet = Self::from_seed(seed);
        zeroize::Zeroize::zeroize(&mut seed);
        wallet
    }

    /// The account of this seed: the same one every time. For tests and demonstrations that must be repeatable.
    ///
    /// ```
    /// # use mpp::method::sandbox::Wallet;
    /// assert_eq!(Wallet::from_seed([7; 32]).did(), Wallet::from_seed([7; 32]).did());
    /// ```
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let key = SigningKey::from_bytes(&seed);
        let did = Did::ed25519(&key.verifying_key().to_bytes()).to_string();
        Self { key, did, method: SANDBOX }
    }

    /// The account: what the operator funds, and the `source` of the wallet's credentials.
    ///
    /// ```
    /// # use mpp::{method::sandbox::Wallet, protocol::Did};
    /// assert!(matches!(Wallet::generate().did().parse(), Ok(Did::Key(_))));
    /// ```
    pub fn did(&self) -> String {
        self.did.clone()
    }

    /// The same account, paying where a sandbox plays this method.
    ///
    /// ```
    /// # use mpp::{method::{ClientMethod, sandbox::Wallet}, protocol::MethodName};
    /// let wallet = Wallet::generate();
    /// let payer = wallet.for_method(MethodName::from_static("tempo"));
    /// assert_eq!(*payer.name(), *"tempo");
    /// assert_eq!(payer.did(), wallet.did());
    /// ```
    pub fn for_method(&self, method: MethodName) -> Self {
        Self { method, ..self.clone() }
    }

    /// The request, if it is one this wallet answers.
    fn read(&self, challenge: &Challenge) -> Result<ChargeRequest, PayError> {
        if challenge.method != self.method {
            return Err(PayError::Unsupported(format!(
                "it is for the payment method `{}`, this wallet pays `{}`",
                challenge.method, self.method
            )));
        }
        if challenge.intent != Intent::CHARGE {
            return Err(PayError::Unsupported(format!("a sandbox knows no `{}`", challenge.intent)));
        }
        let request = challenge.charge().map_err(|e| PayError::Unsupported(e.to_string()))?;
        if !is_test_money(&request) {
            // Whoever has made no key yet reads this: nothing is wrong but that the purse holds none.
            let why =
                format!("it asks for real money by `{}`, and this wallet has play money only", self.method);
            return Err(PayError::Unsupported(why));
        }
        Ok(request)
    }

    fn sign(&self, challenge: &Challenge) -> Result<Proof, PayError> {
        let request = self.read(challenge)?;
        let signed = Signed::asked_by(&request);
        let signature = self.key.sign(&signed.message(challenge));
        Ok(Proof { payload: payload(signed, &self.did, &signature), source: Some(self.did()) })
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_struct("Wallet").field("did", &self.did).field("method", &self.method).finish_non_exhaustive()
    }
}

impl ClientMethod for Wallet {
    fn name(&self) -> &MethodName {
        &self.method
    }

    fn cost(&self, challenge: &Challenge) -> Result<Cost, PayError> {
        let request = self.read(challenge)?;
        let asset = match Currency::by_name(&request.currency) {
            // Play money: that the server calls it so is all there is to know about a currency.
            Some(known) => Asset::known(self.method.as_str(), known.name, known.name, known.decimals),
            None => Asset::unknown(self.method.as_str(), request.currency),
        };
        let payees = request.recipient.map(|account| Payee { account, units: request.amount });
        Ok(Cost::new(request.amount, asset).paid_to(payees))
    }

    fn pay<'a>(&'a self, challenge: &'a Challenge) -> Step<'a, Result<Proof, PayError>> {
        Step::ready(self.sign(challenge))
    }

    fn fate_after<'a>(
        &'a self,
        _: &'a Challenge,
        _: &'a Proof,
        refusal: &'a ReceivedProblem,
    ) -> Step<'a, Fate> {
        // The server that refuses is the one that keeps the books: nobody else could ever take this money.
        Step::ready(match refusal.kind() {
            Some(
                ProblemType::PaymentInsufficient
                | ProblemType::VerificationFailed
                | ProblemType::PaymentExpired
                | ProblemType::MalformedCredential
                // The key is another purchase's: this one was not looked at.
                | ProblemType::IdempotencyConflict,
            ) => Fate::Never,
            // Of a challenge that was used, say, it has taken the money.
            _ => Fate::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::BaseUnits;
    use serde_json::{Map, json};

    fn challenge(request: ChargeRequest) -> Challenge {
        Challenge {
            id: "id".into(),
            realm: "api.example.com".into(),
            method: SANDBOX,
            intent: Intent::CHARGE,
            request: request.encode(),
            expires: None,
            digest: None,
            opaque: None,
            description: None,
        }
    }

    fn test_money(amount: u64) -> ChargeRequest {
        let details = Map::from_iter([("testMoney".to_owned(), json!(true))]);
        ChargeRequest { method_details: Some(details), ..ChargeRequest::new(BaseUnits::from(amount), "usdc") }
    }

    #[test]
    fn a_wallet_signs_a_transfer_for_an_amount_and_a_proof_for_none() {
        let wallet = Wallet::from_seed([1; 32]);
        let paid = wallet.sign(&challenge(test_money(5))).unwrap();
        assert_eq!(paid.payload["type"], "transfer");
        assert_eq!(paid.source, Some(wallet.did()));
        assert_eq!(wallet.sign(&challenge(test_money(0))).unwrap().payload["type"], "proof");
    }

    #[test]
    fn what_a_payment_costs_is_known_before_it_is_signed() {
        let wallet = Wallet::from_seed([1; 32]);
        let request = ChargeRequest { recipient: Some("till".into()), ..test_money(50_000) };
        let cost = wallet.cost(&challenge(request)).unwrap();
        assert_eq!(cost.to_string(), "0.05 usdc");
        assert_eq!(cost.payees, [Payee { account: "till".into(), units: BaseUnits::new(50_000) }]);
        let mut foreign = challenge(test_money(5));
        foreign.method = MethodName::from_static("tempo");
        assert!(matches!(wallet.cost(&foreign), Err(PayError::Unsupported(_))));
    }

    #[test]
    fn a_wallet_never_signs_for_real_money() {
        let wallet = Wallet::from_seed([1; 32]);
        let mut real = test_money(5);
        for details in
            [None, Some(Map::new()), Some(Map::from_iter([("testMoney".to_owned(), json!("true"))]))]
        {
            real.method_details = details;
            let refused = wallet.sign(&challenge(real.clone())).unwrap_err().to_string();
            assert!(
                refused.ends_with("it asks for real money by `sandbox`, and this wallet has play money only"),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_wallet_pays_only_the_method_it_was_told_to_and_only_charges() {
        let wallet = Wallet::from_seed([1; 32]);
        let mut other = challenge(test_money(5));
        other.method = MethodName::from_static("tempo");
        assert!(matches!(wallet.sign(&other), Err(PayError::Unsupported(_))));
        assert!(wallet.for_method(MethodName::from_static("tempo")).sign(&other).is_ok());
        let mut session = challenge(test_money(5));
        session.intent = Intent::SESSION;
        assert!(matches!(wallet.sign(&session), Err(PayError::Unsupported(_))));
        session = challenge(test_money(5));
        session.request = "not a request".into();
        assert!(matches!(wallet.sign(&session), Err(PayError::Unsupported(_))));
    }

    #[test]
    fn the_debug_form_of_a_wallet_does_not_hold_its_key() {
        let wallet = Wallet::from_seed([0xab; 32]);
        let debug = format!("{wallet:?}").to_lowercase();
        assert!(
            debug.contains("did:key:z6mk") && !debug.contains("abab") && !debug.contains("171, 171"),
            "{debug}"
        );
    }
}
