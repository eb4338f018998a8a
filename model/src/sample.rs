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
