#[doc(hidden)]
#[allow(
    non_camel_case_types,
    unreachable_pub,
    missing_debug_implementations,
    clippy::redundant_pub_crate
)]
struct __mpp_render;
const _: () = {
    const __OFFERS: &[::mpp::__private::OfferSpec] = &[
        ::mpp::__private::OfferSpec::fixed(
            <::mpp::__private::marker::Sandbox as ::mpp::__private::PaymentMethod>::NAME,
            crate::GOLD,
            ::mpp::__private::Amount::new(5, 2),
        ),
    ];
    static __SPEC: ::mpp::__private::PriceSpec = ::mpp::__private::PriceSpec {
        module: ::core::module_path!(),
        name: "render",
        description: ::core::option::Option::Some("one rendering"),
        external_id: ::core::option::Option::Some("sku-42"),
        offers: __OFFERS,
        fees: ::mpp::__private::Fees::Sponsored,
        replay: ::mpp::__private::Replay::Response,
        splits: ::mpp::__private::SplitSpec::checked(
            __OFFERS,
            &[
                ::mpp::__private::SplitSpec {
                    payee: "platform",
                    part: ::mpp::__private::Part::Amount(
                        ::mpp::__private::Amount::new(1, 2),
                    ),
                },
                ::mpp::__private::SplitSpec {
                    payee: "type",
                    part: ::mpp::__private::Part::Millionths(25000),
                },
            ],
        ),
        binding: ::mpp::__private::Binding::None,
        order: ::mpp::__private::Order::ChallengeFirst,
        capture: ::mpp::__private::Capture::OnSuccess,
        is_handler: true,
        is_bare: true,
        shape: ::core::option::Option::Some({
            #[allow(unused_imports, unused_variables, clippy::needless_borrow)]
            fn shape(shape: &mut ::mpp::__private::Shape) {
                use ::mpp::__private::probes::*;
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
    impl ::mpp::__private::Priced for __mpp_render {
        type Kind = ::mpp::__private::Reserved;
        const SPEC: &'static ::mpp::__private::PriceSpec = &__SPEC;
    }
    impl<A> ::mpp::__private::PriceOf<A> for __mpp_render {}
};
/// Priced: 0.05 GOLD by sandbox; of which 0.01 to `platform`, 2.5% to `type`; fees are sponsored; taken after a success; answered again for the same payment.
fn render(
    gate: ::mpp::__private::Gate<__mpp_render, (), Hold>,
) -> impl ::core::future::Future<
    Output = ::mpp::__private::Response,
> + ::core::marker::Send {
    #[allow(non_snake_case, clippy::unused_async)]
    async fn render(_: Paid<Hold>) {}
    ::mpp::__private::fits::<Hold, ::mpp::__private::Reserved>();
    let (paid, args, exit) = gate.open();
    exit.serve(render(paid))
}
