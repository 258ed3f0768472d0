//! A thousand prices, of which a service may have ten or a hundred.
//!
//! They are what `#[mpp::charge]` writes beside a handler, without the handler: so many of those would take minutes to compile, and
//! ten times as many of these would, too.

use mpp::{Builder, PriceSpec};

#[macro_use]
#[path = "../../../shared/hundred.rs"]
mod hundred;

macro_rules! price {
    () => {
        const _: () = {
            static PRICE: mpp::PriceSpec = {
                use mpp::__private::{Amount, Currency, OfferSpec};
                mpp::PriceSpec {
                    module: module_path!(),
                    name: "weather",
                    offers: &[OfferSpec::fixed("sandbox", Currency::USDC, Amount::cents(5))],
                    ..mpp::PriceSpec::NEW
                }
            };
            mpp::__private::inventory::submit! { mpp::__private::Registered(&PRICE) }
        };
    };
}

macro_rules! nine {
    ($times:ident) => {
        $times!(price);
        $times!(price);
        $times!(price);
        $times!(price);
        $times!(price);
        $times!(price);
        $times!(price);
        $times!(price);
        $times!(price);
    };
}

mod to_ten {
    ten!(price);
}

mod to_a_hundred {
    nine!(ten);
}

mod to_a_thousand {
    nine!(hundred);
}

/// How many prices there are up to the end of each module.
const MODULES: [(usize, &str); 3] = [
    (10, concat!(module_path!(), "::to_ten")),
    (100, concat!(module_path!(), "::to_a_hundred")),
    (1_000, concat!(module_path!(), "::to_a_thousand")),
];

/// The first so many.
pub(crate) fn of(prices: usize) -> Vec<&'static PriceSpec> {
    let has =
        |spec: &&PriceSpec| MODULES.iter().any(|(up_to, name)| *up_to <= prices && *name == spec.module);
    mpp::registry().iter().copied().filter(has).collect()
}

/// A configuration that knows so many of them and no other.
pub(crate) fn without_others(builder: Builder, prices: usize) -> Builder {
    MODULES
        .iter()
        .filter(|(up_to, _)| *up_to > prices)
        .fold(builder, |builder, (_, name)| builder.ignore_module(*name))
}
