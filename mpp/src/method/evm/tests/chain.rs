//! A chain in memory, behind the fake node: one token with EIP-3009, Permit2 as far as its bitmap, accounts with nonces, a
//! mempool, blocks and finality. It mines when it is told to, loses answers, forgets transactions and reorganises. Real chains
//! are in `interop/`.

use super::super::abi::{IPermit2, IToken};
use super::super::typed::token_domain;
use crate::chain::fake::{FakeNode, Reply, Script};
use alloy::consensus::{Signed, TxEip1559};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256, address, hex, keccak256};
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

pub(super) const TOKEN: Address = address!("5FbDB2315678afecb367f032d93F642f64180aa3");
pub(super) const CHAIN: u64 = 31337;
pub(super) const NOW: i64 = 1_800_000_000;

/// What happens to the next broadcast.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    /// Taken and mined at once.
    Mined,
    /// Taken; mined by [`State::mine`].
    Waits,
    /// Taken and mined at once, and the answer is lost.
    MinedUnsaid,
    /// The answer is lost and so is the transaction.
    Lost,
    /// Refused.
    Refused(i64, &'static str),
}

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// For the broadcasts to come; [`Fate::Mined`] when there is none left.
    pub(super) fates: VecDeque<Fate>,
    pub(super) balances: HashMap<Address, U256>,
    pub(super) coins: HashMap<Address, U256>,
    pub(super) used: HashSet<(Address, B256)>,
    pub(super) bitmap: HashMap<(Address, U256), U256>,
    pub(super) nonces: HashMap<Address, u64>,
    pub(super) pool: BTreeMap<(Address, u64), Signed<TxEip1559>>,
    /// Everything that was ever handed over, in order.
    pub(super) sent: Vec<Signed<TxEip1559>>,
    pub(super) receipts: HashMap<B256, Value>,
    pub(super) txs: HashMap<B256, Value>,
    pub(super) logs: Vec<Value>,
    pub(super) number: u64,
    pub(super) time: i64,
    /// Number and time of the newest final block.
    pub(super) finalized: Option<(u64, i64)>,
    pub(super) base_fee: u64,
    /// What the token says of its domain.
    pub(super) domain: Option<B256>,
    /// What it says of its domain by ERC-5267: name and chain.
    pub(super) described: Option<(&'static str, u64)>,
    /// Instead of a gas estimate or a simulation.
    pub(super) refuses: Option<Reply>,
    /// Everything is answered with this.
    pub(super) broken: Option<Reply>,
}

/// The chain and the node in front of it.
pub(super) struct FakeChain {
    pub(super) node: FakeNode,
    state: Arc<Mutex<State>>,
}

impl FakeChain {
    pub(super) async fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            number: 100,
            time: NOW,
            base_fee: 1_000_000_000,
            domain: Some(token_domain("USDC", "2", CHAIN, TOKEN)),
            ..State::default()
        }));
        let behind = Arc::clone(&state);
        let node =
            FakeNode::start(move |method, params| Some(behind.lock().unwrap().answer(method, params))).await;
        Self { node, state }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Two nodes behind one address, as they stand. The n-th request goes to the second if the n-th bit of `turns` is set.
pub(super) async fn balanced(nodes: [State; 2], turns: usize) -> FakeNode {
    let nodes = nodes.map(|state| {
        let state = Mutex::new(state);
        Box::new(move |method: &str, params: &Value| Some(state.lock().unwrap().answer(method, params)))
            as Box<Script>
    });
    FakeNode::balancing(nodes, move |round| turns >> round.min(31) & 1).await
}

impl State {
    fn answer(&mut self, method: &str, params: &Value) -> Reply {
        if let Some(broken) = &self.broken {
            return broken.clone();
        }
        let account = || params[0].as_str().unwrap().parse::<Address>().unwrap();
        let hash = || params[0].as_str().unwrap().parse::<B256>().unwrap();
        Reply::Result(match method {
            "eth_chainId" => json!(format!("{CHAIN:#x}")),
            "eth_maxPriorityFeePerGas" => json!("0x3b9aca00"),
            "eth_getCode" => json!("0x00"),
            "eth_getBalance" => json!(self.coins.get(&account()).copied().unwrap_or_default()),
            "eth_getTransactionCount" => {
                let mined = self.nonces.get(&account()).copied().unwrap_or_default();
                let mut next = mined;
                if params[1] == "pending" {
                    while self.pool.contains_key(&(account(), next)) {
                        next += 1;
                    }
                }
                json!(format!("{next:#x}"))
            }
            "eth_getBlockByNumber" if params[0] == "finalized" => match self.finalized {
                Some((number, time)) => self.block(number, time),
                None => Value::Null,
            },
            "eth_getBlockByNumber" => self.block(self.number, self.time),
            "eth_getTransactionReceipt" => self.receipts.get(&hash()).cloned().unwrap_or_default(),
            "eth_getTransactionByHash" => self.txs.get(&hash()).cloned().unwrap_or_default(),
            "eth_estimateGas" => match &self.refuses {
                Some(refused) => return refused.clone(),
                None => json!("0x14c08"),
            },
            "eth_call" => return self.call(&params[0]),
            "eth_getLogs" => Value::Array(self.find(&params[0])),
            "eth_sendRawTransaction" => return self.take(params[0].as_str().unwrap()),
            _ => return Reply::Error(-32601, "no such method"),
        })
    }

    fn block(&self, number: u64, time: i64) -> Value {
        json!({
            "number": format!("{number:#x}"), "timestamp": format!("{time:#x}"),
            "baseFeePerGas": format!("{:#x}", self.base_fee),
        })
    }

    fn call(&self, call: &Value) -> Reply {
        let data = hex::decode(call["data"].as_str().unwrap_or_default()).unwrap_or_default();
        let selector: [u8; 4] = data.get(..4).and_then(|s| s.try_into().ok()).unwrap_or_default();
        let said = match selector {
            IToken::nameCall::SELECTOR => ("USDC",).abi_encode_params(),
            IToken::versionCall::SELECTOR => ("2",).abi_encode_params(),
            IToken::decimalsCall::SELECTOR => U256::from(6).abi_encode(),
            IToken::DOMAIN_SEPARATORCall::SELECTOR => match self.domain {
                Some(domain) => domain.to_vec(),
                None => return Reply::Error(3, "execution reverted"),
            },
            IToken::eip712DomainCall::SELECTOR => match &self.described {
                Some((name, chain)) => IToken::eip712DomainCall::abi_encode_returns(&described(name, *chain)),
                None => return Reply::Error(3, "execution reverted"),
            },
            IToken::balanceOfCall::SELECTOR => {
                let asked = IToken::balanceOfCall::abi_decode(&data).unwrap();
                self.balances.get(&asked.account).copied().unwrap_or_default().abi_encode()
            }
            IToken::authorizationStateCall::SELECTOR => {
                let asked = IToken::authorizationStateCall::abi_decode(&data).unwrap();
                self.used.contains(&(asked.authorizer, asked.nonce)).abi_encode()
            }
            IPermit2::nonceBitmapCall::SELECTOR => {
                let asked = IPermit2::nonceBitmapCall::abi_decode(&data).unwrap();
                self.bitmap.get(&(asked.owner, asked.word)).copied().unwrap_or_default().abi_encode()
            }
            _ => match &self.refuses {
                Some(refused) => return refused.clone(),
                None => true.abi_encode(),
            },
        };
        Reply::Result(json!(hex::encode_prefixed(said)))
    }

    fn find(&self, filter: &Value) -> Vec<Value> {
        let number = |value: &Value| u64::from_str_radix(&value.as_str().unwrap()[2..], 16).unwrap();
        let range = number(&filter["fromBlock"])..=number(&filter["toBlock"]);
        let fits = |wanted: &Value, topic: &Value| match wanted {
            Value::Array(any) => any.contains(topic),
            one => one == topic,
        };
        let wanted = filter["topics"].as_array().unwrap();
        let found = self.logs.iter().filter(|log| {
            range.contains(&number(&log["blockNumber"]))
                && log["address"] == filter["address"]
                && wanted.iter().enumerate().all(|(at, wanted)| fits(wanted, &log["topics"][at]))
        });
        found.cloned().collect()
    }

    fn take(&mut self, raw: &str) -> Reply {
        let raw = hex::decode(raw).unwrap();
        let signed = Signed::<TxEip1559>::decode_2718(&mut raw.as_slice()).unwrap();
        let (hash, from) = (*signed.hash(), signed.recover_signer().unwrap());
        assert_eq!(hash, keccak256(&raw));
        let fate = self.fates.pop_front().unwrap_or(Fate::Mined);
        if let Fate::Refused(code, message) = fate {
            return Reply::Error(code, message);
        }
        self.sent.push(signed.clone());
        if matches!(fate, Fate::Lost) {
            return Reply::Silence;
        }
        let nonce = signed.tx().nonce;
        if nonce < self.nonces.get(&from).copied().unwrap_or_default() {
            return Reply::Error(-32000, "nonce too low");
        }
        if let Some(other) = self.pool.get(&(from, nonce))
            && *other.hash() != hash
            && other.tx().max_fee_per_gas * 11 / 10 > signed.tx().max_fee_per_gas
        {
            return Reply::Error(-32000, "replacement transaction underpriced");
        }
        self.note(&signed, from);
        self.pool.insert((from, nonce), signed);
        match fate {
            Fate::Mined => {
                self.mine();
                Reply::Result(json!(hash))
            }
            Fate::MinedUnsaid => {
                self.mine();
                Reply::Silence
            }
            _ => Reply::Result(json!(hash)),
        }
    }

    /// The node knows this transaction.
    pub(super) fn note(&mut self, signed: &Signed<TxEip1559>, from: Address) {
        let tx = signed.tx();
        let to = match tx.to {
            TxKind::Call(to) => Some(to),
            TxKind::Create => None,
        };
        let shown = json!({
            "hash": signed.hash(), "from": from, "to": to, "value": tx.value, "input": tx.input,
        });
        self.txs.insert(*signed.hash(), shown);
    }

    /// Mines what can be: every account's transactions in the order of their nonces.
    pub(super) fn mine(&mut self) {
        self.number += 1;
        loop {
            let ready = self
                .pool
                .keys()
                .copied()
                .find(|(from, nonce)| *nonce == self.nonces.get(from).copied().unwrap_or_default());
            let Some((from, nonce)) = ready else { return };
            let signed = self.pool.remove(&(from, nonce)).unwrap();
            self.nonces.insert(from, nonce + 1);
            self.execute(&signed, from);
        }
    }

    fn execute(&mut self, signed: &Signed<TxEip1559>, from: Address) {
        let tx = signed.tx();
        let logs = match tx.to {
            TxKind::Call(TOKEN) => self.run(&tx.input, from),
            _ => Some(vec![]),
        };
        let (hash, number) = (*signed.hash(), format!("{:#x}", self.number));
        let status = if logs.is_some() { "0x1" } else { "0x0" };
        let logs: Vec<Value> = logs
            .unwrap_or_default()
            .into_iter()
            .map(|(topics, data)| {
                json!({
                    "address": TOKEN, "topics": topics, "data": hex::encode_prefixed(data),
                    "transactionHash": hash, "blockNumber": number,
                    "blockTimestamp": format!("{:#x}", self.time),
                })
            })
            .collect();
        self.logs.extend(logs.clone());
        let receipt =
            json!({ "transactionHash": hash, "blockNumber": number, "status": status, "logs": logs });
        self.receipts.insert(hash, receipt);
    }

    fn run(&mut self, input: &[u8], from: Address) -> Option<Vec<(Vec<B256>, Vec<u8>)>> {
        if let Ok(call) = IToken::transferWithAuthorizationCall::abi_decode(input) {
            if !self.used.insert((call.from, call.nonce)) {
                return None;
            }
            let used = vec![IToken::AuthorizationUsed::SIGNATURE_HASH, call.from.into_word(), call.nonce];
            let moved = self.move_token(call.from, call.to, call.value);
            if moved.is_none() {
                self.used.remove(&(call.from, call.nonce));
            }
            return Some(vec![(used, vec![]), moved?]);
        }
        let call = IToken::transferCall::abi_decode(&input[..68]).ok()?;
        Some(vec![self.move_token(from, call.to, call.value)?])
    }

    fn move_token(&mut self, from: Address, to: Address, value: U256) -> Option<(Vec<B256>, Vec<u8>)> {
        let balance = self.balances.entry(from).or_default();
        *balance = balance.checked_sub(value)?;
        *self.balances.entry(to).or_default() += value;
        let topics = vec![IToken::Transfer::SIGNATURE_HASH, from.into_word(), to.into_word()];
        Some((topics, value.abi_encode()))
    }

    /// The newest block never happened; what was in it waits again.
    pub(super) fn reorganise(&mut self, hash: B256, from: Address, nonce: u64) {
        let receipt = self.receipts.remove(&hash).unwrap();
        self.logs.retain(|log| log["transactionHash"] != receipt["transactionHash"]);
        self.nonces.insert(from, nonce);
        let signed = self.sent.iter().find(|signed| *signed.hash() == hash).unwrap().clone();
        self.pool.insert((from, nonce), signed);
    }

    /// How much the token has moved to `recipient`.
    pub(super) fn received(&self, recipient: Address) -> U256 {
        self.balances.get(&recipient).copied().unwrap_or_default()
    }
}

fn described(name: &str, chain: u64) -> IToken::eip712DomainReturn {
    IToken::eip712DomainReturn {
        fields: [0x0f].into(),
        name: name.to_owned(),
        version: "2".to_owned(),
        chainId: U256::from(chain),
        verifyingContract: TOKEN,
        salt: B256::ZERO,
        extensions: vec![],
    }
}

/// Raw bytes of a signed transaction.
pub(super) fn raw_of(signed: &Signed<TxEip1559>) -> Bytes {
    use alloy::eips::eip2718::Encodable2718;
    signed.encoded_2718().into()
}
