//! Writing for people: printable ASCII only, because much of what is shown comes from servers and a terminal acts on what it
//! is sent; and aligned columns.

use std::io::Write as _;

/// One line of printable ASCII: everything else as `\u{…}`.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => out.push(c),
            other => out.extend(other.escape_unicode()),
        }
    }
    out
}

/// Tells a person something, unless that one has closed standard error and does not want to know.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Rows under a heading, in columns as wide as they need to be.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = heading.map(str::len);
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| plain(cell))).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut out = line(heading);
    for row in &rows {
        out += &line(row.each_ref().map(String::as_str));
    }
    out
}

/// One line of CSV (RFC 4180).
pub(crate) fn csv<const N: usize>(cells: [&str; N]) -> String {
    let quoted = cells.map(|cell| {
        let plain = plain(cell);
        // A leading sign is a formula to a spreadsheet.
        let risky = plain.starts_with(['=', '+', '-', '@']);
        if risky || plain.contains([',', '"']) {
            format!("\"{}{}\"", if risky { "'" } else { "" }, plain.replace('"', "\"\""))
        } else {
            plain
        }
    });
    format!("{}\r\n", quoted.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_nothing_moves_the_cursor() {
        let rows = [["a".to_owned(), "long\u{1b}[2J".to_owned()], ["bbb".to_owned(), String::new()]];
        assert_eq!(table(["x", "yy"], &rows), "x    yy\na    long\\u{1b}[2J\nbbb\n");
    }

    #[test]
    fn a_cell_of_csv_is_quoted_where_it_has_to_be_and_never_a_formula() {
        assert_eq!(csv(["a", "b,c", "d\"e", "=1+1"]), "a,\"b,c\",\"d\"\"e\",\"'=1+1\"\r\n");
    }
}
