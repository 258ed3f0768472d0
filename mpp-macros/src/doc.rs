//! Documentation: the handler's doc comment for the spec, and the line that says in rustdoc what a call costs.

use crate::amount::Amount;
use crate::attr::Attr;
use crate::offer::{Offer, Offers, Price};
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// The doc comment as one `&'static str`, one line per line; `None` where there is none.
pub(crate) fn text(docs: &[&Attribute]) -> Option<TokenStream> {
    let lines: Vec<&Expr> = docs
        .iter()
        .filter_map(|attr| match &attr.meta {
            Meta::NameValue(pair) => Some(&pair.value),
            // `#[doc(hidden)]`, `#[doc(alias = …)]`
            _ => None,
        })
        .collect();
    if lines.is_empty() {
        return None;
    }
    let literals: Option<Vec<String>> = lines.iter().map(|line| literal(line)).collect();
    Some(match literals {
        Some(lines) => lines.join("\n").trim().to_token_stream(),
        // `#[doc = include_str!(…)]`: only the compiler knows the text.
        None => quote!(::core::concat!(#(#lines, "\n"),*)),
    })
}

/// The appended paragraph: `Priced: 0.05 usdc by tempo, 0.50 usd by stripe; of which 2.5% to `platform`.`
pub(crate) fn priced(attr: &Attr, price: &Price<'_>, docs: &[&Attribute]) -> TokenStream {
    let line = format!(" Priced: {}.", sentence(attr, price));
    let blank = docs.first().map(|_| quote!(#[doc = ""]));
    quote! {
        #blank
        #[doc = #line]
    }
}

fn sentence(attr: &Attr, price: &Price<'_>) -> String {
    if attr.proof.is_some() {
        return match &price.offers {
            Offers::List(offers) => {
                let names: Vec<_> = offers.iter().map(|o| o.network.name()).collect();
                format!("a proof of identity by {}; nothing is charged", names.join(", "))
            }
            Offers::Terms { .. } => "a proof of identity; nothing is charged".to_owned(),
        };
    }
    let mut out = match &price.offers {
        Offers::Terms { terms, amount } => {
            let terms = terms.to_token_stream().to_string().replace(' ', "");
            format!("{} on the terms `{terms}`", how_much(attr, amount, ""))
        }
        Offers::List(offers) => {
            let lines: Vec<_> = offers.iter().map(|offer| line(attr, offer)).collect();
            let computed = offers.iter().any(|o| matches!(o.amount, Amount::Computed(_)));
            // "computed, at most 2.00 usdc" has a comma of its own.
            lines.join(if computed { "; " } else { ", " })
        }
    };
    if let Some(shares) = &attr.split {
        let parts: Vec<_> = shares
            .iter()
            .map(|share| format!("{} to `{}`", share.part.text(), share.payee.unraw()))
            .collect();
        out.push_str(&format!("; of which {}", parts.join(", ")));
    }
    if attr.sponsored.is_some() {
        out.push_str("; fees are sponsored");
    }
    if attr.free_if.is_some() {
        out.push_str("; free for some requests");
    }
    if attr.on_success.is_some() {
        out.push_str("; taken after a success");
    }
    if attr.replay.is_some() {
        out.push_str("; answered again for the same payment");
    }
    out
}

fn line(attr: &Attr, offer: &Offer<'_>) -> String {
    format!("{} by {}", how_much(attr, offer.amount, &offer.currency.name()), offer.network.name())
}

fn how_much(attr: &Attr, amount: &Amount, currency: &str) -> String {
    let text = match (amount, &attr.up_to) {
        (Amount::Fixed(literal), _) => format!("{} {currency}", literal.text),
        (Amount::Computed(_), Some(ceiling)) => format!("computed, at most {} {currency}", ceiling.text),
        (Amount::Computed(_), None) if currency.is_empty() => "computed".to_owned(),
        (Amount::Computed(_), None) => format!("computed, in {currency}"),
    };
    text.trim_end().to_owned()
}

fn literal(expr: &Expr) -> Option<String> {
    match expr {
        // rustdoc drops the space after `///` too.
        Expr::Lit(ExprLit { lit: Lit::Str(s), .. }) => {
            let line = s.value();
            Some(line.strip_prefix(' ').unwrap_or(&line).to_owned())
        }
        _ => None,
    }
}
