//! Settings of datasets.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use tune::dataset::{personal::PersonalPolicy, split::Shares};

/// How datasets are made.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetConfig {
    /// What is done about personal data.
    pub personal_data: PersonalPolicy,
    /// Words of licences that forbid training.
    pub licences_forbidden: Vec<String>,
    /// Groups whose documents may be trained on.
    pub groups: Vec<String>,
    /// Share of validation, from 0 to 1.
    pub valid_share: f64,
    /// Share of test, from 0 to 1.
    pub test_share: f64,
    /// Other seeds give other parts.
    pub seed: u64,
    /// Share of questions that are also asked without the passage that answers, from 0 to 1.
    pub gold_removed_share: f64,
    /// Share of questions that are also asked for another form or tone, from 0 to 1.
    pub instruction_share: f64,
    /// Share of answers whose verbatim sentences stand in quotation marks, from 0 to 1.
    pub quote_share: f64,
    /// A question must find its passage among so many.
    pub found_within: NonZeroUsize,
    /// Few-shot examples in a prompt at most: their answers would be learnt by heart.
    pub examples_max: usize,
    /// Characters of a text for continued pre-training at most.
    pub text_chars_max: NonZeroUsize,
}

impl DatasetConfig {
    /// How large the parts are.
    #[must_use]
    pub fn shares(&self) -> Shares {
        Shares { valid: self.valid_share, test: self.test_share, seed: self.seed }
    }

    /// Settings whose values must lie between 0 and 1.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "only compared with 0 and 1")]
    pub fn ranges(&self) -> [(&'static str, f32); 5] {
        [
            ("dataset.valid_share", self.valid_share as f32),
            ("dataset.test_share", self.test_share as f32),
            ("dataset.gold_removed_share", self.gold_removed_share as f32),
            ("dataset.instruction_share", self.instruction_share as f32),
            ("dataset.quote_share", self.quote_share as f32),
        ]
    }
}
