const EXPANDED: () = {
    static __SPEC: ::mpp::__private::PriceSpec = ::mpp::__private::PriceSpec {
        module: ::core::module_path!(),
        name: "layer",
        offers: &[
            ::mpp::__private::OfferSpec::computed(
                <::mpp::__private::marker::Tempo as ::mpp::__private::PaymentMethod>::NAME,
                ::mpp::__private::Currency::USDC,
            ),
            ::mpp::__private::OfferSpec::computed(
                <::mpp::__private::marker::Stripe as ::mpp::__private::PaymentMethod>::NAME,
                ::mpp::__private::Currency::USD,
            ),
        ],
        tier: ::mpp::__private::Tier::FreeIf,
        up_to: ::core::option::Option::Some(::mpp::__private::Amount::new(1, 0)),
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
    ::mpp::__private::LayerPrice::new(
        &__SPEC,
        {
            let closure0 = ::mpp::__private::head::free_if(|head| {
                head.uri().path() == "/health"
            });
            let closure1 = ::mpp::__private::head::amount(|head| tariff(
                head.uri().path(),
            ));
            let closure2 = ::mpp::__private::head::amount(|head| cents(head));
            ::mpp::__private::HeadQuote::computed(move |head: &::mpp::Head| {
                let free: bool = closure0(head);
                if free {
                    return ::core::result::Result::Ok(::mpp::__private::Quote::Free);
                }
                let shared: ::mpp::__private::Amount = closure1(head)?;
                ::core::result::Result::Ok(
                    ::mpp::__private::Quote::Each(
                        ::std::vec![
                            ::core::option::Option::Some(shared),
                            ::core::option::Option::Some(closure2(head) ?)
                        ],
                    ),
                )
            })
        },
    )
};
