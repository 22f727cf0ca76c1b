//! From text to `rust_decimal`: exactly, or an error.

use rust_decimal::Error;

use super::scalar::Scalar;

/// The most decimal places that `rust_decimal` has.
const MOST_PLACES: i64 = 28;

/// More digits than its 96 bits hold, and few enough for an `i128`.
const MOST_DIGITS: usize = 30;

impl TryFrom<&Scalar> for rust_decimal::Decimal {
    type Error = Error;

    /// Converts without rounding; decimal places are kept as far as there is room for them.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not a number in JSON's form, or if the value needs more than
    /// the 96 bits and the 28 decimal places that `rust_decimal` has.
    fn try_from(scalar: &Scalar) -> Result<Self, Error> {
        let Number {
            is_negative,
            mut digits,
            mut places,
        } = Number::parse(scalar.as_str()).ok_or(Error::from("not a number in JSON's form"))?;

        if digits.is_empty() {
            let places = u32::try_from(places.clamp(0, MOST_PLACES)).unwrap_or(0);
            return Self::try_from_i128_with_scale(0, places);
        }
        loop {
            let exact = from_digits(&digits, places);
            // Zeros at the end do not change the value, and without them it may fit.
            if exact.is_ok() || !digits.ends_with('0') {
                return exact.map(|mut number| {
                    number.set_sign_negative(is_negative);
                    number
                });
            }
            digits.pop();
            places = places.saturating_sub(1);
        }
    }
}

fn from_digits(digits: &str, places: i64) -> Result<rust_decimal::Decimal, Error> {
    if places > MOST_PLACES {
        return Err(Error::Underflow);
    }
    let zeros = usize::try_from(places.min(0).unsigned_abs()).unwrap_or(usize::MAX);
    if digits.len().saturating_add(zeros) > MOST_DIGITS {
        return Err(Error::ExceedsMaximumPossibleValue);
    }
    let mantissa = format!("{digits}{}", "0".repeat(zeros))
        .parse()
        .map_err(|_| Error::ExceedsMaximumPossibleValue)?;
    let places = u32::try_from(places.max(0)).map_err(|_| Error::Underflow)?;
    rust_decimal::Decimal::try_from_i128_with_scale(mantissa, places)
}

/// The digits of a number without leading zeros, and how many of them follow the point.
struct Number {
    is_negative: bool,
    digits: String,
    /// Negative if zeros are missing between the digits and the point.
    places: i64,
}

impl Number {
    /// Reads a number in the form of JSON, RFC 8259 section 6.
    fn parse(text: &str) -> Option<Self> {
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (text, None),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (mantissa, None),
        };
        let is_json = is_digits(whole)
            && (whole == "0" || !whole.starts_with('0'))
            && fraction.is_none_or(is_digits);
        if !is_json {
            return None;
        }

        let fraction = fraction.unwrap_or_default();
        let exponent = exponent.map_or(Some(0), parse_exponent)?;
        Some(Self {
            is_negative,
            digits: format!("{whole}{fraction}")
                .trim_start_matches('0')
                .to_owned(),
            places: i64::try_from(fraction.len()).ok()?.saturating_sub(exponent),
        })
    }
}

/// Reads an exponent; one that does not fit an `i64` becomes the greatest or the least.
fn parse_exponent(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !is_digits(digits) {
        return None;
    }
    let exponent = digits.parse().unwrap_or(i64::MAX);
    Some(if is_negative { -exponent } else { exponent })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
