//! Names close to one that was not found, for error messages.
//!
//! Close means within [`MAX_EDITS`] insertions, deletions or replacements (Levenshtein distance),
//! or ending in the name asked for (`model.layers.0.weight` for `layers.0.weight`) or the other way
//! round.

/// Two swapped letters and one more slip.
const MAX_EDITS: usize = 3;

/// Enough to show a pattern, few enough for one line.
const MAX_NAMES: usize = 4;

/// Up to four of `names` close to `wanted`, the closest first, then by name.
pub fn near_names<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    // A name of three letters is within three edits of every other; demand that half of it is
    // right.
    let max_edits = MAX_EDITS.min(wanted.len() / 2);
    let mut found: Vec<(usize, &str)> = names
        .filter_map(|name| Some((closeness(wanted, name, max_edits)?, name)))
        .collect();
    found.sort_unstable();
    found
        .into_iter()
        .take(MAX_NAMES)
        .map(|(_, name)| name.to_owned())
        .collect()
}

fn closeness(wanted: &str, name: &str, max_edits: usize) -> Option<usize> {
    let is_tail = |long: &str, tail: &str| {
        long.strip_suffix(tail)
            .is_some_and(|head| head.ends_with('.'))
    };
    if is_tail(name, wanted) || is_tail(wanted, name) {
        return Some(1);
    }
    edits(wanted.as_bytes(), name.as_bytes(), max_edits)
}

/// The edit distance in bytes if it is at most `max_edits`. Lengths further apart cost nothing, so
/// the names of a hostile file cannot make this slow.
fn edits(left: &[u8], right: &[u8], max_edits: usize) -> Option<usize> {
    if left.len().abs_diff(right.len()) > max_edits {
        return None;
    }
    // row[j] is the distance of left[..i] and right[..j]; the classic two-row dynamic programme, in
    // one row.
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, left_byte) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right_byte) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(left_byte != right_byte);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
        if row.iter().all(|&distance| distance > max_edits) {
            return None;
        }
    }
    row.last()
        .copied()
        .filter(|&distance| distance <= max_edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(wanted: &str, names: &[&str]) -> Vec<String> {
        near_names(wanted, names.iter().copied())
    }

    #[test]
    fn finds_slips_of_the_keyboard_closest_first() {
        assert_eq!(
            near("wieght", &["bias", "weights", "weight"]),
            ["weight", "weights"]
        );
    }

    #[test]
    fn finds_names_with_and_without_their_prefix() {
        assert_eq!(
            near("layers.0.w", &["model.layers.0.w", "b"]),
            ["model.layers.0.w"]
        );
        assert_eq!(near("model.layers.0.w", &["layers.0.w"]), ["layers.0.w"]);
    }

    #[test]
    fn short_names_are_not_all_near_each_other() {
        assert!(near("abc", &["xyz", "q"]).is_empty());
        assert!(near("", &["w"]).is_empty());
    }

    #[test]
    fn lists_at_most_four() {
        let names: Vec<String> = (0..9).map(|layer| format!("layers.{layer}.w")).collect();
        let found = near_names("layers.x.w", names.iter().map(String::as_str));
        assert_eq!(found, names[..4]);
    }

    #[test]
    fn edit_distance_is_levenshtein() {
        assert_eq!(edits(b"kitten", b"sitting", 3), Some(3));
        assert_eq!(edits(b"kitten", b"sitting", 2), None);
        assert_eq!(edits(b"", b"ab", 2), Some(2));
    }
}
