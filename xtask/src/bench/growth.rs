//! Whether a series is flat: the verdict on how a cost grows with its size.
//!
//! Two lines are laid through the points by least squares of the relative error, one in x and one in the logarithm of x. What
//! grows by less than [`FLAT`] over the whole range is flat: that is what a noisy machine gives of one and the same thing.
//! Otherwise the line that fits better names the growth, if it fits at all.

/// The growth over the whole range that does not count.
const FLAT: f64 = 0.25;
/// How far the points may lie from a line, relative to themselves (root of the mean square).
const FITS: f64 = 0.25;

/// How a cost grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Growth {
    /// Not, beyond the noise.
    Flat,
    /// By as much for every tenfold of the size, in the unit of y.
    Logarithmic {
        /// For ten times the size.
        per_tenfold: f64,
    },
    /// By as much for each, in the unit of y.
    Linear {
        /// For one more.
        each: f64,
    },
    /// In some other way.
    Other {
        /// The largest value over the smallest.
        times: f64,
    },
}

impl Growth {
    /// Of these points; `None` of fewer than three, which no verdict can be based on.
    pub(crate) fn of(points: &[(f64, f64)]) -> Option<Growth> {
        if points.len() < 3 || points.iter().any(|(x, y)| *x <= 0.0 || *y <= 0.0) {
            return None;
        }
        let logarithmic = Line::through(points.iter().map(|(x, y)| (x.log10(), *y)));
        let linear = Line::through(points.iter().copied());
        let is_linear = linear.error < logarithmic.error;
        let (first, last) = (points.first()?.0, points.last()?.0);
        let (line, range) = match is_linear {
            true => (&linear, last - first),
            false => (&logarithmic, (last / first).log10()),
        };
        let (least, most) =
            points.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), (_, y)| (y.min(least), y.max(most)));
        let fits = (line.error / points.len() as f64).sqrt() < FITS;
        Some(match (fits, is_linear) {
            _ if most < (1.0 + FLAT) * least => Growth::Flat,
            (false, _) => Growth::Other { times: most / least },
            _ if line.slope * range < FLAT * least => Growth::Flat,
            (true, true) => Growth::Linear { each: line.slope },
            (true, false) => Growth::Logarithmic { per_tenfold: line.slope },
        })
    }
}

/// `y = start + slope · x`, and the sum of its squared relative errors.
struct Line {
    slope: f64,
    error: f64,
}

impl Line {
    /// Weighted by the inverse square of y, so that the largest value does not decide alone.
    fn through(points: impl Iterator<Item = (f64, f64)> + Clone) -> Line {
        let weight = |y: f64| 1.0 / (y * y);
        let sum =
            |term: fn(f64, f64) -> f64| points.clone().map(|(x, y)| weight(y) * term(x, y)).sum::<f64>();
        let (n, x, y) = (sum(|_, _| 1.0), sum(|x, _| x), sum(|_, y| y));
        let (xx, xy) = (sum(|x, _| x * x), sum(|x, y| x * y));
        let spread = n * xx - x * x;
        let slope = if spread > 0.0 { (n * xy - x * y) / spread } else { 0.0 };
        let start = (y - slope * x) / n;
        let error = points.map(|(x, y)| ((start + slope * x - y) / y).powi(2)).sum();
        Line { slope, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cost: impl Fn(f64) -> f64) -> Growth {
        let points: Vec<(f64, f64)> = [10.0, 100.0, 1_000.0, 10_000.0].map(|x| (x, cost(x))).into();
        Growth::of(&points).expect("four points")
    }

    #[test]
    fn what_only_trembles_is_flat() {
        assert_eq!(of(|_| 1_000.0), Growth::Flat);
        assert_eq!(of(|x| 1_000.0 + 100.0 * (x.log10() * 7.0).sin()), Growth::Flat);
        assert_eq!(of(|x| 1_000.0 - x / 100.0), Growth::Flat, "a cost that falls does not grow");
    }

    #[test]
    fn a_cost_for_each_is_linear_even_if_it_starts_high() {
        let Growth::Linear { each } = of(|x| 1_000.0 + 2.0 * x) else { panic!("not linear") };
        assert!((each - 2.0).abs() < 0.01, "{each}");
        assert!(matches!(of(|x| 5.0 * x), Growth::Linear { .. }));
    }

    #[test]
    fn what_grows_faster_than_a_line_is_not_called_one() {
        assert!(matches!(of(|x| 1_000.0 + x * x), Growth::Other { .. }), "{:?}", of(|x| 1_000.0 + x * x));
    }

    #[test]
    fn a_cost_for_each_tenfold_is_logarithmic() {
        let Growth::Logarithmic { per_tenfold } = of(|x| 1_000.0 + 300.0 * x.log10()) else {
            panic!("not logarithmic")
        };
        assert!((per_tenfold - 300.0).abs() < 0.1, "{per_tenfold}");
    }

    #[test]
    fn two_points_are_no_evidence() {
        assert_eq!(Growth::of(&[(1.0, 1.0), (2.0, 9.0)]), None);
    }
}
