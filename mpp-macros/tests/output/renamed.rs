#[doc(hidden)]
#[allow(
    non_camel_case_types,
    unreachable_pub,
    missing_debug_implementations,
    clippy::redundant_pub_crate
)]
struct __mpp_plain;
const _: () = {
    static __SPEC: renamed::__private::PriceSpec = renamed::__private::PriceSpec {
        module: ::core::module_path!(),
        name: "plain",
        offers: &[
            renamed::__private::OfferSpec::fixed(
                <renamed::__private::marker::Tempo as renamed::__private::PaymentMethod>::NAME,
                renamed::__private::Currency::USDC,
                renamed::__private::Amount::new(5, 2),
            ),
        ],
        is_handler: true,
        is_bare: true,
        shape: ::core::option::Option::Some({
            #[allow(unused_imports, unused_variables, clippy::needless_borrow)]
            fn shape(shape: &mut renamed::__private::Shape) {
                use renamed::__private::probes::*;
                (&&&&&renamed::__private::Probe::<()>::NEW).output(shape);
            }
            shape
        }),
        location: renamed::__private::Location {
            file: ::core::file!(),
            line: ::core::line!(),
            column: ::core::column!(),
        },
        ..renamed::__private::PriceSpec::NEW
    };
    renamed::__private::inventory::submit! {
        renamed::__private::Registered(& __SPEC)
    }
    impl renamed::__private::Priced for __mpp_plain {
        type Kind = renamed::__private::Always;
        const SPEC: &'static renamed::__private::PriceSpec = &__SPEC;
    }
    impl<A> renamed::__private::PriceOf<A> for __mpp_plain {}
};
/// Priced: 0.05 usdc by tempo.
fn plain(
    gate: renamed::__private::Gate<__mpp_plain, (), renamed::Receipt>,
) -> impl ::core::future::Future<
    Output = renamed::__private::Response,
> + ::core::marker::Send {
    #[allow(non_snake_case, clippy::unused_async)]
    async fn plain(_: Paid) {}
    renamed::__private::fits::<renamed::Receipt, renamed::__private::Always>();
    let (paid, args, exit) = gate.open();
    exit.serve(plain(paid))
}
