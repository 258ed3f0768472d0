//! `mpp quote`: what a request would cost.

use std::io::Write as _;

use mpp::client::Quote;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::home::Home;
use crate::request::{Means, Request};
use crate::terminal;

/// Say what a request would cost, from whom and by which methods. Never pays.
///
/// The request is sent once without a payment; to a server without a price that is the request itself.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    request: Request,
    #[command(flatten)]
    means: Means,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let home = Home::find()?;
    let request = options.request.build()?;
    let client = options.means.client(&home, |policy| policy)?.build()?;
    show(&client.quote_request(request).await?, options.json)
}

/// Prints a quote. What is neither priced nor free is none.
pub(crate) fn show(quote: &Quote, as_json: bool) -> Result<(), Failure> {
    if !quote.is_priced() && !quote.is_free() {
        return Err(not_priced(quote));
    }
    if quote.is_priced() && quote.offers.is_empty() {
        let why = quote.malformed.first().map(|error| format!(": {error}")).unwrap_or_default();
        let text =
            format!("{} asks for a payment and offers no way to pay that is known here{why}", quote.url);
        return Err(Failure::failed(text));
    }
    let text = if as_json { document(quote)? } else { words(quote) };
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    for error in &quote.malformed {
        terminal::say(&format!("mpp: refused: {}", terminal::plain(&error.to_string())));
    }
    Ok(())
}

/// An error that is no 402: what it would cost is not known.
fn not_priced(quote: &Quote) -> Failure {
    let said = quote.said.as_ref().map(|said| format!(" ({said:?})")).unwrap_or_default();
    let hint = match quote.status.as_u16() {
        // Servers look at a request before they ask for money for it.
        400 | 411 | 422 => "; a price is asked for a complete request: -d, -H",
        401 | 403 => "; it wants to know who asks: -H 'authorization: …'",
        404 => "; there is no such path",
        405 => "; another verb? -X POST",
        415 => "; another kind of data? -H 'content-type: application/json'",
        _ => "",
    };
    Failure::failed(format!("{} is not priced: it answered {}{said}{hint}", quote.url, quote.status))
}

fn words(quote: &Quote) -> String {
    if quote.is_free() {
        return format!("{} asks for nothing (it answered {})\n", quote.origin, quote.status);
    }
    let rows: Vec<_> = quote
        .offers
        .iter()
        .map(|offer| {
            let cost = offer.cost.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
            let payees = offer.cost.as_ref().map(|cost| &cost.payees).into_iter().flatten();
            let payees: Vec<_> = payees.map(|payee| payee.account.as_str()).collect();
            let verdict = match &offer.verdict {
                Ok(()) => "yes".to_owned(),
                Err(why) => format!("no: {why}"),
            };
            [offer.challenge.method.to_string(), cost, payees.join(" "), verdict]
        })
        .collect();
    terminal::table(["method", "costs", "paid to", "would be paid"], &rows)
}

fn document(quote: &Quote) -> Result<String, Failure> {
    let offers: Vec<Value> = quote
        .offers
        .iter()
        .map(|offer| {
            let cost = offer.cost.as_ref();
            json!({
                "method": offer.challenge.method,
                "cost": cost.map(ToString::to_string),
                "amount": cost.map(|cost| cost.amount),
                "asset": cost.map(|cost| &cost.asset.id),
                "network": cost.map(|cost| &cost.asset.network),
                "payees": cost.map(|cost| cost.payees.iter().map(|payee| &payee.account).collect::<Vec<_>>()),
                "expires": offer.challenge.expires,
                "payable": offer.verdict.is_ok(),
                "refusal": offer.verdict.as_ref().err().map(ToString::to_string),
            })
        })
        .collect();
    let document = json!({ "origin": quote.origin, "status": quote.status.as_u16(), "offers": offers });
    let text = serde_json::to_string_pretty(&document).map_err(Failure::failed)?;
    Ok(crate::harmless(&text) + "\n")
}
