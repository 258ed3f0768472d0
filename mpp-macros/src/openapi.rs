//! Living with `#[utoipa::path]`.
//!
//! `#[mpp::charge] #[utoipa::path(…)] async fn` becomes `#[utoipa::path(…, extensions(marker))] #[mpp::charge] async fn`:
//! utoipa has to see the handler's own arguments, and the marker is how documents later find this operation, under
//! whatever path it was nested. With utoipa above, it has been expanded by the time we run: enforcement works, the
//! marker is absent.

use crate::shape::documented;
use crate::signature::Handler;
use proc_macro2::{Group, TokenStream, TokenTree};
use quote::quote;
use syn::ext::IdentExt;
use syn::{Attribute, Meta};

/// The two attributes in the other order, if there is a `#[utoipa::path]` below.
///
/// How the user wrote our own attribute is not visible; `krate` is where this library is for sure.
pub(crate) fn rotate(attr: &TokenStream, krate: &TokenStream, handler: &Handler) -> Option<TokenStream> {
    let at = handler.attrs.iter().position(is_utoipa_path)?;
    let Meta::List(list) = &handler.attrs[at].meta else { return None };
    let name = handler.sig.ident.unraw().to_string();
    let marker = quote!(("x-mpp-price" = json!(::core::concat!(::core::module_path!(), "::", #name))));
    let arguments = with_extension(list.tokens.clone(), &marker);
    let path = &list.path;
    let rest = handler.attrs.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, a)| a);
    let (vis, sig, body) = (&handler.vis, &handler.sig, &handler.body);
    let documented = documented();
    Some(quote! {
        #[#path(#arguments)]
        #[#krate::charge(#attr)]
        #documented
        #(#rest)*
        #vis #sig #body
    })
}

fn is_utoipa_path(attr: &Attribute) -> bool {
    let segments = &attr.path().segments;
    segments.len() == 2 && segments[0].ident == "utoipa" && segments[1].ident == "path"
}

/// Adds to an existing `extensions(…)`, of which utoipa takes one only.
fn with_extension(arguments: TokenStream, marker: &TokenStream) -> TokenStream {
    let mut merged = false;
    let mut after_key = false;
    let mut out = TokenStream::new();
    for tree in arguments {
        let is_key = matches!(&tree, TokenTree::Ident(ident) if ident == "extensions");
        match tree {
            TokenTree::Group(group) if after_key && !merged => {
                merged = true;
                let inner = group.stream();
                let mut extended = Group::new(group.delimiter(), quote!(#marker, #inner));
                extended.set_span(group.span());
                out.extend([TokenTree::Group(extended)]);
            }
            other => out.extend([other]),
        }
        after_key = is_key;
    }
    if merged { out } else { quote!(extensions(#marker), #out) }
}
