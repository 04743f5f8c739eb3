//! Files made to break a reader. Each is refused with the error that names what is wrong, or is
//! read correctly; none panics.

use super::tests::file_of;
use super::*;
use crate::io::IoError;

type E = SafetensorsError;

fn refusal(header: &str, data: &[u8]) -> E {
    parse(file_of(header, data)).expect_err(header)
}

fn message(header: &str, data: &[u8]) -> String {
    refusal(header, data).to_string()
}

/// A header of one entry named `w`.
fn entry(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
}

#[test]
fn a_file_cut_off_at_any_byte_is_refused() {
    let whole = file_of(&entry("I16", "[2,2]", "[0,8]"), &[0; 8]);
    assert!(parse(&whole).is_ok());
    for n in 0..whole.len() {
        let error = parse(&whole[..n]).unwrap_err();
        match n {
            0..8 => assert_eq!(error, E::TooShort { file_bytes: n }),
            _ if n < whole.len() - 8 => {
                assert!(matches!(error, E::HeaderBeyondFile { .. }), "{n}: {error}")
            }
            _ => assert!(matches!(error, E::OffsetsOutOfRange { .. }), "{n}: {error}"),
        }
    }
}

#[test]
fn a_file_with_bytes_after_its_data_is_refused() {
    assert_eq!(
        refusal(&entry("U8", "[2]", "[0,2]"), &[0; 5]),
        E::Hole { begin: 2, end: 5 }
    );
}

#[test]
fn header_lengths_beyond_the_file_are_refused_without_allocating() {
    for claimed in [3, 1 << 20, u64::MAX / 2, u64::MAX - 8, u64::MAX] {
        let bytes = [&claimed.to_le_bytes()[..], b"{}"].concat();
        assert_eq!(
            parse(bytes).unwrap_err(),
            E::HeaderBeyondFile {
                claimed,
                available: 2
            }
        );
    }
}

#[test]
fn a_header_longer_than_readers_accept_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.safetensors");
    let header_bytes = MAX_HEADER_BYTES + 1;
    std::fs::write(&path, (header_bytes as u64).to_le_bytes()).unwrap();
    // Extended by a hole, so the test writes eight bytes and not a hundred million.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len((header_bytes + LENGTH_BYTES) as u64).unwrap();
    let result = SafetensorsFile::open(&path);
    let expected = E::HeaderTooLarge { header_bytes };
    assert!(matches!(result, Err(IoError::Safetensors { reason, .. }) if reason == expected));
}

#[test]
fn headers_that_are_not_an_object_of_tensors_are_refused() {
    let not_headers = [
        "",
        " ",
        "{",
        "[]",
        "null",
        "7",
        "\"w\"",
        "{}{}",
        "{\"w\":null}",
        "{\"w\":{}}",
        "{,}",
        "{} x",
    ];
    for header in not_headers {
        assert!(
            matches!(refusal(header, &[]), E::InvalidJson { .. }),
            "{header}"
        );
    }
    assert!(matches!(
        refusal(r#"{"__metadata__":{"k":1}}"#, &[]),
        E::InvalidJson { .. }
    ));
    assert!(matches!(
        refusal(r#"{"__metadata__":{},"__metadata__":{}}"#, &[]),
        E::InvalidJson { .. }
    ));
    assert!(parse(file_of(r#"{"__metadata__":null}"#, &[])).is_ok());
}

#[test]
fn a_header_that_is_not_utf8_is_refused_at_its_byte() {
    let bytes = [&4_u64.to_le_bytes()[..], b"{\"\xff}"].concat();
    assert_eq!(parse(bytes).unwrap_err(), E::NotUtf8 { at: 2 });
}

#[test]
fn deep_nesting_is_refused_and_does_not_exhaust_the_stack() {
    let deep = "[".repeat(200_000);
    let (lists, objects) = (format!("{{\"w\":{deep}"), "{\"w\":".repeat(200_000));
    assert!(matches!(refusal(&lists, &[]), E::InvalidJson { .. }));
    assert!(matches!(refusal(&objects, &[]), E::InvalidJson { .. }));
    let shape = entry("U8", &deep, "[0,0]");
    assert!(matches!(refusal(&shape, &[]), E::InvalidJson { .. }));
    // Unknown fields are skipped by our pass; the reference crate, which comes second, refuses this
    // one.
    let unknown = format!(
        r#"{{"w":{{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":{deep}{}}}}}"#,
        "]".repeat(200_000)
    );
    assert!(matches!(refusal(&unknown, &[]), E::Refused { .. }));
}

#[test]
fn numbers_that_are_not_counts_are_refused_and_the_tensor_is_named() {
    for number in [
        "-1",
        "-0",
        "1.0",
        "1e0",
        "18446744073709551616",
        "\"1\"",
        "null",
        "true",
        "NaN",
    ] {
        let in_shape = message(&entry("U8", &format!("[{number}]"), "[0,1]"), &[0]);
        assert!(in_shape.contains("tensor \"w\": "), "{in_shape}");
        let in_offsets = message(&entry("U8", "[1]", &format!("[0,{number}]")), &[0]);
        assert!(in_offsets.contains("tensor \"w\": "), "{in_offsets}");
    }
    for offsets in ["[]", "[0]", "[0,1,2]", "{}"] {
        assert!(matches!(
            refusal(&entry("U8", "[1]", offsets), &[0]),
            E::InvalidJson { .. }
        ));
    }
}

#[test]
fn equal_names_are_refused_even_where_the_last_would_fit() {
    let w = r#""w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    let error = refusal(&format!("{{{w},{w}}}"), &[0]);
    assert_eq!(
        error,
        E::DuplicateTensor {
            name: "w".to_owned()
        }
    );
    // The first, which the crate forgets, is wrong in itself.
    let error = refusal(&format!("{{{},{w}}}", w.replace("[0,1]", "[7,2]")), &[0]);
    assert_eq!(
        error,
        E::DuplicateTensor {
            name: "w".to_owned()
        }
    );
    // The same name spelled with an escape.
    let error = refusal(
        &format!("{{{w},{}}}", w.replace("\"w\"", r#""\u0077""#)),
        &[0],
    );
    assert_eq!(
        error,
        E::DuplicateTensor {
            name: "w".to_owned()
        }
    );
    let error = refusal(r#"{"__metadata__":{"k":"1","k":"2"}}"#, &[]);
    assert_eq!(
        error,
        E::DuplicateMetadata {
            key: "k".to_owned()
        }
    );
}

#[test]
fn data_that_overlaps_or_leaves_holes_is_refused_with_its_bytes() {
    let two = |first: &str, second: &str| {
        let entry =
            |offsets: &str| format!(r#"{{"dtype":"U8","shape":[4],"data_offsets":{offsets}}}"#);
        message(
            &format!(r#"{{"v":{},"w":{}}}"#, entry(first), entry(second)),
            &[0; 9],
        )
    };
    let overlap = "tensor \"w\" begins at data byte 3, but \"v\" ends at 4; data must not overlap";
    assert_eq!(two("[0,4]", "[3,7]"), overlap);
    assert_eq!(
        two("[0,4]", "[5,9]"),
        "data bytes 4 to 5 belong to no tensor; data must have no holes"
    );
    assert_eq!(
        two("[1,5]", "[5,9]"),
        "data bytes 0 to 1 belong to no tensor; data must have no holes"
    );
}

#[test]
fn offsets_that_descend_or_leave_the_file_are_refused() {
    for (begin, end) in [
        (1, 0),
        (0, 2),
        (5, 6),
        (usize::MAX, usize::MAX),
        (usize::MAX, 0),
        (0, usize::MAX),
    ] {
        let error = refusal(&entry("U8", "[1]", &format!("[{begin},{end}]")), &[0]);
        assert_eq!(
            error,
            E::OffsetsOutOfRange {
                name: "w".to_owned(),
                begin,
                end,
                data_bytes: 1
            }
        );
    }
}

#[test]
fn sizes_whose_sum_wraps_around_are_refused() {
    // Eight tensors of 2^61-1 bytes each are consistent with each other and end near 2^64.
    let size = (1_u64 << 61) - 1;
    let entries: Vec<String> = (0..8)
        .map(|i| {
            format!(
                r#""t{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{},{}]}}"#,
                i * size,
                (i + 1) * size
            )
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    assert!(matches!(
        refusal(&header, &[0; 8]),
        E::OffsetsOutOfRange { .. } | E::InvalidJson { .. }
    ));
}

#[test]
fn shapes_that_overflow_or_do_not_fit_their_data_are_refused() {
    let max = usize::MAX;
    for shape in [
        format!("[{max},2]"),
        format!("[{max}]"),
        format!("[0,{max},{max}]"),
        format!("[{max},{max},0]"),
    ] {
        assert!(
            matches!(
                refusal(&entry("F32", &shape, "[0,0]"), &[]),
                E::ShapeOverflow { .. }
            ),
            "{shape}"
        );
    }
    assert_eq!(
        message(&entry("BF16", "[3,2]", "[0,8]"), &[0; 8]),
        "tensor \"w\" of BF16 [3, 2] takes 96 bits, but its data_offsets hold 8 bytes"
    );
    assert!(matches!(
        refusal(&entry("F4", "[3]", "[0,2]"), &[0; 2]),
        E::ShapeMismatch {
            needed_bits: 12,
            ..
        }
    ));
    let error = refusal(
        &entry("U8", &format!("[1{}]", ",1".repeat(64)), "[0,1]"),
        &[0],
    );
    assert_eq!(
        error,
        E::TooManyDimensions {
            name: "w".to_owned(),
            n_dimensions: 65
        }
    );
}

#[test]
fn an_unknown_dtype_is_answered_with_the_formats_own_list() {
    let said = message(&entry("expected F3, ", "[1]", "[0,1]"), &[0]);
    assert!(
        said.starts_with("tensor \"w\" has dtype \"expected F3, \"; allowed: one of `BOOL`, `F4`"),
        "{said}"
    );
    assert!(said.ends_with("`U64`"), "{said}");
}

#[test]
fn hostile_names_are_shortened_and_escaped_in_messages() {
    let name = "\\u001b[31m\\n".repeat(100_000);
    let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}}}"#);
    let said = message(&header, &[0]);
    assert!(
        said.len() < 2_000 && !said.contains(['\n', '\u{1b}']),
        "{}",
        said.len()
    );
    let header = header.replace("[2]", "[1]");
    let file = parse(file_of(&header, &[0])).unwrap();
    assert!(file.tensor(&file.tensors()[0].name).is_ok());
}
