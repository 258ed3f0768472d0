//! Through the pipeline: one payment, one delivery, from one copy or many, and across the death of the server.

use super::stand::{PATH, Since, Stand};
use super::{Found, MethodBench};
use crate::method::ServerMethod;
use crate::testing::crash::{Fate, Process};
use axum::http::StatusCode;
use std::sync::Arc;
use tokio::task::JoinSet;

/// How many copies of a credential come at once, half of them to another process.
const COPIES: usize = 8;
/// More operations of the store than a payment takes.
const MOST_OPERATIONS: usize = 64;

pub(super) async fn an_honest_payment_is_delivered<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let mut found = Found::new();
    let ticket = stand.ticket().await;
    let response = stand.present(&stand.client, &ticket.header()).await;
    if response.status() != StatusCode::OK {
        let (status, text) = (response.status(), response.text());
        return vec![format!("an honest payment was answered {status} {text}")];
    }
    let receipt = response.receipt();
    if receipt.method != *stand.method.name() || receipt.reference.is_empty() {
        found
            .push(format!("the receipt is of {} with the reference {:?}", receipt.method, receipt.reference));
    }
    let since = stand.since(&ticket).await;
    if since.payments != Some(1) {
        found.push(format!("one delivery, and the payments that arrived are {:?}", since.payments));
    }
    let again = stand.present(&stand.client, &ticket.header()).await.status();
    if again != StatusCode::PAYMENT_REQUIRED || stand.since(&ticket).await != since {
        found.push(format!("the same credential a second time was answered {again}"));
    }
    found
}

pub(super) async fn copies_pay_once<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let mut found = Found::new();
    for _ in 0..3 {
        let ticket = stand.ticket().await;
        let servers = [stand.client.clone(), stand.restart(stand.shelf()).await];
        let mut copies = JoinSet::new();
        for copy in 0..COPIES {
            let request = servers[copy % 2].get(PATH);
            let header = ticket.header();
            copies.spawn(async move { request.presenting(&header).await.status() });
        }
        let mut statuses = Vec::new();
        while let Some(copy) = copies.join_next().await {
            match copy {
                Ok(status) => statuses.push(status),
                Err(panic) => found.push(format!("a copy panicked: {panic}")),
            }
        }
        let mut delivered = statuses.iter().filter(|status| **status == StatusCode::OK).count();
        if let Some(odd) = statuses.iter().find(|status| ![200, 402, 409].contains(&status.as_u16())) {
            found.push(format!("a copy was answered {odd}"));
        }
        if delivered == 0 {
            let status = stand.until_answered(&stand.client, &ticket.header(), &mut found).await;
            delivered += usize::from(status == StatusCode::OK);
        }
        let payments = stand.since(&ticket).await.payments;
        if (delivered, payments) != (1, Some(1)) {
            found.push(format!("{COPIES} copies at once: {delivered} delivered, {payments:?} payments"));
        }
    }
    found
}

pub(super) async fn a_proof_pays_one_challenge<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let mut found = Found::new();
    for order in ["after it was used", "before it was used", "at the same time"] {
        let ticket = stand.ticket().await;
        let mut other = ticket.credential();
        other.challenge = stand.challenge().await;
        let (own, other) = (ticket.header(), other.to_header_value());
        let client = &stand.client;
        let statuses = match order {
            "after it was used" => vec![
                stand.until_answered(client, &own, &mut found).await,
                stand.until_answered(client, &other, &mut found).await,
            ],
            "before it was used" => vec![
                stand.until_answered(client, &other, &mut found).await,
                stand.until_answered(client, &own, &mut found).await,
            ],
            _ => {
                let (first, second) =
                    tokio::join!(stand.present(client, &own), stand.present(client, &other));
                let mut statuses = vec![first.status(), second.status()];
                if !statuses.contains(&StatusCode::OK) {
                    // Each may have kept the other out.
                    statuses.push(stand.until_answered(client, &own, &mut found).await);
                }
                statuses
            }
        };
        let delivered = statuses.iter().filter(|status| **status == StatusCode::OK).count();
        let payments = stand.since(&ticket).await.payments;
        if (delivered, payments) != (1, Some(1)) {
            found.push(format!(
                "one proof shown for two challenges, for the other one {order}: {delivered} delivered, {payments:?} \
                 payments"
            ));
        }
    }
    found
}

pub(super) async fn crashes_pay_once<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let mut found = Found::new();
    for fate in [Fate::DiesBefore, Fate::DiesAfter] {
        for operation in 0..MOST_OPERATIONS {
            if !crashes_at(stand, operation, fate, &mut found).await {
                break;
            }
        }
    }
    found
}

/// `false` when the payment was over before the server died.
async fn crashes_at<B: MethodBench>(
    stand: &Stand<'_, B>,
    operation: usize,
    fate: Fate,
    found: &mut Found,
) -> bool {
    let ticket = stand.ticket().await;
    let mut operations = 0..;
    let process =
        Process::judged(move |_| if operations.next() == Some(operation) { fate } else { Fate::Done });
    let doomed = stand.restart(process.store(stand.shelf())).await;
    let stop = format!("{fate:?} at operation {operation}");
    let header = ticket.header();
    tokio::select! {
        biased;
        response = stand.present(&doomed, &header) => {
            if response.status() != StatusCode::OK {
                found.push(format!("{stop} of the store, which never came: HTTP {}", response.status()));
            }
            // What it still writes for later belongs to no payment.
            return false;
        }
        () = process.death() => {}
    }
    stand.stopped();
    // The other process waits until the dead one's lease has run out.
    let next = stand.restart(Arc::clone(&stand.shelf())).await;
    stand.wait().await;
    let status = stand.until_answered(&next, &header, found).await;
    let Since { payments, runs } = stand.since(&ticket).await;
    match (status, payments) {
        (StatusCode::OK, Some(1)) => {}
        // The delivery was recorded, and the server died before the first byte: a delivery all the same.
        (StatusCode::PAYMENT_REQUIRED, Some(1)) if runs == 1 => {}
        // Refused for good: then nothing has moved. It would be paid again.
        (StatusCode::PAYMENT_REQUIRED, Some(0)) => {
            stand.wait().await;
            if stand.since(&ticket).await.payments != Some(0) {
                found.push(format!("{stop} of the store: refused, and paid later"));
            }
        }
        // Reported where it was found.
        (StatusCode::SERVICE_UNAVAILABLE, _) => {}
        (status, payments) => {
            found.push(format!("{stop} of the store: HTTP {status} after a restart, {payments:?} payments"));
        }
    }
    true
}
