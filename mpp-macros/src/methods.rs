//! `methods(tempo, stripe(amount = "0.50", currency = "usd"), crate::payments::Invoice)`.
//!
//! A method may be listed once for each of several currencies; `offer` checks that, because a currency may be shared.

use crate::amount::Amount;
use crate::attr::{entries, value};
use crate::currency::Currency;
use crate::diag::{Sink, at, did_you_mean, list, nearest};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote_spanned};
use syn::parse::ParseStream;
use syn::spanned::Spanned;
use syn::{Path, Token, token};

/// Name and marker type in `mpp::method::marker`.
const BUILT_IN: &[(&str, &str)] =
    &[("tempo", "Tempo"), ("evm", "Evm"), ("stripe", "Stripe"), ("sandbox", "Sandbox")];

/// One entry of `methods(…)`.
pub(crate) struct Method {
    pub(crate) network: Network,
    pub(crate) amount: Option<Amount>,
    pub(crate) currency: Option<Currency>,
}

/// Which payment method.
pub(crate) enum Network {
    /// A bare name.
    BuiltIn { name: Ident, marker: &'static str },
    /// A path to a type that implements `PaymentMethod`.
    Own(Path),
}

impl Network {
    pub(crate) fn span(&self) -> Span {
        match self {
            Self::BuiltIn { name, .. } => name.span(),
            Self::Own(path) => path.span(),
        }
    }

    /// The tokens the user wrote.
    pub(crate) fn written(&self) -> TokenStream {
        match self {
            Self::BuiltIn { name, .. } => name.to_token_stream(),
            Self::Own(path) => path.to_token_stream(),
        }
    }

    /// As written, for messages and documentation.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::BuiltIn { name, .. } => name.to_string(),
            Self::Own(path) => path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default(),
        }
    }

    /// A const expression: the method's identifier. Spanned where the user named the method, because a marker whose
    /// feature is off, or a type that is no payment method, is reported by rustc.
    pub(crate) fn tokens(&self, krate: &TokenStream) -> TokenStream {
        match self {
            Self::BuiltIn { name, marker } => {
                let (krate, marker) = (at(name.span(), krate), format_ident!("{marker}", span = name.span()));
                quote_spanned!(name.span()=> <#krate::__private::marker::#marker as #krate::__private::PaymentMethod>::NAME)
            }
            Self::Own(path) => {
                let krate = at(path.span(), krate);
                quote_spanned!(path.span()=> <#path as #krate::__private::PaymentMethod>::NAME)
            }
        }
    }

    /// The same for the same method.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::BuiltIn { name, .. } => name.to_string(),
            Self::Own(path) => path.to_token_stream().to_string(),
        }
    }
}

/// The inside of `methods(…)`; `None` when a mistake was reported that leaves nobody to pay.
pub(crate) fn methods(input: ParseStream, key: &Ident, errors: &Sink) -> Option<Vec<Method>> {
    if input.is_empty() {
        errors
            .on(key, "`methods` is empty: nobody could pay\nhelp: name at least one, e.g. `methods(tempo)`");
        return None;
    }
    let mut out: Vec<Method> = Vec::new();
    entries(input, errors, |input| {
        let (written, network) = network(input, errors)?;
        if input.peek(Token![=]) {
            let name = written.to_token_stream().to_string().replace(' ', "");
            return Err(syn::Error::new_spanned(
                &written,
                format!("the price of one method goes in parentheses\nhelp: write `{name}(amount = \"…\")`"),
            ));
        }
        // The arguments of an unknown method are checked too.
        let (amount, currency) = arguments(input, errors)?;
        out.extend(network.map(|network| Method { network, amount, currency }));
        Ok(())
    });
    (!out.is_empty()).then_some(out)
}

fn network(input: ParseStream, errors: &Sink) -> syn::Result<(Path, Option<Network>)> {
    let path = match input.call(Path::parse_mod_style) {
        Ok(path) => path,
        Err(e) => {
            return Err(syn::Error::new(
                e.span(),
                "expected a payment method\nhelp: write `methods(tempo, stripe)`",
            ));
        }
    };
    let Some(name) = path.get_ident() else { return Ok((path.clone(), Some(Network::Own(path)))) };
    let text = name.to_string();
    if let Some((_, marker)) = BUILT_IN.iter().find(|(known, _)| *known == text) {
        let network = Network::BuiltIn { name: name.clone(), marker };
        return Ok((path, Some(network)));
    }
    let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    let hint = did_you_mean(&nearest(&text, &names))
        .unwrap_or_else(|| format!("known payment methods: {}", list(&names)));
    errors.on(
        name,
        format!(
            "unknown payment method `{text}`\nhelp: {hint}\n\
             help: for a method of your own, give its type: `methods(crate::MyMethod)`"
        ),
    );
    Ok((path, None))
}

/// `(amount = …, currency = …)`, or nothing.
fn arguments(input: ParseStream, errors: &Sink) -> syn::Result<(Option<Amount>, Option<Currency>)> {
    let (mut amount, mut currency) = (None, None);
    if !input.peek(token::Paren) {
        return Ok((None, None));
    }
    let content;
    syn::parenthesized!(content in input);
    let mut written: Vec<String> = Vec::new();
    entries(&content, errors, |input| {
        let key = input.call(crate::attr::key)?;
        let name = key.to_string();
        if name != "amount" && name != "currency" {
            return Err(syn::Error::new(
                key.span(),
                format!(
                    "unknown key `{name}` for a payment method\nhelp: a method takes `amount` and `currency`"
                ),
            ));
        }
        if written.contains(&name) {
            return Err(syn::Error::new(key.span(), format!("`{name}` is given twice")));
        }
        written.push(name.clone());
        if name == "amount" {
            amount = Amount::from_expr(value(input, &key, |input| input.parse())?, errors);
        } else {
            currency = Some(value(input, &key, Currency::parse)?);
        }
        Ok(())
    });
    Ok((amount, currency))
}
