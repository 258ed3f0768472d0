//! What was measured, as `benches/results.json` keeps it: the one source of `benches/RESULTS.md` and of the plots.
//!
//! A run replaces the groups it measured and leaves the others as they were, each with the day and the machine of its own.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Everything, by the name of the group.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Results {
    pub(crate) groups: BTreeMap<String, Measured>,
}

/// What one group gave.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) origin: Origin,
    /// How it was measured, in the words of that day.
    pub(crate) about: String,
    /// The programs that were measured or used, with their versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) versions: Vec<String>,
    /// What could not be measured on that machine, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) skipped: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) cases: Vec<Case>,
    /// The series of each figure.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) figures: BTreeMap<String, Vec<Series>>,
}

/// When, where and of what.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// `2026-11-21`.
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) compiler: String,
    /// The commit that was checked out.
    pub(crate) commit: String,
}

/// One row: its name, which is `group::member` where several are compared, and what was measured of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) values: BTreeMap<String, Spread>,
}

/// The rounds of one metric. Times are nanoseconds, sizes bytes, rates per second.
///
/// Between `low` and `high` lies what the median would be of ever more rounds, with 95%: not the lowest and the highest round, which lie
/// farther apart the more rounds there are. Nothing is assumed of how rounds are distributed: as many of them are below the true
/// median as heads fall in as many throws of a coin. Of fewer than six, which cannot say that, they are the lowest and the highest.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// What each run of the program gave, in their order; empty where it ran once, or was asked round after round.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) runs: Vec<f64>,
}

/// A line of a plot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// In the order of x.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Results {
    /// What is in this file; nothing, when there is no such file.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub(crate) fn load(path: &Path) -> io::Result<Results> {
        match std::fs::read(path) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Results::default()),
            Err(error) => Err(error),
        }
    }

    /// As a file that is pleasant to compare with the one before.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// A metric of a case of a group.
    pub(crate) fn spread(&self, group: &str, case: &str, metric: &str) -> Option<&Spread> {
        self.groups.get(group)?.case(case)?.values.get(metric)
    }
}

impl Measured {
    pub(crate) fn case(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.name == name)
    }

    /// The case of this name, made if there is none yet.
    pub(crate) fn case_mut(&mut self, name: &str) -> &mut Case {
        let place = self.cases.iter().position(|case| case.name == name).unwrap_or_else(|| {
            self.cases.push(Case { name: name.to_owned(), values: BTreeMap::new() });
            self.cases.len() - 1
        });
        &mut self.cases[place]
    }

    /// Adds a point to a series of a figure. Of several values at one x, the points of as many rounds, the median stays: see
    /// [`settle`](Self::settle).
    pub(crate) fn point(&mut self, figure: &str, series: &str, x: f64, y: f64) {
        let all = self.figures.entry(figure.to_owned()).or_default();
        let place = all.iter().position(|one| one.name == series).unwrap_or_else(|| {
            all.push(Series { name: series.to_owned(), points: Vec::new() });
            all.len() - 1
        });
        all[place].points.push((x, y));
    }

    /// One point for each x: the median of what was measured there.
    pub(crate) fn settle(&mut self) {
        for series in self.figures.values_mut().flatten() {
            let mut points: Vec<(f64, Vec<f64>)> = Vec::new();
            for (x, y) in series.points.drain(..) {
                match points.iter_mut().find(|(other, _)| *other == x) {
                    Some((_, values)) => values.push(y),
                    None => points.push((x, vec![y])),
                }
            }
            points.sort_by(|(one, _), (other, _)| one.total_cmp(other));
            let median = |(x, values): (f64, Vec<f64>)| Some((x, Spread::of(&values)?.median));
            series.points = points.into_iter().filter_map(median).collect();
        }
    }
}

impl Spread {
    /// Of these rounds; `None` of none at all.
    pub(crate) fn of(rounds: &[f64]) -> Option<Spread> {
        let mut rounds: Vec<f64> = rounds.iter().copied().filter(|value| !value.is_nan()).collect();
        rounds.sort_unstable_by(f64::total_cmp);
        let last = rounds.len().checked_sub(1)?;
        let outside = outside(rounds.len());
        let [low, high] = [rounds[outside], rounds[last - outside]].map(rounded);
        let median = rounded((rounds[last / 2] + rounds[last.div_ceil(2)]) / 2.0);
        Some(Spread { median, low, high, runs: Vec::new() })
    }

    /// Of these runs, each of which is kept.
    pub(crate) fn of_runs(runs: &[f64]) -> Option<Spread> {
        let runs: Vec<f64> = runs.iter().copied().map(rounded).collect();
        Some(Spread { runs: runs.clone(), ..Spread::of(&runs)? })
    }

    /// Without rounds.
    pub(crate) fn only(value: f64) -> Spread {
        let value = rounded(value);
        Spread { median: value, low: value, high: value, runs: Vec::new() }
    }

    /// A difference or a ratio of these, run by run; of their medians where the runs were not kept.
    pub(crate) fn formed<const N: usize>(of: [&Spread; N], how: impl Fn([f64; N]) -> f64) -> Spread {
        let runs = of.iter().map(|one| one.runs.len()).max().unwrap_or(0);
        let formed: Vec<f64> = match of.iter().all(|one| one.runs.len() == runs) {
            true => (0..runs).map(|run| how(of.map(|one| one.runs[run]))).collect(),
            false => Vec::new(),
        };
        Spread::of_runs(&formed).unwrap_or_else(|| Spread::only(how(of.map(|one| one.median))))
    }
}

/// How many of so many rounds lie outside of the interval, at each end: the most that still leave less than 2.5% to fewer heads than one
/// more.
fn outside(count: usize) -> usize {
    let (mut chance, mut together) = (0.5_f64.powf(count as f64), 0.0);
    for heads in 0..count {
        together += chance;
        if together > 0.025 {
            // Between the ends lie so many or more on either side.
            return heads.saturating_sub(1);
        }
        chance *= (count - heads) as f64 / (heads + 1) as f64;
    }
    0
}

/// To five digits: more would say nothing, and make the file hard to read.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 4 - value.abs().log10().floor() as i32;
    format!("{value:.*}", usize::try_from(digits).unwrap_or(0)).parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_rounds_lies_in_the_middle_whatever_their_order() {
        let spread = Spread { median: 2.0, low: 1.0, high: 3.0, runs: Vec::new() };
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(spread));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of(&[f64::NAN]), None);
    }

    #[test]
    fn the_interval_of_the_median_has_the_ranks_of_the_binomial_table() {
        let upwards = |count: u32| (1..=count).map(f64::from).collect::<Vec<_>>();
        // Conover, Practical Nonparametric Statistics, table A3: with 25 rounds the 8th and the 18th.
        for (count, ends) in [(6, [1.0, 6.0]), (9, [2.0, 8.0]), (25, [8.0, 18.0]), (100, [40.0, 61.0])] {
            let spread = Spread::of(&upwards(count)).expect("there are some");
            assert_eq!([spread.low, spread.high], ends, "{count}");
        }
    }

    #[test]
    fn a_few_rounds_that_went_wrong_move_neither_the_median_nor_its_interval_far() {
        let mut rounds = vec![1.05; 50];
        rounds.extend([9.0; 10]);
        assert_eq!(Spread::of(&rounds), Some(Spread::only(1.05)));
    }

    #[test]
    fn what_is_formed_of_two_cases_is_formed_within_each_run() {
        let runs = |runs: &[f64]| Spread::of_runs(runs).expect("there are some");
        let difference = |[one, other]: [f64; 2]| one - other;
        // The machine was slower in the second run, for both.
        let (paid, free) = (runs(&[1_200.0, 1_900.0, 1_300.0]), runs(&[500.0, 1_100.0, 400.0]));
        let over = Spread { median: 800.0, low: 700.0, high: 900.0, runs: vec![700.0, 800.0, 900.0] };
        assert_eq!(Spread::formed([&paid, &free], difference), over);
        let without_runs = Spread::of(&[400.0, 500.0, 1_100.0]).expect("three rounds");
        assert_eq!(Spread::formed([&paid, &without_runs], difference), Spread::only(800.0));
        assert_eq!(Spread::formed([&paid, &runs(&[400.0, 500.0])], difference), Spread::only(850.0));
    }

    #[test]
    fn numbers_are_kept_to_five_digits() {
        assert_eq!(rounded(1_234_567.8), 1_234_568.0);
        assert_eq!(rounded(1.234_567_8), 1.2346);
        assert_eq!(rounded(0.000_123_456), 0.000_123_46);
        assert_eq!(rounded(0.0), 0.0);
        assert_eq!(rounded(f64::INFINITY), f64::INFINITY);
    }

    #[test]
    fn several_rounds_of_a_point_become_their_median_and_the_points_stand_in_order() {
        let mut measured = Measured::default();
        for (x, y) in [(64.0, 9.0), (1.0, 5.0), (1.0, 7.0), (1.0, 6.0)] {
            measured.point("stores", "memory", x, y);
        }
        measured.settle();
        assert_eq!(measured.figures["stores"][0].points, [(1.0, 6.0), (64.0, 9.0)]);
    }

    #[test]
    fn results_are_read_back_as_they_were_written() {
        let mut results = Results::default();
        let mut measured = Measured::default();
        measured.case_mut("ours").values.insert("cpu".to_owned(), Spread::only(7123.4));
        measured
            .case_mut("ours")
            .values
            .extend(Spread::of_runs(&[5.0, 4.0]).map(|it| ("time".to_owned(), it)));
        measured.point("prices", "402", 10.0, 1.5);
        results.groups.insert("loopback".to_owned(), measured);
        let read: Results = serde_json::from_str(&results.to_json()).expect("our own JSON");
        assert_eq!(read, results);
        assert_eq!(read.spread("loopback", "ours", "cpu"), Some(&Spread::only(7123.4)));
        assert_eq!(
            read.spread("loopback", "ours", "time").map(|it| it.runs.as_slice()),
            Some([5.0, 4.0].as_slice())
        );
        assert_eq!(read.spread("loopback", "theirs", "cpu"), None);
    }
}
