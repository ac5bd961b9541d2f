//! Source and target of a link (part 3, 3.5).

use crate::decode::{DecodeError, Fields, Reader};
use crate::encode::{self, Compound};
use crate::value::{Map, Symbol, Value};

pub(crate) const SOURCE: u8 = 0x28;
pub(crate) const TARGET: u8 = 0x29;

/// The expiry policy that holds when none is given.
static SESSION_END: Symbol = Symbol::from_static("session-end");

/// Where the messages of a link come from. Every field is kept, so that the answering attach can
/// return what was asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// The node; absent in dynamic sources and in some clients' reply links.
    pub address: Option<String>,
    /// Durability of the terminus: 0 none, 1 configuration, 2 unsettled state.
    pub durable: u32,
    /// When the terminus may be forgotten; `None` is written as `session-end`.
    pub expiry_policy: Option<Symbol>,
    /// Seconds until then.
    pub timeout: u32,
    /// Whether the peer asks for a node to be made up.
    pub dynamic: bool,
    /// Properties of such a node.
    pub dynamic_node_properties: Map,
    /// `move` or `copy`.
    pub distribution_mode: Option<Symbol>,
    /// Filters by name; the values are usually described.
    pub filter: Map,
    /// Outcome of deliveries nobody settled.
    pub default_outcome: Option<Value>,
    /// Outcomes the peer may choose.
    pub outcomes: Vec<Symbol>,
    /// Extensions.
    pub capabilities: Vec<Symbol>,
}

impl Source {
    /// A plain source at an address.
    #[must_use]
    pub fn at(address: impl Into<String>) -> Self {
        Self { address: Some(address.into()), ..Self::default() }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        encode::descriptor(out, SOURCE);
        let list = encode::begin(out, Compound::List);
        encode::string_or_null(out, self.address.as_deref());
        encode::uint(out, self.durable);
        encode_expiry(out, self.expiry_policy.as_ref());
        encode::uint(out, self.timeout);
        encode::boolean(out, self.dynamic);
        encode::map_or_null(out, &self.dynamic_node_properties);
        encode::symbol_or_null(out, self.distribution_mode.as_ref());
        encode::map_or_null(out, &self.filter);
        match &self.default_outcome {
            Some(outcome) => encode::value(out, outcome),
            None => encode::null(out),
        }
        encode::symbols_or_null(out, &self.outcomes);
        encode::symbols_or_null(out, &self.capabilities);
        encode::finish(out, list, 11);
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            address: address(fields)?,
            durable: fields.uint()?.unwrap_or(0),
            expiry_policy: fields.symbol()?.or_else(|| Some(SESSION_END.clone())),
            timeout: fields.uint()?.unwrap_or(0),
            dynamic: fields.boolean()?.unwrap_or(false),
            dynamic_node_properties: fields.map()?,
            distribution_mode: fields.symbol()?,
            filter: fields.map()?,
            default_outcome: fields.value()?,
            outcomes: fields.symbols()?,
            capabilities: fields.symbols()?,
        })
    }
}

/// Where the messages of a link go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// The node; absent in dynamic targets and in some clients' reply links.
    pub address: Option<String>,
    /// Durability of the terminus: 0 none, 1 configuration, 2 unsettled state.
    pub durable: u32,
    /// When the terminus may be forgotten; `None` is written as `session-end`.
    pub expiry_policy: Option<Symbol>,
    /// Seconds until then.
    pub timeout: u32,
    /// Whether the peer asks for a node to be made up.
    pub dynamic: bool,
    /// Properties of such a node.
    pub dynamic_node_properties: Map,
    /// Extensions.
    pub capabilities: Vec<Symbol>,
}

impl Target {
    /// A plain target at an address.
    #[must_use]
    pub fn at(address: impl Into<String>) -> Self {
        Self { address: Some(address.into()), ..Self::default() }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        encode::descriptor(out, TARGET);
        let list = encode::begin(out, Compound::List);
        encode::string_or_null(out, self.address.as_deref());
        encode::uint(out, self.durable);
        encode_expiry(out, self.expiry_policy.as_ref());
        encode::uint(out, self.timeout);
        encode::boolean(out, self.dynamic);
        encode::map_or_null(out, &self.dynamic_node_properties);
        encode::symbols_or_null(out, &self.capabilities);
        encode::finish(out, list, 7);
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            address: address(fields)?,
            durable: fields.uint()?.unwrap_or(0),
            expiry_policy: fields.symbol()?.or_else(|| Some(SESSION_END.clone())),
            timeout: fields.uint()?.unwrap_or(0),
            dynamic: fields.boolean()?.unwrap_or(false),
            dynamic_node_properties: fields.map()?,
            capabilities: fields.symbols()?,
        })
    }
}

/// A terminus that is absent, the wanted kind, or another kind (a transaction coordinator), which
/// counts as absent: an attach without target is refused by whoever decides about addresses.
pub(crate) fn optional<T>(
    reader: Option<&mut Reader<'_>>,
    code: u8,
    decode: impl FnOnce(&mut Fields<'_>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    let Some(reader) = reader else {
        return Ok(None);
    };
    let descriptor = reader.descriptor()?;
    let mut fields = reader.fields()?;
    if descriptor == u64::from(code) { decode(&mut fields).map(Some) } else { Ok(None) }
}

fn address(fields: &mut Fields<'_>) -> Result<Option<String>, DecodeError> {
    fields.string()
}

fn encode_expiry(out: &mut Vec<u8>, policy: Option<&Symbol>) {
    encode::symbol(out, policy.unwrap_or(&SESSION_END).as_str());
}
