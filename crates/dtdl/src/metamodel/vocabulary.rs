//! The vocabulary: terms, contexts and types of extensions, built once from the tables.
//!
//! A term means what the active contexts say; this file knows every context there is and what its
//! terms stand for. Identifiers are kept as `&'static str`, so looking one up yields the one copy.

use super::extensions::{self, EXTENSIONS, Extension, Is, Kind, Naming, PropertyRow, TypeRow, TypeRule};
use super::quantities::{BINARY_PREFIXES, DECIMAL_PREFIXES, QUANTITIES, Since, UNITS};
use super::{Class, Edition, Pattern, Prop, rows, table};
use std::collections::HashMap;
use std::sync::OnceLock;

/// A type of an extension, by its place in the vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TypeId(u16);

/// A property of extensions, by its place in the vocabulary. Types may share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ExtraProp(u16);

/// A type that elements have beside their class.
pub(crate) struct ExtensionType {
    pub(crate) uri: &'static str,
    pub(crate) term: &'static str,
    pub(crate) kind: TypeKind,
    pub(crate) parent: Option<TypeId>,
    on: u64,
    versions: u8,
    pub(crate) also_with: Vec<TypeId>,
    pub(crate) needs: Vec<TypeId>,
    pub(crate) excludes: Vec<TypeId>,
    pub(crate) props: Vec<ExtensionProp>,
    pub(crate) rules: Vec<Rule>,
}

/// What kind of type it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TypeKind {
    /// Only its descendants are types of elements.
    Abstract,
    /// Says what the values mean: a quantity, a state.
    Semantic,
    /// Adds properties or duties.
    Adjunct,
    /// A kind of unit: the type of standard elements, of none in a document.
    Unit,
}

/// A property of a type.
pub(crate) struct ExtensionProp {
    pub(crate) id: ExtraProp,
    pub(crate) row: PropertyRow,
    /// What the value must be, if an element.
    pub(crate) needs: Option<Need>,
    /// The element the value must be defined in.
    pub(crate) child_of: Option<&'static str>,
}

/// A class or a type that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Class(Class),
    Type(TypeId),
}

/// A rule of a type with its names looked up.
#[derive(Debug, Clone)]
pub(crate) enum Rule {
    Holds(Prop, Vec<Need>),
    Among(Prop, &'static [&'static str]),
    FieldOf { parents: Vec<TypeId>, beside: Option<TypeId> },
    Annotates { by: ExtraProp, of: &'static [Class], never: TypeId },
    Overrides { by: ExtraProp, overrides: ExtraProp, of: &'static [Class] },
}

/// A context that is not DTDL's own, in one version.
pub(crate) struct Affiliate {
    /// The context without its version.
    pub(crate) name: &'static str,
    pub(crate) major: u32,
    terms: HashMap<&'static str, &'static str>,
    /// What it raises limits to, if that is what it is for.
    pub(crate) limits: Option<Edition>,
    /// What identifiers defined beside it must not begin with.
    pub(crate) reserved: Option<&'static str>,
    /// The DTDL version it may come before.
    pub(crate) before_dtdl: Option<u8>,
}

impl Affiliate {
    pub(crate) fn uri(&self, term: &str) -> Option<&'static str> {
        self.terms.get(term).copied()
    }
}

/// Identifiers that no document defines, whatever its contexts.
const RESERVED: &[&str] = &["dtmi:dtdl:", "dtmi:standard:", "dtmi:iotcentral:", "dtmi:iotoperations:"];

/// What identifiers of documents must not begin with in any version.
pub(crate) const RESERVED_BY_DTDL: &[&str] = &["dtmi:dtdl:", "dtmi:standard:"];

/// All terms, contexts and types.
pub(crate) struct Vocabulary {
    dtdl: [HashMap<&'static str, &'static str>; 3],
    affiliates: Vec<Affiliate>,
    term_of: HashMap<&'static str, &'static str>,
    types: Vec<ExtensionType>,
    type_ids: HashMap<&'static str, TypeId>,
    props: Vec<&'static str>,
    prop_ids: HashMap<&'static str, ExtraProp>,
}

/// The vocabulary; the first call builds it.
pub(crate) fn vocabulary() -> &'static Vocabulary {
    static VOCABULARY: OnceLock<Vocabulary> = OnceLock::new();
    VOCABULARY.get_or_init(|| Builder::default().build())
}

impl Vocabulary {
    /// What a term means in DTDL itself.
    pub(crate) fn dtdl_uri(&self, version: u8, term: &str) -> Option<&'static str> {
        self.dtdl.get(usize::from(version.checked_sub(2)?))?.get(term).copied()
    }

    /// The versions of a context.
    pub(crate) fn affiliates(&self, name: &str) -> impl Iterator<Item = (usize, &Affiliate)> {
        self.affiliates.iter().enumerate().filter(move |(_, affiliate)| affiliate.name == name)
    }

    pub(crate) fn affiliate(&self, number: usize) -> &Affiliate {
        &self.affiliates[number]
    }

    /// The term for an identifier, the identifier itself when there is none.
    pub(crate) fn term<'a>(&self, uri: &'a str) -> &'a str {
        self.term_of.get(uri).copied().unwrap_or(uri)
    }

    pub(crate) fn type_id(&self, uri: &str) -> Option<TypeId> {
        self.type_ids.get(uri).copied()
    }

    pub(crate) fn get(&self, id: TypeId) -> &ExtensionType {
        &self.types[usize::from(id.0)]
    }

    pub(crate) fn prop(&self, uri: &str) -> Option<ExtraProp> {
        self.prop_ids.get(uri).copied()
    }

    pub(crate) fn prop_uri(&self, id: ExtraProp) -> &'static str {
        self.props[usize::from(id.0)]
    }

    /// The property as a type or its ancestors have it.
    pub(crate) fn prop_in(&self, id: TypeId, prop: ExtraProp) -> Option<&ExtensionProp> {
        self.lineage(id).find_map(|of| of.props.iter().find(|p| p.id == prop))
    }

    /// A type and its ancestors.
    pub(crate) fn lineage(&self, id: TypeId) -> impl Iterator<Item = &ExtensionType> {
        let mut next = Some(id);
        std::iter::from_fn(move || {
            let of = self.get(next?);
            next = of.parent;
            Some(of)
        })
    }

    /// Whether a type is another or a descendant of it.
    pub(crate) fn is(&self, id: TypeId, ancestor: TypeId) -> bool {
        self.lineage(id).any(|of| std::ptr::eq(of, self.get(ancestor)))
    }

    /// Whether an identifier begins with what is reserved.
    pub(crate) fn is_reserved(id: &str) -> bool {
        RESERVED.iter().any(|prefix| id.starts_with(prefix))
    }
}

impl ExtensionType {
    pub(crate) fn is_on(&self, class: Class) -> bool {
        self.on & bit(class) != 0
    }

    pub(crate) fn is_in(&self, version: u8) -> bool {
        self.versions & (1 << version) != 0
    }
}

const fn bit(class: Class) -> u64 {
    1 << class as u8
}

/// What the vocabulary is built in.
#[derive(Default)]
struct Builder {
    dtdl: [HashMap<&'static str, &'static str>; 3],
    affiliates: Vec<Affiliate>,
    types: Vec<ExtensionType>,
    type_ids: HashMap<&'static str, TypeId>,
    props: Vec<&'static str>,
    prop_ids: HashMap<&'static str, ExtraProp>,
}

/// A text for as long as the process runs; the vocabulary is built once.
fn keep(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

impl Builder {
    fn build(mut self) -> Vocabulary {
        for version in 2..=4u8 {
            self.dtdl_terms(version);
        }
        self.dtdl_types();
        self.v2_quantities();
        for version in 1..=3 {
            self.quantitative_types(version);
        }
        let versions =
            || EXTENSIONS.iter().flat_map(|of| of.versions.iter().map(move |(version, on)| (of, *version, *on)));
        for (extension, version, on) in versions() {
            self.extension_types(&Names { extension, version }, on);
        }
        for (extension, version, _) in versions() {
            self.extension(&Names { extension, version });
        }
        for &(name, major, edition) in extensions::LIMIT_CONTEXTS {
            self.affiliates.push(Affiliate {
                name,
                major,
                terms: HashMap::new(),
                limits: Some(edition),
                reserved: None,
                before_dtdl: None,
            });
        }
        let mut term_of = HashMap::new();
        for terms in self.dtdl.iter().chain(self.affiliates.iter().map(|a| &a.terms)) {
            // One identifier of quantitative types has two terms; the other one names it.
            for (&term, &uri) in terms.iter().filter(|(term, _)| **term != "EnergyRateUnit") {
                term_of.entry(uri).or_insert(term);
            }
        }
        Vocabulary {
            dtdl: self.dtdl,
            affiliates: self.affiliates,
            term_of,
            types: self.types,
            type_ids: self.type_ids,
            props: self.props,
            prop_ids: self.prop_ids,
        }
    }

    fn term(&mut self, version: u8, term: &'static str, uri: String) {
        self.dtdl[usize::from(version - 2)].insert(term, keep(uri));
    }

    /// The terms of the metamodel itself.
    fn dtdl_terms(&mut self, version: u8) {
        let v = version;
        for class in table::CLASSES.iter().filter(|class| class.since <= version) {
            self.term(v, class.name, format!("dtmi:dtdl:class:{};{v}", class.name));
            if class.class.is(Class::PrimitiveSchema) && class.class.is_elemental() {
                let name = keep(lower_first(class.name));
                self.term(v, name, format!("dtmi:dtdl:instance:Schema:{name};{v}"));
            }
        }
        let of_rows = table::CLASSES.iter().flat_map(|class| rows(class.class, version)).map(|row| row.prop.name());
        for name in of_rows.chain(["languageMajorVersion", "symbol", "exponent"]) {
            self.term(v, name, format!("dtmi:dtdl:property:{name};{v}"));
        }
        for name in ["asynchronous", "synchronous"] {
            self.term(v, name, format!("dtmi:dtdl:instance:CommandType:{name};{v}"));
        }
        for name in super::standard::GEOSPATIAL {
            self.term(v, name, format!("dtmi:standard:schema:geospatial:{name};{v}"));
        }
        for name in ["SemanticType", "SemanticUnit"] {
            self.term(v, name, format!("dtmi:dtdl:class:{name};{v}"));
        }
        if version >= 3 {
            for name in ["AdjunctType", "Alias"] {
                self.term(v, name, format!("dtmi:dtdl:class:{name};{v}"));
            }
            self.term(v, "aliasFor", format!("dtmi:dtdl:property:aliasFor;{v}"));
            for name in ["DtdlExtension", "metamodel", "model"] {
                self.term(v, name, format!("dtmi:dtdl:meta:{name};{v}"));
            }
        }
        if version >= 4 {
            self.term(v, "scaledDecimal", "dtmi:standard:schema:scaledDecimal;4".to_owned());
        }
    }

    fn add(&mut self, of: ExtensionType) -> TypeId {
        let id = TypeId(u16::try_from(self.types.len()).expect("the tables are small"));
        self.type_ids.insert(of.uri, id);
        self.types.push(of);
        id
    }

    fn prop(&mut self, uri: String) -> ExtraProp {
        if let Some(&id) = self.prop_ids.get(uri.as_str()) {
            return id;
        }
        let uri = keep(uri);
        let id = ExtraProp(u16::try_from(self.props.len()).expect("the tables are small"));
        self.props.push(uri);
        self.prop_ids.insert(uri, id);
        id
    }

    fn plain(uri: String, term: &'static str, kind: TypeKind, on: &[Class], versions: &[u8]) -> ExtensionType {
        ExtensionType {
            uri: keep(uri),
            term,
            kind,
            parent: None,
            on: on.iter().fold(0, |set, class| set | bit(*class)),
            versions: versions.iter().fold(0, |set, version| set | 1 << version),
            also_with: vec![],
            needs: vec![],
            excludes: vec![],
            props: vec![],
            rules: vec![],
        }
    }

    /// The roots of all types, and aliases.
    fn dtdl_types(&mut self) {
        for version in 2..=4u8 {
            for name in ["SemanticType", "SemanticUnit", "AdjunctType"] {
                if name == "AdjunctType" && version == 2 {
                    continue;
                }
                let uri = format!("dtmi:dtdl:class:{name};{version}");
                self.add(Self::plain(uri, name, TypeKind::Abstract, &[], &[]));
            }
        }
        let all: Vec<Class> = table::CLASSES.iter().map(|class| class.class).filter(|c| !c.is_abstract()).collect();
        for version in 3..=4u8 {
            let uri = format!("dtmi:dtdl:class:Alias;{version}");
            let mut of = Self::plain(uri, "Alias", TypeKind::Adjunct, &all, &[version]);
            let row = extensions::has("aliasFor", Kind::Element(Class::Entity));
            let id = self.prop(format!("dtmi:dtdl:property:aliasFor;{version}"));
            of.props.push(ExtensionProp { id, row, needs: Some(Need::Class(Class::Entity)), child_of: None });
            self.add(of);
        }
    }

    /// Quantities of DTDL v2: units are elements of a class of their own.
    fn v2_quantities(&mut self) {
        let unit = "dtmi:dtdl:property:unit;2";
        for name in ["unit", "prefix", "baseUnit", "bottomUnit", "topUnit"] {
            self.term(2, name, format!("dtmi:dtdl:property:{name};2"));
            self.prop(format!("dtmi:dtdl:property:{name};2"));
        }
        for (kind, units) in UNITS {
            if units.iter().all(|(_, _, since)| *since > Since::V2) {
                continue;
            }
            let uri = format!("dtmi:standard:class:{kind};2");
            self.term(2, kind, uri.clone());
            self.add(Self::plain(uri, kind, TypeKind::Unit, &[], &[]));
            for (name, _, _) in units.iter().filter(|(_, _, since)| *since == Since::V2) {
                self.term(2, name, format!("dtmi:standard:unit:{name};2"));
            }
        }
        for name in ["BinaryPrefix", "DecimalPrefix", "BinaryUnit", "DecimalUnit", "RatioUnit"] {
            let uri = format!("dtmi:standard:class:{name};2");
            self.term(2, name, uri.clone());
            let kind = if name.ends_with("Prefix") { TypeKind::Unit } else { TypeKind::Adjunct };
            self.add(Self::plain(uri, name, kind, &[Class::Unit], &[2]));
        }
        for name in DECIMAL_PREFIXES.iter().filter(|name| **name != "deca").chain(BINARY_PREFIXES) {
            self.term(2, name, format!("dtmi:standard:unitprefix:{name};2"));
        }
        let uri = "dtmi:standard:class:QuantitativeType;2".to_owned();
        self.term(2, "QuantitativeType", uri.clone());
        let mut root = Self::plain(uri, "QuantitativeType", TypeKind::Abstract, &[], &[]);
        root.rules.push(Rule::Holds(Prop::Schema, vec![Need::Class(Class::NumericSchema)]));
        let root = self.add(root);
        let on = [Class::Property, Class::Telemetry];
        for (name, kind, _) in QUANTITIES.iter().filter(|(_, _, since)| *since == Since::V2) {
            let uri = format!("dtmi:standard:class:{name};2");
            self.term(2, name, uri.clone());
            let mut of = Self::plain(uri, name, TypeKind::Semantic, &on, &[2]);
            of.parent = Some(root);
            of.props.push(self.v2_unit(unit, kind, false));
            self.add(of);
        }
    }

    fn v2_unit(&mut self, prop: &str, kind: &'static str, optional: bool) -> ExtensionProp {
        let row = extensions::has("unit", Kind::Unit(kind));
        let row = if optional { row.optional() } else { row };
        let needs = self.type_ids.get(format!("dtmi:standard:class:{kind};2").as_str()).map(|id| Need::Type(*id));
        ExtensionProp { id: self.prop(prop.to_owned()), row, needs, child_of: None }
    }

    /// Quantities as an extension: units are values of enumerations.
    fn quantitative_types(&mut self, version: u32) {
        let context = "dtmi:dtdl:extension:quantitativeTypes";
        let base = format!("{context}:v{version}");
        let dtdl: u8 = if version == 1 { 3 } else { 4 };
        let known = if version == 3 { Since::Ext3 } else { Since::Ext1 };
        let mut terms = Self::unit_terms(&base, known);
        for (name, uri) in self.quantities(&base, dtdl, known) {
            terms.insert(name, uri);
        }
        for name in ["BinaryUnit", "DecimalUnit", "RatioUnit", "SymbolicUnit", "UnitPrefix"] {
            let uri = format!("{base}:class:{name}");
            terms.insert(name, keep(uri.clone()));
            let of = self.unit_type(&base, dtdl, name, uri);
            self.add(of);
        }
        let (limits, reserved, before_dtdl) = (None, None, None);
        self.affiliates.push(Affiliate { name: context, major: version, terms, limits, reserved, before_dtdl });
    }

    /// Terms for units, their kinds and prefixes.
    fn unit_terms(base: &str, known: Since) -> HashMap<&'static str, &'static str> {
        let mut terms = HashMap::new();
        for (kind, units) in UNITS {
            let there = units.iter().filter(|(_, _, since)| *since <= known);
            for (name, _, _) in there {
                terms.insert(*kind, keep(format!("{base}:enum:{kind}")));
                terms.insert(*name, keep(format!("{base}:unit:{name}")));
            }
        }
        terms.insert("EnergyRateUnit", keep(format!("{base}:enum:PowerUnit")));
        for name in ["BinaryPrefix", "DecimalPrefix"] {
            terms.insert(name, keep(format!("{base}:enum:{name}")));
        }
        for name in DECIMAL_PREFIXES.iter().filter(|name| **name != "deka").chain(BINARY_PREFIXES) {
            terms.insert(*name, keep(format!("{base}:unitprefix:{name}")));
        }
        for name in ["unit", "prefix", "baseUnit", "bottomUnit", "topUnit"] {
            terms.insert(name, keep(format!("{base}:property:{name}")));
        }
        terms
    }

    /// The quantities of an extension; their terms with what they stand for.
    fn quantities(&mut self, base: &str, dtdl: u8, known: Since) -> Vec<(&'static str, &'static str)> {
        let uri = format!("{base}:class:QuantitativeType");
        let mut root = Self::plain(uri, "QuantitativeType", TypeKind::Abstract, &[], &[]);
        root.rules.push(Rule::Holds(Prop::Schema, vec![Need::Class(Class::NumericSchema)]));
        let mut terms = vec![(root.term, root.uri)];
        let root = self.add(root);
        let unit = self.prop(format!("{base}:property:unit"));
        for (name, kind, _) in QUANTITIES.iter().filter(|(_, _, since)| *since <= known) {
            let mut of =
                Self::plain(format!("{base}:class:{name}"), name, TypeKind::Semantic, extensions::DATA, &[dtdl]);
            of.parent = Some(root);
            of.props.push(ExtensionProp {
                id: unit,
                row: extensions::has("unit", Kind::Element(Class::EnumValue)),
                needs: Some(Need::Class(Class::EnumValue)),
                child_of: Some(keep(format!("{base}:enum:{kind}"))),
            });
            terms.push((of.term, of.uri));
            self.add(of);
        }
        terms
    }

    /// A type for values of enumerations that are units or their prefixes.
    fn unit_type(&mut self, base: &str, dtdl: u8, name: &'static str, uri: String) -> ExtensionType {
        let mut of = Self::plain(uri, name, TypeKind::Adjunct, &[Class::EnumValue], &[dtdl]);
        let unit = Kind::Element(Class::EnumValue);
        let props: &[(&str, Kind, bool)] = match name {
            "RatioUnit" => &[("topUnit", unit, false), ("bottomUnit", unit, false)],
            "SymbolicUnit" => &[("symbol", Kind::Text, false)],
            "UnitPrefix" => &[("symbol", Kind::Text, false), ("exponent", Kind::Int, false)],
            _ => &[("baseUnit", unit, false), ("prefix", unit, true)],
        };
        for &(prop, kind, optional) in props {
            let id = if kind == unit {
                self.prop(format!("{base}:property:{prop}"))
            } else {
                self.prop(format!("dtmi:dtdl:property:{prop};{dtdl}"))
            };
            let row = extensions::has(keep(prop.to_owned()), kind);
            let row = if optional { row.optional() } else { row };
            let needs = (kind == unit).then_some(Need::Class(Class::EnumValue));
            of.props.push(ExtensionProp { id, row, needs, child_of: None });
        }
        of
    }

    /// The types of an extension in one version, still without what they say of other types.
    fn extension_types(&mut self, names: &Names, on: &[u8]) {
        for row in names.rows() {
            let kind = if on == [2] { TypeKind::Semantic } else { TypeKind::Adjunct };
            let classes = names.extension.classes(names.version, row);
            self.add(Self::plain(names.of_type(row.name), row.name, kind, &classes, on));
        }
    }

    /// An extension of the table, in one version.
    fn extension(&mut self, names: &Names) {
        let extension = names.extension;
        let mut terms = HashMap::new();
        for row in names.rows() {
            terms.insert(row.name, keep(names.of_type(row.name)));
            self.fill(names, row, &mut terms);
        }
        if extension.context == "dtmi:iotcentral:context" {
            for name in ["geopoint", "vector"] {
                terms.insert(name, keep(format!("dtmi:iotcentral:schema:{name};2")));
            }
        }
        let product = extension.naming == Naming::Product;
        self.affiliates.push(Affiliate {
            name: extension.context,
            major: names.version,
            terms,
            limits: None,
            reserved: product.then(|| keep(format!("{}:", extension.prefix))),
            before_dtdl: (extension.context == "dtmi:iotcentral:context").then_some(2),
        });
    }

    /// Properties and rules of a type, now that all types are known by name.
    fn fill(&mut self, names: &Names, row: &'static TypeRow, terms: &mut HashMap<&'static str, &'static str>) {
        let id = self.type_ids[names.of_type(row.name).as_str()];
        let mut props = Vec::new();
        for prop in row.properties.iter().filter(|prop| prop.since <= names.version) {
            if let Kind::Unit(kind) = prop.kind {
                props.push(self.v2_unit(prop.name, kind, prop.optional));
                continue;
            }
            let uri = names.of_prop(row.name, prop.name);
            terms.insert(prop.name, keep(uri.clone()));
            props.push(ExtensionProp { id: self.prop(uri), row: *prop, needs: None, child_of: None });
        }
        let types = |list: &[&str]| {
            list.iter().filter_map(|name| self.type_ids.get(names.of_type(name).as_str()).copied()).collect::<Vec<_>>()
        };
        let (needs, excludes, also_with) = (types(row.needs), types(row.excludes), types(row.also_with));
        let rules = row.rules.iter().filter_map(|rule| self.rule(names, row, rule)).collect();
        let of = &mut self.types[usize::from(id.0)];
        (of.props, of.needs, of.excludes, of.also_with, of.rules) = (props, needs, excludes, also_with, rules);
    }

    fn rule(&self, names: &Names, row: &TypeRow, rule: &'static TypeRule) -> Option<Rule> {
        let by_name = |name: &str| self.type_ids.get(names.of_type(name).as_str()).copied();
        let prop = |name: &str| self.prop_ids.get(names.of_prop(row.name, name).as_str()).copied();
        Some(match rule {
            TypeRule::Holds(on, any) => Rule::Holds(
                *on,
                any.iter()
                    .filter_map(|is| match is {
                        Is::Class(class) => Some(Need::Class(*class)),
                        Is::Type(name) => by_name(name).map(Need::Type),
                    })
                    .collect(),
            ),
            TypeRule::Among(on, ids) => Rule::Among(*on, ids),
            TypeRule::FieldOf(parents, beside) => Rule::FieldOf {
                parents: parents.iter().filter_map(|name| by_name(name)).collect(),
                beside: beside.and_then(by_name),
            },
            TypeRule::Annotates { by, of, never } => Rule::Annotates { by: prop(by)?, of, never: by_name(never)? },
            TypeRule::Overrides { by, overrides, of } => {
                Rule::Overrides { by: prop(by)?, overrides: prop(overrides)?, of }
            }
        })
    }
}

/// Makes the identifiers of an extension's version.
struct Names {
    extension: &'static Extension,
    version: u32,
}

impl Names {
    /// The types that this version has.
    fn rows(&self) -> impl Iterator<Item = &'static TypeRow> + use<> {
        let version = self.version;
        self.extension.types.iter().filter(move |row| row.since <= version)
    }

    fn of_type(&self, name: &str) -> String {
        if name.starts_with("dtmi:") {
            return name.replace("{v}", &self.version.to_string());
        }
        match self.extension.naming {
            Naming::Extension => format!("{}:v{}:{name}", self.extension.prefix, self.version),
            Naming::Product => format!("{}:class:{name};{}", self.extension.prefix, self.version),
        }
    }

    fn of_prop(&self, of: &str, name: &str) -> String {
        if name.starts_with("dtmi:") {
            return name.replace("{v}", &self.version.to_string());
        }
        match self.extension.naming {
            Naming::Extension => format!("{}:v{}:{of}:{name}", self.extension.prefix, self.version),
            Naming::Product => format!("{}:property:{name};{}", self.extension.prefix, self.version),
        }
    }
}

/// `DateTime` as `dateTime`.
fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Whether a text is of a pattern.
pub(crate) fn matches(pattern: Pattern, text: &str) -> bool {
    match pattern {
        Pattern::Name => is_name(text),
        Pattern::Topic => is_topic(text),
        Pattern::GroupId => !text.is_empty() && text.bytes().all(is_topic_byte),
    }
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// Labels and `{tokens}` with slashes between; the first must not begin with `$`.
fn is_topic(text: &str) -> bool {
    !text.starts_with('$')
        && text.split('/').all(|level| is_token(level) || (!level.is_empty() && level.bytes().all(is_topic_byte)))
}

/// `{name}` or `{prefix:name}`.
fn is_token(level: &str) -> bool {
    let Some(inner) = level.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else { return false };
    let letters = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphabetic());
    match inner.split_once(':') {
        Some((prefix, name)) => letters(prefix) && letters(name),
        None => letters(inner),
    }
}

/// Printable ASCII but space, `"`, `#`, `+`, `/`, `{` and `}`.
fn is_topic_byte(b: u8) -> bool {
    b.is_ascii_graphic() && !matches!(b, b'"' | b'#' | b'+' | b'/' | b'{' | b'}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_mean_what_their_version_says() {
        let vocabulary = vocabulary();
        assert_eq!(vocabulary.dtdl_uri(2, "acre"), Some("dtmi:standard:unit:acre;2"));
        assert_eq!(vocabulary.dtdl_uri(3, "acre"), None);
        assert_eq!(vocabulary.dtdl_uri(3, "dateTime"), Some("dtmi:dtdl:instance:Schema:dateTime;3"));
        assert_eq!(vocabulary.dtdl_uri(5, "date"), None);
        assert_eq!(vocabulary.term("dtmi:dtdl:extension:mqtt:v2:Mqtt:commandTopic"), "commandTopic");
        assert_eq!(vocabulary.term("dtmi:x:y;1"), "dtmi:x:y;1");
    }

    #[test]
    fn the_contexts_have_as_many_terms_as_the_published_ones() {
        let vocabulary = vocabulary();
        let of_dtdl: Vec<_> = vocabulary.dtdl.iter().map(HashMap::len).collect();
        assert_eq!(of_dtdl, [372, 93, 113]);
        let of = |name: &str| vocabulary.affiliates(name).map(|(_, a)| a.terms.len()).collect::<Vec<_>>();
        assert_eq!(of("dtmi:dtdl:extension:quantitativeTypes"), [377, 377, 419]);
        assert_eq!(of("dtmi:dtdl:extension:mqtt"), [9, 12, 17, 26]);
        assert_eq!(of("dtmi:iotcentral:context"), [7]);
        assert_eq!(of("dtmi:iotoperations:context"), [20]);
    }

    #[test]
    fn topics_are_labels_and_tokens() {
        for (text, fits) in [
            ("a/b", true),
            ("{modelId}/telemetry", true),
            ("{ex:modelId}", true),
            ("$a/b", false),
            ("a/$b", true),
            ("a//b", false),
            ("a/b+", false),
            ("{}", false),
            ("{a1}", false),
            ("a b", false),
        ] {
            assert_eq!(matches(Pattern::Topic, text), fits, "{text}");
        }
    }
}
