//! What the keys mean together: the offers of one price, and the combinations that make no sense.

use crate::amount::{Amount, Literal};
use crate::attr::{Attr, whole};
use crate::currency::Currency;
use crate::diag::{Sink, at};
use crate::methods::{Method, Network};
use crate::split;
use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, Path};

/// A price that can be expanded.
pub(crate) struct Price<'a> {
    pub(crate) offers: Offers<'a>,
    pub(crate) kind: Kind,
}

/// Who is paid how much.
pub(crate) enum Offers<'a> {
    List(Vec<Offer<'a>>),
    Terms { terms: &'a Path, amount: &'a Amount },
}

/// One line of a price.
pub(crate) struct Offer<'a> {
    pub(crate) network: &'a Network,
    pub(crate) currency: &'a Currency,
    pub(crate) amount: &'a Amount,
}

/// Which evidence the price yields; the names are those of `mpp::__private`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Always,
    Maybe,
    Reserved,
}

impl Kind {
    pub(crate) fn tokens(self, krate: &TokenStream) -> TokenStream {
        match self {
            Self::Always => quote!(#krate::__private::Always),
            Self::Maybe => quote!(#krate::__private::Maybe),
            Self::Reserved => quote!(#krate::__private::Reserved),
        }
    }
}

impl<'a> Price<'a> {
    /// `None` after a mistake; every mistake has been reported by then.
    pub(crate) fn check(attr: &'a Attr, errors: &Sink) -> Option<Self> {
        let offers = offers(attr, errors);
        // With `terms` the currencies are not known here.
        split::check(attr, attr.methods.as_deref().unwrap_or_default(), errors);
        combinations(attr, errors);
        let kind = match (&attr.on_success, &attr.free_if) {
            (Some(_), _) => Kind::Reserved,
            (None, Some(_)) => Kind::Maybe,
            (None, None) => Kind::Always,
        };
        offers.filter(|_| errors.is_empty()).map(|offers| Self { offers, kind })
    }
}

impl Price<'_> {
    /// The items that `fields` refers to, and the fields of `PriceSpec` that say who is paid how much.
    pub(crate) fn tokens(&self, attr: &Attr) -> (Option<TokenStream>, TokenStream) {
        let krate = attr.krate();
        let shares = attr.split.as_deref().map(|shares| split::tokens(shares, &krate));
        let sponsored = attr.sponsored.as_ref().map(|_| quote!(#krate::__private::Fees::Sponsored));
        let replay = attr.replay.as_ref().map(|_| quote!(#krate::__private::Replay::Response));
        match &self.offers {
            Offers::List(offers) => {
                let offers = offers.iter().map(|offer| offer.tokens(&krate));
                let offers = quote!(&[#(#offers),*]);
                let fees = sponsored.map(|fees| quote!(fees: #fees,));
                let replay = replay.map(|replay| quote!(replay: #replay,));
                let (Some(shares), Some(key)) = (shares, attr.key("split")) else {
                    return (None, quote!(offers: #offers, #fees #replay));
                };
                // What the macro cannot see is checked in const evaluation, and reported at the key.
                let there = at(key.span(), &krate);
                let shares =
                    quote_spanned!(key.span()=> #there::__private::SplitSpec::checked(__OFFERS, #shares));
                let items = quote!(const __OFFERS: &[#krate::__private::OfferSpec] = #offers;);
                (Some(items), quote!(offers: __OFFERS, #fees #replay splits: #shares,))
            }
            // Merged in const evaluation; a wrong number of decimal places is an error at the amount.
            Offers::Terms { terms, amount } => {
                let merge = match amount {
                    Amount::Fixed(literal) => {
                        let amount = literal.tokens(&krate);
                        quote_spanned!(literal.span=> __TERMS.fixed(#amount))
                    }
                    Amount::Computed(_) => quote!(__TERMS.computed()),
                };
                let fees = sponsored.unwrap_or_else(|| quote!(__TERMS.fees()));
                let replay = replay.unwrap_or_else(|| quote!(__TERMS.replay()));
                let shares = shares.unwrap_or_else(|| quote!(&[]));
                let span = attr.key("split").map_or_else(|| terms.span(), Ident::span);
                let shares = quote_spanned!(span=> __TERMS.splits(&__OFFERS, #shares));
                let items = quote! {
                    const __TERMS: #krate::Terms = #terms;
                    const __OFFERS: [#krate::__private::OfferSpec; __TERMS.len()] = #merge;
                };
                (Some(items), quote!(offers: &__OFFERS, fees: #fees, replay: #replay, splits: #shares,))
            }
        }
    }
}

impl Offer<'_> {
    fn tokens(&self, krate: &TokenStream) -> TokenStream {
        let (network, currency) = (self.network.tokens(krate), self.currency.tokens(krate, self.network));
        match self.amount {
            Amount::Fixed(literal) => {
                // Decimal places of a `Currency` constant are checked in const evaluation, and reported here.
                let (krate, amount) = (at(literal.span, krate), literal.tokens(krate));
                quote_spanned!(literal.span=> #krate::__private::OfferSpec::fixed(#network, #currency, #amount))
            }
            Amount::Computed(_) => quote!(#krate::__private::OfferSpec::computed(#network, #currency)),
        }
    }
}

impl Attr {
    /// Every amount that is written as an expression.
    pub(crate) fn computed(&self) -> impl Iterator<Item = &Expr> {
        let own = self.methods.iter().flatten().filter_map(|m| m.amount.as_ref());
        self.amount.iter().chain(own).filter_map(|amount| match amount {
            Amount::Computed(expr) => Some(expr),
            Amount::Fixed(_) => None,
        })
    }

    fn fixed(&self) -> impl Iterator<Item = &Literal> {
        let own = self.methods.iter().flatten().filter_map(|m| m.amount.as_ref());
        self.amount.iter().chain(own).filter_map(|amount| match amount {
            Amount::Fixed(literal) => Some(literal),
            Amount::Computed(_) => None,
        })
    }
}

fn offers<'a>(attr: &'a Attr, errors: &Sink) -> Option<Offers<'a>> {
    if let Some(terms) = &attr.terms {
        for key in ["methods", "currency"] {
            if let Some(key) = attr.key(key) {
                errors.on(key, format!("`terms` already says who can pay; remove `{key}`"));
            }
        }
        if !attr.attempted("amount") {
            errors.at(whole(), "no price: `amount` is missing\nhelp: add `amount = \"0.05\"`");
        }
        return attr.amount.as_ref().map(|amount| Offers::Terms { terms, amount });
    }
    let needed = |methods: &Vec<Method>| methods.iter().any(|m| m.amount.is_none());
    if !attr.attempted("amount") && attr.methods.as_ref().is_none_or(needed) {
        errors.at(whole(), "no price: `amount` is missing\nhelp: add `amount = \"0.05\"`");
    }
    let Some(methods) = &attr.methods else {
        if !attr.attempted("methods") && !attr.attempted("terms") {
            errors.at(whole(), "nobody could pay: `methods` is missing\nhelp: add `methods(tempo)`");
        }
        return None;
    };
    distinct(attr, methods, errors);
    currencies(attr, methods, errors);
    precision(attr, methods, errors);
    let offer = |m: &'a Method| {
        Some(Offer {
            network: &m.network,
            currency: m.currency.as_ref().or(attr.currency.as_ref())?,
            amount: m.amount.as_ref().or(attr.amount.as_ref())?,
        })
    };
    methods.iter().map(offer).collect::<Option<Vec<_>>>().map(Offers::List)
}

/// No method is listed twice, but for another currency.
pub(crate) fn distinct(attr: &Attr, methods: &[Method], errors: &Sink) {
    let key = |method: &Method| {
        let currency = method.currency.as_ref().or(attr.currency.as_ref());
        (method.network.key(), currency.map(Currency::key))
    };
    for (i, method) in methods.iter().enumerate() {
        let same = |other: &&Method| other.network.key() == method.network.key();
        let Some(first) = methods[..i].iter().find(same) else { continue };
        if methods[..i].iter().any(|other| key(other) == key(method)) {
            let name = method.network.name();
            let mut message = format!("payment method `{name}` is listed twice");
            if method.currency.is_none() && first.currency.is_none() {
                message.push_str(&format!("\nhelp: for another currency, write `{name}(currency = \"…\")`"));
            } else if let Some(currency) = method.currency.as_ref().or(attr.currency.as_ref()) {
                message.push_str(&format!(" in `{}`", currency.name()));
            }
            errors.on(method.network.written(), message);
        }
    }
}

/// Every method has a currency, and the built-in ones know it.
pub(crate) fn currencies(attr: &Attr, methods: &[Method], errors: &Sink) {
    let without: Vec<_> = methods.iter().filter(|m| m.currency.is_none()).collect();
    match (&attr.currency, without.first()) {
        (None, Some(first)) if !attr.attempted("currency") => {
            let name = first.network.name();
            errors.at(
                first.network.span(),
                format!(
                    "no currency for `{name}`\nhelp: add `currency = \"usdc\"`, or `{name}(currency = \"…\")`"
                ),
            );
        }
        // A name from outside the list is fine where only own methods use it: they know it by themselves.
        (Some(shared), Some(_)) if without.iter().any(|m| matches!(m.network, Network::BuiltIn { .. })) => {
            shared.check_built_in(errors);
        }
        (Some(shared), None) => shared.check_built_in(errors),
        _ => {}
    }
    for method in methods {
        if let (Network::BuiltIn { .. }, Some(own)) = (&method.network, &method.currency) {
            own.check_built_in(errors);
        }
    }
}

/// No literal has more decimal places than a currency it is offered in.
pub(crate) fn precision(attr: &Attr, methods: &[Method], errors: &Sink) {
    let says = |scale: u8, currency: &Currency, decimals: u8| {
        format!("amount has {scale} decimal places, but `{}` has {decimals}", currency.name())
    };
    for method in methods {
        let Some(Amount::Fixed(own)) = &method.amount else { continue };
        let Some(currency) = method.currency.as_ref().or(attr.currency.as_ref()) else { continue };
        if let Some(decimals) = currency.decimals().filter(|d| own.scale > *d) {
            errors.at(own.span, says(own.scale, currency, decimals));
        }
    }
    let Some(Amount::Fixed(shared)) = &attr.amount else { return };
    let users: Vec<_> = methods
        .iter()
        .filter(|m| m.amount.is_none())
        .filter_map(|m| Some((m, m.currency.as_ref().or(attr.currency.as_ref())?)))
        .collect();
    let misfits: Vec<_> = users
        .iter()
        .filter_map(|(m, c)| c.decimals().filter(|d| shared.scale > *d).map(|d| (m, c, d)))
        .collect();
    // One literal, one error: the first method it does not fit.
    let Some((method, currency, decimals)) = misfits.first() else { return };
    let mut message = says(shared.scale, currency, *decimals);
    if misfits.len() < users.len() {
        let name = method.network.name();
        message.push_str(&format!("\nhelp: give `{name}` its own price: `{name}(amount = \"…\")`"));
    }
    errors.at(shared.span, message);
}

fn combinations(attr: &Attr, errors: &Sink) {
    let computed = attr.computed().next();
    let each_has_its_own =
        |methods: &Vec<Method>| !methods.is_empty() && methods.iter().all(|method| method.amount.is_some());
    // An amount that is missing or half typed may become an expression.
    let fixed_only =
        computed.is_none() && (attr.amount.is_some() || attr.methods.as_ref().is_some_and(each_has_its_own));

    if attr.proof.is_some() {
        for literal in attr.fixed().filter(|l| !l.is_zero()) {
            errors.at(
                literal.span,
                "an identity proof charges nothing\nhelp: write `amount = \"0\"`, or remove `proof = true`",
            );
        }
        if let Some(expr) = computed {
            errors.on(
                expr,
                "an identity proof charges nothing\nhelp: write `amount = \"0\"`, or remove `proof = true`",
            );
        }
        for (key, clash) in [
            ("free_if", "an identity proof is free already; remove `free_if`"),
            (
                "capture",
                "an identity proof charges nothing, so there is nothing to capture; remove `capture`",
            ),
            ("terms", "an identity proof charges nothing, so there are no terms to share; use `methods(…)`"),
            ("split", "an identity proof charges nothing, so there is nothing to split; remove `split`"),
            ("fees", "an identity proof is no transaction, so there is no fee to pay; remove `fees`"),
        ] {
            if let Some(key) = attr.key(key) {
                errors.on(key, clash);
            }
        }
    } else {
        for literal in attr.fixed().filter(|l| l.is_zero()) {
            errors.at(
                literal.span,
                "a price of zero charges nothing\nhelp: remove the attribute, or use `free_if` \
                 (`proof = true` for a zero-amount identity proof)",
            );
        }
    }

    if let (Some(_), Some(key), true) = (&attr.up_to, attr.key("up_to"), fixed_only) {
        errors.on(key, "`up_to` bounds a computed price, but this one is fixed");
    }
    if let Some(key) = &attr.challenge_first {
        if computed.is_some() {
            errors.on(
                key,
                "`challenge = \"first\"` needs a fixed price: this one is computed from arguments that are read after \
                 the challenge",
            );
        } else if attr.free_if.is_some() {
            errors.on(
                key,
                "`challenge = \"first\"` asks everyone to pay: `free_if` looks at arguments that are read after the \
                 challenge",
            );
        }
    }
    if let Some(key) = &attr.on_success {
        if attr.before.is_some() {
            errors.on(
                key,
                "`settle = \"before\"` and `capture = \"success\"` contradict each other; remove one",
            );
        }
        if attr.free_if.is_some() {
            errors.on(
                key,
                "`capture = \"success\"` reserves money on every request; it cannot be used with `free_if`",
            );
        }
    }
    match (&attr.honor_quote, attr.key("bind")) {
        (Some(honor), _) if fixed_only => {
            errors.on(honor, "`honor = \"quote\"` is about computed prices, but this one is fixed");
        }
        (Some(honor), None) if !attr.attempted("bind") => errors.on(
            honor,
            "`honor = \"quote\"` needs `bind`: what else does the price depend on?\n\
             help: name the request headers, `bind(\"x-tier\")`, or say that there are none, `bind()`",
        ),
        (None, Some(bind)) if !attr.attempted("honor") => errors.on(
            bind,
            "`bind` names what a quote depends on\nhelp: add `honor = \"quote\"`, or remove `bind`",
        ),
        _ => {}
    }
}
