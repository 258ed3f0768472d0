//! What a handler takes and gives, for documents: its types, shown to the library's probes.
//!
//! A macro cannot know whether `Prompt` in `Json<Prompt>` has a schema. The generated function calls a method that exists on
//! every probe, with the receiver behind as many references as there are answers; method resolution takes the best one
//! that applies (autoref specialisation), so a type without a schema is documented without one and is no error.

use crate::signature::{Argument, Handler};
use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{Attribute, GenericArgument, PathArguments, ReturnType, Type};

/// Left by [`rotate`](crate::openapi::rotate) where `#[utoipa::path]` has been expanded; never reaches the compiler.
const DOCUMENTED: &str = "__mpp_documented";

/// The attribute that says so.
pub(crate) fn documented() -> TokenStream {
    let name = format_ident!("{DOCUMENTED}");
    quote!(#[#name])
}

/// Whether an attribute is that one.
pub(crate) fn is_documented(attr: &Attribute) -> bool {
    attr.path().is_ident(DOCUMENTED)
}

/// The fields that say it is a handler's price, and what that handler takes and gives. Nobody can name the types of a generic
/// one here.
pub(crate) fn shape(krate: &TokenStream, handler: &Handler, arguments: &[Argument<'_>]) -> TokenStream {
    let is_bare = arguments.iter().all(Argument::is_paid).then(|| quote!(is_bare: true,));
    if !handler.sig.generics.params.is_empty() {
        return quote!(is_handler: true, #is_bare);
    }
    let probe = |ty: &dyn ToTokens| quote!((&&&&&#krate::__private::Probe::<#ty>::NEW));
    let described = handler.attrs.iter().any(is_documented).then(|| {
        let path = format_ident!("__path_{}", handler.sig.ident);
        probe(&path)
    });
    let operation = described.as_ref().map(|probe| quote!(#probe.operation(shape);));
    // Start-up asks for the id of every operation, and for nothing else of it.
    let operation_id = described.map(|probe| {
        quote! {
            operation_id: ::core::option::Option::Some({
                #[allow(unused_imports, clippy::needless_borrow)]
                fn operation_id() -> ::core::option::Option<::std::string::String> {
                    use #krate::__private::probes::*;
                    #probe.operation_id()
                }
                operation_id
            }),
        }
    });
    let inputs = arguments.iter().filter(|a| !a.is_paid() && !is_opaque(a.ty)).map(|argument| {
        let (ty, optional) = match wrapped(argument.ty, &["Option", "Result"]) {
            Some(inner) => (inner, Some(quote!(shape.optional();))),
            None => (argument.ty, None),
        };
        let probe = probe(ty);
        quote!(#probe.input(shape); #optional)
    });
    let output = match &handler.sig.output {
        ReturnType::Default => Some(probe(&quote!(()))),
        ReturnType::Type(_, ty) => {
            let ty = wrapped(ty, &["Result"]).unwrap_or(ty);
            (!is_opaque(ty)).then(|| probe(ty))
        }
    };
    let output = output.map(|probe| quote!(#probe.output(shape);));
    quote! {
        is_handler: true,
        #is_bare
        #operation_id
        shape: ::core::option::Option::Some({
            #[allow(unused_imports, unused_variables, clippy::needless_borrow)]
            fn shape(shape: &mut #krate::__private::Shape) {
                use #krate::__private::probes::*;
                #operation
                #(#inputs)*
                #output
            }
            shape
        }),
    }
}

/// `T` of `Option<T>` and the like: macros see names, not types.
fn wrapped<'t>(ty: &'t Type, names: &[&str]) -> Option<&'t Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|s| names.iter().any(|name| s.ident == name))?;
    let PathArguments::AngleBracketed(args) = &last.arguments else { return None };
    args.args.iter().find_map(|arg| match arg {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// `impl IntoResponse`, also inside another type: it has no name to show to a probe.
fn is_opaque(ty: &Type) -> bool {
    fn has_impl(tokens: TokenStream) -> bool {
        tokens.into_iter().any(|tree| match tree {
            proc_macro2::TokenTree::Ident(ident) => ident == "impl" || ident == "_",
            proc_macro2::TokenTree::Group(group) => has_impl(group.stream()),
            _ => false,
        })
    }
    matches!(ty, Type::ImplTrait(_) | Type::Infer(_) | Type::Never(_)) || has_impl(ty.to_token_stream())
}
