//! The functions of `kernels.cu`, and products into what is there, on a GPU of NVIDIA's.

use std::ffi::c_void;
use std::sync::OnceLock;

use candle_core::cuda_backend::cudarc::cublas::{result as blas, sys};
use candle_core::cuda_backend::cudarc::driver::{
    DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::cudarc::nvrtc::compile_ptx;
use candle_core::cuda_backend::{CudaDType, CudaDevice, CudaStorage};
use candle_core::{DType, Error, Result, Storage, Tensor, bail};
use half::bf16;

const SOURCE: &str = include_str!("kernels.cu");

/// What a kernel is called with.
pub(super) enum Arg<'a> {
    /// The values of a contiguous tensor.
    Of(&'a Tensor),
    /// A tensor that may be left out.
    Maybe(Option<&'a Tensor>),
    Int(usize),
    Long(usize),
    Float(f32),
}

/// An argument as the driver takes it.
enum Raw {
    Pointer(u64),
    Int(i32),
    Long(i64),
    Float(f32),
}

/// Threads, and in which blocks.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub(super) blocks: usize,
    pub(super) threads: u32,
}

/// Compiled once in a program's life: for any GPU, as the driver makes machine code of it.
fn ptx() -> Result<&'static str> {
    static PTX: OnceLock<std::result::Result<String, String>> = OnceLock::new();
    let made = PTX.get_or_init(|| {
        let ptx = compile_ptx(SOURCE).map_err(|error| format!("{error:?}"))?;
        Ok(ptx.to_src())
    });
    made.as_deref().map_err(|error| Error::msg(format!("the training kernels: {error}")))
}

/// Runs a kernel, by the type of the tensor that it changes first.
#[expect(unsafe_code, reason = "kernels take pointers; the callers' shapes bound what they touch")]
pub(super) fn launch(name: &str, of: &Tensor, grid: Grid, args: &[Arg<'_>]) -> Result<()> {
    if grid.blocks == 0 {
        return Ok(());
    }
    let kind = match of.dtype() {
        DType::F32 => "f32",
        DType::BF16 => "bf16",
        other => bail!("training on a GPU is in f32 or bf16, not in {other:?}"),
    };
    let device = of.device().as_cuda_device()?;
    let function =
        device.get_or_load_custom_func(&format!("{name}_{kind}"), "souffleur-training", ptx()?)?;
    let raw: Vec<Raw> = args.iter().map(Raw::of).collect::<Result<_>>()?;
    let mut builder = function.builder();
    for arg in &raw {
        match arg {
            Raw::Pointer(it) => builder.arg(it),
            Raw::Int(it) => builder.arg(it),
            Raw::Long(it) => builder.arg(it),
            Raw::Float(it) => builder.arg(it),
        };
    }
    let blocks = u32::try_from(grid.blocks).map_err(Error::wrap)?;
    let config = LaunchConfig {
        grid_dim: (blocks, 1, 1),
        block_dim: (grid.threads, 1, 1),
        shared_mem_bytes: 0,
    };
    // SAFETY: the arguments are those of the kernel's declaration, and its tensors live until the
    // stream has freed them, which is after the kernel.
    unsafe { builder.launch(config) }.map_err(Error::wrap)?;
    Ok(())
}

impl Raw {
    fn of(arg: &Arg<'_>) -> Result<Self> {
        Ok(match arg {
            Arg::Of(tensor) => Self::Pointer(pointer(tensor)?),
            Arg::Maybe(None) => Self::Pointer(0),
            Arg::Maybe(Some(tensor)) => Self::Pointer(pointer(tensor)?),
            Arg::Int(it) => Self::Int(i32::try_from(*it).map_err(Error::wrap)?),
            Arg::Long(it) => Self::Long(i64::try_from(*it).map_err(Error::wrap)?),
            Arg::Float(it) => Self::Float(*it),
        })
    }
}

/// Where a contiguous tensor's values begin in the GPU's memory.
fn pointer(tensor: &Tensor) -> Result<u64> {
    if !tensor.is_contiguous() {
        bail!("a tensor in one piece is needed");
    }
    start(tensor)
}

/// Where a tensor's first value is in the GPU's memory.
fn start(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { bail!("a tensor on the GPU is needed") };
    let at = layout.start_offset() as u64;
    Ok(match tensor.dtype() {
        DType::F32 => first::<f32>(storage)? + 4 * at,
        DType::BF16 => first::<bf16>(storage)? + 2 * at,
        DType::U32 => first::<u32>(storage)? + 4 * at,
        other => bail!("{other:?} is of no use to the kernels"),
    })
}

fn first<T: CudaDType + DeviceRepr>(storage: &CudaStorage) -> Result<u64> {
    let stream = storage.device.cuda_stream();
    // All work on a device goes through one stream, so that its order is kept without the guard.
    Ok(storage.as_cuda_slice::<T>()?.device_ptr(&stream).0)
}

/// A factor of a product as cuBLAS takes it.
struct Factor {
    pointer: u64,
    kind: sys::cudaDataType_t,
    transposed: sys::cublasOperation_t,
    leading: i32,
    stride: i64,
}

impl Factor {
    /// x: (batch, rows, columns), of which one of the last two lies in one piece
    fn of(x: &Tensor) -> Result<Self> {
        let (_, rows, columns) = x.dims3()?;
        let [stride, of_row, of_column] = *x.stride() else { bail!("three dimensions") };
        let (transposed, leading) = match (of_row, of_column) {
            (_, 1) => (sys::cublasOperation_t::CUBLAS_OP_N, of_row.max(columns)),
            (1, _) => (sys::cublasOperation_t::CUBLAS_OP_T, of_column.max(rows)),
            _ => bail!("a factor of strides {:?}", x.stride()),
        };
        Ok(Self {
            pointer: start(x)?,
            kind: kind(x.dtype())?,
            transposed,
            leading: i32::try_from(leading).map_err(Error::wrap)?,
            stride: i64::try_from(stride).map_err(Error::wrap)?,
        })
    }
}

fn kind(dtype: DType) -> Result<sys::cudaDataType_t> {
    match dtype {
        DType::F32 => Ok(sys::cudaDataType_t::CUDA_R_32F),
        DType::BF16 => Ok(sys::cudaDataType_t::CUDA_R_16BF),
        other => bail!("training on a GPU is in f32 or bf16, not in {other:?}"),
    }
}

/// `into[:, row..] = keep · into[:, row..] + scale · a · b`, summed in f32.
///
/// into: (batch, rows, n), contiguous; a: (batch, m, k), b: (batch, k, n)
#[expect(unsafe_code, reason = "cuBLAS takes pointers; the shapes are checked before")]
pub(super) fn product_into(
    into: &Tensor,
    row: usize,
    (keep, scale): (f32, f32),
    a: &Tensor,
    b: &Tensor,
) -> Result<()> {
    let ((batch, m, k), (batch_b, k_b, n)) = (a.dims3()?, b.dims3()?);
    let (batch_into, rows, n_into) = into.dims3()?;
    if batch != batch_b || batch != batch_into || k != k_b || n != n_into || row + m > rows {
        bail!("{a:?} times {b:?} into {into:?} from row {row}");
    }
    if a.dtype() != b.dtype() {
        bail!("factors of two types");
    }
    let device: &CudaDevice = into.device().as_cuda_device()?;
    let target = pointer(into)? + (row * n * into.dtype().size_in_bytes()) as u64;
    let (a, b) = (Factor::of(a)?, Factor::of(b)?);
    let number = |it: usize| i32::try_from(it).map_err(Error::wrap);
    let (m, n, k, batch) = (number(m)?, number(n)?, number(k)?, number(batch)?);
    // SAFETY: the pointers are those of tensors whose shapes were checked above, and cuBLAS works
    // on the device's only stream.
    unsafe {
        // Rows lie one after the other: to cuBLAS, which takes columns, all is transposed.
        blas::gemm_strided_batched_ex(
            *device.cublas_handle().handle(),
            b.transposed,
            a.transposed,
            n,
            m,
            k,
            (&raw const scale).cast::<c_void>(),
            b.pointer as *const c_void,
            b.kind,
            b.leading,
            b.stride,
            a.pointer as *const c_void,
            a.kind,
            a.leading,
            a.stride,
            (&raw const keep).cast::<c_void>(),
            target as *mut c_void,
            kind(into.dtype())?,
            n,
            (rows * n_into) as i64,
            batch,
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
        )
    }
    .map_err(Error::wrap)
}

/// Room for values that are written before they are read.
#[expect(unsafe_code, reason = "each use writes every value")]
pub(super) fn room(shape: &[usize], like: &Tensor) -> Result<Tensor> {
    // SAFETY: the kernel that is called next writes every value of it.
    unsafe { Tensor::empty(shape, like.dtype(), like.device()) }
}
