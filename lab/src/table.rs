//! Columns of text: the first left-aligned, the rest right-aligned.

use std::fmt;

/// Rows of cells under headings.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()],
        }
    }

    /// Adds a row. In a row shorter than the headings, the rest is empty, and its last cell may
    /// extend to the right.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows[0].len();
        let full = || self.rows.iter().filter(|row| row.len() == columns);
        let width = |column: usize| {
            full()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..columns).map(width).collect();
        // The name in a short row still belongs to the first column.
        widths[0] = self
            .rows
            .iter()
            .filter_map(|row| row.first())
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0);
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let short = row.len() < widths.len();
            let cells = row.iter().zip(&widths).enumerate();
            let padded = cells.map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ if short => cell.clone(),
                _ => format!("{cell:>width$}"),
            });
            let line = padded.collect::<Vec<_>>().join("  ");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_names_left_and_numbers_right() {
        let mut table = Table::new(&["who", "GB/s"]);
        table.row(["a longer name".to_owned(), "1.0".to_owned()]);
        table.row(["b".to_owned(), "10.25".to_owned()]);
        table.row(["absent one, long".to_owned()]);
        let expected = "who                GB/s\na longer name       1.0\nb                 10.25\nabsent one, long\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_short_row_does_not_widen_the_columns() {
        let mut table = Table::new(&["who", "x", "y"]);
        table.row(["a".to_owned(), "VOID: a long explanation".to_owned()]);
        table.row(["b".to_owned(), "1".to_owned(), "2".to_owned()]);
        assert_eq!(
            table.to_string(),
            "who  x  y\na    VOID: a long explanation\nb    1  2\n"
        );
    }
}
