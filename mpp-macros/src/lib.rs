//! The macros of `mpp`: `#[charge]`, `price!` and `terms!`.
//!
//! Use them through `mpp`, where their reference lives: what they expand to are paths into `mpp::__private`.
//!
//! Where things are, in the order an annotation passes through them:
//!
//! | module | what it does |
//! | --- | --- |
//! | `attr`, `methods`, `amount`, `currency`, `split` | the grammar: tokens to an `attr::Attr` |
//! | `offer` | what the keys mean together: an `offer::Price` |
//! | `signature` | whether the handler can carry a price |
//! | `quoting`, `spec`, `doc` | the price expression, the `static`, the line in the documentation |
//! | `expand`, `price`, `terms` | one file per macro |
//! | `shape` | the handler's types, for documents |
//! | `openapi` | living with `#[utoipa::path]` |
//! | `diag` | collected errors |
//!
//! Two rules hold everywhere: one mistake is one error, on the tokens the user wrote; and the user's function is always
//! emitted again, or editors would lose sight of it.

mod amount;
mod attr;
mod currency;
mod diag;
mod doc;
mod expand;
mod methods;
mod offer;
mod openapi;
mod price;
mod quoting;
mod shape;
mod signature;
mod spec;
mod split;
mod terms;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// The attribute expands to paths into the library `mpp`, where its reference is, too: `mpp::charge`.
#[proc_macro_attribute]
pub fn charge(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand::charge(attr.into(), item.into()).into()
}

/// The macro expands to paths into the library `mpp`, where its reference is, too: `mpp::price!`.
#[proc_macro]
pub fn price(input: TokenStream) -> TokenStream {
    price::price(input.into()).into()
}

/// The macro expands to paths into the library `mpp`, where its reference is, too: `mpp::terms!`.
#[proc_macro]
pub fn terms(input: TokenStream) -> TokenStream {
    terms::terms(input.into()).into()
}
