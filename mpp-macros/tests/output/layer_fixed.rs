const EXPANDED: () = {
    static __SPEC: ::mpp::__private::PriceSpec = ::mpp::__private::PriceSpec {
        module: ::core::module_path!(),
        name: "search",
        offers: &[
            ::mpp::__private::OfferSpec::fixed(
                <::mpp::__private::marker::Tempo as ::mpp::__private::PaymentMethod>::NAME,
                ::mpp::__private::Currency::USDC,
                ::mpp::__private::Amount::new(2, 3),
            ),
        ],
        replay: ::mpp::__private::Replay::Response,
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
