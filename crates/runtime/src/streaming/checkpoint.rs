//! The checkpoint of a job: places, state, and the rows that follow from them.
//!
//! Checkpoint `stream-NAME`, version 1, little-endian: version (1 byte), number (8), count of places (2), each place
//! (8), count of outputs with rows (4), of each its name and its rows as JSON lines, each behind its length (4); the
//! state of the engine to the end.

const VERSION: u8 = 1;

/// What a checkpoint holds.
#[derive(Debug, PartialEq)]
pub(super) struct Saved {
    /// Of the checkpoint: rises.
    pub number: u64,
    /// The number of the next event of each partition.
    pub places: Vec<u64>,
    /// Rows by output, as lines.
    pub rows: Vec<(String, Vec<u8>)>,
    /// Of the engine.
    pub state: Vec<u8>,
}

impl Saved {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(u16::try_from(self.places.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.places.iter().for_each(|place| bytes.extend(place.to_le_bytes()));
        let length = |bytes: &mut Vec<u8>, of: usize| bytes.extend((of as u32).to_le_bytes());
        length(&mut bytes, self.rows.len());
        for (output, rows) in &self.rows {
            for part in [output.as_bytes(), rows] {
                length(&mut bytes, part.len());
                bytes.extend(part);
            }
        }
        bytes.extend(&self.state);
        bytes
    }

    /// Nothing when the bytes are none of a checkpoint.
    pub(super) fn from_bytes(mut bytes: &[u8]) -> Option<Saved> {
        fn take<'b>(bytes: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
            let (taken, rest) = bytes.split_at_checked(count)?;
            *bytes = rest;
            Some(taken)
        }
        fn number(bytes: &mut &[u8]) -> Option<u64> {
            Some(u64::from_le_bytes(take(bytes, 8)?.try_into().ok()?))
        }
        fn length(bytes: &mut &[u8]) -> Option<usize> {
            Some(u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?) as usize)
        }
        if take(&mut bytes, 1)? != [VERSION] {
            return None;
        }
        let own = number(&mut bytes)?;
        let places = u16::from_le_bytes(take(&mut bytes, 2)?.try_into().ok()?);
        let places = (0..places).map(|_| number(&mut bytes)).collect::<Option<_>>()?;
        let mut rows = Vec::new();
        for _ in 0..length(&mut bytes)? {
            let of_name = length(&mut bytes)?;
            let name = String::from_utf8(take(&mut bytes, of_name)?.to_vec()).ok()?;
            let of_rows = length(&mut bytes)?;
            rows.push((name, take(&mut bytes, of_rows)?.to_vec()));
        }
        Some(Saved { number: own, places, rows, state: bytes.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_as_it_was_written_and_damage_is_seen() {
        let saved = Saved {
            number: 7,
            places: vec![1, u64::MAX],
            rows: vec![("T".into(), b"{}\n".to_vec()), ("\u{e4}".into(), Vec::new())],
            state: vec![1, 2, 3],
        };
        let bytes = saved.to_bytes();
        assert_eq!(Saved::from_bytes(&bytes), Some(saved));
        // The state is what is left; what is before it is needed whole.
        for end in 0..bytes.len() - 3 {
            assert_eq!(Saved::from_bytes(&bytes[..end]), None, "{end}");
        }
        assert_eq!(Saved::from_bytes(&[9]), None);
    }
}
