//! Converters of times and durations.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    super::{
        arguments::{made, to_str},
        calendar::{self, SECOND, date_time, weekday},
        compare::as_double,
        fault::{Fault, What},
        node::{Argument, Call, Eval},
        types::Types,
        value::Value,
    },
    Function, Special, Takes, converter, optional, parameter, value,
};

const TIME: &[super::Parameter] = &[value("time", Types::TIME)];
const DURATION: &[super::Parameter] = &[value("duration", Types::DURATION)];
const INT: Types = Types::INT;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function { is_pure: false, ..converter("Now", &[], Types::TIME, now, "The current time.") },
    converter(
        "Time",
        &[
            value("time", Types::TEXT),
            parameter("format", Takes::TimeFormat),
            optional("location", Takes::Literal(Types::TEXT)),
            optional("locale", Takes::Literal(Types::TEXT)),
        ],
        Types::TIME,
        time,
        "A time from a text in a format such as `%Y-%m-%d %H:%M:%S`.",
    )
    .with(check_zone),
    converter(
        "FormatTime",
        &[value("time", Types::TIME), parameter("format", Takes::TimeFormat)],
        Types::TEXT,
        format_time,
        "A time as text, in UTC.",
    ),
    converter(
        "TruncateTime",
        &[value("time", Types::TIME), value("duration", Types::DURATION)],
        Types::TIME,
        truncate_time,
        "A time rounded down to a multiple of a duration.",
    ),
    converter(
        "Duration",
        &[value("duration", Types::TEXT)],
        Types::DURATION,
        duration,
        "A duration from a text such as `1h30m`.",
    ),
    converter(
        "Unix",
        &[value("seconds", INT), optional("nanoseconds", Takes::Value(INT))],
        Types::TIME,
        unix,
        "A time from seconds since 1970.",
    ),
    converter("UnixSeconds", TIME, INT, unix_seconds, "Seconds since 1970."),
    converter("UnixMilli", TIME, INT, unix_milli, "Milliseconds since 1970."),
    converter("UnixMicro", TIME, INT, unix_micro, "Microseconds since 1970."),
    converter("UnixNano", TIME, INT, unix_nano, "Nanoseconds since 1970."),
    converter("Year", TIME, INT, year, "The year of a time in UTC."),
    converter("Month", TIME, INT, month, "The month of a time, 1 to 12."),
    converter("Day", TIME, INT, day, "The day of the month of a time."),
    converter("Hour", TIME, INT, hour, "The hour of a time."),
    converter("Minute", TIME, INT, minute, "The minute of a time."),
    converter("Second", TIME, INT, second, "The second of a time."),
    converter("Nanosecond", TIME, INT, nanosecond, "The nanosecond of a time in its second."),
    converter("Weekday", TIME, INT, day_of_week, "The day of the week of a time; Sunday is 0."),
    converter("Hours", DURATION, Types::DOUBLE, hours, "A duration in hours."),
    converter("Minutes", DURATION, Types::DOUBLE, minutes, "A duration in minutes."),
    converter("Seconds", DURATION, Types::DOUBLE, seconds, "A duration in seconds."),
    converter("Milliseconds", DURATION, INT, milliseconds, "A duration in whole milliseconds."),
    converter("Microseconds", DURATION, INT, microseconds, "A duration in whole microseconds."),
    converter("Nanoseconds", DURATION, INT, nanoseconds, "A duration in nanoseconds."),
];

fn check_zone(arguments: &[Argument]) -> Result<Special, (usize, String)> {
    let constant = |at: usize| match arguments.get(at) {
        Some(Argument::Value(node, _)) => match node.constant() {
            Some(Value::Text(text)) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        },
        _ => None,
    };
    if let Some(name) = constant(2).filter(|name| calendar::zone(name).is_none()) {
        return Err((
            2,
            format!("`{name}` is not a time zone; write a name such as `Europe/Berlin`"),
        ));
    }
    if let Some(locale) = constant(3).filter(|locale| !locale.starts_with("en")) {
        return Err((3, format!("the locale `{locale}` is not supported; only English names are")));
    }
    Ok(Special::None)
}

#[expect(clippy::unnecessary_wraps, reason = "every converter can fail")]
fn now<'e>(_: &'e Call, _: Eval<'e>) -> Result<Value<'e>, Fault> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Value::Time(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)))
}

fn time<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let (text, format) = (call.str(eval, 0)?, call.str(eval, 1)?);
    if text.is_empty() {
        return Err(What::text("the text of a time is empty").into());
    }
    let name = to_str(call.text_or(eval, 2, "Local")?);
    let zone = calendar::zone(&name).ok_or(What::text("unknown time zone"))?;
    Ok(Value::Time(calendar::parse(&text, &format, &zone).map_err(What::owned)?))
}

fn format_time<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let (at, format) = (call.time(eval, 0)?, call.str(eval, 1)?);
    Ok(made(calendar::format(at, &format).map_err(What::owned)?))
}

/// Seconds from the year 1, from which Go counts multiples, to 1970.
const BEFORE_1970: i128 = 62_135_596_800;

fn truncate_time<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let (at, unit) = (call.time(eval, 0)?, call.duration(eval, 1)?);
    if unit <= 0 {
        return Ok(Value::Time(at));
    }
    let since = i128::from(at) + BEFORE_1970 * i128::from(SECOND);
    let over = since.rem_euclid(i128::from(unit));
    Ok(Value::Time(at.saturating_sub(i64::try_from(over).unwrap_or(0))))
}

fn duration<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let text = call.str(eval, 0)?;
    let parsed = calendar::parse_duration(&text).ok_or_else(|| {
        let shown: String = text.chars().take(50).collect();
        What::owned(format!("`{shown}` is not a duration; write `1h30m` or `500ms`"))
    })?;
    Ok(Value::Duration(parsed))
}

fn unix<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let nanos = if call.has(1) { call.int(eval, 1)? } else { 0 };
    let seconds = call.int(eval, 0)?.wrapping_mul(SECOND);
    Ok(Value::Time(seconds.wrapping_add(nanos)))
}

fn since_1970<'e>(call: &'e Call, eval: Eval<'e>, unit: i64) -> Result<Value<'e>, Fault> {
    Ok(Value::Int(call.time(eval, 0)?.div_euclid(unit)))
}

fn unix_seconds<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    since_1970(call, eval, SECOND)
}

fn unix_milli<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    since_1970(call, eval, SECOND / 1000)
}

fn unix_micro<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    since_1970(call, eval, SECOND / 1_000_000)
}

fn unix_nano<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    since_1970(call, eval, 1)
}

fn year<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(Value::Int(i64::from(date_time(call.time(eval, 0)?).year())))
}

fn month<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(Value::Int(i64::from(date_time(call.time(eval, 0)?).month())))
}

fn day<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(Value::Int(i64::from(date_time(call.time(eval, 0)?).day())))
}

fn hour<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(Value::Int(i64::from(date_time(call.time(eval, 0)?).hour())))
}

fn minute<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(Value::Int(i64::from(date_time(call.time(eval, 0)?).minute())))
}

fn second<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(Value::Int(i64::from(date_time(call.time(eval, 0)?).second())))
}

fn nanosecond<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(Value::Int(i64::from(date_time(call.time(eval, 0)?).subsec_nanosecond())))
}

fn day_of_week<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(Value::Int(weekday(date_time(call.time(eval, 0)?).weekday())))
}

fn in_units<'e>(call: &'e Call, eval: Eval<'e>, unit: i64) -> Result<Value<'e>, Fault> {
    Ok(Value::Double(as_double(call.duration(eval, 0)?) / as_double(unit)))
}

fn hours<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    in_units(call, eval, 3600 * SECOND)
}

fn minutes<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    in_units(call, eval, 60 * SECOND)
}

fn seconds<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    in_units(call, eval, SECOND)
}

fn milliseconds<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(Value::Int(call.duration(eval, 0)? / (SECOND / 1000)))
}

fn microseconds<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(Value::Int(call.duration(eval, 0)? / 1000))
}

fn nanoseconds<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(Value::Int(call.duration(eval, 0)?))
}
