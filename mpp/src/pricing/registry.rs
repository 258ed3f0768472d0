//! Every price linked into this program.
//!
//! Completeness only, never enforcement: the registry lets start-up check every price at once. A linker may drop
//! entries; a price missing here is resolved when it is first reached and enforced all the same.

use super::spec::PriceSpec;
use std::sync::OnceLock;

/// The `inventory` node. It carries a *reference* to the very `static` the gate enforces, so what is registered
/// and what is enforced cannot be two different values.
#[doc(hidden)]
pub struct Registered(pub &'static PriceSpec);

inventory::collect!(Registered);

/// Every linked price, sorted by module, name and line.
///
/// A crate that is named anywhere in the program registers all its prices; a crate that is only listed in
/// `Cargo.toml` registers none (and cannot be mounted either).
///
/// ```
/// for price in mpp::registry() {
///     println!("{}::{} at {}", price.module, price.name, price.location);
/// }
/// ```
pub fn registry() -> &'static [&'static PriceSpec] {
    static ALL: OnceLock<Vec<&'static PriceSpec>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all: Vec<_> = inventory::iter::<Registered>.into_iter().map(|r| r.0).collect();
        // inventory promises no order: sort, so that slots and reports are stable.
        all.sort_by_key(|s| (s.module, s.name, s.location.line, s.location.column));
        for (index, spec) in all.iter().enumerate() {
            spec.slot.set(index);
        }
        all
    })
}
