//! Text in markup: escaping, shortening to a width, and short numbers.

use std::fmt::Write as _;

/// Text as the content of an element or of a quoted attribute, in HTML and in XML. Control
/// characters, which XML has no form for, become U+FFFD, line breaks and tabs a space.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\r' | '\t' => escaped.push(' '),
            '\u{FFFE}' | '\u{FFFF}' => escaped.push('\u{FFFD}'),
            c if c.is_control() => escaped.push('\u{FFFD}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Width of text in pixels, rather too much than too little. Which font a reader has is unknown, so
/// this is about the widths of DejaVu Sans, one of the widest.
pub(super) fn width(text: &str, font_size: f64) -> f64 {
    text.chars().map(em_width).sum::<f64>() * font_size
}

fn em_width(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' => 0.32,
        'f' | 'r' | 't' | '(' | ')' | '[' | ']' | '/' | '\\' | '-' | '"' => 0.42,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.97,
        '=' | '+' | '<' | '>' | '~' => 0.84,
        'A'..='Z' | '_' | '#' | '&' => 0.7,
        c if c.is_ascii() => 0.62,
        // Letters of scripts with wide characters begin about here.
        c if c >= '\u{1100}' => 1.0,
        _ => 0.7,
    }
}

/// Text that fits a width, without its middle where it is too long. `None` if it fits as it is.
pub(super) fn shorten(text: &str, room: f64, font_size: f64) -> Option<String> {
    if width(text, font_size) <= room {
        return None;
    }
    let chars: Vec<char> = text.chars().collect();
    let mut left = room / font_size - em_width('…');
    let (mut head, mut tail) = (0, 0);
    while head + tail < chars.len() {
        let from_head = head <= tail;
        let next = if from_head {
            chars[head]
        } else {
            chars[chars.len() - 1 - tail]
        };
        left -= em_width(next);
        if left < 0.0 {
            break;
        }
        if from_head {
            head += 1;
        } else {
            tail += 1;
        }
    }
    let mut short: String = chars[..head].iter().collect();
    short.push('…');
    short.extend(&chars[chars.len() - tail..]);
    Some(short)
}

/// A number in three significant digits, without zeros that say nothing.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if !(1e-3..1e6).contains(&size) {
        return scientific(value, 2);
    }
    let digits_before = size.log10().floor() as i32;
    let decimals = usize::try_from(2 - digits_before).unwrap_or(0);
    without_trailing_zeros(&format!("{value:.decimals$}")).to_owned()
}

/// A number as `1.5e7`, with at most `decimals` decimals; zero as `0`.
pub(super) fn scientific(value: f64, decimals: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let text = format!("{value:.decimals$e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let mut short = without_trailing_zeros(digits).to_owned();
            // Writing to a string cannot fail.
            let _ = write!(short, "e{exponent}");
            short
        }
        None => text,
    }
}

fn without_trailing_zeros(digits: &str) -> &str {
    if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_markup_reads_as_its_own() {
        assert_eq!(
            escape("<a href=\"x\">&'\n\u{0}\u{202E}"),
            "&lt;a href=&quot;x&quot;&gt;&amp;&#39; \u{FFFD}\u{202E}"
        );
    }

    #[test]
    fn keeps_text_that_fits() {
        assert_eq!(shorten("matmul", 100.0, 12.0), None);
        assert_eq!(shorten("", 0.0, 12.0), None);
    }

    #[test]
    fn drops_the_middle_of_text_that_does_not_fit() {
        let text = "matmul_quant[codes=int4,scale=f16] TILE_M=8 TILE_N=16";
        let short = shorten(text, 150.0, 12.0).unwrap();
        let (head, tail) = short.split_once('…').unwrap();
        assert!(text.starts_with(head) && text.ends_with(tail), "{short}");
        assert!(head.chars().count() >= 6 && tail.chars().count() >= 6);
        assert!(width(&short, 12.0) <= 150.0);
        assert_eq!(shorten(text, 0.0, 12.0).unwrap(), "…");
        assert_eq!(shorten("短い名前ですか", 40.0, 12.0).unwrap(), "短…か");
    }

    #[test]
    fn numbers_have_three_significant_digits() {
        let cases = [
            (0.0, "0"),
            (12.0, "12"),
            (0.012345, "0.0123"),
            (9.996, "10"),
            (1234.5, "1234"),
            (-0.5, "-0.5"),
            (123456.0, "123456"),
            (1e6, "1e6"),
            (1.2345e7, "1.23e7"),
            (4e-7, "4e-7"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
