//! The currencies a price can name, and how many decimals each has.
//!
//! The name is what an annotation writes (`currency = "usdc"`). What goes on the wire (an ISO code, a token address) is
//! the payment method's business; only the precision is common knowledge (charge draft, `currency`).

/// A currency by the name used in prices, with the number of decimals its base unit has.
///
/// ```
/// use mpp::protocol::{Amount, Currency};
///
/// const CREDITS: Currency = Currency::new("credits", 3);
/// assert_eq!(Amount::cents(5).to_base_units(CREDITS.decimals)?.get(), 50);
/// assert_eq!(Currency::by_name("usdc"), Some(Currency::USDC));
/// # Ok::<(), mpp::protocol::AmountError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Currency {
    /// Lowercase letters and digits.
    pub name: &'static str,
    /// Ten to this power base units make one.
    pub decimals: u8,
}

impl Currency {
    /// USD Coin.
    pub const USDC: Currency = Currency::new("usdc", 6);
    /// EUR Coin.
    pub const EURC: Currency = Currency::new("eurc", 6);
    /// The dollar every Tempo chain starts with.
    pub const PATHUSD: Currency = Currency::new("pathusd", 6);
    /// A dollar of Tempo's test networks.
    pub const ALPHAUSD: Currency = Currency::new("alphausd", 6);
    /// Ether, on Ethereum and most chains built on it.
    pub const ETH: Currency = Currency::new("eth", 18);
    /// The coin of Polygon.
    pub const POL: Currency = Currency::new("pol", 18);
    /// The coin of Avalanche.
    pub const AVAX: Currency = Currency::new("avax", 18);
    /// US dollar, in cents.
    pub const USD: Currency = Currency::new("usd", 2);
    /// Euro, in cents.
    pub const EUR: Currency = Currency::new("eur", 2);
    /// Pound sterling, in pence.
    pub const GBP: Currency = Currency::new("gbp", 2);
    /// Yen, which has no smaller unit.
    pub const JPY: Currency = Currency::new("jpy", 0);
    /// Satoshi.
    pub const SAT: Currency = Currency::new("sat", 0);

    /// Every currency known by name.
    pub const KNOWN: &'static [Currency] = &[
        Currency::USDC,
        Currency::EURC,
        Currency::PATHUSD,
        Currency::ALPHAUSD,
        Currency::ETH,
        Currency::POL,
        Currency::AVAX,
        Currency::USD,
        Currency::EUR,
        Currency::GBP,
        Currency::JPY,
        Currency::SAT,
    ];

    /// A currency of your own.
    ///
    /// # Panics
    /// If the name is empty or not lowercase ASCII letters and digits, or there are more than 38 decimals. In a `const`,
    /// where it belongs, that is a compile error:
    ///
    /// ```compile_fail
    /// # use mpp::protocol::Currency;
    /// const WRONG: Currency = Currency::new("US Dollar", 2);
    /// # WRONG;
    /// ```
    ///
    /// ```
    /// # use mpp::protocol::Currency;
    /// const CREDITS: Currency = Currency::new("credits", 0);
    /// assert_eq!(CREDITS.name, "credits");
    /// ```
    pub const fn new(name: &'static str, decimals: u8) -> Currency {
        assert!(!name.is_empty(), "a currency has a name");
        assert!(decimals <= super::amount::MAX_DECIMALS, "a currency has at most 38 decimals");
        let bytes = name.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            assert!(
                bytes[at].is_ascii_lowercase() || bytes[at].is_ascii_digit(),
                "a currency's name is lowercase ASCII letters and digits"
            );
            at += 1;
        }
        Currency { name, decimals }
    }

    /// The known currency of this name. Names are lowercase.
    ///
    /// ```
    /// # use mpp::protocol::Currency;
    /// assert_eq!(Currency::by_name("jpy").map(|yen| yen.decimals), Some(0));
    /// assert_eq!(Currency::by_name("USDC"), None);
    /// ```
    pub fn by_name(name: &str) -> Option<Currency> {
        Currency::KNOWN.iter().copied().find(|currency| currency.name == name)
    }
}

impl std::fmt::Display for Currency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_currency_is_found_by_its_name() {
        for currency in Currency::KNOWN {
            assert_eq!(Currency::by_name(currency.name), Some(*currency));
        }
        assert_eq!(Currency::by_name("Usdc"), None);
        assert_eq!(Currency::by_name(""), None);
    }
}
