//! Forms, read strictly, and the errors Stripe writes.

use serde_json::{Value, json};

/// The fields of a request, each of which has to be taken.
#[derive(Debug, Clone)]
pub(super) struct Form {
    fields: Vec<(String, String)>,
    taken: Vec<bool>,
}

impl Form {
    /// Reads an urlencoded form; a field twice is refused.
    pub(super) fn read(raw: &[u8]) -> Result<Self, Refusal> {
        let fields: Vec<(String, String)> = url::form_urlencoded::parse(raw).into_owned().collect();
        for (i, (name, _)) in fields.iter().enumerate() {
            if fields[..i].iter().any(|(other, _)| other == name) {
                return Err(Refusal::invalid("parameter_invalid", name, "Duplicate parameter."));
            }
        }
        let taken = vec![false; fields.len()];
        Ok(Self { fields, taken })
    }

    pub(super) fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// Takes a field out. An empty one is refused, as Stripe refuses to unset what was never set.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let Some(at) = self.fields.iter().position(|(field, _)| field == name) else { return Ok(None) };
        self.taken[at] = true;
        match self.fields[at].1.as_str() {
            "" => Err(Refusal::invalid("parameter_invalid_empty", name, "You passed an empty string.")),
            value => Ok(Some(value.to_owned())),
        }
    }

    pub(super) fn required(&mut self, name: &str) -> Result<String, Refusal> {
        self.take(name)?
            .ok_or_else(|| Refusal::invalid("parameter_missing", name, "Missing required parameter."))
    }

    /// A whole number without sign, point or leading zeros.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        match text.parse::<u64>() {
            Ok(number) if number.to_string() == text => Ok(Some(number)),
            _ => Err(Refusal::invalid("parameter_invalid_integer", name, "Invalid integer.")),
        }
    }

    /// One of these words.
    pub(super) fn word(&mut self, name: &str, words: &[&str]) -> Result<Option<String>, Refusal> {
        match self.take(name)? {
            Some(word) if !words.contains(&word.as_str()) => {
                Err(Refusal::invalid("parameter_invalid", name, "Invalid value."))
            }
            word => Ok(word),
        }
    }

    /// `prefix[…]`, at most 50 of them with keys of 40 and values of 500 characters.
    pub(super) fn map(&mut self, prefix: &str) -> Result<Value, Refusal> {
        let mut map = serde_json::Map::new();
        for (at, (name, value)) in self.fields.iter().enumerate() {
            let key = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('[')?.strip_suffix(']'));
            let Some(key) = key else { continue };
            self.taken[at] = true;
            if key.is_empty() || key.len() > 40 || value.len() > 500 || key.contains(['[', ']']) {
                return Err(Refusal::invalid("parameter_invalid", name, "Invalid metadata."));
            }
            map.insert(key.to_owned(), value.as_str().into());
        }
        if map.len() > 50 {
            return Err(Refusal::invalid("parameter_invalid", prefix, "Too many keys."));
        }
        Ok(map.into())
    }

    /// Nothing may be left.
    pub(super) fn finish(&self) -> Result<(), Refusal> {
        match self.fields.iter().zip(&self.taken).find(|(_, taken)| !**taken) {
            Some(((name, _), _)) => Err(Refusal::invalid(
                "parameter_unknown",
                name,
                &format!("Received unknown parameter: {name}"),
            )),
            None => Ok(()),
        }
    }
}

/// An error of Stripe's.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    error: Box<Value>,
}

impl Refusal {
    pub(super) fn new(status: u16, kind: &str, code: &str, param: &str, message: &str) -> Self {
        let mut error = json!({ "type": kind, "message": message });
        for (name, value) in [("code", code), ("param", param)] {
            if !value.is_empty() {
                error[name] = value.into();
            }
        }
        Self { status, error: Box::new(error) }
    }

    pub(super) fn invalid(code: &str, param: &str, message: &str) -> Self {
        Self::new(400, "invalid_request_error", code, param, message)
    }

    pub(super) fn missing(what: &str, param: &str) -> Self {
        Self::new(404, "invalid_request_error", "resource_missing", param, &format!("No such {what}"))
    }

    pub(super) fn declined(decline: &str, intent: Value) -> Self {
        let code = match decline {
            "authentication_required" | "expired_card" => decline,
            _ => "card_declined",
        };
        let mut refusal = Self::new(402, "card_error", code, "", "Your card was declined.").about(intent);
        refusal.error["decline_code"] = decline.into();
        refusal
    }

    pub(super) fn unexpected_state(intent: Value) -> Self {
        const MESSAGE: &str = "This PaymentIntent's status does not allow this.";
        Self::invalid("payment_intent_unexpected_state", "", MESSAGE).about(intent)
    }

    pub(super) fn other_parameters() -> Self {
        const MESSAGE: &str = "Keys for idempotent requests can only be used with the same parameters they were first used with.";
        Self::new(400, "idempotency_error", "", "", MESSAGE)
    }

    /// An error that says nothing about the request.
    pub(super) fn trouble(status: u16) -> Self {
        match status {
            409 => Self::new(409, "idempotency_error", "idempotency_key_in_use", "", "In use."),
            429 => Self::new(429, "invalid_request_error", "rate_limit", "", "Too many requests."),
            400..500 => Self::new(status, "invalid_request_error", "", "", "Refused."),
            _ => Self::new(status, "api_error", "", "", "Something went wrong on Stripe's end."),
        }
    }

    pub(super) fn body(&self) -> Value {
        json!({ "error": self.error })
    }

    fn about(mut self, intent: Value) -> Self {
        self.error["payment_intent"] = intent;
        self
    }
}
