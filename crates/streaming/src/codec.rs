//! Bytes of checkpoints: integers as variable-length numbers, texts with their length, and a reader that
//! answers "damaged" to whatever is not so.

use crate::error::CheckpointError;
use crate::time::Ticks;

/// Writes state.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn unsigned(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub(crate) fn size(&mut self, value: usize) {
        self.unsigned(value as u64);
    }

    pub(crate) fn signed(&mut self, value: i64) {
        self.unsigned(((value << 1) ^ (value >> 63)) as u64);
    }

    pub(crate) fn wide(&mut self, value: u128) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn float(&mut self, value: f64) {
        self.bytes.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    pub(crate) fn flag(&mut self, value: bool) {
        self.byte(u8::from(value));
    }

    pub(crate) fn slice(&mut self, value: &[u8]) {
        self.size(value.len());
        self.bytes.extend_from_slice(value);
    }

    pub(crate) fn list<T>(&mut self, items: impl ExactSizeIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.size(items.len());
        for item in items {
            write(self, item);
        }
    }
}

/// Reads state.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

pub(crate) type Read<T> = Result<T, CheckpointError>;

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes }
    }

    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(CheckpointError::Damaged)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| CheckpointError::Damaged)
    }

    pub(crate) fn byte(&mut self) -> Read<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn unsigned(&mut self) -> Read<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(CheckpointError::Damaged)
    }

    pub(crate) fn size(&mut self) -> Read<usize> {
        usize::try_from(self.unsigned()?).map_err(|_| CheckpointError::Damaged)
    }

    pub(crate) fn signed(&mut self) -> Read<i64> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// An instant that one may reckon with, or the one that stands for none.
    pub(crate) fn ticks(&mut self) -> Read<Ticks> {
        let ticks = self.signed()?;
        if ticks == Ticks::MIN || (-(1 << 61)..1 << 61).contains(&ticks) {
            Ok(ticks)
        } else {
            Err(CheckpointError::Damaged)
        }
    }

    pub(crate) fn wide(&mut self) -> Read<u128> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    pub(crate) fn float(&mut self) -> Read<f64> {
        Ok(f64::from_bits(u64::from_le_bytes(self.array()?)))
    }

    pub(crate) fn flag(&mut self) -> Read<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CheckpointError::Damaged),
        }
    }

    pub(crate) fn slice(&mut self) -> Read<&'a [u8]> {
        let length = self.size()?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Read<&'a str> {
        std::str::from_utf8(self.slice()?).map_err(|_| CheckpointError::Damaged)
    }

    /// A list; no memory is set aside for more items than there are bytes.
    pub(crate) fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let count = self.size()?;
        if count > self.bytes.len() {
            return Err(CheckpointError::Damaged);
        }
        (0..count).map(|_| read(self)).collect()
    }

    pub(crate) fn end(&self) -> Read<()> {
        if self.bytes.is_empty() { Ok(()) } else { Err(CheckpointError::Damaged) }
    }
}

/// A hash that is the same everywhere and for ever: FNV-1a of 128 bits. Identities of rows are made of it.
#[derive(Clone, Copy)]
pub(crate) struct Hash(pub(crate) u128);

impl Hash {
    pub(crate) fn new() -> Hash {
        Hash(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Hash {
        for byte in bytes {
            self.0 ^= u128::from(*byte);
            self.0 = self.0.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
        self
    }

    pub(crate) fn number(self, number: i64) -> Hash {
        self.bytes(&number.to_le_bytes())
    }

    pub(crate) fn wide(self, number: u128) -> Hash {
        self.bytes(&number.to_le_bytes())
    }
}
