//! AdamW (Loshchilov and Hutter 2017) with its state in f32, as PyTorch computes it.

/// The optimiser and its state.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// Of the running mean of gradients and of their squares.
    pub betas: (f64, f64),
    /// Keeps the division finite.
    pub eps: f64,
    /// What each step takes off every value, times the learning rate.
    pub weight_decay: f64,
    /// Running means, one for each variable.
    pub(super) means: Vec<Vec<f32>>,
    /// Running means of squares.
    pub(super) squares: Vec<Vec<f32>>,
    /// Steps so far.
    pub(super) n_steps: u64,
}

impl AdamW {
    /// For variables of these sizes.
    pub fn new(sizes: impl Iterator<Item = usize> + Clone, weight_decay: f64) -> Self {
        let zeros = || sizes.clone().map(|n| vec![0.0; n]).collect();
        Self {
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay,
            means: zeros(),
            squares: zeros(),
            n_steps: 0,
        }
    }

    /// One step against the gradients.
    pub fn step(&mut self, values: &mut [Vec<f32>], grads: &[Vec<f32>], learning_rate: f64) {
        assert_eq!(values.len(), grads.len(), "every variable has a gradient");
        self.n_steps += 1;
        let n = i32::try_from(self.n_steps).unwrap_or(i32::MAX);
        let (first, second) = (self.betas.0 as f32, self.betas.1 as f32);
        let step_size = (learning_rate / (1.0 - self.betas.0.powi(n))) as f32;
        let root = (1.0 - self.betas.1.powi(n)).sqrt() as f32;
        let keep = (1.0 - learning_rate * self.weight_decay) as f32;
        let eps = self.eps as f32;
        let state = self.means.iter_mut().zip(&mut self.squares);
        for ((values, grads), (means, squares)) in values.iter_mut().zip(grads).zip(state) {
            let state = means.iter_mut().zip(squares);
            for ((value, grad), (mean, square)) in values.iter_mut().zip(grads).zip(state) {
                *mean += (grad - *mean) * (1.0 - first);
                *square = *square * second + grad * grad * (1.0 - second);
                *value = *value * keep - step_size * *mean / (square.sqrt() / root + eps);
            }
        }
    }
}

/// The length of a gradient over all variables, which is cut to `max` where that is above zero.
pub fn clip(grads: &mut [Vec<f32>], max: f64) -> f64 {
    let squares = grads.iter().flatten().map(|it| f64::from(*it) * f64::from(*it));
    let norm = squares.sum::<f64>().sqrt();
    if max > 0.0 && norm > max {
        let scale = (max / norm) as f32;
        grads.iter_mut().flatten().for_each(|it| *it *= scale);
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_those_of_pytorch() {
        // torch.optim.AdamW([x], lr=0.1, weight_decay=0.1) with x = [1, -2] and the gradients
        // [0.5, 1] and [-1, 0.25]; the sums written out in f64.
        let mut values = vec![vec![1.0, -2.0]];
        let mut optimiser = AdamW::new([2].into_iter(), 0.1);
        optimiser.step(&mut values, &[vec![0.5, 1.0]], 0.1);
        let after = [1.0 * 0.99 - 0.1, -2.0 * 0.99 - 0.1];
        for (actual, expected) in values[0].iter().zip(after) {
            assert!((f64::from(*actual) - expected).abs() < 1e-6, "{actual} {expected}");
        }
        optimiser.step(&mut values, &[vec![-1.0, 0.25]], 0.1);
        let expected = |before: f64, g1: f64, g2: f64| {
            let mean = (0.9 * 0.1 * g1 + 0.1 * g2) / (1.0 - 0.81);
            let square = (0.999 * 0.001 * g1 * g1 + 0.001 * g2 * g2) / (1.0 - 0.999 * 0.999);
            before * 0.99 - 0.1 * mean / (square.sqrt() + 1e-8)
        };
        let after = [expected(after[0], 0.5, -1.0), expected(after[1], 1.0, 0.25)];
        for (actual, expected) in values[0].iter().zip(after) {
            assert!((f64::from(*actual) - expected).abs() < 1e-5, "{actual} {expected}");
        }
    }

    #[test]
    fn gradients_are_cut_to_their_length() {
        let mut grads = vec![vec![3.0], vec![0.0, 4.0]];
        assert_eq!(clip(&mut grads, 0.0), 5.0);
        assert_eq!(clip(&mut grads, 10.0), 5.0);
        assert_eq!(grads, [vec![3.0], vec![0.0, 4.0]]);
        assert_eq!(clip(&mut grads, 1.0), 5.0);
        assert!((clip(&mut grads, 0.0) - 1.0).abs() < 1e-6);
    }
}
