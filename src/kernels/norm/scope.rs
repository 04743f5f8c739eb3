//! What is normalized together in `x [items, channels, inner]`, and where its elements lie.

use crate::kernels::rows::{RowExtents, check_pairs};
use crate::kernels::shape::{ShapeError, check_extents, check_index, check_multiple};
use crate::kernels::{FloatType, TINY};
use crate::record::params;

params! {
    /// Uniform of the kernels `norm` and `norm_backward`.
    struct ParamsOfNorm {
        rows: u32,
        columns: u32,
        groups: u32,
        group_channels: u32,
        inner: u32,
        epsilon: f32,
        momentum: f32,
    }
}

/// What shares a mean and a deviation: a *row* of the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Groups of neighbouring channels of one item. One group is layer normalization, as many as channels
    /// is instance normalization (Wu and He 2018).
    Groups(u32),
    /// One channel of all items: batch normalization (Ioffe and Szegedy 2015).
    Channel,
}

/// Shape of a normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NormShape {
    /// Outermost extent: rows of a matrix, images of a batch.
    pub items: u32,
    /// Channels, each with its own factor and addend: columns of a matrix.
    pub channels: u32,
    /// Elements of one channel of one item: 1 for a matrix.
    pub inner: u32,
    /// What is normalized together.
    pub scope: Scope,
}

impl NormShape {
    /// Layer normalization of the rows of a matrix.
    pub const fn rows(items: u32, channels: u32) -> Self {
        Self {
            items,
            channels,
            inner: 1,
            scope: Scope::Groups(1),
        }
    }

    pub(in crate::kernels) fn check(
        &self,
        kernel: &'static str,
        out: FloatType,
    ) -> Result<(), ShapeError> {
        let extents = [
            ("items", self.items.into()),
            ("channels", self.channels.into()),
            ("inner", self.inner.into()),
        ];
        check_extents(kernel, &extents)?;
        let rows = u64::from(self.items) * u64::from(self.channels);
        check_index(kernel, "items * channels", rows)?;
        check_index(
            kernel,
            "items * channels * inner",
            rows * u64::from(self.inner),
        )?;
        let run = match self.scope {
            Scope::Groups(groups) => {
                let of = ("groups", groups.into());
                check_multiple(kernel, ("channels", self.channels.into()), of)?;
                ("elements of a group", self.group_channels() * self.inner)
            }
            Scope::Channel => ("inner", self.inner),
        };
        check_pairs(kernel, out, run)?;
        self.extents().check(kernel)
    }

    /// Rows and elements of each.
    pub(in crate::kernels) fn extents(&self) -> RowExtents {
        let inner = u64::from(self.inner);
        match self.scope {
            Scope::Groups(groups) => RowExtents {
                rows: u64::from(self.items) * u64::from(groups),
                columns: u64::from(self.group_channels()) * inner,
            },
            Scope::Channel => RowExtents {
                rows: self.channels.into(),
                columns: u64::from(self.items) * inner,
            },
        }
    }

    /// How many runs are normalized: rows of the statistics.
    pub fn row_count(&self) -> usize {
        self.extents().rows as usize
    }

    pub(in crate::kernels) const fn elements(&self) -> u64 {
        self.items as u64 * self.channels as u64 * self.inner as u64
    }

    const fn group_channels(&self) -> u32 {
        match self.scope {
            Scope::Groups(groups) => self.channels / groups,
            Scope::Channel => 1,
        }
    }

    /// Index of an element and its channel.
    pub(in crate::kernels) fn place(&self, row: usize, column: usize) -> (usize, usize) {
        let inner = self.inner as usize;
        match self.scope {
            Scope::Groups(groups) => {
                let group_channels = self.group_channels() as usize;
                let first = row % groups as usize * group_channels;
                (
                    row * group_channels * inner + column,
                    first + column / inner,
                )
            }
            Scope::Channel => {
                let row_start = (column / inner * self.channels as usize + row) * inner;
                (row_start + column % inner, row)
            }
        }
    }

    /// Module of the slot `place`.
    pub(in crate::kernels) const fn module(&self) -> &'static str {
        match self.scope {
            Scope::Groups(_) => "group",
            Scope::Channel => "channel",
        }
    }

    pub(in crate::kernels) fn describe(&self) -> String {
        let Self {
            items,
            channels,
            inner,
            scope,
        } = self;
        let scope = match scope {
            Scope::Groups(groups) => format!("groups={groups}"),
            Scope::Channel => "per channel".to_owned(),
        };
        format!("items={items} channels={channels} inner={inner} {scope}")
    }

    pub(in crate::kernels) fn params(&self, epsilon: f32, momentum: f32) -> Vec<u8> {
        let RowExtents { rows, columns } = self.extents();
        let groups = match self.scope {
            Scope::Groups(groups) => groups,
            Scope::Channel => 1,
        };
        let params = ParamsOfNorm {
            rows: rows as u32,
            columns: columns as u32,
            groups,
            group_channels: self.group_channels(),
            inner: self.inner,
            epsilon,
            momentum,
        };
        bytemuck::bytes_of(&params).to_vec()
    }

    pub(in crate::kernels) const fn param_fields() -> &'static [(&'static str, usize)] {
        ParamsOfNorm::FIELDS
    }
}

/// Refuses an addend under the root that does not keep it positive, and shares outside [0, 1].
pub(in crate::kernels) fn check_settings(
    kernel: &'static str,
    epsilon: f32,
    momentum: f32,
) -> Result<(), ShapeError> {
    let refused = |name, value: f32, allowed| ShapeError::Unsupported {
        kernel,
        name,
        value: value.to_string(),
        allowed,
    };
    if !(epsilon.is_finite() && f64::from(epsilon) >= TINY) {
        return Err(refused("epsilon", epsilon, "normal positive numbers"));
    }
    if !(0.0..=1.0).contains(&momentum) {
        return Err(refused("momentum", momentum, "0 to 1"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_cover_every_element_once() {
        for scope in [Scope::Groups(1), Scope::Groups(3), Scope::Channel] {
            let shape = NormShape {
                items: 4,
                channels: 6,
                inner: 5,
                scope,
            };
            let RowExtents { rows, columns } = shape.extents();
            let mut seen = [0; 120];
            for row in 0..rows as usize {
                for column in 0..columns as usize {
                    let (index, channel) = shape.place(row, column);
                    assert_eq!(channel, index / 5 % 6, "{scope:?}");
                    seen[index] += 1;
                }
            }
            assert!(seen.iter().all(|&count| count == 1), "{scope:?}");
        }
    }
}
