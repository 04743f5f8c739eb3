//! Reading quantized matrices: the parts are checked against each other and the arguments.

use super::super::has_tensor;
use super::{CodesError, CodesFormat, WeightArgs};
use crate::io::IoError;
use crate::io::safetensors::{Safetensors, SafetensorsFile, shown};
use crate::num::{
    Granularity, QuantizedMatrix, QuantizedParts, ScaleType, Width, Zero, round_to_f16,
};
use crate::tensor::{DType, HostTensor};

/// The matrix of a layer whose weights are quantized as `args` say, in whichever of the two formats it is.
///
/// # Errors
/// A [`CodesError`] naming the part that is absent or wrong.
pub fn read_codes<B: AsRef<[u8]>>(
    file: &Safetensors<B>,
    layer: &str,
    args: &WeightArgs,
) -> Result<QuantizedMatrix, CodesError> {
    let name = |part: &str| format!("{layer}.{part}");
    let has = |part: &str| has_tensor(file.tensors(), &name(part));
    // Without either, the one that is missing is told by what is there.
    let is_packed = match has("weight_packed") || has("weight") {
        true => has("weight_packed"),
        false => has("weight_shape") || args.width != Width::Int8,
    };
    let format = if is_packed {
        CodesFormat::Packed
    } else {
        CodesFormat::Bytes
    };
    let (width, spacing) = (args.width, args.spacing);
    let part = |part: &str| -> Result<(String, HostTensor), CodesError> {
        let name = name(part);
        let tensor = file.tensor(&name)?;
        Ok((shown(&name), tensor))
    };
    let ([n, k], codes) = match format {
        CodesFormat::Bytes => {
            let (name, tensor) = part("weight")?;
            let [n, k] = matrix_shape(&name, &tensor)?;
            ([n, k], bytes(&name, &tensor)?)
        }
        CodesFormat::Packed => {
            let (name, tensor) = part("weight_packed")?;
            let [n, k] = stored_shape(&part("weight_shape")?)?;
            let words = words(&name, &tensor)?;
            let row_words = k.div_ceil(width.per_word());
            check_shape(&name, &tensor, &[n, row_words], || {
                format!("{n} x {k} of {width}")
            })?;
            let mut codes = Vec::with_capacity(n * k);
            for (row, words) in words.chunks_exact(row_words).enumerate() {
                unpack(width, words, k, &mut codes).map_err(|()| CodesError::Padding {
                    name: name.clone(),
                    row,
                })?;
            }
            ([n, k], codes)
        }
    };
    if let Some(index) = codes.iter().position(|&code| !width.holds(code.into())) {
        return Err(CodesError::Range {
            layer: shown(layer),
            what: "code",
            value: codes[index].into(),
            index,
            width,
        });
    }
    let codes: Vec<i8> = codes
        .into_iter()
        .map(|code| (i32::from(code) * spacing) as i8)
        .collect();
    let (rows, groups) = match args.granularity {
        Granularity::Tensor => (1, 1),
        Granularity::Channel => (n, 1),
        // Whether groups tile the row is said by the matrix, with its name.
        Granularity::Group(size) => (n, k.div_ceil((size as usize).max(1))),
    };
    let why = || format!("{} of {n} x {k}", describe(args.granularity));
    let has_zeros = has_tensor(file.tensors(), &name("weight_zero_point"));
    let (name, tensor) = part("weight_scale")?;
    check_scale_shape(&name, &tensor, (rows, groups), why)?;
    let scales = tensor.to_f32().map_err(|_| CodesError::Dtype {
        name: name.clone(),
        dtype: tensor.dtype().to_string(),
        allowed: "f32, f16, bf16",
    })?;
    let fits_f16 = |&scale: &f32| round_to_f16(f64::from(scale)) == f64::from(scale);
    let scale_type = if tensor.dtype() != DType::F32 && scales.iter().all(fits_f16) {
        ScaleType::F16
    } else {
        ScaleType::F32
    };
    let packed = |name: &str, tensor: &HostTensor| {
        let zero_width = args.zero_width();
        let height = rows.div_ceil(zero_width.per_word());
        check_shape(name, tensor, &[height, groups], why)?;
        packed_zeros(name, zero_width, &words(name, tensor)?, [rows, groups])
    };
    let zeros = match args.zero {
        // Arguments of files never say the last.
        Zero::Symmetric | Zero::FloatMinimum => {
            if has_zeros {
                let (name, tensor) = part("weight_zero_point")?;
                // Some writers keep the zero points of symmetric codes, and bytes where codes are packed.
                let zeros = match (format, tensor.dtype()) {
                    (CodesFormat::Packed, DType::I32) => packed(&name, &tensor)?,
                    _ => bytes(&name, &tensor)?,
                };
                check_middle(name, &zeros)?;
            }
            None
        }
        Zero::ZeroPoint => {
            let (name, tensor) = part("weight_zero_point")?;
            Some(match format {
                CodesFormat::Bytes => {
                    check_scale_shape(&name, &tensor, (rows, groups), why)?;
                    bytes(&name, &tensor)?
                }
                CodesFormat::Packed => packed(&name, &tensor)?,
            })
        }
    };
    Ok(QuantizedMatrix::from_codes(
        &shown(layer),
        &QuantizedParts {
            bits: width.container(),
            granularity: args.granularity,
            n,
            k,
            codes: &codes,
            scales: &scales,
            scale_type,
            zeros: zeros.as_deref(),
        },
    )?)
}

/// [`read_codes`] of a file on disk.
///
/// # Errors
/// [`IoError::Codes`], naming the file.
pub fn read_codes_file(
    file: &SafetensorsFile,
    layer: &str,
    args: &WeightArgs,
) -> Result<QuantizedMatrix, IoError> {
    read_codes(file.contents(), layer, args).map_err(|reason| IoError::Codes {
        file: file.path().to_owned(),
        reason: Box::new(reason),
    })
}

/// Refuses zero points other than those of symmetric codes.
fn check_middle(name: String, zeros: &[i8]) -> Result<(), CodesError> {
    match zeros.iter().position(|&zero| zero != 0) {
        None => Ok(()),
        Some(index) => Err(CodesError::NotSymmetric {
            name,
            value: zeros[index].into(),
            index,
        }),
    }
}

fn describe(granularity: Granularity) -> String {
    match granularity {
        Granularity::Tensor => "one scale".to_owned(),
        Granularity::Channel => "a scale a row".to_owned(),
        Granularity::Group(size) => format!("groups of {size}"),
    }
}

fn check_shape(
    name: &str,
    tensor: &HostTensor,
    expected: &[usize],
    why: impl FnOnce() -> String,
) -> Result<(), CodesError> {
    if tensor.shape() == expected {
        return Ok(());
    }
    Err(CodesError::Shape {
        name: name.to_owned(),
        found: tensor.shape().to_vec(),
        expected: expected.to_vec(),
        why: why(),
    })
}

/// `[rows, groups]`; a single one may also be `[1]` or a scalar.
fn check_scale_shape(
    name: &str,
    tensor: &HostTensor,
    (rows, groups): (usize, usize),
    why: impl FnOnce() -> String,
) -> Result<(), CodesError> {
    if rows * groups == 1 && tensor.len() == 1 && tensor.shape().len() <= 2 {
        return Ok(());
    }
    check_shape(name, tensor, &[rows, groups], why)
}

fn matrix_shape(name: &str, tensor: &HostTensor) -> Result<[usize; 2], CodesError> {
    match *tensor.shape() {
        [n, k] if n > 0 && k > 0 => Ok([n, k]),
        _ => Err(CodesError::Shape {
            name: name.to_owned(),
            found: tensor.shape().to_vec(),
            expected: vec![1, 1],
            why: "a matrix of at least".to_owned(),
        }),
    }
}

fn stored_shape((name, tensor): &(String, HostTensor)) -> Result<[usize; 2], CodesError> {
    if !matches!(*tensor.shape(), [2] | [2, 1]) {
        check_shape(name, tensor, &[2], || "pack-quantized".to_owned())?;
    }
    let values: Vec<i64> = match tensor.dtype() {
        DType::I64 => {
            let (chunks, _) = tensor.bytes().as_chunks::<8>();
            chunks
                .iter()
                .map(|&bytes| i64::from_le_bytes(bytes))
                .collect()
        }
        DType::I32 => tensor.to_i32()?.into_iter().map(i64::from).collect(),
        other => {
            return Err(CodesError::Dtype {
                name: name.clone(),
                dtype: other.to_string(),
                allowed: "i64, i32",
            });
        }
    };
    let (n, k) = (values[0], values[1]);
    match (usize::try_from(n), usize::try_from(k)) {
        (Ok(rows @ 1..), Ok(columns @ 1..)) if rows.checked_mul(columns).is_some() => {
            Ok([rows, columns])
        }
        _ => Err(CodesError::Dimensions {
            name: name.clone(),
            n,
            k,
        }),
    }
}

fn bytes(name: &str, tensor: &HostTensor) -> Result<Vec<i8>, CodesError> {
    if tensor.dtype() != DType::I8 {
        return Err(CodesError::Dtype {
            name: name.to_owned(),
            dtype: tensor.dtype().to_string(),
            allowed: "i8",
        });
    }
    Ok(tensor.bytes().iter().map(|&byte| byte as i8).collect())
}

fn words(name: &str, tensor: &HostTensor) -> Result<Vec<u32>, CodesError> {
    if tensor.dtype() != DType::I32 {
        return Err(CodesError::Dtype {
            name: name.to_owned(),
            dtype: tensor.dtype().to_string(),
            allowed: "i32",
        });
    }
    Ok(tensor.words())
}

/// Appends `count` signed codes; refuses words whose unused bits are set.
fn unpack(width: Width, words: &[u32], count: usize, codes: &mut Vec<i8>) -> Result<(), ()> {
    let (bits, per_word) = (width.bits(), width.per_word());
    let mask = (1u32 << bits) - 1;
    let code = |index: usize| words[index / per_word] >> ((index % per_word) as u32 * bits) & mask;
    codes.extend((0..count).map(|index| (code(index) as i32 + width.min()) as i8));
    let padding = count..words.len() * per_word;
    // At 3 and 6 bits a word has two more.
    let rest = words
        .iter()
        .map(|word| u64::from(*word) >> (bits as usize * per_word));
    if padding.into_iter().any(|index| code(index) != 0) || rest.into_iter().any(|bits| bits != 0) {
        return Err(());
    }
    Ok(())
}

/// Zero points `[rows, groups]` of words that run along the rows.
fn packed_zeros(
    name: &str,
    width: Width,
    words: &[u32],
    [rows, groups]: [usize; 2],
) -> Result<Vec<i8>, CodesError> {
    let mut zeros = vec![0; rows * groups];
    for group in 0..groups {
        let column: Vec<u32> = words.iter().skip(group).step_by(groups).copied().collect();
        let mut codes = Vec::with_capacity(rows);
        unpack(width, &column, rows, &mut codes).map_err(|()| CodesError::Padding {
            name: name.to_owned(),
            row: words.len() / groups - 1,
        })?;
        for (row, code) in codes.into_iter().enumerate() {
            zeros[row * groups + group] = code;
        }
    }
    Ok(zeros)
}
