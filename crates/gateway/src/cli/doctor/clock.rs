//! Clocks, as the header `Date` tells them (RFC 9110 section 5.6.7).

use crate::cli::check::Finding;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds of difference that are nobody's business: `Date` has whole seconds, and an answer takes its time.
const FINE: i64 = 5;
/// Seconds of difference above which signatures, tokens and certificates begin to fail.
const BAD: i64 = 60;

/// What is wrong with somebody's clock, or ours; `None` if nothing is.
pub(super) fn difference(whose: &str, date: Option<&str>) -> Option<Finding> {
    let theirs = date.and_then(parse)?;
    let ours = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(0));
    let off = (theirs - ours).abs();
    let remedy = "run a time service (chrony, systemd-timesyncd) on both machines";
    if off > BAD {
        Some(Finding::error(
            format!("the clock of {whose} and ours are {off} seconds apart"),
            remedy,
        ))
    } else if off > FINE {
        Some(Finding::warning(
            format!("the clock of {whose} and ours are {off} seconds apart"),
            remedy,
        ))
    } else {
        None
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that is sent today.
fn parse(date: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = date.split_ascii_whitespace().skip(1);
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|m| *m == month)?).ok()? + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut time = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    (words.next()? == "GMT").then(|| {
        crate::tls::validity::days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn dates_of_http_are_read() {
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse("Sunday, 06-Nov-94 08:49:37 GMT"), None);
        assert_eq!(parse(""), None);
    }
}
