//! The middle of many measurements, and how surely another run would find it again.

/// Mean of the middle half: outliers do not move it, and it needs fewer measurements than the median.
pub fn middle(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cut = sorted.len() / 4;
    let kept = &sorted[cut..sorted.len() - cut];
    (!kept.is_empty()).then(|| kept.iter().sum::<f64>() / kept.len() as f64)
}

/// Half the 95 % interval of the middle against the middle itself, by 1,000 draws with replacement.
pub fn doubt(values: &[f64]) -> Option<f64> {
    let middle_of_all = middle(values).filter(|value| *value > 0.0 && values.len() > 2)?;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        // xorshift64: the same draws each time.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        values[(random % values.len() as u64) as usize]
    };
    let mut middles: Vec<f64> =
        (0..1000).filter_map(|_| middle(&(0..values.len()).map(|_| draw()).collect::<Vec<_>>())).collect();
    middles.sort_by(f64::total_cmp);
    Some((middles[974] - middles[25]) / 2.0 / middle_of_all)
}
