//! Values in the two formats of the protocol.

use gantry_kql::value::{DateTime, Decimal, Dynamic, Guid, TICKS_PER_DAY, TimeSpan, Value};
use gantry_sql::types::{Base, SqlType};
use gantry_sql::{Error, text};

/// Ticks from the year 1 to 2000-01-01, from where the protocol counts.
const EPOCH: i64 = 730_119 * TICKS_PER_DAY;
/// Ticks of a microsecond.
const MICRO: i64 = 10;

/// A value that is not null, in a format.
pub fn write(value: &Value, ty: SqlType, binary: bool, out: &mut Vec<u8>) {
    if !binary {
        out.extend_from_slice(text::print(value, ty).as_bytes());
        return;
    }
    if let Some(element) = ty.element() {
        return write_array(value, ty, element, out);
    }
    match (ty.base, value) {
        (Base::Bool, Value::Bool(value)) => out.push(u8::from(*value)),
        (Base::Int2, Value::Int(value)) => out.extend_from_slice(&(*value as i16).to_be_bytes()),
        (Base::Int4, Value::Int(value)) => out.extend_from_slice(&value.to_be_bytes()),
        (Base::Int8, Value::Long(value)) => out.extend_from_slice(&value.to_be_bytes()),
        (Base::Float4, Value::Real(value)) => out.extend_from_slice(&(*value as f32).to_be_bytes()),
        (Base::Float8, Value::Real(value)) => out.extend_from_slice(&value.to_be_bytes()),
        (Base::Numeric, Value::Decimal(value)) => write_numeric(*value, out),
        (Base::Date, Value::DateTime(value)) => {
            let days = (value.0 - EPOCH).div_euclid(TICKS_PER_DAY) as i32;
            out.extend_from_slice(&days.to_be_bytes());
        }
        (Base::Timestamp | Base::TimestampTz, Value::DateTime(value)) => {
            out.extend_from_slice(&(value.0 - EPOCH).div_euclid(MICRO).to_be_bytes());
        }
        (Base::Time, Value::TimeSpan(value)) => out.extend_from_slice(&(value.0 / MICRO).to_be_bytes()),
        (Base::Interval, Value::TimeSpan(value)) => {
            let (days, rest) = (value.0 / TICKS_PER_DAY, value.0 % TICKS_PER_DAY);
            out.extend_from_slice(&(rest / MICRO).to_be_bytes());
            out.extend_from_slice(&(days as i32).to_be_bytes());
            out.extend_from_slice(&0_i32.to_be_bytes());
        }
        (Base::Uuid, Value::Guid(value)) => out.extend_from_slice(&value.0.to_be_bytes()),
        (Base::Oid | Base::Regclass | Base::Regtype | Base::Regproc | Base::Regnamespace, Value::Long(value)) => {
            out.extend_from_slice(&(*value as u32).to_be_bytes())
        }
        (Base::Jsonb, value) => {
            out.push(1);
            out.extend_from_slice(text::print(value, ty).as_bytes());
        }
        (_, value) => out.extend_from_slice(text::print(value, ty).as_bytes()),
    }
}

fn write_array(value: &Value, ty: SqlType, element: SqlType, out: &mut Vec<u8>) {
    let items: &[Dynamic] = match value {
        Value::Dynamic(Dynamic::Array(items)) => items,
        _ => &[],
    };
    let nulls = items.contains(&Dynamic::Null);
    out.extend_from_slice(&i32::from(!items.is_empty()).to_be_bytes());
    out.extend_from_slice(&i32::from(nulls).to_be_bytes());
    out.extend_from_slice(&element.oid().to_be_bytes());
    if items.is_empty() {
        return;
    }
    out.extend_from_slice(&(items.len() as i32).to_be_bytes());
    // Vectors of the catalogue count from zero.
    out.extend_from_slice(&i32::from(ty.array).to_be_bytes());
    for item in items {
        match text::typed(item, element) {
            Value::Null => out.extend_from_slice(&(-1_i32).to_be_bytes()),
            value => sized(out, |out| write(&value, element, true, out)),
        }
    }
}

/// Something behind its length.
pub fn sized(out: &mut Vec<u8>, f: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    f(out);
    let len = (out.len() - at - 4) as i32;
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

fn write_numeric(value: Decimal, out: &mut Vec<u8>) {
    let scale = u32::from(value.scale);
    // Groups of four digits on both sides of the point.
    let fraction_groups = scale.div_ceil(4);
    let mut digits = value.mantissa.unsigned_abs().to_string();
    digits.extend(std::iter::repeat_n('0', (fraction_groups * 4 - scale) as usize));
    let lead = (4 - digits.len() % 4) % 4;
    digits.insert_str(0, &"0".repeat(lead));
    let mut groups: Vec<i16> = digits
        .as_bytes()
        .chunks(4)
        .map(|group| group.iter().fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0')))
        .collect();
    let mut weight = groups.len() as i32 - 1 - fraction_groups as i32;
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let weight = if groups.is_empty() { 0 } else { weight };
    out.extend_from_slice(&(groups.len() as i16).to_be_bytes());
    out.extend_from_slice(&(weight as i16).to_be_bytes());
    out.extend_from_slice(&(if value.mantissa < 0 { 0x4000_u16 } else { 0 }).to_be_bytes());
    out.extend_from_slice(&(scale as i16).to_be_bytes());
    groups.iter().for_each(|group| out.extend_from_slice(&group.to_be_bytes()));
}

/// A parameter.
///
/// # Errors
/// When the bytes are no value of the type.
pub fn read(bytes: &[u8], ty: SqlType, binary: bool) -> Result<Value, Error> {
    let wrong = || Error::new("22P03", format!("incorrect binary data format for type {ty}"));
    let utf8 = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Error::new("22021", "invalid byte sequence for encoding \"UTF8\""))?;
        if text.contains('\0') {
            Err(Error::new("22021", "a text must not hold a null byte"))
        } else {
            Ok(text.to_owned())
        }
    };
    if !binary {
        return text::read(&utf8(bytes)?, ty);
    }
    if let Some(element) = ty.element() {
        return read_array(bytes, element).ok_or_else(wrong)?;
    }
    let int = |size: usize| -> Result<i64, Error> {
        if bytes.len() != size {
            return Err(wrong());
        }
        let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
        let start = if negative { -1_i64 } else { 0 };
        Ok(bytes.iter().fold(start, |sum, byte| (sum << 8) | i64::from(*byte)))
    };
    let instant = |ticks: Option<i64>| {
        let ticks = ticks.and_then(|ticks| ticks.checked_add(EPOCH));
        ticks
            .and_then(DateTime::from_ticks)
            .map(Value::DateTime)
            .ok_or_else(|| Error::new("22008", "timestamp out of range"))
    };
    Ok(match ty.base {
        Base::Bool => Value::Bool(int(1)? != 0),
        Base::Int2 => Value::Int(int(2)? as i32),
        Base::Int4 => Value::Int(int(4)? as i32),
        Base::Int8 => Value::Long(int(8)?),
        Base::Oid | Base::Regclass | Base::Regtype | Base::Regproc | Base::Regnamespace => {
            Value::Long(int(4)? & 0xffff_ffff)
        }
        Base::Float4 => Value::Real(f64::from(f32::from_be_bytes(bytes.try_into().map_err(|_| wrong())?))),
        Base::Float8 => Value::Real(f64::from_be_bytes(bytes.try_into().map_err(|_| wrong())?)),
        Base::Numeric => Value::Decimal(read_numeric(bytes).ok_or_else(wrong)?),
        Base::Date => instant(int(4)?.checked_mul(TICKS_PER_DAY))?,
        Base::Timestamp | Base::TimestampTz => instant(int(8)?.checked_mul(MICRO))?,
        Base::Time => Value::TimeSpan(TimeSpan(int(8)?.checked_mul(MICRO).ok_or_else(wrong)?)),
        Base::Interval => {
            let [micros @ .., _, _, _, _, _, _, _, _] = bytes else { return Err(wrong()) };
            let micros = i64::from_be_bytes(micros.try_into().map_err(|_| wrong())?);
            let days = i64::from(i32::from_be_bytes(bytes[8..12].try_into().map_err(|_| wrong())?));
            let months = i64::from(i32::from_be_bytes(bytes[12..16].try_into().map_err(|_| wrong())?));
            let days = months.saturating_mul(30).saturating_add(days);
            let ticks =
                micros.checked_mul(MICRO).zip(days.checked_mul(TICKS_PER_DAY)).and_then(|(a, b)| a.checked_add(b));
            Value::TimeSpan(TimeSpan(ticks.ok_or_else(wrong)?))
        }
        Base::Uuid => Value::Guid(Guid(u128::from_be_bytes(bytes.try_into().map_err(|_| wrong())?))),
        Base::Jsonb => match bytes.split_first() {
            Some((1, rest)) => text::read(&utf8(rest)?, ty)?,
            _ => return Err(wrong()),
        },
        _ => text::read(&utf8(bytes)?, ty)?,
    })
}

fn read_numeric(bytes: &[u8]) -> Option<Decimal> {
    let word = |at: usize| Some(i16::from_be_bytes(bytes.get(at * 2..at * 2 + 2)?.try_into().ok()?));
    let (count, weight, sign, scale) = (word(0)?, word(1)?, word(2)? as u16, word(3)?);
    if sign & 0xc000 == 0xc000 || !(0..=38).contains(&scale) || count < 0 {
        return None;
    }
    let (mut mantissa, mut exponent) = (0_i128, i32::from(scale) + (i32::from(weight) + 1) * 4);
    for at in 0..count as usize {
        let digit = word(4 + at)?;
        mantissa = mantissa.checked_mul(10_000)?.checked_add(i128::from(digit))?;
        exponent -= 4;
    }
    mantissa = if exponent >= 0 {
        mantissa.checked_mul(10_i128.checked_pow(exponent as u32)?)?
    } else {
        mantissa / 10_i128.checked_pow(exponent.unsigned_abs())?
    };
    Some(Decimal { mantissa: if sign == 0x4000 { -mantissa } else { mantissa }, scale: scale as u8 })
}

fn read_array(bytes: &[u8], element: SqlType) -> Option<Result<Value, Error>> {
    let word = |at: usize| Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    match word(0)? {
        0 => return Some(Ok(Value::Dynamic(Dynamic::Array(Vec::new())))),
        1 => {}
        _ => return Some(Err(Error::unsupported("an array of arrays"))),
    }
    let element = SqlType::from_oid(word(8)? as u32).unwrap_or(element);
    let (mut at, mut items) = (20, Vec::new());
    for _ in 0..word(12)? {
        let len = word(at)?;
        at += 4;
        if len < 0 {
            items.push(Dynamic::Null);
            continue;
        }
        let end = at.checked_add(usize::try_from(len).ok()?)?;
        match read(bytes.get(at..end)?, element, true) {
            Ok(value) => items.push(value.into_dynamic()),
            Err(error) => return Some(Err(error)),
        }
        at = end;
    }
    Some(Ok(Value::Dynamic(Dynamic::Array(items))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_in_both_formats() {
        for (written, ty) in [
            ("t", SqlType::BOOL),
            ("-5", SqlType::INT2),
            ("70000", SqlType::INT4),
            ("-9000000000", SqlType::INT8),
            ("1.5", SqlType::FLOAT8),
            ("-12345.678", SqlType::NUMERIC),
            ("0.00012", SqlType::NUMERIC),
            ("100000", SqlType::NUMERIC),
            ("0", SqlType::NUMERIC),
            ("2024-02-29 12:34:56.789+00", SqlType::TIMESTAMPTZ),
            ("1999-12-31", SqlType::DATE),
            ("2 days 03:00:00", SqlType::INTERVAL),
            ("0a0b0c0d-0000-4000-8000-000000000001", SqlType::UUID),
            (r#"{"a": [1, null]}"#, SqlType::JSONB),
            ("é", SqlType::TEXT),
            ("{1,NULL,3}", SqlType::array_of(Base::Int8)),
            ("{a,b}", SqlType::array_of(Base::Text)),
        ] {
            for binary in [false, true] {
                let value = text::read(written, ty).unwrap();
                let mut out = Vec::new();
                write(&value, ty, binary, &mut out);
                let again = read(&out, ty, binary).unwrap();
                assert_eq!(text::print(&again, ty), written, "{written} {binary}");
            }
        }
    }

    #[test]
    fn any_bytes_are_a_value_or_refused() {
        for row in gantry_sql::types::TYPES {
            for ty in [SqlType::of(row.base), SqlType::array_of(row.base)] {
                for len in 0..40 {
                    for byte in [0, 1, 0x7f, 0x80, 0xff] {
                        let _ = read(&vec![byte; len], ty, true);
                        let _ = read(&vec![byte; len], ty, false);
                    }
                }
            }
        }
    }
}
