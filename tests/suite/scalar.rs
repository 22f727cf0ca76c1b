//! Scalars keep the text as it was sent.

use ptolemy_webhooks::{Event, Payload, Scalar};
use serde::{Deserialize, Serialize};

fn value(json: &str) -> Option<String> {
    let body = format!(
        r#"{{"event_type":"composite_time_series_value.created","data":{{"items":[{{"value":{json}}}]}}}}"#
    );
    match Event::from_trusted_json(body).unwrap().payload {
        Ok(Payload::CompositeTimeSeriesValue(_, composite)) => {
            let items = composite.items.unwrap();
            items[0].value.as_ref().map(ToString::to_string)
        }
        Err(malformed) => Some(format!("! {malformed}")),
        other => panic!("{other:?}"),
    }
}

const DIGITS: &str = "0.1234567890123456789012345678901234567890";

#[test]
fn no_digit_is_lost() {
    for text in [
        "45.82",
        "0.10",
        "-0",
        "-0.0",
        "1e400",
        "1E-7",
        "100000000000000000000000000000",
        DIGITS,
    ] {
        assert_eq!(value(text).as_deref(), Some(text));
        assert_eq!(value(&format!("\"{text}\"")).as_deref(), Some(text));
        let scalar: Scalar = serde_json::from_str(&format!("\"{text}\"")).unwrap();
        assert_eq!(scalar, text);
    }
}

#[test]
fn values_of_other_types_sent_as_strings_are_kept() {
    for text in ["true", "2026-04-15", ""] {
        assert_eq!(value(&format!("\"{text}\"")).as_deref(), Some(text));
    }
    assert_eq!(value(r#""4\u0035.8""#).as_deref(), Some("45.8"));
}

#[test]
fn a_value_that_is_neither_string_nor_number_is_malformed_with_its_path() {
    assert_eq!(value("null"), None);
    for (json, found) in [
        ("true", "a boolean"),
        ("[1]", "an array"),
        ("{}", "an object"),
    ] {
        let expected =
            format!("! data.items[0].value: expected a string or a number, found {found}");
        assert_eq!(value(json), Some(expected));
        assert!(serde_json::from_str::<Scalar>(json).is_err());
    }
    assert!(serde_json::from_str::<Scalar>("null").is_err());
    assert!(serde_json::from_str::<Scalar>(r#""\ud800""#).is_err());
}

/// All positions that serde allows for a field in a user's type.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Plain {
    value: Scalar,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flattened {
    #[serde(flatten)]
    inner: Plain,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Plain(Plain),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Plain(Plain),
}

/// Reads `json` as the value of a field in each of these positions; all must agree.
fn in_every_position(json: &str) -> Option<Scalar> {
    let object = format!(r#"{{"value":{json}}}"#);
    let tagged = format!(r#"{{"kind":"Plain","value":{json}}}"#);
    let plain: Option<Plain> = serde_json::from_str(&object).ok();
    let plain = plain.map(|it| it.value);
    let flattened: Option<Flattened> = serde_json::from_str(&object).ok();
    assert_eq!(flattened.map(|it| it.inner.value), plain, "flatten: {json}");
    let untagged: Option<Untagged> = serde_json::from_str(&object).ok();
    assert_eq!(
        untagged.map(|Untagged::Plain(it)| it.value),
        plain,
        "untagged: {json}"
    );
    let tagged: Option<Tagged> = serde_json::from_str(&tagged).ok();
    assert_eq!(
        tagged.map(|Tagged::Plain(it)| it.value),
        plain,
        "tag: {json}"
    );
    let reader: Option<Plain> = serde_json::from_reader(object.as_bytes()).ok();
    assert_eq!(reader.map(|it| it.value), plain, "reader: {json}");
    let value = serde_json::from_str::<serde_json::Value>(&object).ok();
    let value: Option<Plain> = value.and_then(|value| serde_json::from_value(value).ok());
    assert_eq!(value.map(|it| it.value), plain, "value: {json}");
    plain
}

#[test]
fn strings_and_whole_integers_are_read_in_every_position_of_a_user_s_type() {
    for (json, text) in [
        (r#""0.10""#, "0.10"),
        (r#""""#, ""),
        (r#""4\u0035.8""#, "45.8"),
        ("0", "0"),
        ("-7", "-7"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("18446744073709551615", "18446744073709551615"),
    ] {
        assert_eq!(in_every_position(json), Some(Scalar::from(text)), "{json}");
    }
}

#[test]
fn a_number_that_may_have_lost_digits_is_an_error_in_every_position_and_never_rounded() {
    for json in [
        "0.10",
        "1.0",
        "-0",
        "1e2",
        "18446744073709551616",
        "-9223372036854775809",
        "100000000000000000000000000000",
        DIGITS,
        "true",
        "null",
        "[]",
        "{}",
    ] {
        assert_eq!(in_every_position(json), None, "{json}");
    }
    let error = serde_json::from_str::<Plain>(r#"{"value":45.82}"#).unwrap_err();
    assert!(error.to_string().contains("expected a string"), "{error}");
    assert!(!error.to_string().contains("45"), "{error}");
}

#[test]
fn a_scalar_goes_out_as_a_string_and_comes_back_from_any_format() {
    let plain = Plain {
        value: Scalar::from("0.10"),
    };
    let json = serde_json::to_string(&plain).unwrap();
    assert_eq!(json, r#"{"value":"0.10"}"#);
    assert_eq!(serde_json::from_str::<Plain>(&json).unwrap(), plain);
    // A format that does not describe its values, and one that does.
    let bytes = postcard::to_stdvec(&plain).unwrap();
    assert_eq!(postcard::from_bytes::<Plain>(&bytes).unwrap(), plain);
    let bytes = rmp_serde::to_vec(&plain).unwrap();
    assert_eq!(rmp_serde::from_slice::<Plain>(&bytes).unwrap(), plain);
    let bytes = rmp_serde::to_vec_named(&Flattened { inner: plain }).unwrap();
    let flattened: Flattened = rmp_serde::from_slice(&bytes).unwrap();
    assert_eq!(flattened.inner.value, "0.10");
}

#[test]
fn a_scalar_is_text_that_parses_to_what_the_user_wants() {
    let scalar = Scalar::from("1500".to_owned());
    assert_eq!(scalar, Scalar::from("1500"));
    assert_eq!("1500".parse(), Ok(scalar.clone()));
    assert_eq!(scalar.parse::<u64>(), Ok(1500));
    assert!(Scalar::from("45.82").parse::<u64>().is_err());
    assert_eq!(Scalar::from("true").parse(), Ok(true));
    assert_eq!(scalar, "1500");
    assert_eq!(scalar.as_ref() as &str, "1500");
    assert_eq!(format!("{scalar:>6}"), "  1500");
    assert_ne!(Scalar::from("1.0"), Scalar::from("1.00"));
}

#[cfg(feature = "rust_decimal")]
fn convert(text: &str) -> Result<String, rust_decimal::Error> {
    rust_decimal::Decimal::try_from(&Scalar::from(text)).map(|number| number.to_string())
}

#[cfg(feature = "rust_decimal")]
#[test]
fn what_rust_decimal_can_hold_is_converted_exactly() {
    const MAX: &str = "79228162514264337593543950335";
    for (text, expected) in [
        ("45.82", "45.82"),
        ("0.10", "0.10"),
        ("-1", "-1"),
        ("-0.5", "-0.5"),
        ("0", "0"),
        ("0.00", "0.00"),
        ("0e99", "0"),
        ("0e99999999999999999999", "0"),
        ("0e-99999999999999999999", "0.0000000000000000000000000000"),
        ("1.5e3", "1500"),
        ("1.5E+3", "1500"),
        ("1.5e0", "1.5"),
        ("15E-1", "1.5"),
        ("1.25e1", "12.5"),
        ("1e28", "10000000000000000000000000000"),
        ("1e-28", "0.0000000000000000000000000001"),
        ("10e-29", "0.0000000000000000000000000001"),
        (
            "0.00000000000000000000000000001e5",
            "0.000000000000000000000001",
        ),
        (
            "45.820000000000000000000000000000",
            "45.820000000000000000000000000",
        ),
        (
            "1.00000000000000000000000000000",
            "1.0000000000000000000000000000",
        ),
        (MAX, MAX),
        (
            "-79228162514264337593543950335",
            "-79228162514264337593543950335",
        ),
        (
            "7922816251426433759354395033.50",
            "7922816251426433759354395033.5",
        ),
        (
            "7.9228162514264337593543950335",
            "7.9228162514264337593543950335",
        ),
    ] {
        assert_eq!(convert(text).as_deref(), Ok(expected), "{text}");
    }
    let long = format!("1{}e-30", "0".repeat(40));
    assert_eq!(
        convert(&long).as_deref(),
        Ok("10000000000.000000000000000000")
    );
}

#[cfg(feature = "rust_decimal")]
#[test]
fn what_rust_decimal_cannot_hold_is_an_error_and_never_rounded() {
    for text in [
        DIGITS,
        "79228162514264337593543950336",
        "79228162514264337593543950335.1",
        "7922816251426433759354395033.51",
        "1e29",
        "1e-29",
        "1e400",
        "1e-400",
        "1e99999999999999999999",
        "1e-99999999999999999999",
        "1e9223372036854775807",
        "1e-9223372036854775808",
        "0.00000000000000000000000000001",
    ] {
        assert!(convert(text).is_err(), "{text}: {:?}", convert(text));
    }
}

#[cfg(feature = "rust_decimal")]
#[test]
fn text_that_is_not_a_number_in_the_form_of_json_is_an_error() {
    for text in [
        "",
        "-",
        ".",
        "1.",
        ".5",
        "007",
        "-01",
        "00.1",
        "1_000",
        "+1",
        "--1",
        "0x10",
        "true",
        "2026-04-15",
        "e5",
        "1e",
        "1e+",
        "1e+-1",
        "1e5.0",
        "1e5e5",
        "1.2.3",
        "１",
        " 1",
        "1 ",
        "NaN",
        "Infinity",
    ] {
        assert!(convert(text).is_err(), "{text}: {:?}", convert(text));
    }
}
