//! What an answer's headers say about time.

use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES, RETRY_AFTER};
use http::{HeaderMap, HeaderName};
use std::time::{Duration, SystemTime};

/// The longest wait that a peer's `Retry-After` is taken for.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// `Retry-After`, in seconds or as a date (RFC 9110 section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = text(headers, RETRY_AFTER)?;
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value)
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    };
    Some(wait.min(LONGEST_WAIT))
}

/// How long an answer stays fresh (RFC 9111 section 4.2); `None` where the headers don't say.
pub(super) fn freshness(headers: &HeaderMap) -> Option<Duration> {
    let directives = || {
        headers
            .get_all(CACHE_CONTROL)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .map(|d| d.trim().to_ascii_lowercase())
    };
    if directives().any(|d| d == "no-store" || d == "no-cache") {
        return Some(Duration::ZERO);
    }
    let max_age = directives().find_map(|d| d.strip_prefix("max-age=")?.trim_matches('"').parse().ok());
    let lifetime = if let Some(seconds) = max_age {
        Duration::from_secs(seconds)
    } else {
        let date = |name| text(headers, name).and_then(|v| httpdate::parse_http_date(v).ok());
        let expires = text(headers, EXPIRES)?;
        // An invalid date, such as 0, means expired.
        let Ok(expires) = httpdate::parse_http_date(expires) else {
            return Some(Duration::ZERO);
        };
        let made = date(DATE).unwrap_or_else(SystemTime::now);
        expires.duration_since(made).unwrap_or_default()
    };
    let age = text(headers, AGE).and_then(|v| v.parse().ok()).unwrap_or(0);
    Some(lifetime.saturating_sub(Duration::from_secs(age)))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::*;
    use http::HeaderValue;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        all.iter().map(header).collect()
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:00 GMT").unwrap();
        let seconds = |value: &str| retry_after(&headers(&[("retry-after", value)]), now);
        assert_eq!(seconds("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            seconds("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::from_secs(37))
        );
        assert_eq!(seconds("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(seconds("99999999"), Some(LONGEST_WAIT));
        assert_eq!(seconds("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn freshness_follows_http() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (all, expected) in [
            (&[("cache-control", "max-age=61")][..], Some(61)),
            (&[("cache-control", "Public, Max-Age=61")], Some(61)),
            (&[("cache-control", "max-age=61"), ("age", "11")], Some(50)),
            (&[("cache-control", "max-age=61"), ("age", "99")], Some(0)),
            (&[("cache-control", "no-store")], Some(0)),
            (&[("cache-control", "no-cache, max-age=61")], Some(0)),
            (&[("cache-control", "private")], None),
            (&[("expires", "0")], Some(0)),
            (
                &[("date", date), ("expires", "Sun, 06 Nov 1994 08:50:37 GMT")],
                Some(60),
            ),
            (&[], None),
        ] {
            assert_eq!(
                freshness(&headers(all)),
                expected.map(Duration::from_secs),
                "{all:?}"
            );
        }
    }
}
