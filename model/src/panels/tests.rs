use super::*;
use crate::sample::Rng;

fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| rng.unit() * 2.0 - 1.0).collect()
}

/// The product agrees with one in f64 over the matrix's own rows, on one thread and on all.
#[track_caller]
fn check(panels: &Panels, rows: usize) {
    let (n_in, n_out) = (panels.n_in(), panels.n_out());
    let x = values(rows * n_in, 3);
    let mut alone = vec![f32::NAN; rows * n_out];
    panels.matmul(&x, &mut alone);
    let [together] = Panels::matmul_together([panels], &x);
    for out in [alone, together] {
        let mut weight = vec![0.0; n_in];
        for j in 0..n_out {
            panels.row(j, &mut weight);
            for (i, x) in x.chunks_exact(n_in).enumerate() {
                let expected: f64 =
                    x.iter().zip(&weight).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let off = (f64::from(out[i * n_out + j]) - expected).abs();
                assert!(off < 1e-4 * (n_in as f64).sqrt(), "({i}, {j}) of {n_out}: {off}");
            }
        }
    }
}

fn scaled(n_out: usize, n_in: usize, form: BlockForm) -> Panels {
    let width = form.width;
    Panels::from_blocks((n_out, n_in), form, |row, idx| {
        let mut rng = Rng::new((row * 1_000 + idx) as u64);
        let codes = std::array::from_fn(|_| match width {
            CodeWidth::Four => (rng.next() % 16) as i8,
            CodeWidth::Eight => rng.next() as i8,
        });
        let scale = match width {
            CodeWidth::Four => 0.1,
            CodeWidth::Eight => 0.01,
        };
        let min = if form.has_mins { rng.unit() - 0.5 } else { 0.0 };
        Block { codes, scale: scale * rng.unit(), min }
    })
}

const FORMS: [BlockForm; 5] = [
    BlockForm { width: CodeWidth::Four, block: 32, has_mins: true },
    BlockForm { width: CodeWidth::Eight, block: 32, has_mins: true },
    BlockForm { width: CodeWidth::Eight, block: 32, has_mins: false },
    BlockForm { width: CodeWidth::Four, block: 16, has_mins: true },
    BlockForm { width: CodeWidth::Eight, block: 16, has_mins: false },
];

#[test]
fn multiplies_matrices_of_any_size() {
    for (n_out, n_in) in [(32, 32), (1, 1), (33, 7), (100, 90), (1_000, 200)] {
        let weight = values(n_out * n_in, 1);
        let panels = Panels::from_f32(&weight, n_in);
        let mut row = vec![0.0; n_in];
        panels.row(n_out - 1, &mut row);
        assert_eq!(row, weight[(n_out - 1) * n_in..], "a row comes back as it was");
        for rows in [1, 2, 3, 11, 12, 37] {
            check(&panels, rows);
        }
    }
}

#[test]
fn a_row_gets_the_same_numbers_alone_and_in_a_batch() {
    let (n_out, n_in, rows) = (70, 288, ROWS_MANY + 3);
    let x = values(rows * n_in, 5);
    let plain = Panels::from_f32(&values(n_out * n_in, 6), n_in);
    let bits: Vec<u8> = values(n_out * n_in, 7)
        .into_iter()
        .flat_map(|it| half::bf16::from_f32(it).to_le_bytes())
        .collect();
    let row = |row: usize| &bits[row * n_in * 2..][..n_in * 2];
    let halves = Panels::from_halves((n_out, n_in), HalfKind::Bf16, row);
    let quantised = FORMS.map(|form| scaled(n_out, n_in, form));
    for panels in [plain, halves].into_iter().chain(quantised) {
        let [together] = Panels::matmul_together([&panels], &x);
        for n in 1..rows {
            let [some] = Panels::matmul_together([&panels], &x[..n * n_in]);
            assert!(some == together[..n * n_out], "{n} of {rows} rows");
        }
    }
}

#[test]
fn several_products_at_once_equal_each_alone() {
    let x = values(3 * 64, 8);
    let (a, b) = (scaled(40, 64, FORMS[0]), Panels::from_f32(&values(7 * 64, 9), 64));
    let [first, second] = Panels::matmul_together([&a, &b], &x);
    let ([a], [b]) = (Panels::matmul_together([&a], &x), Panels::matmul_together([&b], &x));
    assert!(first == a && second == b);
    let [none] = Panels::matmul_together([&scaled(40, 64, FORMS[0])], &[]);
    assert!(none.is_empty());
}

#[test]
fn multiplies_quantised_matrices() {
    for form in FORMS {
        for (n_out, n_in) in [(32, 32), (50, 96), (1_000, 256)] {
            for rows in [1, 2, 13] {
                check(&scaled(n_out, n_in, form), rows);
            }
        }
    }
}

#[test]
fn quantised_rows_are_what_their_blocks_say() {
    for form in FORMS {
        let block = |row: usize, _: usize| Block {
            codes: std::array::from_fn(|idx| ((row + idx) % 16) as i8),
            scale: 0.5,
            min: if form.has_mins { -1.0 } else { 0.0 },
        };
        let panels = Panels::from_blocks((40, 64), form, block);
        let mut row = vec![0.0; 64];
        panels.row(35, &mut row);
        let min = if form.has_mins { 1.0 } else { 0.0 };
        let expected: Vec<f32> =
            (0..64).map(|k| ((35 + k % form.block) % 16) as f32 * 0.5 - min).collect();
        assert_eq!(row, expected);
    }
}

#[test]
fn multiplies_matrices_of_16_bits() {
    for kind in [HalfKind::F16, HalfKind::Bf16] {
        for (n_out, n_in) in [(32, 32), (1, 1), (33, 7), (1_000, 200)] {
            let bits: Vec<[u8; 2]> = values(n_out * n_in, 2)
                .into_iter()
                .map(|it| match kind {
                    HalfKind::F16 => half::f16::from_f32(it).to_le_bytes(),
                    HalfKind::Bf16 => half::bf16::from_f32(it).to_le_bytes(),
                })
                .collect();
            let bytes = bits.as_flattened();
            let row = |row: usize| &bytes[row * n_in * 2..][..n_in * 2];
            let panels = Panels::from_halves((n_out, n_in), kind, row);
            for rows in [1, 2, 13, ROWS_MANY] {
                check(&panels, rows);
            }
        }
    }
}

#[test]
fn what_16_bits_cannot_hold_is_not_rounded() {
    let rounded = |last: f32| Panels::rounded_to_f16(&[1.0, -2.0, 0.5, last], 2);
    let panels = rounded(-65_504.0).expect("the largest number of half precision fits");
    let mut row = [0.0; 2];
    panels.row(1, &mut row);
    assert_eq!(row, [0.5, -65_504.0]);
    for it in [65_505.0, 1e9, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        assert!(rounded(it).is_none(), "{it}");
    }
}
