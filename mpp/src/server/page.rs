//! The 402 for people: what a browser shows instead of a problem document.
//!
//! Only the body differs. Status, challenges and `no-store` are those every client gets (draft-httpauth-payment-00 section
//! 5.1). A client gets the page if its `Accept` (RFC 9110 section 12.5.1) likes HTML better than a problem document; one
//! that likes both as much, or says nothing, is taken for a program.
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

/// Whether the client wants a page: it prefers `text/html` to `application/problem+json`, as which every JSON counts.
///
/// What programs send (`*/*`, `application/json`, nothing) costs one look at the headers, whose names take less to look at than this one
/// to hash: who does not name a `text/…` cannot prefer HTML.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    headers.iter().any(|(name, line)| name == header::ACCEPT && names_text(line.as_bytes()))
        && prefers_html(headers)
}

#[inline(never)] // programs say nothing of text
fn prefers_html(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter();
    Preferences::of(lines.filter_map(|line| line.to_str().ok())).prefer_html()
}

fn names_text(accept: &[u8]) -> bool {
    // Of most programs, and not worth a search.
    if accept == b"*/*" {
        return false;
    }
    let start = |at: usize| accept.get(at..at + 5).is_some_and(|word| word.eq_ignore_ascii_case(b"text/"));
    memchr::memchr2_iter(b't', b'T', accept).any(start)
}

/// How much a client likes each form, in thousandths, by how precisely it says so. Of several ranges that match, the most
/// specific counts, whatever its place in the list; of two that are as specific, the better one.
#[derive(Default)]
struct Preferences {
    /// `text/html; charset=utf-8`, `text/html`, `text/*`.
    html: [Option<u16>; 3],
    /// `application/problem+json` or `application/json`, `application/*`.
    json: [Option<u16>; 2],
    /// `*/*`.
    any: Option<u16>,
}

impl Preferences {
    fn of<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut preferences = Self::default();
        for range in lines.flat_map(|line| line.split(',')) {
            let mut parameters = range.split(';').map(str::trim);
            let media = parameters.next().unwrap_or_default();
            let (mut quality, mut charset, mut others) = (1000, false, false);
            for (name, value) in parameters.filter_map(|parameter| parameter.split_once('=')) {
                match (name.trim_end(), value.trim_start()) {
                    ("q" | "Q", value) => {
                        quality = thousandths(value);
                        break; // what follows is about the weight, not about the type
                    }
                    (name, value) if name.eq_ignore_ascii_case("charset") => {
                        charset = value.trim_matches('"').eq_ignore_ascii_case("utf-8");
                        others |= !charset;
                    }
                    _ => others = true,
                }
            }
            if let Some(said) = preferences.about(media, charset, others) {
                *said = Some(said.map_or(quality, |before| before.max(quality)));
            }
        }
        preferences
    }

    /// Where a range belongs. A parameter that the page does not have makes it a range of another page; to JSON parameters
    /// mean nothing, so that who asks for `application/json;version=2` is a program all the same.
    fn about(&mut self, media: &str, charset: bool, others: bool) -> Option<&mut Option<u16>> {
        let is = |name: &str| media.eq_ignore_ascii_case(name);
        if is("text/html") {
            (!others).then(|| &mut self.html[usize::from(!charset)])
        } else if is("text/*") {
            Some(&mut self.html[2])
        } else if is("application/problem+json") || is("application/json") {
            Some(&mut self.json[0])
        } else if is("application/*") {
            Some(&mut self.json[1])
        } else if is("*/*") {
            Some(&mut self.any)
        } else {
            None
        }
    }

    fn prefer_html(&self) -> bool {
        let best = |said: &[Option<u16>]| said.iter().copied().flatten().next().or(self.any).unwrap_or(0);
        best(&self.html) > best(&self.json)
    }
}

/// `0.8` is 800 (RFC 9110 section 12.4.2); what is no quality is none.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return 0;
    }
    let fraction = format!("{fraction:0<3}").parse().unwrap_or(0);
    match (whole, fraction) {
        ("1", 0) => 1000,
        ("0", thousandths) => thousandths,
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

    /// Each line of `Accept`, whether it gets the page, and why.
    #[test]
    fn browsers_get_a_page_and_programs_a_problem() {
        for (accept, page, why) in [
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"][..], true, "Firefox"),
            (
                &[
                    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,\
                   application/signed-exchange;v=b3;q=0.7",
                ],
                true,
                "Chrome",
            ),
            (&["text/html"], true, "nothing else will do"),
            (&["TEXT/HTML"], true, "names of types have no case"),
            (&["text/html; charset=UTF-8"], true, "that is what the page is"),
            (&["text/*"], true, "a problem is no text"),
            (&["text/*;q=0.9, */*;q=0.1"], true, "text/* is about HTML, */* about the rest"),
            (&["application/xml", "text/html"], true, "on the second line"),
            (&["text/html;q=0.555, application/json;q=0.554"], true, "a thousandth more"),
            (&["text/html, application/json;q=0"], true, "anything but JSON"),
            (&["text/html;q=0.1, */*;q=0"], true, "little is more than nothing"),
            (
                &["text/html;q=0.5, text/html;charset=utf-8, application/json;q=0.6"],
                true,
                "this page is liked more",
            ),
            (&[], false, "says nothing"),
            (&[""], false, "says nothing, either"),
            (&["*/*"], false, "curl"),
            (&["application/json"], false, "a program"),
            (&["application/json, text/plain, */*"], false, "axios"),
            (&["text/html, application/json"], false, "both as much"),
            (&["text/html", "application/json"], false, "both as much, on two lines"),
            (&["*/*, text/html;q=0.5"], false, "text/html is the more specific one, so */* is not about it"),
            (&["text/html;q=0.5, */*"], false, "in whatever order"),
            (&["text/html, */*"], false, "both as much"),
            (&["text/*, */*"], false, "both as much"),
            (&["application/*, text/html;q=0.9"], false, "JSON is an application type"),
            (&["text/html;q=0.8, application/problem+json;q=0.9"], false, "a problem by its name"),
            (&["text/html;q=0.8, application/json;version=2"], false, "any JSON"),
            (&["text/html;q=0, */*"], false, "HTML is refused"),
            (&["text/html;q=0"], false, "HTML is refused"),
            (&["text/*, text/html;q=0"], false, "HTML is refused, other texts are not"),
            (&["text/plain, application/json;q=0.9"], false, "text, and no page"),
            (&["text/html;level=1, application/json;q=0.4"], false, "another page than this one"),
            (
                &["text/html;q=0.7, text/html;level=1, application/json;q=0.8"],
                false,
                "RFC 9110, section 12.5.1",
            ),
            (&["text/html;charset=latin1, */*;q=0.1"], false, "in another charset"),
            (&["text/html;q=nonsense"], false, "no quality"),
            (&["text/html;q=0.5555"], false, "no quality"),
            (&["text/html;q=1.001"], false, "no quality"),
            (&["text/html;q=0.+5"], false, "no quality"),
            (&["text/html;q=-1, text/"], false, "no quality, no type"),
        ] {
            assert_eq!(wanted(accept), page, "{accept:?}: {why}");
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
