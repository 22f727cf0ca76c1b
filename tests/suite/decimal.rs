//! Decimals keep what was sent.

use ptolemy_webhooks::{Decimal, Event, Payload};

fn value(json: &str) -> Option<String> {
    let body = format!(
        r#"{{"event_type":"composite_time_series_value.created","data":{{"items":[{{"value":{json}}}]}}}}"#
    );
    match Event::from_trusted_json(body).unwrap().payload {
        Payload::CompositeTimeSeriesValueCreated(composite) => {
            let items = composite.items.unwrap();
            items[0].value.as_ref().map(ToString::to_string)
        }
        Payload::Malformed(malformed) => Some(format!("! {malformed}")),
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
        let decimal: Decimal = serde_json::from_str(text).unwrap();
        assert_eq!(decimal.as_str(), text);
        let decimal: Decimal = serde_json::from_str(&format!("\"{text}\"")).unwrap();
        assert_eq!(decimal.as_str(), text);
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
fn what_is_neither_string_nor_number_is_told_with_its_path() {
    assert_eq!(value("null"), None);
    for (json, found) in [
        ("true", "a boolean"),
        ("[1]", "an array"),
        ("{}", "an object"),
    ] {
        let expected =
            format!("! data.items[0].value: expected a string or a number, found {found}");
        assert_eq!(value(json), Some(expected));
        assert!(serde_json::from_str::<Decimal>(json).is_err());
    }
    assert!(serde_json::from_str::<Decimal>("null").is_err());
    assert!(serde_json::from_str::<Decimal>(r#""\ud800""#).is_err());
}

#[test]
fn a_decimal_goes_out_as_a_string_and_comes_back_from_any_serde_json_source() {
    let decimal: Decimal = serde_json::from_str("0.10").unwrap();
    assert_eq!(serde_json::to_string(&decimal).unwrap(), r#""0.10""#);
    assert_eq!(serde_json::from_slice::<Decimal>(b"0.10").unwrap(), decimal);
    assert_eq!(
        serde_json::from_reader::<_, Decimal>(&b"0.10"[..]).unwrap(),
        decimal
    );
    let value = serde_json::Value::from("0.10");
    assert_eq!(serde_json::from_value::<Decimal>(value).unwrap(), decimal);
}

#[cfg(feature = "rust_decimal")]
fn convert(text: &str) -> Result<String, rust_decimal::Error> {
    let decimal: Decimal = serde_json::from_value(text.into()).unwrap();
    rust_decimal::Decimal::try_from(&decimal).map(|number| number.to_string())
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
fn what_is_no_number_in_the_form_of_json_is_an_error() {
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
