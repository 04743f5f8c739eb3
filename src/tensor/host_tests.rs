//! Tests of [`HostTensor`]: golden bytes, rounding, word packing and refusals.

use super::*;

#[test]
fn values_are_stored_little_endian_in_row_major_order() {
    let tensor = HostTensor::from_i32(vec![2, 1], &[1, -2]).unwrap();
    assert_eq!(tensor.bytes(), [1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff]);
    assert_eq!(
        (tensor.dtype(), tensor.shape(), tensor.len()),
        (DType::I32, &[2, 1][..], 2)
    );
    assert_eq!(
        HostTensor::from_i8(vec![2], &[-1, 2]).unwrap().bytes(),
        [0xff, 2]
    );
    assert_eq!(
        HostTensor::from_words_u32(vec![1], &[0x0403_0201])
            .unwrap()
            .into_bytes(),
        [1, 2, 3, 4]
    );
}

#[test]
fn f16_and_bf16_round_to_nearest_with_ties_to_even() {
    // One f16 unit above 1 is 2^-10: halfway rounds down to the even mantissa, three halves rounds
    // up to it.
    let unit = 2_f32.powi(-10);
    let tensor = HostTensor::from_f32_as(
        DType::F16,
        vec![3],
        &[1.0 + unit / 2.0, 1.0 + unit * 1.5, 70000.0],
    )
    .unwrap();
    assert_eq!(tensor.words(), [0x3c02_3c00, 0x0000_7c00]);

    let unit = 2_f32.powi(-7);
    let tensor =
        HostTensor::from_f32_as(DType::BF16, vec![2], &[1.0 + unit / 2.0, 1.0 + unit * 1.5])
            .unwrap();
    assert_eq!(tensor.words(), [0x3f82_3f80]);
}

#[test]
fn floats_read_back_as_f32() {
    let values = [0.0, -0.0, 1.5, -2.25, f32::INFINITY];
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let tensor = HostTensor::from_f32_as(dtype, vec![5], &values).unwrap();
        let read: Vec<u32> = tensor
            .to_f32()
            .unwrap()
            .iter()
            .map(|value| value.to_bits())
            .collect();
        assert_eq!(read, values.map(f32::to_bits), "{dtype}");
    }
    let nan = HostTensor::from_f32_as(DType::F16, vec![], &[f32::NAN]).unwrap();
    assert!(nan.to_f32().unwrap()[0].is_nan());
    let wide = HostTensor::new(DType::F64, vec![1], 0.1_f64.to_le_bytes().to_vec()).unwrap();
    assert_eq!(wide.to_f32().unwrap(), [0.1]);
}

#[test]
fn integers_read_back_as_i32_when_they_fit() {
    let of = |dtype, bytes: &[u8]| {
        HostTensor::new(dtype, vec![1], bytes.to_vec())
            .unwrap()
            .to_i32()
    };
    assert_eq!(of(DType::I8, &[0xff]), Ok(vec![-1]));
    assert_eq!(of(DType::U8, &[0xff]), Ok(vec![255]));
    assert_eq!(of(DType::Bool, &[1]), Ok(vec![1]));
    assert_eq!(of(DType::I16, &[0xfe, 0xff]), Ok(vec![-2]));
    assert_eq!(of(DType::U16, &[0xfe, 0xff]), Ok(vec![65534]));
    assert_eq!(of(DType::U32, &7_u32.to_le_bytes()), Ok(vec![7]));
    assert_eq!(of(DType::I64, &(-9_i64).to_le_bytes()), Ok(vec![-9]));
    assert_eq!(of(DType::U64, &9_u64.to_le_bytes()), Ok(vec![9]));
    assert_eq!(
        of(DType::U64, &u64::MAX.to_le_bytes())
            .unwrap_err()
            .to_string(),
        "element 0 of a u64 tensor is 18446744073709551615; allowed in i32: -2147483648 to 2147483647"
    );
}

#[test]
fn conversions_refuse_the_other_kind_of_number() {
    let float = HostTensor::from_f32(vec![1], &[1.0]).unwrap();
    let integer = HostTensor::from_i8(vec![1], &[1]).unwrap();
    let error = integer.to_f32().unwrap_err().to_string();
    assert_eq!(
        error,
        "to_f32 is not defined for i8; allowed: f64, f32, f16, bf16"
    );
    assert!(matches!(
        float.to_i32(),
        Err(TensorError::UnsupportedDtype { .. })
    ));
    assert!(matches!(
        HostTensor::from_f32_as(DType::I8, vec![1], &[1.0]),
        Err(TensorError::UnsupportedDtype { .. })
    ));
}

#[test]
fn words_pad_the_tail_with_zeros_and_from_words_ignores_it() {
    for n in 0..9 {
        let bytes: Vec<u8> = (1..=n).collect();
        let tensor = HostTensor::new(DType::U8, vec![n.into()], bytes).unwrap();
        let mut words = tensor.words();
        assert_eq!(words.len(), usize::from(n).div_ceil(4));
        assert_eq!(
            HostTensor::from_words(DType::U8, vec![n.into()], &words),
            Ok(tensor.clone())
        );
        if n % 4 != 0 {
            let last = words.last_mut().unwrap();
            assert_eq!(*last >> (8 * (n % 4)), 0);
            *last |= 0xff00_0000;
            assert_eq!(
                HostTensor::from_words(DType::U8, vec![n.into()], &words),
                Ok(tensor)
            );
        }
    }
}

#[test]
fn counts_that_do_not_match_the_shape_are_refused_with_both_numbers() {
    let error = HostTensor::new(DType::F32, vec![2, 3], vec![0; 23]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "shape [2, 3] of f32 takes 24 bytes, but 23 were given"
    );
    let error = HostTensor::from_f32(vec![2, 3], &[0.0; 7]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "shape [2, 3] has 6 elements, but 7 values were given"
    );
    let error = HostTensor::from_words(DType::I8, vec![5], &[0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "shape [5] of i8 packs into 2 32-bit words, but 1 were given"
    );
    let error = HostTensor::new(DType::F32, vec![usize::MAX, 2], Vec::new()).unwrap_err();
    assert!(matches!(error, TensorError::ShapeOverflow { .. }));
}

#[test]
fn reshape_keeps_bytes_and_refuses_another_element_count() {
    let tensor = HostTensor::from_i8(vec![2, 3], &[0, 1, 2, 3, 4, 5]).unwrap();
    let flat = tensor.clone().reshape(vec![6]).unwrap();
    assert_eq!((flat.shape(), flat.bytes()), (&[6][..], tensor.bytes()));
    assert!(matches!(
        tensor.clone().reshape(vec![4]),
        Err(TensorError::Reshape { .. })
    ));
    assert!(matches!(
        tensor.reshape(vec![usize::MAX, 7]),
        Err(TensorError::Reshape { .. })
    ));
    let empty = HostTensor::from_i8(vec![0, 3], &[]).unwrap();
    assert!(empty.is_empty() && empty.reshape(vec![7, 0]).is_ok());
}

#[test]
fn debug_prints_the_kind_and_not_the_bytes() {
    let tensor = HostTensor::from_i8(vec![2, 3], &[0; 6]).unwrap();
    assert_eq!(format!("{tensor:?}"), "HostTensor(i8 [2, 3], 6 bytes)");
}
