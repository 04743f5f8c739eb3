//! Rotary positions on a host's cores: few enough elements for one of them.

use crate::kernels::FloatType;
use crate::kernels::fast::Stored;
use crate::record::{HostOperands, HostResults};

use super::{ANGLES, Destination, OUT, Rotary, Rotation, STARTS, X};

impl Rotary {
    pub(super) fn compute(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) {
        let (dim, sequences) = (self.dim as usize, self.batch as usize);
        let x = Stored::new(self.x, operands.words(X));
        let most = self.positions.max(self.capacity());
        let (mut read, mut turned) = (vec![0.0; dim], vec![0.0; dim]);
        for (sequence, &start) in operands.words(STARTS)[..sequences].iter().enumerate() {
            for token in 0..self.tokens as usize {
                let position = start.min(most) as usize + token;
                let row = match self.destination {
                    Destination::Rows => token,
                    Destination::Cache { .. } => position,
                };
                if row >= self.capacity() as usize {
                    continue;
                }
                let angles = match self.rotation {
                    Rotation::None => &[],
                    Rotation::Halves | Rotation::Neighbours => {
                        let row = position.min(self.positions as usize - 1);
                        &operands.f32(ANGLES)[row * dim..(row + 1) * dim]
                    }
                };
                for head in 0..self.heads as usize {
                    let x = x.read(self.x_place.start(sequence, head, token), &mut read);
                    self.turn(x, angles, &mut turned);
                    // Rows begin at words: places are multiples of four.
                    let to = self.out_place.start(sequence, head, row);
                    match self.out {
                        FloatType::F32 => {
                            results.f32(OUT)[to..to + dim].copy_from_slice(&turned);
                        }
                        FloatType::F16 | FloatType::Bf16 => {
                            let words = self.out.pack(&turned);
                            results.words(OUT)[to / 2..(to + dim) / 2].copy_from_slice(&words);
                        }
                    }
                }
            }
        }
    }

    /// One row; `angles` holds the cosine and sine of each pair.
    fn turn(&self, x: &[f32], angles: &[f32], turned: &mut [f32]) {
        if self.rotation == Rotation::None {
            turned.copy_from_slice(x);
            return;
        }
        for (element, turned) in turned.iter_mut().enumerate() {
            let (partner, pair, is_first) = self.rotation.pair(element, x.len());
            let (kept, turn) = (
                x[element] * angles[2 * pair],
                x[partner] * angles[2 * pair + 1],
            );
            *turned = if is_first == self.is_backward {
                kept + turn
            } else {
                kept - turn
            };
        }
    }
}
