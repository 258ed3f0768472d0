//! Ten thousand prices, of which a service may have ten, a hundred or a thousand.

use mpp::{Builder, PriceSpec};

#[macro_use]
#[path = "../../../shared/registered.rs"]
mod registered;

mod to_ten {
    ten! { price!("sandbox"); }
}

mod to_a_hundred {
    nine! { ten! { price!("sandbox"); } }
}

mod to_a_thousand {
    nine! { ten! { ten! { price!("sandbox"); } } }
}

mod to_ten_thousand {
    nine! { ten! { ten! { ten! { price!("sandbox"); } } } }
}

/// How many prices there are up to the end of each module.
const MODULES: [(usize, &str); 4] = [
    (10, concat!(module_path!(), "::to_ten")),
    (100, concat!(module_path!(), "::to_a_hundred")),
    (1_000, concat!(module_path!(), "::to_a_thousand")),
    (10_000, concat!(module_path!(), "::to_ten_thousand")),
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
