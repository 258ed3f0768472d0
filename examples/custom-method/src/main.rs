//! A shop that takes vouchers, and the buyer's side of them, in one program:
//!
//! ```console
//! $ cargo run -p custom-method
//! $ curl -si http://127.0.0.1:3000/poem | cargo run -q -p custom-method -- pay SPRING-4f1c9a > paid.txt
//! $ curl -s -H @paid.txt http://127.0.0.1:3000/poem
//! ```

use custom_method::{Pocket, Vouchers};
use mpp::method::ClientMethod;
use mpp::protocol::{Challenge, Credential};
use mpp::routing::{Router, get};
use mpp::store::{MemoryStore, Store};
use mpp::{Mpp, Paid, Receipt, Secret};
use std::error::Error;
use std::sync::Arc;

/// A poem for half a euro.
#[mpp::charge(amount = "0.50", currency = "eur", methods(custom_method::Voucher))]
async fn poem(paid: Paid<Receipt>) -> String {
    format!("Roses are red, this poem is paid ({}).\n", paid.reference)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => serve().await,
        [pay, code] if pay == "pay" => answer(code).await,
        _ => Err("usage: custom-method [pay <code>]".into()),
    }
}

fn routes() -> Router<Mpp> {
    Router::new().route("/poem", get(poem))
}

async fn serve() -> Result<(), Box<dyn Error>> {
    // For a shop that stays: `RedbStore::open("payments.redb")?`, of the feature `redb`.
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mpp = Mpp::builder("http://127.0.0.1:3000")
        .secret(Secret::generate())
        .method(Vouchers::new(store.clone(), [("SPRING-4f1c9a".to_owned(), 500)]))
        .shared_store(store)
        .single_process_volatile_store()
        .build()?;
    let app: axum::Router = routes().with_state(mpp).into_axum();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://127.0.0.1:3000/poem costs 0.50; the voucher SPRING-4f1c9a is worth 5.00");
    axum::serve(listener, app).await?;
    Ok(())
}

/// Reads the head of a 402 on standard input and prints the header that pays it.
async fn answer(code: &str) -> Result<(), Box<dyn Error>> {
    let response = std::io::read_to_string(std::io::stdin())?;
    let lines = response.lines().filter_map(|line| line.split_once(": "));
    let offers =
        lines.filter(|(name, _)| name.eq_ignore_ascii_case("www-authenticate")).map(|(_, value)| value);
    let challenge =
        Challenge::parse_all(offers).offers.into_iter().next().ok_or("there is no challenge in this")?;
    let proof = Pocket(code.to_owned()).pay(&challenge).await?;
    let credential = Credential { challenge, source: proof.source, payload: proof.payload };
    println!("Authorization: {}", credential.to_header_value());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpp::discovery::Info;
    use mpp::testing;

    #[tokio::test]
    async fn what_is_advertised_is_what_is_charged() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mpp = Mpp::builder("http://127.0.0.1:3000")
            .secret(Secret::generate())
            .method(Vouchers::new(store.clone(), []))
            .shared_store(store)
            .single_process_volatile_store()
            .build()
            .unwrap();
        let documents = routes().documents(&mpp, &Info::new("Poems", "1.0.0"));
        let client = testing::Client::new(routes().with_state(mpp));
        let called = testing::assert_advertised(&client, documents.openapi()).await;
        assert_eq!(called, routes().mounted().len());
    }
}
