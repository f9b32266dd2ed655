//! How long a certificate is valid, read from its DER (RFC 5280 section 4.1): just enough for `causeway check`.

/// From and until, Unix seconds. `None` if it isn't a certificate.
pub fn validity(der: &[u8]) -> Option<(i64, i64)> {
    let (certificate, _) = element(der, 0x30)?;
    let (mut tbs, _) = element(certificate, 0x30)?;
    if let Some((_version, rest)) = element(tbs, 0xa0) {
        tbs = rest;
    }
    for tag in [0x02, 0x30, 0x30] {
        // serialNumber, signature, issuer
        tbs = element(tbs, tag)?.1;
    }
    let (validity, _) = element(tbs, 0x30)?;
    let (from, rest) = time(validity)?;
    let (until, _) = time(rest)?;
    Some((from, until))
}

/// Splits off one element with the given tag: its contents and what follows.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    if first != tag {
        return None;
    }
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (
                octets.iter().fold(0_usize, |n, b| (n << 8) | usize::from(*b)),
                rest,
            )
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// UTCTime or GeneralizedTime, both in the one form that RFC 5280 allows (seconds, `Z`).
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let (text, rest, years) = match element(der, 0x17) {
        Some((text, rest)) => (text, rest, 2),
        None => element(der, 0x18).map(|(text, rest)| (text, rest, 4))?,
    };
    let text = str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if text.len() != years + 10 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, len: usize| text.get(from..from + len)?.parse::<i64>().ok();
    let mut year = number(0, years)?;
    if years == 2 {
        year += if year < 50 { 2000 } else { 1900 };
    }
    let days = days_from_civil(year, number(years, 2)?, number(years + 2, 2)?);
    let seconds = number(years + 4, 2)? * 3600 + number(years + 6, 2)? * 60 + number(years + 8, 2)?;
    Some((days * 86_400 + seconds, rest))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // March is made the first month, so that the leap day is the last day of a year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a time in Unix seconds.
pub fn civil(seconds: i64) -> (i64, u8, u8) {
    let days = seconds.div_euclid(86_400);
    let mut year = 1970 + days / 366;
    while days_from_civil(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut month = 1_u8;
    while month < 12 && days_from_civil(year, i64::from(month) + 1, 1) <= days {
        month += 1;
    }
    let day = days - days_from_civil(year, i64::from(month), 1) + 1;
    (year, month, u8::try_from(day).unwrap_or(1))
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

    #[test]
    fn days_count_from_the_epoch() {
        assert_eq!(days_from_civil(1970, 1, 1), 0);
        assert_eq!(days_from_civil(2000, 3, 1), 11_017);
        assert_eq!(days_from_civil(2026, 11, 23), 20_780);
        for days in (0..60_000).step_by(13) {
            let (y, m, d) = civil(days * 86_400 + 5);
            assert_eq!(days_from_civil(y, m.into(), d.into()), days);
        }
    }

    #[test]
    fn validity_is_read_from_a_real_certificate() {
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 11, 23);
        params.not_after = rcgen::date_time_ymd(2051, 1, 2);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let days = |n: i64| n * 86_400;
        assert_eq!(
            validity(certificate.der()),
            Some((days(20_780), days(days_from_civil(2051, 1, 2))))
        );
        for end in 0..certificate.der().len() {
            assert_eq!(validity(&certificate.der()[..end]), None);
        }
    }
}
