//! Chooses the next token from the logits.
//!
//! In this order: a constraint rules tokens out, biases are added, tokens seen before are penalised;
//! then, at temperature 0, the likeliest is taken, and above it logits are divided by the
//! temperature, the tail is cut by top-k, then top-p, then min-p, and one of the rest is drawn.

use std::collections::HashMap;

use crate::constrain::{Constraint, Grammar};

/// Most alternatives that can be asked for with each token.
const LOGPROBS_MAX: usize = 20;

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
    /// Taken off the logit of each token that the draft holds, once; -2 to 2.
    pub presence_penalty: f32,
    /// Taken off the logit of each token as often as the draft holds it; -2 to 2.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Report each token's log-probability, and those of this many likeliest tokens; at most 20.
    pub logprobs: Option<usize>,
    /// What the draft must look like.
    pub constraint: Option<Constraint>,
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
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            logprobs: None,
            constraint: None,
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
        let penalty = |name: &str, value: f32| {
            let outside = !(-2.0..=2.0).contains(&value);
            outside.then(|| format!("{name} is {value} and must be between -2 and 2"))
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
        if let Some((id, bias)) = self.logit_bias.iter().find(|(_, bias)| !bias.is_finite()) {
            return Some(format!("the bias of token {id} is {bias} and must be a number"));
        }
        if let Some(n) = self.logprobs.filter(|&n| n > LOGPROBS_MAX) {
            return Some(format!("logprobs is {n} and must be at most {LOGPROBS_MAX}"));
        }
        unit("top_p", top_p)
            .or_else(|| unit("min_p", min_p))
            .or_else(|| penalty("presence_penalty", self.presence_penalty))
            .or_else(|| penalty("frequency_penalty", self.frequency_penalty))
    }
}

/// Chooses tokens for one draft.
pub(crate) struct Sampler {
    options: SampleOptions,
    rng: Rng,
    grammar: Option<Grammar>,
    /// How often the draft holds a token, for each that it or the prompt holds.
    seen: HashMap<u32, u32>,
}

/// A token that was chosen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    pub(crate) id: u32,
    /// Whether a constraint says that the draft is complete with it.
    pub(crate) is_complete: bool,
    /// Where they were asked for.
    pub(crate) logprobs: Option<Logprobs>,
}

/// Log-probabilities by the model itself, before anything is done to its logits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Logprobs {
    /// Of the token that was chosen.
    pub(crate) chosen: f32,
    /// The likeliest tokens, the likeliest first, equal ones by id.
    pub(crate) top: Vec<(u32, f32)>,
}

/// No token could be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChooseError {
    /// The logits hold no finite number.
    NotFinite,
    /// The constraint failed, and why.
    Constraint(String),
}

impl Sampler {
    pub(crate) fn new(options: SampleOptions, prompt: &[u32], grammar: Option<Grammar>) -> Self {
        let seen = match options.repetition_penalty == 1.0 {
            true => HashMap::new(),
            false => prompt.iter().map(|&id| (id, 0)).collect(),
        };
        Self { rng: Rng::new(options.seed), options, grammar, seen }
    }

    pub(crate) fn options(&self) -> &SampleOptions {
        &self.options
    }

    /// The next token, which becomes part of what was seen.
    pub(crate) fn choose(&mut self, logits: &mut [f32]) -> Result<Choice, ChooseError> {
        let top = self.options.logprobs.map(|n| Top::of(logits, n));
        if let Some(grammar) = &mut self.grammar {
            grammar.mask(logits).map_err(ChooseError::Constraint)?;
        }
        for &(id, bias) in &self.options.logit_bias {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit += bias;
            }
        }
        self.penalise(logits);
        let id = self.draw(logits).ok_or(ChooseError::NotFinite)?;
        let is_complete = match &mut self.grammar {
            Some(grammar) => grammar.accept(id).map_err(ChooseError::Constraint)?,
            None => false,
        };
        *self.seen.entry(id).or_default() += 1;
        Ok(Choice { id, is_complete, logprobs: top.map(|top| top.logprobs(id)) })
    }

    fn penalise(&self, logits: &mut [f32]) {
        let SampleOptions { repetition_penalty, presence_penalty, frequency_penalty, .. } =
            self.options;
        if (repetition_penalty, presence_penalty, frequency_penalty) == (1.0, 0.0, 0.0) {
            return;
        }
        for (&id, &n_written) in &self.seen {
            let Some(logit) = logits.get_mut(id as usize) else { continue };
            *logit = match *logit > 0.0 {
                true => *logit / repetition_penalty,
                false => *logit * repetition_penalty,
            };
            if n_written > 0 {
                *logit -= presence_penalty + frequency_penalty * n_written as f32;
            }
        }
    }

    /// The likeliest token, or one drawn from those that are left; none without a finite logit.
    fn draw(&mut self, logits: &[f32]) -> Option<u32> {
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

    /// The tokens to draw from and their weights, the likeliest first; equal ones by id.
    fn candidates(&self, logits: &[f32], max: f32) -> Vec<(u32, f64)> {
        let SampleOptions { temperature, top_k, top_p, min_p, .. } = self.options;
        let weight = |logit: f32| (f64::from(logit - max) / f64::from(temperature)).exp();
        let mut res: Vec<(u32, f64)> = logits
            .iter()
            .zip(0..)
            .map(|(&logit, id)| (id, if logit.is_nan() { 0.0 } else { weight(logit) }))
            .filter(|&(_, weight)| weight > 0.0)
            .collect();
        if let Some(top_k) = top_k.filter(|&it| it < res.len()) {
            res.select_nth_unstable_by(top_k - 1, likelier);
            res.truncate(top_k);
        }
        if let Some(top_p) = top_p.filter(|&it| it < 1.0) {
            keep_top_p(&mut res, f64::from(top_p));
        }
        let floor = f64::from(min_p.unwrap_or(0.0)); // The likeliest has weight 1.
        res.retain(|&(_, weight)| weight >= floor);
        res.sort_unstable_by(likelier);
        res
    }
}

fn likelier(a: &(u32, f64), b: &(u32, f64)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Keeps the likeliest tokens whose weights reach the share `top_p` of all, at least one.
///
/// Vocabularies are large and what is kept is small, so only the tokens above a floor are sorted,
/// and the floor is lowered until they are enough.
fn keep_top_p(res: &mut Vec<(u32, f64)>, top_p: f64) {
    let enough = top_p * res.iter().map(|&(_, weight)| weight).sum::<f64>();
    for floor in [1e-2, 1e-4, 1e-6, 0.0] {
        let mut above: Vec<(u32, f64)> = res.iter().filter(|it| it.1 >= floor).copied().collect();
        above.sort_unstable_by(likelier);
        let mut sum = 0.0;
        let kept = above.iter().take_while(|&&(_, weight)| {
            let keep = sum < enough;
            sum += weight;
            keep
        });
        let kept = kept.count().max(1);
        if kept < above.len() || floor == 0.0 {
            above.truncate(kept);
            *res = above;
            return;
        }
    }
}

/// What is needed to report log-probabilities, taken before the logits are changed.
struct Top {
    logits: Vec<f32>,
    top: Vec<(u32, f32)>,
    /// The logarithm of the sum of all exponentials.
    log_sum: f64,
}

impl Top {
    fn of(logits: &[f32], n: usize) -> Self {
        let max = most_likely(logits).map_or(0.0, |it| logits[it]);
        let finite = logits.iter().filter(|it| it.is_finite());
        let sum: f64 = finite.map(|&it| f64::from(it - max).exp()).sum();
        let log_sum = f64::from(max) + sum.ln();
        let mut top: Vec<(u32, f32)> =
            (0..).zip(logits.iter().copied()).filter(|it| it.1.is_finite()).collect();
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if n < top.len() {
            top.select_nth_unstable_by(n, order);
            top.truncate(n);
        }
        top.sort_unstable_by(order);
        Self { logits: logits.to_vec(), top, log_sum }
    }

    fn logprobs(self, id: u32) -> Logprobs {
        let Self { logits, top, log_sum } = self;
        let logprob = |logit: f32| (f64::from(logit) - log_sum) as f32;
        Logprobs {
            chosen: logprob(logits[id as usize]),
            top: top.into_iter().map(|(id, logit)| (id, logprob(logit))).collect(),
        }
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
    fn draws(options: &SampleOptions, prompt: &[u32]) -> [usize; 5] {
        let mut sampler = Sampler::new(options.clone(), prompt, None);
        let mut res = [0; 5];
        for _ in 0..4_000 {
            res[sampler.choose(&mut LOGITS.clone()).unwrap().id as usize] += 1;
        }
        res
    }

    /// The tokens that a draft of greedy choices from the same logits takes.
    fn greedy(options: SampleOptions, n: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(options, &[], None);
        (0..n).map(|_| sampler.choose(&mut LOGITS.clone()).unwrap().id).collect()
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
    fn top_p_of_many_tokens_is_what_sorting_them_all_gives() {
        let mut rng = Rng::new(3);
        for top_p in [0.0, 0.3, 0.9, 0.999] {
            let weights: Vec<(u32, f64)> =
                (0..2_000).map(|id| (id, f64::from(rng.unit()).powi(12))).collect();
            let mut expected = weights.clone();
            expected.sort_unstable_by(likelier);
            let total: f64 = expected.iter().map(|it| it.1).sum();
            let mut sum = 0.0;
            expected.retain(|it| {
                let keep = sum < top_p * total || sum == 0.0;
                sum += it.1;
                keep
            });
            let mut actual = weights;
            keep_top_p(&mut actual, top_p);
            // The two sums are added in different orders, so a last token may differ.
            assert!(actual.len().abs_diff(expected.len()) <= 1, "{top_p}");
            assert_eq!(actual[..actual.len() - 1], expected[..actual.len() - 1]);
        }
    }

    #[test]
    fn repetition_is_penalised() {
        let options = SampleOptions { repetition_penalty: 2.0, ..SampleOptions::default() };
        assert_eq!(greedy(options.clone(), 3), [1, 3, 1], "3 becomes 1.5, then 2 becomes 1");
        let mut sampler = Sampler::new(options, &[1, 1], None);
        assert_eq!(sampler.choose(&mut LOGITS.clone()).unwrap().id, 3, "the prompt counts, too");
    }

    #[test]
    fn presence_and_frequency_are_penalised_in_the_draft_only() {
        let presence = SampleOptions { presence_penalty: 1.5, ..SampleOptions::default() };
        assert_eq!(greedy(presence.clone(), 4), [1, 3, 1, 1], "once, not each time");
        let frequency = SampleOptions { frequency_penalty: 0.6, ..SampleOptions::default() };
        assert_eq!(greedy(frequency, 6), [1, 1, 3, 1, 3, 1], "a little more each time");
        let mut sampler = Sampler::new(presence, &[1, 1], None);
        assert_eq!(sampler.choose(&mut LOGITS.clone()).unwrap().id, 1, "the prompt does not count");
    }

    #[test]
    fn a_bias_is_added() {
        let options = SampleOptions { logit_bias: vec![(0, 3.5)], ..SampleOptions::default() };
        assert_eq!(greedy(options, 1), [0]);
        let options = SampleOptions { logit_bias: vec![(1, -9.0)], ..SampleOptions::default() };
        assert_eq!(greedy(options, 1), [3]);
    }

    #[test]
    fn logprobs_are_the_models_own() {
        let options = SampleOptions {
            logprobs: Some(2),
            logit_bias: vec![(0, 9.0)],
            ..SampleOptions::default()
        };
        let choice = Sampler::new(options, &[], None).choose(&mut LOGITS.clone()).unwrap();
        let total: f32 = [0.0f32, 3.0, 2.0, 1.0].iter().map(|it| it.exp()).sum();
        let Logprobs { chosen, top } = choice.logprobs.unwrap();
        assert_eq!(choice.id, 0);
        assert!((chosen - (1.0 / total).ln()).abs() < 1e-6);
        assert_eq!(top.iter().map(|it| it.0).collect::<Vec<_>>(), [1, 3]);
        assert!((top[0].1 - (3.0f32.exp() / total).ln()).abs() < 1e-6);
    }

    #[test]
    fn nothing_finite_means_no_token() {
        let mut sampler = Sampler::new(warm(), &[], None);
        let none = Err(ChooseError::NotFinite);
        assert_eq!(sampler.choose(&mut [f32::NAN, f32::INFINITY]), none);
        assert_eq!(sampler.choose(&mut []), none);
    }

    #[test]
    fn options_outside_their_range_are_named() {
        assert_eq!(SampleOptions::default().problem(), None);
        let options = SampleOptions { temperature: f32::NAN, ..SampleOptions::default() };
        assert!(options.problem().unwrap().contains("temperature"));
        let options = SampleOptions { top_p: Some(1.5), ..SampleOptions::default() };
        assert!(options.problem().unwrap().contains("top_p"));
        let options = SampleOptions { frequency_penalty: 3.0, ..SampleOptions::default() };
        assert!(options.problem().unwrap().contains("frequency_penalty"));
        let options = SampleOptions { logprobs: Some(21), ..SampleOptions::default() };
        assert!(options.problem().unwrap().contains("logprobs"));
        let options = SampleOptions { stop: vec![String::new()], ..SampleOptions::default() };
        assert!(options.problem().unwrap().contains("stop"));
    }
}
