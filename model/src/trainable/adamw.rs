//! AdamW (Loshchilov and Hutter 2017) with its state in f32, as PyTorch computes it: on the
//! processor, or where the values are.

use candle_core::Tensor;
use rayon::prelude::*;

use super::{Gradients, TrainError, TrainableDecoder};

/// The optimiser and its state.
#[derive(Debug, Clone)]
pub struct AdamW {
    /// Of the running mean of gradients and of their squares.
    pub betas: (f64, f64),
    /// Keeps the division finite.
    pub eps: f64,
    /// What each step takes off every value, times the learning rate.
    pub weight_decay: f64,
    state: State,
    /// Steps so far.
    n_steps: u64,
}

/// Values and running means by variable, or all variables in one tensor.
#[derive(Debug, Clone)]
enum State {
    Values {
        /// What is trained, as the decoder has it.
        values: Vec<Vec<f32>>,
        means: Vec<Vec<f32>>,
        squares: Vec<Vec<f32>>,
    },
    OnDevice {
        means: Tensor,
        squares: Tensor,
    },
}

/// A step's numbers.
struct Rates {
    first: f32,
    second: f32,
    step_size: f32,
    root: f32,
    keep: f32,
    eps: f32,
}

impl AdamW {
    /// For what a decoder trains, which nobody else changes from then on.
    pub fn new(decoder: &TrainableDecoder, weight_decay: f64) -> Result<Self, TrainError> {
        let state = match decoder.is_on_gpu() {
            true => State::OnDevice {
                means: decoder.factors.zeros_like()?,
                squares: decoder.factors.zeros_like()?,
            },
            false => State::of(decoder.values()?),
        };
        Ok(Self { betas: (0.9, 0.999), eps: 1e-8, weight_decay, state, n_steps: 0 })
    }

    /// One step against the gradients.
    pub fn step(
        &mut self,
        decoder: &TrainableDecoder,
        grads: &Gradients,
        learning_rate: f64,
    ) -> Result<(), TrainError> {
        self.n_steps += 1;
        let rates = self.rates(learning_rate);
        match (&mut self.state, grads) {
            (State::Values { values, means, squares }, Gradients::Values(grads)) => {
                assert_eq!(values.len(), grads.len(), "every variable has a gradient");
                let state = means.par_iter_mut().zip(squares);
                values.par_iter_mut().zip(grads).zip(state).for_each(
                    |((values, grads), (means, squares))| {
                        rates.step(values, grads, (means, squares));
                    },
                );
                decoder.set_values(values)
            }
            (State::OnDevice { means, squares }, Gradients::OnDevice(grads)) => {
                Ok(rates.step_on_device(&decoder.factors, grads, (means, squares))?)
            }
            _ => unreachable!("a decoder's gradients are all in one place"),
        }
    }

    fn rates(&self, learning_rate: f64) -> Rates {
        let n = i32::try_from(self.n_steps).unwrap_or(i32::MAX);
        Rates {
            first: self.betas.0 as f32,
            second: self.betas.1 as f32,
            step_size: (learning_rate / (1.0 - self.betas.0.powi(n))) as f32,
            root: (1.0 - self.betas.1.powi(n)).sqrt() as f32,
            keep: (1.0 - learning_rate * self.weight_decay) as f32,
            eps: self.eps as f32,
        }
    }

    /// Running means and those of squares, one each for each variable.
    pub fn means(&self, decoder: &TrainableDecoder) -> Result<[Vec<Vec<f32>>; 2], TrainError> {
        match &self.state {
            State::Values { means, squares, .. } => Ok([means.clone(), squares.clone()]),
            State::OnDevice { means, squares } => {
                Ok([decoder.by_variable(means)?, decoder.by_variable(squares)?])
            }
        }
    }

    /// Goes on from where another was after `n_steps`, with what the decoder has now.
    pub fn resume(
        &mut self,
        decoder: &TrainableDecoder,
        [new_means, new_squares]: [Vec<Vec<f32>>; 2],
        n_steps: u64,
    ) -> Result<(), TrainError> {
        self.n_steps = n_steps;
        match &mut self.state {
            State::Values { values, means, squares } => {
                (*values, *means, *squares) = (decoder.values()?, new_means, new_squares);
            }
            State::OnDevice { means, squares } => {
                let device = means.device().clone();
                let all = |it: Vec<Vec<f32>>| Tensor::new(it.concat(), &device);
                (*means, *squares) = (all(new_means)?, all(new_squares)?);
            }
        }
        Ok(())
    }
}

impl State {
    fn of(values: Vec<Vec<f32>>) -> Self {
        let zeros = |it: &Vec<f32>| vec![0.0; it.len()];
        let means: Vec<Vec<f32>> = values.iter().map(zeros).collect();
        Self::Values { squares: means.clone(), means, values }
    }
}

impl Rates {
    fn step(&self, values: &mut [f32], grads: &[f32], (means, squares): (&mut [f32], &mut [f32])) {
        let Self { first, second, step_size, root, keep, eps } = *self;
        let state = means.iter_mut().zip(squares);
        for ((value, grad), (mean, square)) in values.iter_mut().zip(grads).zip(state) {
            *mean += (grad - *mean) * (1.0 - first);
            *square = *square * second + grad * grad * (1.0 - second);
            *value = *value * keep - step_size * *mean / (square.sqrt() / root + eps);
        }
    }

    /// The same for all variables at once; all of them: (values)
    fn step_on_device(
        &self,
        values: &Tensor,
        grads: &Tensor,
        (means, squares): (&mut Tensor, &mut Tensor),
    ) -> candle_core::Result<()> {
        let [first, second, step_size, root, keep, eps] =
            [self.first, self.second, self.step_size, self.root, self.keep, self.eps]
                .map(f64::from);
        *means = (&*means + ((grads - &*means)? * (1.0 - first))?)?;
        *squares = ((&*squares * second)? + (grads.sqr()? * (1.0 - second))?)?;
        let size = ((squares.sqrt()? / root)? + eps)?;
        let moved = ((values * keep)? - ((&*means * step_size)? / size)?)?;
        values.slice_set(&moved, 0, 0)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn rates(betas: (f64, f64), learning_rate: f64, weight_decay: f64, n_steps: u64) -> Rates {
        let state = State::of(Vec::new());
        AdamW { betas, eps: 1e-8, weight_decay, state, n_steps }.rates(learning_rate)
    }

    #[test]
    fn steps_are_those_of_pytorch() {
        // torch.optim.AdamW([x], lr=0.1, weight_decay=0.1) with x = [1, -2] and the gradients
        // [0.5, 1] and [-1, 0.25]; the sums written out in f64.
        let (mut values, mut means, mut squares) = ([1.0, -2.0], [0.0; 2], [0.0; 2]);
        let device = Device::Cpu;
        let tensor = |values: [f32; 2]| Tensor::new(&values, &device).unwrap();
        let all = tensor(values);
        let (mut all_means, mut all_squares) = (tensor(means), tensor(squares));
        let mut step = |grads: [f32; 2], n: u64| -> [f32; 2] {
            let rates = rates((0.9, 0.999), 0.1, 0.1, n);
            rates.step(&mut values, &grads, (&mut means, &mut squares));
            rates.step_on_device(&all, &tensor(grads), (&mut all_means, &mut all_squares)).unwrap();
            for (a, b) in values.iter().zip(all.to_vec1::<f32>().unwrap()) {
                assert!((a - b).abs() < 1e-6, "on the device too: {a} {b}");
            }
            values
        };
        let after = [1.0 * 0.99 - 0.1, -2.0 * 0.99 - 0.1];
        for (actual, expected) in step([0.5, 1.0], 1).iter().zip(after) {
            assert!((f64::from(*actual) - expected).abs() < 1e-6, "{actual} {expected}");
        }
        let expected = |before: f64, g1: f64, g2: f64| {
            let mean = (0.9 * 0.1 * g1 + 0.1 * g2) / (1.0 - 0.81);
            let square = (0.999 * 0.001 * g1 * g1 + 0.001 * g2 * g2) / (1.0 - 0.999 * 0.999);
            before * 0.99 - 0.1 * mean / (square.sqrt() + 1e-8)
        };
        let after = [expected(after[0], 0.5, -1.0), expected(after[1], 1.0, 0.25)];
        for (actual, expected) in step([-1.0, 0.25], 2).iter().zip(after) {
            assert!((f64::from(*actual) - expected).abs() < 1e-5, "{actual} {expected}");
        }
    }

    #[test]
    fn gradients_are_cut_to_their_length() {
        let of = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let values = |it: &Gradients| match it {
            Gradients::Values(values) => values.concat(),
            Gradients::OnDevice(all) => all.to_vec1().unwrap(),
        };
        for mut grads in [
            Gradients::Values(vec![vec![3.0], vec![0.0, 4.0]]),
            Gradients::OnDevice(of(&[3.0, 0.0, 4.0])),
            Gradients::OnDevice(of(&[3.0, 0.0, 4.0, 0.0])),
        ] {
            let before = values(&grads);
            assert_eq!(grads.clip(0.0).unwrap(), 5.0);
            assert_eq!(grads.clip(10.0).unwrap(), 5.0);
            assert_eq!(values(&grads), before);
            assert_eq!(grads.clip(1.0).unwrap(), 5.0);
            assert!((grads.clip(0.0).unwrap() - 1.0).abs() < 1e-6);
        }
    }
}
