//! Patterns of names.

/// Whether a name fits a pattern in which `*` stands for any characters, none too.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    // What lies between stars is taken as early as possible, which leaves most for the rest.
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_stars_anywhere() {
        for (pattern, name, fits) in [
            ("1.weight", "1.weight", true),
            ("1.weight", "1.weights", false),
            ("1.*", "1.weight", true),
            ("1.*", "11.weight", false),
            ("*.bias", "3.bias", true),
            ("*", "anything", true),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
