const EXPANDED: () = ::mpp::Terms::new(
        &[
            ::mpp::__private::TermSpec {
                method: <::mpp::__private::marker::Tempo as ::mpp::__private::PaymentMethod>::NAME,
                currency: ::mpp::__private::Currency::USDC,
                amount: ::core::option::Option::None,
            },
        ],
    )
    .sponsored()
    .split(
        &[
            ::mpp::__private::SplitSpec {
                payee: "platform",
                part: ::mpp::__private::Part::Millionths(25000),
            },
        ],
    );
