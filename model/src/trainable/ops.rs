//! Operations with derivatives of their own.
//!
//! candle's fused operations drop gradients without a word, and its plain ones keep every value in
//! between and compute a gradient for weights that are frozen. Each operation here computes its
//! value outside the graph and says what its derivative is; the formulas stand beside them.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::quantized::QTensor;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp3, D, DType, Layout, Result, Shape, Storage,
    Tensor, bail,
};
use candle_nn::{ops, rotary_emb};

use super::attention::PackedAttention;

/// A weight of shape (n_out, n_in) that the tape does not train.
#[derive(Clone)]
pub(super) enum Frozen {
    Dense(Tensor),
    /// Dequantised for each product and forgotten after it (Dettmers et al. 2023, "QLoRA").
    Quantised(Arc<QTensor>, DType),
}

impl Frozen {
    /// (n_out, n_in)
    pub(super) fn dense(&self) -> Result<Tensor> {
        match self {
            Self::Dense(weight) => Ok(weight.clone()),
            Self::Quantised(weight, dtype) => weight.dequantize(&weight.device())?.to_dtype(*dtype),
        }
    }

    /// The tensor itself, where it is held as one.
    pub(super) fn held(&self) -> Option<&Tensor> {
        match self {
            Self::Dense(weight) => Some(weight),
            Self::Quantised(..) => None,
        }
    }

    /// `x · Wᵀ`, whose derivative is `g · W`. x: (rows, n_in), result: (rows, n_out)
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match x.track_op() {
            true => x.contiguous()?.apply_op1(self.clone()),
            false => x.matmul(&self.dense()?.t()?),
        }
    }
}

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "frozen-product"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let weight = self.dense()?;
        match &*weight.storage_and_layout().0 {
            Storage::Cpu(it) => product(x, layout, it, weight.layout()),
            _ => bail!("a frozen weight lies on another device than its input"),
        }
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let weight = self.dense()?;
        match &*weight.storage_and_layout().0 {
            Storage::Cuda(it) => product(x, layout, it, weight.layout()),
            _ => bail!("a frozen weight lies on another device than its input"),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.back(grad).map(Some)
    }
}

impl Frozen {
    /// `g · W`. grad: (rows, n_out), result: (rows, n_in)
    pub(super) fn back(&self, grad: &Tensor) -> Result<Tensor> {
        grad.contiguous()?.matmul(&self.dense()?)
    }
}

fn product<S: BackendStorage>(
    x: &S,
    x_layout: &Layout,
    weight: &S,
    weight_layout: &Layout,
) -> Result<(S, Shape)> {
    let (rows, n_in) = x_layout.shape().dims2()?;
    let (n_out, expected) = weight_layout.shape().dims2()?;
    if n_in != expected {
        bail!("{n_in} inputs for a weight of {expected}");
    }
    let transposed = weight_layout.transpose(0, 1)?;
    let out = x.matmul(weight, (1, rows, n_out, n_in), x_layout, &transposed)?;
    Ok((out, Shape::from((rows, n_out))))
}

/// RMSNorm (Zhang and Sennrich 2019): `y = x · r · w` with `r = 1 / √(mean(x²) + eps)`, whose
/// derivative is `r · g·w - r³ · x · mean(x · g·w)`.
///
/// x: (rows, n), weight: (n)
pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let x = x.contiguous()?;
    let value = ops::rms_norm(&x.detach(), weight, eps)?;
    let weight = weight.clone();
    known("rms-norm", &x, value, move |x, grad| {
        let dtype = x.dtype();
        let x = x.to_dtype(DType::F32)?;
        let grad = grad.to_dtype(DType::F32)?.broadcast_mul(&weight.to_dtype(DType::F32)?)?;
        let r = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(eps))?.sqrt()?.recip()?;
        let along = (&x * &grad)?.mean_keepdim(D::Minus1)?;
        let along = (r.sqr()? * along)?; // What is scaled away, per row.
        (grad - x.broadcast_mul(&along)?)?.broadcast_mul(&r)?.to_dtype(dtype)
    })
}

/// Rotary positions (Su et al. 2021): each pair of a head's values turns by an angle; its
/// derivative turns back.
///
/// heads: (rows, heads, head_dim), cos, sin: (rows, head_dim / 2)
pub(super) fn rotate(heads: &Tensor, (cos, sin): (&Tensor, &Tensor)) -> Result<Tensor> {
    let turn = |heads: &Tensor, cos: &Tensor, sin: &Tensor| -> Result<Tensor> {
        rotary_emb::rope_thd(&heads.detach().contiguous()?.unsqueeze(0)?, cos, sin)?.squeeze(0)
    };
    let value = turn(heads, cos, sin)?;
    let (cos, back) = (cos.clone(), sin.neg()?);
    known("rotate", heads, value, move |_, grad| turn(grad, &cos, &back))
}

/// Attention of packed sequences; see [`PackedAttention`].
///
/// q: (rows, heads, head_dim), k, v: (rows, kv_heads, head_dim), result: (rows, heads, head_dim)
pub(super) fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    attention: &Arc<PackedAttention>,
) -> Result<Tensor> {
    let value = attention.forward(&q.detach(), &k.detach(), &v.detach())?;
    if !(q.track_op() || k.track_op() || v.track_op()) {
        return Ok(value);
    }
    q.apply_op3(k, v, Attend { value: Handover::new(value), attention: Arc::clone(attention) })
}

struct Attend {
    value: Handover,
    attention: Arc<PackedAttention>,
}

impl CustomOp3 for Attend {
    fn name(&self) -> &'static str {
        "attend"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.value.cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.value.cuda()
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let inputs = [q, k, v].map(Tensor::detach);
        let [q, k, v] = self.attention.backward(&inputs, &res.detach(), grad)?;
        Ok((Some(q), Some(k), Some(v)))
    }
}

type Derivative = dyn Fn(&Tensor, &Tensor) -> Result<Tensor> + Send + Sync;

/// A value with a known derivative: of the argument and the gradient of the value, the gradient of
/// the argument.
struct Known {
    name: &'static str,
    value: Handover,
    derivative: Box<Derivative>,
}

pub(super) fn known(
    name: &'static str,
    arg: &Tensor,
    value: Tensor,
    derivative: impl Fn(&Tensor, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !arg.track_op() {
        return Ok(value);
    }
    let value = Handover::new(value);
    arg.apply_op1(Known { name, value, derivative: Box::new(derivative) })
}

impl CustomOp1 for Known {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.value.cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.value.cuda()
    }

    fn bwd(&self, arg: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        (self.derivative)(&arg.detach(), &grad.contiguous()?).map(Some)
    }
}

/// A value on its way into the graph, which keeps a copy; it is let go there, so that memory holds
/// it once.
struct Handover(Mutex<Option<Tensor>>);

impl Handover {
    fn new(value: Tensor) -> Self {
        Self(Mutex::new(Some(value)))
    }

    fn take(&self) -> Result<Tensor> {
        let value = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(value) = value else { bail!("an operation is applied once") };
        value.contiguous()
    }

    fn cpu(&self) -> Result<(CpuStorage, Shape)> {
        let value = self.take()?;
        match &*value.storage_and_layout().0 {
            Storage::Cpu(it) => Ok((it.try_clone(value.layout())?, value.shape().clone())),
            _ => bail!("a value lies on another device than its argument"),
        }
    }

    fn cuda(&self) -> Result<(CudaStorage, Shape)> {
        let value = self.take()?;
        match &*value.storage_and_layout().0 {
            Storage::Cuda(it) => Ok((it.try_clone(value.layout())?, value.shape().clone())),
            _ => bail!("a value lies on another device than its argument"),
        }
    }
}
