//! What the matrices of a layer are called, in checkpoints and in GGUF files.

use crate::decoder::Config;

/// A linear layer of a decoder block, which an adapter may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Module {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

impl Module {
    pub(crate) const ALL: [Self; 7] =
        [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// Its name in checkpoints and PEFT folders, below the layer.
    pub(crate) fn checkpoint(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// Its name in GGUF files, below the layer.
    pub(crate) fn gguf(self) -> &'static str {
        match self {
            Self::Q => "attn_q",
            Self::K => "attn_k",
            Self::V => "attn_v",
            Self::O => "attn_output",
            Self::Gate => "ffn_gate",
            Self::Up => "ffn_up",
            Self::Down => "ffn_down",
        }
    }

    /// (n_out, n_in)
    pub(crate) fn shape(self, config: &Config) -> (usize, usize) {
        let Config { hidden, intermediate, head_dim, .. } = *config;
        let (n_q, n_kv) = (config.n_heads * head_dim, config.n_kv_heads * head_dim);
        match self {
            Self::Q => (n_q, hidden),
            Self::K | Self::V => (n_kv, hidden),
            Self::O => (hidden, n_q),
            Self::Gate | Self::Up => (intermediate, hidden),
            Self::Down => (hidden, intermediate),
        }
    }

    /// Whether GGUF files of the `llama` architecture store its rows in [`paired_row`]'s order.
    pub(crate) fn is_rotated(self) -> bool {
        matches!(self, Self::Q | Self::K)
    }
}

/// A matrix of a decoder, which an adapter may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Matrix {
    /// One of a layer.
    Layer(usize, Module),
    /// The output matrix, from the last layer to the scores of tokens.
    Head,
}

impl Matrix {
    /// All of a decoder of `n_layers`, in the order of their factors and gradients.
    pub(crate) fn all(n_layers: usize) -> impl Iterator<Item = Self> {
        let of_layer = |layer| Module::ALL.into_iter().map(move |it| Self::Layer(layer, it));
        (0..n_layers).flat_map(of_layer).chain([Self::Head])
    }

    /// What checkpoints call it, without `.weight`.
    pub(crate) fn checkpoint(self) -> String {
        match self {
            Self::Layer(layer, module) => format!("model.layers.{layer}.{}", module.checkpoint()),
            Self::Head => "lm_head".to_owned(),
        }
    }

    /// (n_out, n_in)
    pub(crate) fn shape(self, config: &Config) -> (usize, usize) {
        match self {
            Self::Layer(_, module) => module.shape(config),
            Self::Head => (config.vocab_size, config.hidden),
        }
    }

    /// See [`Module::is_rotated`].
    pub(crate) fn is_rotated(self) -> bool {
        matches!(self, Self::Layer(_, module) if module.is_rotated())
    }

    /// The matrix that a checkpoint's name such as `layers.3.mlp.up_proj` means.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if name == "lm_head" {
            return Some(Self::Head);
        }
        let (layer, rest) = name.strip_prefix("layers.")?.split_once('.')?;
        let module = Module::ALL.into_iter().find(|it| it.checkpoint() == rest)?;
        Some(Self::Layer(layer.parse().ok()?, module))
    }

    /// The matrix that a GGUF file's name such as `blk.3.ffn_up` means.
    pub(crate) fn parse_gguf(name: &str) -> Option<Self> {
        if name == "output" {
            return Some(Self::Head);
        }
        let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
        let module = Module::ALL.into_iter().find(|it| it.gguf() == rest)?;
        Some(Self::Layer(layer.parse().ok()?, module))
    }
}

impl Config {
    /// Weights of all matrices.
    pub(crate) fn n_parameters(&self) -> usize {
        let of_module = |it: Module| {
            let (n_out, n_in) = it.shape(self);
            n_out * n_in
        };
        let layer: usize = Module::ALL.into_iter().map(of_module).sum();
        self.vocab_size * self.hidden + self.n_layers * layer
    }
}

/// Where row `row` of a matrix is stored, for files that store them in another order.
pub(crate) type RowOrder = fn(row: usize, head_dim: usize) -> usize;

/// Where llama.cpp's converter put a row of a query or key matrix.
///
/// The files store each head's rows in pairs that turn together; the checkpoint, and the adapters
/// trained on it, store the first halves of all pairs first.
pub(crate) fn paired_row(row: usize, head_dim: usize) -> usize {
    let (head, at) = (row / head_dim, row % head_dim);
    let half = head_dim / 2;
    head * head_dim + at % half * 2 + at / half
}

/// A GGUF file's name for what checkpoints call `name`.
pub(crate) fn gguf_name(name: &str) -> String {
    match name {
        "model.embed_tokens" => "token_embd".to_owned(),
        "model.norm" => "output_norm".to_owned(),
        "lm_head" => "output".to_owned(),
        _ => {
            let (layer, rest) = name
                .strip_prefix("model.layers.")
                .and_then(|it| it.split_once('.'))
                .expect("the other names are those of layers");
            let found = Module::ALL.into_iter().find(|it| it.checkpoint() == rest);
            let rest = match (rest, found) {
                (_, Some(module)) => module.gguf(),
                ("input_layernorm", _) => "attn_norm",
                ("post_attention_layernorm", _) => "ffn_norm",
                ("self_attn.q_norm", _) => "attn_q_norm",
                ("self_attn.k_norm", _) => "attn_k_norm",
                _ => unreachable!("no other part of a layer is asked for"),
            };
            format!("blk.{layer}.{rest}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_stored_in_the_pairs_that_turn_together() {
        let order: Vec<usize> = (0..8).map(|row| paired_row(row, 4)).collect();
        assert_eq!(order, [0, 2, 1, 3, 4, 6, 5, 7]);
    }

    #[test]
    fn names_of_checkpoints_and_of_gguf_files_mean_the_same_module() {
        for matrix in Matrix::all(13) {
            let name = matrix.checkpoint();
            assert_eq!(Matrix::parse(name.strip_prefix("model.").unwrap_or(&name)), Some(matrix));
            assert_eq!(Matrix::parse_gguf(&gguf_name(&name)), Some(matrix));
        }
        assert_eq!(Matrix::all(13).count(), 13 * 7 + 1);
        assert_eq!(Matrix::parse("layers.x.mlp.up_proj"), None);
        assert_eq!(Matrix::parse("layers.1.mlp.router"), None);
    }
}
