//! The settlement key's desk: which nonce the next transaction gets, what it pays for gas, and what becomes of one that is not
//! mined.
//!
//! Transactions are handed to the network one after the other, so that none gets a nonce before the one below it has left. Each
//! stays on the desk until its nonce is used. A task tends the desk as long as something lies there: what is not mined in time is
//! replaced at the same nonce with higher fees, up to the policy, or with an empty payment once its signature is void; a nonce that nobody filled is filled with an empty payment to
//! the key itself, so that those above it can go.
//!
//! Several processes may share a key. They then collide now and then: whoever is told that the nonce is taken asks the node
//! again and takes the next one; whoever finds its nonce used by a transaction that is not its own sends again. That is safe,
//! because each call carries a signature that the chain accepts once. For whom the key pays is in their common books
//! (`credit.rs`).

use super::abi::IToken;
use super::credit::{Books, Candidate, Draw, NoCredit, Today as Balance};
use super::gas::{Fees, GasPolicy};
use super::node;
use crate::chain::{Answer, Call, Head, NodeError, Rpc, RpcError};
use crate::protocol::Timestamp;
use alloy::consensus::{SignableTransaction, TxEip1559};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, TxKind, U64, U128, U256, keccak256};
use alloy::signers::Signer;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How often a nonce that somebody else took is passed over before the client is told to come back.
const TRIES: usize = 8;
/// Transactions that may lie on the desk at once.
const CROWDED: usize = 256;
/// Gas of a payment to oneself.
const PLAIN_GAS: u64 = 21_000;
/// What is offered to proposers where the node has no opinion: 1 gwei.
const PRIORITY: u128 = 1_000_000_000;

/// A key and its desk.
pub(super) struct Settler {
    signer: Box<dyn Signer + Send + Sync>,
    desk: Mutex<Desk>,
    /// Until when too much has reverted, as far as this process was told.
    closed: StdMutex<Option<Instant>>,
}

impl fmt::Debug for Settler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A signer's own `Debug` is not ours to vouch for.
        f.debug_tuple("Settler").field(&self.signer.address()).finish()
    }
}

/// What has been handed over and is not known to be mined.
#[derive(Debug, Default)]
struct Desk {
    flying: BTreeMap<u64, Flight>,
    tending: Tending,
}

/// Whether the task runs.
#[derive(Debug, Default, PartialEq, Eq)]
enum Tending {
    #[default]
    Idle,
    Running,
}

/// One transaction and its replacements.
#[derive(Debug)]
struct Flight {
    tx: TxEip1559,
    raw: Bytes,
    hashes: Hashes,
    since: Instant,
    void_at: Timestamp,
}

type Hashes = Arc<StdMutex<Vec<B256>>>;

/// A call for the key to make.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    pub(super) to: Address,
    pub(super) data: Bytes,
    pub(super) gas: u64,
    pub(super) chain_id: u64,
    /// From then on the call would only revert.
    pub(super) void_at: Timestamp,
    /// What it moves.
    pub(super) draw: Draw,
}

/// A call that was handed over, or may have been.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) nonce: u64,
    hashes: Hashes,
}

impl Sent {
    /// The transaction and its replacements so far, the newest last.
    pub(super) fn hashes(&self) -> Vec<B256> {
        lock(&self.hashes).clone()
    }
}

/// Why nothing was handed over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Kept {
    /// Trouble on our side. For the operator.
    #[error("{0}")]
    Trouble(String),
    /// The payer's doing.
    #[error(transparent)]
    Payer(#[from] NoCredit),
}

/// How the desk is tended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Care {
    pub(super) policy: GasPolicy,
    /// For the answer to a broadcast.
    pub(super) broadcast: Duration,
    /// Between two looks.
    pub(super) step: Duration,
}

impl Settler {
    /// The desk of a key.
    pub(super) fn new(signer: impl Signer + Send + Sync + 'static) -> Self {
        Self { signer: Box::new(signer), desk: Mutex::default(), closed: StdMutex::default() }
    }

    /// The account that settles.
    pub(super) fn address(&self) -> Address {
        self.signer.address()
    }

    /// Whether it settles right now, as far as this process knows; the books have the last word.
    pub(super) fn is_open(&self) -> bool {
        lock(&self.closed).is_none_or(|until| Instant::now() >= until)
    }

    /// Hands a call over, with the next nonce.
    ///
    /// # Errors
    /// When nothing was handed over.
    pub(super) async fn send(
        self: &Arc<Self>,
        rpc: &Rpc,
        errand: &Errand,
        care: Care,
        books: &Books<'_>,
    ) -> Result<Sent, Kept> {
        let id = keccak256(&errand.data);
        let sent = self.try_to_send(rpc, errand, id, care, books).await;
        if sent.is_err()
            && let Err(error) = books.take_back(id, errand.draw.payer).await
        {
            // It counts until the nonce that it was tried with is used.
            tracing::warn!(target: "mpp", %error, "evm: a settlement that was not sent is still in the books");
        }
        sent
    }

    async fn try_to_send(
        self: &Arc<Self>,
        rpc: &Rpc,
        errand: &Errand,
        id: B256,
        care: Care,
        books: &Books<'_>,
    ) -> Result<Sent, Kept> {
        let mut desk = self.desk.lock().await;
        if desk.flying.len() >= CROWDED {
            return Err(Kept::Trouble(format!(
                "{CROWDED} transactions of the settlement key are not mined yet"
            )));
        }
        let mut floor = 0;
        let mut said = String::new();
        for attempt in 0..TRIES {
            let (today, balance) = self.today_for(rpc, &errand.draw, &mut desk, care).await?;
            let above = desk.flying.last_key_value().map_or(0, |(nonce, _)| nonce.saturating_add(1));
            let nonce = today.pending.max(above).max(floor);
            let candidate = Candidate { id, nonce, draw: errand.draw };
            let granted = books.grant(&candidate, balance).await;
            match granted.map_err(|error| Kept::Trouble(format!("the settlement key's books: {error}")))? {
                Ok(()) => {}
                // A block may have come between the two answers: then what it mined is counted twice.
                Err(NoCredit::Overdrawn) if attempt == 0 => continue,
                Err(refused) => {
                    if let NoCredit::Closed { until } = refused {
                        *lock(&self.closed) = Some(Instant::now() + until.since(books.now));
                        tracing::warn!(target: "mpp", "evm: too many settlements reverted; none are made with the key for a while");
                    }
                    return Err(refused.into());
                }
            }
            let tx = TxEip1559 {
                chain_id: errand.chain_id,
                nonce,
                gas_limit: errand.gas,
                max_fee_per_gas: today.fees.max,
                max_priority_fee_per_gas: today.fees.priority,
                to: TxKind::Call(errand.to),
                value: U256::ZERO,
                access_list: Default::default(),
                input: errand.data.clone(),
            };
            let (raw, hash) = self.signed(tx.clone()).await?;
            let hashes = Hashes::new(StdMutex::new(vec![hash]));
            let flight = Flight {
                tx,
                raw: raw.clone(),
                hashes: Arc::clone(&hashes),
                since: Instant::now(),
                void_at: errand.void_at,
            };
            // On the desk before it leaves: if this request is dropped now, it is tended all the same.
            desk.flying.insert(nonce, flight);
            self.tend(rpc, &mut desk, care);
            match handed_over(rpc.write::<B256>(node::broadcast(&raw), care.broadcast).await) {
                Handed::Over => return Ok(Sent { nonce, hashes }),
                Handed::NonceTaken(why) => {
                    desk.flying.remove(&nonce);
                    // Somebody else has the key too. The node's count has what is mined; of what waits it may not know.
                    floor = match why {
                        Taken::Mined => 0,
                        Taken::Waiting => nonce.saturating_add(1),
                    };
                }
                Handed::No(why) => {
                    desk.flying.remove(&nonce);
                    return Err(Kept::Trouble(why));
                }
                Handed::FeeTooLow(why) => {
                    desk.flying.remove(&nonce);
                    said = why;
                }
            }
        }
        Err(Kept::Trouble(format!("the settlement key's nonce or fee was refused {TRIES} times: {said}")))
    }

    /// Takes used nonces off the desk.
    pub(super) async fn landed(&self, next: u64) {
        let mut desk = self.desk.lock().await;
        desk.flying = desk.flying.split_off(&next);
    }

    async fn signed(&self, tx: TxEip1559) -> Result<(Bytes, B256), Kept> {
        let signature = self
            .signer
            .sign_hash(&tx.signature_hash())
            .await
            // A remote signer's message may hold anything.
            .map_err(|_| Kept::Trouble("the settlement key could not sign".into()))?;
        let raw: Bytes = tx.into_signed(signature).encoded_2718().into();
        let hash = keccak256(&raw);
        Ok((raw, hash))
    }

    /// What the node says today, and the balance that a settlement draws on. What is mined by then leaves the desk.
    async fn today_for(
        &self,
        rpc: &Rpc,
        draw: &Draw,
        desk: &mut Desk,
        care: Care,
    ) -> Result<(Today, Balance), Kept> {
        let trouble = |e: RpcError| Kept::Trouble(format!("{}: {e}", rpc.shown()));
        let [pending, block, priority] = self.todays_questions();
        // In this order: what the balance has paid for is off the desk and the books.
        let mined = node::nonce(self.address(), "latest");
        let balance = node::call(draw.token, &IToken::balanceOfCall { account: draw.payer });
        let [pending, block, priority, mined, balance] =
            rpc.read_all([pending, block, priority, mined, balance]).await.map_err(trouble)?;
        let today = understood(rpc, [pending, block, priority], care)?;
        let mined: U64 = mined.into_result().map_err(trouble)?;
        let balance: Bytes = balance.into_result().map_err(trouble)?;
        let mined = mined.to();
        desk.flying = desk.flying.split_off(&mined);
        Ok((today, Balance { mined, balance: node::word(&balance).unwrap_or_default() }))
    }

    async fn today(&self, rpc: &Rpc, care: Care) -> Result<Today, Kept> {
        let answers = rpc.read_all(self.todays_questions()).await;
        understood(rpc, answers.map_err(|e| Kept::Trouble(format!("{}: {e}", rpc.shown())))?, care)
    }

    fn todays_questions(&self) -> [Call; 3] {
        [node::nonce(self.address(), "pending"), node::block("latest"), node::priority_fee()]
    }

    /// Starts the task that looks after the desk, unless it runs.
    fn tend(self: &Arc<Self>, rpc: &Rpc, desk: &mut Desk, care: Care) {
        if desk.tending == Tending::Running {
            return;
        }
        desk.tending = Tending::Running;
        // Not for longer than the method itself lives.
        let (settler, rpc) = (Arc::downgrade(self), rpc.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(care.policy.replace_after.min(care.step * 8)).await;
                let Some(settler) = settler.upgrade() else { return };
                if settler.look_after(&rpc, care).await == Tending::Idle {
                    return;
                }
            }
        });
    }

    /// One look: what is mined leaves the desk, what is stuck is replaced, a gap is filled.
    async fn look_after(&self, rpc: &Rpc, care: Care) -> Tending {
        let counted = rpc
            .read_all([node::nonce(self.address(), "latest"), node::nonce(self.address(), "pending")])
            .await;
        let mut desk = self.desk.lock().await;
        // A node that does not answer now may answer later.
        if let Ok([latest, pending]) = counted
            && let (Ok(latest), Ok(pending)) = (latest.into_result::<U64>(), pending.into_result::<U64>())
        {
            desk.flying = desk.flying.split_off(&latest.to());
            self.unstick(rpc, &mut desk, latest.to(), pending.to(), care).await;
        }
        if desk.flying.is_empty() {
            desk.tending = Tending::Idle;
            return Tending::Idle;
        }
        Tending::Running
    }

    /// Helps the lowest nonce, which is what everything above it waits for.
    async fn unstick(&self, rpc: &Rpc, desk: &mut Desk, latest: u64, pending: u64, care: Care) {
        let Some((&lowest, flight)) = desk.flying.first_key_value() else { return };
        if flight.since.elapsed() < care.policy.replace_after {
            return;
        }
        let Ok(today) = self.today(rpc, care).await else { return };
        if lowest > latest {
            // Somebody's transaction below ours is missing. If the node knows one, it is theirs to look after.
            if pending <= latest
                && let Ok((raw, _)) = self.signed(self.filler(latest, flight.tx.chain_id, today.fees)).await
            {
                tracing::warn!(target: "mpp", nonce = latest, "evm: filling a gap in the settlement key's nonces");
                drop(rpc.write::<B256>(node::broadcast(&raw), care.broadcast).await);
            }
            return;
        }
        let Some(flight) = desk.flying.get_mut(&lowest) else { return };
        let old = Fees { max: flight.tx.max_fee_per_gas, priority: flight.tx.max_priority_fee_per_gas };
        if let Some(fees) = care.policy.bumped(old, today.fees) {
            let void = today.time >= flight.void_at;
            let mut tx = match void {
                // Mined, it would revert at our expense. The nonce has to be used all the same.
                true => self.filler(lowest, flight.tx.chain_id, fees),
                false => flight.tx.clone(),
            };
            (tx.max_fee_per_gas, tx.max_priority_fee_per_gas) = (fees.max, fees.priority);
            let Ok((raw, hash)) = self.signed(tx.clone()).await else { return };
            tracing::info!(target: "mpp", nonce = lowest, void, "evm: replacing a settlement that is not mined");
            if !void {
                // Known before it leaves, so that its receipt is looked for whatever the node answers.
                lock(&flight.hashes).push(hash);
            }
            (flight.tx, flight.raw) = (tx, raw);
        }
        flight.since = Instant::now();
        drop(rpc.write::<B256>(node::broadcast(&flight.raw), care.broadcast).await);
        // A node that lost one has often lost those above it.
        for (_, above) in desk.flying.range(lowest + 1..).take(16) {
            drop(rpc.write::<B256>(node::broadcast(&above.raw), care.broadcast).await);
        }
    }

    fn filler(&self, nonce: u64, chain_id: u64, fees: Fees) -> TxEip1559 {
        TxEip1559 {
            chain_id,
            nonce,
            gas_limit: PLAIN_GAS,
            max_fee_per_gas: fees.max,
            max_priority_fee_per_gas: fees.priority,
            to: TxKind::Call(self.address()),
            value: U256::ZERO,
            access_list: Default::default(),
            input: Bytes::new(),
        }
    }
}

/// What the node says before a transaction is made.
struct Today {
    pending: u64,
    fees: Fees,
    time: Timestamp,
}

fn understood(rpc: &Rpc, [pending, block, priority]: [Answer; 3], care: Care) -> Result<Today, Kept> {
    let trouble = |e: RpcError| Kept::Trouble(format!("{}: {e}", rpc.shown()));
    let pending: U64 = pending.into_result().map_err(trouble)?;
    let block: Head = block.into_result().map_err(trouble)?;
    let priority = priority.into_result::<U128>().map_or(PRIORITY, |fee| fee.to());
    let base = block
        .base_fee()
        .ok_or_else(|| Kept::Trouble(format!("{}: the chain has no base fee (EIP-1559)", rpc.shown())))?;
    let fees = care.policy.fees(base, priority).ok_or_else(|| {
        Kept::Trouble(format!(
            "gas costs more than the policy allows: base fee {base}, priority fee {priority} wei"
        ))
    })?;
    Ok(Today { pending: pending.to(), fees, time: block.time() })
}

/// What became of a broadcast.
#[derive(Debug, PartialEq, Eq)]
enum Handed {
    /// Or nobody knows: it has to be looked for.
    Over,
    /// Another transaction of this key has the nonce.
    NonceTaken(Taken),
    /// Less is offered than the newest block asks for.
    FeeTooLow(String),
    /// The node did not take it.
    No(String),
}

#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// By a transaction that is mined.
    Mined,
    /// By one that waits.
    Waiting,
}

fn handed_over(answer: Result<B256, RpcError>) -> Handed {
    match answer {
        Ok(_) => Handed::Over,
        Err(e @ RpcError::NotSent) => Handed::No(e.to_string()),
        Err(RpcError::Node(refusal)) => refused(&refusal),
        Err(RpcError::Lost | RpcError::Http(_) | RpcError::Garbled | RpcError::TooLarge) => Handed::Over,
    }
}

/// The texts of geth, reth, erigon, nethermind, besu and anvil; there are no codes for these.
fn refused(refusal: &NodeError) -> Handed {
    let message = refusal.message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["already known", "known transaction", "already imported", "already in mempool"]) {
        Handed::Over
    } else if says(&["nonce too low", "nonce is too low", "oldnonce", "old nonce", "nonce below current"]) {
        Handed::NonceTaken(Taken::Mined)
    } else if says(&["replacement", "underpriced to replace", "not replace", "nonce already"]) {
        Handed::NonceTaken(Taken::Waiting)
    } else if says(&["underpriced", "fee too low", "feetoolow", "less than block base fee", "fee cap less"]) {
        Handed::FeeTooLow(refusal.to_string())
    } else if says(&["insufficient funds", "insufficientfunds"]) {
        Handed::No(format!("the settlement key cannot pay for gas: {refusal}"))
    } else {
        // It may have been taken for all we know.
        Handed::Over
    }
}

fn lock<T>(mutex: &StdMutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Each is changed in one step, so a panic elsewhere cannot leave it half written.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
