//! The one `static` a price is: registered and enforced by reference to the same value.

use crate::attr::Attr;
use crate::offer::Price;
use proc_macro2::TokenStream;
use quote::quote;

/// Name and documentation of a price.
pub(crate) struct Subject {
    /// An expression of type `&'static str`.
    pub(crate) name: TokenStream,
    /// An expression of type `&'static str`, where there is documentation.
    pub(crate) docs: Option<TokenStream>,
    /// The fields that say what a handler takes and gives, where there is a handler.
    pub(crate) shape: Option<TokenStream>,
}

/// `static __SPEC` and its registration, as items.
///
/// Only what differs from `PriceSpec::NEW` is written: 200 handlers should not cost 200 copies of the defaults. A price
/// with mistakes in it (`None`) has no offers and is not registered; the program does not compile anyway.
pub(crate) fn items(attr: &Attr, price: Option<&Price<'_>>, subject: &Subject) -> TokenStream {
    let krate = attr.krate();
    let Subject { name, shape, .. } = subject;
    let docs = subject.docs.as_ref().map(|docs| quote!(docs: #docs,));
    let (before, offers) = price.map(|price| price.tokens(attr)).unwrap_or_default();
    let description =
        attr.description.as_ref().map(|text| quote!(description: ::core::option::Option::Some(#text),));
    let external_id =
        attr.external_id.as_ref().map(|text| quote!(external_id: ::core::option::Option::Some(#text),));
    let tier = match (&attr.proof, &attr.free_if) {
        (Some(_), _) => Some(quote!(tier: #krate::__private::Tier::Proof,)),
        (None, Some(_)) => Some(quote!(tier: #krate::__private::Tier::FreeIf,)),
        (None, None) => None,
    };
    let up_to = attr.up_to.as_ref().map(|ceiling| {
        let ceiling = ceiling.tokens(&krate);
        quote!(up_to: ::core::option::Option::Some(#ceiling),)
    });
    let binding = attr.unbound.as_ref().map(|_| quote!(binding: #krate::__private::Binding::None,));
    let order =
        attr.challenge_first.as_ref().map(|_| quote!(order: #krate::__private::Order::ChallengeFirst,));
    let capture = attr.on_success.as_ref().map(|_| quote!(capture: #krate::__private::Capture::OnSuccess,));
    let honor = attr.honor_quote.as_ref().map(|_| {
        let headers = attr.bind.iter().flatten();
        quote!(honor: #krate::__private::Honor::Quoted(&[#(#headers),*]),)
    });
    let register = price.map(|_| {
        quote! {
            #krate::__private::inventory::submit! {
                #krate::__private::Registered(&__SPEC)
            }
        }
    });
    quote! {
        #before
        static __SPEC: #krate::__private::PriceSpec = #krate::__private::PriceSpec {
            module: ::core::module_path!(),
            name: #name,
            #docs
            #description
            #external_id
            #offers
            #tier
            #up_to
            #binding
            #order
            #capture
            #honor
            #shape
            location: #krate::__private::Location {
                file: ::core::file!(),
                line: ::core::line!(),
                column: ::core::column!(),
            },
            ..#krate::__private::PriceSpec::NEW
        };
        #register
    }
}
