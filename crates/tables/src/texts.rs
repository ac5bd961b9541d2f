//! Texts of a column, straight out of the pages of a group: of plain ones the bytes are copied once, of a dictionary
//! only the words are looked at.
//!
//! The pages are those of the first version without levels, which is what [`write`](crate::write) makes of a column
//! without nulls; everything else is left to the library (Parquet format, "Data Pages", "Encodings").

use std::sync::Arc;

use bytes::Bytes;
use gantry_analytics::column::Strings;
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageReader};
use parquet::errors::{ParquetError, Result};

fn broken(words: &str) -> ParquetError {
    ParquetError::General(format!("a page of texts is broken: {words}"))
}

/// The texts of so many rows; nothing when their pages are of another kind.
pub fn read(pages: &mut dyn PageReader, rows: usize) -> Result<Option<Strings>> {
    let mut words: Option<Vec<Box<str>>> = None;
    let mut codes: Vec<u32> = Vec::new();
    let mut plain = Plain::with_room_for(rows);
    while let Some(page) = pages.get_next_page()? {
        match page {
            Page::DictionaryPage { buf, num_values, .. } if words.is_none() => {
                words = Some(dictionary(&buf, num_values as usize)?);
            }
            Page::DataPage { buf, num_values, encoding, .. } => {
                let count = num_values as usize;
                match (encoding, &words) {
                    (Encoding::PLAIN, None) if codes.is_empty() => plain.add(&buf, count, rows)?,
                    (Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY, Some(words)) if plain.is_empty() => {
                        let end = codes.len().saturating_add(count);
                        if end > rows {
                            return Err(broken("more values than rows"));
                        }
                        add_codes(&buf, end, words.len(), &mut codes)?;
                    }
                    // The writer gave the dictionary up on the way.
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        }
    }
    let texts = match words {
        Some(words) => Strings::Dictionary { codes, words: Arc::new(words) },
        None => plain.finish()?,
    };
    if texts.len() != rows {
        return Err(broken(&format!("{} values where {rows} were promised", texts.len())));
    }
    Ok(Some(texts))
}

/// A text with its length in front of it, and what follows.
fn split_first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

fn dictionary(bytes: &Bytes, count: usize) -> Result<Vec<Box<str>>> {
    let mut words = Vec::with_capacity(count.min(bytes.len() / 4));
    let mut rest = &bytes[..];
    for _ in 0..count {
        let (word, next) = split_first(rest).ok_or_else(|| broken("a word of the dictionary is cut off"))?;
        words.push(std::str::from_utf8(word).map_err(|_| broken("a word is not UTF-8"))?.into());
        rest = next;
    }
    Ok(words)
}

/// Texts one after the other.
struct Plain {
    offsets: Vec<usize>,
    bytes: Vec<u8>,
}

impl Plain {
    fn with_room_for(rows: usize) -> Plain {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Plain { offsets, bytes: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.offsets.len() == 1
    }

    fn add(&mut self, page: &[u8], count: usize, rows: usize) -> Result<()> {
        if self.offsets.len() - 1 + count > rows {
            return Err(broken("more values than rows"));
        }
        self.bytes.reserve(page.len().saturating_sub(4 * count));
        let mut rest = page;
        for _ in 0..count {
            let (text, next) = split_first(rest).ok_or_else(|| broken("a text is cut off"))?;
            self.bytes.extend_from_slice(text);
            self.offsets.push(self.bytes.len());
            rest = next;
        }
        Ok(())
    }

    fn finish(self) -> Result<Strings> {
        let not_utf8 = || broken("a text is not UTF-8");
        let bytes = String::from_utf8(self.bytes).map_err(|_| not_utf8())?;
        // All of it is UTF-8; so is each text that begins and ends with a character.
        if !self.offsets.iter().all(|at| bytes.is_char_boundary(*at)) {
            return Err(not_utf8());
        }
        Ok(Strings::Plain { offsets: self.offsets, bytes })
    }
}

/// Adds places in a dictionary until there are so many: runs of one place, and places packed into few bits each.
fn add_codes(page: &[u8], end: usize, words: usize, codes: &mut Vec<u32>) -> Result<()> {
    let cut = || broken("places in the dictionary are cut off");
    let (width, mut rest) = page.split_first().ok_or_else(cut)?;
    let width = usize::from(*width);
    if width > 32 {
        return Err(broken("places of more than 32 bits"));
    }
    while codes.len() < end {
        let (header, next) = varint(rest).ok_or_else(cut)?;
        rest = next;
        let (count, left) = ((header >> 1) as usize, end - codes.len());
        if header & 1 == 0 {
            let (code, next) = rest.split_at_checked(width.div_ceil(8)).ok_or_else(cut)?;
            rest = next;
            let code = code.iter().rev().fold(0_u32, |code, byte| code << 8 | u32::from(*byte));
            if count == 0 {
                return Err(broken("an empty run"));
            }
            codes.extend(std::iter::repeat_n(code, count.min(left)));
        } else {
            let length = count.checked_mul(width).ok_or_else(cut)?;
            let (packed, next) = rest.split_at_checked(length).ok_or_else(cut)?;
            rest = next;
            if count == 0 {
                return Err(broken("an empty run"));
            }
            unpack(packed, width, count.saturating_mul(8).min(left), codes);
        }
    }
    match codes.iter().all(|code| (*code as usize) < words) {
        true => Ok(()),
        false => Err(broken("a place outside of the dictionary")),
    }
}

fn unpack(packed: &[u8], width: usize, count: usize, codes: &mut Vec<u32>) {
    let mask = (1_u64 << width) - 1;
    let (mut bits, mut held) = (0_u64, 0);
    let mut bytes = packed.iter();
    for _ in 0..count {
        while held < width {
            bits |= u64::from(bytes.next().copied().unwrap_or(0)) << held;
            held += 8;
        }
        codes.push((bits & mask) as u32);
        bits >>= width;
        held -= width;
    }
}

/// A number of seven bits a byte, the lowest first.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(page: &[u8], end: usize, words: usize) -> Option<Vec<u32>> {
        let mut codes = Vec::new();
        add_codes(page, end, words, &mut codes).ok().map(|()| codes)
    }

    #[test]
    fn runs_and_packed_places_are_read() {
        // The example of the format: 0 to 7 in three bits each.
        assert_eq!(codes(&[3, 0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010], 8, 8), Some((0..8).collect()));
        assert_eq!(codes(&[3, 8, 5], 4, 6), Some(vec![5; 4]));
        assert_eq!(codes(&[9, 4, 0x2c, 1], 2, 301), Some(vec![300; 2]));
        // No bit at all: there is one word.
        assert_eq!(codes(&[0, 6], 3, 1), Some(vec![0; 3]));
        assert_eq!(codes(&[0, 3], 8, 1), Some(vec![0; 8]));
    }

    #[test]
    fn broken_places_are_refused() {
        for page in [&[][..], &[3], &[3, 8], &[3, 0, 0], &[3, 1], &[3, 3, 1, 2], &[33, 8, 0, 0, 0, 0, 0], &[3, 0x80]] {
            assert_eq!(codes(page, 4, 8), None, "{page:?}");
        }
        assert_eq!(codes(&[3, 8, 6], 4, 6), None);
    }

    #[test]
    fn texts_are_cut_at_characters() {
        let page = |texts: &[&[u8]]| {
            let framed = texts.iter().map(|text| [&(text.len() as u32).to_le_bytes()[..], *text].concat());
            framed.collect::<Vec<_>>().concat()
        };
        let read = |page: &[u8], count: usize| {
            let mut plain = Plain::with_room_for(count);
            plain.add(page, count, count).and_then(|()| plain.finish()).ok()
        };
        let texts = read(&page(&["".as_bytes(), "ä".as_bytes(), b"b"]), 3).unwrap();
        assert_eq!(texts.iter().collect::<Vec<_>>(), ["", "ä", "b"]);
        let halves = "ä".as_bytes().split_at(1);
        assert!(read(&page(&[halves.0, halves.1]), 2).is_none());
        assert!(read(&page(&[b"abc"])[..6], 1).is_none());
        assert!(read(&page(&[b"abc"]), 2).is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_page_is_survived(page: Vec<u8>, end in 0..100_usize) {
            let _ = codes(&page, end, 7);
            let _ = dictionary(&page.clone().into(), end);
            let mut plain = Plain::with_room_for(end);
            let _ = plain.add(&page, end, end).and_then(|()| plain.finish());
        }
    }
}
