//! The payer's wallet on Tempo (draft-tempo-charge-00, the client's part): pull, push, proof, sponsored and split payments.
//!
//! Every payment carries the attribution memo (`memo.rs`), because deployed servers refuse any other, and uses an expiring
//! nonce: payments never wait for each other, and one that was not mined in time is void for good. A challenge that asks for
//! a memo of its own gets that one, as the draft says.
//!
//! Nothing is signed for another chain than the wallet's, for a request that is not understood, or for parts that are not
//! less than the amount (TC-09, TC-26). An access key signs in its account's name, if the chain's keychain says that it may.

use super::access_key::{key_of_account, limit_of_key};
use super::request::{Ask, Modes};
use super::server::{balance_of, receipt_of};
use super::{Mode, envelope, memo, proof, tokens};
use crate::chain::{Call, Head, Reach, Rpc, RpcError, TxReceipt, block, did_of, parse_address, served_by};
use crate::clock::{Clock, SystemClock};
use crate::method::{Asset, ClientMethod, Cost, Fate, Fees, PayError, Payee, Proof, Shortfall, Step};
use crate::protocol::{BaseUnits, Challenge, Intent, MethodName, Timestamp};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, TxKind, U64, U128, U256, hex};
use alloy::signers::Signer;
use alloy::sol_types::SolCall;
use serde_json::{Map, Value, json};
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempo_alloy::contracts::precompiles::ITIP20;
use tempo_alloy::primitives::transaction::{
    Call as TempoCall, FEE_PAYER_SIGNATURE_MARKER, calc_gas_balance_spending,
};
use tempo_alloy::primitives::{AASigned, TempoTransaction};
use tokio::time::Instant;

/// How long a transaction is valid. An expiring nonce allows 30 s by the chain's clock (TIP-1009).
pub(super) const VALID_FOR: Duration = Duration::from_secs(25);
/// Gas beyond the node's estimate: a block later a balance may be new, or the signature counted differently.
const SPARE_GAS: u64 = 50_000;
/// Least gas for each transfer: some nodes estimate a batch as if it did nothing.
const GAS_PER_TRANSFER: u64 = 300_000;
/// Least gas of a transaction besides its transfers.
const GAS_OF_REST: u64 = 350_000;
/// What the proposer of a block gets for each unit of gas at most.
const TIP: u128 = 1_000_000_000;
/// For the answer to a broadcast.
const BROADCAST: Duration = Duration::from_secs(15);
/// How long a broadcast of our own is waited for: then it is mined, or void for good.
const MINED: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(200);

/// An account on Tempo that pays challenges.
///
/// ```no_run
/// use alloy::signers::local::PrivateKeySigner;
/// use mpp::method::{ClientMethod, tempo::TempoWallet};
///
/// # async fn example(challenge: &mpp::protocol::Challenge) -> Result<(), Box<dyn std::error::Error>> {
/// let wallet = TempoWallet::new(PrivateKeySigner::random(), "https://rpc.example.org/v1/key", 42431)?;
/// println!("{}", wallet.cost(challenge)?);
/// let proof = wallet.pay(challenge).await?;
/// # drop(proof);
/// # Ok(()) }
/// ```
pub struct TempoWallet {
    name: MethodName,
    pub(super) signer: Arc<dyn Signer + Send + Sync>,
    /// Who pays: the signer's own account, or the one that has it as an access key.
    pub(super) account: Address,
    pub(super) rpc: Rpc,
    chain_id: u64,
    mode: Mode,
    fee_token: Option<Address>,
    /// Base units.
    max_fee: u64,
    payees: Option<Vec<Address>>,
    tokens: Vec<(String, Address)>,
    clock: Arc<dyn Clock>,
    /// How long a broadcast is waited for.
    pub(super) patience: Duration,
    // Set once the node has said that it serves `chain_id`.
    right_chain: AtomicBool,
}

/// Why a wallet cannot be set up.
///
/// ```
/// use alloy::signers::local::PrivateKeySigner;
/// use mpp::method::tempo::TempoWallet;
/// let error = TempoWallet::new(PrivateKeySigner::random(), "http://rpc.example.org/k3y", 42431).unwrap_err();
/// assert!(error.to_string().contains("use https") && !error.to_string().contains("k3y"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WalletError(String);

impl TempoWallet {
    /// Pays from the account of `signer` (a [`PrivateKeySigner`](alloy::signers::local::PrivateKeySigner), or anything else
    /// alloy signs with) on the chain `chain_id` and no other, through the node at `rpc_url`: https, or http to this machine.
    ///
    /// # Errors
    /// When the URL cannot be used. It is not quoted.
    ///
    /// ```
    /// use alloy::signers::local::PrivateKeySigner;
    /// use mpp::method::{ClientMethod, tempo::TempoWallet};
    /// let wallet = TempoWallet::new(PrivateKeySigner::random(), "https://rpc.example.org", mpp::method::tempo::MAINNET)?;
    /// assert_eq!(wallet.name().as_str(), "tempo");
    /// # Ok::<(), mpp::method::tempo::WalletError>(())
    /// ```
    pub fn new(
        signer: impl Signer + Send + Sync + 'static,
        rpc_url: &str,
        chain_id: u64,
    ) -> Result<Self, WalletError> {
        let rpc = Rpc::new(rpc_url, Reach::Anywhere).map_err(|e| WalletError(e.to_string()))?;
        Ok(Self::on(rpc, chain_id, Arc::new(signer), None))
    }

    /// The same, through a node that is known already.
    pub(super) fn on(
        rpc: Rpc,
        chain_id: u64,
        signer: Arc<dyn Signer + Send + Sync>,
        fee_token: Option<Address>,
    ) -> Self {
        Self {
            name: MethodName::from_static("tempo"),
            account: signer.address(),
            signer,
            rpc,
            chain_id,
            mode: Mode::Pull,
            fee_token,
            max_fee: 100_000,
            payees: None,
            tokens: Vec::new(),
            clock: Arc::new(SystemClock),
            patience: MINED,
            right_chain: AtomicBool::new(false),
        }
    }

    /// Pays from this account, of which the signer is an access key: the account's owner has authorised it in the chain's
    /// keychain, and can set what it may spend, and until when, and revoke it. Without this the signer pays from its own.
    ///
    /// Whether the key may sign, and how much of the payment's token it may still spend, is asked of the chain before it does; the
    /// chain holds it to every limit in any case.
    ///
    /// # Errors
    /// When it is no address.
    ///
    /// ```
    /// # use alloy::signers::local::PrivateKeySigner;
    /// # use mpp::method::tempo::TempoWallet;
    /// let wallet = TempoWallet::new(PrivateKeySigner::random(), "https://rpc.example.org", 42431)?
    ///     .access_key_of("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")?;
    /// assert_eq!(wallet.did(), "did:pkh:eip155:42431:0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
    /// # Ok::<(), mpp::method::tempo::WalletError>(())
    /// ```
    pub fn access_key_of(mut self, account: &str) -> Result<Self, WalletError> {
        self.account =
            parse_address(account).map_err(|e| WalletError(format!("the account of the access key: {e}")))?;
        Ok(self)
    }

    /// Which mode it prefers; the other is used where a challenge does not take this one.
    ///
    /// ```
    /// # use alloy::signers::local::PrivateKeySigner;
    /// # use mpp::method::tempo::{Mode, TempoWallet};
    /// let wallet = TempoWallet::new(PrivateKeySigner::random(), "https://rpc.example.org", 42431)?.mode(Mode::Push);
    /// # drop(wallet);
    /// # Ok::<(), mpp::method::tempo::WalletError>(())
    /// ```
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Pays network fees in this TIP-20 token, instead of the one that the payment is in.
    ///
    /// # Errors
    /// When it is no address.
    ///
    /// ```
    /// # use alloy::signers::local::PrivateKeySigner;
    /// # use mpp::method::tempo::TempoWallet;
    /// let wallet = TempoWallet::new(PrivateKeySigner::random(), "https://rpc.example.org", 42431)?;
    /// assert!(wallet.fee_token("pathusd").is_err());
    /// # Ok::<(), mpp::method::tempo::WalletError>(())
    /// ```
    pub fn fee_token(mut self, address: &str) -> Result<Self, WalletError> {
        let token = parse_address(address).map_err(|e| WalletError(format!("the fee token: {e}")))?;
        self.fee_token = Some(token);
        Ok(self)
    }

    /// The most it pays the network for one payment, in base units of the fee token (millionths of a dollar); 100,000
    /// unless said otherwise.
    ///
    /// ```
    /// # use alloy::signers::local::PrivateKeySigner;
    /// # use mpp::method::tempo::TempoWallet;
    /// let wallet = TempoWallet::new(PrivateKeySigner::random(), "https://rpc.example.org", 42431)?.max_fee(20_000);
    /// # drop(wallet);
    /// # Ok::<(), mpp::method::tempo::WalletError>(())
    /// ```
    pub fn max_fee(mut self, units: u64) -> Self {
        self.max_fee = units;
        self
    }

    /// Pays these accounts only, parts of others included. Without this it pays whom the challenge names.
    ///
    /// # Errors
    /// When one is no address.
    ///
    /// ```
    /// # use alloy::signers::local::PrivateKeySigner;
    /// # use mpp::method::tempo::TempoWallet;
    /// let wallet = TempoWallet::new(PrivateKeySigner::random(), "https://rpc.example.org", 42431)?
    ///     .only_to(["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"])?;
    /// # drop(wallet);
    /// # Ok::<(), mpp::method::tempo::WalletError>(())
    /// ```
    pub fn only_to<'t>(mut self, accounts: impl IntoIterator<Item = &'t str>) -> Result<Self, WalletError> {
        let accounts = accounts.into_iter().map(parse_address).collect::<Result<Vec<_>, _>>();
        self.payees = Some(accounts.map_err(|e| WalletError(format!("a recipient: {e}")))?);
        Ok(self)
    }

    /// Vouches for a token besides the known ones of the chain: its costs are then shown by this name.
    ///
    /// # Errors
    /// When it is no address.
    ///
    /// ```
    /// # use alloy::signers::local::PrivateKeySigner;
    /// # use mpp::method::tempo::TempoWallet;
    /// let wallet = TempoWallet::new(PrivateKeySigner::random(), "https://rpc.example.org", 42431)?
    ///     .token("eurc", "0x20c0000000000000000000000000000000000009")?;
    /// # drop(wallet);
    /// # Ok::<(), mpp::method::tempo::WalletError>(())
    /// ```
    pub fn token(mut self, name: &str, address: &str) -> Result<Self, WalletError> {
        let token = parse_address(address).map_err(|e| WalletError(format!("the token {name:?}: {e}")))?;
        self.tokens.push((name.to_owned(), token));
        Ok(self)
    }

    /// Reads the time here, for tests.
    ///
    /// ```
    /// # use alloy::signers::local::PrivateKeySigner;
    /// # use mpp::method::tempo::TempoWallet;
    /// let clock = mpp::ManualClock::at(mpp::protocol::Timestamp::from_unix(1_800_000_000));
    /// let wallet = TempoWallet::new(PrivateKeySigner::random(), "https://rpc.example.org", 42431)?
    ///     .clock(std::sync::Arc::new(clock));
    /// # drop(wallet);
    /// # Ok::<(), mpp::method::tempo::WalletError>(())
    /// ```
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The account that pays.
    ///
    /// ```
    /// # use alloy::signers::local::PrivateKeySigner;
    /// # use mpp::method::tempo::TempoWallet;
    /// let key = PrivateKeySigner::random();
    /// let wallet = TempoWallet::new(key.clone(), "https://rpc.example.org", 42431)?;
    /// assert_eq!(wallet.did(), format!("did:pkh:eip155:42431:{}", key.address()));
    /// # Ok::<(), mpp::method::tempo::WalletError>(())
    /// ```
    pub fn did(&self) -> String {
        did_of(self.chain_id, self.account)
    }
}

impl ClientMethod for TempoWallet {
    fn name(&self) -> &MethodName {
        &self.name
    }

    fn cost(&self, challenge: &Challenge) -> Result<Cost, PayError> {
        let ask = self.understood(challenge)?;
        let payee = |account: Address, amount| Payee { account: account.to_string(), units: units(amount) };
        let cost = Cost::new(units(ask.amount), self.asset(ask.token));
        if ask.amount.is_zero() {
            return Ok(cost);
        }
        let others = ask.splits.iter().map(|leg| payee(leg.recipient, leg.amount));
        let cost = cost.paid_to(std::iter::once(payee(ask.recipient, ask.remainder())).chain(others));
        Ok(match ask.fees {
            Fees::Sponsored => cost,
            Fees::Payer => cost.fee(BaseUnits::new(self.max_fee.into()), self.asset(self.fees_in(&ask))),
        })
    }

    fn afford<'a>(&'a self, challenge: &'a Challenge, cost: &'a Cost) -> Step<'a, Result<(), Shortfall>> {
        if cost.amount.is_zero() {
            return Step::ready(Ok(()));
        }
        Step::boxed(async move {
            // What cannot be asked, and a node of another chain, are for `pay` to report.
            let Ok(ask) = self.understood(challenge) else { return Ok(()) };
            if self.on_the_right_chain().await.is_err() {
                return Ok(());
            }
            match self.rpc.read::<Bytes>(balance_of(ask.token, self.account)).await.ok().and_then(word) {
                Some(has) => Shortfall::check(&cost.asset, cost.amount, units(has)),
                None => Ok(()),
            }
        })
    }

    fn pay<'a>(&'a self, challenge: &'a Challenge) -> Step<'a, Result<Proof, PayError>> {
        Step::boxed(async move {
            let ask = self.understood(challenge)?;
            let payload = if ask.amount.is_zero() {
                self.prove(challenge).await?
            } else {
                let mode = self.mode_for(&ask)?;
                let tx = self.transaction(challenge, &ask).await?;
                let signed = self.sign(tx).await?;
                match mode {
                    Mode::Pull => self.hand_over(&signed, ask.fees)?,
                    Mode::Push => self.broadcast(&signed).await?,
                }
            };
            Ok(Proof { payload, source: Some(self.did()) })
        })
    }

    fn fate<'a>(&'a self, challenge: &'a Challenge, proof: &'a Proof) -> Step<'a, Fate> {
        Step::boxed(self.fate_of(challenge, proof))
    }
}

/// Before anything is signed.
impl TempoWallet {
    /// What the challenge asks, if this wallet would pay it at all (TC-26).
    fn understood(&self, challenge: &Challenge) -> Result<Ask, PayError> {
        let unsupported = |why: String| Err(PayError::Unsupported(why));
        if challenge.method != self.name || challenge.intent != Intent::CHARGE {
            return unsupported("this wallet pays charges on Tempo".into());
        }
        let request = challenge.charge().map_err(|e| PayError::Unsupported(e.to_string()))?;
        let ask = Ask::parse(&request).map_err(|e| PayError::Unsupported(e.to_string()))?;
        if ask.chain_id != self.chain_id {
            return unsupported(format!(
                "it is for chain {}, this wallet pays on {}",
                ask.chain_id, self.chain_id
            ));
        }
        let mut payees = std::iter::once(ask.recipient).chain(ask.splits.iter().map(|leg| leg.recipient));
        if let Some(stranger) =
            payees.find(|payee| self.payees.as_ref().is_some_and(|known| !known.contains(payee)))
        {
            return unsupported(format!("{stranger} is none of the recipients this wallet pays"));
        }
        match challenge.expires_at() {
            Ok(Some(expires)) if expires <= self.clock.now() => unsupported("it has expired".into()),
            Ok(_) => Ok(ask),
            Err(_) => unsupported("its `expires` is no time".into()),
        }
    }

    fn mode_for(&self, ask: &Ask) -> Result<Mode, PayError> {
        match (ask.fees, ask.modes) {
            // TC-21: the sponsor has to sign before the broadcast.
            (Fees::Sponsored, modes) if modes.allow(Mode::Pull) => Ok(Mode::Pull),
            (Fees::Sponsored, _) => {
                Err(PayError::Unsupported("it is sponsored, but does not take a transaction to sign".into()))
            }
            (Fees::Payer, Modes::Both) => Ok(self.mode),
            (Fees::Payer, Modes::Only(mode)) => Ok(mode),
        }
    }

    pub(super) fn asset(&self, token: Address) -> Asset {
        let network = format!("eip155:{}", self.chain_id);
        let id = format!("{token:#x}");
        let own = self.tokens.iter().find(|(_, known)| *known == token).map(|(name, _)| name.as_str());
        let known =
            || tokens::known(self.chain_id).iter().find(|(_, known)| *known == token).map(|(name, _)| *name);
        match own.or_else(known) {
            Some(name) => Asset::known(network, id, name, tokens::DECIMALS),
            None => Asset::unknown(network, id),
        }
    }

    fn fees_in(&self, ask: &Ask) -> Address {
        self.fee_token.unwrap_or(ask.token)
    }

    /// The transfers in the order of the draft (TC-12), gas and its price by the node, and the end of its validity.
    async fn transaction(&self, challenge: &Challenge, ask: &Ask) -> Result<TempoTransaction, PayError> {
        let now = self.clock.now();
        let expires = challenge.expires_at().ok().flatten();
        let valid_before = expires.map_or(now + VALID_FOR, |expires| expires.min(now + VALID_FOR));
        self.transfers(ask, calls(challenge, ask), valid_before).await
    }

    /// Signs transfers of the token, of `ask.amount` in all, that can be mined until then. Nothing is broadcast.
    pub(super) async fn signed_transfers(
        &self,
        ask: &Ask,
        transfers: Vec<Vec<u8>>,
        valid_before: Timestamp,
    ) -> Result<AASigned, PayError> {
        let tx = self.transfers(ask, calls_of(ask.token, transfers), valid_before).await?;
        self.sign(tx).await
    }

    async fn transfers(
        &self,
        ask: &Ask,
        calls: Vec<TempoCall>,
        valid_before: Timestamp,
    ) -> Result<TempoTransaction, PayError> {
        let now = self.clock.now();
        let mut request = json!({
            "from": self.account,
            "calls": calls.iter().map(|c| json!({ "to": c.to, "value": c.value, "input": c.input })).collect::<Vec<_>>(),
            "chainId": U64::from(self.chain_id), "nonceKey": U256::MAX, "nonce": U64::ZERO,
            "validBefore": U64::from(seconds(valid_before)),
        });
        if ask.fees == Fees::Payer {
            request["feeToken"] = json!(self.fees_in(ask));
        }
        self.on_the_right_chain().await?;
        let mut questions = vec![
            block("latest"),
            Call::new("eth_maxPriorityFeePerGas", json!([])),
            Call::new("eth_estimateGas", json!([request])),
            balance_of(ask.token, self.account),
            balance_of(self.fees_in(ask), self.account),
        ];
        if let Some(key) = self.access_key() {
            questions.push(key_of_account(self.account, key));
            questions.push(limit_of_key(self.account, key, ask.token));
        }
        let answers = self.rpc.read_many(&questions).await.map_err(|e| self.declined(&e))?;
        let mut answers = answers.into_iter();
        let mut next = || answers.next().ok_or_else(|| self.declined(&RpcError::Garbled));
        let head: Head = next()?.into_result().map_err(|e| self.declined(&e))?;
        let tip = next()?.into_result::<U128>().map_or(0, |tip| tip.to::<u128>().min(TIP));
        let gas = next()?;
        let [has, has_for_fees] = [next()?, next()?].map(|answer| answer.into_result().ok().and_then(word));
        if let Some(key) = self.access_key() {
            let info: Bytes = next()?.into_result().map_err(|e| self.declined(&e))?;
            self.key_may_sign(key, &info, next()?.into_result().ok(), ask, now)?;
        }
        // Before the estimate, which only says that something would fail.
        self.is_there(ask.token, ask.amount, has)?;
        let estimate: U64 = gas.into_result().map_err(|e| self.declined(&e))?;
        let legs = 1 + u64::try_from(ask.splits.len()).unwrap_or(0);
        let gas_limit =
            estimate.to::<u64>().max(GAS_OF_REST + GAS_PER_TRANSFER * legs).saturating_add(SPARE_GAS);
        // Twice the price of now: it may rise for several blocks until the transaction is mined.
        let max_fee_per_gas = head.base_fee().unwrap_or_default().saturating_mul(2).saturating_add(tip);
        if ask.fees == Fees::Payer {
            let fee = calc_gas_balance_spending(gas_limit, max_fee_per_gas);
            if fee > U256::from(self.max_fee) {
                return Err(PayError::Declined(
                    "the network's fee may be higher than this wallet pays".into(),
                ));
            }
            let token = self.fees_in(ask);
            let price = if token == ask.token { ask.amount } else { U256::ZERO };
            self.is_there(token, price.saturating_add(fee), has_for_fees)?;
        }
        Ok(TempoTransaction {
            chain_id: self.chain_id,
            // TC-07 and TC-06.
            fee_token: (ask.fees == Fees::Payer).then(|| self.fees_in(ask)),
            fee_payer_signature: (ask.fees == Fees::Sponsored).then_some(FEE_PAYER_SIGNATURE_MARKER),
            max_priority_fee_per_gas: tip,
            max_fee_per_gas,
            gas_limit,
            calls,
            nonce_key: U256::MAX,
            valid_before: NonZeroU64::new(seconds(valid_before)),
            ..Default::default()
        })
    }

    /// That the account has this much of a token, if that is known.
    fn is_there(&self, token: Address, needs: U256, has: Option<U256>) -> Result<(), PayError> {
        let Some(has) = has else { return Ok(()) };
        Shortfall::check(&self.asset(token), units(needs), units(has))
            .map_err(|short| PayError::Declined(short.to_string()))
    }

    /// A node of another chain would have a transaction signed that cannot be mined where it is meant to.
    pub(super) async fn on_the_right_chain(&self) -> Result<(), PayError> {
        if !self.right_chain.load(Ordering::Relaxed) {
            let served = served_by(&self.rpc).await.map_err(|e| self.declined(&e))?;
            if served != self.chain_id {
                return Err(PayError::Declined(format!(
                    "the node serves chain {served}, not {}",
                    self.chain_id
                )));
            }
            self.right_chain.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn declined(&self, error: &RpcError) -> PayError {
        PayError::Declined(format!("{}: {error}", self.rpc.shown()))
    }
}

/// From the signature on.
impl TempoWallet {
    async fn prove(&self, challenge: &Challenge) -> Result<Map<String, Value>, PayError> {
        let digest = proof::digest(self.account, self.chain_id, &challenge.id, &challenge.realm);
        let signature = hex::encode_prefixed(self.sign_hash(digest).await?.to_bytes());
        Ok(members([("type", "proof".into()), ("signature", signature.into())]))
    }

    async fn sign(&self, tx: TempoTransaction) -> Result<AASigned, PayError> {
        let signature = self.sign_hash(tx.signature_hash()).await?;
        Ok(tx.into_signed(signature))
    }

    fn hand_over(&self, signed: &AASigned, fees: Fees) -> Result<Map<String, Value>, PayError> {
        let raw: Bytes = match fees {
            Fees::Payer => signed.encoded_2718().into(),
            // What deployed servers read; the draft's own spelling is read by fewer.
            Fees::Sponsored => envelope::write(signed, envelope::Slot::Sender(self.account))
                .ok_or_else(|| PayError::Failed("the transaction cannot be written".into()))?,
        };
        let raw = hex::encode_prefixed(raw);
        Ok(members([("type", "transaction".into()), ("signature", raw.into())]))
    }

    async fn broadcast(&self, signed: &AASigned) -> Result<Map<String, Value>, PayError> {
        let (hash, raw) = (*signed.hash(), hex::encode_prefixed(signed.encoded_2718()));
        let send = Call::new("eth_sendRawTransaction", json!([raw]));
        // Any other error says nothing: the node may have taken it.
        if let Err(error @ RpcError::NotSent) = self.rpc.write::<B256>(send, BROADCAST).await {
            return Err(self.declined(&error));
        }
        let until = Instant::now() + self.patience;
        let paid = || members([("type", "hash".into()), ("hash", format!("{hash:#x}").into())]);
        loop {
            let is_late = Instant::now() >= until;
            let answer = self.rpc.read::<Option<TxReceipt>>(receipt_of(hash)).await;
            match answer.map(|receipt| receipt.filter(|receipt| receipt.transaction_hash == hash)) {
                Ok(Some(receipt)) if receipt.succeeded() => return Ok(paid()),
                Ok(Some(_)) => return Err(PayError::Failed(format!("{hash} was reverted"))),
                Ok(None) if is_late => {
                    return Err(PayError::Failed(format!("{hash} was broadcast and not mined in time")));
                }
                // Nobody here can tell, and the money may have moved: what it paid for can be had with the hash.
                Err(_) if is_late => return Ok(paid()),
                Ok(None) | Err(_) => {}
            }
            tokio::time::sleep(STEP).await;
        }
    }
}

/// The recipient's transfer first, then the parts in their order.
fn calls(challenge: &Challenge, ask: &Ask) -> Vec<TempoCall> {
    // TC-05. A server that asks for a memo of its own has to bind the payment in another way.
    let memo = ask.memo.unwrap_or_else(|| memo::anonymous(&challenge.realm, &challenge.id));
    let primary =
        ITIP20::transferWithMemoCall { to: ask.recipient, amount: ask.remainder(), memo }.abi_encode();
    let parts = ask.splits.iter().map(|leg| match leg.memo {
        Some(memo) => {
            ITIP20::transferWithMemoCall { to: leg.recipient, amount: leg.amount, memo }.abi_encode()
        }
        None => ITIP20::transferCall { to: leg.recipient, amount: leg.amount }.abi_encode(),
    });
    calls_of(ask.token, std::iter::once(primary).chain(parts))
}

/// TC-11.
fn calls_of(token: Address, inputs: impl IntoIterator<Item = Vec<u8>>) -> Vec<TempoCall> {
    let call = |input: Vec<u8>| TempoCall { to: TxKind::Call(token), value: U256::ZERO, input: input.into() };
    inputs.into_iter().map(call).collect()
}

pub(super) fn units(amount: U256) -> BaseUnits {
    BaseUnits::new(u128::try_from(amount).unwrap_or(u128::MAX))
}

/// The word that a contract returned.
fn word(answer: Bytes) -> Option<U256> {
    U256::try_from_be_slice(&answer).filter(|_| answer.len() == 32)
}

fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.unix()).unwrap_or(0)
}

fn members<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn unsigned() -> PayError {
    PayError::Declined("the wallet's key did not sign".into())
}

impl fmt::Debug for TempoWallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TempoWallet")
            .field("account", &self.account)
            .field("chain_id", &self.chain_id)
            .field("rpc", &self.rpc)
            .finish_non_exhaustive()
    }
}
