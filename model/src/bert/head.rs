//! The head of a cross-encoder: the first token's hidden vector to one number.
//!
//! Both families compute `out · tanh(dense · x)`; in BERT the dense layer is the pooler's.

use crate::kernels;
use crate::panels::Panels;

/// A sequence-classification head with one label.
pub(crate) struct Head {
    /// (hidden, hidden)
    pub(super) dense: Panels,
    pub(super) dense_bias: Vec<f32>,
    /// (hidden)
    pub(super) out: Vec<f32>,
    pub(super) out_bias: f32,
    pub(super) activation: Activation,
}

/// What a logit goes through to become the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// To between 0 and 1; what sentence-transformers does where the model says nothing.
    Sigmoid,
    /// The logit is the score.
    Identity,
}

impl Head {
    /// By the name of a PyTorch class, such as `torch.nn.modules.linear.Identity`.
    pub(super) fn activation_of(class: Option<&str>) -> Result<Activation, String> {
        match class.map(|it| it.rsplit('.').next().unwrap_or(it)) {
            None | Some("Sigmoid") => Ok(Activation::Sigmoid),
            Some("Identity") => Ok(Activation::Identity),
            Some(other) => Err(format!("a reranker whose scores go through `{other}`")),
        }
    }

    /// first: (texts, hidden), result: (texts)
    pub(crate) fn logits(&self, first: &[f32]) -> Vec<f32> {
        let hidden = self.out.len();
        let mut inner = vec![0.0; first.len()];
        self.dense.matmul(first, &mut inner);
        kernels::add_bias(&mut inner, &self.dense_bias);
        let logit = |row: &[f32]| {
            let sum: f32 = row.iter().zip(&self.out).map(|(x, weight)| x.tanh() * weight).sum();
            sum + self.out_bias
        };
        inner.chunks_exact(hidden).map(logit).collect()
    }

    /// The score that a logit stands for.
    pub(crate) fn score(&self, logit: f32) -> f32 {
        match self.activation {
            Activation::Sigmoid => 1.0 / (1.0 + (-logit).exp()),
            Activation::Identity => logit,
        }
    }
}
