//! `type="authorization"` and `type="permit2"`: signatures that we use (draft-evm-charge, "Authorization Verification" and
//! "Permit2 Verification"). Everything here is arithmetic on the payload; the network is asked afterwards.

use super::abi::{
    IPermit2, IToken, PermitTransferFrom, SignatureTransferDetails, TokenPermissions,
    TransferWithAuthorization,
};
use super::node;
use super::plan::{Effect, Guard, Submit};
use super::request::Ask;
use super::typed::{
    self, Permit, WitnessType, authorization_digest, challenge_hash, parse_signature, permit2_domain,
    signer_of,
};
use crate::chain::parse_hex;
use crate::method::{CredentialCx, Rejection};
use crate::protocol::Timestamp;
use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolCall;
use serde_json::{Map, Value};
use std::time::Duration;

/// A signature has to be good for at least this much longer, or it may be void when its block comes.
const MARGIN: Duration = Duration::from_secs(5);

/// Reads an EIP-3009 authorization for this challenge.
pub(super) fn authorization(
    cx: &CredentialCx<'_>,
    ask: &Ask,
    token: Address,
    domain: B256,
) -> Result<Submit, Rejection> {
    let payload = cx.payload;
    let signed = TransferWithAuthorization {
        from: address(payload, "from")?,
        to: address(payload, "to")?,
        value: number(payload, "value")?,
        validAfter: number(payload, "validAfter")?,
        validBefore: number(payload, "validBefore")?,
        nonce: word(payload, "nonce")?,
    };
    let signature = parse_signature(text(payload, "signature")?).ok_or_else(unusable_signature)?;
    if signed.to != ask.recipient {
        return Err(Rejection::failed("the authorization pays another recipient"));
    }
    if signed.value != ask.amount {
        return Err(Rejection::failed("the authorization is for another amount than asked for"));
    }
    // EC-15: this is what binds it to the challenge.
    if signed.nonce != challenge_hash(&cx.challenge.id, &cx.challenge.realm) {
        return Err(Rejection::failed("the authorization's nonce is not the hash of this challenge"));
    }
    if seconds(signed.validAfter) >= cx.now {
        return Err(Rejection::failed("the authorization's `validAfter` has not come yet"));
    }
    window(seconds(signed.validBefore), cx, "the authorization's `validBefore`")?;
    if signer_of(&signature, &authorization_digest(&signed, domain)) != Some(signed.from) {
        return Err(Rejection::failed(
            "the authorization is not signed by `payload.from` for this token and chain",
        ));
    }
    let call = IToken::transferWithAuthorizationCall {
        from: signed.from,
        to: signed.to,
        value: signed.value,
        validAfter: signed.validAfter,
        validBefore: signed.validBefore,
        nonce: signed.nonce,
        v: typed::v_of(&signature),
        r: signature.r().into(),
        s: signature.s().into(),
    };
    Ok(Submit {
        effect: effect(cx, ask, signed.from),
        to: token,
        data: call.abi_encode().into(),
        gas: None,
        guard: Guard::Authorization { nonce: signed.nonce },
        deadline: signed.validBefore.saturating_to(),
        seen_at: 0,
    })
}

/// Reads a Permit2 permit with a witness for this challenge, made out to `spender`.
pub(super) fn permit2(
    cx: &CredentialCx<'_>,
    ask: &Ask,
    token: Address,
    spender: Address,
    source: Option<Address>,
) -> Result<Submit, Rejection> {
    // Neither the payload nor the permit names its owner.
    let owner = source.ok_or_else(|| Rejection::malformed("a permit has to name its owner in `source`"))?;
    let permit = object(cx.payload, "permit")?;
    let permitted = only_entry(permit, "permitted")?;
    let details = only_entry(cx.payload, "transferDetails")?;
    let witness = object(cx.payload, "witness")?;
    let signature = parse_signature(text(cx.payload, "signature")?).ok_or_else(unusable_signature)?;
    let signed = Permit {
        token: address(permitted, "token")?,
        amount: number(permitted, "amount")?,
        spender,
        nonce: number(permit, "nonce")?,
        deadline: number(permit, "deadline")?,
    };
    let (to, requested) = (address(details, "to")?, number(details, "requestedAmount")?);
    let challenge = challenge_hash(&cx.challenge.id, &cx.challenge.realm);
    let external_id = cx.request.external_id.as_deref().unwrap_or_default();
    if word(witness, "challengeHash")? != challenge
        || witness.get("externalId").is_some_and(|id| id.as_str() != Some(external_id))
    {
        return Err(Rejection::failed("the permit's witness does not name this challenge"));
    }
    if signed.token != token {
        return Err(Rejection::failed("the permit is for another token"));
    }
    if to != ask.recipient {
        return Err(Rejection::failed("the permit's transfer pays another recipient"));
    }
    if requested != ask.amount {
        return Err(Rejection::failed("the permit's transfer is of another amount than asked for"));
    }
    if signed.amount < requested {
        return Err(Rejection::failed("the permit allows less than the amount"));
    }
    window(seconds(signed.deadline), cx, "the permit's `deadline`")?;
    let domain = permit2_domain(ask.chain_id, ask.permit2);
    let kind = WitnessType::ALL.into_iter().find(|kind| {
        let digest = signed.digest(*kind, kind.hash(challenge, external_id), domain);
        signer_of(&signature, &digest) == Some(owner)
    });
    let Some(kind) = kind else {
        return Err(Rejection::failed(
            "the permit is not signed by the account in `source` for this spender, chain and witness",
        ));
    };
    let call = IPermit2::permitWitnessTransferFromCall {
        permit: PermitTransferFrom {
            permitted: TokenPermissions { token: signed.token, amount: signed.amount },
            nonce: signed.nonce,
            deadline: signed.deadline,
        },
        transferDetails: SignatureTransferDetails { to, requestedAmount: requested },
        owner,
        witness: kind.hash(challenge, external_id),
        witnessTypeString: kind.type_string(),
        signature: signature.as_bytes().into(),
    };
    Ok(Submit {
        effect: effect(cx, ask, owner),
        to: ask.permit2,
        data: call.abi_encode().into(),
        gas: None,
        guard: Guard::Permit2 { nonce: signed.nonce, spender },
        deadline: signed.deadline.saturating_to(),
        seen_at: 0,
    })
}

/// What has to come of a payment by `payer`.
pub(super) fn effect(cx: &CredentialCx<'_>, ask: &Ask, payer: Address) -> Effect {
    Effect {
        chain_id: ask.chain_id,
        token: ask.token,
        payer,
        recipient: ask.recipient,
        amount: ask.amount,
        external_id: cx.request.external_id.clone(),
    }
}

/// It is good now, and no longer than the challenge lives: that is what makes an unknown outcome end.
fn window(until: Timestamp, cx: &CredentialCx<'_>, what: &str) -> Result<(), Rejection> {
    if until > cx.expires {
        return Err(Rejection::failed(format!("{what} is later than the challenge's expiry")));
    }
    if until <= cx.now {
        return Err(Rejection::failed(format!("{what} has passed")));
    }
    if until < cx.now + MARGIN {
        return Err(Rejection::failed(format!("{what} is too near")));
    }
    Ok(())
}

fn unusable_signature() -> Rejection {
    Rejection::failed(
        "`payload.signature` is not a signature of 65 bytes with a low `s` and a `v` of 27 or 28",
    )
}

fn seconds(value: U256) -> Timestamp {
    node::at(value.saturating_to())
}

fn missing(name: &str, what: &str) -> Rejection {
    Rejection::malformed(format!("`{name}` is not {what}"))
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, Rejection> {
    members.get(name).and_then(Value::as_str).ok_or_else(|| missing(name, "a text"))
}

fn address(members: &Map<String, Value>, name: &str) -> Result<Address, Rejection> {
    node::address(text(members, name)?).ok_or_else(|| missing(name, "an address"))
}

fn word(members: &Map<String, Value>, name: &str) -> Result<B256, Rejection> {
    let bytes = parse_hex(text(members, name)?, 32).and_then(|bytes| B256::try_from(bytes.as_slice()).ok());
    bytes.ok_or_else(|| missing(name, "32 bytes in hexadecimal"))
}

/// A whole number in decimal, spelled in the one way.
fn number(members: &Map<String, Value>, name: &str) -> Result<U256, Rejection> {
    let text = text(members, name)?;
    let digits = !text.is_empty() && text.len() <= 78 && text.bytes().all(|b| b.is_ascii_digit());
    let canonical = digits && (text == "0" || !text.starts_with('0'));
    canonical
        .then(|| U256::from_str_radix(text, 10).ok())
        .flatten()
        .ok_or_else(|| missing(name, "a whole number in decimal"))
}

fn object<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a Map<String, Value>, Rejection> {
    members.get(name).and_then(Value::as_object).ok_or_else(|| missing(name, "an object"))
}

/// The one object of a list. More of them would be a split, which is not offered.
fn only_entry<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a Map<String, Value>, Rejection> {
    let entries = members.get(name).and_then(Value::as_array).ok_or_else(|| missing(name, "a list"))?;
    match entries.as_slice() {
        [Value::Object(only)] => Ok(only),
        [_] => Err(missing(name, "a list of objects")),
        _ => Err(Rejection::failed(format!("`{name}` has to have exactly one entry"))),
    }
}
