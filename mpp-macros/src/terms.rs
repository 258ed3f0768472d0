//! `terms!`: who can be paid, and in which currency, for prices to share.

use crate::amount::Amount;
use crate::attr::{Attr, Macro, whole};
use crate::diag::{Sink, at};
use crate::methods::Method;
use crate::offer::{currencies, distinct, precision};
use crate::split;
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

/// A const expression of type `Terms`.
pub(crate) fn terms(tokens: TokenStream) -> TokenStream {
    let errors = Sink::default();
    let attr = Attr::parse(tokens, Macro::Terms, &errors);
    let krate = attr.krate();
    let methods = attr.methods.as_deref().unwrap_or_default();
    if methods.is_empty() && !attr.attempted("methods") {
        errors.at(whole(), "nobody could pay: `methods` is missing\nhelp: add `methods(tempo)`");
    }
    distinct(&attr, methods, &errors);
    currencies(&attr, methods, &errors);
    precision(&attr, methods, &errors);
    split::check(&attr, methods, &errors);
    let terms: Option<Vec<_>> = methods.iter().map(|method| term(&attr, method, &krate, &errors)).collect();
    if !errors.is_empty() {
        let errors = errors.into_tokens();
        return quote! {{
            #errors
            #krate::Terms::new(&[])
        }};
    }
    let terms = terms.unwrap_or_default();
    let sponsored = attr.sponsored.as_ref().map(|_| quote!(.sponsored()));
    let replay = attr.replay.as_ref().map(|_| quote!(.replayed()));
    let split = attr.split.as_ref().map(|shares| {
        let shares = split::tokens(shares, &krate);
        quote!(.split(#shares))
    });
    quote!(#krate::Terms::new(&[#(#terms),*])#sponsored #replay #split)
}

fn term(attr: &Attr, method: &Method, krate: &TokenStream, errors: &Sink) -> Option<TokenStream> {
    let network = method.network.tokens(krate);
    let currency = method.currency.as_ref().or(attr.currency.as_ref())?.tokens(krate, &method.network);
    let (amount, span) = match &method.amount {
        None => (quote!(::core::option::Option::None), method.network.span()),
        Some(Amount::Fixed(own)) => {
            if own.is_zero() {
                errors.at(
                    own.span,
                    "a price of zero charges nothing\nhelp: leave `amount` out to use each price's own",
                );
            }
            let amount = own.tokens(krate);
            (quote!(::core::option::Option::Some(#amount)), own.span)
        }
        Some(Amount::Computed(expr)) => {
            let message = "terms are shared by several prices, so an amount in them is a literal\n\
                           help: write the expression in the price: `amount = …`";
            errors.on(expr, message);
            return None;
        }
    };
    let krate = at(span, krate);
    Some(quote_spanned! {span=>
        #krate::__private::TermSpec { method: #network, currency: #currency, amount: #amount }
    })
}
