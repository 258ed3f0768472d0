//! The price of one request: `free_if` and the price expressions, in the scope they were written for.
//!
//! In an annotation that scope is the handler's other arguments, by reference, under the names the handler gives them.
//! In a `price!` the expressions are closures over the head of the request.

use crate::amount::Amount;
use crate::attr::Attr;
use crate::diag::at;
use crate::offer::Offers;
use crate::signature::{Argument, mentions};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit_mut::VisitMut;
use syn::{Expr, Pat, Signature};

/// `impl PriceOf<…> for marker`.
pub(crate) fn price_of(
    attr: &Attr,
    offers: Option<&Offers<'_>>,
    marker: &Ident,
    arguments: &[Argument<'_>],
    tuple: &TokenStream,
    sig: &Signature,
) -> TokenStream {
    let krate = attr.krate();
    let expressions: Vec<&Expr> = attr.free_if.iter().chain(attr.computed()).collect();
    let Some(first) = expressions.first() else { return fixed(&krate, marker) };
    let args = local("args");
    let patterns = arguments.iter().filter(|a| !a.is_paid()).map(|a| by_reference(a.pat));
    let free = attr.free_if.as_ref().map(|expr| free(&krate, &expr.to_token_stream()));
    let price = amounts(attr, offers, |expr| {
        let krate = at(expr.span(), &krate);
        quote_spanned!(expr.span()=> #krate::__private::IntoAmount::into_amount(#expr)?)
    });
    let (generics, _, bounds) = sig.generics.split_for_impl();
    // Spanned at the expression: a price whose future is not `Send` is reported there.
    let result = result(&at(first.span(), &krate), first.span());
    let method = quote_spanned! {first.span()=>
        async fn quote(#args: &#tuple) -> #result
    };
    // `&prompt` is how one writes it for an argument `prompt: Prompt`; here it is a reference already.
    quote! {
        impl #generics #krate::__private::PriceOf<#tuple> for #marker #bounds {
            #[allow(unused_variables, clippy::unused_async, clippy::needless_borrow)]
            #method {
                let (#(#patterns,)*) = #args;
                #free
                #price
            }
        }
    }
}

/// The same for whatever arguments: nothing is computed, which is what the trait says by itself.
pub(crate) fn fixed(krate: &TokenStream, marker: &Ident) -> TokenStream {
    quote! {
        impl<A> #krate::__private::PriceOf<A> for #marker {}
    }
}

fn result(krate: &TokenStream, span: Span) -> TokenStream {
    quote_spanned!(span=> ::core::result::Result<#krate::__private::Quote, #krate::__private::Refusal>)
}

/// An expression of type `HeadQuote`.
pub(crate) fn head_quote(attr: &Attr, offers: &Offers<'_>) -> TokenStream {
    let krate = attr.krate();
    if attr.free_if.is_none() && attr.computed().next().is_none() {
        return quote!(#krate::__private::HeadQuote::Fixed);
    }
    let head = local("head");
    // Each closure passes through a function first, which tells it what it is called with.
    let mut closures = TokenStream::new();
    let mut count = 0usize;
    let mut closure = |expr: &Expr, kind: &str| {
        let name = local(&format!("closure{count}"));
        count += 1;
        let (krate, shaped) = (at(expr.span(), &krate), format_ident!("{kind}"));
        closures.extend(quote_spanned!(expr.span()=> let #name = #krate::__private::head::#shaped(#expr);));
        quote!(#name(#head))
    };
    let free = attr.free_if.as_ref().map(|expr| {
        let call = closure(expr, "free_if");
        free(&krate, &call)
    });
    let price = amounts(attr, Some(offers), |expr| {
        let call = closure(expr, "amount");
        quote!(#call?)
    });
    quote! {{
        #closures
        #krate::__private::HeadQuote::computed(move |#head: &#krate::Head| {
            #free
            #price
        })
    }}
}

/// The handler's own bindings that the price mentions, so that using them there counts as use.
pub(crate) fn uses(attr: &Attr, arguments: &[Argument<'_>]) -> Vec<Ident> {
    let expressions: TokenStream =
        attr.free_if.iter().chain(attr.computed()).map(ToTokens::to_token_stream).collect();
    arguments
        .iter()
        .filter(|a| !a.is_paid())
        .flat_map(|a| bindings(a.pat))
        .filter(|name| mentions(expressions.clone(), &name.to_string()))
        .collect()
}

/// The names a pattern binds.
pub(crate) fn bindings(pat: &Pat) -> Vec<Ident> {
    struct Bound(Vec<Ident>);
    impl<'a> syn::visit::Visit<'a> for Bound {
        fn visit_pat_ident(&mut self, pat: &'a syn::PatIdent) {
            self.0.push(pat.ident.clone());
            syn::visit::visit_pat_ident(self, pat);
        }
    }
    let mut bound = Bound(Vec::new());
    syn::visit::Visit::visit_pat(&mut bound, pat);
    bound.0
}

/// A name that no expression of the user can see.
pub(crate) fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

fn free(krate: &TokenStream, expression: &TokenStream) -> TokenStream {
    let free = local("free");
    quote! {
        let #free: bool = #expression;
        if #free {
            return ::core::result::Result::Ok(#krate::__private::Quote::Free);
        }
    }
}

/// The tail: `Ok(Quote::…)`.
///
/// `amount` turns a price expression into an expression of type `Amount`.
fn amounts(
    attr: &Attr,
    offers: Option<&Offers<'_>>,
    mut amount: impl FnMut(&Expr) -> TokenStream,
) -> TokenStream {
    let krate = attr.krate();
    let shared = local("shared");
    let base = match &attr.amount {
        Some(Amount::Computed(expr)) => {
            let amount = amount(expr);
            Some(quote!(let #shared: #krate::__private::Amount = #amount;))
        }
        _ => None,
    };
    let quote = match offers {
        // Some method has an expression of its own: one amount per offer, in their order.
        Some(Offers::List(offers)) if own_expressions(attr) => {
            let each = offers.iter().map(|offer| match offer.amount {
                Amount::Fixed(_) => quote!(::core::option::Option::None),
                Amount::Computed(expr) if is_shared(attr, expr) => {
                    quote!(::core::option::Option::Some(#shared))
                }
                Amount::Computed(expr) => {
                    let amount = amount(expr);
                    quote!(::core::option::Option::Some(#amount))
                }
            });
            quote!(#krate::__private::Quote::Each(::std::vec![#(#each),*]))
        }
        _ if base.is_some() => quote!(#krate::__private::Quote::Computed(#shared)),
        _ => quote!(#krate::__private::Quote::Fixed),
    };
    quote! {
        #base
        ::core::result::Result::Ok(#quote)
    }
}

fn own_expressions(attr: &Attr) -> bool {
    attr.methods.iter().flatten().any(|m| matches!(m.amount, Some(Amount::Computed(_))))
}

fn is_shared(attr: &Attr, expr: &Expr) -> bool {
    matches!(&attr.amount, Some(Amount::Computed(shared)) if std::ptr::eq(shared, expr))
}

/// The price sees the arguments by reference, so `mut x` and `ref x` become `x`.
fn by_reference(pat: &Pat) -> Pat {
    struct Plain;
    impl VisitMut for Plain {
        fn visit_pat_ident_mut(&mut self, pat: &mut syn::PatIdent) {
            pat.mutability = None;
            pat.by_ref = None;
            syn::visit_mut::visit_pat_ident_mut(self, pat);
        }
    }
    let mut pat = pat.clone();
    Plain.visit_pat_mut(&mut pat);
    pat
}
