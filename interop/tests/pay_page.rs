//! A real browser (Debian's `chromium`, headless) opens a priced route of the shop and shows what it costs.

use interop::stripe::{KeyFile, PROFILE, StandIn};
use interop::{Shop, lab};

const SHOP: &str = env!("CARGO_BIN_EXE_shop-under-test");

#[tokio::test]
async fn a_browser_shows_what_is_sold_for_how_much_and_how_it_is_paid() {
    let Some(lab) = lab() else { return };
    let Some(browser) = interop::browser() else { return };
    let chain = lab.chain().await;
    let (stand_in, key) = (StandIn::of_today().await, KeyFile::new());
    stand_in.allow_small_amounts();
    let flags =
        ["--stripe-url", &stand_in.url, "--stripe-key-file", key.path(), "--stripe-network-id", PROFILE];
    let shop = Shop::start(SHOP, &chain.url, &[&flags[..], &["--stripe-minimum", "0.01"]].concat()).await;

    let shown = browser.open(&shop.at("/either")).await;
    for said in [
        "<h1>The same price by either method; cards take it where their minimum allows.</h1>",
        "<th scope=\"row\">tempo</th><td>0.05 usdc</td>",
        "<th scope=\"row\">stripe</th><td>0.05 usd</td>",
        "| mpp decode -",
        "<details>",
    ] {
        assert!(shown.dom.contains(said), "{said} is not in\n{}", shown.dom);
    }
    // What the policy of the page refuses, Chromium complains of: its own style sheet must not be among it.
    assert!(!shown.console.contains("Content Security Policy"), "{}", shown.console);
    assert!(shown.screenshot.len() > 10_000, "an empty page: {} bytes", shown.screenshot.len());
}
