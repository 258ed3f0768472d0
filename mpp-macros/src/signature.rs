//! Whether a function can carry a price.
//!
//! Only the signature is parsed. The body stays as tokens: a half-typed body must not stop the expansion, or the
//! editor would lose the function while it is being written.

use crate::diag::Sink;
use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::{
    Attribute, FnArg, GenericArgument, GenericParam, Pat, Path, PathArguments, Safety, Signature, Type,
    Visibility,
};

/// axum takes tuples of at most this many extractors.
const MOST_EXTRACTORS: usize = 16;
/// axum's own extractors of the request body, by name (as `debug_handler` knows them).
const BODY: &[&str] = &["Json", "Form", "RawForm", "Bytes", "String", "Body", "Request", "Multipart"];
/// Extractors that wrap another one.
const WRAPPERS: &[&str] = &["Option", "Result", "Valid", "Validated", "Garde", "WithRejection"];
/// axum's extractors of the head; none of them is a `Paid` in disguise.
const HEAD: &[&str] = &[
    "Path",
    "Query",
    "State",
    "Extension",
    "HeaderMap",
    "Method",
    "Uri",
    "Version",
    "OriginalUri",
    "MatchedPath",
    "ConnectInfo",
    "RawQuery",
    "RawPathParams",
    "TypedHeader",
    "Host",
    "NestedPath",
    "Parts",
];

/// An annotated function.
pub(crate) struct Handler {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: TokenStream,
}

impl Parse for Handler {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        Ok(Self {
            attrs: input.call(Attribute::parse_outer)?,
            vis: input.parse()?,
            sig: input.parse()?,
            body: input.parse()?,
        })
    }
}

/// One argument of a handler.
pub(crate) struct Argument<'a> {
    pub(crate) pat: &'a Pat,
    pub(crate) ty: &'a Type,
    pub(crate) role: Role,
}

/// What an argument is for.
pub(crate) enum Role {
    Extractor,
    /// `Paid<T>`: the evidence `T`, or nothing for plain `Paid`.
    Paid(Option<Box<Type>>),
}

impl Argument<'_> {
    pub(crate) fn is_paid(&self) -> bool {
        matches!(self.role, Role::Paid(_))
    }
}

/// What the checks came to.
pub(crate) enum Fit<'a> {
    Fits(Vec<Argument<'a>>),
    /// Reported; a stand-in that mounts everywhere keeps the mistake from being reported again at each mount.
    Poisoned,
    /// Reported; not even a stand-in can be generated.
    Hopeless,
}

/// `Paid`, `Paid<T>`, `mpp::Paid<T>`: macros see names, not types.
fn paid(ty: &Type) -> Option<Role> {
    let last = path(ty)?.segments.last()?;
    if last.ident != "Paid" {
        return None;
    }
    let PathArguments::AngleBracketed(args) = &last.arguments else { return Some(Role::Paid(None)) };
    let evidence = args.args.iter().find_map(|arg| match arg {
        GenericArgument::Type(ty) => Some(Box::new(ty.clone())),
        _ => None,
    });
    Some(Role::Paid(evidence))
}

/// Checks the signature; every mistake goes to `errors`.
pub(crate) fn check<'a>(handler: &'a Handler, errors: &Sink) -> Fit<'a> {
    let sig = &handler.sig;
    let name = &sig.ident;
    let here = Sink::default();
    if sig.receiver().is_some() {
        let receiver = sig.inputs.first();
        errors.on(
            receiver,
            format!(
                "`{name}` takes `self`; axum handlers are free functions\n\
                 help: move what you need into the router's state and take `State<…>`"
            ),
        );
        return Fit::Hopeless;
    }
    qualifiers(sig, &here);
    for attr in handler.attrs.iter().filter(|a| is_debug_handler(a)) {
        errors.on(
            attr,
            "remove `#[debug_handler]`: `#[mpp::charge]` makes the same checks, and the two cannot see through each other\n\
             help: `state = YourState` in it names the argument that is at fault, whatever the router's state is",
        );
    }
    let arguments = arguments(sig, &here);
    body_comes_last(&arguments, &here);
    one_paid(sig, &arguments, &here);
    let extractors = arguments.iter().filter(|a| !a.is_paid()).count();
    if extractors > MOST_EXTRACTORS {
        here.on(
            &sig.inputs,
            format!(
                "axum takes at most {MOST_EXTRACTORS} extractors; `{name}` has {extractors} besides `Paid`"
            ),
        );
    }
    if here.is_empty() {
        return Fit::Fits(arguments);
    }
    here.drain_into(errors);
    // A stand-in for a generic function would have to invent its parameters.
    if sig.generics.params.is_empty() { Fit::Poisoned } else { Fit::Hopeless }
}

/// The type parameters a computed price cannot name, because no argument mentions them. `None` if there are any.
pub(crate) fn check_generics(sig: &Signature, arguments: &[Argument<'_>], errors: &Sink) -> Option<()> {
    let types: TokenStream =
        arguments.iter().filter(|a| !a.is_paid()).map(|a| a.ty.to_token_stream()).collect();
    let mut fits = Some(());
    for param in &sig.generics.params {
        let ident = match param {
            GenericParam::Type(param) => &param.ident,
            GenericParam::Const(param) => &param.ident,
            GenericParam::Lifetime(_) => continue,
        };
        if !mentions(types.clone(), &ident.to_string()) {
            errors.on(
                param,
                format!("type parameter `{ident}` appears in no argument, so the price cannot name it"),
            );
            fits = None;
        }
    }
    fits
}

/// Whether the last extractor reads the body, and which one it is.
pub(crate) fn body_argument<'a>(arguments: &'a [Argument<'a>]) -> Option<(&'a Argument<'a>, String)> {
    let last = arguments.iter().rfind(|a| !a.is_paid())?;
    Some((last, reads_body(last.ty)?))
}

/// Whether `name` occurs among the tokens, also inside `format!("{name}")`.
pub(crate) fn mentions(tokens: TokenStream, name: &str) -> bool {
    tokens.into_iter().any(|tree| match tree {
        TokenTree::Ident(ident) => ident == name,
        TokenTree::Group(group) => mentions(group.stream(), name),
        TokenTree::Literal(literal) => {
            let text = literal.to_string();
            text.starts_with('"')
                && text
                    .split('{')
                    .skip(1)
                    .any(|rest| rest.strip_prefix(name).is_some_and(|end| end.starts_with(['}', ':', '.'])))
        }
        TokenTree::Punct(_) => false,
    })
}

/// `#[debug_handler]`, with or without its crate.
pub(crate) fn is_debug_handler(attr: &Attribute) -> bool {
    attr.path().segments.last().is_some_and(|s| s.ident == "debug_handler")
}

fn qualifiers(sig: &Signature, errors: &Sink) {
    let name = &sig.ident;
    if sig.asyncness.is_none() {
        errors.on(sig.fn_token, format!("`{name}` must be async: a priced handler waits for a payment"));
    }
    if let Some(token) = &sig.constness {
        errors.on(token, format!("`{name}` must not be `const`"));
    }
    if !matches!(sig.safety, Safety::Default) {
        errors.on(&sig.safety, format!("`{name}` must not be `{}`", sig.safety.to_token_stream()));
    }
    if let Some(abi) = &sig.abi {
        errors.on(abi, format!("`{name}` must not be `extern`"));
    }
}

fn arguments<'a>(sig: &'a Signature, errors: &Sink) -> Vec<Argument<'a>> {
    let mut out = Vec::new();
    for input in &sig.inputs {
        let FnArg::Typed(arg) = input else { continue };
        let ty = match &*arg.ty {
            Type::Reference(reference) => {
                errors.on(&arg.ty, "axum extractors are owned values; this is a reference");
                &*reference.elem
            }
            Type::ImplTrait(_) => {
                errors.on(
                    &arg.ty,
                    "`impl Trait` arguments cannot be named by the gate\n\
                     help: use a type parameter: `async fn handler<T: Trait>(…)`",
                );
                &*arg.ty
            }
            other => other,
        };
        out.push(Argument { pat: &arg.pat, ty, role: paid(ty).unwrap_or(Role::Extractor) });
    }
    out
}

fn body_comes_last(arguments: &[Argument<'_>], errors: &Sink) {
    let extractors: Vec<_> = arguments.iter().filter(|a| !a.is_paid()).collect();
    for argument in extractors.iter().rev().skip(1).rev() {
        if let Some(body) = reads_body(argument.ty) {
            errors.on(
                argument.ty,
                format!("`{body}` reads the request body and must come last (`Paid` aside)"),
            );
        }
    }
}

fn one_paid(sig: &Signature, arguments: &[Argument<'_>], errors: &Sink) {
    let name = &sig.ident;
    let paid: Vec<_> = arguments.iter().filter(|a| a.is_paid()).collect();
    match paid.as_slice() {
        [_] => {}
        [_, second, ..] => {
            errors.on(second.ty, format!("`{name}` takes `Paid` twice; one request is paid once"))
        }
        [] => {
            let mut message = format!(
                "`{name}` is priced but takes no `Paid` argument\n\
                 help: add `paid: Paid<Receipt>` (or `_: Paid`), so that removing the price cannot silently make the \
                 handler free"
            );
            if let Some(wrapped) = arguments.iter().find(|a| mentions(a.ty.to_token_stream(), "Paid")) {
                let ty = text(wrapped.ty);
                message.push_str(&format!(
                    "\nnote: `{ty}` is not filled in; for requests that may be free write `Paid<Option<Receipt>>` with \
                     `free_if = …`"
                ));
            } else if let Some(stranger) = arguments.iter().find(|a| is_stranger(a.ty)) {
                let ty = text(stranger.ty);
                message.push_str(&format!(
                    "\nnote: `Paid` must be written as such: if `{ty}` is an alias of it, the alias cannot be seen"
                ));
            }
            errors.at(sig.paren_token.span.join(), message);
        }
    }
}

/// A type that may be an alias of `Paid` for all we know.
fn is_stranger(ty: &Type) -> bool {
    let Some(last) = path(ty).and_then(|p| p.segments.last()) else { return false };
    let known = |names: &[&str]| names.iter().any(|name| last.ident == name);
    !(known(HEAD) || known(BODY) || known(WRAPPERS))
}

fn reads_body(ty: &Type) -> Option<String> {
    let last = path(ty)?.segments.last()?;
    let name = last.ident.to_string();
    if BODY.contains(&name.as_str()) {
        return Some(name);
    }
    let PathArguments::AngleBracketed(args) = &last.arguments else { return None };
    let inner = args.args.iter().find_map(|arg| match arg {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })?;
    if WRAPPERS.contains(&name.as_str()) { reads_body(inner) } else { None }
}

fn path(ty: &Type) -> Option<&Path> {
    match ty {
        Type::Path(ty) => Some(&ty.path),
        Type::Group(group) => path(&group.elem),
        Type::Paren(paren) => path(&paren.elem),
        _ => None,
    }
}

fn text(ty: &Type) -> String {
    ty.to_token_stream().to_string().replace(' ', "")
}

impl Argument<'_> {
    /// The evidence, spanned where the user wrote it.
    pub(crate) fn evidence(&self, krate: &TokenStream) -> Option<TokenStream> {
        match &self.role {
            Role::Extractor => None,
            Role::Paid(Some(evidence)) => Some(evidence.to_token_stream()),
            Role::Paid(None) => {
                let span = path(self.ty)?.segments.last()?.ident.span();
                // Nothing of the expansion may be in this span: evidence that does not fit is reported at `Paid`.
                let path = quote_spanned!(span=> #krate::Receipt).into_iter().map(|mut tree| {
                    if tree.to_string() != "$crate" {
                        tree.set_span(span);
                    }
                    tree
                });
                Some(path.collect())
            }
        }
    }
}
