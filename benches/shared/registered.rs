//! Prices that nobody mounts, for programs with as many as a large service has: `ten! { ten! { price!("tempo"); } }` registers a hundred.
//!
//! A price is what `#[mpp::charge]` writes beside a handler, without the handler: thousands of those take minutes to compile.

/// Five cents, by each of these methods.
macro_rules! price {
    ($($method:literal),+) => {
        const _: () = {
            static PRICE: mpp::PriceSpec = {
                use mpp::__private::{Amount, Currency, OfferSpec};
                mpp::PriceSpec {
                    module: module_path!(),
                    name: "weather",
                    offers: &[$(OfferSpec::fixed($method, Currency::USDC, Amount::cents(5))),+],
                    ..mpp::PriceSpec::NEW
                }
            };
            mpp::__private::inventory::submit! { mpp::__private::Registered(&PRICE) }
        };
    };
}

macro_rules! nine {
    ($($items:tt)*) => {
        $($items)* $($items)* $($items)* $($items)* $($items)* $($items)* $($items)* $($items)* $($items)*
    };
}

macro_rules! ten {
    ($($items:tt)*) => {
        $($items)*
        nine! { $($items)* }
    };
}
