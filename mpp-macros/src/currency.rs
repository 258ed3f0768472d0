//! Currencies: a name from the built-in list, a name an own method knows, or a path to a `Currency`.

use crate::amount::unwrapped;
use crate::diag::{Sink, at, did_you_mean, list, nearest};
use crate::methods::Network;
use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::parse::ParseStream;
use syn::{Expr, ExprLit, ExprPath, Lit, LitStr, Path};

/// Name and decimal places, as in `mpp::Currency::KNOWN`; a test in `ui-tests` compares the two lists.
const KNOWN: &[(&str, u8)] = &[
    ("usdc", 6),
    ("eurc", 6),
    ("pathusd", 6),
    ("alphausd", 6),
    ("eth", 18),
    ("pol", 18),
    ("avax", 18),
    ("usd", 2),
    ("eur", 2),
    ("gbp", 2),
    ("jpy", 0),
    ("sat", 0),
];

/// The value of a `currency` key.
pub(crate) enum Currency {
    /// `"usdc"`, or a name that only an own method knows.
    Name(LitStr),
    /// `crate::GOLD`; its precision is checked in const evaluation.
    Const(Path),
}

impl Currency {
    pub(crate) fn parse(input: ParseStream) -> syn::Result<Self> {
        let value = unwrapped(input.parse()?);
        let lower = |path: &Path| {
            path.get_ident().map(ToString::to_string).filter(|i| i.contains(char::is_lowercase))
        };
        match &value {
            Expr::Lit(ExprLit { lit: Lit::Str(name), .. }) => Ok(Self::Name(name.clone())),
            Expr::Path(ExprPath { path, qself: None, .. }) => match lower(path) {
                // A constant is not called `usdc`; the quotes were forgotten.
                Some(name) => Err(not_a_string(&value, &name)),
                None => Ok(Self::Const(path.clone())),
            },
            other => Err(not_a_string(other, "usdc")),
        }
    }

    /// As written, for messages and documentation.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Name(name) => name.value(),
            Self::Const(path) => path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default(),
        }
    }

    /// The same for the same currency, as far as names go.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Name(name) => name.token().to_string(),
            Self::Const(path) => path.to_token_stream().to_string(),
        }
    }

    /// Decimal places, where they are known at expansion.
    pub(crate) fn decimals(&self) -> Option<u8> {
        match self {
            Self::Name(name) => known(&name.value()),
            Self::Const(_) => None,
        }
    }

    /// Reports a name that the built-in methods do not know.
    pub(crate) fn check_built_in(&self, errors: &Sink) {
        let Self::Name(name) = self else { return };
        let text = name.value();
        if known(&text).is_some() {
            return;
        }
        let names: Vec<&str> = KNOWN.iter().map(|(name, _)| *name).collect();
        let hint = did_you_mean(&nearest(&text.to_ascii_lowercase(), &names)).unwrap_or_else(|| {
            format!("known currencies: {}; for one of your own, give a path to a `Currency`", list(&names))
        });
        errors.on(name, format!("unknown currency `{text}`\nhelp: {hint}"));
    }

    /// A const expression of type `mpp::Currency`, as `network` takes it.
    pub(crate) fn tokens(&self, krate: &TokenStream, network: &Network) -> TokenStream {
        match self {
            Self::Const(path) => path.to_token_stream(),
            Self::Name(name) => match (known(&name.value()), network) {
                (Some(_), _) => {
                    let constant = format_ident!("{}", name.value().to_ascii_uppercase());
                    quote!(#krate::__private::Currency::#constant)
                }
                (None, Network::Own(ty)) => {
                    let (krate, ty) = (at(name.span(), krate), at(name.span(), ty));
                    quote_spanned! {name.span()=>
                        #krate::__private::currency_of(<#ty as #krate::__private::PaymentMethod>::CURRENCIES, #name)
                    }
                }
                // Reported by `check_built_in`; nothing of this expansion is compiled any further.
                (None, Network::BuiltIn { .. }) => quote!(#krate::__private::Currency::USD),
            },
        }
    }
}

fn known(name: &str) -> Option<u8> {
    KNOWN.iter().find(|(known, _)| *known == name).map(|(_, decimals)| *decimals)
}

fn not_a_string(found: &Expr, name: &str) -> syn::Error {
    syn::Error::new_spanned(found, format!("`currency` is a string\nhelp: write `currency = \"{name}\"`"))
}
