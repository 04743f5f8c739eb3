//! What a page holds beside paragraphs, figures and plain tables: numbers to be seen at a glance, figures
//! side by side, tables whose cells say more than a number, parts that unfold.

use std::fmt::Write as _;

use super::page::Page;
use super::text::escape;

/// Whether a number is good news. Colour only repeats what words and signs beside it say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Neither.
    #[default]
    Plain,
    /// Better than what it is compared with.
    Better,
    /// Worse.
    Worse,
    /// There is no number.
    Absent,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Tone::Plain => "",
            Tone::Better => " better",
            Tone::Worse => " worse",
            Tone::Absent => " absent",
        }
    }
}

/// A number to be seen at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// What it is.
    pub name: String,
    /// The number, with its unit.
    pub value: String,
    /// What it means.
    pub note: String,
    /// Whether it is good news.
    pub tone: Tone,
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// A smaller line below; may be empty.
    pub note: String,
    /// Whether the note is good news.
    pub tone: Tone,
    /// A bar behind the text, from 0 to 1 of the cell's width.
    pub bar: Option<f64>,
}

impl Cell {
    /// A cell that says only this.
    pub fn new(text: impl Into<String>) -> Cell {
        Cell {
            text: text.into(),
            ..Cell::default()
        }
    }

    /// The same with a smaller line below.
    #[must_use]
    pub fn note(self, note: impl Into<String>, tone: Tone) -> Cell {
        Cell {
            note: note.into(),
            tone,
            ..self
        }
    }

    /// The same with a bar; what is no share of 1 has none.
    #[must_use]
    pub fn bar(self, share: f64) -> Cell {
        Cell {
            bar: (share > 0.0).then_some(share.min(1.0)),
            ..self
        }
    }

    /// A cell that says that there is no number.
    pub fn absent(text: impl Into<String>) -> Cell {
        Cell {
            tone: Tone::Absent,
            ..Cell::new(text)
        }
    }
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// What stands on the left and stays there when the rest is scrolled.
    pub name: Cell,
    /// What stands beside it.
    pub cells: Vec<Cell>,
    /// Drawn in bold.
    pub marked: bool,
}

impl Page {
    /// Adds the paragraph that says what matters.
    pub fn lead(&mut self, text: &str) -> &mut Page {
        self.push(format_args!("<p class=\"lead\">{}</p>\n", escape(text)))
    }

    /// Adds a list.
    pub fn list<T: AsRef<str>>(&mut self, items: &[T]) -> &mut Page {
        let items = items.iter().map(AsRef::as_ref);
        let items: String = items
            .map(|item| format!("<li>{}</li>\n", escape(item)))
            .collect();
        self.push(format_args!("<ul>\n{items}</ul>\n"))
    }

    /// Adds text with its own line breaks, such as a file's.
    pub fn preformatted(&mut self, text: &str) -> &mut Page {
        // Lines are escaped one by one, because escaping makes a space of a line break.
        let lines: Vec<String> = text
            .lines()
            .map(|line| escape(&line.replace('\t', "    ")))
            .collect();
        let text = lines.join("\n");
        self.push(format_args!(
            "<div class=\"scroll\"><pre>{text}\n</pre></div>\n"
        ))
    }

    /// Adds numbers side by side.
    pub fn cards(&mut self, cards: &[Card]) -> &mut Page {
        let mut markup = String::new();
        for card in cards {
            // Writing to a string cannot fail.
            let _ = writeln!(
                markup,
                "<div class=\"card{}\"><dt>{}</dt><dd>{}</dd><dd class=\"note\">{}</dd></div>",
                card.tone.class(),
                escape(&card.name),
                escape(&card.value),
                escape(&card.note)
            );
        }
        self.push(format_args!("<dl class=\"cards\">\n{markup}</dl>\n"))
    }

    /// Adds captions and pictures side by side where there is room, as [`Page::figure`] adds one.
    pub fn figures(&mut self, figures: &[(String, String)]) -> &mut Page {
        self.push(format_args!("<div class=\"figures\">\n"));
        for (caption, svg) in figures {
            self.figure(caption, svg);
        }
        self.push(format_args!("</div>\n"))
    }

    /// Adds a table whose columns hold numbers, but for the first and those that `is_text` names.
    pub fn rich_table(&mut self, header: &[&str], is_text: &[usize], rows: &[Row]) -> &mut Page {
        let class = |column: usize| {
            if column == 0 || is_text.contains(&column) {
                ""
            } else {
                "number"
            }
        };
        let mut markup = String::new();
        for (column, title) in header.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(
                markup,
                "<th scope=\"col\" class=\"{}\">{}</th>",
                class(column),
                escape(title)
            );
        }
        markup.push_str("</tr></thead>\n<tbody>\n");
        for row in rows {
            let marked = if row.marked { " class=\"marked\"" } else { "" };
            let _ = write!(
                markup,
                "<tr{marked}><th scope=\"row\">{}</th>",
                inside(&row.name)
            );
            for (index, cell) in row.cells.iter().enumerate() {
                let absent = if cell.tone == Tone::Absent {
                    " absent"
                } else {
                    ""
                };
                let _ = write!(
                    markup,
                    "<td class=\"{}{absent}\">{}</td>",
                    class(index + 1),
                    inside(cell)
                );
            }
            markup.push_str("</tr>\n");
        }
        self.push(format_args!(
            "<div class=\"scroll\"><table class=\"rich\">\n<thead><tr>{markup}</tbody>\n</table></div>\n"
        ))
    }

    /// Adds what another page holds, folded under a line that opens it. Printed, it is open.
    pub fn fold(&mut self, summary: &str, is_open: bool, content: &Page) -> &mut Page {
        let open = if is_open { " open" } else { "" };
        let body = content.body();
        self.push(format_args!(
            "<details{open}>\n<summary>{}</summary>\n{body}</details>\n",
            escape(summary)
        ))
    }
}

fn inside(cell: &Cell) -> String {
    let mut markup = escape(&cell.text);
    if !cell.note.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(
            markup,
            "<small class=\"note{}\">{}</small>",
            cell.tone.class(),
            escape(&cell.note)
        );
    }
    if let Some(share) = cell.bar {
        let _ = write!(
            markup,
            "<span class=\"bar\"><span style=\"width:{:.1}%\"></span></span>",
            100.0 * share
        );
    }
    markup
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "</p><script src=\"https://x\">&'";

    #[test]
    fn everything_is_escaped() {
        let cell = Cell::new(HOSTILE).note(HOSTILE, Tone::Worse).bar(0.5);
        let card = Card {
            name: HOSTILE.to_owned(),
            value: HOSTILE.to_owned(),
            note: HOSTILE.to_owned(),
            tone: Tone::Better,
        };
        let row = Row {
            name: cell.clone(),
            cells: vec![cell],
            marked: true,
        };
        let mut folded = Page::new("inside");
        folded.lead(HOSTILE).list(&[HOSTILE]).preformatted(HOSTILE);
        let html = Page::new("t")
            .cards(&[card])
            .figures(&[(HOSTILE.to_owned(), "<svg></svg>".to_owned())])
            .rich_table(&[HOSTILE, HOSTILE], &[], &[row])
            .fold(HOSTILE, true, &folded)
            .to_html();
        assert!(!html.contains("<script"), "{html}");
        assert_eq!(html.matches("&lt;script").count(), 14);
    }

    #[test]
    fn lines_of_a_file_stay_lines() {
        let html = Page::new("t").preformatted("a = 1\n\tb = 2").to_html();
        assert!(html.contains("<pre>a = 1\n    b = 2\n</pre>"), "{html}");
    }

    #[test]
    fn a_bar_is_a_share() {
        assert_eq!(Cell::new("x").bar(2.0).bar, Some(1.0));
        for none in [0.0, -1.0, f64::NAN] {
            assert_eq!(Cell::new("x").bar(none).bar, None);
        }
    }
}
