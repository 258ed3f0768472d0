//! Refunds: of PaymentIntents that succeeded, never above what was received.

use super::books::{Acted, Books};
use super::form::{Form, Refusal};
use super::{Keep, list};
use serde_json::{Value, json};

impl Books {
    /// `POST /v1/refunds`.
    pub(super) fn refund(&mut self, form: &mut Form) -> Acted {
        // What is wrong with the request itself is not kept for its key.
        let order = Order::read(form).map_err(|refusal| (refusal, Keep::No))?;
        self.give_back(order).map_err(|refusal| (refusal, Keep::Yes))
    }

    /// `GET /v1/refunds`: the newest first.
    pub(super) fn refunds_of(&self, form: &mut Form) -> Result<Value, Refusal> {
        let intent = form.take("payment_intent")?;
        let limit = usize::try_from(form.number("limit")?.unwrap_or(10).clamp(1, 100)).unwrap_or(1);
        let after = form.take("starting_after")?;
        form.finish()?;
        let mut newest: Vec<_> = self.refunds.iter().rev().cloned().collect();
        if let Some(after) = after {
            let at = newest.iter().position(|refund| refund["id"] == after);
            let at = at.ok_or_else(|| Refusal::missing("refund", "starting_after"))?;
            newest.drain(..=at);
        }
        newest.retain(|refund| intent.as_ref().is_none_or(|intent| refund["payment_intent"] == *intent));
        let has_more = newest.len() > limit;
        newest.truncate(limit);
        let mut page = list("/v1/refunds", newest, "list");
        page["has_more"] = has_more.into();
        Ok(page)
    }

    /// `GET /v1/refunds/:id`.
    pub(super) fn refund_called(&self, id: &str) -> Result<Value, Refusal> {
        let refund = self.refunds.iter().find(|refund| refund["id"] == id);
        refund.cloned().ok_or_else(|| Refusal::missing("refund", "id"))
    }

    /// What pending refunds end as.
    pub(super) fn finish_refunds(&mut self, status: &str) {
        for refund in self.refunds.iter_mut().filter(|refund| refund["status"] == "pending") {
            refund["status"] = status.into();
        }
    }

    fn give_back(&mut self, order: Order) -> Result<Value, Refusal> {
        let id = self.id("re");
        let refunds = &self.refunds;
        let back = |intent: &str| {
            let mine = refunds.iter().filter(|refund| {
                refund["payment_intent"] == intent
                    && !matches!(refund["status"].as_str(), Some("failed" | "canceled"))
            });
            mine.filter_map(|refund| refund["amount"].as_u64()).sum::<u64>()
        };
        let intent = self.intents.iter().find(|intent| intent["id"] == order.intent);
        let intent = intent.ok_or_else(|| Refusal::missing("payment_intent", "payment_intent"))?;
        if intent["status"] != "succeeded" {
            return Err(Refusal::invalid(
                "payment_intent_unexpected_state",
                "payment_intent",
                "This PaymentIntent does not have a successful charge to refund.",
            ));
        }
        let received = intent["amount_received"].as_u64().unwrap_or_default();
        let left = received.saturating_sub(back(&order.intent));
        if left == 0 {
            return Err(Refusal::invalid("charge_already_refunded", "", "It has already been refunded."));
        }
        let amount = order.amount.unwrap_or(left);
        if amount > left {
            return Err(Refusal::invalid(
                "",
                "amount",
                "Refund amount is greater than unrefunded amount on charge.",
            ));
        }
        if order.reverse_transfer && intent["transfer_data"].is_null() {
            return Err(Refusal::invalid("", "reverse_transfer", "There is no transfer to reverse."));
        }
        if order.refund_fee && intent["application_fee_amount"].is_null() {
            return Err(Refusal::invalid("", "refund_application_fee", "There is no fee to refund."));
        }
        let refund = json!({
            "id": id, "object": "refund", "amount": amount, "currency": intent["currency"],
            "payment_intent": order.intent, "created": self.now, "metadata": order.metadata,
            "status": if self.slow_refunds { "pending" } else { "succeeded" }, "reason": order.reason,
        });
        self.refunds.push(refund.clone());
        Ok(refund)
    }
}

/// A well-formed request for a Refund.
struct Order {
    intent: String,
    amount: Option<u64>,
    metadata: Value,
    reason: Option<String>,
    reverse_transfer: bool,
    refund_fee: bool,
}

impl Order {
    fn read(form: &mut Form) -> Result<Self, Refusal> {
        let intent = form.required("payment_intent")?;
        let amount = form.number("amount")?;
        if amount == Some(0) {
            return Err(Refusal::invalid("parameter_invalid_integer", "amount", "Invalid positive integer."));
        }
        let order = Self {
            intent,
            amount,
            metadata: form.map("metadata")?,
            reason: form.word("reason", &["duplicate", "fraudulent", "requested_by_customer"])?,
            reverse_transfer: form.word("reverse_transfer", &["true", "false"])?.as_deref() == Some("true"),
            refund_fee: form.word("refund_application_fee", &["true", "false"])?.as_deref() == Some("true"),
        };
        form.finish()?;
        Ok(order)
    }
}
