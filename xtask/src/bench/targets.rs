//! What the project promises, held against what was measured.

use super::divan::{ALLOCATIONS, TIME};
use super::groups::Unit;
use super::render::written;
use super::results::Results;

/// A promise.
struct Target {
    path: &'static str,
    /// In words, where the number alone does not say it.
    what: &'static str,
    bound: Bound,
    unit: Unit,
    of: fn(&Results) -> Option<f64>,
}

enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

use Bound::{AtLeast, AtMost};

/// A number of the group that has the peers beside it.
fn router(results: &Results, case: &str, metric: &str) -> Option<f64> {
    results.median("router", case, metric)
}

fn over_free(results: &Results, case: &str, metric: &str) -> Option<f64> {
    Some(router(results, case, metric)? - router(results, "free_handler::axum", metric)?)
}

const TARGETS: &[Target] = &[
    Target {
        path: "402, one method, whole router",
        what: "over the free handler",
        bound: AtMost(800.0),
        unit: Unit::Time,
        of: |results| over_free(results, "challenge_one_method::ours", TIME),
    },
    Target {
        path: "402, one method, whole router",
        what: "allocations over the free handler",
        bound: AtMost(12.0),
        unit: Unit::Count,
        of: |results| over_free(results, "challenge_one_method::ours", ALLOCATIONS),
    },
    Target {
        path: "402, one method, whole router",
        what: "the official SDK's extractor over the free handler, times ours",
        bound: AtLeast(10.0),
        unit: Unit::Ratio,
        of: |results| {
            let official = over_free(results, "challenge_one_method::official_extractor", TIME)?;
            Some(official / over_free(results, "challenge_one_method::ours", TIME)?)
        },
    },
    Target {
        path: "402 over loopback",
        what: "processor time of the server, times that of a constant 402 of the same size",
        bound: AtMost(1.08),
        unit: Unit::Ratio,
        of: |results| results.median("loopback", "ours", "cpu over constant"),
    },
    Target {
        path: "forged credential refused",
        what: "over our own 402",
        bound: AtMost(1_000.0),
        unit: Unit::Time,
        of: |results| {
            let forged = router(results, "forged_credential::ours", TIME)?;
            Some(forged - router(results, "challenge_one_method::ours", TIME)?)
        },
    },
    Target {
        path: "valid credential, sandbox method, memory store",
        what: "times the sum of its unavoidable parts",
        bound: AtMost(1.5),
        unit: Unit::Ratio,
        of: |results| {
            let paid = router(results, "valid_credential::ours", TIME)?;
            Some(paid / router(results, "parts::all_of_a_payment", TIME)?)
        },
    },
    Target {
        path: "challenge header, fixed price",
        what: "times a bare HMAC-SHA256 finish of the same bytes",
        bound: AtMost(2.0),
        unit: Unit::Ratio,
        of: |results| {
            let of = |member: &str| {
                results.median("micro", &format!("challenge_of_a_fixed_price::{member}"), TIME)
            };
            Some(of("ours_header")? / of("floor_hmac_finish")?)
        },
    },
    Target {
        path: "verification before the network, Stripe",
        what: "",
        bound: AtMost(20_000.0),
        unit: Unit::Time,
        of: |results| results.median("methods", "stripe_verify", TIME),
    },
    Target {
        path: "verification before the network, Tempo",
        what: "",
        bound: AtMost(150_000.0),
        unit: Unit::Time,
        of: |results| results.median("methods", "tempo_transaction", TIME),
    },
    Target {
        path: "start-up",
        what: "10,000 prices",
        bound: AtMost(100e6),
        unit: Unit::Time,
        of: |results| results.median("startup", "start_10_000_prices", TIME),
    },
    Target {
        path: "start-up",
        what: "10,000 priced routes, without their documents",
        bound: AtMost(100e6),
        unit: Unit::Time,
        of: |results| results.median("documents", "start_10_000_priced_routes", TIME),
    },
    Target {
        path: "a document",
        what: "over a static file",
        bound: AtMost(1_000.0),
        unit: Unit::Time,
        of: |results| {
            let document = results.median("documents", "serve_document", TIME)?;
            Some(document - results.median("documents", "serve_static_file", TIME)?)
        },
    },
    Target {
        path: "compile",
        what: "`cargo check` of a priced handler",
        bound: AtMost(8e6),
        unit: Unit::Time,
        of: |results| results.median("compile", "this library", "check"),
    },
];

/// The table of all of them.
pub(crate) fn table(results: &Results) -> String {
    let mut text = String::from("## Targets\n\n| path | target | measured | |\n| --- | --- | ---: | --- |\n");
    for target in TARGETS {
        let measured = (target.of)(results);
        let (bound, met): (String, fn(f64, f64) -> bool) = match target.bound {
            AtMost(most) => (format!("at most {}", written(most, target.unit)), |value, most| value <= most),
            AtLeast(least) => {
                (format!("at least {}", written(least, target.unit)), |value, least| value >= least)
            }
        };
        let (AtMost(limit) | AtLeast(limit)) = target.bound;
        let verdict = match measured {
            Some(value) if met(value, limit) => "met",
            Some(_) => "**missed**",
            None => "not measured",
        };
        let measured = measured.map(|value| written(value, target.unit)).unwrap_or_default();
        let what = if target.what.is_empty() { String::new() } else { format!(" ({})", target.what) };
        text += &format!("| {}{what} | {bound} | {measured} | {verdict} |\n", target.path);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::results::{Measured, Spread};
    use super::*;

    fn with(case: &str, metric: &str, value: f64) -> Results {
        let mut results = Results::default();
        let measured: &mut Measured = results.groups.entry("loopback".to_owned()).or_default();
        measured.case_mut(case).values.insert(metric.to_owned(), Spread::only(value));
        results
    }

    #[test]
    fn a_target_is_met_missed_or_not_measured() {
        let row = |results: &Results| {
            let table = table(results);
            table.lines().find(|line| line.contains("loopback")).map(str::to_owned).unwrap_or_default()
        };
        let metric = "cpu over constant";
        assert!(row(&with("ours", metric, 1.08)).ends_with("| at most 1.08 × | 1.08 × | met |"));
        assert!(row(&with("ours", metric, 1.09)).ends_with("| 1.09 × | **missed** |"));
        assert!(row(&with("theirs", metric, 1.0)).ends_with("|  | not measured |"));
    }

    #[test]
    fn a_lead_over_the_peer_is_a_ratio_of_what_both_cost_over_the_free_handler() {
        let mut results = Results::default();
        let measured = results.groups.entry("router".to_owned()).or_default();
        for (case, time) in [
            ("free_handler::axum", 500.0),
            ("challenge_one_method::ours", 1_500.0),
            ("challenge_one_method::official_extractor", 12_500.0),
        ] {
            measured.case_mut(case).values.insert(TIME.to_owned(), Spread::only(time));
        }
        let table = table(&results);
        assert!(table.contains("| at least 10.0 × | 12.0 × | met |"), "{table}");
        assert!(table.contains("| at most 800 ns | 1.00 µs | **missed** |"), "{table}");
    }
}
