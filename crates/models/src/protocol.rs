//! What the platform and its worker say to each other: frames of a length (4 bytes, little-endian) and so many bytes,
//! the first of which says what it is.
//!
//! ```text
//! to the worker    L model                                      load a model, in place of one of the same bytes
//!                  P digest(32) rows(4) columns(4) f32...       score rows with it
//! to the platform  K                                            loaded
//!                  U                                            the model is not loaded
//!                  N f64...   I i64...   B u8...                a number, whole number or truth value for each row
//!                  T (length(4) text)...                        a text for each row
//!                  E text                                       why not
//! ```

use std::io::{self, Read, Write};

use gantry_analytics::models::{Features, Scores};

/// Longest frame that either takes: a model, or rows.
pub(crate) const FRAME_BYTES_MAX: usize = 256 << 20;
/// What tells one model from another: SHA-256.
pub(crate) type Digest = [u8; 32];

/// A question to the worker.
#[derive(Debug, PartialEq)]
pub(crate) enum Question {
    Load(Vec<u8>),
    Predict(Digest, Features),
}

/// Its answer.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Loaded,
    Unknown,
    Scored(Scores),
    Failed(String),
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn put(to: &mut dyn Write, parts: &[&[u8]]) -> io::Result<()> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let frame = u32::try_from(length).ok().filter(|_| length <= FRAME_BYTES_MAX);
    to.write_all(&frame.ok_or_else(|| wrong("too much at once"))?.to_le_bytes())?;
    parts.iter().try_for_each(|part| to.write_all(part))?;
    to.flush()
}

/// The next frame; nothing at the end.
fn take(from: &mut dyn Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length == 0 || length > FRAME_BYTES_MAX {
        return Err(wrong("a frame of a wrong length"));
    }
    let mut frame = Vec::new();
    if from.take(length as u64).read_to_end(&mut frame)? < length {
        return Err(wrong("a frame that ends early"));
    }
    Ok(Some(frame))
}

/// Numbers of `N` bytes each.
fn numbers<const N: usize, T>(bytes: &[u8], read: fn([u8; N]) -> T) -> io::Result<Vec<T>> {
    let (numbers, rest) = bytes.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(wrong("half a number"));
    }
    Ok(numbers.iter().map(|bytes| read(*bytes)).collect())
}

impl Question {
    /// Writes it.
    pub fn load(model: &[u8], to: &mut dyn Write) -> io::Result<()> {
        put(to, &[b"L", model])
    }

    /// Writes it.
    pub fn predict(model: &Digest, features: &Features, to: &mut dyn Write) -> io::Result<()> {
        let count = |count: usize| u32::try_from(count).map_err(|_| wrong("too many rows"));
        let values: Vec<u8> = features.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let (rows, columns) = (count(features.rows())?.to_le_bytes(), count(features.columns)?.to_le_bytes());
        put(to, &[b"P", model, &rows, &columns, &values])
    }

    /// Reads the next; nothing at the end.
    pub fn read(from: &mut dyn Read) -> io::Result<Option<Self>> {
        let Some(frame) = take(from)? else { return Ok(None) };
        let (kind, rest) = frame.split_first().ok_or_else(|| wrong("an empty frame"))?;
        Ok(Some(match kind {
            b'L' => Self::Load(rest.to_vec()),
            b'P' => {
                let part = || wrong("a frame that is too short");
                let (digest, rest) = rest.split_first_chunk::<32>().ok_or_else(part)?;
                let (rows, rest) = rest.split_first_chunk::<4>().ok_or_else(part)?;
                let (columns, rest) = rest.split_first_chunk::<4>().ok_or_else(part)?;
                let values = numbers(rest, f32::from_le_bytes)?;
                let (rows, columns) = (u32::from_le_bytes(*rows) as usize, u32::from_le_bytes(*columns) as usize);
                if rows.checked_mul(columns) != Some(values.len()) {
                    return Err(wrong("another number of values than rows and columns say"));
                }
                Self::Predict(*digest, Features { columns, values })
            }
            _ => return Err(wrong("an unknown question")),
        }))
    }
}

impl Answer {
    /// Writes it.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Loaded => put(to, &[b"K"]),
            Self::Unknown => put(to, &[b"U"]),
            Self::Failed(why) => put(to, &[b"E", why.as_bytes()]),
            Self::Scored(Scores::Numbers(all)) => {
                put(to, &[b"N", &all.iter().flat_map(|one| one.to_le_bytes()).collect::<Vec<_>>()])
            }
            Self::Scored(Scores::Whole(all)) => {
                put(to, &[b"I", &all.iter().flat_map(|one| one.to_le_bytes()).collect::<Vec<_>>()])
            }
            Self::Scored(Scores::Flags(all)) => {
                put(to, &[b"B", &all.iter().map(|one| u8::from(*one)).collect::<Vec<_>>()])
            }
            Self::Scored(Scores::Texts(all)) => {
                let mut bytes = Vec::new();
                for text in all {
                    bytes.extend(u32::try_from(text.len()).map_err(|_| wrong("too long a text"))?.to_le_bytes());
                    bytes.extend(text.as_bytes());
                }
                put(to, &[b"T", &bytes])
            }
        }
    }

    /// Reads the next.
    pub fn read(from: &mut dyn Read) -> io::Result<Self> {
        let frame = take(from)?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let (kind, rest) = frame.split_first().ok_or_else(|| wrong("an empty frame"))?;
        Ok(match kind {
            b'K' => Self::Loaded,
            b'U' => Self::Unknown,
            b'E' => Self::Failed(String::from_utf8_lossy(rest).into_owned()),
            b'N' => Self::Scored(Scores::Numbers(numbers(rest, f64::from_le_bytes)?)),
            b'I' => Self::Scored(Scores::Whole(numbers(rest, i64::from_le_bytes)?)),
            b'B' => Self::Scored(Scores::Flags(rest.iter().map(|one| *one != 0).collect())),
            b'T' => {
                let (mut all, mut rest) = (Vec::new(), rest);
                while let Some((length, after)) = rest.split_first_chunk::<4>() {
                    let text = after.split_at_checked(u32::from_le_bytes(*length) as usize);
                    let (text, after) = text.ok_or_else(|| wrong("a text that ends early"))?;
                    all.push(String::from_utf8_lossy(text).into_owned());
                    rest = after;
                }
                if !rest.is_empty() {
                    return Err(wrong("half a length"));
                }
                Self::Scored(Scores::Texts(all))
            }
            _ => return Err(wrong("an unknown answer")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let features = Features { columns: 2, values: vec![1.0, -2.5, 0.0, f32::MAX] };
        let mut bytes = Vec::new();
        Question::load(b"model", &mut bytes).unwrap();
        Question::predict(&[7; 32], &features, &mut bytes).unwrap();
        let mut from = bytes.as_slice();
        assert_eq!(Question::read(&mut from).unwrap(), Some(Question::Load(b"model".to_vec())));
        assert_eq!(Question::read(&mut from).unwrap(), Some(Question::Predict([7; 32], features)));
        assert_eq!(Question::read(&mut from).unwrap(), None);
        for answer in [
            Answer::Loaded,
            Answer::Unknown,
            Answer::Failed("it is none".into()),
            Answer::Scored(Scores::Numbers(vec![0.5, -1e300])),
            Answer::Scored(Scores::Whole(vec![i64::MIN, 3])),
            Answer::Scored(Scores::Flags(vec![true, false])),
            Answer::Scored(Scores::Texts(vec!["setosa".into(), String::new(), "\u{e9}".into()])),
        ] {
            let mut bytes = Vec::new();
            answer.write(&mut bytes).unwrap();
            assert_eq!(Answer::read(&mut bytes.as_slice()).unwrap(), answer);
            for end in 0..bytes.len() {
                assert!(Answer::read(&mut &bytes[..end]).is_err(), "{answer:?} cut at {end}");
            }
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let framed = |frame: &[u8]| [&u32::try_from(frame.len()).unwrap().to_le_bytes()[..], frame].concat();
        for bytes in
            [vec![0, 0, 0, 0], vec![255; 4], framed(b"X"), framed(b"P"), framed(&[b'P'; 41]), vec![9, 0, 0, 0, b'L']]
        {
            assert!(Question::read(&mut bytes.as_slice()).is_err(), "{bytes:?}");
        }
        for frame in [&b"N1"[..], b"T\x05\0\0\0a", b"Tx", b"Q"] {
            assert!(Answer::read(&mut framed(frame).as_slice()).is_err(), "{frame:?}");
        }
    }
}
