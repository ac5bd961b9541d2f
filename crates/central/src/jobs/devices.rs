//! The devices of a job, and how each fared.
//!
//! A job's devices are those of its group when it was made. They are kept in pages of [`PAGE_DEVICES`] in the order
//! in which they are handed out, so that saying how one fared writes its page alone, however many there are: some
//! kilobytes for each, or for each page when they are said together. A page is the document
//! `{"v":1,"devices":"a\nb","states":"cp"}` with the id `job/number`: ids with line feeds between, and a letter for
//! each device, `p` pending, `c` completed, `f` failed.

use gantry_identity::DeviceId;
use serde::{Deserialize, Serialize};

use crate::ids::JobId;

/// Devices of one job: those of an application (IoT Central quotas and limits).
pub const DEVICES_MAX: usize = 200_000;
/// Devices of a page.
pub const PAGE_DEVICES: usize = 200;
/// The format written.
const FORMAT: u32 = 1;

/// How a device fared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Not yet.
    Pending,
    /// It was done.
    Completed,
    /// It could not be done.
    Failed,
}

impl Outcome {
    const LETTERS: [(Self, char, &'static str); 3] =
        [(Self::Pending, 'p', "pending"), (Self::Completed, 'c', "completed"), (Self::Failed, 'f', "failed")];

    /// Its published word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::LETTERS.iter().find(|(outcome, ..)| *outcome == self).map_or("", |(_, _, word)| word)
    }

    fn letter(self) -> char {
        Self::LETTERS.iter().find(|(outcome, ..)| *outcome == self).map_or('p', |(_, letter, _)| *letter)
    }

    fn of(letter: char) -> Option<Self> {
        Self::LETTERS.iter().find(|(_, of, _)| *of == letter).map(|(outcome, ..)| *outcome)
    }
}

/// Some of the devices of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Page {
    devices: Box<str>,
    states: String,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    devices: String,
    states: String,
}

impl Page {
    /// All pages of devices that have not fared.
    pub(crate) fn all(devices: &[DeviceId]) -> Vec<Self> {
        let page = |devices: &[DeviceId]| {
            let ids: Vec<&str> = devices.iter().map(DeviceId::as_str).collect();
            let states = Outcome::Pending.letter().to_string().repeat(devices.len());
            Self { devices: ids.join("\n").into(), states }
        };
        devices.chunks(PAGE_DEVICES).map(page).collect()
    }

    /// Its devices in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Outcome)> {
        let outcomes = self.states.chars().map(|letter| Outcome::of(letter).unwrap_or(Outcome::Pending));
        self.devices.split('\n').zip(outcomes)
    }

    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    /// Says how a device fared; whether it had not before.
    pub(crate) fn settle(&mut self, at: usize, is_good: bool) -> bool {
        let pending = Outcome::Pending.letter();
        if !self.states.get(at..).is_some_and(|rest| rest.starts_with(pending)) {
            return false;
        }
        let letter = if is_good { Outcome::Completed } else { Outcome::Failed }.letter();
        self.states.replace_range(at..=at, letter.encode_utf8(&mut [0; 4]));
        true
    }

    pub(crate) fn document(&self) -> String {
        let stored = Stored { v: FORMAT, devices: self.devices.to_string(), states: self.states.clone() };
        serde_json::to_string(&stored).expect("pages have nothing that JSON has not")
    }

    /// Reads a document, or says why not.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let Stored { v, devices, states } = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if v != FORMAT {
            return Err(format!("the document is of format {v}"));
        }
        let is_good = states.chars().all(|letter| Outcome::of(letter).is_some());
        if !is_good || devices.split('\n').count() != states.len() {
            return Err("devices and states do not fit".to_owned());
        }
        Ok(Self { devices: devices.into(), states })
    }
}

/// The id of a page's document.
pub(crate) fn page_id(job: &JobId, number: usize) -> String {
    format!("{job}/{number:04}")
}

/// The job and number of a page's document.
pub(crate) fn parse_page_id(id: &str) -> Option<(JobId, usize)> {
    let (job, number) = id.split_once('/')?;
    Some((JobId::parse(job).ok()?, number.parse().ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn ids(count: usize) -> Vec<DeviceId> {
        (0..count).map(|n| DeviceId::parse(&format!("device-{n}")).unwrap()).collect()
    }

    #[test]
    fn devices_are_kept_in_pages() {
        let sizes = |count| Page::all(&ids(count)).iter().map(Page::len).collect::<Vec<_>>();
        assert_eq!(sizes(0), [0; 0]);
        assert_eq!(sizes(PAGE_DEVICES), [PAGE_DEVICES]);
        assert_eq!(sizes(PAGE_DEVICES + 1), [PAGE_DEVICES, 1]);
        let page = &Page::all(&ids(PAGE_DEVICES + 2))[1];
        assert_eq!(
            page.iter().collect::<Vec<_>>(),
            [("device-200", Outcome::Pending), ("device-201", Outcome::Pending)]
        );
    }

    #[test]
    fn a_device_fares_once() {
        let mut page = Page::all(&ids(3)).remove(0);
        assert!(page.settle(0, true) && page.settle(2, false));
        assert!(!page.settle(0, false) && !page.settle(2, true) && !page.settle(3, true));
        assert_eq!(page.document(), r#"{"v":1,"devices":"device-0\ndevice-1\ndevice-2","states":"cpf"}"#);
        assert_eq!(Page::read(&page.document()).unwrap(), page);
    }

    #[test]
    fn a_page_that_does_not_fit_is_refused() {
        for (text, part) in [
            (r#"{"v":2,"devices":"a","states":"p"}"#, "format 2"),
            (r#"{"v":1,"devices":"a\nb","states":"p"}"#, "do not fit"),
            (r#"{"v":1,"devices":"a","states":"x"}"#, "do not fit"),
            ("x", "expected value"),
        ] {
            let told = Page::read(text).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
        let id = JobId::parse("my-job").unwrap();
        assert_eq!(page_id(&id, 7), "my-job/0007");
        assert_eq!(parse_page_id("my-job/0007"), Some((id, 7)));
        assert!(parse_page_id("my-job").is_none() && parse_page_id("a/b").is_none() && parse_page_id("/1").is_none());
    }
}
