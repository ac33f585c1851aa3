//! Dates as the lines tell them, in UTC.
use std::io::Write;

use crate::http::digits;

/// Appends a time in seconds since 1970 (RFC 3339), without the fraction and the zone.
pub(super) fn write_second(second: u64, out: &mut Vec<u8>) {
    let ([year, month, day], [hour, minute, second]) = date(second);
    digits::decimal(year, out);
    for (before, number) in [(b'-', month), (b'-', day), (b'T', hour), (b':', minute), (b':', second)] {
        out.push(before);
        digits::two(number, out);
    }
}

/// Appends a time in seconds since 1970 as the combined log format has it, without the zone.
pub(super) fn write_common_second(second: u64, out: &mut Vec<u8>) {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let ([year, month, day], [hour, minute, second]) = date(second);
    let month = MONTHS[month as usize - 1];
    // Writing to memory does not fail.
    let _ = write!(out, "{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02}");
}

/// Returns the date and the time of day in UTC, of a time in seconds since 1970.
fn date(seconds: u64) -> ([u64; 3], [u64; 3]) {
    let of_day = seconds % 86_400;
    // Years begin in March here, so a leap day is the last day of its year. Day 0 is the first of March of year 0.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    ([year, month, day], [of_day / 3600, of_day / 60 % 60, of_day % 60])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_the_calendar() {
        let cases = [
            (0, [1970, 1, 1]),
            (951_782_400, [2000, 2, 29]),
            (951_868_800, [2000, 3, 1]),
            (1_735_689_599, [2024, 12, 31]),
            (4_107_542_400, [2100, 3, 1]),
        ];
        for (seconds, expected) in cases {
            assert_eq!(date(seconds).0, expected, "{seconds}");
        }
        assert_eq!(date(1_735_689_599).1, [23, 59, 59]);
    }
}
