//! What a group found, as lines that `cargo xtask bench` reads: the word `result` and a JSON object.
//!
//! ```text
//! result {"case":"ours","metric":"rate","values":[7213.0,7198.4]}  one value per round
//! result {"case":"ours","metric":"cpu","values":[7.1,7.2,7.4]}     or an interval: its two ends and the median
//! result {"series":"402","figure":"prices","x":10.0,"y":1312.5}    one point of a plot
//! result {"version":"redis 7.0.15"}                                what was measured
//! result {"skipped":"PostgreSQL is not installed"}                 what was not, and why
//! ```

use serde_json::{Value, json};

/// The values of one metric of a case, one for each round.
pub(crate) fn values(case: &str, metric: &str, values: &[f64]) {
    line(&json!({ "case": case, "metric": metric, "values": values }));
}

/// The median of many rounds and where it lies: the 95% interval of the median, not the lowest and the highest round.
///
/// The more rounds there are, the farther apart are the lowest and the highest of them, and the closer is the median to what the next
/// run will find. Nothing is assumed of how the rounds are distributed: as many of them are below the true median as heads fall
/// in as many throws of a coin.
pub(crate) fn median(case: &str, metric: &str, rounds: &[f64]) {
    values(case, metric, &interval(rounds));
}

/// Its lower end, the median, its upper end; nothing, of no rounds. Of fewer than six, which cannot have such an interval, the ends
/// are the lowest and the highest.
fn interval(rounds: &[f64]) -> Vec<f64> {
    let mut rounds: Vec<f64> = rounds.iter().copied().filter(|value| value.is_finite()).collect();
    rounds.sort_unstable_by(f64::total_cmp);
    let count = rounds.len();
    if count == 0 {
        return rounds;
    }
    let middle = (rounds[(count - 1) / 2] + rounds[count / 2]) / 2.0;
    let outside = outside(count);
    vec![rounds[outside], middle, rounds[count - 1 - outside]]
}

/// How many of so many rounds lie outside, at each end: the most that still leave less than 2.5% to fewer heads than one more.
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

/// A point of a series of a figure; of several at one place, as those of many rounds are, the median is drawn.
pub(crate) fn point(figure: &str, series: &str, x: f64, y: f64) {
    line(&json!({ "figure": figure, "series": series, "x": x, "y": y }));
}

/// A program that was measured.
pub(crate) fn version(what: &str) {
    line(&json!({ "version": what }));
}

/// Something that this machine does not allow.
pub(crate) fn skipped(why: &str) {
    line(&json!({ "skipped": why }));
}

fn line(object: &Value) {
    println!("result {object}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_the_median_has_the_ranks_of_the_binomial_table() {
        let upwards = |count: u32| (1..=count).map(f64::from).collect::<Vec<_>>();
        // Conover, Practical Nonparametric Statistics, table A3: with 25 rounds the 8th and the 18th.
        for (count, ends) in [(6, [1.0, 6.0]), (9, [2.0, 8.0]), (25, [8.0, 18.0]), (100, [40.0, 61.0])] {
            let interval = interval(&upwards(count));
            assert_eq!([interval[0], interval[2]], ends, "{count}");
        }
    }

    #[test]
    fn a_few_rounds_that_went_wrong_move_neither_the_median_nor_its_interval_far() {
        let mut rounds = vec![1.05; 50];
        rounds.extend([9.0; 10]);
        assert_eq!(interval(&rounds), [1.05, 1.05, 1.05]);
        assert_eq!(interval(&[3.0, 1.0]), [1.0, 2.0, 3.0]);
        assert!(interval(&[f64::NAN]).is_empty());
    }
}
