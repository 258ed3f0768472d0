use mpp::Paid;

struct Invoice;

impl mpp::method::PaymentMethod for Invoice {
    const NAME: &'static str = "invoice";
    const CURRENCIES: &'static [mpp::Currency] = &[mpp::Currency::EUR];
}

#[mpp::charge(amount = "0.05", currency = "silver", methods(crate::Invoice))]
async fn weather(_: Paid) {}

fn main() {}
