//! Tables made by hand, right and wrong.

use super::*;

fn labelled(text: &str) -> Result<Table, CsvError> {
    let options = CsvOptions {
        label: Some("class".into()),
        ..CsvOptions::default()
    };
    parse_csv(text.as_bytes(), &options)
}

fn plain(text: &str) -> Result<Table, CsvError> {
    parse_csv(text.as_bytes(), &CsvOptions::default())
}

fn message(text: &str) -> String {
    labelled(text).unwrap_err().to_string()
}

#[test]
fn a_table_is_read_into_named_columns_and_sorted_classes() {
    let table = labelled("length,class,width\n1.5,b,2\n-3e2,\"a, or so\",.25\n7,b,0\n").unwrap();
    assert_eq!(table.n_rows, 3);
    assert_eq!(
        table.columns,
        [
            Column {
                name: "length".into(),
                values: vec![1.5, -300.0, 7.0]
            },
            Column {
                name: "width".into(),
                values: vec![2.0, 0.25, 0.0]
            }
        ]
    );
    let label = table.label.unwrap();
    assert_eq!(label.name, "class");
    assert_eq!(label.classes, ["a, or so", "b"]);
    assert_eq!(label.codes, [1, 0, 1]);
}

#[test]
fn numeric_classes_are_sorted_by_value_and_text_by_bytes() {
    let label = |text| labelled(text).unwrap().label.unwrap();
    let numbers = label("x,class\n1,10\n1,9\n1,-1\n1,9.0\n1,0\n1,-0\n");
    assert_eq!(numbers.classes, ["-1", "0", "9", "10"]);
    assert_eq!(numbers.codes, [3, 2, 0, 2, 1, 1]);
    let texts = label("x,class\n1,10\n1,9\n1,nine\n");
    assert_eq!(texts.classes, ["10", "9", "nine"]);
    assert_eq!(texts.codes, [0, 1, 2]);
    // Equal in f64.
    let long = label("x,class\n1,9007199254740993\n1,9007199254740992\n");
    assert_eq!(long.classes, ["9007199254740992", "9007199254740993"]);
}

#[test]
fn every_line_ending_a_byte_order_mark_spaces_and_empty_lines_are_read_alike() {
    let expected = plain("a,b\n1,2\n3,4\n").unwrap();
    for text in [
        "a,b\r\n1,2\r\n3,4\r\n",
        "a,b\r1,2\r3,4",
        "\u{feff}a,b\n1,2\n3,4",
        "\n\na , b\n\n 1,\t2\n\n\n\"3\",4\n\n",
    ] {
        assert_eq!(plain(text).unwrap(), expected, "{text:?}");
    }
    let semicolons = CsvOptions {
        separator: b';',
        label: None,
    };
    assert_eq!(
        parse_csv(b"a;b\n1;2\n3;4\n", &semicolons).unwrap(),
        expected
    );
}

#[test]
fn missing_values_are_nan() {
    let table = plain("a,b\n,?\nNA,nan\nNULL,1\n").unwrap();
    assert!(table.columns[0].values.iter().all(|x| x.is_nan()));
    assert!(table.columns[1].values[0].is_nan() && table.columns[1].values[1].is_nan());
    assert_eq!(table.columns[1].values[2], 1.0);
}

#[test]
fn a_wrong_field_is_named_by_line_and_column() {
    assert_eq!(
        message("x,class\n1,a\n\n\n1.5e,a\n"),
        "line 5, column \"x\": \"1.5e\" is not a number; allowed: a decimal number, \
         or for a missing value an empty field, ?, NA, NaN or null"
    );
    assert!(
        message("x,class\r\n1,a\r\n\r\n1e39,a\r\n").starts_with("line 4, column \"x\": \"1e39\"")
    );
    assert!(message("x,class\r1,a\rinf,a\r").starts_with("line 3, column \"x\": \"inf\""));
    assert_eq!(
        message("x,class\n\"1\",\"a\nb\"\n1,NA\n"),
        "line 4, column \"class\": a label cannot be missing"
    );
    assert_eq!(
        message("x,class\n1,a,2\n"),
        "line 2: has 3 fields, but the header has 2"
    );
    let bytes = parse_csv(b"x,y\n1,2\n3,\xff\n", &CsvOptions::default()).unwrap_err();
    assert_eq!(bytes, CsvError::NotUtf8 { line: 3, column: 2 });
}

#[test]
fn a_wrong_header_is_refused() {
    assert_eq!(labelled(""), Err(CsvError::Empty));
    assert_eq!(labelled("\n\n"), Err(CsvError::Empty));
    assert_eq!(labelled("x,class\n"), Err(CsvError::NoRows));
    assert_eq!(
        message("x,,class\n1,2,a\n"),
        "line 1: column 2 of the header has no name"
    );
    assert_eq!(
        message("\nx,class,x\n1,a,2\n"),
        "line 2: column \"x\" occurs more than once; names must differ"
    );
    assert_eq!(
        message("x,clas\n1,a\n"),
        "no column \"class\" among 2; near names: clas"
    );
    assert_eq!(
        message("class\na\n"),
        "column \"class\" is the label and there is no other"
    );
}

#[test]
fn a_separator_that_means_something_else_is_refused() {
    for separator in [b'"', b'\n', b'\r'] {
        let options = CsvOptions {
            separator,
            label: None,
        };
        assert_eq!(
            parse_csv(b"x\n1\n", &options),
            Err(CsvError::Separator { separator })
        );
    }
}

#[test]
fn the_file_is_named_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("iris.csv");
    crate::io::atomic::write_bytes(&path, b"x\ny\n").unwrap();
    let message = read_csv(&path, &CsvOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("iris.csv: line 2, column \"x\""),
        "{message}"
    );
}
