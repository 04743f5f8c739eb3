//! Caches of keys or values in int8: a quarter of the memory of f32, a scale for each row.

use std::ops::Range;

use crate::kernels::FloatType;
use crate::kernels::attention::{Attention, AttentionShape, KeyStorage, Place};
use crate::kernels::cache_quantize::CacheQuantize;
use crate::record::{Buffer, Recording, Tensor};
use crate::tensor::DType;

use super::super::matmul::float;
use super::super::{CodedRows, OpError, check_shape, check_type, extent};
use super::attention::{check_lengths, codes_of_parts, in_parts, with_options};
use super::rotary::HeadsRead;
use super::{AttentionOptions, HeadOrder};

const OP: &str = "int8_cache";

/// Rows of keys or of values in int8.
#[derive(Debug, Clone)]
pub struct Int8Cache {
    /// Codes, int8 `[batch, kv_heads, capacity, dim]`.
    pub codes: Tensor,
    /// What the codes of a row are multiplied by, f32 `[batch, kv_heads, capacity]`.
    pub scales: Tensor,
}

impl Int8Cache {
    /// A cache that lives as long as its handles. [`Self::clear`] gives it memory.
    pub fn new([batch, kv_heads, capacity, dim]: [usize; 4]) -> Self {
        Self {
            codes: Tensor::new(DType::I8, &[batch, kv_heads, capacity, dim]),
            scales: Tensor::new(DType::F32, &[batch, kv_heads, capacity]),
        }
    }

    /// Uploads zeros to all rows: once, before anything is appended.
    ///
    /// # Errors
    /// [`OpError::Record`] when the tensors are not those of [`Self::new`].
    pub fn clear(&self, recording: &mut Recording) -> Result<(), OpError> {
        for (tensor, elements) in [(&self.codes, 4), (&self.scales, 1)] {
            let zeros = vec![0; tensor.len().div_ceil(elements)];
            recording.upload_words(tensor.buffer(), zeros)?;
        }
        Ok(())
    }

    fn extents(&self, what: &'static str) -> Result<[u32; 4], OpError> {
        let &[batch, heads, capacity, dim] = self.codes.shape() else {
            return Err(OpError::Shape {
                op: OP,
                what,
                got: self.codes.shape().to_vec(),
                expected: "[batch, kv_heads, capacity, dim]".to_owned(),
            });
        };
        check_type(OP, what, &self.codes, DType::I8)?;
        check_shape(OP, "scales", &self.scales, &[batch, heads, capacity])?;
        check_type(OP, "scales", &self.scales, DType::F32)?;
        Ok([
            extent(OP, "batch", batch)?,
            extent(OP, "kv_heads", heads)?,
            extent(OP, "capacity", capacity)?,
            extent(OP, "dim", dim)?,
        ])
    }
}

/// Quantizes heads of x, f32 `[batch, tokens, heads, dim]` or in the other order, all of them unless given, and
/// puts token t of a sequence into the row `starts + t` of the cache, starts being u32 `[batch]`. What would lie
/// behind the last row is left out.
///
/// # Errors
/// [`OpError`] for shapes that do not go together, heads past the last one, and other types; nothing is
/// recorded then.
pub fn append_to_int8_cache(
    recording: &mut Recording,
    (x, order, heads): (&Tensor, HeadOrder, Option<Range<usize>>),
    starts: &Tensor,
    cache: &Int8Cache,
) -> Result<(), OpError> {
    check_type(OP, "x", x, DType::F32)?;
    let read = HeadsRead::new(x, order, heads)?;
    let [batch, heads, tokens, dim] = read.extents;
    let [_, _, capacity, _] = cache.extents("cache")?;
    let expected = [batch, heads, capacity, dim].map(|extent| extent as usize);
    check_shape(OP, "cache", &cache.codes, &expected)?;
    check_shape(OP, "starts", starts, &[batch as usize])?;
    check_type(OP, "starts", starts, DType::U32)?;
    let launch = CacheQuantize {
        batch,
        heads,
        tokens,
        dim,
        capacity,
        x_place: read.place,
    }
    .launch()?;
    let buffers = [
        (1, x.buffer()),
        (2, starts.buffer()),
        (8, cache.codes.buffer()),
        (9, cache.scales.buffer()),
    ];
    recording.dispatch(launch, &buffers)?;
    Ok(())
}

/// Attention over caches in int8 whose keys are cut into `splits` parts, at least 1; the order of keys and
/// values in the options is not read.
///
/// # Errors
/// [`OpError`] for shapes that do not go together, and as [`super::attention_in_parts`].
pub fn attention_over_int8(
    recording: &mut Recording,
    q: &Tensor,
    caches: [&Int8Cache; 2],
    splits: u32,
    options: &AttentionOptions,
) -> Result<Tensor, OpError> {
    let (parts, buffers) = over_int8(q, caches, splits, options)?;
    in_parts(recording, parts, &buffers, (q.shape(), options.out))
}

/// The same as codes of rows, as [`super::attention_codes`].
///
/// # Errors
/// As [`attention_over_int8`] and [`super::attention_codes`].
pub fn attention_codes_over_int8(
    recording: &mut Recording,
    q: &Tensor,
    caches: [&Int8Cache; 2],
    (splits, segment): (u32, u32),
    options: &AttentionOptions,
) -> Result<CodedRows, OpError> {
    let (parts, buffers) = over_int8(q, caches, splits, options)?;
    codes_of_parts(recording, parts, &buffers, segment)
}

/// Buffers by binding.
type Operands<'a> = Vec<(u32, &'a Buffer)>;

/// The launch over parts of the keys, and its operands by binding.
fn over_int8<'a>(
    q: &'a Tensor,
    [keys, values]: [&'a Int8Cache; 2],
    splits: u32,
    options: &'a AttentionOptions,
) -> Result<(Attention, Operands<'a>), OpError> {
    let read = HeadsRead::new(q, options.order, None)?;
    let [batch, heads, queries, dim] = read.extents;
    let [_, kv_heads, capacity, _] = keys.extents("keys")?;
    let expected = [batch, kv_heads, capacity, dim].map(|extent| extent as usize);
    check_shape(OP, "keys", &keys.codes, &expected)?;
    values.extents("values")?;
    check_shape(OP, "values", &values.codes, &expected)?;
    let shared = Place::heads_first(kv_heads, capacity, dim);
    let extents = [batch, heads, kv_heads, queries, capacity, dim];
    let shape = AttentionShape {
        q: read.place,
        k: shared,
        v: shared,
        out: read.place,
        ..with_options(AttentionShape::heads_first(extents), options)
    };
    check_lengths(&shape, options)?;
    let parts = Attention {
        shape,
        splits,
        q: float(OP, "q", q)?,
        kv: KeyStorage::Int8,
        out: FloatType::F32,
    };
    let mut buffers = vec![
        (1, q.buffer()),
        (2, keys.codes.buffer()),
        (3, values.codes.buffer()),
        (4, keys.scales.buffer()),
        (6, values.scales.buffer()),
    ];
    buffers.extend(options.lengths.iter().map(|lengths| (7, lengths.buffer())));
    Ok((parts, buffers))
}
