//! Medians, percentiles, and how sure they are.

use serde::{Deserialize, Serialize};

/// A median with the interval it lies in, 19 times of 20.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// Lower end of the 95 % bootstrap interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

const RESAMPLES: usize = 1_000;

/// The `share` (0 to 1) smallest of the values, the nearest one by rank. `values` are sorted.
pub(super) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

pub(super) fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The middle value, or the mean of the two.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let values = sorted(values);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

/// `statistic` of the rounds, with its interval: rounds are drawn again and again, with replacement.
///
/// The draws are the same for the same number of rounds, so a report can be made twice.
pub(super) fn bootstrap<T>(rounds: &[T], statistic: impl Fn(&[&T]) -> f64) -> Estimate {
    let all: Vec<&T> = rounds.iter().collect();
    let mut dice = Dice::new(rounds.len() as u64);
    let draws = (0..if rounds.len() > 1 { RESAMPLES } else { 0 }).map(|_| {
        let drawn: Vec<&T> = (0..rounds.len()).map(|_| &rounds[dice.below(rounds.len())]).collect();
        statistic(&drawn)
    });
    let draws = sorted(draws.filter(|value| value.is_finite()));
    let median = if all.is_empty() { f64::NAN } else { statistic(&all) };
    if draws.is_empty() {
        // One round says nothing of how sure it is.
        return Estimate { median, low: 0.0, high: f64::INFINITY };
    }
    Estimate { median, low: percentile(&draws, 0.025), high: percentile(&draws, 0.975) }
}

/// The median of what all rounds have together, with its interval: as [`bootstrap`], for many values a round.
pub(super) fn median_of_all(rounds: &[Vec<f64>]) -> Estimate {
    let numbered =
        rounds.iter().enumerate().flat_map(|(round, values)| values.iter().map(move |value| (*value, round)));
    let mut all: Vec<(f64, usize)> = numbered.collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let numbers: Vec<usize> = (0..rounds.len()).collect();
    let middle = median(all.iter().map(|(value, _)| *value));
    let drawn = bootstrap(&numbers, |drawn| {
        // Sorted once; each draw only weighs the rounds anew.
        let mut weights = vec![0; rounds.len()];
        drawn.iter().for_each(|round| weights[**round] += 1);
        let total: usize = weights.iter().zip(rounds).map(|(weight, values)| weight * values.len()).sum();
        let mut passed = 0;
        let half = all.iter().find(|(_, round)| {
            passed += weights[*round];
            2 * passed >= total && passed > 0
        });
        half.map_or(f64::NAN, |(value, _)| *value)
    });
    Estimate { median: middle, ..drawn }
}

/// The median of the values with its interval.
pub(super) fn estimate(values: &[f64]) -> Estimate {
    bootstrap(values, |drawn| median(drawn.iter().map(|value| **value)))
}

/// The median of `a / b`, pairs being of the same round.
pub(super) fn ratio(a: &[f64], b: &[f64]) -> Estimate {
    let pairs: Vec<f64> = a.iter().zip(b).map(|(a, b)| a / b).filter(|ratio| ratio.is_finite()).collect();
    estimate(&pairs)
}

/// How often of 100 a round of `a` drawn by chance lies below one of `b`, as medians of as many draws.
pub(super) fn percent_below(a: &[f64], b: &[f64]) -> f64 {
    if a.len() < 2 || b.len() < 2 {
        return 50.0;
    }
    let mut dice = Dice::new((a.len() + b.len()) as u64);
    let mut draw =
        |values: &[f64]| median((0..values.len()).map(|_| values[dice.below(values.len())]).collect::<Vec<_>>());
    let below = (0..RESAMPLES).filter(|_| draw(a) < draw(b)).count();
    below as f64 * 100.0 / RESAMPLES as f64
}

/// SplitMix64: enough for drawing, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(0x5EED))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_medians() {
        let values = sorted((1..=100).map(f64::from));
        assert_eq!(percentile(&values, 0.5), 50.0);
        assert_eq!(percentile(&values, 0.99), 99.0);
        assert_eq!(percentile(&values, 1.0), 100.0);
        assert_eq!(percentile(&[7.0], 0.01), 7.0);
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn the_interval_holds_the_median_and_narrows_with_rounds() {
        let few: Vec<f64> = (0..5).map(|i| 10.0 + f64::from(i % 5)).collect();
        let many: Vec<f64> = (0..200).map(|i| 10.0 + f64::from(i % 5)).collect();
        let (few, many) = (estimate(&few), estimate(&many));
        for one in [few, many] {
            assert!(one.low <= one.median && one.median <= one.high, "{one:?}");
        }
        assert!(many.high - many.low < few.high - few.low, "{few:?} {many:?}");
        let one = estimate(&[5.0]);
        assert_eq!((one.median, one.low, one.high), (5.0, 0.0, f64::INFINITY));
    }

    #[test]
    fn many_values_a_round_are_drawn_as_rounds() {
        let rounds: Vec<Vec<f64>> =
            (0..7).map(|round| (0..=round).map(|i| f64::from(round * 3 % 5 + i)).collect()).collect();
        let one_by_one = bootstrap(&rounds, |drawn| median(drawn.iter().flat_map(|values| values.iter().copied())));
        let at_once = median_of_all(&rounds);
        assert_eq!(at_once.median, one_by_one.median);
        for (a, b) in [(at_once.low, one_by_one.low), (at_once.high, one_by_one.high)] {
            assert!((a - b).abs() <= 0.5, "{at_once:?} {one_by_one:?}");
        }
        assert!(median_of_all(&[]).median.is_nan());
        assert!(median_of_all(&[vec![], vec![]]).median.is_nan());
    }

    #[test]
    fn ratios_are_paired() {
        let ratio = ratio(&[2.0, 20.0, 200.0], &[1.0, 10.0, 100.0]);
        assert_eq!((ratio.low, ratio.median, ratio.high), (2.0, 2.0, 2.0));
    }

    #[test]
    fn surely_below_is_told_from_perhaps() {
        assert_eq!(percent_below(&[1.0, 1.1, 0.9], &[2.0, 2.1, 1.9]), 100.0);
        let same = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert!((20.0..80.0).contains(&percent_below(&same, &same)));
    }
}
