const EXPANDED: () = ::mpp::Terms::new(
        &[
            ::mpp::__private::TermSpec {
                method: <::mpp::__private::marker::Tempo as ::mpp::__private::PaymentMethod>::NAME,
                currency: ::mpp::__private::Currency::USDC,
                amount: ::core::option::Option::None,
            },
            ::mpp::__private::TermSpec {
                method: <::mpp::__private::marker::Stripe as ::mpp::__private::PaymentMethod>::NAME,
                currency: ::mpp::__private::Currency::USD,
                amount: ::core::option::Option::Some(::mpp::__private::Amount::new(5, 1)),
            },
        ],
    )
    .replayed();
