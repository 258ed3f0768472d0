//! Whether a page of another origin can buy: what a browser asks before it sends the credential, and what it lets the page read
//! of the answer (the Fetch standard, sections 3.3 and 4.8).
//!
//! A server need not be open to other origins; one that says it is should be so entirely, because a page that can see a price and
//! cannot pay, or pays and cannot read its receipt, is of no use.

use super::report::Report;
use super::server::{Reply, Server, ServerError};
use mpp::discovery::Sample;
use reqwest::Method;

/// A page that is not the server's own.
pub(super) const ORIGIN: (&str, &str) = ("origin", "https://elsewhere.example");
/// What a page needs to read of an answer: the challenge, and the receipt.
const TO_READ: [&str; 2] = ["www-authenticate", "payment-receipt"];

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";
const ALLOW_METHODS: &str = "access-control-allow-methods";
const ALLOW_HEADERS: &str = "access-control-allow-headers";
const EXPOSE_HEADERS: &str = "access-control-expose-headers";

/// Asks as a browser would before it buys for a page, and looks at what it was `answered` with [`ORIGIN`].
pub(super) fn check(
    server: &Server,
    sample: &Sample,
    answered: &Reply,
    report: &mut Report,
) -> Result<(), ServerError> {
    let call = sample.call.as_str();
    let needed = to_send(sample);
    let asking = needed.join(",");
    let head = [
        ORIGIN,
        ("access-control-request-method", sample.verb.as_str()),
        ("access-control-request-headers", asking.as_str()),
    ];
    let preflight = server.ask(&Method::OPTIONS, &sample.target, &head, &[])?;
    // A preflight never carries a credential, so nobody could pay for it.
    report.must(call, "a preflight is not charged", preflight.status != 402, || {
        "`OPTIONS` with `Access-Control-Request-Method` answers 402".to_owned()
    });
    if [answered, &preflight].iter().all(|reply| reply.header(ALLOW_ORIGIN).is_empty()) {
        return Ok(()); // not for browsers, which is a decision
    }
    let (first, after) = (Cors::of(&preflight), Cors::of(answered));
    let mut should = |check, finding: Option<String>| {
        report.should(call, check, finding.is_none(), || finding.unwrap_or_default());
    };
    should("pages of other origins can read the challenge and the receipt", after.unreadable());
    should("pages of other origins can send a credential", first.unsendable(&preflight, sample, &needed));
    let wildcards = [("its answer", &after), ("its answer to a preflight", &first)];
    let wildcard = wildcards.into_iter().find_map(|(whose, cors)| {
        cors.meaningless_wildcard().map(|name| {
            format!(
                "{whose} has `{name}: *` and `{ALLOW_CREDENTIALS}: true`; beside that, `*` stands for nothing"
            )
        })
    });
    should("`*` does not stand beside credentials", wildcard);
    Ok(())
}

/// Why a page could not read a reply at all; for documents.
pub(super) fn unreadable(reply: &Reply) -> Option<String> {
    Cors::of(reply).stranger()
}

/// What a paying page sends that a browser asks about first. Not what browsers send of themselves.
fn to_send(sample: &Sample) -> Vec<String> {
    const SIMPLE: [&str; 3] = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"];
    let mut needed = vec!["authorization".to_owned()];
    for (name, value) in &sample.headers {
        let (name, value) = (name.to_ascii_lowercase(), value.to_ascii_lowercase());
        let media = value.split(';').next().unwrap_or_default().trim();
        let simple = match name.as_str() {
            "content-type" => SIMPLE.contains(&media),
            "accept" | "accept-language" | "content-language" => true,
            _ => false,
        };
        if !simple && !needed.contains(&name) {
            needed.push(name);
        }
    }
    needed.sort();
    needed
}

/// What a reply says to browsers.
struct Cors {
    origins: Vec<String>,
    with_credentials: bool,
    methods: Vec<String>,
    /// Lower case, as all names of headers here.
    headers: Vec<String>,
    exposed: Vec<String>,
}

impl Cors {
    fn of(reply: &Reply) -> Self {
        let lines = |name: &str| -> Vec<String> {
            let lines = reply.headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
            lines.map(|line| line.trim().to_owned()).collect()
        };
        let list = |name: &str| -> Vec<String> {
            let lines = lines(name);
            let items = lines.iter().flat_map(|line| line.split(',')).map(str::trim);
            items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
        };
        let names = |name: &str| list(name).iter().map(|item| item.to_ascii_lowercase()).collect();
        Self {
            origins: lines(ALLOW_ORIGIN),
            // Case matters: a browser reads any other word as none.
            with_credentials: lines(ALLOW_CREDENTIALS) == ["true"],
            methods: list(ALLOW_METHODS),
            headers: names(ALLOW_HEADERS),
            exposed: names(EXPOSE_HEADERS),
        }
    }

    /// Why this is not an answer for a page of another origin.
    fn stranger(&self) -> Option<String> {
        match self.origins.as_slice() {
            [] => Some(format!("no `{ALLOW_ORIGIN}`")),
            [one] if one == "*" || one == ORIGIN.1 => None,
            [one] => Some(format!("`{ALLOW_ORIGIN}: {one}` for a page of {}", ORIGIN.1)),
            many => Some(format!("`{ALLOW_ORIGIN}` {} times; a browser takes one", many.len())),
        }
    }

    /// Why a page cannot read what a payment needs.
    fn unreadable(&self) -> Option<String> {
        let all = !self.with_credentials && self.exposed.iter().any(|name| name == "*");
        let missing: Vec<_> =
            TO_READ.into_iter().filter(|name| !all && !self.exposed.iter().any(|e| e == name)).collect();
        self.stranger().or_else(|| {
            (!missing.is_empty()).then(|| format!("`{EXPOSE_HEADERS}` lacks `{}`", missing.join("`, `")))
        })
    }

    /// Why a page cannot send the request with its credential.
    fn unsendable(&self, preflight: &Reply, sample: &Sample, needed: &[String]) -> Option<String> {
        if !preflight.status.is_success() {
            return Some(format!("a preflight answers {}", preflight.status));
        }
        let any = |list: &[String]| !self.with_credentials && list.iter().any(|item| item == "*");
        // `Authorization` is never meant by `*`.
        let allowed = |name: &String| {
            self.headers.contains(name) || (name.as_str() != "authorization" && any(&self.headers))
        };
        let missing: Vec<_> = needed.iter().filter(|name| !allowed(name)).map(|name| name.as_str()).collect();
        let verb = sample.verb.as_str();
        let simple = matches!(verb, "GET" | "HEAD" | "POST");
        self.stranger().or_else(|| {
            if !simple && !any(&self.methods) && !self.methods.iter().any(|method| method == verb) {
                return Some(format!("`{ALLOW_METHODS}` lacks `{verb}`"));
            }
            let star = if any(&self.headers) { "; `*` does not cover `authorization`" } else { "" };
            (!missing.is_empty()).then(|| format!("`{ALLOW_HEADERS}` lacks `{}`{star}", missing.join("`, `")))
        })
    }

    /// The header whose `*` a browser does not understand as one.
    fn meaningless_wildcard(&self) -> Option<&'static str> {
        let lists = [
            (ALLOW_ORIGIN, &self.origins),
            (ALLOW_METHODS, &self.methods),
            (ALLOW_HEADERS, &self.headers),
            (EXPOSE_HEADERS, &self.exposed),
        ];
        let wild = |list: &Vec<String>| self.with_credentials && list.iter().any(|item| item == "*");
        lists.into_iter().find_map(|(name, list)| wild(list).then_some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpp::discovery::samples;
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;
    use serde_json::json;

    fn reply(headers: &[(&'static str, &'static str)]) -> Reply {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header"));
        }
        Reply { status: StatusCode::NO_CONTENT, headers: map, body: Vec::new() }
    }

    fn sample(verb: &str) -> Sample {
        let document = json!({ "paths": { "/thing": { verb: {
            "parameters": [{ "in": "header", "name": "X-Tier", "example": "gold" }],
            "requestBody": { "content": { "application/json": {} } },
            "x-payment-info": { "offers": [] },
        } } } });
        samples(&document).remove(0).expect("it can be called")
    }

    #[test]
    fn a_page_reads_what_is_exposed_to_its_origin() {
        let finding = |headers: &[(&'static str, &'static str)]| Cors::of(&reply(headers)).unreadable();
        let both = (EXPOSE_HEADERS, "WWW-Authenticate, Payment-Receipt");
        for good in [
            &[(ALLOW_ORIGIN, "*"), both][..],
            &[(ALLOW_ORIGIN, "https://elsewhere.example"), both],
            &[(ALLOW_ORIGIN, "https://elsewhere.example"), (ALLOW_CREDENTIALS, "true"), both],
            &[(ALLOW_ORIGIN, "*"), (EXPOSE_HEADERS, "*")],
            &[(ALLOW_ORIGIN, "*"), (ALLOW_CREDENTIALS, "True"), (EXPOSE_HEADERS, "*")],
            &[(ALLOW_ORIGIN, "*"), (EXPOSE_HEADERS, "payment-receipt"), (EXPOSE_HEADERS, "www-authenticate")],
        ] {
            assert_eq!(finding(good), None, "{good:?}");
        }
        for (bad, said) in [
            (&[both][..], "no `access-control-allow-origin`"),
            (&[(ALLOW_ORIGIN, "https://other.example"), both], "for a page of https://elsewhere.example"),
            (&[(ALLOW_ORIGIN, "*"), (ALLOW_ORIGIN, "*"), both], "2 times"),
            (&[(ALLOW_ORIGIN, "*, https://elsewhere.example"), both], "`access-control-allow-origin: *, "),
            (&[(ALLOW_ORIGIN, "*")], "lacks `www-authenticate`, `payment-receipt`"),
            (&[(ALLOW_ORIGIN, "*"), (EXPOSE_HEADERS, "WWW-Authenticate")], "lacks `payment-receipt`"),
            (&[(ALLOW_ORIGIN, "*"), (EXPOSE_HEADERS, "x-www-authenticate")], "lacks `www-authenticate`"),
            (&[(ALLOW_ORIGIN, "*"), (ALLOW_CREDENTIALS, "true"), (EXPOSE_HEADERS, "*")], "lacks"),
        ] {
            let found = finding(bad).unwrap_or_else(|| panic!("{bad:?} is wrong"));
            assert!(found.contains(said), "{found}");
        }
    }

    #[test]
    fn a_page_sends_the_headers_that_are_allowed_each_by_its_name() {
        let finding = |verb: &str, headers: &[(&'static str, &'static str)]| {
            let (preflight, sample) = (reply(headers), sample(verb));
            Cors::of(&preflight).unsendable(&preflight, &sample, &to_send(&sample))
        };
        let any = (ALLOW_ORIGIN, "*");
        let all = (ALLOW_HEADERS, "Authorization, content-type, x-tier");
        for (verb, good) in [
            ("post", &[any, all][..]),
            ("post", &[any, (ALLOW_HEADERS, "*, Authorization")]),
            ("put", &[any, all, (ALLOW_METHODS, "GET, PUT")]),
            ("put", &[any, all, (ALLOW_METHODS, "*")]),
        ] {
            assert_eq!(finding(verb, good), None, "{verb} {good:?}");
        }
        for (verb, bad, said) in [
            ("post", &[any][..], "lacks `authorization`, `content-type`, `x-tier`"),
            ("post", &[any, (ALLOW_HEADERS, "authorization, content-type")], "lacks `x-tier`"),
            (
                "post",
                &[any, (ALLOW_HEADERS, "*")],
                "lacks `authorization`; `*` does not cover `authorization`",
            ),
            (
                "post",
                &[any, (ALLOW_CREDENTIALS, "true"), (ALLOW_HEADERS, "*, authorization")],
                "lacks `content-type`",
            ),
            ("put", &[any, all], "`access-control-allow-methods` lacks `PUT`"),
            ("put", &[any, all, (ALLOW_METHODS, "put")], "lacks `PUT`"),
            ("put", &[any, all, (ALLOW_CREDENTIALS, "true"), (ALLOW_METHODS, "*")], "lacks `PUT`"),
            ("post", &[all], "no `access-control-allow-origin`"),
        ] {
            let found = finding(verb, bad).unwrap_or_else(|| panic!("{verb} {bad:?} is wrong"));
            assert!(found.contains(said), "{found}");
        }
        let refused = Reply { status: StatusCode::METHOD_NOT_ALLOWED, ..reply(&[any, all]) };
        let found = Cors::of(&refused).unsendable(&refused, &sample("post"), &[]);
        assert_eq!(found.as_deref(), Some("a preflight answers 405 Method Not Allowed"));
    }

    #[test]
    fn a_wildcard_beside_credentials_means_nothing() {
        let wildcard =
            |headers: &[(&'static str, &'static str)]| Cors::of(&reply(headers)).meaningless_wildcard();
        let credentials = (ALLOW_CREDENTIALS, "true");
        assert_eq!(wildcard(&[(ALLOW_ORIGIN, "*"), (ALLOW_HEADERS, "*")]), None);
        assert_eq!(wildcard(&[(ALLOW_ORIGIN, "https://elsewhere.example"), credentials]), None);
        for name in [ALLOW_ORIGIN, ALLOW_METHODS, ALLOW_HEADERS, EXPOSE_HEADERS] {
            assert_eq!(wildcard(&[(name, "*"), credentials]), Some(name));
        }
    }
}
