//! Tokens, PaymentIntents, and what may happen to them.

use super::form::{Form, Refusal};
use super::{CONNECTED, Keep, PROFILE, Seen, list};
use serde_json::{Value, json};

/// Stripe's smallest charges, as far as the tests need them.
const MINIMUMS: [(&str, u64); 4] = [("usd", 50), ("eur", 50), ("gbp", 30), ("jpy", 50)];
/// The largest.
const MOST: u64 = 99_999_999;

/// What a token allows, and how its card behaves.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `usage_limits[currency]`.
    pub currency: String,
    /// `usage_limits[max_amount]`, in the smallest unit.
    pub max_amount: u64,
    /// `usage_limits[expires_at]`, seconds since 1970.
    pub expires_at: i64,
    /// `seller_details[network_id]`.
    pub seller: String,
    /// `pm_card_visa`, or another of Stripe's test cards.
    pub card: String,
}

impl Limits {
    /// A token for `amount` of `currency` that does not expire in a test, on a card that pays.
    pub fn of(amount: u64, currency: &str) -> Self {
        Self {
            currency: currency.to_owned(),
            max_amount: amount,
            expires_at: i64::MAX,
            seller: PROFILE.to_owned(),
            card: "pm_card_visa".to_owned(),
        }
    }

    /// On another card.
    pub fn with_card(self, card: &str) -> Self {
        Self { card: card.to_owned(), ..self }
    }
}

/// What a test card does when it is charged.
enum Card {
    Pays,
    Declines(&'static str),
    WantsItsHolder,
    Processes,
}

fn card(name: &str) -> Option<Card> {
    Some(match name {
        "pm_card_visa" | "pm_card_mastercard" => Card::Pays,
        "pm_card_visa_chargeDeclined" | "pm_card_chargeDeclined" => Card::Declines("generic_decline"),
        "pm_card_visa_chargeDeclinedInsufficientFunds" => Card::Declines("insufficient_funds"),
        "pm_card_chargeDeclinedExpiredCard" => Card::Declines("expired_card"),
        "pm_card_authenticationRequired" => Card::WantsItsHolder,
        "pm_usBankAccount_processing" => Card::Processes,
        _ => return None,
    })
}

#[derive(Debug, Clone)]
struct Token {
    id: String,
    limits: Limits,
    state: TokenState,
    created: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenState {
    Active,
    Used,
    Revoked,
}

/// All that Stripe knows.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) now: i64,
    tokens: Vec<Token>,
    /// As they are answered.
    pub(super) intents: Vec<Value>,
    /// As they are answered.
    pub(super) refunds: Vec<Value>,
    /// Whether a Refund is pending first.
    pub(super) slow_refunds: bool,
    count: u32,
    pub(super) minimums: Minimums,
}

/// Whether the account has Stripe's general minimums or lower ones of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Minimums {
    #[default]
    General,
    Lower,
}

pub(super) type Acted = Result<Value, (Refusal, Keep)>;

impl Books {
    pub(super) fn at(now: i64) -> Self {
        Self { now, ..Self::default() }
    }

    pub(super) fn issue(&mut self, limits: Limits) -> String {
        let id = self.id("spt");
        self.tokens.push(Token { id: id.clone(), limits, state: TokenState::Active, created: self.now });
        id
    }

    pub(super) fn revoke(&mut self, id: &str) {
        if let Some(token) = self.tokens.iter_mut().find(|token| token.id == id) {
            token.state = TokenState::Revoked;
        }
    }

    pub(super) fn finish_processing(&mut self, status: &str) {
        for intent in self.intents.iter_mut().filter(|intent| intent["status"] == "processing") {
            move_to(intent, status);
        }
    }

    pub(super) fn cancel_all(&mut self) {
        for intent in self.intents.iter_mut().filter(|intent| intent["status"] != "succeeded") {
            move_to(intent, "canceled");
        }
    }

    /// One request.
    pub(super) fn act(&mut self, seen: &Seen, form: &mut Form) -> Acted {
        let (verb, path) = seen.what.split_once(' ').unwrap_or_default();
        let rest: Vec<_> = path.trim_start_matches("/v1/").split('/').collect();
        let not_acted = |refusal| (refusal, Keep::No);
        match (verb, rest.as_slice()) {
            ("POST", ["test_helpers", "shared_payment", "granted_tokens"]) => {
                self.grant(form).map_err(not_acted)
            }
            ("GET", ["shared_payment", "granted_tokens", id]) => self.token(id).map(shown).map_err(not_acted),
            ("POST", ["test_helpers", "shared_payment", "granted_tokens", id, "revoke"]) => {
                form.finish().map_err(not_acted)?;
                self.token(id).map_err(not_acted)?;
                self.revoke(id);
                self.token(id).map(shown).map_err(not_acted)
            }
            ("POST", ["payment_intents"]) => self.create(seen, form),
            ("GET", ["payment_intents"]) => {
                let limit = form.number("limit").map_err(not_acted)?.unwrap_or(10);
                form.finish().map_err(not_acted)?;
                let limit = usize::try_from(limit.clamp(1, 100)).unwrap_or(1);
                let data = self.intents.iter().rev().take(limit).cloned().collect();
                Ok(list("/v1/payment_intents", data, "list"))
            }
            ("GET", ["payment_intents", "search"]) => self.search(form).map_err(not_acted),
            ("GET", ["payment_intents", id]) => {
                form.finish().map_err(not_acted)?;
                self.intent(id).map(|intent| intent.clone()).map_err(not_acted)
            }
            ("POST", ["payment_intents", id, "cancel"]) => {
                form.word("cancellation_reason", &["abandoned", "requested_by_customer"])
                    .map_err(not_acted)?;
                form.finish().map_err(not_acted)?;
                let intent = self.intent(id).map_err(not_acted)?;
                match intent["status"].as_str() {
                    Some("succeeded" | "canceled" | "processing") => {
                        Err((Refusal::unexpected_state(intent.clone()), Keep::Yes))
                    }
                    _ => Ok(move_to(intent, "canceled").clone()),
                }
            }
            ("POST", ["payment_intents", id, "capture"]) => {
                form.finish().map_err(not_acted)?;
                let intent = self.intent(id).map_err(not_acted)?;
                match intent["status"].as_str() {
                    Some("requires_capture") => Ok(move_to(intent, "succeeded").clone()),
                    _ => Err((Refusal::unexpected_state(intent.clone()), Keep::Yes)),
                }
            }
            ("POST", ["refunds"]) => self.refund(form),
            ("GET", ["refunds"]) => self.refunds_of(form).map_err(not_acted),
            ("GET", ["refunds", id]) => {
                form.finish().map_err(not_acted)?;
                self.refund_called(id).map_err(not_acted)
            }
            _ => Err(not_acted(Refusal::new(
                404,
                "invalid_request_error",
                "",
                "",
                "Unrecognized request URL.",
            ))),
        }
    }

    fn grant(&mut self, form: &mut Form) -> Result<Value, Refusal> {
        let limits = Limits {
            card: form.required("payment_method")?,
            currency: form.required("usage_limits[currency]")?,
            max_amount: form.number("usage_limits[max_amount]")?.ok_or_else(|| {
                Refusal::invalid("parameter_missing", "usage_limits[max_amount]", "Missing.")
            })?,
            expires_at: form
                .number("usage_limits[expires_at]")?
                .and_then(|at| i64::try_from(at).ok())
                .ok_or_else(|| {
                    Refusal::invalid("parameter_missing", "usage_limits[expires_at]", "Missing.")
                })?,
            seller: form.take("seller_details[network_id]")?.unwrap_or_else(|| PROFILE.to_owned()),
        };
        form.map("shared_metadata")?;
        form.finish()?;
        if card(&limits.card).is_none() {
            return Err(Refusal::missing("PaymentMethod", "payment_method"));
        }
        if limits.expires_at <= self.now {
            return Err(Refusal::invalid("parameter_invalid", "usage_limits[expires_at]", "In the past."));
        }
        let id = self.issue(limits);
        self.token(&id).map(shown)
    }

    fn create(&mut self, seen: &Seen, form: &mut Form) -> Acted {
        // What is wrong with the request itself is not kept for its key.
        let order = Order::read(seen, form, self.minimums).map_err(|refusal| (refusal, Keep::No))?;
        self.pay(order).map_err(|refusal| (refusal, Keep::Yes))
    }

    fn pay(&mut self, order: Order) -> Result<Value, Refusal> {
        const PARAM: &str = "shared_payment_granted_token";
        let now = self.now;
        let id = self.id("pi");
        let Some(token) = self.tokens.iter_mut().find(|token| token.id == order.token) else {
            return Err(Refusal::missing("shared payment granted token", PARAM));
        };
        let limits = &token.limits;
        let broken = match token.state {
            TokenState::Used => Some("shared_payment_token_used"),
            TokenState::Revoked => Some("shared_payment_token_deactivated"),
            TokenState::Active if limits.expires_at <= now => Some("shared_payment_token_expired"),
            TokenState::Active if limits.currency != order.currency => {
                Some("shared_payment_token_currency_mismatch")
            }
            TokenState::Active if limits.max_amount < order.amount => {
                Some("shared_payment_token_amount_exceeded")
            }
            TokenState::Active if limits.seller != PROFILE => Some("shared_payment_token_wrong_seller"),
            TokenState::Active => None,
        };
        if let Some(code) = broken {
            return Err(Refusal::invalid(code, PARAM, "The token does not allow this."));
        }
        let behaviour = card(&limits.card);
        token.state = TokenState::Used;
        let mut intent = json!({
            "id": id, "object": "payment_intent", "amount": order.amount, "amount_received": 0,
            "amount_capturable": 0, "currency": order.currency, "status": "requires_payment_method",
            "created": now, "livemode": false, "metadata": order.metadata, "capture_method": order.capture,
            "application_fee_amount": order.fee, "on_behalf_of": order.on_behalf_of, "transfer_data": order.transfer,
        });
        let refused = match behaviour {
            Some(Card::Pays) if order.capture == "manual" => {
                move_to(&mut intent, "requires_capture");
                None
            }
            Some(Card::Pays) => {
                move_to(&mut intent, "succeeded");
                None
            }
            Some(Card::WantsItsHolder) => {
                move_to(&mut intent, "requires_action");
                None
            }
            Some(Card::Processes) => {
                move_to(&mut intent, "processing");
                None
            }
            Some(Card::Declines(code)) => Some(Refusal::declined(code, intent.clone())),
            None => Some(Refusal::declined("generic_decline", intent.clone())),
        };
        self.intents.push(intent.clone());
        refused.map_or(Ok(intent), Err)
    }

    fn search(&self, form: &mut Form) -> Result<Value, Refusal> {
        let query = form.required("query")?;
        form.number("limit")?;
        form.finish()?;
        let wanted = query
            .strip_prefix("metadata['")
            .and_then(|rest| rest.strip_suffix('\''))
            .and_then(|rest| rest.split_once("']:'"))
            .ok_or_else(|| Refusal::invalid("parameter_invalid", "query", "Not a query."))?;
        let matches = |intent: &&Value| intent["metadata"][wanted.0] == wanted.1;
        let data = self.intents.iter().rev().filter(matches).cloned().collect();
        Ok(list("/v1/payment_intents/search", data, "search_result"))
    }

    fn token(&self, id: &str) -> Result<&Token, Refusal> {
        let token = self.tokens.iter().find(|token| token.id == id);
        token.ok_or_else(|| Refusal::missing("shared payment granted token", "id"))
    }

    fn intent(&mut self, id: &str) -> Result<&mut Value, Refusal> {
        let intent = self.intents.iter_mut().find(|intent| intent["id"] == id);
        intent.ok_or_else(|| Refusal::missing("payment_intent", "intent"))
    }

    pub(super) fn id(&mut self, prefix: &str) -> String {
        self.count += 1;
        format!("{prefix}_{:08x}{:06}", rand::random::<u32>(), self.count)
    }
}

/// A well-formed request for a PaymentIntent with a token.
struct Order {
    amount: u64,
    currency: String,
    token: String,
    capture: String,
    metadata: Value,
    fee: Option<u64>,
    on_behalf_of: Option<String>,
    transfer: Value,
}

impl Order {
    fn read(seen: &Seen, form: &mut Form, minimums: Minimums) -> Result<Self, Refusal> {
        const TOKEN: &str = "shared_payment_granted_token";
        // Tokens are in preview: any other version does not know the parameter.
        if !seen.version.as_deref().is_some_and(|version| version.ends_with(".preview")) {
            return Err(Refusal::invalid("parameter_unknown", TOKEN, "Received unknown parameter."));
        }
        let amount = form
            .number("amount")?
            .ok_or_else(|| Refusal::invalid("parameter_missing", "amount", "Missing required parameter."))?;
        let currency = form.required("currency")?;
        if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_lowercase()) {
            return Err(Refusal::invalid("parameter_invalid", "currency", "Invalid currency."));
        }
        let least = MINIMUMS.iter().find(|(code, _)| *code == currency).map_or(1, |(_, least)| *least);
        if amount == 0 || (minimums == Minimums::General && amount < least) {
            return Err(Refusal::invalid("amount_too_small", "amount", "Amount too small."));
        }
        if amount > MOST {
            return Err(Refusal::invalid("amount_too_large", "amount", "Amount too large."));
        }
        // The draft sends it at the top, Stripe's own SDK below the payment method: one of both.
        let below = form.take(&format!("payment_method_data[{TOKEN}]"))?;
        let token = match (form.take(TOKEN)?, below) {
            (Some(token), None) | (None, Some(token)) => token,
            _ => return Err(Refusal::invalid("parameter_missing", TOKEN, "Exactly one token.")),
        };
        form.word("confirm", &["true"])?
            .ok_or_else(|| Refusal::invalid("parameter_missing", "confirm", "A token needs confirm=true."))?;
        let automatic = form.word("automatic_payment_methods[enabled]", &["true"])?;
        let redirects = form.word("automatic_payment_methods[allow_redirects]", &["never", "always"])?;
        let types = form.take("payment_method_types[]")?.or(form.take("payment_method_types[0]")?);
        match (automatic, redirects.as_deref(), types) {
            (Some(_), Some("never"), None) | (None, None, Some(_)) => {}
            _ => {
                return Err(Refusal::invalid(
                    "parameter_invalid",
                    "automatic_payment_methods",
                    "Without a return_url redirects have to be switched off.",
                ));
            }
        }
        let connected = |name: &str, account: Option<String>| match account.as_deref() {
            None | Some(CONNECTED) => Ok(account),
            Some(_) => Err(Refusal::missing("destination", name)),
        };
        let on_behalf_of = connected("on_behalf_of", form.take("on_behalf_of")?)?;
        let destination = connected("transfer_data[destination]", form.take("transfer_data[destination]")?)?;
        let part = form.number("transfer_data[amount]")?;
        let fee = form.number("application_fee_amount")?;
        if part.is_some() && (destination.is_none() || fee.is_some())
            || part.is_some_and(|part| part > amount)
        {
            return Err(Refusal::invalid("parameter_invalid", "transfer_data[amount]", "Invalid."));
        }
        let somebody = destination.is_some() || on_behalf_of.is_some() || seen.account.is_some();
        if fee.is_some_and(|fee| fee > amount || !somebody) {
            return Err(Refusal::invalid("parameter_invalid", "application_fee_amount", "Invalid."));
        }
        let order = Self {
            amount,
            currency,
            token,
            capture: form
                .word("capture_method", &["automatic", "automatic_async", "manual"])?
                .unwrap_or_else(|| "automatic_async".to_owned()),
            metadata: form.map("metadata")?,
            fee,
            on_behalf_of,
            transfer: destination.map_or(Value::Null, |to| json!({ "destination": to, "amount": part })),
        };
        form.finish()?;
        Ok(order)
    }
}

fn move_to<'a>(intent: &'a mut Value, status: &str) -> &'a mut Value {
    let amount = intent["amount"].clone();
    intent["status"] = status.into();
    intent["amount_received"] = if status == "succeeded" { amount.clone() } else { 0.into() };
    intent["amount_capturable"] = if status == "requires_capture" { amount } else { 0.into() };
    intent
}

fn shown(token: &Token) -> Value {
    json!({
        "id": token.id, "object": "shared_payment.granted_token", "created": token.created, "livemode": false,
        "deactivated_at": (token.state != TokenState::Active).then_some(token.created),
        "usage_limits": {
            "currency": token.limits.currency, "max_amount": token.limits.max_amount,
            "expires_at": token.limits.expires_at,
        },
    })
}
