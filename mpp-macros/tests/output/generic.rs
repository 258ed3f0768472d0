#[doc(hidden)]
#[allow(
    non_camel_case_types,
    unreachable_pub,
    missing_debug_implementations,
    clippy::redundant_pub_crate
)]
struct __mpp_weather;
const _: () = {
    static __SPEC: ::mpp::__private::PriceSpec = ::mpp::__private::PriceSpec {
        module: ::core::module_path!(),
        name: "weather",
        offers: &[
            ::mpp::__private::OfferSpec::computed(
                <::mpp::__private::marker::Tempo as ::mpp::__private::PaymentMethod>::NAME,
                ::mpp::__private::Currency::USDC,
            ),
        ],
        is_handler: true,
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
    impl ::mpp::__private::Priced for __mpp_weather {
        type Kind = ::mpp::__private::Always;
        const SPEC: &'static ::mpp::__private::PriceSpec = &__SPEC;
    }
    impl<R> ::mpp::__private::PriceOf<(State<R>,)> for __mpp_weather
    where
        R: Rates + Send + Sync + 'static,
    {
        #[allow(unused_variables, clippy::unused_async, clippy::needless_borrow)]
        async fn quote(
            args: &(State<R>,),
        ) -> ::core::result::Result<::mpp::__private::Quote, ::mpp::__private::Refusal> {
            let (State(rates),) = args;
            let shared: ::mpp::__private::Amount = ::mpp::__private::IntoAmount::into_amount(
                rates.price(),
            )?;
            ::core::result::Result::Ok(::mpp::__private::Quote::Computed(shared))
        }
    }
};
/// Priced: computed, in usdc by tempo.
fn weather<R>(
    gate: ::mpp::__private::Gate<__mpp_weather, (State<R>,), ::mpp::Receipt>,
) -> impl ::core::future::Future<Output = ::mpp::__private::Response>
where
    R: Rates + Send + Sync + 'static,
{
    #[allow(non_snake_case, clippy::unused_async)]
    async fn weather<R>(State(rates): State<R>, _: Paid) -> String
    where
        R: Rates + Send + Sync + 'static,
    {
        let _ = &rates;
        rates.name()
    }
    let (paid, args, exit) = gate.open();
    exit.serve(weather::<R>(args.0, paid))
}
