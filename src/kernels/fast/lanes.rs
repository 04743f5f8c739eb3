//! Inner loops over arrays of a fixed length, which compilers turn into vector instructions; compiled once for
//! what every processor has and once for AVX2, and chosen when they run.

/// Partial sums of a sum.
pub const LANES: usize = 16;

/// Rows of the left matrix that a tile of a product holds.
pub const TILE: usize = 4;

/// As many values as there are partial sums.
pub type Lanes = [f32; LANES];

/// Thirty-two values in the order of int4 codes: those of the low nibbles of sixteen bytes, then of the high ones.
pub type Nibbles = [f32; 2 * LANES];

/// Declares functions that choose between a body compiled for AVX2 and the same compiled for any processor.
macro_rules! vectorized {
    ($($(#[$meta:meta])* pub fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $body:ident;)+) => {
        $(
            $(#[$meta])*
            pub fn $name($($argument: $type),*) $(-> $result)? {
                #[cfg(target_arch = "x86_64")]
                {
                    #[target_feature(enable = "avx2")]
                    fn wide($($argument: $type),*) $(-> $result)? {
                        $body($($argument),*)
                    }
                    if std::arch::is_x86_feature_detected!("avx2") {
                        #[expect(unsafe_code, reason = "calling code for instructions that not every processor has is unsafe")]
                        // SAFETY: the processor has the instructions the function is compiled for, as was just asked.
                        return unsafe { wide($($argument),*) };
                    }
                }
                $body($($argument),*)
            }
        )+
    };
}

vectorized! {
    /// `sum a b` of two rows of the same length.
    pub fn dot(a: &[f32], b: &[f32]) -> f32 = dot_of;
    /// `sum x (code - zero)`
    pub fn dot_from(x: &[f32], codes: &[f32], zero: f32) -> f32 = dot_from_of;
    /// `sum row`
    pub fn sum(row: &[f32]) -> f32 = sum_of;
    /// `sum (row - around)^2`
    pub fn squares(row: &[f32], around: f32) -> f32 = squares_of;
    /// `result += factor row`
    pub fn add_scaled(result: &mut [f32], factor: f32, row: &[f32]) = add_scaled_of;
    /// `sum_g scale_g sum_k x (code - zero_g)` of a row of int4 codes, whose groups are `blocks` runs of sixteen bytes.
    pub fn dot_int4(x: &[Nibbles], codes: &[[u8; LANES]], groups: Groups<'_>) -> f32 = dot_int4_of;
    /// The same of int8 codes, whose groups are `blocks` runs of sixteen.
    pub fn dot_int8(x: &[Lanes], codes: &[[u8; LANES]], groups: Groups<'_>) -> f32 = dot_int8_of;
    /// `sum a b` of integers, which must fit 32 bits.
    pub fn dot_integers(a: &[i16], b: &[i16]) -> i32 = dot_integers_of;
    /// Int4 codes as numbers from 0 to 15, in the order of the row.
    pub fn unpack_int4(codes: &[[u8; 4]], values: &mut [[f32; 8]]) = unpack_int4_of;
    /// Int8 codes as numbers.
    pub fn unpack_int8(codes: &[u8], values: &mut [f32]) = unpack_int8_of;
    /// `value = (value - zero) scale + minimum`
    pub fn dequantize(values: &mut [f32], zero: f32, scale: f32, minimum: f32) = dequantize_of;
    /// Rows of the same length, one behind the other, as columns.
    pub fn as_columns(rows: &[f32], columns: &mut [Lanes]) = as_columns_of;
    /// Products of four rows with sixteen columns.
    pub fn tile(rows: &[[f32; TILE]], columns: &[Lanes]) -> [Lanes; TILE] = tile_of;
}

/// How codes of a row become numbers: for each group a factor and what is taken from a code first, in the domain
/// of the stored bits.
#[derive(Debug, Clone, Copy)]
pub struct Groups<'a> {
    /// Runs of sixteen bytes in a group.
    pub blocks: usize,
    /// For each group.
    pub scales: &'a [f32],
    /// For each group.
    pub zeros: &'a [i32],
}

/// The partial sums together, as a tree.
#[inline(always)]
fn total(mut lanes: Lanes) -> f32 {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for at in 0..width {
            lanes[at] += lanes[at + width];
        }
    }
    lanes[0]
}

#[inline(always)]
fn dot_of(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for at in 0..LANES {
            sums[at] += a[at] * b[at];
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum += a * b;
    }
    total(sums)
}

#[inline(always)]
fn dot_from_of(x: &[f32], codes: &[f32], zero: f32) -> f32 {
    let ((x, x_rest), (codes, codes_rest)) = (x.as_chunks::<LANES>(), codes.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (x, codes) in x.iter().zip(codes) {
        for at in 0..LANES {
            sums[at] += x[at] * (codes[at] - zero);
        }
    }
    for (sum, (x, code)) in sums.iter_mut().zip(x_rest.iter().zip(codes_rest)) {
        *sum += x * (code - zero);
    }
    total(sums)
}

#[inline(always)]
fn sum_of(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for at in 0..LANES {
            sums[at] += chunk[at];
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += value;
    }
    total(sums)
}

#[inline(always)]
fn squares_of(row: &[f32], around: f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for at in 0..LANES {
            let away = chunk[at] - around;
            sums[at] += away * away;
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        let away = value - around;
        *sum += away * away;
    }
    total(sums)
}

#[inline(always)]
fn add_scaled_of(result: &mut [f32], factor: f32, row: &[f32]) {
    for (sum, value) in result.iter_mut().zip(row) {
        *sum += factor * value;
    }
}

#[inline(always)]
fn dot_int4_of(x: &[Nibbles], codes: &[[u8; LANES]], groups: Groups<'_>) -> f32 {
    let mut sums = [0.0; LANES];
    let runs = x
        .chunks_exact(groups.blocks)
        .zip(codes.chunks_exact(groups.blocks));
    for ((x, codes), (&scale, &zero)) in runs.zip(groups.scales.iter().zip(groups.zeros)) {
        let mut own = [0.0; LANES];
        for (x, codes) in x.iter().zip(codes) {
            for at in 0..LANES {
                let low = (i32::from(codes[at] & 15) - zero) as f32;
                let high = (i32::from(codes[at] >> 4) - zero) as f32;
                own[at] += x[at] * low + x[LANES + at] * high;
            }
        }
        for at in 0..LANES {
            sums[at] += scale * own[at];
        }
    }
    total(sums)
}

#[inline(always)]
fn dot_int8_of(x: &[Lanes], codes: &[[u8; LANES]], groups: Groups<'_>) -> f32 {
    let mut sums = [0.0; LANES];
    let runs = x
        .chunks_exact(groups.blocks)
        .zip(codes.chunks_exact(groups.blocks));
    for ((x, codes), (&scale, &zero)) in runs.zip(groups.scales.iter().zip(groups.zeros)) {
        let mut own = [0.0; LANES];
        for (x, codes) in x.iter().zip(codes) {
            for at in 0..LANES {
                own[at] += x[at] * (i32::from(codes[at] as i8) - zero) as f32;
            }
        }
        for at in 0..LANES {
            sums[at] += scale * own[at];
        }
    }
    total(sums)
}

#[inline(always)]
fn dot_integers_of(a: &[i16], b: &[i16]) -> i32 {
    let pairs = a.iter().zip(b);
    pairs.map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

#[inline(always)]
fn unpack_int4_of(codes: &[[u8; 4]], values: &mut [[f32; 8]]) {
    for (codes, values) in codes.iter().zip(values) {
        for at in 0..4 {
            values[at] = i32::from(codes[at] & 15) as f32;
            values[4 + at] = i32::from(codes[at] >> 4) as f32;
        }
    }
}

#[inline(always)]
fn unpack_int8_of(codes: &[u8], values: &mut [f32]) {
    for (&code, value) in codes.iter().zip(values) {
        *value = i32::from(code as i8) as f32;
    }
}

#[inline(always)]
fn dequantize_of(values: &mut [f32], zero: f32, scale: f32, minimum: f32) {
    for value in values {
        *value = (*value - zero) * scale + minimum;
    }
}

#[inline(always)]
fn as_columns_of(rows: &[f32], columns: &mut [Lanes]) {
    let length = columns.len();
    let mut each = [[].as_slice(); LANES];
    for (place, row) in each.iter_mut().zip(rows.chunks_exact(length)) {
        *place = row;
    }
    for (at, column) in columns.iter_mut().enumerate() {
        for (value, row) in column.iter_mut().zip(&each) {
            *value = row.get(at).copied().unwrap_or(0.0);
        }
    }
}

#[inline(always)]
fn tile_of(rows: &[[f32; TILE]], columns: &[Lanes]) -> [Lanes; TILE] {
    let mut sums = [[0.0; LANES]; TILE];
    for (row, column) in rows.iter().zip(columns) {
        for i in 0..TILE {
            for j in 0..LANES {
                sums[i][j] += row[i] * column[j];
            }
        }
    }
    sums
}
