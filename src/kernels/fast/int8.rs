//! Integer products: codes of activations with those of a weight, whose sums are exact in any order.

use crate::kernels::row_codes::RowCodes;

use super::lanes::dot_integers;
use super::product::Sums;
use super::weight::{HostWeight, Scratch};

/// Activations in int8: codes, and behind each other the scales of their segments and sums that are not needed here.
#[derive(Debug, Clone, Copy)]
pub struct HostRows<'a> {
    pub shape: RowCodes,
    pub codes: &'a [u32],
    pub scales: &'a [f32],
}

/// A weight's row as integers, with its groups.
struct Column {
    groups: Scratch,
    codes: Vec<i16>,
}

impl HostWeight<'_> {
    /// The product of quantized rows with the weight.
    pub fn integer_product(&self, x: HostRows<'_>) -> Sums {
        let (m, k) = (x.shape.m as usize, x.shape.k as usize);
        let segment = x.shape.segment as usize;
        let codes: &[i8] = bytemuck::cast_slice(x.codes);
        let rows = codes.chunks_exact(4 * x.shape.row_words() as usize);
        let wide = |row: &[i8]| row[..k].iter().copied().map(i16::from).collect::<Vec<_>>();
        let rows: Vec<i16> = rows.take(m).flat_map(wide).collect();
        // Sums of a row's segments, for what minima add.
        let has_minima = self.has_minima();
        let total = |codes: &[i16]| codes.iter().copied().map(i32::from).sum::<i32>() as f32;
        let totals = |row: &[i16]| row.chunks(segment).map(total).collect::<Vec<_>>();
        let totals: Vec<Vec<f32>> = rows.chunks_exact(k).map(totals).collect();
        let room = || Column {
            groups: self.scratch(),
            codes: vec![0; k],
        };
        Sums::of_panels((m, self.n(), k), room, |column, columns, sums| {
            for (at, index) in columns.enumerate() {
                self.load_integers(index, &mut column.groups, &mut column.codes);
                for (row, (x_codes, sums)) in rows.chunks_exact(k).zip(&mut *sums).enumerate() {
                    let pairs = x_codes.chunks(segment).zip(column.codes.chunks(segment));
                    let mut sum = 0.0;
                    for (number, (x_codes, codes)) in pairs.enumerate() {
                        let integer = dot_integers(x_codes, codes) as f32;
                        let scale = x.scales[x.shape.scale_at(row, number)];
                        let begin = number * segment;
                        sum += scale * integer * self.scale_of(&column.groups, begin);
                        if has_minima {
                            let minimum = self.minimum_of(&column.groups, begin);
                            sum += scale * totals[row][number] * minimum;
                        }
                    }
                    sums[at] = sum;
                }
            }
        })
    }
}
