//! Amounts: a literal is read here, at compile time, exactly; any other expression is computed per request.

use crate::diag::Sink;
use proc_macro2::{Literal as Number, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{Expr, ExprLit, ExprUnary, Lit, LitStr, UnOp};

/// As many decimal places as `mpp::Amount` can hold.
const MAX_DECIMALS: usize = 38;
const PLAIN: &str = "write a plain decimal such as \"0.05\"";

/// The value of an `amount` key.
pub(crate) enum Amount {
    Fixed(Literal),
    Computed(Expr),
}

impl Amount {
    /// `None` after reporting a mistake.
    pub(crate) fn from_expr(expr: Expr, errors: &Sink) -> Option<Self> {
        let expr = unwrapped(expr);
        let number = match &expr {
            Expr::Lit(ExprLit { lit: Lit::Str(s), .. }) => {
                return Literal::read("amount", s).map_err(|e| errors.push(e)).ok().map(Self::Fixed);
            }
            Expr::Lit(ExprLit { lit: Lit::Float(_) | Lit::Int(_), .. }) => true,
            Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => matches!(&**expr, Expr::Lit(_)),
            _ => false,
        };
        if number {
            let text = expr.to_token_stream().to_string().replace(' ', "");
            errors.on(
                &expr,
                format!(
                    "amount is a number literal, which would pass through binary floating point\n\
                     help: quote it: `amount = \"{text}\"`"
                ),
            );
            return None;
        }
        Some(Self::Computed(expr))
    }
}

/// A decimal literal: `units` divided by ten to the `scale`, without trailing zeros.
#[derive(Clone)]
pub(crate) struct Literal {
    pub(crate) units: u128,
    pub(crate) scale: u8,
    /// As written, for the documentation.
    pub(crate) text: String,
    pub(crate) span: Span,
}

impl Literal {
    /// Reads the value of `key`.
    pub(crate) fn read(key: &str, literal: &LitStr) -> syn::Result<Self> {
        let text = literal.value();
        let wrong = |what: String| Err(syn::Error::new(literal.span(), format!("{key} {what}")));
        if text.is_empty() {
            return wrong(format!("is empty; {PLAIN}"));
        }
        if text.trim() != text {
            return wrong("has spaces around it; remove them".into());
        }
        if text.starts_with('-') {
            return wrong("is negative; a price cannot be".into());
        }
        if let Some(symbol) = text.chars().find(|c| "$€£¥₿".contains(*c)) {
            return wrong(format!("contains `{symbol}`; {PLAIN} and name the currency in `currency`"));
        }
        if text.contains(',') {
            return wrong(format!("contains `,`; {PLAIN} (no grouping, `.` as decimal point)"));
        }
        if text
            .find(['e', 'E'])
            .is_some_and(|i| text[..i].ends_with(|c: char| c.is_ascii_digit() || c == '.'))
        {
            return wrong(format!("uses an exponent; {PLAIN}"));
        }
        if let Some(c) = text.chars().find(|c| !c.is_ascii_digit() && *c != '.') {
            return wrong(format!("contains `{c}`; {PLAIN}"));
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        if fraction.contains('.') {
            return wrong(format!("has two decimal points; {PLAIN}"));
        }
        if whole.is_empty() {
            return wrong(format!("has no digit before the `.`; write \"0{text}\""));
        }
        if text.ends_with('.') {
            return wrong(format!("ends with `.`; write \"{whole}\""));
        }
        if whole.len() > 1 && whole.starts_with('0') {
            return wrong(format!("has a leading zero; write \"{}\"", without_leading_zeros(&text)));
        }
        let fraction = fraction.trim_end_matches('0');
        let places = fraction.len();
        if places > MAX_DECIMALS {
            return wrong(format!("has {places} decimal places; no currency has more than {MAX_DECIMALS}"));
        }
        match (format!("{whole}{fraction}").parse(), u8::try_from(places)) {
            (Ok(units), Ok(scale)) => Ok(Self { units, scale, text, span: literal.span() }),
            _ => wrong("is too large".into()),
        }
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.units == 0
    }

    /// In the smallest unit of a currency; `None` when it is finer than that, or too large to be counted.
    pub(crate) fn base_units(&self, decimals: u8) -> Option<u128> {
        let factor = 10u128.checked_pow(decimals.checked_sub(self.scale)?.into())?;
        self.units.checked_mul(factor)
    }

    /// An expression of type `mpp::Amount`.
    pub(crate) fn tokens(&self, krate: &TokenStream) -> TokenStream {
        let (units, scale) = (Number::u128_unsuffixed(self.units), Number::u8_unsuffixed(self.scale));
        quote!(#krate::__private::Amount::new(#units, #scale))
    }
}

/// The expression inside parentheses and inside the invisible groups a `macro_rules!` leaves around `$e:expr`.
pub(crate) fn unwrapped(expr: Expr) -> Expr {
    match expr {
        Expr::Group(group) => unwrapped(*group.expr),
        Expr::Paren(paren) if matches!(&*paren.expr, Expr::Lit(_)) => *paren.expr,
        other => other,
    }
}

fn without_leading_zeros(text: &str) -> String {
    let rest = text.trim_start_matches('0');
    if rest.is_empty() || rest.starts_with('.') { format!("0{rest}") } else { rest.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(u128, u8), String> {
        Literal::read("amount", &LitStr::new(text, Span::call_site()))
            .map(|l| (l.units, l.scale))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn plain_decimals_are_read_exactly() {
        assert_eq!(read("0.05"), Ok((5, 2)));
        assert_eq!(read("0.50"), Ok((5, 1)));
        assert_eq!(read("5"), Ok((5, 0)));
        assert_eq!(read("100"), Ok((100, 0)));
        assert_eq!(read("0"), Ok((0, 0)));
        assert_eq!(read("0.00"), Ok((0, 0)));
        assert_eq!(read("0.000001"), Ok((1, 6)));
        assert_eq!(read("340282366920938463463374607431768211455"), Ok((u128::MAX, 0)));
        assert_eq!(read(&format!("0.{}1", "0".repeat(37))), Ok((1, 38)));
    }

    #[test]
    fn everything_else_says_what_is_wrong_with_it() {
        for (text, says) in [
            ("", "amount is empty"),
            (" 1", "amount has spaces around it"),
            ("-1", "amount is negative"),
            ("$5", "amount contains `$`"),
            ("5 €", "amount contains `€`"),
            ("1,000", "amount contains `,`"),
            ("1e3", "amount uses an exponent"),
            ("1.E3", "amount uses an exponent"),
            ("free", "amount contains `f`"),
            ("1_000", "amount contains `_`"),
            ("+1", "amount contains `+`"),
            ("٣", "amount contains `٣`"),
            (".5", "amount has no digit before the `.`; write \"0.5\""),
            ("5.", "amount ends with `.`; write \"5\""),
            ("05", "amount has a leading zero; write \"5\""),
            ("00.5", "amount has a leading zero; write \"0.5\""),
            ("00", "amount has a leading zero; write \"0\""),
            ("1.2.3", "amount has two decimal points"),
            ("340282366920938463463374607431768211456", "amount is too large"),
        ] {
            assert!(read(text).is_err_and(|e| e.starts_with(says)), "{text:?} gave {:?}", read(text));
        }
        let fine = format!("0.{}1", "0".repeat(300));
        assert_eq!(read(&fine), Err("amount has 301 decimal places; no currency has more than 38".into()));
    }
}
