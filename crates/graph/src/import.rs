//! Files of imports: lines of JSON in sections.
//!
//! A line `{"Section":"Header|Models|Twins|Relationships"}` begins a section, every other line is a thing of the section it
//! is in. Source: the reference's page on its import jobs. A section may come again; empty lines are passed over.

use serde_json::{Map, Value};

use crate::ids::cut;
use crate::limits::LINE_BYTES_MAX;

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Who made the file, which is not read further.
    Header,
    /// Models.
    Models,
    /// Twins.
    Twins,
    /// Relationships.
    Relationships,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing that is to be written.
    Nothing,
    /// A section begins.
    Section(Section),
    /// A model.
    Model(Value),
    /// A twin.
    Twin(Map<String, Value>),
    /// A relationship.
    Relationship(Map<String, Value>),
}

/// Reads lines in their order.
#[derive(Debug, Default)]
pub struct Importer {
    section: Option<Section>,
    waiting: Vec<u8>,
    lines: u64,
}

impl Importer {
    /// How many lines were read.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Takes a piece of the file and gives the lines that are whole.
    ///
    /// # Errors
    /// When a line is longer than one may be.
    pub fn feed(&mut self, piece: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut lines = vec![];
        let mut parts = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            if self.waiting.len() + part.len() > LINE_BYTES_MAX {
                return Err(format!(
                    "line {} has more than {LINE_BYTES_MAX} bytes",
                    self.lines + lines.len() as u64 + 1
                ));
            }
            self.waiting.extend_from_slice(part);
            if parts.peek().is_some() {
                lines.push(std::mem::take(&mut self.waiting));
            }
        }
        Ok(lines)
    }

    /// What is left when the file ended.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.waiting)
    }

    /// Reads a line.
    ///
    /// # Errors
    /// Says what is wrong with it; the next line can be read.
    pub fn line(&mut self, line: &[u8]) -> Result<Step, String> {
        self.lines += 1;
        let line = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| self.lines == 1).unwrap_or(line);
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(Step::Nothing);
        }
        let value = gantry_hub::json::parse(line).map_err(|error| error.to_string())?;
        let Value::Object(object) = value else { return Err("a line is a JSON object".into()) };
        if object.len() == 1
            && let Some(name) = object.get("Section")
        {
            let section = match name.as_str() {
                Some("Header") => Section::Header,
                Some("Models") => Section::Models,
                Some("Twins") => Section::Twins,
                Some("Relationships") => Section::Relationships,
                _ => return Err(format!("section {} is not known", cut(&name.to_string()))),
            };
            self.section = Some(section);
            return Ok(Step::Section(section));
        }
        match self.section {
            Some(Section::Header) => header(&object).map(|()| Step::Nothing),
            Some(Section::Models) => Ok(Step::Model(object.into())),
            Some(Section::Twins) => Ok(Step::Twin(object)),
            Some(Section::Relationships) => Ok(Step::Relationship(object)),
            None => Err("a file begins with a section".into()),
        }
    }
}

fn header(header: &Map<String, Value>) -> Result<(), String> {
    match header.get("fileVersion").map(|version| version.as_str()) {
        None | Some(Some("1.0.0")) => Ok(()),
        _ => Err("fileVersion is `1.0.0`".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<Result<Step, String>> {
        let mut importer = Importer::default();
        // One byte at a time: lines are found wherever pieces end.
        let mut lines: Vec<Vec<u8>> = vec![];
        for byte in text.as_bytes() {
            lines.extend(importer.feed(&[*byte]).unwrap());
        }
        lines.push(importer.rest());
        lines.iter().map(|line| importer.line(line)).collect()
    }

    #[test]
    fn sections_say_what_lines_are() {
        let text = "\u{feff}{\"Section\":\"Header\"}\n{\"fileVersion\":\"1.0.0\",\"author\":\"a\"}\n\n{\"Section\":\"Models\"}\r\n\
            {\"@id\":\"m\"}\n{\"Section\":\"Twins\"}\n{\"$dtId\":\"t\"}\n{\"Section\":\"Relationships\"}\n{\"$dtId\":\"t\"}";
        let steps: Vec<_> = steps(text).into_iter().map(Result::unwrap).collect();
        assert_eq!(steps[0], Step::Section(Section::Header));
        assert_eq!(steps[1], Step::Nothing);
        assert!(matches!(&steps[4], Step::Model(model) if model["@id"] == "m"));
        assert!(matches!(&steps[6], Step::Twin(twin) if twin["$dtId"] == "t"));
        assert!(matches!(&steps[8], Step::Relationship(_)));
    }

    #[test]
    fn other_lines_are_refused_and_the_next_is_read() {
        let all = steps(
            "{\"a\":1}\n{\"Section\":\"Zoo\"}\n{\"Section\":\"Twins\"}\n[]\n{\"a\":1,\"a\":2}\n{\"$dtId\":\"t\"}",
        );
        let good: Vec<bool> = all.iter().map(Result::is_ok).collect();
        assert_eq!(good, [false, false, true, false, false, true]);
        let mut importer = Importer::default();
        assert!(importer.feed(&vec![b'x'; LINE_BYTES_MAX]).unwrap().is_empty());
        assert!(importer.feed(b"x").is_err());
        assert!(steps("{\"Section\":\"Header\"}\n{\"fileVersion\":\"2\"}")[1].is_err());
    }
}
