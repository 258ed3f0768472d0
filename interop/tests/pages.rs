//! A real browser (Debian's `chromium`, headless) opens what the shop has for people: the 402 of a priced route and the reference
//! page, light and dark. What is shown is there, nobody else is asked, and axe finds nothing that a reader who cannot see it
//! would miss.

use interop::stripe::{SECRET_KEY, StandIn};
use interop::{Chain, KeyFile, Lab, Scheme, Shop, lab};

const SHOP: &str = env!("CARGO_BIN_EXE_shop-under-test");

/// A shop that takes Tempo and cards, and what it needs to stay open.
async fn shop(lab: &Lab) -> (Shop, (Chain, StandIn, KeyFile)) {
    let chain = lab.chain().await;
    let (stand_in, key) = (StandIn::of_today().await, KeyFile::of(SECRET_KEY));
    stand_in.allow_small_amounts();
    let shop = Shop::start(SHOP, &chain.url, &stand_in.flags(&key)).await;
    (shop, (chain, stand_in, key))
}

#[tokio::test]
async fn a_browser_shows_what_is_sold_for_how_much_and_how_it_is_paid() {
    let Some(lab) = lab() else { return };
    let Some(browser) = lab.browser() else { return };
    let (shop, _alive) = shop(&lab).await;
    for scheme in [Scheme::Light, Scheme::Dark] {
        let shown = browser.open(&shop.at("/either"), scheme, "details", &[]).await;
        for said in [
            "<h1>The same price by either method; cards take it where their minimum allows.</h1>",
            "<th scope=\"row\">tempo</th><td>0.05 usdc</td>",
            "<th scope=\"row\">stripe</th><td>0.05 usd</td>",
            &format!("<code>mpp pay '{}'</code>", shop.at("/either")),
            "| mpp decode -",
        ] {
            assert!(shown.dom.contains(said), "{said} is not in\n{}", shown.dom);
        }
        // The protocol of the developer tools shows what a reader sees: the instructions, not only their elements.
        assert!(shown.text.contains(&format!("mpp pay '{}'", shop.at("/either"))), "{}", shown.text);
        shown.assert_sound(&shop.url);
        assert_eq!(shown.violations, [""; 0], "{scheme:?}");
        assert!(shown.checked >= 15, "axe looked at {} rules only", shown.checked);
    }
}

#[tokio::test]
async fn the_reference_page_shows_every_priced_operation_with_its_price_and_asks_nobody_else() {
    let Some(lab) = lab() else { return };
    let Some(browser) = lab.browser() else { return };
    let (shop, _alive) = shop(&lab).await;
    for scheme in [Scheme::Light, Scheme::Dark] {
        let shown = browser.open(&shop.at("/reference"), scheme, ".opblock .opblock-summary", &[]).await;
        for (path, price) in [
            ("/charge", "0.01 pathusd by tempo"),
            ("/either", "0.05 usdc by tempo, or 0.05 usd by stripe"),
            ("/zero", "nothing but a proof of identity by tempo"),
            ("/units/{n}", "depends on the request, in pathusd by tempo"),
            ("/stripe", "1 usd by stripe"),
        ] {
            // Chromium puts breaks into long paths, which nobody sees.
            let text = shown.text.replace('\u{200b}', "");
            assert!(text.lines().any(|line| line.contains(path)), "{path} is not in\n{text}");
            assert!(text.contains(price), "{price} is not in\n{text}");
        }
        assert_eq!(shown.dom.matches("class=\"price\"").count(), 10, "one for each price");
        assert!(shown.text.contains("/health"), "and what is free, without one");
        assert!(!shown.text.contains("Authorize"), "nobody can type a payment into a dialogue");
        shown.assert_sound(&shop.url);
    }
}

#[tokio::test]
async fn the_reference_page_tries_an_operation_and_tells_how_to_pay_for_it() {
    let Some(lab) = lab() else { return };
    let Some(browser) = lab.browser() else { return };
    let (shop, _alive) = shop(&lab).await;
    let own = "#operations-default-either";
    let parts = [".opblock-summary-control", ".try-out__btn", ".execute", ".live-responses-table"];
    let clicks = parts.map(|part| format!("{own} {part}"));
    let clicks = clicks.each_ref().map(String::as_str);
    let shown = browser.open(&shop.at("/reference"), Scheme::Light, own, &clicks).await;
    assert!(
        shown.text.contains("402") && shown.text.contains("www-authenticate: Payment id="),
        "{}",
        shown.text
    );
    // As one line: the page breaks it where curl's arguments end.
    let text = shown.text.split_whitespace().filter(|word| *word != "\\").collect::<Vec<_>>().join(" ");
    assert!(text.contains(&format!("mpp pay -X 'GET' '{}'", shop.at("/either"))), "{text}");
    shown.assert_sound(&shop.url);
}
