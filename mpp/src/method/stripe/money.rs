//! Minor units and minimums, as Stripe counts them ("Supported currencies" of its documentation).

/// The largest amount of most currencies: eight digits. Some allow more; nobody sells a request for that.
pub(super) const MOST: u64 = 99_999_999;

/// One currency.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Money {
    /// ISO 4217, in lower case.
    pub(super) code: &'static str,
    /// Decimals of an `amount`: Stripe's, which are not always ISO's.
    pub(super) decimals: u8,
    /// Amounts are multiples of this: the third decimal of the dinars, and both of currencies that lost theirs, are zero.
    pub(super) step: u64,
    /// Stripe's general minimum in the smallest unit.
    pub(super) minimum: u64,
}

/// The currency that prices call `name`: an ISO code, or `usdc`, which cards pay in US dollars.
pub(super) fn by_name(name: &str) -> Option<&'static Money> {
    by_code(if name == "usdc" { "usd" } else { name })
}

/// The currency with this code.
pub(super) fn by_code(code: &str) -> Option<&'static Money> {
    TABLE.iter().find(|money| money.code == code)
}

/// Every name.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|money| money.code).chain(["usdc"])
}

const fn two(code: &'static str, minimum: u64) -> Money {
    Money { code, decimals: 2, step: 1, minimum }
}

const fn zero(code: &'static str, minimum: u64) -> Money {
    Money { code, decimals: 0, step: 1, minimum }
}

/// Stripe wants the third decimal to be zero.
const fn three(code: &'static str, minimum: u64) -> Money {
    Money { code, decimals: 3, step: 10, minimum }
}

/// Has no decimals any more, and is written with two zeros.
const fn former(code: &'static str, minimum: u64) -> Money {
    Money { code, decimals: 2, step: 100, minimum }
}

/// Where Stripe names no minimum (it converts and compares with that of the account's own currency), the smallest amount
/// that can be written stands here; `Stripe::minimum` says better.
const TABLE: &[Money] = &[
    two("aed", 200),
    two("ars", 50),
    two("aud", 50),
    three("bhd", 10),
    zero("bif", 1),
    two("bgn", 100),
    two("brl", 50),
    two("cad", 50),
    two("chf", 50),
    zero("clp", 1),
    two("cop", 50),
    two("czk", 1_500),
    zero("djf", 1),
    two("dkk", 250),
    two("eur", 50),
    two("gbp", 30),
    zero("gnf", 1),
    two("hkd", 400),
    two("huf", 17_500),
    two("idr", 50),
    two("ils", 50),
    two("inr", 50),
    former("isk", 100),
    three("jod", 10),
    zero("jpy", 50),
    zero("kmf", 1),
    zero("krw", 50),
    three("kwd", 10),
    zero("mga", 1),
    two("mxn", 1_000),
    two("myr", 200),
    two("nok", 300),
    two("nzd", 50),
    three("omr", 10),
    two("php", 50),
    two("pln", 200),
    zero("pyg", 1),
    two("ron", 200),
    zero("rwf", 1),
    two("sek", 300),
    two("sgd", 50),
    two("thb", 1_000),
    three("tnd", 10),
    two("twd", 1),
    former("ugx", 100),
    two("usd", 50),
    zero("vnd", 1),
    zero("vuv", 1),
    zero("xaf", 1),
    zero("xof", 1),
    zero("xpf", 1),
    two("zar", 50),
];
