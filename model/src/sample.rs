//! Chooses the next token from the logits.

/// How to choose tokens and when to stop.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleOptions {
    /// 0 takes the most likely token, always; above 0, logits are divided by it.
    pub temperature: f32,
    /// Keep only this many most likely tokens.
    pub top_k: Option<usize>,
    /// Keep the most likely tokens whose probabilities reach this sum (Holtzman et al. 2019).
    pub top_p: Option<f32>,
    /// Keep tokens at least this fraction as likely as the most likely one (Nguyen et al. 2024).
    pub min_p: Option<f32>,
    /// Above 1, tokens seen in the prompt or the draft become less likely (Keskar et al. 2019).
    pub repetition_penalty: f32,
    /// The same seed, prompt and options give the same draft.
    pub seed: u64,
    /// Most tokens to write.
    pub tokens_max: usize,
    /// Texts that end the draft; they are not part of it.
    pub stop: Vec<String>,
}

impl Default for SampleOptions {
    /// Greedy, at most 512 tokens.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: None,
            top_p: None,
            min_p: None,
            repetition_penalty: 1.0,
            seed: 0,
            tokens_max: 512,
            stop: Vec::new(),
        }
    }
}

impl SampleOptions {
    /// What is wrong with the options, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        let Self { temperature, top_k, top_p, min_p, repetition_penalty, .. } = self;
        let unit = |name: &str, value: &Option<f32>| {
            value
                .filter(|it| !(0.0..=1.0).contains(it))
                .map(|it| format!("{name} is {it} and must be between 0 and 1"))
        };
        if !(0.0..=f32::MAX).contains(temperature) {
            return Some(format!("temperature is {temperature} and must be 0 or more"));
        }
        if *top_k == Some(0) {
            return Some("top_k is 0 and must be 1 or more".to_owned());
        }
        if !(f32::MIN_POSITIVE..=f32::MAX).contains(repetition_penalty) {
            return Some(format!("repetition_penalty is {repetition_penalty} and must be above 0"));
        }
        if self.stop.iter().any(String::is_empty) {
            return Some("a stop text is empty".to_owned());
        }
        unit("top_p", top_p).or_else(|| unit("min_p", min_p))
    }
}

/// Chooses tokens for one draft.
pub(crate) struct Sampler<'a> {
    options: &'a SampleOptions,
    rng: Rng,
}

impl<'a> Sampler<'a> {
    pub(crate) fn new(options: &'a SampleOptions) -> Self {
        Self { options, rng: Rng::new(options.seed) }
    }

    /// The next token; none when the logits hold no finite number. `seen` is the text so far.
    pub(crate) fn choose(&mut self, logits: &mut [f32], seen: &[u32]) -> Option<u32> {
        self.penalise(logits, seen);
        let best = most_likely(logits)?;
        if self.options.temperature == 0.0 {
            return Some(best as u32);
        }
        let candidates = self.candidates(logits, logits[best]);
        let total: f64 = candidates.iter().map(|&(_, weight)| weight).sum();
        let mut left = f64::from(self.rng.unit()) * total;
        for &(id, weight) in &candidates {
            left -= weight;
            if left < 0.0 {
                return Some(id);
            }
        }
        Some(best as u32) // Rounding left a rest beyond the last candidate.
    }

    fn penalise(&self, logits: &mut [f32], seen: &[u32]) {
        let penalty = self.options.repetition_penalty;
        if penalty == 1.0 {
            return;
        }
        let mut seen = seen.to_vec();
        seen.sort_unstable();
        seen.dedup();
        for id in seen {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
    }

    /// The tokens to draw from and their weights, the likeliest first; equal ones by id.
    fn candidates(&self, logits: &[f32], max: f32) -> Vec<(u32, f64)> {
        let SampleOptions { temperature, top_k, top_p, min_p, .. } = *self.options;
        let weight = |logit: f32| (f64::from(logit - max) / f64::from(temperature)).exp();
        let floor = f64::from(min_p.unwrap_or(0.0));
        let mut res: Vec<(u32, f64)> = logits
            .iter()
            .zip(0..)
            .map(|(&logit, id)| (id, if logit.is_nan() { 0.0 } else { weight(logit) }))
            .filter(|&(_, weight)| weight > 0.0 && weight >= floor)
            .collect();
        res.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        res.truncate(top_k.unwrap_or(usize::MAX));
        if let Some(top_p) = top_p {
            let enough = f64::from(top_p) * res.iter().map(|&(_, weight)| weight).sum::<f64>();
            let mut sum = 0.0;
            let keep = res.iter().take_while(|&&(_, weight)| {
                let keep = sum < enough;
                sum += weight;
                keep
            });
            let keep = keep.count().max(1);
            res.truncate(keep);
        }
        res
    }
}

/// The place of the largest finite number; of equal ones, the first.
fn most_likely(logits: &[f32]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (idx, logit) in logits.iter().enumerate() {
        if logit.is_finite() && best.is_none_or(|best| *logit > logits[best]) {
            best = Some(idx);
        }
    }
    best
}

/// SplitMix64 (Steele et al. 2014): small, and the same on every machine for ever.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to below 1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [0.0, 3.0, f32::NAN, 2.0, 1.0];

    /// How often each token is drawn in 4,000 draws.
    fn draws(options: &SampleOptions, seen: &[u32]) -> [usize; 5] {
        let mut sampler = Sampler::new(options);
        let mut res = [0; 5];
        for _ in 0..4_000 {
            res[sampler.choose(&mut LOGITS.clone(), seen).unwrap() as usize] += 1;
        }
        res
    }

    fn warm() -> SampleOptions {
        SampleOptions { temperature: 1.0, seed: 7, ..SampleOptions::default() }
    }

    #[test]
    fn temperature_zero_takes_the_likeliest() {
        assert_eq!(draws(&SampleOptions::default(), &[]), [0, 4_000, 0, 0, 0]);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let drawn = draws(&warm(), &[]);
        let total: f32 = [0.0f32, 3.0, 2.0, 1.0].iter().map(|it| it.exp()).sum();
        for (idx, logit) in [(0, 0.0f32), (1, 3.0), (3, 2.0), (4, 1.0)] {
            let expected = 4_000.0 * logit.exp() / total;
            assert!((drawn[idx] as f32 - expected).abs() < 120.0, "{idx}: {drawn:?}");
        }
        assert_eq!(drawn[2], 0, "a token without a finite logit is never drawn");
    }

    #[test]
    fn the_same_seed_gives_the_same_draws() {
        assert_eq!(draws(&warm(), &[]), draws(&warm(), &[]));
        assert_ne!(draws(&warm(), &[]), draws(&SampleOptions { seed: 8, ..warm() }, &[]));
    }

    #[test]
    fn top_k_top_p_and_min_p_cut_the_tail() {
        let cut = |options: SampleOptions| draws(&options, &[]).map(|n| n > 0);
        let two = [false, true, false, true, false];
        assert_eq!(cut(SampleOptions { top_k: Some(2), ..warm() }), two);
        assert_eq!(cut(SampleOptions { top_p: Some(0.8), ..warm() }), two);
        assert_eq!(cut(SampleOptions { min_p: Some(0.3), ..warm() }), two);
        let one = [false, true, false, false, false];
        assert_eq!(cut(SampleOptions { top_p: Some(0.0), ..warm() }), one);
    }

    #[test]
    fn repetition_is_penalised() {
        let options = SampleOptions { repetition_penalty: 2.0, ..SampleOptions::default() };
        assert_eq!(draws(&options, &[1, 1]), [0, 0, 0, 4_000, 0]);
    }

    #[test]
    fn nothing_finite_means_no_token() {
        let options = warm();
        assert_eq!(Sampler::new(&options).choose(&mut [f32::NAN, f32::INFINITY], &[]), None);
        assert_eq!(Sampler::new(&options).choose(&mut [], &[]), None);
    }

    #[test]
    fn options_outside_their_range_are_named() {
        assert_eq!(SampleOptions::default().problem(), None);
        let options = SampleOptions { temperature: f32::NAN, ..SampleOptions::default() };
        assert!(options.problem().unwrap().contains("temperature"));
        let options = SampleOptions { top_p: Some(1.5), ..SampleOptions::default() };
        assert!(options.problem().unwrap().contains("top_p"));
        let options = SampleOptions { stop: vec![String::new()], ..SampleOptions::default() };
        assert!(options.problem().unwrap().contains("stop"));
    }
}
