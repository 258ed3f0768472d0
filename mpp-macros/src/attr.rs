//! The grammar the three macros share: `key = value`, `methods(…)`, `split(…)`, `bind(…)`.
//!
//! Each key is read and checked on its own here; what keys mean together is checked in `offer`.

use crate::amount::{Amount, Literal, unwrapped};
use crate::currency::Currency;
use crate::diag::{Sink, did_you_mean, list, nearest};
use crate::methods::{Method, methods};
use crate::split::{Share, split};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, Ident, LitBool, LitStr, Path, Token, Type, token};

/// Challenges travel in headers.
const LONGEST_DESCRIPTION: usize = 200;
/// Networks and processors keep references in fields of their own.
const LONGEST_EXTERNAL_ID: usize = 64;

/// Whose keys these are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Macro {
    Charge,
    Price,
    Terms,
}

impl Macro {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Charge => "#[mpp::charge]",
            Self::Price => "price!",
            Self::Terms => "terms!",
        }
    }

    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Charge => &[
                "amount",
                "currency",
                "methods",
                "terms",
                "free_if",
                "up_to",
                "description",
                "external_id",
                "fees",
                "split",
                "proof",
                "challenge",
                "capture",
                "settle",
                "honor",
                "bind",
                "digest",
                "replay",
                "state",
                "crate",
            ],
            Self::Price => &[
                "amount",
                "currency",
                "methods",
                "terms",
                "name",
                "free_if",
                "up_to",
                "description",
                "external_id",
                "fees",
                "split",
                "proof",
                "honor",
                "bind",
                "digest",
                "replay",
                "crate",
            ],
            Self::Terms => &["currency", "methods", "fees", "split", "replay", "crate"],
        }
    }
}

/// What was written, key by key.
///
/// Keys that take one word only are kept as the key itself (`Some` when written), so that errors about combinations have
/// a place to point at.
#[derive(Default)]
pub(crate) struct Attr {
    pub(crate) amount: Option<Amount>,
    pub(crate) currency: Option<Currency>,
    pub(crate) methods: Option<Vec<Method>>,
    pub(crate) terms: Option<Path>,
    pub(crate) name: Option<LitStr>,
    pub(crate) free_if: Option<Expr>,
    pub(crate) up_to: Option<Literal>,
    pub(crate) description: Option<LitStr>,
    pub(crate) external_id: Option<LitStr>,
    /// `fees = "sponsored"`
    pub(crate) sponsored: Option<Ident>,
    pub(crate) split: Option<Vec<Share>>,
    /// `proof = true`
    pub(crate) proof: Option<Ident>,
    /// `challenge = "first"`
    pub(crate) challenge_first: Option<Ident>,
    /// `capture = "success"`
    pub(crate) on_success: Option<Ident>,
    /// `settle = "before"`
    pub(crate) before: Option<Ident>,
    /// `honor = "quote"`
    pub(crate) honor_quote: Option<Ident>,
    /// Header names, lower-cased.
    pub(crate) bind: Option<Vec<String>>,
    /// `digest = false`
    pub(crate) unbound: Option<Ident>,
    /// `replay = "response"`
    pub(crate) replay: Option<Ident>,
    pub(crate) state: Option<Type>,
    krate: Option<Path>,
    written: Vec<Ident>,
    /// Keys that were written, rightly or wrongly: none of them is reported as missing too.
    attempted: Vec<String>,
}

impl Attr {
    /// Reads everything that can be read; mistakes go to `errors`.
    pub(crate) fn parse(tokens: TokenStream, of: Macro, errors: &Sink) -> Self {
        let mut out = Self::default();
        let parser = |input: ParseStream| {
            entries(input, errors, |input| out.entry(input, of, errors));
            Ok(())
        };
        if let Err(e) = parser.parse2(tokens) {
            errors.push(e);
        }
        out
    }

    /// The path to this library, as the user's crate sees it.
    pub(crate) fn krate(&self) -> TokenStream {
        self.krate.as_ref().map_or_else(|| quote!(::mpp), ToTokens::to_token_stream)
    }

    pub(crate) fn attempted(&self, key: &str) -> bool {
        self.attempted.iter().any(|k| k == key)
    }

    /// The key as written, for errors.
    pub(crate) fn key(&self, key: &str) -> Option<&Ident> {
        self.written.iter().find(|k| *k == key)
    }

    fn entry(&mut self, input: ParseStream, of: Macro, errors: &Sink) -> syn::Result<()> {
        if input.peek(LitStr) {
            self.attempted.push("amount".into());
        }
        let key = input.call(key)?;
        let name = key.to_string();
        if !of.keys().contains(&name.as_str()) {
            return Err(self.unknown(&key, of));
        }
        if self.key(&name).is_some() {
            return Err(syn::Error::new(key.span(), format!("`{name}` is given twice")));
        }
        self.attempted.push(name.clone());
        self.written.push(key.clone());
        match name.as_str() {
            "amount" => self.amount = Amount::from_expr(value(input, &key, |i| i.parse())?, errors),
            "currency" => self.currency = Some(value(input, &key, Currency::parse)?),
            "methods" => {
                let content;
                if !input.peek(token::Paren) {
                    let message = "`methods` takes a list\nhelp: write `methods(tempo, stripe)`";
                    return Err(syn::Error::new(key.span(), message));
                }
                syn::parenthesized!(content in input);
                self.methods = methods(&content, &key, errors);
            }
            "terms" => self.terms = Some(value(input, &key, Path::parse_mod_style)?),
            "name" => self.name = Some(scope_name(value(input, &key, |i| string(i, "name", "search"))?)?),
            "free_if" => self.free_if = Some(value(input, &key, |i| i.parse())?),
            "up_to" => {
                let ceiling = Literal::read("up_to", &value(input, &key, |i| string(i, "up_to", "2.00"))?)?;
                if ceiling.is_zero() {
                    return Err(syn::Error::new(
                        ceiling.span,
                        "up_to is zero: every request would be refused",
                    ));
                }
                self.up_to = Some(ceiling);
            }
            "description" => {
                self.description = Some(description(value(input, &key, |i| string(i, "description", "…"))?)?)
            }
            "external_id" => {
                let text = value(input, &key, |i| string(i, "external_id", "sku-42"))?;
                self.external_id = Some(reference(text)?);
            }
            "fees" => {
                word(input, &key, "sponsored", "the server pays the network's fee")?;
                self.sponsored = Some(key);
            }
            "split" => {
                let content;
                if !input.peek(token::Paren) {
                    let message = "`split` takes a list of payees\nhelp: write `split(platform = \"2.5%\")`";
                    return Err(syn::Error::new(key.span(), message));
                }
                syn::parenthesized!(content in input);
                self.split = split(&content, &key, errors);
            }
            "proof" => self.proof = value(input, &key, LitBool::parse_switch)?.then_some(key),
            "challenge" => {
                word(input, &key, "first", "the challenge comes before validation")?;
                self.challenge_first = Some(key);
            }
            "capture" => {
                word(
                    input,
                    &key,
                    "success",
                    "the money is reserved first and taken after the handler's success",
                )?;
                self.on_success = Some(key);
            }
            "settle" => {
                let help = "the default\nhelp: to take the money only after a success, write `capture = \"success\"`";
                word(input, &key, "before", help)?;
                self.before = Some(key);
            }
            "honor" => {
                word(input, &key, "quote", "the quoted amount stands until the challenge expires")?;
                self.honor_quote = Some(key);
            }
            "bind" => {
                let content;
                if !input.peek(token::Paren) {
                    let message = "`bind` takes a list of request headers\nhelp: write `bind(\"x-tier\")`, or `bind()` for none";
                    return Err(syn::Error::new(key.span(), message));
                }
                syn::parenthesized!(content in input);
                self.bind = Some(headers(&content, errors));
            }
            "digest" => self.unbound = (!value(input, &key, LitBool::parse_switch)?).then_some(key),
            "replay" => {
                word(input, &key, "response", "a delivered credential gets its response again")?;
                self.replay = Some(key);
            }
            "state" => self.state = Some(value(input, &key, |i| i.parse())?),
            "crate" => self.krate = Some(value(input, &key, Path::parse_mod_style)?),
            _ => unreachable!("every key of `Macro::keys` has an arm"),
        }
        Ok(())
    }

    fn unknown(&mut self, key: &Ident, of: Macro) -> syn::Error {
        let name = key.to_string();
        let near = match other_word(&name).filter(|known| of.keys().contains(known)) {
            Some(known) => vec![known],
            None => nearest(&name, of.keys()),
        };
        self.attempted.extend(near.first().map(|near| (*near).to_owned()));
        let hint = if PAYEE.contains(&name.as_str()) {
            "who is paid is said once, where the method is configured: `Tempo::new(\"0x…\")`".to_owned()
        } else {
            did_you_mean(&near).unwrap_or_else(|| format!("known keys: {}", list(of.keys())))
        };
        if Macro::Charge.keys().contains(&name.as_str()) {
            let whose = of.name();
            return syn::Error::new(key.span(), format!("`{name}` is not a key of `{whose}`\nhelp: {hint}"));
        }
        syn::Error::new(key.span(), format!("unknown key `{name}`\nhelp: {hint}"))
    }
}

/// What others call the payee of a price. It is no key here: a price says what is due, the method's configuration to whom.
const PAYEE: [&str; 4] = ["pay_to", "payee", "recipient", "to"];

/// The key that is meant by a word of other libraries, which no slip of the finger leads to.
fn other_word(name: &str) -> Option<&'static str> {
    match name {
        "price" | "cost" | "value" => Some("amount"),
        "asset" | "token" | "unit" => Some("currency"),
        "accepts" | "networks" => Some("methods"),
        "max" | "max_amount" => Some("up_to"),
        _ => None,
    }
}

/// A word before `=` or `(`; `crate` is one too.
pub(crate) fn key(input: ParseStream) -> syn::Result<Ident> {
    input.call(Ident::parse_any).map_err(|e| {
        syn::Error::new(e.span(), "expected a key\nhelp: a price is written `amount = \"0.05\"`")
    })
}

/// `= value`, with errors that name the key when there is none.
pub(crate) fn value<T>(
    input: ParseStream,
    key: &Ident,
    parse: impl FnOnce(ParseStream) -> syn::Result<T>,
) -> syn::Result<T> {
    if !input.peek(Token![=]) {
        return Err(syn::Error::new(key.span(), format!("`{key}` needs a value\nhelp: write `{key} = …`")));
    }
    input.parse::<Token![=]>()?;
    if input.is_empty() || input.peek(Token![,]) {
        return Err(syn::Error::new(key.span(), format!("`{key}` has no value yet")));
    }
    parse(input).map_err(|e| {
        // syn reports an end of input at the call site; we know which key it belongs to.
        if e.to_string().starts_with("unexpected end of input") {
            syn::Error::new(key.span(), format!("the value of `{key}` is not complete"))
        } else {
            e
        }
    })
}

/// Calls `f` for each comma-separated entry; after an error, resumes at the next comma.
pub(crate) fn entries(input: ParseStream, errors: &Sink, mut f: impl FnMut(ParseStream) -> syn::Result<()>) {
    while !input.is_empty() {
        if let Err(e) = f(input) {
            errors.push(e);
            skip_to_comma(input);
        } else if !input.is_empty() && !input.peek(Token![,]) {
            errors.push(input.error("expected `,`"));
            // A forgotten comma before the next key: go on as if it were there.
            if input.peek(Ident::peek_any) {
                continue;
            }
            skip_to_comma(input);
        }
        // Cannot fail: at a comma or at the end.
        let _ = input.parse::<Option<Token![,]>>();
    }
}

fn skip_to_comma(input: ParseStream) {
    while !input.is_empty() && !input.peek(Token![,]) {
        // Cannot fail: there is a token.
        let _ = input.parse::<proc_macro2::TokenTree>();
    }
}

fn string(input: ParseStream, key: &str, example: &str) -> syn::Result<LitStr> {
    if input.peek(LitStr) {
        return input.parse();
    }
    let found: Expr = input.parse()?;
    Err(syn::Error::new_spanned(found, format!("`{key}` is a string\nhelp: write `{key} = \"{example}\"`")))
}

/// A key with one possible value.
fn word(input: ParseStream, key: &Ident, only: &str, meaning: &str) -> syn::Result<()> {
    let found = unwrapped(value(input, key, |input| input.parse())?);
    match &found {
        Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(s), .. }) if s.value() == only => Ok(()),
        _ => Err(syn::Error::new_spanned(
            found,
            format!("`{key}` has one possible value: `{key} = \"{only}\"`, {meaning}"),
        )),
    }
}

trait ParseSwitch {
    fn parse_switch(input: ParseStream) -> syn::Result<bool>;
}

impl ParseSwitch for LitBool {
    fn parse_switch(input: ParseStream) -> syn::Result<bool> {
        if input.peek(LitBool) {
            return Ok(input.parse::<LitBool>()?.value);
        }
        let found: Expr = input.parse()?;
        Err(syn::Error::new_spanned(found, "expected `true` or `false`"))
    }
}

fn description(text: LitStr) -> syn::Result<LitStr> {
    let value = text.value();
    let length = value.chars().count();
    if value.trim().is_empty() {
        return Err(syn::Error::new(text.span(), "description is empty; remove it"));
    }
    if length > LONGEST_DESCRIPTION {
        return Err(syn::Error::new(
            text.span(),
            format!(
                "description has {length} characters; challenges must stay small, \
                 keep it under {LONGEST_DESCRIPTION}"
            ),
        ));
    }
    if value.chars().any(char::is_control) {
        return Err(syn::Error::new(
            text.span(),
            "description has a line break or another control character",
        ));
    }
    Ok(text)
}

/// The `external_id` of a price: the merchant's reference.
fn reference(text: LitStr) -> syn::Result<LitStr> {
    let value = text.value();
    if value.is_empty() || value.len() > LONGEST_EXTERNAL_ID || !value.bytes().all(|b| b.is_ascii_graphic()) {
        let message =
            format!("external_id has 1 to {LONGEST_EXTERNAL_ID} visible ASCII characters, and no spaces");
        return Err(syn::Error::new(text.span(), message));
    }
    Ok(text)
}

/// The `name` of a `price!` scopes its challenges.
fn scope_name(text: LitStr) -> syn::Result<LitStr> {
    let value = text.value();
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    if value.is_empty() || value.len() > 64 || !value.chars().all(fits) {
        let message = "name has 1 to 64 characters: letters, digits, `_`, `-`, `.`, `/`";
        return Err(syn::Error::new(text.span(), message));
    }
    Ok(text)
}

/// Header names: tokens of RFC 9110 section 5.6.2, in the lower case that HTTP/2 and `http::HeaderName` use.
fn headers(input: ParseStream, errors: &Sink) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    entries(input, errors, |input| {
        let text = if input.peek(LitStr) {
            input.parse::<LitStr>()?
        } else {
            let found: Expr = input.parse()?;
            let message = "`bind` takes request headers\nhelp: write `bind(\"x-tier\")`";
            return Err(syn::Error::new_spanned(found, message));
        };
        let name = text.value().to_ascii_lowercase();
        let fits = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(fits) {
            return Err(syn::Error::new(text.span(), format!("`{name}` is not the name of a header")));
        }
        if out.contains(&name) {
            return Err(syn::Error::new(text.span(), format!("`{name}` is bound twice")));
        }
        out.push(name);
        Ok(())
    });
    out
}

/// Where errors about the annotation as a whole go.
pub(crate) fn whole() -> Span {
    Span::call_site()
}

#[cfg(test)]
mod tests {
    use super::{Attr, Macro, PAYEE, other_word};
    use crate::diag::Sink;
    use quote::{format_ident, quote};

    fn said_of(word: &str) -> String {
        let (errors, word) = (Sink::default(), format_ident!("{word}"));
        Attr::parse(quote!(#word = "0.05"), Macro::Charge, &errors);
        errors.into_tokens().to_string()
    }

    #[test]
    fn a_word_of_another_library_leads_to_the_key_that_is_meant() {
        for (word, key) in
            [("price", "amount"), ("asset", "currency"), ("networks", "methods"), ("max_amount", "up_to")]
        {
            assert!(Macro::Charge.keys().contains(&key) && other_word(word) == Some(key), "{word}");
            assert!(said_of(word).contains(&format!("did you mean `{key}`?")), "{}", said_of(word));
        }
        for word in PAYEE {
            assert!(said_of(word).contains("where the method is configured"), "{}", said_of(word));
        }
        assert!(said_of("discount").contains("known keys: `amount`"));
    }
}
