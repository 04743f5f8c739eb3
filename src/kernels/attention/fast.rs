//! Attention on a host's cores: a row of the result after the other, its scores first.

use crate::kernels::fast::{Stored, add_scaled, dot, fill, fill_stored};
use crate::record::{HostOperands, HostResults};

use super::{Attention, K, KEY_SCALES, KeyStorage, LOG_SUMS, LOWEST, OUT, Q, V, VALUE_SCALES};

/// Room for what a row needs.
struct Scratch {
    query: Vec<f32>,
    other: Vec<f32>,
    scores: Vec<f32>,
}

impl Attention {
    pub(super) fn compute(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) {
        let shape = &self.shape;
        let (splits, dim) = (self.splits as usize, shape.dim as usize);
        let [heads, queries] = [shape.heads, shape.queries].map(|extent| extent as usize);
        let stored = |binding, scales| match self.kv {
            KeyStorage::Float(storage) => Stored::new(storage, operands.words(binding)),
            KeyStorage::Int8 => Stored::Int8 {
                codes: bytemuck::cast_slice(operands.words(binding)),
                scales: operands.f32(scales),
                columns: dim,
            },
        };
        let q = Stored::new(self.q, operands.words(Q));
        let (k, v) = (stored(K, KEY_SCALES), stored(V, VALUE_SCALES));
        let keys_of = |sequence: usize, split: usize, query: usize| {
            let length = shape.length(sequence, operands);
            let part = length.div_ceil(splits);
            let end = shape.visible(query, length).min((split + 1) * part);
            split * part..end.max(split * part)
        };
        // Rows in the order of the logarithms, each with its logarithm behind it.
        let rows = shape.rows() as usize * splits;
        let mut made = vec![0.0; rows * (dim + 1)];
        let scratch = || Scratch {
            query: vec![0.0; dim],
            other: vec![0.0; dim],
            scores: Vec::new(),
        };
        let cost = dim * shape.keys as usize / splits;
        fill(&mut made, (dim + 1, cost), scratch, |scratch, row, made| {
            let (query, head) = (row % queries, row / queries % heads);
            let (split, sequence) = (
                row / queries / heads % splits,
                row / queries / heads / splits,
            );
            let kv_head = shape.kv_head(head);
            let (out, log_sum) = made.split_at_mut(dim);
            let keys = keys_of(sequence, split, query);
            if keys.is_empty() {
                log_sum[0] = LOWEST as f32;
                return;
            }
            let row = q.read(shape.q.start(sequence, head, query), &mut scratch.query);
            scratch.scores.clear();
            for key in keys.clone() {
                let key = k.read(shape.k.start(sequence, kv_head, key), &mut scratch.other);
                scratch.scores.push(shape.scale * dot(row, key));
            }
            let largest = scratch.scores.iter().copied().fold(f32::MIN, f32::max);
            let mut sum = 0.0;
            for score in &mut scratch.scores {
                *score = (*score - largest).exp();
                sum += *score;
            }
            for (key, &weight) in keys.zip(&scratch.scores) {
                let value = v.read(shape.v.start(sequence, kv_head, key), &mut scratch.other);
                add_scaled(out, weight, value);
            }
            let inverse = 1.0 / sum;
            out.iter_mut().for_each(|out| *out *= inverse);
            log_sum[0] = largest + sum.ln();
        });

        let logs = &mut results.f32(LOG_SUMS)[..rows];
        for (log, made) in logs.iter_mut().zip(made.chunks_exact(dim + 1)) {
            *log = made[dim];
        }
        let place = shape.split_out(self.splits);
        let len = shape.batch as usize * place.batch as usize;
        fill_stored(results, OUT, (self.out, len), |values| {
            for (row, made) in made.chunks_exact(dim + 1).enumerate() {
                let (query, head) = (row % queries, row / queries % heads);
                let (split, sequence) = (
                    row / queries / heads % splits,
                    row / queries / heads / splits,
                );
                let start = place.start(sequence, head, query)
                    + split * (place.batch as usize / splits) * usize::from(splits > 1);
                values[start..start + dim].copy_from_slice(&made[..dim]);
            }
        });
    }
}
