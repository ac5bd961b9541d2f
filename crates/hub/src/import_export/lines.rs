//! Lines of a file that arrives in pieces.

use bytes::{Buf as _, Bytes, BytesMut};

/// Longest line in bytes: an identity with a full twin, its metadata and JSON's spelling of it.
pub(super) const LINE_BYTES_MAX: usize = 512 * 1024;

/// A line that is longer than may be. Its text is not kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Splits pieces at line feeds.
#[derive(Default)]
pub(super) struct Pieced {
    buffer: BytesMut,
    /// Bytes of the buffer that were searched.
    searched: usize,
    /// In a line that is too long.
    skipping: bool,
}

impl Pieced {
    pub(super) fn feed(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole line, without its end; none until more is fed.
    pub(super) fn next(&mut self) -> Option<Result<Bytes, TooLong>> {
        let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            if self.searched > LINE_BYTES_MAX {
                (self.skipping, self.searched) = (true, 0);
                self.buffer.clear();
            }
            return None;
        };
        let line = self.buffer.split_to(self.searched + at).freeze();
        self.buffer.advance(1);
        self.searched = 0;
        let is_long = std::mem::take(&mut self.skipping) || line.len() > LINE_BYTES_MAX;
        Some(if is_long { Err(TooLong) } else { Ok(line) })
    }

    /// What is left when the file ends.
    pub(super) fn last(mut self) -> Option<Result<Bytes, TooLong>> {
        if self.buffer.is_empty() && !self.skipping {
            return None;
        }
        self.feed(b"\n");
        self.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<Result<String, TooLong>> {
        let (mut lines, mut all) = (Pieced::default(), Vec::new());
        for piece in pieces {
            lines.feed(piece);
            while let Some(line) = lines.next() {
                all.push(line);
            }
            assert!(lines.buffer.len() <= LINE_BYTES_MAX + piece.len(), "what is kept is bounded");
        }
        all.extend(lines.last());
        all.into_iter().map(|line| line.map(|line| String::from_utf8(line.to_vec()).unwrap())).collect()
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let of = |texts: &[&str]| texts.iter().map(|text| Ok((*text).to_owned())).collect::<Vec<_>>();
        assert_eq!(split(&[]), []);
        assert_eq!(split(&[b"a\nb"]), of(&["a", "b"]));
        assert_eq!(split(&[b"a", b"b", b"\n", b"\nc\n"]), of(&["ab", "", "c"]));
    }

    #[test]
    fn a_line_too_long_is_dropped_and_the_next_one_read() {
        let fits = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(split(&[&fits, b"\nb\n"])[0].as_ref().map(String::len), Ok(LINE_BYTES_MAX));
        assert_eq!(split(&[&fits, b"x\nb\n"]), [Err(TooLong), Ok("b".into())]);
        assert_eq!(split(&[&fits, &fits, &fits, b"\nb"]), [Err(TooLong), Ok("b".into())]);
        assert_eq!(split(&[&fits, b"x"]), [Err(TooLong)]);
    }
}
