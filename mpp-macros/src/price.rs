//! `price!`: a price for a service that cannot be annotated, with the grammar and the checks of the attribute.

use crate::attr::{Attr, Macro};
use crate::diag::Sink;
use crate::offer::Price;
use crate::quoting::head_quote;
use crate::spec::{Subject, items};
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};

/// The scope of a price that was given no `name`.
const UNNAMED: &str = "layer";

/// An expression of type `LayerPrice`.
pub(crate) fn price(tokens: TokenStream) -> TokenStream {
    let errors = Sink::default();
    let attr = Attr::parse(tokens, Macro::Price, &errors);
    let krate = attr.krate();
    let Some(price) = Price::check(&attr, &errors) else {
        let errors = errors.into_tokens();
        // Of the right type, so that the layer it is given to is not reported as well.
        return quote! {{
            #errors
            #krate::__private::LayerPrice::new(
                <#krate::__private::Poisoned as #krate::__private::Priced>::SPEC,
                #krate::__private::HeadQuote::Fixed,
            )
        }};
    };
    let name = attr.name.as_ref().map_or_else(|| UNNAMED.to_token_stream(), ToTokens::to_token_stream);
    let items = items(&attr, Some(&price), &Subject { name, docs: None, shape: None });
    let quote = head_quote(&attr, &price.offers);
    quote! {{
        #items
        #krate::__private::LayerPrice::new(&__SPEC, #quote)
    }}
}
