//! Moments on the wire: whole seconds, written as RFC 3339 (core draft, `expires`, receipt `timestamp`).

use std::borrow::Cow;
#[cfg(feature = "server")]
use std::cell::Cell;
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrayvec::ArrayString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MIN: i64 = -62_167_219_200; // 0000-01-01T00:00:00Z
const MAX: i64 = 253_402_300_799; // 9999-12-31T23:59:59Z
const DAY: i64 = 86_400;

/// A moment, in whole seconds since 1970-01-01T00:00:00Z, between the years 0000 and 9999.
///
/// Arithmetic saturates at the ends of that range; every timestamp has an RFC 3339 form of exactly 20 characters.
///
/// ```
/// use std::time::Duration;
/// use mpp::protocol::Timestamp;
///
/// let issued = Timestamp::parse("2026-11-21T10:00:00.750Z")?;
/// assert_eq!((issued + Duration::from_secs(300)).to_string(), "2026-11-21T10:05:00Z");
/// # Ok::<(), mpp::protocol::TimestampError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment this many seconds after (or before) 1970. Saturates.
    ///
    /// ```
    /// # use mpp::protocol::Timestamp;
    /// assert_eq!(Timestamp::from_unix(0).to_string(), "1970-01-01T00:00:00Z");
    /// ```
    pub const fn from_unix(seconds: i64) -> Timestamp {
        if seconds < MIN {
            Timestamp(MIN)
        } else if seconds > MAX {
            Timestamp(MAX)
        } else {
            Timestamp(seconds)
        }
    }

    /// Seconds since 1970.
    ///
    /// ```
    /// # use mpp::protocol::Timestamp;
    /// assert_eq!(Timestamp::from_unix(5).unix(), 5);
    /// ```
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// Reads an RFC 3339 date-time, with `Z` or an offset and up to nine fraction digits. Fractions are rounded down.
    ///
    /// # Errors
    /// [`TimestampError`]: anything else, and dates that do not exist.
    ///
    /// ```
    /// # use mpp::protocol::Timestamp;
    /// assert_eq!(Timestamp::parse("2026-11-21T11:00:00.9+01:00"), Timestamp::parse("2026-11-21T10:00:00Z"));
    /// assert!(Timestamp::parse("2026-02-30T10:00:00Z").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Timestamp, TimestampError> {
        parse_rfc3339(text.as_bytes()).ok_or(TimestampError)
    }

    /// The 20 characters of the RFC 3339 form in UTC, without allocating.
    ///
    /// ```
    /// # use mpp::protocol::Timestamp;
    /// assert_eq!(Timestamp::from_unix(1).to_rfc3339().as_str(), "1970-01-01T00:00:01Z");
    /// ```
    pub fn to_rfc3339(self) -> Rfc3339 {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY));
        let second = self.0.rem_euclid(DAY);
        let mut text = *b"0000-00-00T00:00:00Z";
        write_digits(&mut text[0..4], year);
        write_digits(&mut text[5..7], month);
        write_digits(&mut text[8..10], day);
        write_digits(&mut text[11..13], second / 3600);
        write_digits(&mut text[14..16], second / 60 % 60);
        write_digits(&mut text[17..19], second % 60);
        Rfc3339(ArrayString::from_byte_string(&text).expect("digits and separators are ASCII"))
    }

    /// [`to_rfc3339`](Self::to_rfc3339), formatted once per thread for as long as it is asked for the same moment: all
    /// challenges of one second end at one.
    #[cfg(feature = "server")]
    pub(crate) fn to_rfc3339_shared(self) -> Rfc3339 {
        thread_local! {
            static LAST: Cell<Option<(Timestamp, Rfc3339)>> = const { Cell::new(None) };
        }
        match LAST.get() {
            Some((moment, text)) if moment == self => text,
            _ => {
                let text = self.to_rfc3339();
                LAST.set(Some((self, text)));
                text
            }
        }
    }

    /// How long after `earlier` this is; zero if it is not.
    ///
    /// ```
    /// # use mpp::protocol::Timestamp;
    /// assert_eq!(Timestamp::from_unix(9).since(Timestamp::from_unix(4)).as_secs(), 5);
    /// assert_eq!(Timestamp::from_unix(4).since(Timestamp::from_unix(9)).as_secs(), 0);
    /// ```
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_secs(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.to_rfc3339().as_str())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Timestamp, TimestampError> {
        Timestamp::parse(text)
    }
}

impl From<SystemTime> for Timestamp {
    /// Rounds down to the second.
    fn from(time: SystemTime) -> Timestamp {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Timestamp::from_unix(i64::try_from(after.as_secs()).unwrap_or(MAX)),
            Err(before) => {
                let before = before.duration();
                let seconds = before.as_secs().saturating_add(u64::from(before.subsec_nanos() > 0));
                Timestamp::from_unix(i64::try_from(seconds).map_or(MIN, |seconds| -seconds))
            }
        }
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    /// Whole seconds of the duration; a fraction is dropped. Saturates.
    fn add(self, duration: Duration) -> Timestamp {
        Timestamp::from_unix(self.0.saturating_add_unsigned(duration.as_secs()))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;

    /// Whole seconds of the duration; a fraction is dropped. Saturates.
    fn sub(self, duration: Duration) -> Timestamp {
        Timestamp::from_unix(self.0.saturating_sub_unsigned(duration.as_secs()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.to_rfc3339().as_str())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Timestamp::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A [`Timestamp`] as text: `2026-11-21T10:00:00Z`. Small enough to copy, so that it is formatted once and shared.
///
/// ```
/// use mpp::protocol::Timestamp;
/// let text = Timestamp::from_unix(0).to_rfc3339();
/// assert_eq!(text.as_str().len(), 20);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rfc3339(ArrayString<20>);

impl Rfc3339 {
    /// The text.
    ///
    /// ```
    /// # use mpp::protocol::Timestamp;
    /// assert!(Timestamp::from_unix(0).to_rfc3339().as_str().ends_with('Z'));
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Rfc3339 {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl std::ops::Deref for Rfc3339 {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The text is not an RFC 3339 date-time.
///
/// ```
/// # use mpp::protocol::{Timestamp, TimestampError};
/// assert_eq!(Timestamp::parse("tomorrow"), Err(TimestampError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 date-time such as 2026-11-21T10:00:00Z")]
pub struct TimestampError;

fn parse_rfc3339(text: &[u8]) -> Option<Timestamp> {
    let (date_time, rest) = text.split_at_checked(19)?;
    let separators = [date_time[4], date_time[7], date_time[10], date_time[13], date_time[16]];
    if !matches!(separators, [b'-', b'-', b'T' | b't', b':', b':']) {
        return None;
    }
    let (year, month, day) =
        (digits(&date_time[0..4])?, digits(&date_time[5..7])?, digits(&date_time[8..10])?);
    let (hour, minute, second) =
        (digits(&date_time[11..13])?, digits(&date_time[14..16])?, digits(&date_time[17..19])?);
    // A leap second is written as second 60 and is the next minute's first.
    if !(1..=12).contains(&month)
        || !(1..=days_in(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let rest = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let length = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            if !(1..=9).contains(&length) {
                return None;
            }
            &fraction[length..]
        }
        None => rest,
    };
    let offset = match rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
    Some(Timestamp::from_unix(seconds))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, b| b.is_ascii_digit().then(|| number * 10 + i64::from(b - b'0')))
}

fn write_digits(place: &mut [u8], mut number: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar. Years are counted from March, so that the leap
/// day is the last of its year, in eras of 400 years, which all have the same length.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[cfg(feature = "server")]
    #[test]
    fn a_text_that_is_shared_is_the_one_of_its_moment() {
        for unix in [0, 1_800_000_000, 1_800_000_000, 1_800_000_001, 0, MAX] {
            let moment = Timestamp::from_unix(unix);
            assert_eq!(moment.to_rfc3339_shared(), moment.to_rfc3339());
        }
    }

    #[test]
    fn known_moments_read_and_write() {
        for (text, unix) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59Z", -1),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2025-01-06T12:00:00Z", 1_736_164_800),
            ("0000-01-01T00:00:00Z", MIN),
            ("9999-12-31T23:59:59Z", MAX),
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().unix(), unix, "{text}");
            assert_eq!(Timestamp::from_unix(unix).to_string(), text);
        }
    }

    #[test]
    fn fractions_are_rounded_down_and_offsets_taken_off() {
        let ten = Timestamp::parse("2026-11-20T10:09:36Z").unwrap();
        for same in [
            "2026-11-20T10:09:36.141Z",
            "2026-11-20T10:09:36.999999999Z",
            "2026-11-20T10:09:36+00:00",
            "2026-11-20T10:09:36-00:00",
            "2026-11-20T12:39:36.5+02:30",
            "2026-11-20T03:09:36-07:00",
            "2026-11-20t10:09:36z",
        ] {
            assert_eq!(Timestamp::parse(same), Ok(ten), "{same}");
        }
        assert_eq!(Timestamp::parse("2016-12-31T23:59:60Z"), Timestamp::parse("2017-01-01T00:00:00Z"));
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for wrong in [
            "",
            "2026-11-20",
            "2026-11-20 10:09:36Z",
            "2026-11-20T10:09:36",
            "2026-11-20T10:09:36.Z",
            "2026-11-20T10:09:36.0123456789Z",
            "2026-11-20T10:09:36+0000",
            "2026-11-20T10:09:36+24:00",
            "2026-11-20T24:00:00Z",
            "2026-11-20T10:60:36Z",
            "2026-11-20T10:09:61Z",
            "2026-13-20T10:09:36Z",
            "2026-00-20T10:09:36Z",
            "2026-02-29T10:09:36Z",
            "2100-02-29T10:09:36Z",
            "2026-11-00T10:09:36Z",
            "2026-11-31T10:09:36Z",
            "2026-11-20T10:09:36Z ",
            "+026-11-20T10:09:36Z",
            "20é6-11-20T10:09:36Z",
        ] {
            assert_eq!(Timestamp::parse(wrong), Err(TimestampError), "{wrong}");
        }
    }

    #[test]
    fn arithmetic_saturates() {
        let forever = Duration::from_secs(u64::MAX);
        assert_eq!(Timestamp::from_unix(0) + forever, Timestamp::from_unix(i64::MAX));
        assert_eq!(Timestamp::from_unix(0) - forever, Timestamp::from_unix(i64::MIN));
        assert_eq!(
            Timestamp::from_unix(i64::MAX).since(Timestamp::from_unix(i64::MIN)).as_secs(),
            (MAX - MIN) as u64
        );
    }

    #[test]
    fn system_time_is_rounded_down() {
        assert_eq!(Timestamp::from(UNIX_EPOCH + Duration::from_millis(1_999)).unix(), 1);
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_millis(1)).unix(), -1);
    }

    proptest! {
        #[test]
        fn parsing_what_was_written_gives_the_same_moment(unix in MIN..=MAX) {
            let moment = Timestamp::from_unix(unix);
            prop_assert_eq!(Timestamp::parse(&moment.to_string()), Ok(moment));
            let json = serde_json::to_string(&moment).unwrap();
            prop_assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), moment);
        }

        #[test]
        fn agrees_with_the_time_crate(unix in MIN..=MAX) {
            use time::format_description::well_known::Rfc3339;
            let theirs = time::OffsetDateTime::from_unix_timestamp(unix).unwrap().format(&Rfc3339).unwrap();
            prop_assert_eq!(Timestamp::from_unix(unix).to_string(), theirs);
        }

        #[test]
        fn parsing_never_panics(text in ".*", near in "[0-9]{4}-[0-9é]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}.{0,12}") {
            let _ = (Timestamp::parse(&text), Timestamp::parse(&near));
        }
    }
}
