const EXPANDED: () = {
    const __OFFERS: &[::mpp::__private::OfferSpec] = &[
        ::mpp::__private::OfferSpec::fixed(
            <::mpp::__private::marker::Tempo as ::mpp::__private::PaymentMethod>::NAME,
            ::mpp::__private::Currency::USDC,
            ::mpp::__private::Amount::new(5, 2),
        ),
        ::mpp::__private::OfferSpec::fixed(
            <::mpp::__private::marker::Tempo as ::mpp::__private::PaymentMethod>::NAME,
            crate::GOLD,
            ::mpp::__private::Amount::new(5, 2),
        ),
        ::mpp::__private::OfferSpec::fixed(
            <::mpp::__private::marker::Stripe as ::mpp::__private::PaymentMethod>::NAME,
            ::mpp::__private::Currency::USD,
            ::mpp::__private::Amount::new(5, 1),
        ),
    ];
    static __SPEC: ::mpp::__private::PriceSpec = ::mpp::__private::PriceSpec {
        module: ::core::module_path!(),
        name: "layer",
        external_id: ::core::option::Option::Some("sku-42"),
        offers: __OFFERS,
        fees: ::mpp::__private::Fees::Sponsored,
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
                    payee: "author",
                    part: ::mpp::__private::Part::Millionths(25000),
                },
            ],
        ),
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
    ::mpp::__private::LayerPrice::new(&__SPEC, ::mpp::__private::HeadQuote::Fixed)
};
