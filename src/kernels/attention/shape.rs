//! Shapes of attention: extents, where operands lie, which keys a query sees.

use crate::kernels::FloatType;
use crate::kernels::running::Running;
use crate::kernels::shape::{ShapeError, check_extents, check_index, check_multiple};
use crate::record::{HostOperands, params};

use super::LENGTHS;

/// Longest row of scores: a sum over more keys has no useful error bound.
const MAX_KEYS: u64 = 1 << 22;

/// Longest head: rows are held in registers.
const MAX_DIM: u64 = 256;

params! {
    /// Uniform of the attention kernels.
    struct ParamsOfAttention {
        batch: u32,
        heads: u32,
        kv_heads: u32,
        queries: u32,
        keys: u32,
        splits: u32,
        mask: u32,
        scale: f32,
        q_offset: u32,
        q_batch: u32,
        q_head: u32,
        q_token: u32,
        k_offset: u32,
        k_batch: u32,
        k_head: u32,
        k_token: u32,
        v_offset: u32,
        v_batch: u32,
        v_head: u32,
        v_token: u32,
        out_batch: u32,
        out_split: u32,
        out_head: u32,
        out_token: u32,
    }
}

/// Which keys a query sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// All of them.
    Full,
    /// The last query sees all keys, each query before it one key less.
    Causal,
    /// The same, counted from the end of the keys that a sequence has, for a cache that is not full.
    CausalInCache,
}

impl Mask {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Full, Self::Causal, Self::CausalInCache];

    /// Name in printed shapes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Causal => "causal",
            Self::CausalInCache => "cached",
        }
    }
}

/// How many keys each sequence has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyCounts {
    /// As many as the shape says.
    All,
    /// As a u32 tensor `[batch]` says; more than there are count as all.
    PerSequence,
}

impl KeyCounts {
    /// Name of the module.
    pub const fn module(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::PerSequence => "tensor",
        }
    }
}

/// Where the rows of an operand lie, in elements: all multiples of 4, so that rows are read four elements
/// at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Of the first row of a sequence.
    pub offset: u32,
    /// From one sequence to the next.
    pub batch: u32,
    /// From one head to the next.
    pub head: u32,
    /// From one token to the next.
    pub token: u32,
}

impl Place {
    /// `[batch, heads, tokens, dim]`.
    pub const fn heads_first(heads: u32, tokens: u32, dim: u32) -> Self {
        Self {
            offset: 0,
            batch: heads.saturating_mul(tokens).saturating_mul(dim),
            head: tokens.saturating_mul(dim),
            token: dim,
        }
    }

    /// `[batch, tokens, heads, dim]`, as a linear layer gives it.
    pub const fn tokens_first(heads: u32, tokens: u32, dim: u32) -> Self {
        Self {
            offset: 0,
            batch: heads.saturating_mul(tokens).saturating_mul(dim),
            head: dim,
            token: heads.saturating_mul(dim),
        }
    }

    /// First element of a row.
    pub(in crate::kernels) const fn start(
        self,
        sequence: usize,
        head: usize,
        token: usize,
    ) -> usize {
        self.offset as usize
            + sequence * self.batch as usize
            + head * self.head as usize
            + token * self.token as usize
    }

    /// Whether it is one of the two dense layouts.
    pub(in crate::kernels) fn is_dense(self, heads: u32, tokens: u32, dim: u32) -> bool {
        self == Self::heads_first(heads, tokens, dim)
            || self == Self::tokens_first(heads, tokens, dim)
    }

    pub(in crate::kernels) fn check(
        self,
        kernel: &'static str,
        name: &'static str,
        (batch, heads, tokens, dim): (u32, u32, u32, u32),
    ) -> Result<(), ShapeError> {
        for stride in [self.offset, self.batch, self.head, self.token] {
            check_multiple(
                kernel,
                (name, stride.into()),
                ("elements read together,", 4),
            )?;
        }
        let last = |extent: u32, stride: u32| u64::from(extent - 1) * u64::from(stride);
        let within = u64::from(self.offset)
            + last(heads, self.head)
            + last(tokens, self.token)
            + u64::from(dim);
        if within > self.batch.into() {
            return Err(ShapeError::TooLarge {
                kernel,
                name,
                value: within,
                limit: self.batch.into(),
                reason: "elements of one sequence",
            });
        }
        check_index(kernel, name, u64::from(batch) * u64::from(self.batch))
    }
}

/// Extents of attention, and where its operands lie. Query head h reads the keys of head
/// `h / (heads / kv_heads)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Sequences.
    pub batch: u32,
    /// Heads of the queries.
    pub heads: u32,
    /// Heads of keys and values: divides `heads`.
    pub kv_heads: u32,
    /// Queries of a sequence.
    pub queries: u32,
    /// Keys of a sequence, at most.
    pub keys: u32,
    /// Elements of a row: a multiple of 4.
    pub dim: u32,
    /// Which keys a query sees.
    pub mask: Mask,
    /// Where the number of keys comes from.
    pub lengths: KeyCounts,
    /// What products of queries and keys are multiplied by.
    pub scale: f32,
    /// Rows of queries.
    pub q: Place,
    /// Rows of keys.
    pub k: Place,
    /// Rows of values.
    pub v: Place,
    /// Rows of the result: one of the dense places.
    pub out: Place,
}

impl AttentionShape {
    /// Dense operands, `[batch, heads, tokens, dim]`, of which every key is seen, scaled by `1 / sqrt(dim)`.
    pub fn heads_first([batch, heads, kv_heads, queries, keys, dim]: [u32; 6]) -> Self {
        let own = Place::heads_first(heads, queries, dim);
        let shared = Place::heads_first(kv_heads, keys, dim);
        Self {
            batch,
            heads,
            kv_heads,
            queries,
            keys,
            dim,
            mask: Mask::Full,
            lengths: KeyCounts::All,
            scale: (1.0 / f64::from(dim).sqrt()) as f32,
            q: own,
            k: shared,
            v: shared,
            out: own,
        }
    }

    /// The same for operands `[batch, tokens, heads, dim]`.
    pub fn tokens_first(extents: [u32; 6]) -> Self {
        let [_, heads, kv_heads, queries, keys, dim] = extents;
        let own = Place::tokens_first(heads, queries, dim);
        let shared = Place::tokens_first(kv_heads, keys, dim);
        Self {
            q: own,
            k: shared,
            v: shared,
            out: own,
            ..Self::heads_first(extents)
        }
    }

    pub(in crate::kernels) fn check(&self, kernel: &'static str) -> Result<(), ShapeError> {
        let Self {
            batch,
            heads,
            kv_heads,
            queries,
            keys,
            dim,
            ..
        } = *self;
        let extents = [
            ("batch", batch.into()),
            ("heads", heads.into()),
            ("kv_heads", kv_heads.into()),
            ("queries", queries.into()),
            ("keys", keys.into()),
            ("dim", dim.into()),
        ];
        check_extents(kernel, &extents)?;
        check_multiple(
            kernel,
            ("heads", heads.into()),
            ("kv_heads", kv_heads.into()),
        )?;
        check_multiple(kernel, ("dim", dim.into()), ("elements read together,", 4))?;
        let longest = |name, value: u32, limit, reason| {
            if u64::from(value) <= limit {
                return Ok(());
            }
            Err(ShapeError::TooLarge {
                kernel,
                name,
                value: value.into(),
                limit,
                reason,
            })
        };
        longest(
            "keys",
            keys,
            MAX_KEYS,
            "longer f32 sums have no useful error bound",
        )?;
        longest("queries", queries, 1 << 30, "32-bit indices")?;
        longest("dim", dim, MAX_DIM, "rows are held in registers")?;
        if !self.scale.is_finite() {
            return Err(ShapeError::Unsupported {
                kernel,
                name: "scale",
                value: self.scale.to_string(),
                allowed: "finite numbers",
            });
        }
        self.q.check(kernel, "q", (batch, heads, queries, dim))?;
        self.k.check(kernel, "k", (batch, kv_heads, keys, dim))?;
        self.v.check(kernel, "v", (batch, kv_heads, keys, dim))?;
        self.out
            .check(kernel, "out", (batch, heads, queries, dim))?;
        if !self.out.is_dense(heads, queries, dim) {
            return Err(ShapeError::Unsupported {
                kernel,
                name: "the place of the result",
                value: format!("{:?}", self.out),
                allowed: "[batch, heads, queries, dim] and [batch, queries, heads, dim]",
            });
        }
        Ok(())
    }

    pub(in crate::kernels) fn describe(&self) -> String {
        let Self {
            batch,
            heads,
            kv_heads,
            queries,
            keys,
            dim,
            ..
        } = self;
        let places = [
            ("q", self.q, *heads, *queries),
            ("k", self.k, *kv_heads, *keys),
            ("v", self.v, *kv_heads, *keys),
            ("out", self.out, *heads, *queries),
        ];
        let mut place = String::new();
        for (name, at, heads, tokens) in places {
            if at == Place::heads_first(heads, tokens, *dim) {
                continue;
            }
            if at == Place::tokens_first(heads, tokens, *dim) {
                place.push_str(&format!(" {name}-tokens-first"));
            } else {
                let Place {
                    offset,
                    batch,
                    head,
                    token,
                } = at;
                place.push_str(&format!(" {name}-{offset}-{batch}-{head}-{token}"));
            }
        }
        let lengths = match self.lengths {
            KeyCounts::All => "",
            KeyCounts::PerSequence => " lengths",
        };
        let (mask, scale) = (self.mask.name(), self.scale);
        format!(
            "batch={batch} heads={heads} kv_heads={kv_heads} queries={queries} keys={keys} dim={dim} \
             {mask}{lengths} scale={scale}{place}"
        )
    }

    pub(in crate::kernels) fn params(&self, splits: u32) -> Vec<u8> {
        let mask = match self.mask {
            Mask::Full => 0,
            Mask::Causal => 1,
            Mask::CausalInCache => 2,
        };
        let out = self.split_out(splits);
        bytemuck::bytes_of(&ParamsOfAttention {
            batch: self.batch,
            heads: self.heads,
            kv_heads: self.kv_heads,
            queries: self.queries,
            keys: self.keys,
            splits,
            mask,
            scale: self.scale,
            q_offset: self.q.offset,
            q_batch: self.q.batch,
            q_head: self.q.head,
            q_token: self.q.token,
            k_offset: self.k.offset,
            k_batch: self.k.batch,
            k_head: self.k.head,
            k_token: self.k.token,
            v_offset: self.v.offset,
            v_batch: self.v.batch,
            v_head: self.v.head,
            v_token: self.v.token,
            out_batch: out.batch,
            out_split: if splits == 1 { 0 } else { out.batch / splits },
            out_head: out.head,
            out_token: out.token,
        })
        .to_vec()
    }

    pub(in crate::kernels) const fn param_fields() -> &'static [(&'static str, usize)] {
        ParamsOfAttention::FIELDS
    }

    /// Where results go: parts of the keys have one each, `[batch, splits, heads, queries, dim]`.
    pub(in crate::kernels) const fn split_out(&self, splits: u32) -> Place {
        if splits == 1 {
            return self.out;
        }
        let one = Place::heads_first(self.heads, self.queries, self.dim);
        Place {
            batch: one.batch.saturating_mul(splits),
            ..one
        }
    }

    /// Rows that read the same keys.
    pub(in crate::kernels) const fn shared_rows(&self) -> u64 {
        (self.heads / self.kv_heads) as u64 * self.queries as u64
    }

    /// Rows of queries in all.
    pub(in crate::kernels) const fn rows(&self) -> u64 {
        self.batch as u64 * self.heads as u64 * self.queries as u64
    }

    /// Keys of a sequence.
    pub(in crate::kernels) fn length(&self, sequence: usize, operands: &HostOperands<'_>) -> usize {
        match self.lengths {
            KeyCounts::All => self.keys as usize,
            KeyCounts::PerSequence => operands.words(LENGTHS)[sequence].min(self.keys) as usize,
        }
    }

    /// Keys, from the first one, that a query sees of `length`.
    pub(in crate::kernels) fn visible(&self, query: usize, length: usize) -> usize {
        let causal = |end: usize| (query + 1 + end).saturating_sub(self.queries as usize);
        match self.mask {
            Mask::Full => length,
            Mask::Causal => causal(self.keys as usize).min(length),
            Mask::CausalInCache => causal(length).min(length),
        }
    }

    /// Head of keys and values that a head of queries reads.
    pub(in crate::kernels) const fn kv_head(&self, head: usize) -> usize {
        head / (self.heads / self.kv_heads) as usize
    }

    /// `scale q k` of two rows.
    pub(in crate::kernels) fn score(&self, q: &[Running], k: &[Running]) -> Running {
        let scale = Running::loaded(self.scale);
        Running::sum(q.iter().zip(k).map(|(&q, &k)| scale * q * k))
    }

    /// Multiplies and adds of one product over all pairs of queries and keys that are seen.
    pub(in crate::kernels) fn product_operations(&self) -> f64 {
        let pairs = match self.mask {
            Mask::Full => f64::from(self.queries) * f64::from(self.keys),
            Mask::Causal | Mask::CausalInCache => (0..self.queries as usize)
                .map(|query| self.visible(query, self.keys as usize) as f64)
                .sum(),
        };
        2.0 * pairs * f64::from(self.batch) * f64::from(self.heads) * f64::from(self.dim)
    }
}

/// An operand's values with what loading them may lose to flushing.
pub(in crate::kernels) fn loaded(storage: FloatType, words: &[u32], len: usize) -> Vec<Running> {
    let values = storage.unpack(words, len);
    let one = |value: f32| {
        let value = f64::from(value);
        let flushed = value.abs() < storage.flush_below();
        Running::within(value, if flushed { value.abs() } else { 0.0 })
    };
    values.into_iter().map(one).collect()
}
