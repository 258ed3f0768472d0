//! `split(platform = "0.01", author = "2.5%")`: who gets a part of a price.

use crate::amount::{Amount, Literal};
use crate::attr::{Attr, entries, key, value};
use crate::diag::Sink;
use crate::methods::Method;
use proc_macro2::{Ident, Literal as Number, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::{Expr, LitStr};

/// As many as any draft allows besides the recipient (draft-tempo-charge-00).
const MOST_PARTS: usize = 10;
const HUNDRED_PER_CENT: u128 = 1_000_000;
/// Decimal places of a percentage: `0.0001%` is a millionth.
const PERCENT_SCALE: u8 = 4;

/// One entry of `split(…)`.
pub(crate) struct Share {
    pub(crate) payee: Ident,
    pub(crate) part: Part,
}

pub(crate) enum Part {
    Amount(Literal),
    /// In millionths, and as written.
    Percentage {
        millionths: u32,
        text: String,
    },
}

/// The inside of `split(…)`; `None` when a mistake was reported that leaves nothing to check.
pub(crate) fn split(input: ParseStream, written: &Ident, errors: &Sink) -> Option<Vec<Share>> {
    if input.is_empty() {
        errors.on(
            written,
            "`split` is empty: nothing is passed on\nhelp: name who gets a part, \
             e.g. `split(platform = \"2.5%\")`, or remove it",
        );
        return None;
    }
    let mut out: Vec<Share> = Vec::new();
    let mut mistakes = 0usize;
    let mut count = 0usize;
    let mut seen: Vec<String> = Vec::new();
    entries(input, errors, |input| {
        // Undone below, when this entry turns out to be right.
        mistakes += 1;
        let payee = input.call(key).map_err(|e| {
            syn::Error::new(
                e.span(),
                "expected who gets a part\nhelp: write `split(platform = \"0.01\", author = \"2.5%\")`",
            )
        })?;
        let name = payee.unraw().to_string();
        count += 1;
        let part = value(input, &payee, |input| part(input, &name))?;
        if seen.contains(&name) {
            return Err(syn::Error::new(
                payee.span(),
                format!("`{name}` gets a part twice\nhelp: add them up, or name another payee"),
            ));
        }
        if count == MOST_PARTS + 1 {
            return Err(syn::Error::new(
                payee.span(),
                format!("a price is split between at most {MOST_PARTS} others and its recipient"),
            ));
        }
        seen.push(name);
        out.push(Share { payee, part });
        mistakes -= 1;
        Ok(())
    });
    let percent: u128 = out.iter().map(|share| share.part.millionths()).sum();
    // Without the wrong entries the sum is not known.
    if mistakes == 0 && percent >= HUNDRED_PER_CENT {
        errors.on(
            written,
            "`split` gives away 100% of the price or more: nothing is left for the recipient\n\
             help: the recipient's own part is not listed",
        );
        return None;
    }
    (mistakes == 0).then_some(out)
}

fn part(input: ParseStream, payee: &str) -> syn::Result<Part> {
    if !input.peek(LitStr) {
        let found: Expr = input.parse()?;
        return Err(syn::Error::new_spanned(
            found,
            format!(
                "the part of `{payee}` is a string\nhelp: write an amount, `{payee} = \"0.01\"`, or a \
                 percentage, `{payee} = \"2.5%\"`"
            ),
        ));
    }
    let written: LitStr = input.parse()?;
    let subject = format!("the part of `{payee}`");
    let text = written.value();
    let nothing = || Err(syn::Error::new(written.span(), format!("`{payee}` would get nothing; remove it")));
    let Some(percentage) = text.strip_suffix('%') else {
        let amount = Literal::read(&subject, &written)?;
        return if amount.is_zero() { nothing() } else { Ok(Part::Amount(amount)) };
    };
    let literal = Literal::read(&subject, &LitStr::new(percentage, written.span()))?;
    if literal.is_zero() {
        return nothing();
    }
    let Some(finer) = PERCENT_SCALE.checked_sub(literal.scale) else {
        return Err(syn::Error::new(
            written.span(),
            format!(
                "{subject} has {} decimal places; a percentage has at most {PERCENT_SCALE}",
                literal.scale
            ),
        ));
    };
    let millionths = 10u128.checked_pow(finer.into()).and_then(|factor| literal.units.checked_mul(factor));
    match millionths.filter(|m| *m < HUNDRED_PER_CENT).and_then(|m| u32::try_from(m).ok()) {
        Some(millionths) => Ok(Part::Percentage { millionths, text }),
        None => Err(syn::Error::new(
            written.span(),
            format!("{subject} is the whole price or more: nothing is left for the recipient"),
        )),
    }
}

/// What can be seen from here about the parts together with the offers: decimal places, and that something is left. What
/// cannot (a `Currency` constant, `terms`) is checked by `SplitSpec::checked` in const evaluation.
pub(crate) fn check(attr: &Attr, methods: &[Method], errors: &Sink) {
    let (Some(shares), Some(key)) = (&attr.split, attr.key("split")) else { return };
    let offers = methods.iter().filter_map(|method| {
        let currency = method.currency.as_ref().or(attr.currency.as_ref())?;
        Some((method.amount.as_ref().or(attr.amount.as_ref()), currency, currency.decimals()?))
    });
    let offers: Vec<_> = offers.collect();
    let mut too_fine = false;
    for share in shares {
        let Part::Amount(literal) = &share.part else { continue };
        // One literal, one error: the first currency it does not fit.
        if let Some((_, currency, decimals)) =
            offers.iter().find(|(_, _, decimals)| literal.scale > *decimals)
        {
            too_fine = true;
            errors.at(
                literal.span,
                format!(
                    "the part of `{}` has {} decimal places, but `{}` has {decimals}",
                    share.payee.unraw(),
                    literal.scale,
                    currency.name()
                ),
            );
        }
    }
    if too_fine {
        return;
    }
    for (amount, currency, decimals) in offers {
        let Some(Amount::Fixed(price)) = amount else { continue };
        let Some(units) = price.base_units(decimals).filter(|units| *units > 0) else { continue };
        let parts = shares.iter().map(|share| share.part.units(units, decimals));
        let given = parts.reduce(|sum, part| sum?.checked_add(part?)).flatten();
        if given.is_none_or(|given| given >= units) {
            errors.on(
                key,
                format!(
                    "`split` gives away all of {} {}: nothing is left for the recipient",
                    price.text,
                    currency.name()
                ),
            );
            return;
        }
    }
}

impl Part {
    fn millionths(&self) -> u128 {
        match self {
            Self::Amount(_) => 0,
            Self::Percentage { millionths, .. } => (*millionths).into(),
        }
    }

    /// As `mpp::pricing::Part` computes it.
    fn units(&self, of: u128, decimals: u8) -> Option<u128> {
        match self {
            Self::Amount(literal) => literal.base_units(decimals),
            Self::Percentage { millionths, .. } => {
                let (wholes, rest, share) =
                    (of / HUNDRED_PER_CENT, of % HUNDRED_PER_CENT, u128::from(*millionths));
                Some(wholes * share + rest * share / HUNDRED_PER_CENT)
            }
        }
    }

    /// As written, for the documentation.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Amount(literal) => &literal.text,
            Self::Percentage { text, .. } => text,
        }
    }
}

/// An expression of type `&'static [SplitSpec]`.
pub(crate) fn tokens(shares: &[Share], krate: &TokenStream) -> TokenStream {
    let each = shares.iter().map(|Share { payee, part }| {
        let payee = payee.unraw().to_string();
        let part = match part {
            Part::Amount(literal) => {
                let amount = literal.tokens(krate);
                quote!(#krate::__private::Part::Amount(#amount))
            }
            Part::Percentage { millionths, .. } => {
                let millionths = Number::u32_unsuffixed(*millionths);
                quote!(#krate::__private::Part::Millionths(#millionths))
            }
        };
        quote!(#krate::__private::SplitSpec { payee: #payee, part: #part })
    });
    quote!(&[#(#each),*])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proc_macro2::Span;

    #[test]
    fn a_percentage_is_read_exactly() {
        let read = |text: &str| {
            let literal = LitStr::new(text, Span::call_site());
            let parsed = syn::parse::Parser::parse2(|input: ParseStream| part(input, "x"), quote!(#literal));
            parsed.map(|part| part.millionths()).map_err(|e| e.to_string())
        };
        for (text, millionths) in
            [("2.5%", 25_000), ("0.0001%", 1), ("99.9999%", 999_999), ("1%", 10_000), ("2.50%", 25_000)]
        {
            assert_eq!(read(text), Ok(millionths), "{text}");
        }
        for (text, says) in [
            ("100%", "the part of `x` is the whole price or more"),
            ("340282366920938463463374607431768211455%", "the part of `x` is the whole price or more"),
            ("0.00001%", "the part of `x` has 5 decimal places; a percentage has at most 4"),
            ("0%", "`x` would get nothing"),
            ("%", "the part of `x` is empty"),
            ("2.5 %", "the part of `x` has spaces around it"),
            ("2.5%%", "the part of `x` contains `%`"),
        ] {
            assert!(read(text).is_err_and(|e| e.starts_with(says)), "{text}: {:?}", read(text));
        }
    }
}
