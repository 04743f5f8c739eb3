//! A report as one HTML file: paragraphs, figures and tables from top to bottom.
//!
//! The file needs nothing else: its style is inside, it has no scripts, and a content security policy
//! keeps a browser from fetching anything on its behalf. It is light or dark as its reader's system
//! is; plots follow, because its style knows every colour they hold.

use std::fmt::Write as _;

use super::palette;
use super::text::escape;

const STYLE: &str = include_str!("page.css");

/// A page being written. Text of any kind is allowed everywhere and is shown as it is.
///
/// ```
/// use lapidary::report::Page;
///
/// let html = Page::new("Before & after")
///     .paragraph("Two numbers.")
///     .table(&["model", "MB"], &[vec!["dense", "512"], vec!["int4", "131"]])
///     .to_html();
/// assert!(html.contains("<h1>Before &amp; after</h1>"));
/// ```
#[derive(Debug, Clone)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// A page without content.
    pub fn new(title: impl Into<String>) -> Page {
        Page {
            title: title.into(),
            body: String::new(),
        }
    }

    /// Begins a section.
    pub fn heading(&mut self, text: &str) -> &mut Page {
        self.push(format_args!("<h2>{}</h2>\n", escape(text)))
    }

    /// Adds a paragraph.
    pub fn paragraph(&mut self, text: &str) -> &mut Page {
        self.push(format_args!("<p>{}</p>\n", escape(text)))
    }

    /// Adds a picture and what it shows. `svg` is the text of one of the functions in
    /// [`plot`](super::plot) and goes into the page as it is.
    pub fn figure(&mut self, caption: &str, svg: &str) -> &mut Page {
        let caption = escape(caption);
        self.push(format_args!(
            "<figure>\n<div class=\"scroll\">{svg}</div>\n\
             <figcaption>{caption}</figcaption>\n</figure>\n"
        ))
    }

    /// Adds a table. A column of numbers is aligned to the right; a unit behind the number and cells
    /// that say nothing do not change that. Rows shorter than the longest end in empty cells.
    pub fn table<H: AsRef<str>, C: AsRef<str>>(
        &mut self,
        header: &[H],
        rows: &[Vec<C>],
    ) -> &mut Page {
        let n_columns = rows.iter().map(Vec::len).fold(header.len(), usize::max);
        let classes: Vec<&str> = (0..n_columns)
            .map(|column| {
                let cells = rows.iter().filter_map(|row| row.get(column));
                if is_numeric(cells.map(AsRef::as_ref)) {
                    " class=\"number\""
                } else {
                    ""
                }
            })
            .collect();
        self.push(format_args!(
            "<div class=\"scroll\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n",
            cells("th", header, &classes)
        ));
        for row in rows {
            self.push(format_args!("<tr>{}</tr>\n", cells("td", row, &classes)));
        }
        self.push(format_args!("</tbody>\n</table></div>\n"))
    }

    /// The page as the text of an HTML file.
    pub fn to_html(&self) -> String {
        let title = escape(&self.title);
        let dark = dark_plots();
        let body = &self.body;
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{STYLE}{dark}</style>\n</head>\n<body>\n<main>\n\
             <h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
        )
    }

    /// What it holds, as markup.
    pub(super) fn body(&self) -> &str {
        &self.body
    }

    pub(super) fn push(&mut self, markup: std::fmt::Arguments<'_>) -> &mut Page {
        // Writing to a string cannot fail.
        let _ = self.body.write_fmt(markup);
        self
    }
}

/// One row of cells, as many as there are classes.
fn cells<C: AsRef<str>>(tag: &str, cells: &[C], classes: &[&str]) -> String {
    let contents = cells.iter().map(AsRef::as_ref);
    let contents = contents.chain(std::iter::repeat(""));
    let cells = classes.iter().zip(contents);
    cells
        .map(|(class, content)| format!("<{tag}{class}>{}</{tag}>", escape(content)))
        .collect()
}

/// Whether cells hold numbers: at least one does, and no other says anything.
fn is_numeric<'a>(cells: impl Iterator<Item = &'a str>) -> bool {
    let mut said = cells
        .map(str::trim)
        .filter(|cell| !["", "-", "–", "—"].contains(cell))
        .peekable();
    said.peek().is_some() && said.all(starts_with_number)
}

/// `12`, `-0.5`, `1,024`, `3e-7`, `98.1 %`, `1.5x`, `24 GB/s`, `≤ 3`, but not `4-bit` or `2 of 3`.
fn starts_with_number(cell: &str) -> bool {
    let cell = cell.trim_start_matches(['<', '>', '≤', '≥', '±', '~', ' ']);
    let number_end = cell
        .find(|c: char| !(c.is_ascii_digit() || ['.', ',', '+', '-', '−', 'e', '_'].contains(&c)))
        .unwrap_or(cell.len());
    let (digits, unit) = cell.split_at(number_end);
    let digits = digits.replace([',', '_'], "").replace('−', "-");
    let unit = unit.trim_start();
    digits.parse::<f64>().is_ok() && !unit.contains(' ')
}

/// Style that turns plots dark where the page is.
fn dark_plots() -> String {
    let mut style = "@media (prefers-color-scheme: dark) {\n".to_owned();
    for color in palette::all() {
        let dark = color.dark();
        // Writing to a string cannot fail.
        let _ = writeln!(
            style,
            "  svg [fill=\"{color}\"] {{ fill: {dark}; }} svg [stroke=\"{color}\"] {{ stroke: {dark}; }}"
        );
    }
    style.push_str("}\n");
    style
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "</p><script src=\"https://x\">&'";

    #[test]
    fn text_is_escaped_everywhere() {
        let html = Page::new(HOSTILE)
            .heading(HOSTILE)
            .paragraph(HOSTILE)
            .figure(HOSTILE, "<svg></svg>")
            .table(&[HOSTILE], &[vec![HOSTILE]])
            .to_html();
        assert!(!html.contains("<script"), "{html}");
        let escaped = "&lt;/p&gt;&lt;script src=&quot;https://x&quot;&gt;&amp;&#39;";
        assert_eq!(html.matches(escaped).count(), 7);
    }

    #[test]
    fn a_page_refers_to_nothing_outside_itself() {
        let html = Page::new("t").paragraph("p").to_html();
        for reference in [
            "http:", "https:", "src=", "href=", "url(", "@import", "<script",
        ] {
            assert!(!html.contains(reference), "{reference}");
        }
        assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
    }

    #[test]
    fn columns_of_numbers_are_aligned_to_the_right() {
        let html = Page::new("t")
            .table(
                &["name", "GB/s", "share"],
                &[vec!["copy", "12.5", "98 %"], vec!["4-bit", "-"]],
            )
            .to_html();
        assert!(html.contains(
            "<tr><th>name</th><th class=\"number\">GB/s</th><th class=\"number\">share</th></tr>"
        ));
        assert!(html.contains(
            "<tr><td>4-bit</td><td class=\"number\">-</td><td class=\"number\"></td></tr>"
        ));
    }

    #[test]
    fn numbers_are_told_from_text() {
        for cell in [
            "12", "-0.5", "−0.5", "1,024", "3e-7", "98.1 %", "98%", "1.5x", "24 GB/s", "≤ 3",
        ] {
            assert!(starts_with_number(cell), "{cell}");
        }
        for cell in [
            "", "x", "4-bit", "2 of 3", "1.2.3", "e", "-", "[1, 2]", "inf",
        ] {
            assert!(!starts_with_number(cell), "{cell}");
        }
        assert!(!is_numeric(["", "-"].into_iter()));
    }

    #[test]
    fn rows_of_any_length_make_a_table() {
        let no_header: [&str; 0] = [];
        let html = Page::new("t")
            .table(&no_header, &[vec![], vec!["a", "b"]])
            .to_html();
        assert!(html.contains("<tr><th></th><th></th></tr>"));
        assert!(html.contains("<tr><td></td><td></td></tr>"));
    }
}
