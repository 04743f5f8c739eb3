//! Damaged tables by the ten thousand: no panic, one-line messages that name an existing line, and
//! whatever is read is rectangular.

use super::*;
use crate::num::{Philox, Stream};

const N_MUTANTS: usize = 40_000;

/// Pieces of tables that reach deeper than random bytes do.
const TOKENS: [&str; 20] = [
    ",", "\n", "\r\n", "\r", "\"", "\"\"", "\"a\nb\"", ";", "class", "x,", "-", ".", "1e39", "inf",
    "NaN", "NA", "\u{feff}", "é", " ", "0",
];

fn mutate(bytes: &mut Vec<u8>, random: &mut Stream) {
    let mut below = |limit: usize| random.below(limit.max(1) as u32) as usize;
    let at = below(bytes.len());
    match below(6) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << below(8),
        1 => bytes.truncate(at),
        2 => bytes.insert(at, below(256) as u8),
        3 => {
            let end = (at + below(8)).min(bytes.len());
            bytes.drain(at..end);
        }
        _ => {
            let token = TOKENS[below(TOKENS.len())];
            let end = (at + below(3)).min(bytes.len());
            bytes.splice(at..end, token.bytes());
        }
    }
}

/// The line a message names, if it names one.
fn line_of(message: &str) -> Option<usize> {
    let digits = message.strip_prefix("line ")?;
    digits[..digits.find([',', ':'])?].parse().ok()
}

#[test]
fn mutated_tables_are_read_as_rectangles_or_refused_in_one_line() {
    let seeds = [
        "x,class,y\n1,a,2\n3,b,4\n5,a,-6e1\n",
        "\"x\",class\r\n1.5,\"a, b\"\r\n\r\n,c\r\n",
        "class,a,b,c,d\n0,1,2,3,4\n1,?,NA,3,4",
    ];
    let mut random = Philox::new(0xc5).stream(0);
    let mut n_valid = 0;
    for index in 0..N_MUTANTS {
        let mut bytes = seeds[index % seeds.len()].as_bytes().to_vec();
        (0..=random.below(3)).for_each(|_| mutate(&mut bytes, &mut random));
        let options = CsvOptions {
            separator: b',',
            label: (index % 2 == 0).then(|| "class".into()),
        };
        match parse_csv(&bytes, &options) {
            Ok(table) => {
                n_valid += 1;
                assert!(table.n_rows > 0 && !table.columns.is_empty());
                for column in &table.columns {
                    assert_eq!(column.values.len(), table.n_rows);
                    assert!(!column.values.iter().any(|x| x.is_infinite()));
                }
                if let Some(label) = table.label {
                    assert_eq!(label.codes.len(), table.n_rows);
                    let n_classes = label.classes.len() as u32;
                    assert!((0..n_classes).all(|code| label.codes.contains(&code)));
                    assert!(label.codes.iter().all(|&code| code < n_classes));
                }
            }
            Err(error) => {
                let message = error.to_string();
                assert!(
                    message.len() < 2_000 && !message.contains('\n'),
                    "{message}"
                );
                let breaks = bytes.iter().filter(|&&b| b == b'\n' || b == b'\r');
                let n_lines = 1 + breaks.count();
                assert!(
                    line_of(&message).is_none_or(|line| (1..=n_lines).contains(&line)),
                    "{message}"
                );
            }
        }
    }
    // Both outcomes must be common, or the mutations test only one of them.
    assert!(
        (N_MUTANTS / 50..N_MUTANTS * 4 / 5).contains(&n_valid),
        "{n_valid} of {N_MUTANTS} are valid"
    );
}
