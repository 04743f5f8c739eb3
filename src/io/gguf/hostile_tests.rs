//! Files made to break a reader. Each is refused with the error that names what is wrong; none panics, and
//! none makes the reader allocate for what is not there.

use super::tests::{Builder, golden, text};
use super::*;

type E = GgufError;

fn refusal(builder: &Builder) -> E {
    parse(builder.build()).expect_err("a refusal")
}

#[test]
fn a_file_cut_off_at_any_byte_is_refused() {
    let whole = golden().build();
    for n in 0..whole.len() {
        let error = parse(&whole[..n]).unwrap_err();
        assert!(
            match n {
                0 => matches!(error, E::Magic { .. }),
                _ => matches!(
                    error,
                    E::Truncated { .. } | E::Count { .. } | E::BeyondFile { .. }
                ),
            },
            "{n}: {error}"
        );
    }
}

#[test]
fn other_files_and_versions_are_told_apart() {
    let say = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
    assert_eq!(
        say(b"PK\x03\x04...."),
        "begins with \"PK\\\\x03\\\\x04\"; a GGUF file begins with \"GGUF\""
    );
    let version = |version: u32| {
        refusal(&Builder {
            version: Some(version),
            ..golden()
        })
        .to_string()
    };
    assert_eq!(
        version(1),
        "GGUF version 1; allowed: 2 and 3, little-endian"
    );
    assert_eq!(
        version(3u32.swap_bytes()),
        "GGUF version 50331648 (the file is big-endian); allowed: 2 and 3, little-endian"
    );
}

#[test]
fn absurd_counts_are_refused_without_allocating() {
    for count in [3, 1 << 40, u64::MAX] {
        let tensors = Builder {
            counts: Some((count, 0)),
            ..Builder::default()
        };
        assert!(
            matches!(refusal(&tensors), E::Count { count: found, most: 0, .. } if found == count)
        );
        let keys = Builder {
            counts: Some((0, count)),
            ..Builder::default()
        };
        assert!(matches!(refusal(&keys), E::Count { count: found, .. } if found == count));
        let array = [&8u32.to_le_bytes()[..], &count.to_le_bytes()].concat();
        let error = refusal(&Builder::default().pair("k", 9, &array));
        assert!(matches!(error, E::Count { .. }), "{error}");
        let string = refusal(&Builder::default().pair("k", 8, &count.to_le_bytes()));
        assert!(matches!(string, E::Truncated { needed, .. } if needed == count));
    }
}

#[test]
fn values_that_are_none_are_refused_and_the_key_is_named() {
    let say = |kind, value: &[u8]| refusal(&Builder::default().pair("k", kind, value)).to_string();
    assert_eq!(
        say(13, &[0]),
        "metadata key \"k\" has value type 13; allowed: 0 to 12"
    );
    assert_eq!(
        say(7, &[2]),
        "metadata key \"k\" is a bool stored as 2; allowed: 0 and 1"
    );
    assert_eq!(
        say(8, &[2, 0, 0, 0, 0, 0, 0, 0, b'a', 0xff]),
        "metadata key \"k\" at byte 46 is not UTF-8"
    );
    let mut deep = Vec::new();
    for _ in 0..9 {
        deep.extend(9u32.to_le_bytes());
        deep.extend(1u64.to_le_bytes());
    }
    deep.extend([0; 12]);
    assert!(say(9, &deep).contains("nests arrays deeper than 8"));
    let wide = [&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat();
    assert!(matches!(
        refusal(&Builder::default().pair("k", 9, &wide.repeat(200_000))),
        E::ArrayDepth { .. } | E::Count { .. }
    ));
}

#[test]
fn equal_keys_and_names_are_refused() {
    let twice = Builder::default().pair("k", 0, &[1]).pair("k", 0, &[1]);
    assert_eq!(
        refusal(&twice),
        E::DuplicateKey {
            key: "k".to_owned()
        }
    );
    let twice = Builder::default()
        .tensor("w", &[1], 0, 0)
        .tensor("w", &[1], 0, 32)
        .data(&[0; 64]);
    assert_eq!(
        refusal(&twice),
        E::DuplicateTensor {
            name: "w".to_owned()
        }
    );
}

#[test]
fn alignments_that_data_cannot_have_are_refused() {
    for value in [0u32, 24, 1 << 21, u32::MAX] {
        let error = refusal(&Builder::default().pair("general.alignment", 4, &value.to_le_bytes()));
        assert!(matches!(error, E::Alignment { .. }), "{error}");
    }
    let error = refusal(&Builder::default().pair("general.alignment", 8, &text("32")));
    assert_eq!(
        error.to_string(),
        "general.alignment is of type string; allowed: powers of two up to 1048576, as u32"
    );
}

#[test]
fn tensors_outside_the_file_or_over_each_other_are_refused() {
    let one = |dims: &[u64], kind, offset| {
        refusal(
            &Builder::default()
                .tensor("w", dims, kind, offset)
                .data(&[0; 64]),
        )
    };
    assert_eq!(
        one(&[32], 0, 0).to_string(),
        "tensor \"w\" has 128 bytes from data byte 0 on, but the file has only 64 bytes of data"
    );
    for offset in [64, 1 << 40, u64::MAX - 31] {
        assert!(
            matches!(one(&[1], 0, offset), E::BeyondFile { .. }),
            "{offset}"
        );
    }
    assert_eq!(
        one(&[1], 0, 4).to_string(),
        "tensor \"w\" begins at data byte 4; allowed: multiples of 32"
    );
    let over = Builder::default()
        .tensor("v", &[9], 0, 0)
        .tensor("w", &[1], 0, 32)
        .data(&[0; 64]);
    assert_eq!(
        refusal(&over).to_string(),
        "tensor \"w\" begins at data byte 32, but \"v\" ends at 36; data must not overlap"
    );
}

#[test]
fn types_and_shapes_that_cannot_be_read_are_refused() {
    let one =
        |dims: &[u64], kind| refusal(&Builder::default().tensor("w", dims, kind, 0).data(&[0; 64]));
    let supported = "supported: F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, BF16";
    assert_eq!(
        one(&[1], 10).to_string(),
        format!("tensor \"w\" has type 10 (Q2_K); {supported}")
    );
    assert_eq!(
        one(&[1], 99).to_string(),
        format!("tensor \"w\" has type 99; {supported}")
    );
    assert_eq!(
        one(&[48], 2).to_string(),
        "tensor \"w\" has rows of 48, not a multiple of 32, the weights in a block of Q4_0"
    );
    assert!(matches!(
        one(&[1; 5], 0),
        E::TooManyDimensions {
            n_dimensions: 5,
            ..
        }
    ));
    for dims in [
        &[u64::MAX, 2][..],
        &[1 << 62],
        &[0, u64::MAX, u64::MAX],
        &[1 << 32, 1 << 32],
    ] {
        assert!(matches!(one(dims, 0), E::ShapeOverflow { .. }), "{dims:?}");
    }
}

#[test]
fn hostile_names_are_shortened_and_escaped_in_messages() {
    let name = "\u{1b}[31m\n".repeat(10_000);
    let said = refusal(&Builder::default().tensor(&name, &[1], 99, 0)).to_string();
    assert!(
        said.len() < 2_000 && !said.contains(['\n', '\u{1b}']),
        "{said}"
    );
    let said = refusal(&Builder::default().pair(&name, 99, &[0])).to_string();
    assert!(
        said.len() < 2_000 && !said.contains(['\n', '\u{1b}']),
        "{said}"
    );
}
