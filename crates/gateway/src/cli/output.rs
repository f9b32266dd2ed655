//! What listings look like: a table for people, JSON for programs.

use crate::failure::{Code, Failure};
use serde::Serialize;

/// Prints `value` as JSON.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|e| {
        Failure::new(
            Code::Internal,
            "the answer can't be written as JSON",
            "report this",
        )
        .with_source(e)
    })?;
    println!("{text}");
    Ok(())
}

/// Prints rows below a head, columns aligned.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) {
    let mut widths = head.map(|h| h.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        println!("{}", padded.join("  ").trim_end());
    };
    line(head);
    for row in rows {
        line(row.each_ref().map(String::as_str));
    }
}

/// Unix milliseconds as a date in UTC.
pub(super) fn date(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX / 2000);
    let (year, month, day) = crate::tls::validity::civil(seconds);
    let of_day = seconds.rem_euclid(86_400);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02}:{:02}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}
