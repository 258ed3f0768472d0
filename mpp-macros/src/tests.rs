//! Expected expansions: `tests/output/*.rs`, blessed with `MPP_BLESS=1 cargo test -p mpp-macros`.
//!
//! They show a reader what an annotation becomes, and a reviewer what a change to the macros changes. That expansions
//! compile and mean what they should is tested in `ui-tests`.

use crate::{expand, price, terms};
use proc_macro2::{TokenStream, TokenTree};
use quote::quote;
use std::path::Path;

#[test]
fn a_fixed_price() {
    assert_expansion(
        "fixed",
        expand::charge(
            quote!(
                amount = "0.05",
                currency = "usdc",
                methods(tempo, stripe(amount = "0.50", currency = "usd"))
            ),
            quote! {
                /// Current weather for a city.
                ///
                /// Updated hourly.
                pub async fn weather(Path(city): Path<String>, paid: Paid<Receipt>) -> Json<Weather> {
                    Json(lookup(&city, &paid).await)
                }
            },
        ),
    );
}

#[test]
fn a_computed_price() {
    assert_expansion(
        "computed",
        expand::charge(
            quote!(
                amount = price_of(&prompt.model),
                up_to = "2.00",
                currency = "usdc",
                methods(tempo, stripe(amount = "0.50", currency = "usd")),
                free_if = tier.is_member(),
                honor = "quote",
                bind("X-Tier"),
            ),
            quote! {
                #[tracing::instrument(skip_all)]
                #[allow(clippy::too_many_lines)]
                async fn complete(
                    tier: Tier,
                    Json(mut prompt): Json<Prompt>,
                    paid: Paid<Option<Receipt>>,
                ) -> Result<String, StatusCode> {
                    prompt.model.push('!');
                    Ok(prompt.model)
                }
            },
        ),
    );
}

#[test]
fn a_price_per_method() {
    assert_expansion(
        "each",
        expand::charge(
            quote!(
                amount = base(*n),
                currency = "usdc",
                methods(
                    tempo,
                    stripe(amount = cents(*n), currency = "usd"),
                    crate::Own(amount = "0.10", currency = "gold")
                ),
            ),
            quote!(
                async fn units(Path(n): Path<u64>, _: Paid) {}
            ),
        ),
    );
}

#[test]
fn shared_terms_and_a_known_state() {
    assert_expansion(
        "terms",
        expand::charge(
            quote!(amount = "0.05", terms = crate::STANDARD, state = App),
            quote!(
                async fn row(State(db): State<Db>, body: Bytes, _: Paid) {}
            ),
        ),
    );
    assert_expansion(
        "terms_macro",
        item(terms::terms(quote!(
            currency = "usdc",
            methods(tempo, stripe(amount = "0.50", currency = "usd")),
            replay = "response",
        ))),
    );
}

#[test]
fn fees_parts_a_reference_and_two_currencies_of_one_method() {
    assert_expansion(
        "split",
        item(price::price(quote!(
            amount = "0.05",
            methods(
                tempo(currency = "usdc"),
                tempo(currency = crate::GOLD),
                stripe(amount = "0.50", currency = "usd")
            ),
            fees = "sponsored",
            split(platform = "0.01", author = "2.5%"),
            external_id = "sku-42",
        ))),
    );
    assert_expansion(
        "split_terms",
        item(terms::terms(quote!(
            currency = "usdc",
            methods(tempo),
            fees = "sponsored",
            split(platform = "2.5%"),
        ))),
    );
}

#[test]
fn every_other_key() {
    assert_expansion(
        "keys",
        expand::charge(
            quote!(
                amount = "0.05",
                currency = crate::GOLD,
                methods(sandbox),
                description = "one rendering",
                challenge = "first",
                capture = "success",
                digest = false,
                replay = "response",
                fees = "sponsored",
                split(platform = "0.01", r#type = "2.5%"),
                external_id = "sku-42",
            ),
            quote!(
                async fn render(_: Paid<Hold>) {}
            ),
        ),
    );
    assert_expansion(
        "proof",
        expand::charge(
            quote!(amount = "0", currency = "usdc", methods(tempo), proof = true, settle = "before"),
            quote!(
                async fn whoami(paid: Paid) -> String {
                    format!("{:?}", paid.payer())
                }
            ),
        ),
    );
}

#[test]
fn a_generic_handler() {
    assert_expansion(
        "generic",
        expand::charge(
            quote!(amount = rates.price(), currency = "usdc", methods(tempo)),
            quote! {
                async fn weather<R>(State(rates): State<R>, _: Paid) -> String
                where
                    R: Rates + Send + Sync + 'static,
                {
                    rates.name()
                }
            },
        ),
    );
}

#[test]
fn prices_for_layers() {
    assert_expansion(
        "layer_fixed",
        item(price::price(quote!(
            amount = "0.002",
            currency = "usdc",
            methods(tempo),
            name = "search",
            replay = "response"
        ))),
    );
    assert_expansion(
        "layer_computed",
        item(price::price(quote!(
            amount = |head| tariff(head.uri().path()),
            up_to = "1.00",
            currency = "usdc",
            methods(tempo, stripe(amount = |head| cents(head), currency = "usd")),
            free_if = |head| head.uri().path() == "/health",
        ))),
    );
}

#[test]
fn a_signature_that_does_not_fit_becomes_a_stand_in_with_the_users_function_inside() {
    assert_expansion(
        "poisoned",
        expand::charge(
            quote!(amount = "0.05", currency = "usdc", methods(tempo)),
            quote!(
                async fn weather(Path(city): Path<String>) -> String {
                    city
                }
            ),
        ),
    );
}

#[test]
fn utoipa_is_moved_above() {
    assert_expansion(
        "utoipa",
        expand::charge(
            quote!(amount = "0.05", currency = "usdc", methods(tempo)),
            quote! {
                /// Current weather.
                #[utoipa::path(get, path = "/weather", extensions(("x-mine" = json!(1))))]
                async fn weather(_: Paid) {}
            },
        ),
    );
}

#[test]
fn a_renamed_library_leaves_no_trace_of_its_name() {
    let handlers = [
        quote!(
            async fn plain(_: Paid) {}
        ),
        quote! {
            #[utoipa::path(get, path = "/")]
            async fn documented(_: Paid) {}
        },
        // Mistakes expand too.
        quote!(
            async fn unpaid() {}
        ),
        quote!(
            fn not_async(_: Paid) {}
        ),
    ];
    let keys = [
        quote!(amount = "0.05", currency = "usdc", methods(tempo, crate::Own(currency = "gold"))),
        quote!(
            amount = price(),
            currency = "usdc",
            methods(tempo, stripe(amount = "1")),
            state = App,
            free_if = true
        ),
        quote!(amount = "0.05", terms = STANDARD, challenge = "first"),
        quote!(amount = "0.05", terms = STANDARD, split(a = "1%"), fees = "sponsored"),
        quote!(
            amount = "0.05",
            currency = "usdc",
            methods(tempo),
            split(a = "1%", b = "0.01"),
            fees = "sponsored",
            external_id = "sku-42"
        ),
        quote!(ammount = "0.05"),
    ];
    for handler in &handlers {
        for keys in &keys {
            assert_unnamed(expand::charge(quote!(#keys, crate = renamed), handler.clone()));
        }
    }
    assert_unnamed(terms::terms(quote!(
        currency = "usdc",
        methods(tempo),
        split(a = "1%"),
        fees = "sponsored",
        crate = renamed
    )));
    assert_unnamed(terms::terms(quote!(crate = renamed)));
    for keys in [quote!(amount = "1"), quote!(amount = |h| price(h), free_if = |h| true), quote!(amount = 1)]
    {
        assert_unnamed(price::price(quote!(#keys, currency = "usdc", methods(tempo), crate = renamed)));
    }
    assert_expansion(
        "renamed",
        expand::charge(
            quote!(amount = "0.05", currency = "usdc", methods(tempo), crate = renamed),
            handlers[0].clone(),
        ),
    );
}

#[test]
fn a_price_whose_methods_each_have_their_own_amount_is_fixed_too() {
    let methods = quote!(methods(tempo(amount = "0.05"), stripe(amount = "0.50", currency = "usd")));
    for (key, said) in [
        (quote!(up_to = "2.00"), "`up_to` bounds a computed price, but this one is fixed"),
        (quote!(honor = "quote", bind()), "is about computed prices, but this one is fixed"),
    ] {
        let handler = quote!(
            async fn weather(_: Paid) {}
        );
        let out = expand::charge(quote!(currency = "usdc", #methods, #key), handler).to_string();
        assert!(out.contains(said), "{key}: {out}");
    }
}

#[test]
fn no_half_typed_annotation_panics_or_loses_the_function() {
    let whole = quote! {
        amount = price(&prompt.model)?, up_to = "2.00", currency = "usdc", free_if = tier == 1,
        methods(tempo, stripe(amount = "0.50", currency = "usd"), crate::Own), description = "x", honor = "quote",
        bind("x-tier"), digest = false, fees = "sponsored", split(platform = "0.01", author = "2.5%"),
        external_id = "sku-42", state = App, crate = mpp
    };
    let tokens: Vec<TokenTree> = whole.into_iter().collect();
    for end in 0..tokens.len() {
        for without in [None, Some(end / 2)] {
            let typed: TokenStream = tokens[..end]
                .iter()
                .enumerate()
                .filter(|(i, _)| Some(*i) != without)
                .map(|(_, tree)| tree.clone())
                .collect();
            let out = expand::charge(
                typed.clone(),
                quote!(
                    async fn complete(tier: u8, prompt: Prompt, _: Paid<Option<Receipt>>) {
                        kept_body()
                    }
                ),
            );
            assert!(out.to_string().contains("kept_body"), "{typed} lost the function");
            price::price(typed.clone());
            terms::terms(typed);
        }
    }
}

/// An expression, as the item `prettyplease` wants.
fn item(expression: TokenStream) -> TokenStream {
    quote!(const EXPANDED: () = #expression;)
}

fn assert_expansion(name: &str, tokens: TokenStream) {
    let file = syn::parse2(tokens.clone()).unwrap_or_else(|e| panic!("{name} does not parse: {e}\n{tokens}"));
    let expanded = prettyplease::unparse(&file);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/output").join(name).with_extension("rs");
    if std::env::var_os("MPP_BLESS").is_some() {
        std::fs::write(&path, &expanded).expect("the expected output can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == expanded,
        "tests/output/{name}.rs differs; if this is meant, run MPP_BLESS=1 cargo test -p mpp-macros\n\n{expanded}"
    );
}

/// No path that starts with the library's default name.
fn assert_unnamed(tokens: TokenStream) {
    fn named(tokens: TokenStream) -> bool {
        tokens.into_iter().any(|tree| match tree {
            TokenTree::Ident(ident) => ident == "mpp",
            TokenTree::Group(group) => named(group.stream()),
            _ => false,
        })
    }
    assert!(!named(tokens.clone()), "{tokens}");
}
