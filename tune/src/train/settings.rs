//! How to train.

use model::trainable::{LoraSpec, Precision, Trained};
use serde::{Deserialize, Serialize};

use super::TuneError;
use super::order::steps_per_epoch;
use crate::dataset::row::BodyKind;

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The negative log-likelihood of what the assistant says.
    Lora,
    /// The same, of all weights instead of an adapter: for small models.
    Full,
    /// Direct preference optimisation (Rafailov et al. 2023).
    Dpo,
    /// Kahneman-Tversky optimisation (Ethayarajh et al. 2024).
    Kto,
    /// The negative log-likelihood of all of a text: continued pre-training.
    Cpt,
}

impl Method {
    /// Its name in settings and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lora => "lora",
            Self::Full => "full",
            Self::Dpo => "dpo",
            Self::Kto => "kto",
            Self::Cpt => "cpt",
        }
    }

    /// The kind of rows that it reads.
    pub fn rows(self) -> BodyKind {
        match self {
            Self::Lora | Self::Full => BodyKind::Supervised,
            Self::Dpo => BodyKind::Preference,
            Self::Kto => BodyKind::Unpaired,
            Self::Cpt => BodyKind::Text,
        }
    }
}

/// How the learning rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Half a cosine (Loshchilov and Hutter 2016).
    Cosine,
    /// A straight line.
    Linear,
    /// It stays.
    Constant,
}

/// How to train. Two runs with the same settings, data and base end with the same numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// What is minimised.
    pub method: Method,
    /// Rank of the factors.
    pub rank: usize,
    /// The change is B·A times alpha / rank.
    pub alpha: f64,
    /// Whether it is alpha / √rank instead.
    pub rslora: bool,
    /// Names of matrices, such as `q_proj`, or `layers.3.mlp.up_proj` of one layer; none for all.
    pub targets: Vec<String>,
    /// The share of A's inputs that a step leaves out.
    pub dropout: f32,
    /// Whether the base's matrices stay quantised as their file has them (QLoRA).
    pub quantised: bool,
    /// What is computed in.
    pub precision: Precision,
    /// Whether layers are computed again for their derivatives instead of kept.
    pub recompute: bool,
    /// Times that every row is seen.
    pub epochs: f64,
    /// Steps at most; 0 for no limit.
    pub steps_max: u64,
    /// Rows of one step.
    pub batch: usize,
    /// Tokens that are computed together at most: a step of more adds up several gradients.
    pub tokens_at_once: usize,
    /// Tokens of a row at most; 0 for the model's context.
    pub tokens_max: usize,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// The share of steps in which it rises to that.
    pub warmup: f64,
    /// How it falls then.
    pub decay: Decay,
    /// AdamW's weight decay.
    pub weight_decay: f64,
    /// The length that a gradient is cut to; 0 for no limit.
    pub clip: f64,
    /// Beta of DPO and KTO: how much straying from the base costs.
    pub beta: f64,
    /// Seed of the first factors, the order of rows and dropout.
    pub seed: u64,
    /// Steps between validations; 0 for one at the end of each epoch.
    pub validate_every: u64,
    /// Validations without improvement after which training ends; 0 for no such end.
    pub patience: u64,
    /// Steps between checkpoints; 0 for none but at the end and when stopped.
    pub save_every: u64,
    /// Whether it is measured before and after what the base could do in general.
    pub ability: bool,
    /// Whether rows that are too long are left out and counted; else they are an error.
    pub drop_long: bool,
    /// Whether rows that are not usable are left out and counted; else they are an error.
    pub skip_bad: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            method: Method::Lora,
            rank: 16,
            alpha: 32.0,
            rslora: false,
            targets: Vec::new(),
            dropout: 0.0,
            quantised: false,
            precision: Precision::F32,
            recompute: false,
            epochs: 3.0,
            steps_max: 0,
            batch: 8,
            tokens_at_once: 2_048,
            tokens_max: 0,
            learning_rate: 2e-4,
            warmup: 0.03,
            decay: Decay::Cosine,
            weight_decay: 0.0,
            clip: 1.0,
            beta: 0.1,
            seed: 0,
            validate_every: 0,
            patience: 0,
            save_every: 50,
            ability: true,
            drop_long: false,
            skip_bad: false,
        }
    }
}

impl Settings {
    /// Refuses what cannot be.
    pub fn check(&self) -> Result<(), TuneError> {
        let whole = |n: usize| n as f64;
        let checks = [
            ("epochs", self.epochs, self.epochs > 0.0 && self.epochs.is_finite(), "above 0"),
            ("batch", whole(self.batch), self.batch > 0, "1 or more"),
            ("tokens_at_once", whole(self.tokens_at_once), self.tokens_at_once > 0, "1 or more"),
            (
                "learning_rate",
                self.learning_rate,
                self.learning_rate > 0.0 && self.learning_rate.is_finite(),
                "above 0",
            ),
            ("warmup", self.warmup, (0.0..=1.0).contains(&self.warmup), "from 0 to 1"),
            (
                "weight_decay",
                self.weight_decay,
                (0.0..1.0).contains(&self.weight_decay),
                "from 0 to below 1",
            ),
            ("clip", self.clip, self.clip >= 0.0 && self.clip.is_finite(), "0 or more"),
            ("beta", self.beta, self.beta > 0.0 && self.beta.is_finite(), "above 0"),
        ];
        for (name, value, is_good, range) in checks {
            if !is_good {
                return Err(TuneError::Setting { name, value, range });
            }
        }
        Ok(())
    }

    /// What is trained.
    pub fn trained(&self) -> Trained {
        match self.method {
            Method::Full => Trained::Full,
            Method::Lora | Method::Dpo | Method::Kto | Method::Cpt => Trained::Lora(LoraSpec {
                rank: self.rank,
                alpha: self.alpha,
                rslora: self.rslora,
                targets: self.targets.clone(),
                dropout: self.dropout,
            }),
        }
    }

    /// Steps of a run over so many rows.
    pub fn n_steps(&self, n_rows: usize) -> u64 {
        let per_epoch = steps_per_epoch(n_rows, self.batch);
        let wanted = (self.epochs * per_epoch as f64).ceil().max(1.0) as u64;
        if self.steps_max == 0 { wanted } else { wanted.min(self.steps_max) }
    }

    /// The learning rate of a step, from 0, of `n_steps`.
    pub fn learning_rate_at(&self, step: u64, n_steps: u64) -> f64 {
        let (step, n_steps) = (step as f64, n_steps as f64);
        let warm = (self.warmup * n_steps).ceil();
        if step < warm {
            return self.learning_rate * (step + 1.0) / warm;
        }
        let done = (step - warm) / (n_steps - warm).max(1.0);
        self.learning_rate
            * match self.decay {
                Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
                Decay::Linear => 1.0 - done,
                Decay::Constant => 1.0,
            }
    }
}
