#[doc(hidden)]
#[allow(
    non_camel_case_types,
    unreachable_pub,
    missing_debug_implementations,
    clippy::redundant_pub_crate
)]
struct __mpp_units;
const _: () = {
    static __SPEC: ::mpp::__private::PriceSpec = ::mpp::__private::PriceSpec {
        module: ::core::module_path!(),
        name: "units",
        offers: &[
            ::mpp::__private::OfferSpec::computed(
                <::mpp::__private::marker::Tempo as ::mpp::__private::PaymentMethod>::NAME,
                ::mpp::__private::Currency::USDC,
            ),
            ::mpp::__private::OfferSpec::computed(
                <::mpp::__private::marker::Stripe as ::mpp::__private::PaymentMethod>::NAME,
                ::mpp::__private::Currency::USD,
            ),
            ::mpp::__private::OfferSpec::fixed(
                <crate::Own as ::mpp::__private::PaymentMethod>::NAME,
                ::mpp::__private::currency_of(
                    <crate::Own as ::mpp::__private::PaymentMethod>::CURRENCIES,
                    "gold",
                ),
                ::mpp::__private::Amount::new(1, 1),
            ),
        ],
        is_handler: true,
        shape: ::core::option::Option::Some({
            #[allow(unused_imports, unused_variables, clippy::needless_borrow)]
            fn shape(shape: &mut ::mpp::__private::Shape) {
                use ::mpp::__private::probes::*;
                (&&&&&::mpp::__private::Probe::<Path<u64>>::NEW).input(shape);
                (&&&&&::mpp::__private::Probe::<()>::NEW).output(shape);
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
    impl ::mpp::__private::Priced for __mpp_units {
        type Kind = ::mpp::__private::Always;
        const SPEC: &'static ::mpp::__private::PriceSpec = &__SPEC;
    }
    impl ::mpp::__private::PriceOf<(Path<u64>,)> for __mpp_units {
        #[allow(unused_variables, clippy::unused_async, clippy::needless_borrow)]
        async fn quote(
            args: &(Path<u64>,),
        ) -> ::core::result::Result<::mpp::__private::Quote, ::mpp::__private::Refusal> {
            let (Path(n),) = args;
            let shared: ::mpp::__private::Amount = ::mpp::__private::IntoAmount::into_amount(
                base(*n),
            )?;
            ::core::result::Result::Ok(
                ::mpp::__private::Quote::Each(
                    ::std::vec![
                        ::core::option::Option::Some(shared),
                        ::core::option::Option::Some(::mpp::__private::IntoAmount::into_amount(cents(*
                        n)) ?), ::core::option::Option::None
                    ],
                ),
            )
        }
    }
};
/// Priced: computed, in usdc by tempo; computed, in usd by stripe; 0.10 gold by Own.
fn units(
    gate: ::mpp::__private::Gate<__mpp_units, (Path<u64>,), ::mpp::Receipt>,
) -> impl ::core::future::Future<
    Output = ::mpp::__private::Response,
> + ::core::marker::Send {
    #[allow(non_snake_case, clippy::unused_async)]
    async fn units(Path(n): Path<u64>, _: Paid) {
        let _ = &n;
    }
    ::mpp::__private::fits::<::mpp::Receipt, ::mpp::__private::Always>();
    let (paid, args, exit) = gate.open();
    exit.serve(units(args.0, paid))
}
