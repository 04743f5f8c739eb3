//! Folders of every layout, right and wrong.

use std::collections::BTreeMap;

use super::*;
use crate::data::{Dataset, save_safetensors};
use crate::io::atomic::write_bytes;
use crate::io::safetensors::write_safetensors;
use crate::tensor::HostTensor;

/// An IDX file of bytes.
fn idx(shape: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    shape
        .iter()
        .for_each(|n| bytes.extend_from_slice(&n.to_be_bytes()));
    bytes.extend_from_slice(data);
    bytes
}

fn write_idx_set(folder: &Path, stem: &str, images: &[u8], labels: &[u8]) {
    let n = labels.len() as u32;
    let write = |name: String, bytes: &[u8]| write_bytes(&folder.join(name), bytes).unwrap();
    write(
        format!("{stem}-images-idx3-ubyte"),
        &idx(&[n, 1, images.len() as u32 / n], images),
    );
    write(format!("{stem}-labels-idx1-ubyte"), &idx(&[n], labels));
}

fn message(folder: &Path) -> String {
    load(folder, &LoadOptions::default())
        .unwrap_err()
        .to_string()
}

#[test]
fn a_folder_of_idx_files_is_loaded_with_and_without_names_of_classes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write_idx_set(path, "train", &[0, 51, 255, 102], &[1, 0]);
    write_idx_set(path, "t10k", &[255, 0], &[1]);
    let pair = load(path, &LoadOptions::default()).unwrap();
    assert_eq!(pair.train.inputs(), [0.0, 0.2, 1.0, 0.4]);
    assert_eq!(pair.train.sample_shape(), [1, 1, 2]);
    assert_eq!(pair.test.class_names(), ["0", "1"]);
    write_bytes(&path.join("classes.txt"), b"shirt\nshoe\n\n").unwrap();
    let pair = load(path, &LoadOptions::default()).unwrap();
    assert_eq!(pair.test.class_names(), ["shirt", "shoe"]);
    assert_eq!(pair.test.labels(), [1]);
}

#[test]
fn what_is_wrong_with_idx_sets_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write_idx_set(path, "train", &[0, 1, 2, 3], &[1, 0]);
    assert!(
        message(path).ends_with("looked for t10k-images-idx3-ubyte and t10k-images-idx3-ubyte.gz")
    );
    write_idx_set(path, "t10k", &[0, 1], &[2]);
    assert!(message(path).ends_with("t10k-labels-idx1-ubyte: row 0: label 2; allowed: 0 to 1"));
    write_idx_set(path, "t10k", &[0, 1, 2], &[1]);
    assert!(message(path).ends_with(
        "t10k-images-idx3-ubyte: samples have shape [1, 1, 3], but those of training have [1, 1, 2]"
    ));
    write_idx_set(path, "train", &[0, 1, 2, 3], &[2, 0]);
    assert!(message(path).ends_with("class 1 (\"1\") has no samples"));
    let labels = path.join("train-labels-idx1-ubyte");
    write_bytes(&labels, &idx(&[3], &[0, 1, 0])).unwrap();
    assert!(message(path).ends_with("2 inputs, but 3 labels; there must be one each"));
    write_bytes(&labels, &idx(&[2, 1], &[0, 1])).unwrap();
    assert!(
        message(path).ends_with("labels are u8 [2, 1]; allowed: one integer a sample, [samples]")
    );
    write_bytes(&labels, b"nonsense").unwrap();
    assert!(message(path).contains("train-labels-idx1-ubyte: not an IDX file"));
}

#[test]
fn a_folder_of_csv_files_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write_bytes(&path.join("train.csv"), b"a,label,b\n1,yes,2\n3,no,\n").unwrap();
    assert!(message(path).ends_with("test.csv: no such file"));
    write_bytes(&path.join("test.csv"), b"a,label,b\n5,yes,6\n").unwrap();
    let pair = load(path, &LoadOptions::default()).unwrap();
    assert_eq!(pair.train.inputs()[..3], [1.0, 2.0, 3.0]);
    assert!(pair.train.inputs()[3].is_nan());
    assert_eq!(pair.train.feature_names().unwrap(), ["a", "b"]);
    assert_eq!(pair.train.labels(), [1, 0]);
    assert_eq!(pair.test.labels(), [1]);
    write_bytes(&path.join("test.csv"), b"a,label,c\n5,yes,6\n").unwrap();
    assert!(message(path).ends_with("test.csv: column 1 is \"c\", but \"b\" in training"));
    write_bytes(&path.join("test.csv"), b"a,label,b\n5,yes,six\n").unwrap();
    assert!(message(path).contains("test.csv: line 2, column \"b\": \"six\" is not a number"));
    let options = LoadOptions {
        label: "labels".into(),
        ..LoadOptions::default()
    };
    let unknown = load(path, &options).unwrap_err().to_string();
    assert!(unknown.ends_with("near names: label"), "{unknown}");
}

#[test]
fn a_set_survives_a_safetensors_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let set = Dataset::new(
        vec![1.0, -2.5, 3.0, 0.0],
        vec![2],
        vec![1, 0],
        names(&["a \"quoted\"", "b"]),
    )
    .unwrap()
    .with_feature_names(names(&["x", "y"]))
    .unwrap();
    save_safetensors(&set, path.join("train.safetensors")).unwrap();
    save_safetensors(&set, path.join("test.safetensors")).unwrap();
    let pair = load(path, &LoadOptions::default()).unwrap();
    assert_eq!(pair.train, set);
    assert_eq!(pair.test, set);
}

#[test]
fn what_is_wrong_with_stored_sets_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.safetensors");
    let message = |inputs: HostTensor, labels: HostTensor, metadata: &[(&str, &str)]| {
        let metadata: BTreeMap<String, String> = metadata
            .iter()
            .map(|&(key, value)| (key.into(), value.into()))
            .collect();
        let tensors = [("inputs".to_owned(), inputs), ("labels".to_owned(), labels)];
        write_safetensors(&path, &tensors, &metadata).unwrap();
        let message = load_safetensors(&path).unwrap_err().to_string();
        let named = format!("{}: ", path.display());
        message.strip_prefix(&named).expect("the file").to_owned()
    };
    let floats = |n: usize| HostTensor::from_f32(vec![n, 1], &vec![1.0; n]).unwrap();
    let integers = |labels: &[i32]| HostTensor::from_i32(vec![labels.len()], labels).unwrap();
    assert_eq!(
        message(floats(1), integers(&[-1]), &[]),
        "row 0: label -1; allowed: 0 to 0"
    );
    assert_eq!(
        message(floats(1), integers(&[i32::MAX]), &[]),
        "there are 2147483648 classes; allowed: 1 to 65536"
    );
    assert!(message(floats(1), floats(1), &[]).contains("labels are f32 [1, 1]"));
    assert!(
        message(
            HostTensor::from_f32(vec![], &[1.0]).unwrap(),
            integers(&[0]),
            &[]
        )
        .contains("inputs are f32 []")
    );
    assert_eq!(
        message(floats(2), integers(&[0]), &[]),
        "2 inputs, but 1 labels; there must be one each"
    );
    assert!(
        message(floats(1), integers(&[0]), &[("class_names", "{}")])
            .contains("metadata \"class_names\" is not a JSON list of strings")
    );
    assert_eq!(
        message(floats(1), integers(&[0]), &[("class_names", "[]")]),
        "there are 0 classes; allowed: 1 to 65536"
    );
}

#[test]
fn the_file_of_a_set_that_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let ends = |expected: &str| {
        let message = message(path);
        assert!(message.ends_with(expected), "{message}");
    };
    write_idx_set(path, "train", &[0, 1], &[0, 1]);
    write_idx_set(path, "t10k", &[0, 1], &[0, 2]);
    ends("t10k-labels-idx1-ubyte: row 1: label 2; allowed: 0 to 1");
    write_idx_set(path, "t10k", &[0, 1], &[0, 1]);
    write_idx_set(path, "train", &[0, 1], &[0, 2]);
    ends("train-labels-idx1-ubyte: class 1 (\"1\") has no samples");
    write_idx_set(path, "train", &[0, 1], &[0, 1]);
    write_bytes(&path.join("train-labels-idx1-ubyte"), &idx(&[1], &[0])).unwrap();
    ends("train-labels-idx1-ubyte: 2 inputs, but 1 labels; there must be one each");
    write_idx_set(path, "train", &[0, 1], &[0, 1]);
    write_bytes(&path.join("classes.txt"), b"one\none\n").unwrap();
    ends("classes.txt: class \"one\" occurs more than once; names must differ");
}

#[test]
fn a_folder_without_data_is_told_what_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    assert!(message(folder.path()).ends_with(
        "no data set found; looked for train-images-idx3-ubyte (plain or .gz), train.csv, \
         train.safetensors, *.txt"
    ));
}
