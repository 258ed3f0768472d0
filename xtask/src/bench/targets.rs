//! What the project promises, held against what was measured.
//!
//! A promise about two cases of a program is held against each of its runs: a machine that is slower for a whole run is slower for both
//! of them there. One that is slower for a moment may be so for one of them alone, and that run says nothing: hence the median.

use super::divan::{ALLOCATIONS, TIME};
use super::groups::Unit;
use super::render::{with_range, written};
use super::results::{Results, Spread};

/// A promise.
struct Target {
    path: &'static str,
    /// In words, where the number alone does not say it.
    what: &'static str,
    bound: Bound,
    unit: Unit,
    of: fn(&Results) -> Option<Spread>,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

use Bound::{AtLeast, AtMost};

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            AtMost(most) => value <= most,
            AtLeast(least) => value >= least,
        }
    }

    fn written(self, unit: Unit) -> String {
        match self {
            AtMost(most) => format!("at most {}", written(most, unit)),
            AtLeast(least) => format!("at least {}", written(least, unit)),
        }
    }

    /// The median decides; that it may be a lucky one is said.
    fn verdict(self, measured: &Spread) -> &'static str {
        if !self.holds(measured.median) {
            "**missed**"
        } else if !self.holds(measured.low) || !self.holds(measured.high) {
            "met by the median"
        } else {
            "met"
        }
    }
}

/// A number of the group that has the peers beside it.
fn router<'a>(results: &'a Results, case: &str, metric: &str) -> Option<&'a Spread> {
    results.spread("router", case, metric)
}

fn over_free(results: &Results, case: &str, metric: &str) -> Option<Spread> {
    let both = [router(results, case, metric)?, router(results, "free_handler::axum", metric)?];
    Some(Spread::formed(both, |[own, free]| own - free))
}

fn over_the_floor(results: &Results, member: &str) -> Option<Spread> {
    let of = |member: &str| results.spread("micro", &format!("challenge_of_a_fixed_price::{member}"), TIME);
    Some(Spread::formed([of(member)?, of("floor_hmac_finish")?], |[own, floor]| own / floor))
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
            let of = [
                router(results, "challenge_one_method::official_extractor", TIME)?,
                router(results, "challenge_one_method::ours", TIME)?,
                router(results, "free_handler::axum", TIME)?,
            ];
            Some(Spread::formed(of, |[official, ours, free]| (official - free) / (ours - free)))
        },
    },
    Target {
        path: "402 over loopback",
        what: "processor time of the server, times that of a constant 402 of the same size",
        bound: AtMost(1.08),
        unit: Unit::Ratio,
        of: |results| results.spread("loopback", "ours", "cpu over constant").cloned(),
    },
    Target {
        path: "forged credential refused",
        what: "over our own 402",
        bound: AtMost(1_000.0),
        unit: Unit::Time,
        of: |results| {
            let of = [
                router(results, "forged_credential::ours", TIME)?,
                router(results, "challenge_one_method::ours", TIME)?,
            ];
            Some(Spread::formed(of, |[forged, unpaid]| forged - unpaid))
        },
    },
    Target {
        path: "valid credential, sandbox method, memory store",
        what: "times the sum of its unavoidable parts",
        bound: AtMost(1.5),
        unit: Unit::Ratio,
        of: |results| {
            let of = [
                router(results, "valid_credential::ours", TIME)?,
                router(results, "parts::all_of_a_payment", TIME)?,
            ];
            Some(Spread::formed(of, |[paid, parts]| paid / parts))
        },
    },
    Target {
        path: "challenge header, fixed price",
        what: "its value, with a nonce and an expiry of its own, times a bare HMAC-SHA256 finish of the same bytes",
        bound: AtMost(2.0),
        unit: Unit::Ratio,
        of: |results| over_the_floor(results, "ours_header"),
    },
    Target {
        path: "challenge header, fixed price",
        what: "the line alone, of a nonce and an expiry that are there, times the same finish",
        bound: AtMost(2.0),
        unit: Unit::Ratio,
        of: |results| over_the_floor(results, "ours_line"),
    },
    Target {
        path: "verification before the network, Stripe",
        what: "",
        bound: AtMost(20_000.0),
        unit: Unit::Time,
        of: |results| results.spread("methods", "stripe_verify", TIME).cloned(),
    },
    Target {
        path: "verification before the network, Tempo",
        what: "",
        bound: AtMost(150_000.0),
        unit: Unit::Time,
        of: |results| results.spread("methods", "tempo_transaction", TIME).cloned(),
    },
    Target {
        path: "start-up",
        what: "10,000 prices, the first start of a process",
        bound: AtMost(100e6),
        unit: Unit::Time,
        of: |results| results.spread("startup", "first_start_of_10_000_prices", TIME).cloned(),
    },
    Target {
        path: "start-up",
        what: "10,000 priced routes, without their documents",
        bound: AtMost(100e6),
        unit: Unit::Time,
        of: |results| results.spread("documents", "start_10_000_priced_routes", TIME).cloned(),
    },
    Target {
        path: "a document",
        what: "over a static file",
        bound: AtMost(1_000.0),
        unit: Unit::Time,
        of: |results| {
            let of = |case| results.spread("documents", case, TIME);
            let both = [of("serve_document")?, of("serve_static_file")?];
            Some(Spread::formed(both, |[document, file]| document - file))
        },
    },
    Target {
        path: "compile",
        what: "`cargo check` of a priced handler",
        bound: AtMost(8e6),
        unit: Unit::Time,
        of: |results| results.spread("compile", "this library", "check").cloned(),
    },
];

/// The table of all of them.
pub(crate) fn table(results: &Results) -> String {
    let mut text = String::from("## Targets\n\n| path | target | measured | |\n| --- | --- | ---: | --- |\n");
    for target in TARGETS {
        let (measured, verdict) = match (target.of)(results) {
            Some(measured) => (with_range(&measured, target.unit), target.bound.verdict(&measured)),
            None => (String::new(), "not measured"),
        };
        let what = if target.what.is_empty() { String::new() } else { format!(" ({})", target.what) };
        let bound = target.bound.written(target.unit);
        text += &format!("| {}{what} | {bound} | {measured} | {verdict} |\n", target.path);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(group: &str, metric: &str, cases: &[(&str, Spread)]) -> Results {
        let mut results = Results::default();
        let measured = results.groups.entry(group.to_owned()).or_default();
        for (case, spread) in cases {
            measured.case_mut(case).values.insert(metric.to_owned(), spread.clone());
        }
        results
    }

    /// The first row with these words, which has to be there.
    fn row(results: &Results, words: &str) -> String {
        let table = table(results);
        let row = table.lines().find(|line| line.contains(words));
        row.unwrap_or_else(|| panic!("{words} is not in {table}")).to_owned()
    }

    fn runs(runs: &[f64]) -> Spread {
        Spread::of_runs(runs).expect("there are some")
    }

    #[test]
    fn a_target_is_met_missed_or_not_measured() {
        let with = |case, value| with("loopback", "cpu over constant", &[(case, Spread::only(value))]);
        let ends = |results: &Results, end: &str| assert!(row(results, "loopback").ends_with(end), "{end}");
        ends(&with("ours", 1.08), "| at most 1.08 × | 1.08 × | met |");
        ends(&with("ours", 1.09), "| 1.09 × | **missed** |");
        ends(&with("theirs", 1.0), "|  | not measured |");
    }

    #[test]
    fn a_target_that_some_runs_miss_is_not_just_met() {
        let ends = |times: &[f64], end: &str| {
            let row = row(&with("methods", TIME, &[("stripe_verify", runs(times))]), "Stripe");
            assert!(row.ends_with(end), "{row}");
        };
        ends(&[2_000.0, 2_500.0, 3_000.0], "| 2.50 µs (2.00 µs – 3.00 µs) | met |");
        ends(&[2_000.0, 21_000.0, 3_000.0], "| 3.00 µs (2.00 µs – 21.0 µs) | met by the median |");
        ends(&[2_000.0, 21_000.0, 22_000.0], "| 21.0 µs (2.00 µs – 22.0 µs) | **missed** |");
    }

    #[test]
    fn rounds_that_were_not_kept_are_shown_by_their_range() {
        let rounds = Spread::of(&[0.99, 1.06, 1.29]).expect("three rounds");
        let row = row(&with("loopback", "cpu over constant", &[("ours", rounds)]), "loopback");
        assert!(row.ends_with("| 1.06 × (0.99 × – 1.29 ×) | met by the median |"), "{row}");
    }

    #[test]
    fn a_difference_is_held_against_its_bound_within_each_run() {
        // The medians of the two lie 1,300 apart, because the runs in the middle are different ones.
        let results = with(
            "router",
            TIME,
            &[
                ("challenge_one_method::ours", runs(&[1_000.0, 3_000.0, 2_300.0])),
                ("forged_credential::ours", runs(&[1_900.0, 3_800.0, 3_600.0])),
            ],
        );
        let row = row(&results, "forged");
        assert!(row.ends_with("| 900 ns (800 ns – 1.30 µs) | met by the median |"), "{row}");
    }

    #[test]
    fn a_challenge_header_is_held_against_its_floor_with_and_without_its_nonce() {
        let of = |times: [f64; 2]| {
            let [line, header] = times.map(Spread::only);
            with(
                "micro",
                TIME,
                &[
                    ("challenge_of_a_fixed_price::floor_hmac_finish", Spread::only(200.0)),
                    ("challenge_of_a_fixed_price::ours_line", line),
                    ("challenge_of_a_fixed_price::ours_header", header),
                ],
            )
        };
        let results = of([260.0, 430.0]);
        assert!(row(&results, "a nonce and an expiry that are there").ends_with("| 1.30 × | met |"));
        assert!(row(&results, "a nonce and an expiry of its own").ends_with("| 2.15 × | **missed** |"));
    }

    #[test]
    fn nothing_is_close_to_a_floor_that_the_optimiser_took_away() {
        let of = |floor: Spread| {
            let cases = [("valid_credential::ours", runs(&[58e3; 3])), ("parts::all_of_a_payment", floor)];
            row(&with("router", TIME, &cases), "valid credential")
        };
        assert!(of(runs(&[41e3, 0.0, 41e3])).ends_with("| met by the median |"));
        assert!(of(runs(&[0.0; 3])).ends_with("| **missed** |"));
    }

    #[test]
    fn a_lead_over_the_peer_is_a_ratio_of_what_both_cost_over_the_free_handler() {
        let cases = [
            ("free_handler::axum", 500.0),
            ("challenge_one_method::ours", 1_500.0),
            ("challenge_one_method::official_extractor", 12_500.0),
        ];
        let table = table(&with("router", TIME, &cases.map(|(case, time)| (case, Spread::only(time)))));
        assert!(table.contains("| at least 10.0 × | 12.0 × | met |"), "{table}");
        assert!(table.contains("| at most 800 ns | 1.00 µs | **missed** |"), "{table}");
    }
}
