//! `benches/RESULTS.md`: the results as tables, each number beside its baseline.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::ValueEnum as _;

use super::groups::{Column, Draws, Figure, Group, Page, Shows, Unit, Verdict};
use super::growth::Growth;
use super::results::{Case, Measured, Origin, Results, Series, Spread};
use super::targets;

/// The whole page.
pub(crate) fn page(results: &Results) -> String {
    let mut text = String::from(HEAD);
    text += &targets::table(results);
    for group in Group::value_variants() {
        if let Some(measured) = results.groups.get(&group.name()) {
            section(&mut text, *group, measured);
        }
    }
    text
}

const HEAD: &str = "\
# Results

Written by `cargo xtask bench` from `results.json`; do not edit. A group is measured as a whole, at one time on one machine, and only
ratios within it mean anything: an absolute number says as much about the machine as about the code. What runs in one process is run
several times, and the median of the runs stands here. A difference or a ratio of two cases is formed within each run, and is the median
of those; in brackets, where there are any, the 95% interval of that median, by the ranks of the runs (of fewer than six, the lowest and
the highest). A target is met when all that is in the brackets meets it; where only the median does, the table says so.
`cargo xtask bench --only <group>` measures one group again and leaves the others.

";

fn section(text: &mut String, group: Group, measured: &Measured) {
    let page = group.page();
    put(text, format_args!("\n## {}\n\n`{}` · {}\n", page.title, group.name(), measured.about));
    for table in tables(&measured.cases) {
        write_table(text, &page, measured, &table);
    }
    for figure in page.figures {
        write_figure(text, figure, measured);
    }
    put(text, format_args!("\n{}\n", origin(&measured.origin)));
    if !measured.versions.is_empty() {
        put(text, format_args!("With {}.\n", measured.versions.join(", ")));
    }
    for why in &measured.skipped {
        put(text, format_args!("Not measured: {why}.\n"));
    }
}

/// When and where, as one sentence.
fn origin(origin: &Origin) -> String {
    format!("Measured {} on {}, {}, commit {}.", origin.date, origin.machine, origin.compiler, origin.commit)
}

/// Rows of which the same was measured stand in one table.
fn tables(cases: &[Case]) -> Vec<Vec<&Case>> {
    let mut tables: Vec<(Vec<&String>, Vec<&Case>)> = Vec::new();
    for case in cases {
        let metrics: Vec<&String> = case.values.keys().collect();
        match tables.iter_mut().find(|(others, _)| *others == metrics) {
            Some((_, rows)) => rows.push(case),
            None => tables.push((metrics, vec![case])),
        }
    }
    tables.into_iter().map(|(_, rows)| rows).collect()
}

fn write_table(text: &mut String, page: &Page, measured: &Measured, rows: &[&Case]) {
    let there = |column: &&Column| rows.iter().any(|case| case.values.contains_key(column.metric));
    let columns: Vec<&Column> = page.columns.iter().filter(there).collect();
    let headings: Vec<&str> = columns.iter().map(|column| column.heading).collect();
    put(text, format_args!("\n| {} | {} |\n", page.case, headings.join(" | ")));
    put(text, format_args!("| --- |{}\n", " ---: |".repeat(columns.len())));
    for case in rows {
        let cells: Vec<String> =
            columns.iter().map(|column| cell(column, case, measured).unwrap_or_default()).collect();
        put(text, format_args!("| {} | {} |\n", spoken(&case.name), cells.join(" | ")));
    }
}

/// `challenge_one_method::official_extractor` as words.
pub(crate) fn spoken(name: &str) -> String {
    match name.contains("::") || !name.contains(' ') {
        true => name.replace("::", ": ").replace('_', " "),
        false => name.to_owned(),
    }
}

fn cell(column: &Column, case: &Case, measured: &Measured) -> Option<String> {
    let own = case.values.get(column.metric)?;
    let of = |name: &str| measured.case(name)?.values.get(column.metric);
    let formed = |base, how: fn([f64; 2]) -> f64| Spread::formed([own, base], how).median;
    let times = |base| written(formed(base, |[own, base]| own / base), Unit::Ratio);
    Some(match column.shows {
        Shows::Median(unit) => written(own.median, unit),
        Shows::Spread(unit) => with_range(own, unit),
        Shows::Over(base, _) if base == case.name => return None,
        // Parts of a request, and no request.
        Shows::Over(..) if case.name.starts_with("parts::") => return None,
        Shows::Over(base, unit) => written(formed(of(base)?, |[own, base]| own - base), unit),
        Shows::Times(base) => times(of(base)?),
        Shows::TimesOurs => {
            let (step, member) = case.name.rsplit_once("::")?;
            let is_ours = |other: &&Case| {
                other
                    .name
                    .rsplit_once("::")
                    .is_some_and(|(group, name)| group == step && name.starts_with("ours"))
            };
            let ours = measured.cases.iter().find(is_ours)?;
            if member.starts_with("ours") && ours.name == case.name {
                return None;
            }
            times(ours.values.get(column.metric)?)
        }
    })
}

/// The median, and in brackets where it lies.
pub(crate) fn with_range(spread: &Spread, unit: Unit) -> String {
    let [median, low, high] = [spread.median, spread.low, spread.high].map(|value| written(value, unit));
    if low == high { median } else { format!("{median} ({low} – {high})") }
}

/// A number with its unit, to three digits.
pub(crate) fn written(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Time => scaled(value, &[(1e9, "s"), (1e6, "ms"), (1e3, "µs")], "ns"),
        Unit::Bytes => scaled(value, &[(1e6, "MB"), (1e3, "KB")], "B"),
        Unit::Rate => thousands(value),
        Unit::Count => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        Unit::Ratio => format!("{} ×", three_digits(value)),
    }
}

fn scaled(value: f64, scales: &[(f64, &str)], base: &str) -> String {
    let (scale, unit) =
        scales.iter().find(|(scale, _)| value.abs() >= *scale).copied().unwrap_or((1.0, base));
    format!("{} {unit}", three_digits(value / scale))
}

fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        x if x >= 99.95 => 0,
        x if x >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// `153,144`.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn write_figure(text: &mut String, figure: &Figure, measured: &Measured) {
    let drawn = match figure.draws {
        Draws::Bars { metric, .. } => measured.cases.iter().any(|case| case.values.contains_key(metric)),
        Draws::Lines { .. } => measured.figures.contains_key(figure.name),
    };
    if !drawn {
        return;
    }
    put(text, format_args!("\n![{title}](plots/{name}.svg)\n", title = figure.title, name = figure.name));
    let Draws::Lines { verdict, x, .. } = figure.draws else { return };
    let baseline = match verdict {
        Verdict::None => return,
        Verdict::Given => None,
        Verdict::Beside(name) => Some(name),
    };
    put(text, format_args!("\n| {x} |{} growth |\n", header(figure, measured)));
    put(text, format_args!("| --- |{} --- |\n", " ---: |".repeat(sizes(figure, measured).len())));
    let all = &measured.figures[figure.name];
    let mut row = |name: &str, points: &[(f64, f64)], unit, growth: String| {
        let at: BTreeMap<u64, f64> = points.iter().map(|(x, y)| (x.to_bits(), *y)).collect();
        let cell = |x: &f64| at.get(&x.to_bits()).map(|y| written(*y, unit)).unwrap_or_default();
        let cells: Vec<String> = sizes(figure, measured).iter().map(cell).collect();
        put(text, format_args!("| {name} | {} | {growth} |\n", cells.join(" | ")));
    };
    for series in all {
        let growth = Growth::of(&series.points).map(said).unwrap_or_default();
        row(&series.name, &series.points, Unit::Time, growth);
    }
    let Some(baseline) = all.iter().find(|series| Some(&*series.name) == baseline) else { return };
    let grows = |series: &&Series| Growth::of(&series.points) != Some(Growth::Flat);
    for series in all.iter().filter(|series| series.name != baseline.name).filter(grows) {
        let points = multiples(series, baseline);
        let growth = Growth::of(&points).map(|growth| match growth {
            Growth::Flat => "flat".to_owned(),
            _ => {
                let times = points[points.len() - 1].1 / points[0].1;
                format!("{} from first to last", written(times, Unit::Ratio))
            }
        });
        let name = format!("{}, times the {}", series.name, baseline.name);
        row(&name, &points, Unit::Ratio, growth.unwrap_or_default());
    }
}

/// A series over another, where both have a point.
fn multiples(series: &Series, baseline: &Series) -> Vec<(f64, f64)> {
    let times = |(x, y): &(f64, f64)| {
        let (_, base) = baseline.points.iter().find(|(other, _)| other == x)?;
        Some((*x, y / base))
    };
    series.points.iter().filter_map(times).collect()
}

/// How a cost grows, of points in nanoseconds.
fn said(growth: Growth) -> String {
    match growth {
        Growth::Flat => "flat".to_owned(),
        Growth::Logarithmic { per_tenfold } => {
            format!("logarithmic: {} for each tenfold", written(per_tenfold, Unit::Time))
        }
        Growth::Linear { each } => format!("linear: {} each", written(each, Unit::Time)),
        Growth::Other { times } => format!("neither flat nor a line: {times:.1} times from least to most"),
    }
}

/// Every x there is, in order.
fn sizes(figure: &Figure, measured: &Measured) -> Vec<f64> {
    let points = measured.figures[figure.name].iter().flat_map(|series| &series.points);
    let mut sizes: Vec<f64> = points.map(|(x, _)| *x).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    sizes.dedup();
    sizes
}

fn header(figure: &Figure, measured: &Measured) -> String {
    sizes(figure, measured).iter().map(|size| format!(" {} |", thousands(*size))).collect()
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_three_digits_and_the_unit_that_makes_them_short() {
        let times =
            [0.5, 450.0, 1_234.0, 12_345.0, 99_960.0, 1e6, 2.5e9].map(|value| written(value, Unit::Time));
        assert_eq!(times, ["0.50 ns", "450 ns", "1.23 µs", "12.3 µs", "100 µs", "1.00 ms", "2.50 s"]);
        assert_eq!(written(-250.0, Unit::Time), "-250 ns");
        assert_eq!(
            [999.0, 153_144.2, 1e6].map(|value| written(value, Unit::Rate)),
            ["999", "153,144", "1,000,000"]
        );
        assert_eq!([8.0, 2.5].map(|value| written(value, Unit::Count)), ["8", "2.5"]);
        assert_eq!(written(1.0834, Unit::Ratio), "1.08 ×");
        assert_eq!(
            [612.0, 23_456.0, 3e6].map(|value| written(value, Unit::Bytes)),
            ["612 B", "23.5 KB", "3.00 MB"]
        );
    }

    fn router() -> Results {
        let mut measured = Measured::default();
        for (name, time) in [
            ("free_handler::axum", 500.0),
            ("challenge_one_method::ours", 1_500.0),
            ("challenge_one_method::official_extractor", 12_000.0),
        ] {
            measured.case_mut(name).values.insert("time".to_owned(), Spread::only(time));
        }
        let mut results = Results::default();
        results.groups.insert("router".to_owned(), measured);
        results
    }

    #[test]
    fn a_row_says_what_it_costs_over_the_baseline_and_how_many_times_ours_it_is() {
        let page = page(&router());
        assert!(page.contains("| free handler: axum | 500 ns |  |  |\n"), "{page}");
        assert!(page.contains("| challenge one method: ours | 1.50 µs | 1.00 µs |  |\n"), "{page}");
        assert!(
            page.contains("| challenge one method: official extractor | 12.0 µs | 11.5 µs | 8.00 × |\n"),
            "{page}"
        );
    }

    #[test]
    fn what_a_row_costs_over_another_is_the_median_of_what_it_cost_within_each_run() {
        let mut measured = Measured::default();
        for (name, runs) in [
            ("free_handler::axum", [500.0, 900.0, 700.0]),
            ("challenge_one_method::ours", [1_500.0, 1_600.0, 1_900.0]),
            ("challenge_one_method::official_extractor", [3_000.0, 4_800.0, 1_900.0]),
        ] {
            let runs = Spread::of_runs(&runs).expect("three runs");
            measured.case_mut(name).values.insert("time".to_owned(), runs);
        }
        let page = page(&Results { groups: [("router".to_owned(), measured)].into() });
        assert!(page.contains("| challenge one method: ours | 1.60 µs | 1.00 µs |  |\n"), "{page}");
        assert!(
            page.contains("| challenge one method: official extractor | 3.00 µs | 2.50 µs | 2.00 × |\n"),
            "{page}"
        );
    }

    #[test]
    fn rows_of_different_metrics_stand_in_tables_of_their_own() {
        let mut measured = Measured::default();
        measured.case_mut("8").values.insert("rate".to_owned(), Spread::only(100.0));
        measured.case_mut("server, all calls").values.insert("calls".to_owned(), Spread::only(5.0));
        let mut results = Results::default();
        results.groups.insert("chain".to_owned(), measured);
        let page = page(&results);
        assert!(page.contains("payments a second |\n| --- | ---: |\n| 8 | 100 |\n"), "{page}");
        assert!(page.contains("calls per payment |\n| --- | ---: |\n| server, all calls | 5 |\n"), "{page}");
    }

    #[test]
    fn a_figure_has_its_numbers_and_its_verdict_below() {
        let mut measured = Measured::default();
        for (x, y) in [(10.0, 1_500.0), (100.0, 3_000.0), (1_000.0, 4_500.0)] {
            measured.point("prices", "free handler", x, y / 3.0);
            measured.point("prices", "402", x, y);
            measured.point("prices", "credential", x, y * x);
            measured.point("prices", "payment", x, 60_000.0 + x);
        }
        let mut results = Results::default();
        results.groups.insert("growth".to_owned(), measured);
        let page = page(&results);
        assert!(page.contains("](plots/prices.svg)\n\n| prices | 10 | 100 | 1,000 | growth |\n"), "{page}");
        for row in [
            "| free handler | 500 ns | 1.00 µs | 1.50 µs | logarithmic: 500 ns for each tenfold |\n",
            "| 402 | 1.50 µs | 3.00 µs | 4.50 µs | logarithmic: 1.50 µs for each tenfold |\n",
            "| payment | 60.0 µs | 60.1 µs | 61.0 µs | flat |\n",
            "| 402, times the free handler | 3.00 × | 3.00 × | 3.00 × | flat |\n",
            "| credential, times the free handler | 30.0 × | 300 × | 3000 × | 100 × from first to last |\n",
        ] {
            assert!(page.contains(row), "{row} is not in\n{page}");
        }
        assert!(!page.contains("payment, times"), "what does not grow is held against nothing");
    }
}
