//! Percentiles, medians, and how far a ratio of medians can be trusted.

use serde::{Deserialize, Serialize};

use evenkeel_bench::number::{float, length, whole};

/// The percentiles of many values.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    /// Half are below.
    pub(crate) p50: f64,
    /// Nine of ten are below.
    pub(crate) p90: f64,
    /// 99 of 100 are below.
    pub(crate) p99: f64,
    /// 999 of 1000 are below.
    pub(crate) p999: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Percentiles {
    /// Of nanoseconds, in microseconds. None of nothing.
    pub(crate) fn of(nanoseconds: &mut [u64]) -> Option<Self> {
        nanoseconds.sort_unstable();
        let max = nanoseconds.last()?;
        let at = |permille: u64| {
            let rank =
                float(permille) / 1000.0 * float(evenkeel_bench::number::count(nanoseconds.len()));
            let index = length(whole(rank.ceil())).saturating_sub(1);
            float(*nanoseconds.get(index).unwrap_or(max)) / 1000.0
        };
        Some(Self { p50: at(500), p90: at(900), p99: at(990), p999: at(999), max: at(1000) })
    }
}

/// The median. None of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = middle.checked_sub(1).and_then(|below| sorted.get(below))?;
    Some(f64::midpoint(*lower, upper))
}

/// The median of ratios, and where it lies with a confidence of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    /// The ratio.
    pub(crate) value: f64,
    /// Lower and upper end. None: too few samples to tell.
    pub(crate) interval: Option<(f64, f64)>,
}

impl Ratio {
    /// How values compare with those that were taken beside them, as pairs of a value and what it is
    /// divided by. None of no pairs.
    ///
    /// A machine that others share is fast in one second and slow in the next. Both samples of a
    /// pair are of about the same second, so that their ratio says little of that.
    ///
    /// The interval is of a bootstrap: medians of ratios drawn again and again from the ratios. It
    /// is drawn from a fixed seed, so that the same samples have the same interval. Of four ratios
    /// it is rather too narrow than too wide.
    pub(crate) fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let ratios: Vec<f64> =
            pairs.into_iter().filter_map(|(value, by)| (by > 0.0).then_some(value / by)).collect();
        let value = median(&ratios)?;
        if ratios.len() < ENOUGH {
            return Some(Self { value, interval: None });
        }
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut medians: Vec<f64> =
            (0..DRAWS).filter_map(|_| drawn(&ratios, &mut random)).collect();
        medians.sort_unstable_by(f64::total_cmp);
        let cut = medians.len() / 40;
        let ends = medians.get(cut).zip(medians.get(medians.len().saturating_sub(cut + 1)));
        Some(Self { value, interval: ends.map(|(low, high)| (*low, *high)) })
    }

    /// Whether it is surely above `than`.
    pub(crate) fn is_surely_above(&self, than: f64) -> bool {
        self.interval.map_or(self.value, |(low, _)| low) > than
    }

    /// Whether it is surely not `limit`: above or below it.
    pub(crate) fn is_surely_not(&self, limit: f64) -> bool {
        self.interval.is_some_and(|(low, high)| limit < low || high < limit)
    }

    /// Whether it is known to within a share of itself, either way.
    pub(crate) fn is_within(&self, share: f64) -> bool {
        self.interval.is_some_and(|(low, high)| high - low <= 2.0 * share * self.value)
    }
}

fn drawn(values: &[f64], random: &mut fastrand::Rng) -> Option<f64> {
    let drawn: Vec<f64> =
        values.iter().filter_map(|_| values.get(random.usize(..values.len())).copied()).collect();
    median(&drawn)
}

const ENOUGH: usize = 3;
const DRAWS: usize = 2000;
const SEED: u64 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        let mut nanoseconds: Vec<u64> = (1..=1000).rev().map(|value| value * 1000).collect();
        let percentiles = Percentiles::of(&mut nanoseconds).unwrap();
        let expected = Percentiles { p50: 500.0, p90: 900.0, p99: 990.0, p999: 999.0, max: 1000.0 };
        assert_eq!(percentiles, expected);
        assert_eq!(Percentiles::of(&mut []), None);
        assert_eq!(Percentiles::of(&mut [7000]).map(|all| (all.p50, all.max)), Some((7.0, 7.0)));
    }

    #[test]
    fn the_median_of_an_even_number_is_between_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn equal_samples_are_as_good_as_one_another() {
        let ratio = Ratio::of([(1.0, 1.1), (1.1, 1.0), (0.9, 0.9), (1.0, 1.0)]).unwrap();
        let (low, high) = ratio.interval.unwrap();
        assert!((ratio.value - 1.0).abs() < 1e-9 && low < 1.0 && 1.0 < high, "{ratio:?}");
        assert!(!ratio.is_surely_above(1.0));
    }

    #[test]
    fn a_difference_beyond_the_spread_is_sure() {
        let ratio = Ratio::of([(2.0, 1.0), (2.1, 1.05), (1.9, 0.95)]).unwrap();
        assert!(ratio.is_surely_above(1.5) && !ratio.is_surely_above(2.5), "{ratio:?}");
    }

    #[test]
    fn what_slows_both_of_a_pair_does_not_count() {
        let pairs = [(2.0, 1.0), (3.0, 1.5), (20.0, 10.0), (2.2, 1.1)];
        let ratio = Ratio::of(pairs).unwrap();
        assert!((ratio.value - 2.0).abs() < 1e-9 && ratio.is_within(0.001), "{ratio:?}");
    }

    #[test]
    fn how_well_a_ratio_is_known() {
        let ratio = Ratio { value: 2.0, interval: Some((1.9, 2.1)) };
        assert!(ratio.is_within(0.0501) && !ratio.is_within(0.0499));
        assert!(ratio.is_surely_not(1.8) && ratio.is_surely_not(2.2) && !ratio.is_surely_not(2.05));
        let unknown = Ratio { interval: None, ..ratio };
        assert!(!unknown.is_within(9.0) && !unknown.is_surely_not(9.0));
    }

    #[test]
    fn two_pairs_give_no_interval() {
        let ratio = Ratio::of([(1.0, 2.0), (1.0, 2.0)]);
        assert_eq!(ratio, Some(Ratio { value: 0.5, interval: None }));
        assert_eq!(Ratio::of([]), None);
        assert_eq!(Ratio::of([(1.0, 0.0)]), None);
    }
}
