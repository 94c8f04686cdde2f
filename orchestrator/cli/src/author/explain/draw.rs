//! A page as a terminal shows it: headings in bold, prose wrapped, code indented.

use anstyle::Style;

use crate::show::output;

/// The page without its title, wrapped at so many columns.
pub fn page(markdown: &str, width: usize) -> String {
    let bold = Style::new().bold();
    let mut shown = String::new();
    let mut prose = String::new();
    let mut code = false;
    for line in markdown.lines() {
        if line.starts_with("```") {
            flush(&mut prose, &mut shown, width);
            code = !code;
        } else if code {
            shown.push_str(&format!("    {line}\n"));
        } else if let Some(heading) = line.strip_prefix("## ") {
            flush(&mut prose, &mut shown, width);
            shown.push_str(&format!("{bold}{heading}{bold:#}\n"));
        } else if line.starts_with("# ") {
            // The title stands above already.
        } else if line.is_empty() {
            flush(&mut prose, &mut shown, width);
            if !shown.is_empty() && !shown.ends_with("\n\n") {
                shown.push('\n');
            }
        } else {
            if line.starts_with("- ") {
                flush(&mut prose, &mut shown, width);
            }
            prose.push_str(line);
            prose.push(' ');
        }
    }
    flush(&mut prose, &mut shown, width);
    shown.truncate(shown.trim_end().len());
    shown + "\n"
}

fn flush(prose: &mut String, shown: &mut String, width: usize) {
    if !prose.trim().is_empty() {
        let text = without_links(prose).replace("**", "");
        for line in output::wrapped(&text, width) {
            shown.push_str(&line);
            shown.push('\n');
        }
    }
    prose.clear();
}

/// `[S0303](S0303.md)` is `S0303`: a terminal follows no link.
fn without_links(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(middle) = rest.find("](") {
        let Some(open) = rest[..middle].rfind('[') else {
            plain.push_str(&rest[..middle + 2]);
            rest = &rest[middle + 2..];
            continue;
        };
        plain.push_str(&rest[..open]);
        plain.push_str(&rest[open + 1..middle]);
        rest = rest[middle..]
            .find(')')
            .map_or("", |close| &rest[middle + close + 1..]);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_drawn_for_a_terminal() {
        let markdown = "# S1: title\n\nProse with a [link](to.md) and **bold** words.\n\n## As it looks\n\n```text\na  b\n```\n\n- one\n- two\n";
        assert_eq!(
            output::bare(&page(markdown, 30)),
            "Prose with a link and bold\nwords.\n\nAs it looks\n\n    a  b\n\n- one\n- two\n"
        );
        assert_eq!(without_links("a [b](c) d](e) f"), "a b d](e) f");
    }
}
