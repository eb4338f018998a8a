//! The matrices of a layer, with what is trained beside them, forwards and backwards.

use std::ops::Deref;

use candle_core::{DType, Result, Storage, Tensor, WithDType, bail};
use half::bf16;

use super::super::Linear;
use super::super::frozen::Frozen;
use super::super::lora::Factors;
use super::functions::column_sums;
use super::layer::{Grads, Pass};
use super::pack::turn;
use super::product::{View, product};
use super::spare::{Buffer, Spare};
use super::sums::{Pairs, Sum, Term, Tiles, compute};
use crate::kernels::add_bias;
use crate::tile_product;

/// A tensor's values, where they lie.
pub(super) enum Values<'a, T = f32> {
    Held(Box<dyn Deref<Target = Storage> + 'a>, (usize, usize)),
    Owned(Vec<T>),
}

impl<T: WithDType> Deref for Values<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Owned(values) => values,
            Self::Held(guard, (start, end)) => match &***guard {
                Storage::Cpu(all) => T::cpu_storage_as_slice(all).map(|it| &it[*start..*end]),
                _ => unreachable!("the kind of storage was looked at, and does not change"),
            }
            .expect("so was the kind of numbers"),
        }
    }
}

/// The values of a contiguous tensor in main memory.
pub(super) fn values<T: WithDType>(tensor: &Tensor) -> Result<Values<'_, T>> {
    let (guard, layout) = tensor.storage_and_layout();
    let is_held = tensor.device().is_cpu() && tensor.dtype() == T::DTYPE;
    match layout.contiguous_offsets().filter(|_| is_held) {
        Some(range) => Ok(Values::Held(Box::new(guard), range)),
        None => bail!("a tensor of {:?} in one piece in main memory is needed", T::DTYPE),
    }
}

/// The few values of a norm or bias in f32.
pub(super) fn few(tensor: &Tensor) -> Result<Values<'_>> {
    match tensor.dtype() {
        DType::F32 => values(tensor),
        _ => Ok(Values::Owned(tensor.to_dtype(DType::F32)?.to_vec1()?)),
    }
}

/// A frozen matrix whose numbers are at hand.
struct Weights<'a> {
    numbers: Numbers<'a>,
    n_in: usize,
    n_out: usize,
}

enum Numbers<'a> {
    F32(Values<'a>),
    Bf16(Values<'a, bf16>),
}

/// Rows, also as what multiplies the matrices takes them.
struct Input<'a> {
    plain: &'a [f32],
    form: Form<'a>,
}

enum Form<'a> {
    Plain,
    Pairs(Pairs<'a>),
    Tiles(Tiles<'a>),
}

impl Frozen {
    fn weights(&self) -> Result<Weights<'_>> {
        let (n_out, n_in) = match self {
            Self::Dense(weight) => weight.dims2()?,
            Self::Quantised(weight, _) => weight.shape().dims2()?,
        };
        let numbers = match self {
            Self::Dense(weight) if weight.dtype() == DType::BF16 => Numbers::Bf16(values(weight)?),
            Self::Dense(weight) => Numbers::F32(values(weight)?),
            Self::Quantised(_, DType::BF16) => {
                Numbers::Bf16(Values::Owned(self.dense()?.flatten_all()?.to_vec1()?))
            }
            Self::Quantised(..) => {
                Numbers::F32(Values::Owned(self.dense()?.flatten_all()?.to_vec1()?))
            }
        };
        Ok(Weights { numbers, n_in, n_out })
    }

    /// Whether it is one of the weights that are trained.
    pub(super) fn is_trained(&self) -> bool {
        self.held().is_some_and(Tensor::is_variable)
    }
}

impl Weights<'_> {
    /// x: (rows, `n`), where `n` is one of the matrix's sides
    fn input<'a>(&self, x: &'a [f32], n: usize, spare: &'a Spare) -> Input<'a> {
        let form = match self.numbers {
            Numbers::F32(_) => Form::Plain,
            Numbers::Bf16(_) if tile_product::is_available() => Form::Tiles(Tiles::of(x, n, spare)),
            Numbers::Bf16(_) => Form::Pairs(Pairs::of(x, n, spare)),
        };
        Input { plain: x, form }
    }

    /// `x · Wᵀ` as part of a sum. x: (rows, n_in)
    fn forth<'a>(&'a self, x: &'a Input<'_>) -> Term<'a> {
        self.term(x, true)
    }

    /// `g · W` as part of a sum. grad: (rows, n_out)
    fn back<'a>(&'a self, grad: &'a Input<'_>) -> Term<'a> {
        self.term(grad, false)
    }

    fn term<'a>(&'a self, x: &'a Input<'_>, is_turned: bool) -> Term<'a> {
        match (&self.numbers, &x.form) {
            (Numbers::F32(it), _) => {
                Term::F32 { x: x.plain, matrix: self.view(it, is_turned), scale: 1.0 }
            }
            (Numbers::Bf16(it), Form::Tiles(x)) => {
                Term::Tiles { x, matrix: self.view(it, is_turned) }
            }
            (Numbers::Bf16(it), Form::Pairs(x)) => {
                Term::Bf16 { x, matrix: self.view(it, is_turned) }
            }
            (Numbers::Bf16(_), Form::Plain) => unreachable!("rows are rounded for such a matrix"),
        }
    }

    fn view<'a, T>(&self, numbers: &'a [T], is_turned: bool) -> View<'a, T> {
        let matrix = View::new(numbers, self.n_in);
        if is_turned { matrix.t() } else { matrix }
    }
}

/// Factors whose values are at hand.
struct HeldFactors<'a> {
    a: &'a [f32],
    b: &'a [f32],
    rank: usize,
    n_in: usize,
    scale: f32,
}

impl Pass<'_> {
    /// The factors beside a matrix, where there are some that take part.
    fn held(&self, factors: Option<&Factors>) -> Option<HeldFactors<'_>> {
        let (all, factors) = (self.factors.as_deref()?, factors?);
        let [a, b] = factors.places().map(|it| &all[it]);
        let Factors { rank, n_in, scale, .. } = *factors;
        Some(HeldFactors { a, b, rank, n_in, scale: scale as f32 })
    }
}

impl HeldFactors<'_> {
    /// `scale · x · Aᵀ`. x: (rows, n_in), out: (rows, rank)
    fn low<'a>(&'a self, x: &'a [f32], out: &'a mut [f32]) -> Sum<'a> {
        let matrix = View::new(self.a, self.n_in).t();
        let terms = vec![Term::F32 { x, matrix, scale: self.scale }];
        Sum { out, columns: self.rank, terms }
    }

    /// What `low` adds to the matrix's product, `low · Bᵀ`.
    fn change<'a>(&'a self, low: &'a [f32]) -> Term<'a> {
        Term::F32 { x: low, matrix: View::new(self.b, self.rank).t(), scale: 1.0 }
    }

    /// The gradient of `x · Aᵀ`, `scale · g · B`. grad: (rows, n_out), out: (rows, rank)
    fn of_low<'a>(&'a self, grad: &'a [f32], out: &'a mut [f32]) -> Sum<'a> {
        let terms =
            vec![Term::F32 { x: grad, matrix: View::new(self.b, self.rank), scale: self.scale }];
        Sum { out, columns: self.rank, terms }
    }

    /// What it adds to the gradient of `x`.
    fn back<'a>(&'a self, of_low: &'a [f32]) -> Term<'a> {
        Term::F32 { x: of_low, matrix: View::new(self.a, self.n_in), scale: 1.0 }
    }
}

/// The parts of a matrix's pass with factors that its derivative takes up.
struct Changed<'a, 'b> {
    factors: HeldFactors<'a>,
    /// `scale · x · Aᵀ`, rows and columns exchanged; (rank, rows)
    low: Buffer<'b>,
    /// Of `x · Aᵀ`; (rows, rank)
    of_low: Buffer<'b>,
    /// The same, exchanged; (rank, rows)
    of_low_turned: Buffer<'b>,
    of_a: Vec<f32>,
    /// Exchanged; (rank, n_out)
    of_b: Buffer<'b>,
}

/// `scale · x · Aᵀ` of a matrix's factors, where it has some; (rows, rank)
pub(super) type Low<'a> = Option<Buffer<'a>>;

/// The products of the same rows with some matrices. x: (rows, n_in), results: (rows, n_out) and
/// (rows, rank) each
pub(super) fn forward<'a, const N: usize>(
    linears: [&Linear; N],
    x: &[f32],
    pass: &Pass<'a>,
) -> Result<[(Buffer<'a>, Low<'a>); N]> {
    let weights: Vec<Weights<'_>> =
        linears.iter().map(|it| it.weight.weights()).collect::<Result<_>>()?;
    let n_in = weights[0].n_in;
    let rows = x.len() / n_in;
    let factors = linears.map(|it| pass.held(it.lora.as_ref()));
    let mut lows = factors.each_ref().map(|it| Some(pass.spare.take(rows * it.as_ref()?.rank)));
    compute(
        factors
            .iter()
            .zip(&mut lows)
            .filter_map(|(it, low)| Some(it.as_ref()?.low(x, low.as_deref_mut()?))),
    );
    let input = weights[0].input(x, n_in, pass.spare);
    let mut outs: Vec<Buffer<'a>> =
        weights.iter().map(|it| pass.spare.take(rows * it.n_out)).collect();
    compute(outs.iter_mut().enumerate().map(|(idx, out)| {
        let mut terms = vec![weights[idx].forth(&input)];
        terms.extend(
            factors[idx].as_ref().zip(lows[idx].as_deref()).map(|(it, low)| it.change(low)),
        );
        Sum { out, columns: weights[idx].n_out, terms }
    }));
    for (out, linear) in outs.iter_mut().zip(linears) {
        if let Some(bias) = &linear.bias {
            add_bias(out, &few(bias)?);
        }
    }
    let mut res = outs.into_iter().zip(lows);
    Ok(std::array::from_fn(|_| res.next().expect("a result for each matrix")))
}

/// Adds up the gradients of `x` through some matrices in `into`, and adds those of what is trained
/// to the end of `grads`. x, into: (rows, n_in), of_outs: (rows, n_out) each
pub(super) fn back<const N: usize>(
    linears: [&Linear; N],
    (x, lows): (&[f32], [&Low<'_>; N]),
    of_outs: [&[f32]; N],
    into: &mut [f32],
    (pass, grads): (&Pass<'_>, &mut Grads),
) -> Result<()> {
    let weights: Vec<Weights<'_>> =
        linears.iter().map(|it| it.weight.weights()).collect::<Result<_>>()?;
    let n_in = weights[0].n_in;
    let mut changed: Vec<Option<Changed<'_, '_>>> = linears
        .iter()
        .zip(lows)
        .zip(of_outs)
        .map(|((it, low), of_out)| Changed::new(pass.held(it.lora.as_ref())?, low, of_out, pass))
        .collect();
    compute(changed.iter_mut().zip(of_outs).filter_map(|(it, of_out)| {
        let Changed { factors, of_low, .. } = it.as_mut()?;
        Some(factors.of_low(of_out, of_low))
    }));
    let input = |(it, of_out): (&Weights<'_>, _)| it.input(of_out, it.n_out, pass.spare);
    let inputs: Vec<Input<'_>> = weights.iter().zip(of_outs).map(input).collect();
    let mut terms: Vec<Term<'_>> =
        weights.iter().zip(&inputs).map(|(it, grad)| it.back(grad)).collect();
    let mut of_factors = Vec::new();
    for (it, of_out) in changed.iter_mut().zip(of_outs) {
        let Some(it) = it else { continue };
        let (term, sums) = it.split(x, of_out);
        terms.push(term);
        of_factors.extend(sums);
    }
    let of_x = Sum { out: into, columns: n_in, terms };
    compute(std::iter::once(of_x).chain(of_factors));
    for (idx, linear) in linears.iter().enumerate() {
        if linear.weight.is_trained() {
            let grad = View::new(of_outs[idx], weights[idx].n_out);
            grads.push(product(grad.t(), View::new(x, n_in)));
            grads.extend(linear.bias.as_ref().map(|_| column_sums(of_outs[idx], grad.columns)));
        }
        grads.extend(changed[idx].take().into_iter().flat_map(Changed::grads));
    }
    Ok(())
}

impl<'a, 'b> Changed<'a, 'b> {
    fn new(
        factors: HeldFactors<'a>,
        low: &Low<'_>,
        of_out: &[f32],
        pass: &Pass<'b>,
    ) -> Option<Self> {
        let low = low.as_deref()?;
        let rank = factors.rank;
        let mut turned = pass.spare.take(low.len());
        turn(View::new(low, rank), &mut turned);
        Some(Self {
            low: turned,
            of_low: pass.spare.take(low.len()),
            of_low_turned: pass.spare.take(low.len()),
            of_a: vec![0.0; factors.a.len()],
            of_b: pass.spare.take(rank * of_out.len() / (low.len() / rank)),
            factors,
        })
    }

    /// What goes into the gradient of `x`, and the gradients of A, `of_lowᵀ · x`, and of B,
    /// `lowᵀ · g`.
    fn split<'c>(&'c mut self, x: &'c [f32], of_out: &'c [f32]) -> (Term<'c>, [Sum<'c>; 2]) {
        let Self { factors, low, of_low, of_low_turned, of_a, of_b } = self;
        let (rank, n_in) = (factors.rank, factors.n_in);
        turn(View::new(of_low, rank), of_low_turned);
        let sum = |out: &'c mut [f32], x: &'c [f32], matrix: View<'c>| {
            let terms = vec![Term::F32 { x, matrix, scale: 1.0 }];
            Sum { out, columns: matrix.columns, terms }
        };
        let n_out = of_b.len() / rank;
        let of_a = sum(of_a, of_low_turned, View::new(x, n_in));
        let of_b = sum(of_b, low, View::new(of_out, n_out));
        (factors.back(of_low), [of_a, of_b])
    }

    /// Of A and B.
    fn grads(self) -> [Vec<f32>; 2] {
        let mut of_b = vec![0.0; self.of_b.len()];
        let n_out = self.of_b.len() / self.factors.rank;
        turn(View::new(&self.of_b, n_out), &mut of_b);
        [self.of_a, of_b]
    }
}
