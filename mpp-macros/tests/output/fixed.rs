#[doc(hidden)]
#[allow(
    non_camel_case_types,
    unreachable_pub,
    missing_debug_implementations,
    clippy::redundant_pub_crate
)]
pub struct __mpp_weather;
const _: () = {
    static __SPEC: ::mpp::__private::PriceSpec = ::mpp::__private::PriceSpec {
        module: ::core::module_path!(),
        name: "weather",
        docs: "Current weather for a city.\n\nUpdated hourly.",
        offers: &[
            ::mpp::__private::OfferSpec::fixed(
                <::mpp::__private::marker::Tempo as ::mpp::__private::PaymentMethod>::NAME,
                ::mpp::__private::Currency::USDC,
                ::mpp::__private::Amount::new(5, 2),
            ),
            ::mpp::__private::OfferSpec::fixed(
                <::mpp::__private::marker::Stripe as ::mpp::__private::PaymentMethod>::NAME,
                ::mpp::__private::Currency::USD,
                ::mpp::__private::Amount::new(5, 1),
            ),
        ],
        is_handler: true,
        shape: ::core::option::Option::Some({
            #[allow(unused_imports, unused_variables, clippy::needless_borrow)]
            fn shape(shape: &mut ::mpp::__private::Shape) {
                use ::mpp::__private::probes::*;
                (&&&&&::mpp::__private::Probe::<Path<String>>::NEW).input(shape);
                (&&&&&::mpp::__private::Probe::<Json<Weather>>::NEW).output(shape);
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
    impl ::mpp::__private::Priced for __mpp_weather {
        type Kind = ::mpp::__private::Always;
        const SPEC: &'static ::mpp::__private::PriceSpec = &__SPEC;
    }
    impl<A> ::mpp::__private::PriceOf<A> for __mpp_weather {}
};
/// Current weather for a city.
///
/// Updated hourly.
///
/// Priced: 0.05 usdc by tempo, 0.50 usd by stripe.
pub fn weather(
    gate: ::mpp::__private::Gate<__mpp_weather, (Path<String>,), Receipt>,
) -> impl ::core::future::Future<
    Output = ::mpp::__private::Response,
> + ::core::marker::Send {
    #[allow(non_snake_case, clippy::unused_async)]
    async fn weather(Path(city): Path<String>, paid: Paid<Receipt>) -> Json<Weather> {
        Json(lookup(&city, &paid).await)
    }
    ::mpp::__private::fits::<Receipt, ::mpp::__private::Always>();
    let (paid, args, exit) = gate.open();
    exit.serve(weather(args.0, paid))
}
