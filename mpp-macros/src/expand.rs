//! `#[charge]`: the handler becomes a function of one `Gate`, with the user's function inside, untouched.

use crate::attr::{Attr, Macro};
use crate::diag::{Sink, at};
use crate::doc;
use crate::offer::{Kind, Price};
use crate::openapi::rotate;
use crate::quoting::{bindings, fixed, local, price_of, uses};
use crate::shape::{is_documented, shape};
use crate::signature::{
    self, Argument, Fit, Handler, body_argument, check_generics, is_debug_handler, mentions,
};
use crate::spec::{Subject, items};
use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Meta, ReturnType, Safety};

/// The attribute and the item it is on.
pub(crate) fn charge(attr: TokenStream, item: TokenStream) -> TokenStream {
    let Ok(handler) = syn::parse2::<Handler>(item.clone()) else {
        let error =
            syn::Error::new(Span::call_site(), "`#[mpp::charge]` goes on an `async fn`").to_compile_error();
        return quote!(#item #error);
    };
    if matches!(handler.body.clone().into_iter().next(), Some(TokenTree::Punct(_))) {
        let message = format!("`{}` has no body; annotate the implementation", handler.sig.ident);
        let error = syn::Error::new_spanned(&handler.sig, message).to_compile_error();
        return quote!(#item #error);
    }
    let errors = Sink::default();
    let parsed = Attr::parse(attr.clone(), Macro::Charge, &errors);
    if let Some(rotated) = rotate(&attr, &parsed.krate(), &handler) {
        // The attribute comes round again, below utoipa's, and its mistakes are reported then.
        return rotated;
    }
    let expanded = expand(&parsed, handler, &errors);
    let errors = errors.into_tokens();
    quote!(#expanded #errors)
}

fn expand(attr: &Attr, mut handler: Handler, errors: &Sink) -> TokenStream {
    let price = Price::check(attr, errors);
    charged_twice(&mut handler, errors);
    let fit = signature::check(&handler, errors);
    match fit {
        Fit::Fits(arguments) => {
            body_is_bound(attr, &arguments, errors);
            gated(attr, price, &handler, &arguments, errors)
        }
        Fit::Poisoned => stand_in(attr, &handler),
        Fit::Hopeless => {
            let (attrs, vis, sig, body) = (kept(&handler.attrs), &handler.vis, &handler.sig, &handler.body);
            quote!(#(#attrs)* #vis #sig #body)
        }
    }
}

/// A second annotation is reported, and taken away: it would expand inside the first.
fn charged_twice(handler: &mut Handler, errors: &Sink) {
    let is_charge = |attr: &Attribute| attr.path().segments.last().is_some_and(|s| s.ident == "charge");
    for second in handler.attrs.iter().filter(|a| is_charge(a)) {
        errors.on(second, "two `#[mpp::charge]` on one handler\nhelp: list both under `methods(…)`");
    }
    handler.attrs.retain(|a| !is_charge(a));
}

/// `digest = false` lets the body change between the quote and the payment; the price must not depend on it.
fn body_is_bound(attr: &Attr, arguments: &[Argument<'_>], errors: &Sink) {
    let (Some(key), Some((argument, extractor))) = (&attr.unbound, body_argument(arguments)) else { return };
    let expressions: TokenStream =
        attr.free_if.iter().chain(attr.computed()).map(ToTokens::to_token_stream).collect();
    if let Some(name) = bindings(argument.pat).iter().find(|n| mentions(expressions.clone(), &n.to_string()))
    {
        errors.on(
            key,
            format!(
                "`digest = false` leaves the body unbound, but the price reads it: `{name}` comes from `{extractor}`\n\
                 help: remove `digest = false`, or price the request by its path, query or headers"
            ),
        );
    }
}

/// The price, and the function that takes a gate. `price` is `None` after a mistake.
fn gated(
    attr: &Attr,
    price: Option<Price<'_>>,
    handler: &Handler,
    arguments: &[Argument<'_>],
    errors: &Sink,
) -> TokenStream {
    let krate = attr.krate();
    let expressions = attr.computed().next().is_some() || attr.free_if.is_some();
    let nameable = if expressions { check_generics(&handler.sig, arguments, errors) } else { Some(()) };
    let price = price.as_ref().filter(|_| errors.is_empty());
    let (vis, sig) = (&handler.vis, &handler.sig);
    let name = &sig.ident;
    let attrs = Attributes::sort(&handler.attrs);
    let marker = format_ident!("__mpp_{}", name, span = name.span());
    let types: Vec<_> = arguments.iter().filter(|a| !a.is_paid()).map(|a| a.ty).collect();
    let tuple = quote!((#(#types,)*));
    let evidence =
        arguments.iter().find_map(|a| a.evidence(&krate)).unwrap_or_else(|| quote!(#krate::Receipt));
    let kind = price.map_or_else(|| kind_as_written(&evidence), |price| price.kind);

    let text = name.unraw().to_string();
    let subject = Subject {
        name: text.to_token_stream(),
        docs: doc::text(&attrs.docs),
        shape: price.map(|_| shape(&krate, handler, arguments)),
    };
    let items = items(attr, price, &subject);
    let kind_tokens = kind.tokens(&krate);
    let price_of = match nameable {
        Some(()) => price_of(attr, price.map(|p| &p.offers), &marker, arguments, &tuple, sig),
        None => fixed(&krate, &marker),
    };
    let fits = fits(&krate, handler, arguments, &evidence, &kind_tokens).filter(|_| price.is_some());
    let wrapper = wrapper(attr, price, handler, &attrs, arguments, &marker, &tuple, &evidence, fits);
    let cfgs = &attrs.cfgs;
    quote! {
        #(#cfgs)*
        #[doc(hidden)]
        #[allow(non_camel_case_types, unreachable_pub, missing_debug_implementations, clippy::redundant_pub_crate)]
        #vis struct #marker;

        #(#cfgs)*
        const _: () = {
            #items
            impl #krate::__private::Priced for #marker {
                type Kind = #kind_tokens;
                const SPEC: &'static #krate::__private::PriceSpec = &__SPEC;
            }
            #price_of
        };

        #wrapper
    }
}

/// The function routers see. Everything in it that does not depend on the handler's types is a call into the library.
#[expect(clippy::too_many_arguments, reason = "one call site; a struct would only name them twice")]
fn wrapper(
    attr: &Attr,
    price: Option<&Price<'_>>,
    handler: &Handler,
    attrs: &Attributes<'_>,
    arguments: &[Argument<'_>],
    marker: &Ident,
    tuple: &TokenStream,
    evidence: &TokenStream,
    fits: Option<TokenStream>,
) -> TokenStream {
    let krate = attr.krate();
    let (vis, sig, name) = (&handler.vis, &handler.sig, &handler.sig.ident);
    let (generics, parameters, bounds) = sig.generics.split_for_impl();
    let turbofish = parameters.as_turbofish();
    // Hygienic: a handler may be called `args`. But a function in a block hides the parameters around the block.
    let gate = local(if name == "gate" { "outer_gate" } else { "gate" });
    let (paid, args, exit) = (local("paid"), local("args"), local("exit"));
    let mut extracted = 0u32..;
    let call = arguments.iter().map(|argument| {
        if argument.is_paid() {
            return paid.to_token_stream();
        }
        let index = syn::Index::from(extracted.next().map_or(0, |i| i as usize));
        quote!(#args.#index)
    });
    let returns = match &sig.output {
        ReturnType::Default => name.span(),
        ReturnType::Type(_, ty) => ty.span(),
    };
    // Spanned at the return type: a handler whose result is no response, or whose future is not `Send`, is reported there.
    let (leave, function, there) = (at(returns, &exit), at(returns, name), at(returns, &krate));
    let served = quote_spanned!(returns=> #leave.serve(#function #turbofish(#(#call),*)));
    // Of a generic handler that is known where it is mounted.
    let send = sig.generics.params.is_empty().then(|| quote_spanned!(returns=> + ::core::marker::Send));
    // Before edition 2024 an `impl Trait` of the user's holds no `'_` of an argument; one of ours does.
    let has_lifetime = tuple.to_string().contains('\'');
    let held = if has_lifetime { Span::call_site().located_at(returns) } else { returns };
    let future =
        quote_spanned!(held=> impl ::core::future::Future<Output = #there::__private::Response> #send);

    let used = uses(attr, arguments);
    let body = prepend(&handler.body, quote!(#(let _ = &#used;)*));
    let checks = price.and_then(|_| checks(attr, handler, arguments));
    let priced = price.map(|price| doc::priced(attr, price, &attrs.docs));
    let Attributes { docs, cfgs, outer, inner, .. } = attrs;

    // Spanned at the handler's name: rustc's dead-code lint skips functions whose tokens all come from a macro, and an
    // unused priced handler is nearly always a mistake.
    quote_spanned! {name.span()=>
        #(#docs)*
        #priced
        #(#cfgs)*
        #(#outer)*
        #vis fn #name #generics(
            #gate: #krate::__private::Gate<#marker, #tuple, #evidence>,
        ) -> #future #bounds {
            #(#inner)*
            #[allow(non_snake_case, clippy::unused_async)]
            #sig #body
            #checks
            #fits
            let (#paid, #args, #exit) = #gate.open();
            #served
        }
    }
}

/// A handler whose signature does not fit: it mounts on every router, so that the mistake is reported once, here. The
/// user's function stays visible to the editor.
fn stand_in(attr: &Attr, handler: &Handler) -> TokenStream {
    let krate = attr.krate();
    let (vis, body) = (&handler.vis, &handler.body);
    let attrs = kept(&handler.attrs);
    let mut sig = handler.sig.clone();
    // Reported already.
    sig.constness = None;
    sig.safety = Safety::Default;
    sig.abi = None;
    let name = &sig.ident;
    quote_spanned! {name.span()=>
        #[allow(dead_code)]
        #vis async fn #name(
            _: #krate::__private::Gate<#krate::__private::Poisoned, (), #krate::Receipt>,
        ) -> #krate::__private::Response {
            #[allow(unused_variables)]
            #(#attrs)*
            #sig #body
            ::core::unreachable!()
        }
    }
}

/// Checks that name the guilty argument, in the manner of axum's `debug_handler`. They need the state type: they are made with
/// `state = T`.
fn checks(attr: &Attr, handler: &Handler, arguments: &[Argument<'_>]) -> Option<TokenStream> {
    let state = attr.state.as_ref().filter(|_| handler.sig.generics.params.is_empty())?;
    let krate = attr.krate();
    let extractors: Vec<_> = arguments.iter().filter(|a| !a.is_paid()).map(|a| a.ty).collect();
    let each = extractors.iter().enumerate().map(|(i, ty)| {
        if i + 1 == extractors.len() {
            let call = quote_spanned!(ty.span()=> check::<_, #ty>(););
            quote! {
                const _: fn() = || {
                    fn check<M, T: #krate::__private::FromRequest<#state, M>>() {}
                    #call
                };
            }
        } else {
            let call = quote_spanned!(ty.span()=> check::<#ty>(););
            quote! {
                const _: fn() = || {
                    fn check<T: #krate::__private::FromRequestParts<#state>>() {}
                    #call
                };
            }
        }
    });
    let call = quote_spanned!(state.span()=> check::<#state>(););
    Some(quote! {
        #(#each)*
        const _: fn() = || {
            fn check<S: #krate::routing::HasMpp>() {}
            #call
        };
    })
}

/// That the handler asks for the evidence this price yields, spanned at what it asks for.
fn fits(
    krate: &TokenStream,
    handler: &Handler,
    arguments: &[Argument<'_>],
    evidence: &TokenStream,
    kind: &TokenStream,
) -> Option<TokenStream> {
    // Generic evidence is checked where the handler is mounted.
    let paid = arguments.iter().find(|a| a.is_paid()).filter(|_| handler.sig.generics.params.is_empty())?;
    let krate = at(paid.ty.span(), krate);
    Some(quote_spanned!(paid.ty.span()=> #krate::__private::fits::<#evidence, #kind>();))
}

/// After a mistake in the annotation: the kind the handler expects, so that the mistake is not reported again as evidence
/// that does not fit.
fn kind_as_written(evidence: &TokenStream) -> Kind {
    let last = evidence.clone().into_iter().find_map(|tree| match tree {
        TokenTree::Ident(ident) if ident == "Hold" => Some(Kind::Reserved),
        TokenTree::Ident(ident) if ident == "Option" => Some(Kind::Maybe),
        _ => None,
    });
    last.unwrap_or(Kind::Always)
}

/// Which of the user's attributes goes where.
struct Attributes<'a> {
    /// On the outer function, before the generated line.
    docs: Vec<&'a Attribute>,
    /// On everything that is generated.
    cfgs: Vec<&'a Attribute>,
    /// On the outer function.
    outer: Vec<&'a Attribute>,
    /// On the user's own.
    inner: Vec<&'a Attribute>,
}

impl<'a> Attributes<'a> {
    fn sort(attrs: &'a [Attribute]) -> Self {
        let mut out = Self { docs: Vec::new(), cfgs: Vec::new(), outer: Vec::new(), inner: Vec::new() };
        for attr in kept(attrs) {
            let is = |names: &[&str]| names.iter().any(|name| attr.path().is_ident(name));
            if is(&["doc"]) {
                out.docs.push(attr);
            } else if is(&["cfg"]) {
                out.cfgs.push(attr);
            } else if is(&["allow", "warn", "deny", "forbid"]) {
                out.outer.push(attr);
                out.inner.push(attr);
            } else if is(&["must_use"]) && matches!(attr.meta, Meta::Path(_)) {
                // What others call returns a future: it must be used already.
            } else if is(&["deprecated", "must_use"])
                || is(&["expect"]) && mentions(attr.to_token_stream(), "dead_code")
            {
                // About the function others call; on the inner one they would warn about the wrapper.
                out.outer.push(attr);
            } else {
                out.inner.push(attr);
            }
        }
        out
    }
}

/// Attributes that were reported as mistakes are taken away, lest they report the same in their own words.
fn kept(attrs: &[Attribute]) -> Vec<&Attribute> {
    attrs.iter().filter(|a| !is_debug_handler(a) && !is_documented(a)).collect()
}

/// `{ first… body }`, after inner attributes.
fn prepend(body: &TokenStream, first: TokenStream) -> TokenStream {
    let mut tokens = body.clone().into_iter();
    let (Some(TokenTree::Group(block)), None, false) = (tokens.next(), tokens.next(), first.is_empty())
    else {
        return body.clone();
    };
    let trees: Vec<TokenTree> = block.stream().into_iter().collect();
    let is = |i: usize, c: char| matches!(trees.get(i), Some(TokenTree::Punct(p)) if p.as_char() == c);
    let mut attributes = 0;
    while is(attributes, '#') && is(attributes + 1, '!') {
        attributes += 3;
    }
    let (before, after) = trees.split_at(attributes.min(trees.len()));
    let inside = before.iter().cloned().chain(first).chain(after.iter().cloned()).collect();
    let mut group = Group::new(block.delimiter(), inside);
    group.set_span(block.span());
    TokenTree::from(group).into()
}
