#[doc(hidden)]
#[allow(
    non_camel_case_types,
    unreachable_pub,
    missing_debug_implementations,
    clippy::redundant_pub_crate
)]
struct __mpp_row;
const _: () = {
    const __TERMS: ::mpp::Terms = crate::STANDARD;
    const __OFFERS: [::mpp::__private::OfferSpec; __TERMS.len()] = __TERMS
        .fixed(::mpp::__private::Amount::new(5, 2));
    static __SPEC: ::mpp::__private::PriceSpec = ::mpp::__private::PriceSpec {
        module: ::core::module_path!(),
        name: "row",
        offers: &__OFFERS,
        fees: __TERMS.fees(),
        replay: __TERMS.replay(),
        splits: __TERMS.splits(&__OFFERS, &[]),
        is_handler: true,
        shape: ::core::option::Option::Some({
            #[allow(unused_imports, unused_variables, clippy::needless_borrow)]
            fn shape(shape: &mut ::mpp::__private::Shape) {
                use ::mpp::__private::probes::*;
                (&&&&&::mpp::__private::Probe::<State<Db>>::NEW).input(shape);
                (&&&&&::mpp::__private::Probe::<Bytes>::NEW).input(shape);
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
    impl ::mpp::__private::Priced for __mpp_row {
        type Kind = ::mpp::__private::Always;
        const SPEC: &'static ::mpp::__private::PriceSpec = &__SPEC;
    }
    impl<A> ::mpp::__private::PriceOf<A> for __mpp_row {}
};
/// Priced: 0.05 on the terms `crate::STANDARD`.
fn row(
    gate: ::mpp::__private::Gate<__mpp_row, (State<Db>, Bytes), ::mpp::Receipt>,
) -> impl ::core::future::Future<
    Output = ::mpp::__private::Response,
> + ::core::marker::Send {
    #[allow(non_snake_case, clippy::unused_async)]
    async fn row(State(db): State<Db>, body: Bytes, _: Paid) {}
    const _: fn() = || {
        fn check<T: ::mpp::__private::FromRequestParts<App>>() {}
        check::<State<Db>>();
    };
    const _: fn() = || {
        fn check<M, T: ::mpp::__private::FromRequest<App, M>>() {}
        check::<_, Bytes>();
    };
    const _: fn() = || {
        fn check<S: ::mpp::routing::HasMpp>() {}
        check::<App>();
    };
    ::mpp::__private::fits::<::mpp::Receipt, ::mpp::__private::Always>();
    let (paid, args, exit) = gate.open();
    exit.serve(row(args.0, args.1, paid))
}
