//! Reads what divan prints: a tree of cases with their medians, and how often each calls the allocator.

use super::results::{Case, Spread};

/// Nanoseconds of a call.
pub(crate) const TIME: &str = "time";
/// Calls of the allocator that return memory: allocations and growing reallocations.
pub(crate) const ALLOCATIONS: &str = "allocations";

/// The cases of a tree, in its order. One inside of another node is called `node::case`; a node that all of them are in, such as the
/// file, is not part of their names.
pub(crate) fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut nodes: Vec<&str> = Vec::new();
    let mut counting = false;
    for line in text.lines() {
        let columns: Vec<&str> = line.split('│').collect();
        // The bars of the tree stand in front of the first column, and are the ones that separate columns.
        let bars = line.chars().take_while(|c| "│├╰─ ".contains(*c)).filter(|c| *c == '│').count();
        let branch = line.char_indices().position(|(_, c)| c == '├' || c == '╰');
        let first = columns.get(bars).copied().unwrap_or_default().trim_start_matches(['├', '╰', '─', ' ']);
        let cell = |column: usize| columns.get(bars + column).copied().unwrap_or_default().trim();
        // The first column has a name and the fastest time in it.
        let (name, fastest) =
            first.trim_end().split_once(char::is_whitespace).unwrap_or((first.trim_end(), ""));
        if let Some(position) = branch {
            nodes.truncate(position / DEPTH);
            nodes.push(name);
            counting = false;
            if let (Some(_), Some(median)) = (duration(fastest.trim()), duration(cell(MEDIAN))) {
                let values =
                    [(TIME.to_owned(), Spread::only(median)), (ALLOCATIONS.to_owned(), Spread::only(0.0))];
                cases.push(Case { name: nodes.join("::"), values: values.into() });
            }
        } else if first.trim_end().ends_with(':') || name.ends_with(':') {
            counting = matches!(name, "alloc:" | "grow:");
        } else if counting && let (Ok(count), Some(case)) = (cell(MEDIAN).parse::<f64>(), cases.last_mut()) {
            if let Some(sum) = case.values.get_mut(ALLOCATIONS) {
                *sum = Spread::only(sum.median + count);
            }
            counting = false; // the next row is the size
        }
    }
    while let Some((first, _)) = cases.first().and_then(|case| case.name.split_once("::")) {
        let outer = format!("{first}::");
        let has_group = |case: &Case| case.name.strip_prefix(&outer).is_some_and(|rest| rest.contains("::"));
        if !cases.iter().all(has_group) {
            break;
        }
        cases.iter_mut().for_each(|case| drop(case.name.drain(..outer.len())));
    }
    cases
}

/// The cases of several runs of a program, each with what every run gave. Of a case that is not in all of them the runs are not
/// kept: nobody could say which run of another case belongs to which.
pub(crate) fn together(runs: &[Vec<Case>]) -> Vec<Case> {
    let mut names: Vec<&String> = Vec::new();
    for case in runs.iter().flatten() {
        if !names.contains(&&case.name) {
            names.push(&case.name);
        }
    }
    let case = |name: &String| {
        let seen: Vec<&Case> = runs.iter().flatten().filter(|case| case.name == *name).collect();
        let of = |metric: &String| {
            let values: Vec<f64> =
                seen.iter().filter_map(|case| Some(case.values.get(metric)?.median)).collect();
            let spread = match runs.len() {
                1 => values.first().copied().map(Spread::only),
                all if all == values.len() => Spread::of_runs(&values),
                _ => Spread::of(&values),
            };
            Some((metric.clone(), spread?))
        };
        let values = seen.iter().flat_map(|case| case.values.keys()).filter_map(of).collect();
        Case { name: name.clone(), values }
    };
    names.into_iter().map(case).collect()
}

/// Columns after the name and the fastest time.
const MEDIAN: usize = 2;
/// Characters by which a node stands to the right of the one it is in.
const DEPTH: usize = 3;

/// `1.25 µs` in nanoseconds.
fn duration(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once(' ')?;
    let scale = match unit {
        "ps" => 1e-3,
        "ns" => 1.0,
        "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
Timer precision: 20 ns
router                     fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ free_handler            443.5 ns      │ 853.2 ns      │ 450 ns        │ 461.3 ns      │ 100     │ 6400
│                          max alloc:    │               │               │               │         │
│                            7           │ 7             │ 7             │ 7             │         │
│                            100 B       │ 100 B         │ 100 B         │ 100 B         │         │
│                          alloc:        │               │               │               │         │
│                            9           │ 9             │ 9             │ 9             │         │
│                            100 B       │ 100 B         │ 100 B         │ 100 B         │         │
├─ challenge                             │               │               │               │         │
│  ├─ official_extractor   11.4 µs       │ 13.2 µs       │ 12.45 µs      │ 12.5 µs       │ 100     │ 25600
│  │                       alloc:        │               │               │               │         │
│  │                         120         │ 120           │ 120           │ 120           │         │
│  │                         2.1 KB      │ 2.1 KB        │ 2.1 KB        │ 2.1 KB        │         │
│  ╰─ ours                 1.4 µs        │ 3.2 µs        │ 1.45 µs       │ 1.5 µs        │ 100     │ 25600
│                          alloc:        │               │               │               │         │
│                            20          │ 20            │ 20            │ 20            │         │
│                            2.1 KB      │ 2.1 KB        │ 2.1 KB        │ 2.1 KB        │         │
│                          grow:         │               │               │               │         │
│                            2           │ 2             │ 2             │ 2             │         │
│                            5 B         │ 5 B           │ 5 B           │ 5 B           │         │
╰─ start                   1.4 ms        │ 3.2 ms        │ 1.45 ms       │ 1.5 ms        │ 100     │ 25600
";

    fn run(times: &[(&str, f64)]) -> Vec<Case> {
        let case = |(name, time): &(&str, f64)| Case {
            name: (*name).to_owned(),
            values: [(TIME.to_owned(), Spread::only(*time))].into(),
        };
        times.iter().map(case).collect()
    }

    #[test]
    fn of_several_runs_each_is_kept_in_its_order_and_the_middle_one_counts() {
        let runs = [
            run(&[("ours", 1.0), ("theirs", 90.0)]),
            run(&[("ours", 7.0), ("theirs", 5.0)]),
            run(&[("ours", 2.0), ("theirs", 6.0), ("new", 4.0)]),
        ];
        let cases = together(&runs);
        let seen: Vec<(&str, f64, &[f64])> = cases
            .iter()
            .map(|case| (case.name.as_str(), case.values[TIME].median, case.values[TIME].runs.as_slice()))
            .collect();
        assert_eq!(
            seen,
            [
                ("ours", 2.0, [1.0, 7.0, 2.0].as_slice()),
                ("theirs", 6.0, &[90.0, 5.0, 6.0]),
                ("new", 4.0, &[])
            ]
        );
    }

    #[test]
    fn a_single_run_is_no_spread() {
        assert_eq!(together(&[run(&[("ours", 1.0)])]), run(&[("ours", 1.0)]));
    }

    #[test]
    fn times_and_allocations_are_read_from_the_tree_of_divan() {
        let cases = parse(TREE);
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names, ["free_handler", "challenge::official_extractor", "challenge::ours", "start"]);
        let seen: Vec<(f64, f64)> =
            cases.iter().map(|case| (case.values[TIME].median, case.values[ALLOCATIONS].median)).collect();
        assert_eq!(seen, [(450.0, 9.0), (12_450.0, 120.0), (1_450.0, 22.0), (1_450_000.0, 0.0)]);
    }

    #[test]
    fn a_node_that_everything_is_in_has_no_part_in_the_names() {
        let tree = "\
micro                   fastest       │ slowest       │ median        │ mean          │ samples │ iters
╰─ steps                              │               │               │               │         │
   ├─ accept_payment                  │               │               │               │         │
   │  ├─ official_sdk   349.6 ns      │ 628.1 µs      │ 358.1 ns      │ 2.455 µs      │ 300     │ 9600
   │  ╰─ ours           291 ns        │ 377.3 µs      │ 299.1 ns      │ 1.557 µs      │ 300     │ 9600
   │                    alloc:        │               │               │               │         │
   │                      6           │ 6             │ 6             │ 6             │         │
   ╰─ canonical_json                  │               │               │               │         │
      ╰─ ours           291 ns        │ 377.3 µs      │ 299.1 ns      │ 1.557 µs      │ 300     │ 9600
";
        let cases = parse(tree);
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names, ["accept_payment::official_sdk", "accept_payment::ours", "canonical_json::ours"]);
        assert_eq!(cases[1].values[ALLOCATIONS].median, 6.0);
    }

    #[test]
    fn what_is_no_tree_has_no_cases() {
        assert_eq!(parse("what answers what │ status\nTimer precision: 20 ns\n"), []);
    }
}
