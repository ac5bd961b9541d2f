//! Addresses: IPv4 and IPv6 with their prefixes, and what is found of them in texts.

use std::net::{Ipv4Addr, Ipv6Addr};

use gantry_kql::value::{Dynamic, Value};

use super::Implementation::{Lax, Strict};
use super::{Call, Family, or_null, text};
use crate::column::Cell;

pub(super) const FUNCTIONS: Family = &[
    (
        "parse_ipv4",
        Lax(|cells, _| or_null(v4(&cells[0].text()), |(bits, prefix)| Value::Long(i64::from(mask4(bits, prefix))))),
    ),
    (
        "parse_ipv4_mask",
        Strict(|cells, _| {
            let masked = v4(&cells[0].text()).zip(bits_of(cells[1], 32));
            or_null(masked, |((bits, prefix), mask)| Value::Long(i64::from(mask4(bits, prefix.min(mask)))))
        }),
    ),
    ("parse_ipv6", Lax(|cells, _| ipv6_text(v6(&cells[0].text()), 128))),
    ("parse_ipv6_mask", Lax(|cells, _| ipv6_text(v6(&cells[0].text()), bits_of(cells[1], 128).unwrap_or(128)))),
    ("format_ipv4", Lax(|cells, _| text(format_v4(cells, false)))),
    ("format_ipv4_mask", Lax(|cells, _| text(format_v4(cells, true)))),
    ("ipv4_compare", Lax(|cells, _| compare(cells, v4_pair, 32))),
    ("ipv4_is_match", Lax(|cells, _| is_match(compare(cells, v4_pair, 32)))),
    ("ipv6_compare", Lax(|cells, _| compare(cells, v6_pair, 128))),
    ("ipv6_is_match", Lax(|cells, _| is_match(compare(cells, v6_pair, 128)))),
    (
        "ipv4_is_private",
        Lax(|cells, _| {
            or_null(v4(&cells[0].text()), |(bits, prefix)| {
                let address = Ipv4Addr::from(mask4(bits, prefix));
                Value::Bool(address.is_private())
            })
        }),
    ),
    (
        "ipv4_netmask_suffix",
        Lax(|cells, _| or_null(v4(&cells[0].text()), |(_, prefix)| Value::Long(i64::from(prefix)))),
    ),
    (
        "ipv4_is_in_range",
        Lax(|cells, _| or_null(in_range(&cells[0].text(), &cells[1].text(), v4_pair, 32), Value::Bool)),
    ),
    (
        "ipv6_is_in_range",
        Lax(|cells, _| or_null(in_range(&cells[0].text(), &cells[1].text(), v6_pair, 128), Value::Bool)),
    ),
    ("ipv4_is_in_any_range", Lax(|cells, _| in_any_range(cells, v4_pair, 32))),
    ("ipv6_is_in_any_range", Lax(|cells, _| in_any_range(cells, v6_pair, 128))),
    ("ipv4_range_to_cidr_list", Lax(cidr_list)),
    ("has_ipv4", Lax(|cells, _| Value::Bool(has(cells, false, false)))),
    ("has_ipv4_prefix", Lax(|cells, _| Value::Bool(has(cells, true, false)))),
    ("has_any_ipv4", Lax(|cells, _| Value::Bool(has(cells, false, true)))),
    ("has_any_ipv4_prefix", Lax(|cells, _| Value::Bool(has(cells, true, true)))),
];

/// An address with its prefix; 32 without one.
fn v4(source: &str) -> Option<(u32, u32)> {
    let (address, prefix) = source.trim().split_once('/').unwrap_or((source.trim(), "32"));
    let prefix: u32 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    Some((u32::from(address.parse::<Ipv4Addr>().ok()?), prefix))
}

/// An address with its prefix; IPv4 is mapped.
fn v6(source: &str) -> Option<(u128, u32)> {
    if let Some((bits, prefix)) = v4(source) {
        return Some((u128::from(bits) | 0xffff_0000_0000, prefix + 96));
    }
    let (address, prefix) = match source.trim().split_once('/') {
        Some((address, prefix)) => (address, prefix.parse::<u32>().ok()?),
        None => (source.trim(), 128),
    };
    let bits = u128::from(address.parse::<Ipv6Addr>().ok()?);
    // `::1.2.3.4` is an IPv4 address too, and its prefix is one of IPv4.
    if address.contains('.') && bits >> 32 == 0 {
        let prefix = if source.contains('/') { prefix.checked_add(96)? } else { prefix };
        return (prefix <= 128).then_some((bits | 0xffff_0000_0000, prefix));
    }
    (prefix <= 128).then_some((bits, prefix))
}

fn v4_pair(source: &str) -> Option<(u128, u32)> {
    v4(source).map(|(bits, prefix)| (u128::from(bits), prefix))
}

fn v6_pair(source: &str) -> Option<(u128, u32)> {
    v6(source)
}

fn mask4(bits: u32, prefix: u32) -> u32 {
    bits & u32::MAX.checked_shl(32 - prefix).unwrap_or(0)
}

fn mask(bits: u128, prefix: u32, width: u32) -> u128 {
    bits & u128::MAX.checked_shl(width - prefix.min(width)).unwrap_or(0)
}

fn bits_of(cell: Cell, width: u32) -> Option<u32> {
    cell.long().and_then(|bits| u32::try_from(bits).ok()).filter(|bits| *bits <= width)
}

fn ipv6_text(parsed: Option<(u128, u32)>, prefix: u32) -> Value {
    let Some((bits, own)) = parsed else { return text("") };
    let bits = mask(bits, own.min(prefix), 128);
    let groups: Vec<String> = (0..8).rev().map(|group| format!("{:04x}", (bits >> (16 * group)) & 0xffff)).collect();
    text(groups.join(":"))
}

fn format_v4(cells: &[Cell], with_mask: bool) -> String {
    let parsed = match cells[0] {
        Cell::String(source) => v4(source),
        cell => cell.long().and_then(|bits| u32::try_from(bits).ok()).map(|bits| (bits, 32)),
    };
    let prefix = match cells.get(1) {
        Some(cell) => bits_of(*cell, 32),
        None => Some(32),
    };
    let (Some((bits, own)), Some(prefix)) = (parsed, prefix) else { return String::new() };
    let prefix = own.min(prefix);
    let address = Ipv4Addr::from(mask4(bits, prefix));
    if with_mask { format!("{address}/{prefix}") } else { address.to_string() }
}

/// −1, 0, 1 under the shortest of the three prefixes.
fn compare(cells: &[Cell], parse: fn(&str) -> Option<(u128, u32)>, width: u32) -> Value {
    let own = cells.get(2).map_or(Some(width), |cell| bits_of(*cell, width));
    let both = parse(&cells[0].text()).zip(parse(&cells[1].text())).zip(own);
    or_null(both, |(((a, p), (b, q)), own)| {
        let prefix = p.min(q).min(own);
        Value::Long(mask(a, prefix, width).cmp(&mask(b, prefix, width)) as i64)
    })
}

fn is_match(compared: Value) -> Value {
    match compared {
        Value::Long(order) => Value::Bool(order == 0),
        _ => Value::Null,
    }
}

fn in_range(address: &str, range: &str, parse: fn(&str) -> Option<(u128, u32)>, width: u32) -> Option<bool> {
    let ((a, own), (b, prefix)) = (parse(address)?, parse(range)?);
    Some(own >= prefix && mask(a, prefix, width) == mask(b, prefix, width))
}

fn in_any_range(cells: &[Cell], parse: fn(&str) -> Option<(u128, u32)>, width: u32) -> Value {
    let address = cells[0].text();
    let ranges = cells[1..].iter().flat_map(|cell| match cell.array() {
        Some(items) => items.iter().map(Dynamic::to_string).collect(),
        None => vec![cell.text().into_owned()],
    });
    let mut any = None;
    for range in ranges {
        match in_range(&address, &range, parse, width) {
            Some(true) => return Value::Bool(true),
            Some(false) => any = Some(false),
            None => {}
        }
    }
    or_null(any, Value::Bool)
}

/// The fewest prefixes that cover a range.
fn cidr_list(cells: &[Cell], _: &Call) -> Value {
    let (Some((start, _)), Some((end, _))) = (v4(&cells[0].text()), v4(&cells[1].text())) else { return Value::Null };
    let (mut at, end) = (u64::from(start), u64::from(end));
    let mut list = Vec::new();
    while at <= end {
        let aligned = if at == 0 { 32 } else { at.trailing_zeros().min(32) };
        let fits = (end - at + 1).ilog2();
        let size = aligned.min(fits);
        list.push(Dynamic::String(format!("{}/{}", Ipv4Addr::from(at as u32), 32 - size)));
        at += 1 << size;
    }
    Value::Dynamic(Dynamic::Array(list))
}

/// Whether an address stands in a text, delimited by what is neither digit nor point.
fn has(cells: &[Cell], prefix: bool, any: bool) -> bool {
    let source = cells[0].text();
    let wanted: Vec<String> = if any {
        cells[1..]
            .iter()
            .flat_map(|cell| match cell.array() {
                Some(items) => items.iter().map(Dynamic::to_string).collect(),
                None => vec![cell.text().into_owned()],
            })
            .collect()
    } else {
        vec![cells[1].text().into_owned()]
    };
    let pieces = source.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    let addresses: Vec<&str> =
        pieces.map(|piece| piece.trim_end_matches('.')).filter(|piece| piece.parse::<Ipv4Addr>().is_ok()).collect();
    wanted.iter().any(|wanted| {
        addresses.iter().any(|address| {
            if prefix && wanted.ends_with('.') { address.starts_with(wanted.as_str()) } else { address == wanted }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_covered_by_the_fewest_prefixes() {
        let cells = [Cell::String("0.0.0.0"), Cell::String("255.255.255.255")];
        let context = crate::context::Context::new(0, crate::context::Limits::default(), Default::default(), 1);
        let call = Call { context: &context, ty: gantry_kql::value::Type::Dynamic };
        assert_eq!(cidr_list(&cells, &call).to_string(), r#"["0.0.0.0/0"]"#);
    }

    #[test]
    fn prefixes_of_both_sides_count() {
        assert_eq!(in_range("192.168.1.6", "192.168.1.1/24", v4_pair, 32), Some(true));
        assert_eq!(in_range("192.168.2.6", "192.168.1.1/24", v4_pair, 32), Some(false));
        assert_eq!(in_range("192.168.2.6", "x", v4_pair, 32), None);
    }
}
