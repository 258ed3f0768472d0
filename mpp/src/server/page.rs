//! The 402 for people: what a browser shows instead of a problem document.
//!
//! Only the body differs. Status, challenges and `no-store` are those every client gets (draft-httpauth-payment-00 section
//! 5.1), and a client that does not ask for HTML by name, or asks for JSON as gladly, gets the problem document.
//!
//! The page brings everything with it: no script, no picture, no font, no address of anybody else. Its one style sheet is
//! allowed by its hash, and nothing else is allowed at all.

use crate::pricing::{Offer, PriceSpec, money};
use crate::protocol::{ChargeRequest, ProblemType, b64};
use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::sync::LazyLock;

/// Whether the client wants a page: it names `text/html`, and no JSON that it likes as much.
///
/// What programs send (`*/*`, `application/json`, nothing) costs one look at the header.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accept| {
        memchr::memmem::find(accept.as_bytes(), b"text/html").is_some() && prefers_html(headers)
    })
}

#[cold]
fn prefers_html(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let (mut html, mut json) = (0, 0);
    for range in lines.flat_map(|line| line.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let best = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "text/html" => &mut html,
            "application/json" | "application/problem+json" | "application/*" => &mut json,
            _ => continue,
        };
        let quality =
            parts.find_map(|p| p.strip_prefix("q=").or(p.strip_prefix("Q="))).map_or(1000, thousandths);
        *best = quality.max(*best);
    }
    html > json
}

/// `0.8` is 800 (RFC 9110 section 12.4.2); what is no quality is none.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if fraction.len() > 3 || !digits(fraction) {
        return 0;
    }
    match whole {
        "1" => 1000,
        "0" => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

/// What a page tells.
pub(super) struct Page<'a> {
    pub(super) realm: &'a str,
    /// Where the resource is, for people to copy.
    pub(super) url: &'a str,
    pub(super) verb: &'a str,
    pub(super) spec: &'static PriceSpec,
    pub(super) kind: ProblemType,
    pub(super) detail: &'a str,
    pub(super) expires: &'a str,
    /// Each offer with the `request` of its challenge.
    pub(super) offers: Vec<(&'a Offer, &'a str)>,
}

impl Page<'_> {
    /// The document.
    pub(super) fn html(&self) -> String {
        let name = match (self.spec.summary(), self.spec.description) {
            ("", Some(description)) => description,
            ("", None) => self.spec.name,
            (summary, _) => summary,
        };
        let mut out = String::with_capacity(6 * 1024);
        let _ = write!(
            out,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"robots\" content=\"noindex\">\n<title>Payment required: {} ({})</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<main>\n",
            Text(name),
            Text(self.realm)
        );
        let _ = write!(out, "<p class=\"realm\">{}</p>\n<h1>{}</h1>\n", Text(self.realm), Text(name));
        if self.kind == ProblemType::PaymentRequired {
            out.push_str("<p>This has to be paid for, per request. Nothing has been charged.</p>\n");
        } else {
            let _ = writeln!(
                out,
                "<p role=\"alert\" class=\"problem\">{}: {}</p>",
                self.kind.title(),
                Text(self.detail)
            );
        }
        self.docs(&mut out, name);
        self.prices(&mut out);
        self.how(&mut out);
        self.decoded(&mut out);
        out.push_str("</main>\n</body>\n</html>\n");
        out
    }

    /// The rest of the doc comment.
    fn docs(&self, out: &mut String, name: &str) {
        let rest = self.spec.docs.trim().strip_prefix(name).unwrap_or_default();
        for paragraph in rest.split("\n\n").map(str::trim).filter(|p| !p.is_empty()) {
            let _ = writeln!(out, "<p>{}</p>", Text(paragraph));
        }
    }

    fn prices(&self, out: &mut String) {
        out.push_str("<h2>Price</h2>\n<table>\n<thead><tr><th scope=\"col\">Method</th><th scope=\"col\">Price</th></tr></thead>\n<tbody>\n");
        for (offer, request) in &self.offers {
            let price = self.price(offer, request);
            let method = Text(offer.name.as_str());
            let _ = writeln!(out, "<tr><th scope=\"row\">{method}</th><td>{}</td></tr>", Text(&price));
        }
        out.push_str("</tbody>\n</table>\n");
        if self.offers.len() > 1 {
            out.push_str("<p>One of them is enough.</p>\n");
        }
    }

    fn price(&self, offer: &Offer, request: &str) -> String {
        let Ok(charge) = ChargeRequest::decode(request) else { return "as the challenge says".to_owned() };
        if charge.amount.is_zero() {
            return "nothing but a proof of identity".to_owned();
        }
        let amount = charge.amount.to_amount(offer.currency.decimals);
        match self.spec.offers.get(offer.index) {
            Some(spec) => format!("{amount} {}", money(&charge.currency, spec)),
            None => format!("{amount} {}", charge.currency),
        }
    }

    fn how(&self, out: &mut String) {
        let quoted = self.url.replace('\'', "'\\''");
        let quoted = Text(&quoted);
        let (verb, body) = match self.verb {
            "GET" => (String::new(), ""),
            verb => (
                format!("-X {verb} "),
                "<p><code>-d</code> adds the body, and <code>-H 'content-type: application/json'</code> says that it is JSON, \
                 as with curl.</p>\n",
            ),
        };
        let _ = write!(
            out,
            "<h2>How to pay</h2>\n<p>With the <code>mpp</code> command, which asks before it pays:</p>\n\
             <pre tabindex=\"0\"><code>mpp pay {verb}'{quoted}'</code></pre>\n{body}\
             <p>To see what is asked for, without paying:</p>\n\
             <pre tabindex=\"0\"><code>curl -si {verb}'{quoted}' | mpp decode -</code></pre>\n\
             <p>Any client of the Payment scheme does the same: it reads the challenge of this response, pays, and sends the request \
             again with <code>Authorization: Payment …</code>; the answer then is the resource, with a receipt. The protocol is \
             described at <a href=\"https://paymentauth.org\" rel=\"noreferrer\">paymentauth.org</a>.</p>\n",
        );
    }

    fn decoded(&self, out: &mut String) {
        let _ = writeln!(out, "<h2>The challenge</h2>\n<p>It can be paid until {}.</p>", Text(self.expires));
        for (offer, request) in &self.offers {
            let request =
                b64::decode(request).ok().and_then(|json| serde_json::from_slice::<Value>(&json).ok());
            let challenge = json!({ "method": offer.name.as_str(), "intent": "charge", "realm": self.realm, "request": request });
            let _ = writeln!(
                out,
                "<details>\n<summary>{}, decoded</summary>\n<pre tabindex=\"0\"><code>{}</code></pre>\n</details>",
                Text(offer.name.as_str()),
                Text(&format!("{challenge:#}"))
            );
        }
    }
}

/// Everything but the one style sheet is forbidden.
pub(super) static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    // ASCII, from the line above.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// Text in HTML, in an element or in a quoted attribute.
pub(crate) struct Text<'a>(pub(crate) &'a str);

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

const STYLE: &str = "\
:root{color-scheme:light dark;--back:#fbfaf7;--front:#1d1c1a;--soft:#5c5952;--line:#d9d5cb;--card:#fff;--accent:#1f5f4a}\
@media (prefers-color-scheme:dark){:root{--back:#161513;--front:#ece9e2;--soft:#aaa59a;--line:#3a3732;--card:#1f1d1a;--accent:#7fd1b0}}\
*{box-sizing:border-box}\
body{margin:0;background:var(--back);color:var(--front);font:1.05rem/1.6 system-ui,sans-serif}\
main{max-width:44rem;margin:0 auto;padding:3rem 1.25rem}\
h1{font-size:2rem;line-height:1.2;margin:.25rem 0 1rem}\
h2{font-size:1.15rem;margin:2.25rem 0 .5rem}\
.realm{color:var(--soft);margin:0}\
.problem{border-left:.25rem solid #b3402a;padding-left:.75rem}\
table{border-collapse:collapse;width:100%;background:var(--card);border:1px solid var(--line)}\
th,td{text-align:left;padding:.6rem .9rem;border-bottom:1px solid var(--line)}\
thead th{color:var(--soft);font-weight:500;font-size:.9rem}\
tbody tr:last-child>*{border-bottom:0}\
td{font-weight:600;font-variant-numeric:tabular-nums}\
pre{overflow-x:auto;background:var(--card);border:1px solid var(--line);padding:.9rem;font-size:.9rem;line-height:1.45}\
code{font-family:ui-monospace,monospace}\
a{color:var(--accent)}\
details{margin:.5rem 0}\
summary{cursor:pointer}\
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}\
";

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in accept {
            headers.append(header::ACCEPT, HeaderValue::from_static(line));
        }
        is_wanted(&headers)
    }

    #[test]
    fn browsers_get_a_page_and_programs_a_problem() {
        assert!(wanted(&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"]));
        assert!(wanted(&["text/html"]));
        assert!(wanted(&["text/html;level=1;q=0.5, application/json;q=0.4"]));
        assert!(wanted(&["text/html;q=0.555, application/json;q=0.554"]));
        for program in [
            &[][..],
            &["*/*"],
            &["application/json"],
            &["application/json, text/plain, */*"],
            &["text/html, application/json"],
            &["text/html;q=0.8, application/problem+json;q=0.9"],
            &["text/html;q=0"],
            &["text/html;q=nonsense"],
            &["text/html;q=0.5555"],
            &["text/html;q=0.+5"],
            &["text/html", "application/json"],
            &["application/*, text/html;q=0.9"],
        ] {
            assert!(!wanted(program), "{program:?}");
        }
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            Text("<a href=\"x\">'&'</a>").to_string(),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;"
        );
    }
}
