//! Texts of a column: one after the other, or as codes into a dictionary of few.

use std::sync::Arc;

/// Texts.
#[derive(Debug, Clone)]
pub enum Strings {
    /// One text after the other; text `i` lies between offsets `i` and `i + 1`.
    Plain {
        /// One more than there are texts; the first is 0.
        offsets: Vec<usize>,
        /// All texts.
        bytes: String,
    },
    /// Codes of texts that come again and again.
    Dictionary {
        /// Places in the dictionary.
        codes: Vec<u32>,
        /// The dictionary, itself plain.
        words: Arc<Vec<Box<str>>>,
    },
}

impl Default for Strings {
    fn default() -> Strings {
        Strings::with_capacity(0)
    }
}

impl Strings {
    /// No text yet, with room for some.
    pub fn with_capacity(texts: usize) -> Strings {
        let mut offsets = Vec::with_capacity(texts + 1);
        offsets.push(0);
        Strings::Plain { offsets, bytes: String::new() }
    }

    /// One text, many times.
    pub fn repeat(text: &str, rows: usize) -> Strings {
        Strings::Dictionary { codes: vec![0; rows], words: Arc::new(vec![text.into()]) }
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        match self {
            Strings::Plain { offsets, .. } => offsets.len() - 1,
            Strings::Dictionary { codes, .. } => codes.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A text.
    pub fn get(&self, row: usize) -> &str {
        match self {
            Strings::Plain { offsets, bytes } => &bytes[offsets[row]..offsets[row + 1]],
            Strings::Dictionary { codes, words } => &words[codes[row] as usize],
        }
    }

    /// All texts in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|row| self.get(row))
    }

    /// Adds a text. A dictionary becomes plain first.
    pub fn push(&mut self, text: &str) {
        if let Strings::Dictionary { .. } = self {
            let mut plain = Strings::with_capacity(self.len() + 1);
            self.iter().for_each(|text| plain.push(text));
            *self = plain;
        }
        let Strings::Plain { offsets, bytes } = self else { return };
        bytes.push_str(text);
        offsets.push(bytes.len());
    }

    /// The texts at some rows.
    pub fn take(&self, rows: &[u32]) -> Strings {
        match self {
            Strings::Plain { .. } => {
                let mut taken = Strings::with_capacity(rows.len());
                rows.iter().for_each(|row| taken.push(self.get(*row as usize)));
                taken
            }
            Strings::Dictionary { codes, words } => Strings::Dictionary {
                codes: rows.iter().map(|row| codes[*row as usize]).collect(),
                words: Arc::clone(words),
            },
        }
    }

    /// Answers a question about each text, once for each word of a dictionary.
    pub fn map<T: Copy>(&self, mut answer: impl FnMut(&str) -> T) -> Vec<T> {
        match self {
            Strings::Plain { .. } => self.iter().map(answer).collect(),
            Strings::Dictionary { codes, words } if words.len() <= codes.len() => {
                let answers: Vec<T> = words.iter().map(|word| answer(word)).collect();
                codes.iter().map(|code| answers[*code as usize]).collect()
            }
            Strings::Dictionary { .. } => self.iter().map(answer).collect(),
        }
    }

    /// About how many bytes it holds.
    pub fn size(&self) -> usize {
        match self {
            Strings::Plain { offsets, bytes } => bytes.len() + 8 * offsets.len(),
            Strings::Dictionary { codes, words } => {
                4 * codes.len() + words.iter().map(|word| word.len() + 16).sum::<usize>() / Arc::strong_count(words)
            }
        }
    }
}

impl<'a> FromIterator<&'a str> for Strings {
    fn from_iter<I: IntoIterator<Item = &'a str>>(texts: I) -> Strings {
        let mut strings = Strings::default();
        texts.into_iter().for_each(|text| strings.push(text));
        strings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_and_plain_texts_answer_alike() {
        let plain: Strings = ["b", "", "a", "b"].into_iter().collect();
        let words = Arc::new(vec!["a".into(), "b".into(), "".into()]);
        let coded = Strings::Dictionary { codes: vec![1, 2, 0, 1], words };
        assert!(plain.iter().eq(coded.iter()));
        assert_eq!(plain.map(str::len), coded.map(str::len));
        assert!(plain.take(&[3, 1]).iter().eq(coded.take(&[3, 1]).iter()));
        let mut grown = coded.clone();
        grown.push("c");
        assert_eq!(grown.get(4), "c");
    }
}
