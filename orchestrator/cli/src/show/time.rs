//! Times as people read them. Everything is microseconds since the Unix epoch; zero means "not set".

use jiff::{Timestamp, tz::TimeZone};

const SECOND_US: i64 = 1_000_000;

/// The wall clock.
pub fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}

/// A span in its two largest units: `350ms`, `41s`, `14m 19s`, `2h 3m`, `3d 2h`. Negative spans count as zero: two
/// clocks that differ a little must not show a saga that starts in the future.
pub fn span(us: i64) -> String {
    let us = us.max(0);
    let seconds = us / SECOND_US;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes, seconds % 60) {
        (0, 0, 0, 0) => format!("{}ms", us / 1_000),
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => two(m, "m", s, "s"),
        (0, h, m, _) => two(h, "h", m, "m"),
        (d, h, _, _) => two(d, "d", h, "h"),
    }
}

fn two(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 {
        format!("{large}{large_unit}")
    } else {
        format!("{large}{large_unit} {small}{small_unit}")
    }
}

/// `in 8s`, `now` when it is due; `None` when nothing is set.
pub fn until(at_us: i64, now_us: i64) -> Option<String> {
    match at_us {
        0 => None,
        at if at.saturating_sub(now_us) < 1_000 => Some("now".into()),
        at => Some(format!("in {}", span(round_up(at.saturating_sub(now_us))))),
    }
}

/// A countdown shows whole seconds, rounded up, or it would say `7s` right after `8s` was set.
const fn round_up(us: i64) -> i64 {
    if us < SECOND_US {
        us
    } else {
        us.saturating_add(SECOND_US - 1) / SECOND_US * SECOND_US
    }
}

/// `14:02:30.123` on the clock of the place where it is read.
pub fn clock(at_us: i64, zone: &TimeZone) -> String {
    match Timestamp::from_microsecond(at_us) {
        Ok(at) => at
            .to_zoned(zone.clone())
            .strftime("%H:%M:%S%.3f")
            .to_string(),
        Err(_) => format!("{at_us}us"),
    }
}

/// `2026-05-28 (UTC+02:00)`: the day of a moment at that place.
pub fn day(at_us: i64, zone: &TimeZone) -> String {
    match Timestamp::from_microsecond(at_us) {
        Ok(at) => at
            .to_zoned(zone.clone())
            .strftime("%Y-%m-%d (UTC%:z)")
            .to_string(),
        Err(_) => String::new(),
    }
}

/// RFC 3339 in UTC with milliseconds: sorts, and lines up with the logs of the participants.
pub fn utc(at_us: i64) -> String {
    match Timestamp::from_microsecond(at_us) {
        Ok(at) => format!("{at:.3}"),
        Err(_) => format!("{at_us}us"),
    }
}

/// For JSON: RFC 3339 in UTC with microseconds; `None` when nothing is set.
pub fn rfc3339(at_us: i64) -> Option<String> {
    match at_us {
        0 => None,
        at => Timestamp::from_microsecond(at)
            .ok()
            .map(|at| format!("{at:.6}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_their_two_largest_units() {
        for (us, text) in [
            (-5, "0ms"),
            (350_000, "350ms"),
            (41 * SECOND_US, "41s"),
            (60 * SECOND_US, "1m"),
            (859 * SECOND_US, "14m 19s"),
            (7_380 * SECOND_US, "2h 3m"),
            (266_400 * SECOND_US, "3d 2h"),
            (86_400 * SECOND_US, "1d"),
            (i64::MAX, "106751991d 4h"),
        ] {
            assert_eq!(span(us), text);
        }
    }

    #[test]
    fn countdowns_round_up_and_end_at_now() {
        assert_eq!(until(0, 5), None);
        assert_eq!(until(10, 5_000_000).as_deref(), Some("now"));
        assert_eq!(until(7_100_000, 0).as_deref(), Some("in 8s"));
        assert_eq!(until(400_000, 0).as_deref(), Some("in 400ms"));
        assert_eq!(
            until(i64::MAX, i64::MIN).as_deref(),
            Some("in 106751991d 4h")
        );
    }

    #[test]
    fn a_clock_shows_the_time_of_its_place() {
        let zone = jiff::tz::Offset::constant(2).to_time_zone();
        assert_eq!(clock(1_780_000_000_123_456, &zone), "22:26:40.123");
        assert_eq!(day(1_780_000_000_123_456, &zone), "2026-05-28 (UTC+02:00)");
        assert_eq!(day(1_780_009_000_000_000, &zone), "2026-05-29 (UTC+02:00)");
    }

    #[test]
    fn moments_are_utc() {
        assert_eq!(utc(1_780_000_000_123_456), "2026-05-28T20:26:40.123Z");
        assert_eq!(
            rfc3339(1_780_000_000_123_456).as_deref(),
            Some("2026-05-28T20:26:40.123456Z")
        );
        assert_eq!(rfc3339(0), None);
        assert_eq!(utc(i64::MAX), format!("{}us", i64::MAX));
    }
}
