//! The weights of a decoder by the checkpoints' names, whatever they are stored in.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{Device, Tensor};

use crate::LoadError;
use crate::checkpoint::Checkpoint;
use crate::device::{Backend, BaseForm};
use crate::gguf::Gguf;
use crate::linear::{Linear, Weight};
use crate::names::{RowOrder, gguf_name};
use crate::panels::Panels;
use crate::sample::Rng;

/// Where weights come from.
pub(crate) enum Source<'a> {
    Gguf {
        file: &'a Gguf,
        /// How query and key rows are stored, where that is not the checkpoint's order.
        order: Option<(RowOrder, usize)>,
    },
    Folder {
        checkpoint: &'a Checkpoint,
        /// What stands before the names: nothing where the network was saved without its head.
        prefix: &'static str,
        tied: bool,
        /// Tensors that the network has read.
        used: HashSet<String>,
    },
    /// Small random weights.
    Random(Rng),
}

impl Source<'_> {
    /// Refuses a folder with a tensor that nothing has read: it belongs to a network that is not
    /// this one.
    pub(crate) fn check_all_read(&self, dir: &Path) -> Result<(), LoadError> {
        let Self::Folder { checkpoint, used, .. } = self else { return Ok(()) };
        let is_known = |name: &str| {
            used.contains(name)
                || name == "lm_head.weight" // A copy, where it is tied.
                || name.ends_with("rotary_emb.inv_freq") // Of old checkpoints; computed from the sizes.
        };
        let unread = checkpoint.names().filter(|name| !is_known(name)).min();
        unread.map_or(Ok(()), |name| {
            Err(LoadError::Unsupported {
                path: dir.to_owned(),
                what: format!("it has a tensor `{name}` that its architecture has no place for"),
            })
        })
    }

    /// Whether the output matrix is another than that of the embeddings.
    pub(crate) fn has_head(&self) -> bool {
        match self {
            Self::Gguf { file, .. } => file.contains("output.weight"),
            Self::Folder { tied, .. } => !tied,
            Self::Random(_) => false,
        }
    }

    /// The source's name for what checkpoints call `name`.
    fn name(&self, name: &str, kind: &str) -> String {
        match self {
            Self::Gguf { .. } => format!("{}.{kind}", gguf_name(name)),
            Self::Folder { prefix, .. } => {
                format!("{}.{kind}", name.strip_prefix(prefix).unwrap_or(name))
            }
            Self::Random(_) => String::new(),
        }
    }

    fn contains(&self, name: &str) -> bool {
        match self {
            Self::Gguf { file, .. } => file.contains(name),
            Self::Folder { checkpoint, .. } => checkpoint.contains(name),
            Self::Random(_) => false,
        }
    }

    pub(super) fn linear(
        &mut self,
        name: &str,
        (n_out, n_in): (usize, usize),
        rotated: bool,
        backend: &Backend,
    ) -> Result<Linear, LoadError> {
        let weight = match backend {
            Backend::Processor => self.packed(name, (n_out, n_in), rotated)?,
            Backend::Tensors { device, base } => {
                self.on_device(name, (n_out, n_in), rotated, (device, *base))?
            }
        };
        let bias = self.bias(name, n_out, rotated)?;
        let bias = bias.map(|it| self.tensor(it, &[n_out], backend.device())).transpose()?;
        Ok(Linear::new(weight, bias))
    }

    /// A matrix in the form that the processor multiplies with.
    fn packed(
        &mut self,
        name: &str,
        (n_out, n_in): (usize, usize),
        rotated: bool,
    ) -> Result<Weight, LoadError> {
        let name = self.name(name, "weight");
        let weight = match self {
            Self::Gguf { file, order } => {
                file.matrix(&name, (n_out, n_in), order.filter(|_| rotated))?
            }
            Self::Folder { checkpoint, .. } => checkpoint.matrix(&name, (n_out, n_in))?,
            Self::Random(rng) => {
                Weight::Panels(Panels::from_f32(&random_matrix(rng, (n_out, n_in)), n_in))
            }
        };
        self.mark(name);
        Ok(weight)
    }

    /// A matrix as a tensor, or as blocks where that is asked for and what is stored.
    fn on_device(
        &mut self,
        name: &str,
        shape: (usize, usize),
        rotated: bool,
        (device, base): (&Device, BaseForm),
    ) -> Result<Weight, LoadError> {
        let stored = match base {
            BaseForm::Dense => None,
            BaseForm::Stored => self.quantised(name, shape, rotated, device)?,
        };
        if let Some(stored) = stored {
            let blocks = QMatMul::from_qtensor(stored).map_err(|it| self.failed(it))?;
            return Ok(Weight::Blocks(blocks));
        }
        let values = self.matrix_values(name, shape, rotated)?;
        Ok(Weight::Tensor(self.tensor(values, &[shape.0, shape.1], device)?))
    }

    /// Values on a device, whose number is that of the shape.
    fn tensor(
        &self,
        values: Vec<f32>,
        shape: &[usize],
        device: &Device,
    ) -> Result<Tensor, LoadError> {
        Tensor::from_vec(values, shape, device).map_err(|it| self.failed(it))
    }

    /// Why the device did not take a tensor.
    fn failed(&self, source: candle_core::Error) -> LoadError {
        let path = match self {
            Self::Gguf { file, .. } => file.path().to_owned(),
            Self::Folder { checkpoint, .. } => checkpoint.dir().to_owned(),
            Self::Random(_) => PathBuf::new(),
        };
        LoadError::Tensors { path, source }
    }

    /// A matrix of shape (n_out, n_in) as numbers, row-major, in the checkpoint's order.
    pub(crate) fn matrix_values(
        &mut self,
        name: &str,
        (n_out, n_in): (usize, usize),
        rotated: bool,
    ) -> Result<Vec<f32>, LoadError> {
        let name = self.name(name, "weight");
        let values = match self {
            Self::Gguf { file, order } => {
                file.matrix_values(&name, (n_out, n_in), order.filter(|_| rotated))?
            }
            Self::Folder { checkpoint, .. } => checkpoint.read(&name, &[n_out, n_in])?,
            Self::Random(rng) => random_matrix(rng, (n_out, n_in)),
        };
        self.mark(name);
        Ok(values)
    }

    /// A matrix as it is stored, in the checkpoint's order, where its type is quantised.
    pub(crate) fn quantised(
        &self,
        name: &str,
        shape: (usize, usize),
        rotated: bool,
        device: &Device,
    ) -> Result<Option<QTensor>, LoadError> {
        match self {
            Self::Gguf { file, order } => {
                let order = order.filter(|_| rotated);
                file.quantised(&self.name(name, "weight"), shape, order, device)
            }
            Self::Folder { .. } | Self::Random(_) => Ok(None),
        }
    }

    /// What a layer adds, in the checkpoint's order; (n_out)
    pub(crate) fn bias(
        &mut self,
        name: &str,
        n_out: usize,
        rotated: bool,
    ) -> Result<Option<Vec<f32>>, LoadError> {
        let name = self.name(name, "bias");
        if !self.contains(&name) {
            return Ok(None);
        }
        let stored = self.values(&name, n_out)?;
        Ok(Some(match self {
            Self::Gguf { order: Some((order, head_dim)), .. } if rotated => {
                (0..n_out).map(|row| stored[order(row, *head_dim)]).collect()
            }
            Self::Gguf { .. } | Self::Folder { .. } | Self::Random(_) => stored,
        }))
    }

    fn values(&mut self, name: &str, n: usize) -> Result<Vec<f32>, LoadError> {
        let values = match self {
            Self::Gguf { file, .. } => file.vector(name, n)?,
            Self::Folder { checkpoint, .. } => checkpoint.vector(name, n)?,
            Self::Random(_) => vec![1.0; n],
        };
        self.mark(name.to_owned());
        Ok(values)
    }

    /// Remembers that the network has read a tensor.
    fn mark(&mut self, name: String) {
        if let Self::Folder { used, .. } = self {
            used.insert(name);
        }
    }

    pub(crate) fn norm_values(&mut self, name: &str, n: usize) -> Result<Vec<f32>, LoadError> {
        let name = self.name(name, "weight");
        self.values(&name, n)
    }

    /// Whether there is a norm that some families do without.
    pub(crate) fn has_norm(&self, name: &str) -> bool {
        self.contains(&self.name(name, "weight"))
    }

    pub(super) fn norm(
        &mut self,
        name: &str,
        n: usize,
        device: &Device,
    ) -> Result<Tensor, LoadError> {
        let values = self.norm_values(name, n)?;
        self.tensor(values, &[n], device)
    }

    pub(super) fn find_norm(
        &mut self,
        name: &str,
        n: usize,
        device: &Device,
    ) -> Result<Option<Tensor>, LoadError> {
        match self.has_norm(name) {
            true => self.norm(name, n, device).map(Some),
            false => Ok(None),
        }
    }
}

fn random_matrix(rng: &mut Rng, (n_out, n_in): (usize, usize)) -> Vec<f32> {
    let scale = 2.0 / (n_in as f32).sqrt();
    (0..n_out * n_in).map(|_| (rng.unit() - 0.5) * 2.0 * scale).collect()
}
