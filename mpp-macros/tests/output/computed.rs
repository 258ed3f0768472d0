#[doc(hidden)]
#[allow(
    non_camel_case_types,
    unreachable_pub,
    missing_debug_implementations,
    clippy::redundant_pub_crate
)]
struct __mpp_complete;
const _: () = {
    static __SPEC: ::mpp::__private::PriceSpec = ::mpp::__private::PriceSpec {
        module: ::core::module_path!(),
        name: "complete",
        offers: &[
            ::mpp::__private::OfferSpec::computed(
                <::mpp::__private::marker::Tempo as ::mpp::__private::PaymentMethod>::NAME,
                ::mpp::__private::Currency::USDC,
            ),
            ::mpp::__private::OfferSpec::fixed(
                <::mpp::__private::marker::Stripe as ::mpp::__private::PaymentMethod>::NAME,
                ::mpp::__private::Currency::USD,
                ::mpp::__private::Amount::new(5, 1),
            ),
        ],
        tier: ::mpp::__private::Tier::FreeIf,
        up_to: ::core::option::Option::Some(::mpp::__private::Amount::new(2, 0)),
        honor: ::mpp::__private::Honor::Quoted(&["x-tier"]),
        is_handler: true,
        shape: ::core::option::Option::Some({
            #[allow(unused_imports, unused_variables, clippy::needless_borrow)]
            fn shape(shape: &mut ::mpp::__private::Shape) {
                use ::mpp::__private::probes::*;
                (&&&&&::mpp::__private::Probe::<Tier>::NEW).input(shape);
                (&&&&&::mpp::__private::Probe::<Json<Prompt>>::NEW).input(shape);
                (&&&&&::mpp::__private::Probe::<String>::NEW).output(shape);
            }
            shape
        }),
        location: ::mpp::__private::Location {
            file: ::core::file!(),
            line: ::core::line!(),
            column: ::core::column!(),
        },
        ..::mpp::__private::PriceSpec::NEW
    };
    ::mpp::__private::inventory::submit! {
        ::mpp::__private::Registered(& __SPEC)
    }
    impl ::mpp::__private::Priced for __mpp_complete {
        type Kind = ::mpp::__private::Maybe;
        const SPEC: &'static ::mpp::__private::PriceSpec = &__SPEC;
    }
    impl ::mpp::__private::PriceOf<(Tier, Json<Prompt>)> for __mpp_complete {
        #[allow(unused_variables, clippy::unused_async, clippy::needless_borrow)]
        async fn quote(
            args: &(Tier, Json<Prompt>),
        ) -> ::core::result::Result<::mpp::__private::Quote, ::mpp::__private::Refusal> {
            let (tier, Json(prompt)) = args;
            let free: bool = tier.is_member();
            if free {
                return ::core::result::Result::Ok(::mpp::__private::Quote::Free);
            }
            let shared: ::mpp::__private::Amount = ::mpp::__private::IntoAmount::into_amount(
                price_of(&prompt.model),
            )?;
            ::core::result::Result::Ok(::mpp::__private::Quote::Computed(shared))
        }
    }
};
/// Priced: computed, at most 2.00 usdc by tempo; 0.50 usd by stripe; free for some requests.
#[allow(clippy::too_many_lines)]
fn complete(
    gate: ::mpp::__private::Gate<__mpp_complete, (Tier, Json<Prompt>), Option<Receipt>>,
) -> impl ::core::future::Future<
    Output = ::mpp::__private::Response,
> + ::core::marker::Send {
    #[tracing::instrument(skip_all)]
    #[allow(clippy::too_many_lines)]
    #[allow(non_snake_case, clippy::unused_async)]
    async fn complete(
        tier: Tier,
        Json(mut prompt): Json<Prompt>,
        paid: Paid<Option<Receipt>>,
    ) -> Result<String, StatusCode> {
        let _ = &tier;
        let _ = &prompt;
        prompt.model.push('!');
        Ok(prompt.model)
    }
    ::mpp::__private::fits::<Option<Receipt>, ::mpp::__private::Maybe>();
    let (paid, args, exit) = gate.open();
    exit.serve(complete(args.0, args.1, paid))
}
