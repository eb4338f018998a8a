//! What the models compute on: the processor and its threads, or a GPU.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use candle_core::Device;
use thiserror::Error;

/// The thread pool's size was chosen too late.
#[derive(Debug, Error)]
#[error("the number of threads can be set only once and before any model has run")]
pub struct ThreadsError(#[from] rayon::ThreadPoolBuildError);

/// Sets how many threads embed, read prompts and generate; unset, one per core.
///
/// All models share rayon's global pool, so that embedding and generating at the same time do not
/// ask for twice the cores.
pub fn set_threads(n_threads: NonZeroUsize) -> Result<(), ThreadsError> {
    rayon::ThreadPoolBuilder::new().num_threads(n_threads.get()).build_global()?;
    Ok(())
}

/// Threads that the models compute on.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Whether the processor multiplies numbers of 16 bits (bf16): faster than those of 32, but where
/// Intel's tiles are not to be had.
pub fn multiplies_bf16() -> bool {
    crate::bf16_product::is_available()
}

/// Runs a computation on the pool itself, so that each of its many short parallel steps does not
/// have to be handed to the pool from outside.
pub(crate) fn on_pool<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}

/// A device by its name: `cpu`, `cuda` for the first GPU, `cuda:1` for the second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceName {
    /// The processor.
    #[default]
    Cpu,
    /// A GPU, by its number among those of the machine.
    Cuda(usize),
}

/// A device cannot be used.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// No such name.
    #[error("`{name}` is no device: choose of `cpu`, `cuda` and `cuda:N`")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The program has no code for GPUs.
    #[error(
        "this program was built without support for GPUs, so `{name}` cannot be used: choose `cpu`, \
         or build it with `--features cuda`"
    )]
    NotBuilt {
        /// What was asked for.
        name: DeviceName,
    },
    /// The driver does not give the GPU.
    #[error("`{name}` cannot be used: {source}")]
    Unavailable {
        /// What was asked for.
        name: DeviceName,
        /// What the driver says.
        source: Box<candle_core::Error>,
    },
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        let ordinal = name.strip_prefix("cuda").map(|it| match it.strip_prefix(':') {
            Some(ordinal) => ordinal.parse().ok(),
            None => it.is_empty().then_some(0),
        });
        match (name, ordinal) {
            ("cpu", _) => Ok(Self::Cpu),
            (_, Some(Some(ordinal))) => Ok(Self::Cuda(ordinal)),
            _ => Err(DeviceError::Unknown { name: name.to_owned() }),
        }
    }
}

impl TryFrom<String> for DeviceName {
    type Error = DeviceError;

    fn try_from(name: String) -> Result<Self, DeviceError> {
        name.parse()
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl DeviceName {
    /// The device for tensors.
    ///
    /// # Errors
    /// When the program was built without support for it, or the machine has none.
    pub fn open(self) -> Result<Device, DeviceError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(_) if !cfg!(feature = "cuda") => Err(DeviceError::NotBuilt { name: self }),
            Self::Cuda(ordinal) => open_gpu(ordinal).map_err(|source| DeviceError::Unavailable {
                name: self,
                source: Box::new(source),
            }),
        }
    }

    /// How a decoder computes there: on a GPU with matrices as their file has them.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn backend(self) -> Result<Backend, DeviceError> {
        match self {
            Self::Cpu => Ok(Backend::Processor),
            Self::Cuda(_) => Ok(Backend::Tensors { device: self.open()?, base: BaseForm::Stored }),
        }
    }
}

/// A GPU with one stream of work for all threads, which keeps its order without events, and whose
/// memory stays with the program between uses: given back at each wait, it is slow to get again.
#[cfg(feature = "cuda")]
#[expect(unsafe_code, reason = "the driver's settings are raw calls")]
fn open_gpu(ordinal: usize) -> candle_core::Result<Device> {
    use candle_core::Error;
    use candle_core::cuda_backend::cudarc::driver::{result, sys};

    let device = Device::new_cuda_with_stream(ordinal)?;
    let mut kept = u64::MAX;
    // SAFETY: before there is any tensor, events are switched off, of which work on one stream has
    // no need; the attribute of the pool is a number of 64 bits, as the driver expects.
    unsafe {
        device.as_cuda_device()?.disable_event_tracking();
        let ordinal = i32::try_from(ordinal).map_err(Error::wrap)?;
        let gpu = result::device::get(ordinal).map_err(Error::wrap)?;
        let pool = result::device::get_default_mem_pool(gpu).map_err(Error::wrap)?;
        let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, threshold, (&raw mut kept).cast())
            .map_err(Error::wrap)?;
    }
    Ok(device)
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(ordinal: usize) -> candle_core::Result<Device> {
    Device::new_cuda(ordinal)
}

/// How a decoder computes.
#[derive(Debug, Clone, Default)]
pub enum Backend {
    /// With this crate's own products and attention, made for the processor.
    #[default]
    Processor,
    /// Over candle's tensors, on any device.
    Tensors {
        /// Where the tensors are.
        device: Device,
        /// How the weights are held. With stored ones candle rounds what they are multiplied with
        /// to 8 bits; with dense ones logits are those of the processor within rounding.
        base: BaseForm,
    },
}

/// How the matrices of a model are held as tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseForm {
    /// Every weight as a number of the type that is computed in.
    Dense,
    /// As their file has them, where that is quantised: an eighth of the memory.
    Stored,
}

impl Backend {
    /// Where tensors are that this crate does not compute with itself.
    pub(crate) fn device(&self) -> &Device {
        match self {
            Self::Processor => &Device::Cpu,
            Self::Tensors { device, .. } => device,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Option<DeviceName>) {
        assert_eq!(name.parse::<DeviceName>().ok(), expected, "{name}");
        if let Some(device) = expected {
            assert_eq!(device.to_string().parse::<DeviceName>().unwrap(), device);
        }
    }

    #[test]
    fn devices_are_read_by_name() {
        check("cpu", Some(DeviceName::Cpu));
        check("cuda", Some(DeviceName::Cuda(0)));
        check("cuda:3", Some(DeviceName::Cuda(3)));
        for name in ["", "gpu", "cuda:", "cuda:x", "cuda3", "cpu:0", "CUDA"] {
            check(name, None);
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_gpu_without_code_for_it_is_refused_with_what_to_do() {
        let error = DeviceName::Cuda(1).backend().unwrap_err().to_string();
        assert!(error.contains("cuda:1") && error.contains("--features cuda"), "{error}");
    }
}
