//! Wall-clock time as a value. Deadlines outlive hibernation and closed tabs, so they are
//! milliseconds since the Unix epoch; nothing in this crate reads a clock.

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch (UTC).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Millis(pub u64);

const DAY_MS: u64 = 86_400_000;

impl Millis {
    /// This time plus a span in milliseconds; saturates instead of wrapping.
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// This time less a span in milliseconds; 1970 at the earliest.
    pub fn minus(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to this time; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The stamp of XEP-0082 §3.2 in UTC with milliseconds: `2026-11-21T06:12:25.040Z`.
    pub fn to_stamp(self) -> String {
        let (year, month, day) = civil_from_days((self.0 / DAY_MS) as i64);
        let ms = self.0 % DAY_MS;
        format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
            ms / 3_600_000,
            ms / 60_000 % 60,
            ms / 1000 % 60,
            ms % 1000
        )
    }

    /// Reads a stamp of XEP-0082, with any offset and any number of fraction digits.
    pub fn from_stamp(stamp: &str) -> Option<Self> {
        let (date, rest) = stamp.split_once('T')?;
        let mut parts = date.splitn(3, '-').map(number);
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        let (clock, offset_min) = split_offset(rest)?;
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let mut parts = clock.splitn(3, ':').map(number);
        let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
        if hour > 23 || minute > 59 || second > 60 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
        let ms = ((hour * 60 + minute) * 60 + second) * 1000 + number(&digits)?;
        let total = days_from_civil(year, month, day) * DAY_MS as i64 + ms - offset_min * 60_000;
        u64::try_from(total).ok().map(Self)
    }
}

fn split_offset(clock: &str) -> Option<(&str, i64)> {
    if let Some(clock) = clock.strip_suffix('Z') {
        return Some((clock, 0));
    }
    let at = clock.rfind(['+', '-'])?;
    let (clock, offset) = clock.split_at_checked(at)?;
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then(|| (clock, sign * (hours * 60 + minutes)))
}

/// Digits and nothing else.
fn number(text: &str) -> Option<i64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Days since 1970-01-01 to a date of the proleptic Gregorian calendar, in 400-year eras.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_written_in_utc_with_milliseconds() {
        assert_eq!(Millis(1_795_241_545_040).to_stamp(), "2026-11-21T06:12:25.040Z");
        assert_eq!(Millis(951_782_400_000).to_stamp(), "2000-02-29T00:00:00.000Z");
    }

    #[test]
    fn stamps_with_offsets_and_odd_fractions_are_read() {
        assert_eq!(Millis::from_stamp("1969-07-21T02:56:15Z"), None, "before the epoch");
        assert_eq!(Millis::from_stamp("2026-11-21T06:12:25.04Z"), Some(Millis(1_795_241_545_040)));
        assert_eq!(Millis::from_stamp("2026-11-21T14:12:25.0400009+08:00"), Some(Millis(1_795_241_545_040)));
        for bad in ["", "2026-11-21", "2026-13-21T06:12:25Z", "2026-11-21T06:12Z", "2026-11-21T06:12:25"] {
            assert_eq!(Millis::from_stamp(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_offset_is_less_than_a_day() {
        assert_eq!(Millis::from_stamp("1970-01-02T00:00:00+23:59"), Some(Millis(60_000)));
        for bad in [
            "2026-11-21T00:00:00+24:00",
            "2026-11-21T00:00:00+00:60",
            "2026-11-21T00:00:00+-1:00",
            "2026-11-21T00:00:00+9223372036854775807:00",
            "2026-11-21T00:00:00-00:9223372036854775807",
        ] {
            assert_eq!(Millis::from_stamp(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn writing_and_reading_a_stamp_is_the_identity(ms in 0u64..250_000_000_000_000) {
            proptest::prop_assert_eq!(Millis::from_stamp(&Millis(ms).to_stamp()), Some(Millis(ms)));
        }
    }
}
