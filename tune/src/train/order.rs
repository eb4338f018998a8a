//! In which order rows are seen, and which are computed together.

/// SplitMix64 (Steele et al. 2014): small, and the same on every machine for ever.
#[derive(Debug, Clone)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A number that a seed and two places in a run decide.
pub(super) fn mixed(seed: u64, a: u64, b: u64) -> u64 {
    let mut rng = Rng(seed ^ a.wrapping_mul(0xd6e8_feb8_6659_fd93));
    let first = rng.next();
    Rng(first ^ b).next()
}

/// The rows of an epoch in its own order (Fisher and Yates).
pub fn shuffled(n_rows: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut rng = Rng(mixed(seed, epoch, 0x0bad_5eed));
    let mut res: Vec<usize> = (0..n_rows).collect();
    for idx in (1..n_rows).rev() {
        let other = (rng.next() % (idx as u64 + 1)) as usize;
        res.swap(idx, other);
    }
    res
}

/// The rows of a step, from 0. The last step of an epoch may have fewer.
pub fn rows_of_step(n_rows: usize, batch: usize, seed: u64, step: u64) -> Vec<usize> {
    let per_epoch = steps_per_epoch(n_rows, batch);
    let order = shuffled(n_rows, seed, step / per_epoch);
    let first = (step % per_epoch) as usize * batch;
    order[first..(first + batch).min(n_rows)].to_vec()
}

/// Steps in which every row is seen once.
pub fn steps_per_epoch(n_rows: usize, batch: usize) -> u64 {
    n_rows.div_ceil(batch).max(1) as u64
}

/// Cuts the rows of a step into groups of at most `tokens_max` tokens; a longer row is a group of
/// its own. Rows of like length come together, so that groups are few.
pub(super) fn groups(
    mut rows: Vec<usize>,
    n_tokens: impl Fn(usize) -> usize,
    tokens_max: usize,
) -> Vec<Vec<usize>> {
    rows.sort_by_key(|&it| (n_tokens(it), it));
    let mut res: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for row in rows {
        let n = n_tokens(row);
        match res.last_mut() {
            Some(group) if n <= room => group.push(row),
            _ => {
                res.push(vec![row]);
                room = tokens_max;
            }
        }
        room = room.saturating_sub(n);
    }
    res
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_sees_every_row_once_and_each_in_its_own_order() {
        let epoch = |n: u64| -> Vec<usize> {
            (n * 4..(n + 1) * 4).flat_map(|step| rows_of_step(10, 3, 7, step)).collect()
        };
        assert_eq!(steps_per_epoch(10, 3), 4);
        let (first, second) = (epoch(0), epoch(1));
        assert_ne!(first, second);
        assert_eq!(first, epoch(0), "the seed decides");
        for mut epoch in [first, second] {
            epoch.sort_unstable();
            assert_eq!(epoch, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(rows_of_step(10, 10, 7, 0), rows_of_step(10, 10, 8, 0));
    }

    #[test]
    fn groups_hold_all_rows_within_the_limit() {
        let lengths = [5, 90, 30, 200, 30, 10];
        let groups = groups((0..6).collect(), |it| lengths[it], 100);
        assert_eq!(groups, [vec![0, 5, 2, 4], vec![1], vec![3]]);
    }
}
