#[doc(hidden)]
#[allow(
    non_camel_case_types,
    unreachable_pub,
    missing_debug_implementations,
    clippy::redundant_pub_crate
)]
struct __mpp_whoami;
const _: () = {
    static __SPEC: ::mpp::__private::PriceSpec = ::mpp::__private::PriceSpec {
        module: ::core::module_path!(),
        name: "whoami",
        offers: &[
            ::mpp::__private::OfferSpec::fixed(
                <::mpp::__private::marker::Tempo as ::mpp::__private::PaymentMethod>::NAME,
                ::mpp::__private::Currency::USDC,
                ::mpp::__private::Amount::new(0, 0),
            ),
        ],
        tier: ::mpp::__private::Tier::Proof,
        is_handler: true,
        is_bare: true,
        shape: ::core::option::Option::Some({
            #[allow(unused_imports, unused_variables, clippy::needless_borrow)]
            fn shape(shape: &mut ::mpp::__private::Shape) {
                use ::mpp::__private::probes::*;
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
    impl ::mpp::__private::Priced for __mpp_whoami {
        type Kind = ::mpp::__private::Always;
        const SPEC: &'static ::mpp::__private::PriceSpec = &__SPEC;
    }
    impl<A> ::mpp::__private::PriceOf<A> for __mpp_whoami {}
};
/// Priced: a proof of identity by tempo; nothing is charged.
fn whoami(
    gate: ::mpp::__private::Gate<__mpp_whoami, (), ::mpp::Receipt>,
) -> impl ::core::future::Future<
    Output = ::mpp::__private::Response,
> + ::core::marker::Send {
    #[allow(non_snake_case, clippy::unused_async)]
    async fn whoami(paid: Paid) -> String {
        format!("{:?}", paid.payer())
    }
    ::mpp::__private::fits::<::mpp::Receipt, ::mpp::__private::Always>();
    let (paid, args, exit) = gate.open();
    exit.serve(whoami(paid))
}
