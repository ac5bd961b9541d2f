//! Contexts: which vocabulary the terms of an object are of.
//!
//! An object without a context has that of the object around it. A context names DTDL's own first
//! (IoT Central's may come before it), then, if it says `#limitless`, one that sets limits, then
//! extensions. Unknown extensions are an error or, if allowed, make the context incomplete: terms
//! it does not know may then be theirs.

use crate::document::Context as Component;
use crate::dtmi::{Dtmi, is_user_id};
use crate::error::{ErrorName, Errors, ParsingError, Stop};
use crate::metamodel::Edition;
use crate::metamodel::table::limits;
use crate::metamodel::vocabulary::{Affiliate, RESERVED_BY_DTDL, vocabulary};
use crate::options::{Options, UndefinedExtensions};
use std::rc::Rc;

const DTDL_CONTEXT: &str = "dtmi:dtdl:context;";

/// What the terms of an object mean.
#[derive(Debug, Clone)]
pub(crate) struct ActiveContext {
    edition: Option<Edition>,
    /// Contexts beside DTDL's, by their place in the vocabulary; one version of each.
    affiliates: Rc<[usize]>,
    /// Whether all contexts are known.
    pub(crate) is_complete: bool,
    /// The component that chose the DTDL version, for errors.
    pub(crate) dtdl_component: Rc<str>,
}

impl ActiveContext {
    /// The context of a document before it says anything.
    pub(crate) fn empty() -> Self {
        Self { edition: None, affiliates: Rc::new([]), is_complete: true, dtdl_component: "".into() }
    }

    /// The version and limits. A context without is refused before anyone asks.
    pub(crate) fn edition(&self) -> Edition {
        self.edition.unwrap_or(Edition::V2)
    }

    pub(crate) fn version(&self) -> u8 {
        self.edition().version()
    }

    /// Whether keywords that mean nothing to DTDL are refused.
    pub(crate) fn restricts_keywords(&self) -> bool {
        self.version() >= 3
    }

    fn active(&self) -> impl Iterator<Item = &'static Affiliate> {
        self.affiliates.iter().map(|number| vocabulary().affiliate(*number))
    }

    /// The identifier a term or identifier stands for.
    pub(crate) fn resolve<'a>(&self, text: &'a str) -> Option<&'a str> {
        if text.starts_with("dtmi:") {
            return self.is_id(text).then_some(text);
        }
        if text.contains(':') {
            return None;
        }
        vocabulary().dtdl_uri(self.version(), text).or_else(|| self.active().find_map(|affiliate| affiliate.uri(text)))
    }

    /// Whether a text may be an identifier here.
    pub(crate) fn is_id(&self, text: &str) -> bool {
        text.len() <= self.edition().pick(&limits::ID_LEN) as usize && is_user_id(text, self.version())
    }

    /// Whether nobody may define an identifier like this here.
    pub(crate) fn is_reserved(&self, id: &str) -> bool {
        RESERVED_BY_DTDL
            .iter()
            .copied()
            .chain(self.active().filter_map(|affiliate| affiliate.reserved))
            .any(|prefix| id.starts_with(prefix))
    }

    /// The context of an object with these components inside of an object with this context.
    pub(crate) fn child(
        &self,
        components: Option<&[Component<'_>]>,
        options: &Options,
        errors: &mut Errors,
    ) -> Result<Self, Stop> {
        match components {
            None if self.edition.is_none() => errors.stop(ParsingError::new(ErrorName::MissingContext)),
            Some([]) if self.edition.is_none() => errors.stop(ParsingError::new(ErrorName::EmptyContext)),
            None | Some([]) => Ok(self.clone()),
            Some(components) => Reader { of: self, options, errors }.read(components),
        }
    }
}

/// Reads the components of one context.
struct Reader<'a> {
    of: &'a ActiveContext,
    options: &'a Options,
    errors: &'a mut Errors,
}

impl Reader<'_> {
    fn stop<T>(&mut self, name: ErrorName, value: &str) -> Result<T, Stop> {
        self.errors.stop(ParsingError::new(name).value(value))
    }

    fn read(&mut self, components: &[Component<'_>]) -> Result<ActiveContext, Stop> {
        let mut rest = components;
        let mut affiliates: Vec<usize> = self.of.affiliates.to_vec();
        let mut is_complete = self.of.is_complete;
        while let [Component::Remote(id), tail @ ..] = rest {
            let Some(version) = comes_before_dtdl(id) else { break };
            let allowed = self.options.undefined_extensions == UndefinedExtensions::Allow;
            if let Some(found) = self.affiliate(id, version, allowed)? {
                activate(&mut affiliates, found);
            }
            rest = tail;
        }
        // A context of its own goes back to the version's own limits.
        let mut edition = self.of.edition.and_then(|edition| Edition::of(edition.version().into()));
        let mut dtdl_component = self.of.dtdl_component.clone();
        while let [Component::Remote(id), tail @ ..] = rest
            && id.starts_with(DTDL_CONTEXT)
        {
            let (found, tail) = self.dtdl(id, tail)?;
            (edition, rest, dtdl_component) = (Some(found), tail, (*id).into());
        }
        let Some(edition) = edition else {
            return self.errors.stop(ParsingError::new(ErrorName::MissingDtdlContext));
        };
        if matches!(components, [.., Component::Local]) {
            return self.errors.stop(ParsingError::new(ErrorName::DisallowedLocalContext));
        }
        let allowed = self.options.undefined_extensions.allows(edition.version());
        for component in rest {
            let Component::Remote(id) = component else {
                return self.errors.stop(ParsingError::new(ErrorName::LocalContextNotLast));
            };
            match self.affiliate(id, edition.version(), allowed)? {
                Some(found) => activate(&mut affiliates, found),
                None => is_complete = false,
            }
        }
        Ok(ActiveContext { edition: Some(edition), affiliates: affiliates.into(), is_complete, dtdl_component })
    }

    /// DTDL's own context and, after `#limitless`, the limits that must follow.
    fn dtdl<'c, 'd>(&mut self, id: &str, rest: &'c [Component<'d>]) -> Result<(Edition, &'c [Component<'d>]), Stop> {
        let Ok(dtmi) = Dtmi::parse(id) else { return self.stop(ErrorName::InvalidContextSpecifier, id) };
        let fragment = dtmi.fragment().unwrap_or("");
        if !matches!(fragment, "" | "limitless" | "limits") {
            return self.stop(ErrorName::InvalidContextFragment, id);
        }
        if dtmi.major_version() != 4 && !fragment.is_empty() {
            return self.stop(ErrorName::DisallowedContextFragment, id);
        }
        if dtmi.major_version() == 0 {
            return self.stop(ErrorName::MissingContextVersion, id);
        }
        if fragment == "limits" {
            return self.stop(ErrorName::MisplacedLimitContext, id);
        }
        let Some(edition) = Edition::of(dtmi.major_version()) else {
            return self.stop(ErrorName::UnrecognizedContextVersion, id);
        };
        if edition.version() > self.options.max_dtdl_version {
            return self.stop(ErrorName::DisallowedContextVersion, id);
        }
        if !is_user_id(without_fragment(id), edition.version()) {
            return self.stop(ErrorName::InvalidContextSpecifierForVersion, id);
        }
        if fragment != "limitless" {
            return Ok((edition, rest));
        }
        if let [Component::Remote(limits), rest @ ..] = rest
            && let Some(edition) = self.limits(limits, edition)?
        {
            return Ok((edition, rest));
        }
        self.stop(ErrorName::MissingLimitContext, id)
    }

    /// The edition with the limits this context sets; none if it sets none.
    fn limits(&mut self, id: &str, edition: Edition) -> Result<Option<Edition>, Stop> {
        let dtmi = self.specifier(id)?;
        if dtmi.major_version() == 0 {
            return self.stop(ErrorName::MissingContextVersion, id);
        }
        if !is_user_id(without_fragment(id), edition.version()) {
            return self.stop(ErrorName::InvalidContextSpecifierForVersion, id);
        }
        let fragment = dtmi.fragment().unwrap_or("");
        if id.starts_with(DTDL_CONTEXT) {
            if !matches!(fragment, "" | "limitless" | "limits") {
                return self.stop(ErrorName::InvalidContextFragment, id);
            }
            let own = fragment != "limitless" && dtmi.major_version() == u32::from(edition.version());
            return Ok(own.then_some(edition));
        }
        if !fragment.is_empty() {
            return self.stop(ErrorName::InvalidContextSpecifier, id);
        }
        let found = vocabulary().affiliates(&dtmi.versionless()).find(|(_, of)| of.major == dtmi.major_version());
        match found.and_then(|(_, of)| of.limits) {
            Some(limits) if limits.version() == edition.version() => {
                if self.options.accepts_limits(&dtmi) {
                    Ok(Some(limits))
                } else {
                    self.stop(ErrorName::DisallowedLimitContext, id)
                }
            }
            _ => Ok(None),
        }
    }

    fn specifier(&mut self, id: &str) -> Result<Dtmi, Stop> {
        if !id.starts_with("dtmi:") {
            return self.stop(ErrorName::NonDtmiContextSpecifier, id);
        }
        match Dtmi::parse(id) {
            Ok(dtmi) => Ok(dtmi),
            Err(_) => self.stop(ErrorName::InvalidContextSpecifier, id),
        }
    }

    /// The place of an extension in the vocabulary; none if unknown, where that is allowed.
    fn affiliate(&mut self, id: &str, version: u8, allowed: bool) -> Result<Option<usize>, Stop> {
        if id.starts_with(DTDL_CONTEXT) {
            return self.stop(ErrorName::DtdlContextFollowsAffiliate, id);
        }
        let dtmi = self.specifier(id)?;
        if dtmi.fragment().is_some_and(|fragment| !fragment.is_empty()) {
            return self.stop(ErrorName::InvalidContextSpecifier, id);
        }
        if !is_user_id(id, version) {
            return self.stop(ErrorName::InvalidContextSpecifierForVersion, id);
        }
        if dtmi.major_version() == 0 {
            return self.stop(ErrorName::MissingContextVersion, id);
        }
        let name = dtmi.versionless();
        let of_version = |(_, of): &(usize, &Affiliate)| of.major == dtmi.major_version();
        if let Some((number, of)) = vocabulary().affiliates(&name).find(of_version) {
            if of.limits.is_some() {
                return self.stop(ErrorName::MisplacedLimitContext, id);
            }
            return Ok(Some(number));
        }
        if allowed {
            return Ok(None);
        }
        let known = vocabulary().affiliates(&name).next().is_some();
        let error = if known { ErrorName::UnresolvableContextVersion } else { ErrorName::UnresolvableContextSpecifier };
        self.stop(error, id)
    }
}

/// The DTDL version a context implies that may come before DTDL's own.
fn comes_before_dtdl(id: &str) -> Option<u8> {
    let (name, version) = id.split_once(';')?;
    let of_version = |(_, of): &(usize, &Affiliate)| version.parse() == Ok(of.major);
    vocabulary().affiliates(name).find(of_version).and_then(|(_, of)| of.before_dtdl)
}

fn without_fragment(id: &str) -> &str {
    id.split_once('#').map_or(id, |(id, _)| id)
}

/// Makes a context active in place of another version of it.
fn activate(affiliates: &mut Vec<usize>, number: usize) {
    let name = vocabulary().affiliate(number).name;
    match affiliates.iter_mut().find(|other| vocabulary().affiliate(**other).name == name) {
        Some(other) => *other = number,
        None => affiliates.push(number),
    }
}
