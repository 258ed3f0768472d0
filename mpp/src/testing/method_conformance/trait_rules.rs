//! On the trait alone: offers, `verify`, `resolve`, holds, plans, secrets.

use super::stand::Stand;
use super::{Found, MethodBench, caught};
use crate::method::{Held, Holding, OfferCx, Rejection, ServerMethod, Settlement, SettlementPlan, Verified};
use crate::protocol::{BaseUnits, ChargeRequest};
use serde_json::{Value, json};

pub(super) async fn offers_are_pure<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let mut found = Found::new();
    let other = stand.another_method().await;
    let before = (stand.bench.taken().await, stand.bench.traces().await);
    for name in stand.method.currencies() {
        let currency = stand.method.currency(&name);
        if currency.is_none() || currency != other.currency(&name) {
            found.push(format!("the currency {name} is listed, and is {currency:?} or something else"));
        }
    }
    for units in [stand.price, stand.price * 2] {
        let mut cx = OfferCx::new(BaseUnits::new(units), &stand.currency);
        cx.description = Some("A thing");
        let first = stand.method.offer(&cx);
        if first != stand.method.offer(&cx) || first != other.offer(&cx) {
            found.push(format!("two offers of {units} differ: {first:?}"));
        }
        let Ok(request) = first else {
            found.push(format!("{units} cannot be offered: {first:?}"));
            continue;
        };
        if (request.amount.get(), &request.currency) != (units, &stand.currency.id) {
            let (amount, currency) = (request.amount, &request.currency);
            found.push(format!("an offer of {units} {} asks for {amount} {currency}", stand.currency.id));
        }
        if ChargeRequest::decode(&request.encode()).as_ref() != Ok(&request) {
            found.push("an offer changes on its way through a challenge".to_owned());
        }
    }
    if (stand.bench.taken().await, stand.bench.traces().await) != before {
        found.push("an offer left a trace".to_owned());
    }
    found
}

pub(super) async fn verify_is_pure<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let mut found = Found::new();
    let ticket = stand.ticket().await;
    let before = (stand.bench.taken().await, stand.bench.traces().await);
    let first = stand.verified(&ticket).await;
    let cx = ticket.cx(stand.now());
    let other = stand.another_method().await;
    let (second, elsewhere) = tokio::join!(stand.method.verify(&cx), other.verify(&cx));
    let third = stand.method.verify(&cx).await;
    for (again, where_) in [(second, "again"), (elsewhere, "in another process"), (third, "a third time")] {
        match again {
            Ok(again) if same(&first, &again) => {}
            Ok(_) => found.push(format!("a credential verified {where_} gives another result")),
            Err(rejection) => found.push(format!("a credential verified {where_} is refused: {rejection:?}")),
        }
    }
    stand.wait().await;
    if stand.bench.taken().await != before.0 {
        found.push("`verify` moved money".to_owned());
    }
    if stand.bench.traces().await != before.1 {
        found.push("`verify` left a trace".to_owned());
    }
    found
}

/// The plan may differ in when it was made, never in what it pays: the time is the same here, so nothing does.
fn same(one: &Verified, other: &Verified) -> bool {
    (&one.payer, &one.proof_keys, &one.plan) == (&other.payer, &other.proof_keys, &other.plan)
}

pub(super) async fn payers_are_established<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    const NOBODY: &str = "did:pkh:eip155:1:0x000000000000000000000000000000000000dEaD";
    let mut found = Found::new();
    let ticket = stand.ticket().await;
    let honest = stand.verified(&ticket).await;
    let mut cx = ticket.cx(stand.now());
    cx.source = Some(NOBODY);
    if let Ok(claimed) = stand.method.verify(&cx).await
        && claimed.payer != honest.payer
    {
        found.push(format!("with another `source` the payer is {:?}", claimed.payer));
    }
    found
}

pub(super) async fn resolve_only_looks<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let mut found = Found::new();
    let ticket = stand.ticket().await;
    let plan = stand.verified(&ticket).await.plan;
    let settled = stand.method.settle(&ticket.settle(&plan, stand.now())).await;
    if !matches!(settled, Settlement::Settled(_)) {
        return vec![format!("an honest payment is not settled: {settled:?}")];
    }
    for _ in 0..2 {
        match stand.resolved(&ticket, &plan, &mut found).await {
            Some(Ok(payment)) if Settlement::Settled(payment.clone()) == settled => {}
            Some(other) => found.push(format!("after {settled:?} `resolve` says {other:?}")),
            None => {}
        }
        stand.wait().await;
    }
    let payments = stand.since(&ticket).await.payments;
    if payments != Some(1) {
        found.push(format!("after `settle` and `resolve` the payments that arrived are {payments:?}"));
    }
    found
}

pub(super) async fn holds_take_nothing<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let mut found = Found::new();
    let payments = async |ticket: &_| stand.since(ticket).await.payments;
    if stand.method.holding() == Holding::Unsupported {
        let ticket = stand.ticket().await;
        let before = payments(&ticket).await;
        let plan = stand.verified(&ticket).await.plan;
        let held = stand.method.hold(&ticket.settle(&plan, stand.now())).await;
        if !matches!(held, Held::Declined(_)) || payments(&ticket).await != before {
            found.push(format!("a method that cannot hold answers {held:?}"));
        }
        return found;
    }

    let captured = stand.ticket().await;
    if let Some(plan) = held(stand, &captured, &mut found).await {
        if payments(&captured).await != Some(0) {
            found.push("a hold took money".to_owned());
        }
        let settled = stand.method.settle(&captured.settle(&plan, stand.now())).await;
        if !matches!(settled, Settlement::Settled(_)) {
            found.push(format!("a hold was not captured: {settled:?}"));
        }
        if let Some(Err(rejection)) = stand.resolved(&captured, &plan, &mut found).await {
            found.push(format!("a captured hold is resolved as declined: {rejection:?}"));
        }
        if payments(&captured).await != Some(1) {
            found.push("a captured hold is not one payment".to_owned());
        }
        let released = stand.method.release(&captured.settle(&plan, stand.now())).await;
        if payments(&captured).await != Some(1) || released.is_ok() {
            found.push(format!("a captured hold was released: {released:?}"));
        }
    }

    let released = stand.ticket().await;
    if let Some(plan) = held(stand, &released, &mut found).await {
        let other = stand.another_method().await;
        for _ in 0..2 {
            let done = other.release(&released.settle(&plan, stand.now())).await;
            if let Err(rejection) = done {
                found.push(format!("a hold was not released: {rejection:?}"));
            }
        }
        let settled = stand.method.settle(&released.settle(&plan, stand.now())).await;
        if matches!(settled, Settlement::Settled(_)) || payments(&released).await != Some(0) {
            found.push(format!("a released hold was captured: {settled:?}"));
        }
    }
    found
}

async fn held<B: MethodBench>(
    stand: &Stand<'_, B>,
    ticket: &super::stand::Ticket,
    found: &mut Found,
) -> Option<SettlementPlan> {
    let plan = stand.verified(ticket).await.plan;
    match stand.method.hold(&ticket.settle(&plan, stand.now())).await {
        Held::Held(plan) => Some(plan),
        other => {
            found.push(format!("an honest payment is not held: {other:?}"));
            None
        }
    }
}

pub(super) async fn plans_are_read_with_care<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let mut found = Found::new();
    let ticket = stand.ticket().await;
    let plan = stand.verified(&ticket).await.plan;
    let mut odd = vec![json!(null), json!({}), json!([]), json!("x"), json!(7), json!({ "version": 9 })];
    if let Value::Object(members) = &plan.0 {
        // A plan of another release: each member gone, or of another kind.
        for name in members.keys() {
            let mut less = members.clone();
            less.remove(name);
            let mut other = members.clone();
            other.insert(name.clone(), json!({ "v": 2 }));
            odd.extend([Value::Object(less), Value::Object(other)]);
        }
    }
    for plan in odd.into_iter().map(SettlementPlan) {
        let Value::Object(_) = &plan.0 else {
            check_plan(stand, &ticket, &plan, &mut found).await;
            continue;
        };
        // One that lacks nothing that is needed may still pay; it must not panic.
        if let Err(panic) = caught(stand.method.resolve(&ticket.settle(&plan, stand.now()))).await {
            found.push(format!("`resolve` panics on an odd plan: {panic}"));
        }
    }
    let after = stand.since(&ticket).await.payments;
    if !matches!(after, Some(0 | 1)) {
        found.push(format!("odd plans made {after:?} payments"));
    }
    found
}

async fn check_plan<B: MethodBench>(
    stand: &Stand<'_, B>,
    ticket: &super::stand::Ticket,
    plan: &SettlementPlan,
    found: &mut Found,
) {
    let cx = ticket.settle(plan, stand.now());
    let settled = caught(async { stand.method.settle(&cx).await }).await;
    let resolved = caught(async { stand.method.resolve(&cx).await }).await;
    let held = caught(async { stand.method.hold(&cx).await }).await.map(drop);
    let released = caught(async { stand.method.release(&cx).await }).await.map(drop);
    for (verb, outcome) in [("settle", &settled), ("resolve", &resolved)] {
        if let Ok(Settlement::Settled(payment)) = outcome {
            found.push(format!("`{verb}` pays a plan that says nothing: {payment:?}"));
        }
    }
    let panics = [settled.map(drop), resolved.map(drop), held, released];
    found.extend(panics.into_iter().filter_map(Result::err).map(|panic| format!("an odd plan: {panic}")));
}

pub(super) async fn secrets_are_kept<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let ticket = stand.ticket().await;
    let verified = stand.verified(&ticket).await;
    let mut wrong = ticket.clone();
    for value in wrong.proof.payload.values_mut() {
        if let Value::String(text) = value {
            text.push('x');
        }
    }
    let refused = stand.method.verify(&wrong.cx(stand.now())).await;
    let settlement = match &refused {
        Ok(verified) => {
            let settled = stand.method.settle(&wrong.settle(&verified.plan, stand.now())).await;
            format!("{settled:?}")
        }
        Err(Rejection::Refused { detail, .. }) => detail.to_string(),
        Err(unavailable) => format!("{unavailable:?}"),
    };
    let settled = stand.method.settle(&ticket.settle(&verified.plan, stand.now())).await;
    let said = [
        ("the method's `Debug`", format!("{:?}", stand.method)),
        ("what `verify` yields", format!("{verified:?} {refused:?}")),
        ("a rejection", settlement),
        ("a settlement", format!("{settled:?}")),
        ("an offer", serde_json::to_string(&ticket.request).unwrap_or_default()),
        ("a problem of the configuration", format!("{:?}", stand.method.problems())),
    ];
    let mut found = Found::new();
    for secret in stand.bench.secrets().iter().filter(|secret| !secret.is_empty()) {
        for (place, text) in &said {
            if text.contains(secret.as_str()) {
                found.push(format!("{place} holds a secret"));
            }
        }
    }
    found
}
