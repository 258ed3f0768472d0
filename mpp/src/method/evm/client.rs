//! The paying side: a key that answers `evm` challenges of one chain (draft-evm-charge, "Credential Schema").
//!
//! It signs only what the challenge says in full: the chain it was made for, one recipient, a token whose EIP-712 domain is
//! known or has been read from the token and confirmed by it, and for Permit2 the spender. What it broadcasts or hands out
//! for broadcasting ends in the challenge hash, so that nobody else can present it.

use super::CredentialType;
use super::abi::{IToken, TransferWithAuthorization};
use super::assets::{Chain, PERMIT2, Standard};
use super::gas::GasPolicy;
use super::node;
use super::onchain::plain_input;
use super::request::{Ask, Split};
use super::server::{NoDomain, read_domain};
use super::typed::{Permit, WitnessType, authorization_digest, challenge_hash, permit2_domain, token_domain};
use crate::chain::{Head, Reach, Rpc, RpcError, TxReceipt, did_of, parse_address};
use crate::method::{
    Asset, ClientMethod, Cost, Fate, MethodName, MethodProblem, PayError, Payee, Proof, Shortfall, Step,
};
use crate::protocol::{BaseUnits, Challenge, ChargeRequest, Intent};
use crate::{Clock, SystemClock};
use alloy::consensus::{SignableTransaction, TxEip1559};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, TxKind, U64, U128, U256, hex, keccak256};
use alloy::signers::Signer;
use serde_json::{Map, Value, json};
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// How long a signature is good when the challenge does not say when it expires.
const LIFE: Duration = Duration::from_secs(300);
/// For the answer to a broadcast.
const BROADCAST: Duration = Duration::from_secs(8);
/// How long a transaction is waited for, and between two looks.
const MINED: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(250);

/// An account on one EVM chain that pays challenges: anything alloy signs with.
///
/// Of the credential types a challenge accepts it uses the first that it can: `authorization` where the token's EIP-712 domain is
/// known or can be read, `transaction` and `hash` with a [node](Self::rpc), and `permit2` where it is [told to](Self::pays_by). What a
/// payment costs is known before: see [`ClientMethod::cost`].
///
/// ```
/// use mpp::method::evm::{Chain, EvmWallet, PrivateKeySigner};
///
/// // Pays USDC on Base by signature alone: no node, no gas.
/// let wallet = EvmWallet::new(Chain::BASE, PrivateKeySigner::random());
/// assert!(wallet.did().starts_with("did:pkh:eip155:8453:0x"));
/// ```
pub struct EvmWallet {
    name: MethodName,
    signer: Box<dyn Signer + Send + Sync>,
    pub(super) chain: Chain,
    pub(super) node: Option<Rpc>,
    domains: Vec<(Address, B256)>,
    names: Vec<(Address, String, u8)>,
    pays_by: Option<Vec<CredentialType>>,
    permit2: Address,
    gas: GasPolicy,
    /// How long a broadcast is waited for.
    pub(super) patience: Duration,
}

impl fmt::Debug for EvmWallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A signer's own `Debug` is not ours to vouch for.
        f.debug_struct("EvmWallet")
            .field("did", &self.did())
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl EvmWallet {
    /// An account that pays on `chain` and nowhere else.
    ///
    /// ```
    /// # use mpp::method::evm::{Chain, EvmWallet, PrivateKeySigner};
    /// let local = EvmWallet::new(31337, PrivateKeySigner::random());
    /// assert!(local.did().starts_with("did:pkh:eip155:31337:0x"));
    /// ```
    pub fn new(chain: impl Into<Chain>, signer: impl Signer + Send + Sync + 'static) -> Self {
        Self {
            name: MethodName::from_static("evm"),
            signer: Box::new(signer),
            chain: chain.into(),
            node: None,
            domains: Vec::new(),
            names: Vec::new(),
            pays_by: None,
            permit2: PERMIT2,
            gas: GasPolicy::default(),
            patience: MINED,
        }
    }

    /// The account: `source` of the wallet's credentials.
    ///
    /// ```
    /// # use mpp::method::evm::{Chain, EvmWallet, PrivateKeySigner};
    /// let key = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d".parse::<PrivateKeySigner>()?;
    /// let wallet = EvmWallet::new(Chain::BASE, key);
    /// assert_eq!(wallet.did(), "did:pkh:eip155:8453:0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn did(&self) -> String {
        did_of(self.chain.id(), self.signer.address())
    }

    /// A JSON-RPC node: an https URL, or http to this machine. It is asked for nonces, fees and the domains of tokens.
    ///
    /// # Errors
    /// When the URL is not usable. It is not quoted.
    ///
    /// ```
    /// # use mpp::method::evm::{Chain, EvmWallet, PrivateKeySigner};
    /// let wallet = EvmWallet::new(Chain::BASE, PrivateKeySigner::random()).rpc("https://rpc.example.org/v1/key")?;
    /// assert!(!format!("{wallet:?}").contains("key"));
    /// # Ok::<(), mpp::method::MethodProblem>(())
    /// ```
    pub fn rpc(mut self, url: &str) -> Result<Self, MethodProblem> {
        self.node = Some(Rpc::new(url, Reach::Anywhere).map_err(|e| MethodProblem(e.to_string()))?);
        Ok(self)
    }

    /// The EIP-712 domain of a token that is not one of the chain's [known assets](Chain::assets), for a wallet without a node.
    ///
    /// # Errors
    /// When the address is none.
    ///
    /// ```
    /// # use mpp::method::evm::{Chain, EvmWallet, PrivateKeySigner};
    /// let wallet = EvmWallet::new(Chain::BASE, PrivateKeySigner::random())
    ///     .token_domain("0x60a3E35Cc302bFA44Cb288Bc5a4F316Fdb1adb42", "EURC", "2")?;
    /// # Ok::<(), mpp::method::MethodProblem>(())
    /// ```
    pub fn token_domain(mut self, token: &str, name: &str, version: &str) -> Result<Self, MethodProblem> {
        let address = parse_address(token)
            .map_err(|e| MethodProblem(format!("the token {name:?} is not usable: {e}")))?;
        self.domains.retain(|(other, _)| *other != address);
        self.domains.push((address, token_domain(name, version, self.chain.id(), address)));
        Ok(self)
    }

    /// Names a token that is not one of the chain's [known assets](Chain::assets), so that a spend policy knows what it is.
    ///
    /// # Errors
    /// When the address is none.
    ///
    /// ```
    /// # use mpp::method::evm::{Chain, EvmWallet, PrivateKeySigner};
    /// let wallet = EvmWallet::new(Chain::BASE, PrivateKeySigner::random())
    ///     .token("eurc", "0x60a3E35Cc302bFA44Cb288Bc5a4F316Fdb1adb42", 6)?;
    /// # Ok::<(), mpp::method::MethodProblem>(())
    /// ```
    pub fn token(mut self, name: &str, address: &str, decimals: u8) -> Result<Self, MethodProblem> {
        let address = parse_address(address)
            .map_err(|e| MethodProblem(format!("the token {name:?} is not usable: {e}")))?;
        self.names.retain(|(other, ..)| *other != address);
        self.names.push((address, name.to_owned(), decimals));
        Ok(self)
    }

    /// Names the chain's own coin, of 18 decimals, where the chain is not a [known](Chain) one: gas is paid in it.
    ///
    /// ```
    /// # use mpp::method::evm::{EvmWallet, PrivateKeySigner};
    /// let wallet = EvmWallet::new(31337, PrivateKeySigner::random()).native_coin("eth");
    /// ```
    pub fn native_coin(mut self, name: &str) -> Self {
        self.names.retain(|(other, ..)| !other.is_zero());
        self.names.push((Address::ZERO, name.to_owned(), 18));
        self
    }

    /// Pays by these credential types only. [`CredentialType::Permit2`] needs an approval of Permit2 by this account, and is used
    /// only when it is listed here.
    ///
    /// ```
    /// # use mpp::method::evm::{Chain, CredentialType, EvmWallet, PrivateKeySigner};
    /// let wallet = EvmWallet::new(Chain::BASE, PrivateKeySigner::random()).pays_by(&[CredentialType::Authorization]);
    /// ```
    pub fn pays_by(mut self, types: &[CredentialType]) -> Self {
        self.pays_by = Some(types.to_vec());
        self
    }

    /// Where Permit2 is, on chains that do not have it at [`PERMIT2`]. A challenge that names another address is not paid.
    ///
    /// # Errors
    /// When the address is none.
    ///
    /// ```
    /// # use mpp::method::evm::{Chain, EvmWallet, PrivateKeySigner};
    /// let wallet = EvmWallet::new(324, PrivateKeySigner::random())
    ///     .permit2_at("0x0000000000225e31D15943971F47aD3022F714Fa")?;
    /// # Ok::<(), mpp::method::MethodProblem>(())
    /// ```
    pub fn permit2_at(mut self, address: &str) -> Result<Self, MethodProblem> {
        self.permit2 = parse_address(address)
            .map_err(|e| MethodProblem(format!("the address of Permit2 is not usable: {e}")))?;
        Ok(self)
    }

    /// What a transaction of this wallet may cost.
    ///
    /// ```
    /// # use mpp::method::evm::{Chain, EvmWallet, GasPolicy, PrivateKeySigner};
    /// let cheap = GasPolicy { fee_per_gas: 2_000_000_000, ..GasPolicy::default() };
    /// let wallet = EvmWallet::new(Chain::BASE, PrivateKeySigner::random()).gas_policy(cheap);
    /// ```
    pub fn gas_policy(mut self, policy: GasPolicy) -> Self {
        self.gas = policy;
        self
    }
}

impl ClientMethod for EvmWallet {
    fn name(&self) -> &MethodName {
        &self.name
    }

    fn cost(&self, challenge: &Challenge) -> Result<Cost, PayError> {
        let (request, ask) = self.read_request(challenge)?;
        let kind = self.choose(&ask)?;
        let payee = Payee { account: ask.recipient.to_string(), units: request.amount };
        let cost = Cost::new(request.amount, self.asset(ask.token)).paid_to([payee]);
        Ok(match kind.needs_key() {
            // The server pays for what it settles.
            true => cost,
            false => {
                let most = u128::from(self.gas.gas).saturating_mul(self.gas.fee_per_gas);
                cost.fee(BaseUnits::new(most), self.asset(None))
            }
        })
    }

    fn afford<'a>(&'a self, challenge: &'a Challenge, cost: &'a Cost) -> Step<'a, Result<(), Shortfall>> {
        Step::boxed(async move {
            match self.has_what_is_asked(challenge).await {
                Some(has) => Shortfall::check(&cost.asset, cost.amount, has),
                None => Ok(()),
            }
        })
    }

    fn pay<'a>(&'a self, challenge: &'a Challenge) -> Step<'a, Result<Proof, PayError>> {
        Step::boxed(self.answer(challenge))
    }

    fn fate<'a>(&'a self, challenge: &'a Challenge, proof: &'a Proof) -> Step<'a, Fate> {
        Step::boxed(async move { self.fate_of(challenge, proof).await.unwrap_or(Fate::Unknown) })
    }
}

/// A challenge that can be paid, in parts.
struct Bill {
    ask: Ask,
    challenge: B256,
    external_id: String,
    until: u64,
}

impl EvmWallet {
    async fn answer(&self, challenge: &Challenge) -> Result<Proof, PayError> {
        let bill = self.read(challenge)?;
        let payload = match self.choose(&bill.ask)? {
            CredentialType::Authorization => self.authorize(&bill).await,
            CredentialType::Permit2 => self.permit(&bill).await,
            CredentialType::Transaction => self.sign_transfer(&bill).await,
            CredentialType::Hash => self.broadcast_transfer(&bill).await,
        }?;
        Ok(Proof { payload, source: Some(self.did()) })
    }

    /// What the account has of the money that is asked for, if the node of the right chain says so.
    async fn has_what_is_asked(&self, challenge: &Challenge) -> Option<BaseUnits> {
        let (rpc, (_, ask)) = (self.node.as_ref()?, self.read_request(challenge).ok()?);
        let account = self.signer.address();
        let balance = match ask.token {
            Some(token) => node::call(token, &IToken::balanceOfCall { account }),
            None => node::coins(account),
        };
        let [served, balance] = rpc.read_all([node::chain_id(), balance]).await.ok()?;
        if served.into_result::<U64>().ok()?.to::<u64>() != self.chain.id() {
            return None;
        }
        let has = match ask.token {
            Some(_) => node::word(&balance.into_result().ok()?)?,
            None => balance.into_result::<U256>().ok()?,
        };
        Some(BaseUnits::new(u128::try_from(has).unwrap_or(u128::MAX)))
    }

    /// The first credential type of the challenge that this wallet can answer with.
    fn choose(&self, ask: &Ask) -> Result<CredentialType, PayError> {
        let mut why = Vec::new();
        for kind in &ask.accepted {
            match self.can_pay_by(*kind, ask) {
                Ok(()) => return Ok(*kind),
                Err(reason) => why.push(format!("{kind}: {reason}")),
            }
        }
        Err(PayError::Unsupported(match why.is_empty() {
            true => "it accepts no credential type that this wallet knows".into(),
            false => why.join("; "),
        }))
    }

    fn can_pay_by(&self, kind: CredentialType, ask: &Ask) -> Result<(), &'static str> {
        if self.pays_by.as_ref().map_or(kind == CredentialType::Permit2, |types| !types.contains(&kind)) {
            return Err("this wallet does not pay so");
        }
        match (kind, ask.token) {
            (CredentialType::Authorization | CredentialType::Permit2, None) => {
                Err("the chain's own coin cannot be paid by a signature")
            }
            (CredentialType::Authorization, Some(token))
                if self.node.is_none() && self.told_domain(token).is_none() =>
            {
                Err("the token's EIP-712 domain is not known, and there is no node to ask")
            }
            // X-30: it is signed, and nothing else says it.
            (CredentialType::Permit2, _) if ask.spender.is_none() => {
                Err("it does not say who will use the permit (`spender`)")
            }
            (CredentialType::Permit2, _) if ask.permit2 != self.permit2 => {
                Err("it names another Permit2 contract")
            }
            (CredentialType::Transaction | CredentialType::Hash, _) if self.node.is_none() => {
                Err("there is no node to ask for nonce and fees")
            }
            _ => Ok(()),
        }
    }

    /// Money as this wallet knows it; `None` is the chain's own coin.
    fn asset(&self, token: Option<Address>) -> Asset {
        let (network, address) = (format!("eip155:{}", self.chain.id()), token.unwrap_or_default());
        let known = self.chain.assets().iter().find(|asset| asset.address == address);
        let known = known.map(|asset| (asset.name, asset.decimals));
        let named = self.names.iter().find(|(other, ..)| *other == address);
        match named.map(|(_, name, decimals)| (name.as_str(), *decimals)).or(known) {
            Some((name, decimals)) => Asset::known(network, address.to_string(), name, decimals),
            None => Asset::unknown(network, address.to_string()),
        }
    }

    /// Everything that can be refused by the request alone (EC-29).
    pub(super) fn read_request(&self, challenge: &Challenge) -> Result<(ChargeRequest, Ask), PayError> {
        let unsupported = |why: String| PayError::Unsupported(why);
        if challenge.method != self.name {
            return Err(unsupported(format!("it is for the payment method `{}`", challenge.method)));
        }
        if challenge.intent != Intent::CHARGE {
            return Err(unsupported(format!("this wallet knows no `{}`", challenge.intent)));
        }
        let request = challenge.charge().map_err(|e| unsupported(e.to_string()))?;
        let ask = Ask::parse(&request)
            .ok_or_else(|| unsupported("its request is not one of draft-evm-charge".into()))?;
        if ask.chain_id != self.chain.id() {
            return Err(unsupported(format!(
                "it is for chain {}, this wallet pays on {}",
                ask.chain_id,
                self.chain.id()
            )));
        }
        if ask.split == Split::Yes {
            return Err(unsupported("it splits the payment, which this wallet does not do".into()));
        }
        if ask.amount.is_zero() || ask.recipient.is_zero() {
            return Err(unsupported("it asks for nothing, or for nobody".into()));
        }
        Ok((request, ask))
    }

    fn read(&self, challenge: &Challenge) -> Result<Bill, PayError> {
        let (request, ask) = self.read_request(challenge)?;
        let now = SystemClock.now();
        let until = match challenge.expires_at().map_err(|e| PayError::Unsupported(e.to_string()))? {
            Some(expires) => expires,
            None => now + LIFE,
        };
        if until <= now {
            return Err(PayError::Unsupported("it has expired".into()));
        }
        Ok(Bill {
            challenge: challenge_hash(&challenge.id, &challenge.realm),
            external_id: request.external_id.unwrap_or_default(),
            until: u64::try_from(until.unix()).unwrap_or_default(),
            ask,
        })
    }

    async fn authorize(&self, bill: &Bill) -> Result<Map<String, Value>, PayError> {
        let token = token_of(bill)?;
        let domain = self.domain_of(token).await?;
        let message = TransferWithAuthorization {
            from: self.signer.address(),
            to: bill.ask.recipient,
            value: bill.ask.amount,
            validAfter: U256::ZERO,
            validBefore: U256::from(bill.until),
            nonce: bill.challenge,
        };
        let signature = self.sign(authorization_digest(&message, domain)).await?;
        Ok(members(json!({
            "type": "authorization",
            "from": message.from.to_string(),
            "to": message.to.to_string(),
            "value": message.value.to_string(),
            "validAfter": "0",
            "validBefore": bill.until.to_string(),
            // Lower case: deployed servers compare the text.
            "nonce": format!("{:#x}", bill.challenge),
            "signature": signature,
        })))
    }

    /// The domain separator of a token, as far as it is known without asking.
    fn told_domain(&self, token: Address) -> Option<B256> {
        let told = self.domains.iter().find(|(other, _)| *other == token).map(|(_, domain)| *domain);
        let asset = self.chain.assets().iter().find(|asset| asset.address == token);
        told.or_else(|| match asset?.standard {
            Standard::Eip3009 { name, version } => Some(token_domain(name, version, self.chain.id(), token)),
            Standard::Native | Standard::Erc20 => None,
        })
    }

    /// The domain separator a token verifies under. What is known or configured is confirmed by the token where there is a node.
    pub(super) async fn domain_of(&self, token: Address) -> Result<B256, PayError> {
        let told = self.told_domain(token);
        let Some(rpc) = &self.node else {
            return told.ok_or_else(|| {
                unable("the token's EIP-712 domain is not known, and there is no node to ask")
            });
        };
        let read = read_domain(rpc, self.chain.id(), token).await.map_err(|e| match e {
            NoDomain::Trouble(e) => trouble(rpc, &e),
            NoDomain::Other => unable("the token's EIP-712 domain is not what its name and version give"),
        })?;
        match told {
            Some(told) if told != read => {
                Err(unable("the token's EIP-712 domain is not the one that is known"))
            }
            _ => Ok(read),
        }
    }

    async fn permit(&self, bill: &Bill) -> Result<Map<String, Value>, PayError> {
        let token = token_of(bill)?;
        let spender = bill.ask.spender.ok_or_else(|| unable("it names no spender"))?;
        let permit = Permit {
            token,
            amount: bill.ask.amount,
            spender,
            // Unordered: a random one has never been used.
            nonce: U256::from_be_bytes(rand::random::<[u8; 32]>()),
            deadline: U256::from(bill.until),
        };
        // EC-14: the literal string of the draft.
        let kind = WitnessType::Literal;
        let witness = kind.hash(bill.challenge, &bill.external_id);
        let digest = permit.digest(kind, witness, permit2_domain(self.chain.id(), self.permit2));
        let signature = self.sign(digest).await?;
        let mut named = json!({ "challengeHash": format!("{:#x}", bill.challenge) });
        if !bill.external_id.is_empty() {
            named["externalId"] = bill.external_id.as_str().into();
        }
        Ok(members(json!({
            "type": "permit2",
            "permit": {
                "permitted": [{ "token": token.to_string(), "amount": permit.amount.to_string() }],
                "nonce": permit.nonce.to_string(),
                "deadline": permit.deadline.to_string(),
            },
            "transferDetails": [{ "to": bill.ask.recipient.to_string(), "requestedAmount": bill.ask.amount.to_string() }],
            "witness": named,
            "signature": signature,
        })))
    }

    async fn sign_transfer(&self, bill: &Bill) -> Result<Map<String, Value>, PayError> {
        let (raw, _) = self.transfer(bill).await?;
        Ok(members(json!({ "type": "transaction", "signature": raw })))
    }

    async fn broadcast_transfer(&self, bill: &Bill) -> Result<Map<String, Value>, PayError> {
        let (raw, hash) = self.transfer(bill).await?;
        let rpc = self.rpc_or_unable()?;
        match rpc.write::<B256>(node::broadcast(&raw), BROADCAST).await {
            Err(RpcError::NotSent) => {
                return Err(PayError::Declined("the RPC node cannot be reached".into()));
            }
            Err(RpcError::Node(refusal)) => return Err(PayError::Failed(refusal.to_string())),
            // Without an answer it may be on its way.
            Ok(_) | Err(_) => {}
        }
        let until = Instant::now() + self.patience;
        loop {
            if let Ok(Some(receipt)) = rpc.read::<Option<TxReceipt>>(node::receipt(hash)).await
                && receipt.transaction_hash == hash
            {
                return match receipt.succeeded() {
                    true => Ok(members(json!({ "type": "hash", "hash": hash }))),
                    false => Err(PayError::Failed(format!("the transaction {hash} was reverted"))),
                };
            }
            // It has no end of its own, so it may be mined at any time: then what it paid for can be had with the hash.
            if Instant::now() >= until {
                return Ok(members(json!({ "type": "hash", "hash": hash })));
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// The transfer as a signed transaction, with the challenge hash behind its input.
    async fn transfer(&self, bill: &Bill) -> Result<(Bytes, B256), PayError> {
        let own = OwnTransfer {
            chain_id: self.chain.id(),
            token: bill.ask.token,
            to: bill.ask.recipient,
            amount: bill.ask.amount,
            tail: bill.challenge.as_slice(),
        };
        let (raw, hash, _) = signed_transfer(self.rpc_or_unable()?, &*self.signer, &self.gas, own).await?;
        Ok((raw, hash))
    }

    fn rpc_or_unable(&self) -> Result<&Rpc, PayError> {
        self.node.as_ref().ok_or_else(|| unable("there is no node to ask for nonce and fees"))
    }

    async fn sign(&self, digest: B256) -> Result<String, PayError> {
        // A remote signer's message may hold anything.
        let signature = self.signer.sign_hash(&digest).await.map_err(|_| unable("the key could not sign"))?;
        // Some hardware gives the mirrored one, which contracts and servers refuse.
        let signature = signature.normalize_s().unwrap_or(signature);
        Ok(hex::encode_prefixed(signature.as_bytes()))
    }
}

/// A transfer of our own.
pub(super) struct OwnTransfer<'a> {
    pub(super) chain_id: u64,
    /// `None` for the chain's own coin.
    pub(super) token: Option<Address>,
    pub(super) to: Address,
    pub(super) amount: U256,
    /// What stands behind the call's input.
    pub(super) tail: &'a [u8],
}

/// A transfer with the account's next nonce, and what that is. Nothing is broadcast.
pub(super) async fn signed_transfer(
    rpc: &Rpc,
    signer: &(dyn Signer + Send + Sync),
    policy: &GasPolicy,
    own: OwnTransfer<'_>,
) -> Result<(Bytes, B256, u64), PayError> {
    let account = signer.address();
    let (to, value) = match own.token {
        Some(token) => (token, U256::ZERO),
        None => (own.to, own.amount),
    };
    let mut input = plain_input(own.token, own.to, own.amount);
    input.extend_from_slice(own.tail);
    let input = Bytes::from(input);
    let questions = [
        node::chain_id(),
        node::nonce(account, "pending"),
        node::estimate(account, to, value, &input),
        node::block("latest"),
        node::priority_fee(),
    ];
    let trouble = |e: RpcError| trouble(rpc, &e);
    let [chain, nonce, gas, head, priority] = rpc.read_all(questions).await.map_err(trouble)?;
    let served: u64 = chain.into_result::<U64>().map_err(trouble)?.to();
    if served != own.chain_id {
        return Err(unable(&format!("the RPC node serves chain {served}")));
    }
    let gas: u64 = match gas.into_result::<U64>() {
        Ok(gas) => gas.to(),
        Err(RpcError::Node(_)) => return Err(unable("the transfer would not succeed from this account")),
        Err(e) => return Err(trouble(e)),
    };
    let head: Head = head.into_result().map_err(trouble)?;
    let base = head.base_fee().ok_or_else(|| unable("the chain has no base fee (EIP-1559)"))?;
    let priority = priority.into_result::<U128>().map_or(1_000_000_000, |fee| fee.to());
    let dear = || unable("gas costs more than the policy allows");
    let (limit, fees) = (policy.limit(gas).ok_or_else(dear)?, policy.fees(base, priority).ok_or_else(dear)?);
    let nonce: u64 = nonce.into_result::<U64>().map_err(trouble)?.to();
    let tx = TxEip1559 {
        chain_id: own.chain_id,
        nonce,
        gas_limit: limit,
        max_fee_per_gas: fees.max,
        max_priority_fee_per_gas: fees.priority,
        to: TxKind::Call(to),
        value,
        access_list: Default::default(),
        input,
    };
    let signature =
        signer.sign_hash(&tx.signature_hash()).await.map_err(|_| unable("the key could not sign"))?;
    let raw: Bytes = tx.into_signed(signature).encoded_2718().into();
    let hash = keccak256(&raw);
    Ok((raw, hash, nonce))
}

fn token_of(bill: &Bill) -> Result<Address, PayError> {
    bill.ask.token.ok_or_else(|| unable("the chain's own coin cannot be paid by a signature"))
}

/// Before anything was signed.
fn unable(why: &str) -> PayError {
    PayError::Declined(why.to_owned())
}

fn trouble(rpc: &Rpc, error: &RpcError) -> PayError {
    PayError::Declined(format!("{}: {error}", rpc.shown()))
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        // Only ever called with an object literal.
        _ => Map::new(),
    }
}
