//! The names of parsing errors, as the reference has them, and what each says.
//!
//! A name is the last segment of the reference's `ValidationID`. Names of what is not built here
//! (layers, extensions loaded at run time) are left out.

macro_rules! names {
    ($($variant:ident $name:literal $text:literal;)+) => {
        /// The name of a parsing error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each has its text beside it")]
        pub enum ErrorName {
            $($variant,)+
        }

        impl ErrorName {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name, such as `badType`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What is wrong, in a few words.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

names! {
    AbstractSupplementalType "abstractSupplementalType" "a type is abstract and cannot be given to an element";
    BadDtmiOrTerm "badDtmiOrTerm" "a value is neither a valid reference nor a known term";
    BadType "badType" "a value is not of a class this property takes";
    BooleanCountBelowMin "booleanCountBelowMin" "a flag is missing";
    BooleanMultipleValues "booleanMultipleValues" "a flag is given more than once";
    BooleanNotBoolean "booleanNotBoolean" "a value is not a boolean";
    BooleanObjectNoValue "booleanObjectNoValue" "a value object has no `@value`";
    BooleanTypeNotBoolean "booleanTypeNotBoolean" "a value object's type is not boolean";
    BooleanValueNotBoolean "booleanValueNotBoolean" "a value object's `@value` is not a boolean";
    ConflictingSupplementalTypes "conflictingSupplementalTypes" "two types define the same property";
    CrossPartitionReference "crossPartitionReference" "an element of another interface is referred to";
    DisallowedCocotype "disallowedCocotype" "a type excludes another that the element has";
    DisallowedContextFragment "disallowedContextFragment" "this version's context takes no fragment";
    DisallowedContextVersion "disallowedContextVersion" "the DTDL version is above the one allowed";
    DisallowedLimitContext "disallowedLimitContext" "the limits are not among those accepted";
    DisallowedLocalContext "disallowedLocalContext" "contexts in place are not allowed";
    DisallowedType "disallowedType" "the sibling meant has a type it must not have";
    DisallowedVersionDefinition "disallowedVersionDefinition" "an element is defined in a version its parent does not take";
    DisallowedVersionReference "disallowedVersionReference" "an element referred to is of a version its parent does not take";
    DtdlContextFollowsAffiliate "dtdlContextFollowsAffiliate" "the DTDL context comes after another";
    DtmiSegPropertyNotStringOrNumber "dtmiSegPropertyNotStringOrNumber" "the property the identifier is made of is neither string nor number";
    DuplicateDefinition "duplicateDefinition" "the identifier is defined twice";
    DuplicatePropertyName "duplicatePropertyName" "a property is given twice";
    DuplicateTermInContextObject "duplicateTermInContextObject" "a context defines a term twice";
    DurationCountBelowMin "durationCountBelowMin" "a duration is missing";
    DurationInvalid "durationInvalid" "a text is not a duration of ISO 8601";
    DurationMultipleValues "durationMultipleValues" "a duration is given more than once";
    DurationNotString "durationNotString" "a duration is not a string";
    DurationObjectNoValue "durationObjectNoValue" "a value object has no `@value`";
    DurationTypeNotDuration "durationTypeNotDuration" "a value object's type is not duration";
    DurationValueNotString "durationValueNotString" "a value object's `@value` is not a string";
    EmptyContext "emptyContext" "the context is empty";
    ExcessiveCount "excessiveCount" "there are more elements than allowed";
    ExcessiveDepthNarrow "excessiveDepthNarrow" "elements are nested deeper than allowed";
    ExcessiveDepthWide "excessiveDepthWide" "schemas are nested deeper than allowed";
    ExcludedType "excludedType" "there is an element below that must not be there";
    GraphDisallowed "graphDisallowed" "`@graph` is not allowed";
    GraphNotObject "graphNotObject" "a value of `@graph` is not an object";
    IdNotString "idNotString" "an identifier is not a string";
    IdRefBadDtmiOrTerm "idRefBadDtmiOrTerm" "an object refers to neither a valid identifier nor a known term";
    IdReference "idReference" "an object with nothing but `@id` is not a definition";
    IdTooLongForType "idTooLongForType" "an identifier is too long for an interface";
    IdTooLong "idTooLong" "an identifier is too long";
    IdentifierCountBelowMin "identifierCountBelowMin" "an identifier is missing";
    IdentifierMultipleValues "identifierMultipleValues" "an identifier is given more than once";
    IdentifierNotDtmi "identifierNotDtmi" "a value is not a valid identifier";
    IdentifierNotString "identifierNotString" "an identifier is not a string";
    IdentifierNotUri "identifierNotUri" "a value is neither identifier nor term";
    IdentifierTooLong "identifierTooLong" "an identifier is too long";
    IncorrectPropertyValue "incorrectPropertyValue" "a value is not one of those allowed";
    InferredTypeDoesNotAllow "inferredTypeDoesNotAllow" "the class that the place implies has no such property";
    IntegerCountBelowMin "integerCountBelowMin" "a number is missing";
    IntegerMultipleValues "integerMultipleValues" "a number is given more than once";
    IntegerNotInteger "integerNotInteger" "a value is not an integer";
    IntegerObjectNoValue "integerObjectNoValue" "a value object has no `@value`";
    IntegerTypeNotInteger "integerTypeNotInteger" "a value object's type is not integer";
    IntegerValueNotInteger "integerValueNotInteger" "a value object's `@value` is not an integer";
    InvalidContextFragment "invalidContextFragment" "the context's fragment is unknown";
    InvalidContextSpecifierForVersion "invalidContextSpecifierForVersion" "a context is not a valid identifier in this version";
    InvalidContextSpecifier "invalidContextSpecifier" "a context is not a valid identifier";
    InvalidContext "invalidContext" "a context is neither string nor object";
    InvalidCotypeVersion "invalidCotypeVersion" "a type cannot be given to elements of this version";
    InvalidCotype "invalidCotype" "a type cannot be given to elements of this class";
    InvalidId "invalidId" "an identifier is not valid";
    KeywordDisallowed "keywordDisallowed" "a keyword is not allowed";
    LangMapObjKeyword "langMapObjKeyword" "a keyword is not allowed in a language map";
    LangStringCodeNotUnique "langStringCodeNotUnique" "a language is given twice";
    LangStringElementCodeNotString "langStringElementCodeNotString" "a language is not a string";
    LangStringElementCodeNotUnique "langStringElementCodeNotUnique" "a language is given twice";
    LangStringElementContext "langStringElementContext" "a language string has a context";
    LangStringElementGraph "langStringElementGraph" "a language string has a graph";
    LangStringElementId "langStringElementId" "a language string has an identifier";
    LangStringElementInvalidCode "langStringElementInvalidCode" "a language is not a valid code";
    LangStringElementInvalidProp "langStringElementInvalidProp" "a language string has a property";
    LangStringElementKeyword "langStringElementKeyword" "a language string has an unknown keyword";
    LangStringElementNoValue "langStringElementNoValue" "a language string has no `@value`";
    LangStringElementNotStringOrObject "langStringElementNotStringOrObject" "a language string is neither string nor object";
    LangStringElementType "langStringElementType" "a language string has a type";
    LangStringElementValueNotString "langStringElementValueNotString" "a language string's `@value` is not a string";
    LangStringInvalidCode "langStringInvalidCode" "a language is not a valid code";
    LangStringValueNotString "langStringValueNotString" "a text of a language map is not a string";
    LangStringValueTooLong "langStringValueTooLong" "a text is too long";
    LangTagValueInLangMap "langTagValueInLangMap" "a tagged string stands where a language map is expected";
    LiteralCountBelowMin "literalCountBelowMin" "a value is missing";
    LiteralMultipleValues "literalMultipleValues" "a value is given more than once";
    LiteralNotValid "literalNotValid" "a value is neither string, number nor boolean";
    LiteralObjectNoValue "literalObjectNoValue" "a value object has no `@value`";
    LiteralTypeNotSingular "literalTypeNotSingular" "a value object has not exactly one type";
    LocalContextNotLast "localContextNotLast" "a context in place is not the last";
    MatchingPropertyNotSupplemental "matchingPropertyNotSupplemental" "the property overridden is not one of an extension";
    MisplacedLimitContext "misplacedLimitContext" "limits stand where no limits are expected";
    MissingCocotype "missingCocotype" "a type needs another that the element has not";
    MissingContextVersion "missingContextVersion" "a context has no version";
    MissingContext "missingContext" "the document has no context";
    MissingDtdlContext "missingDtdlContext" "the context of DTDL is missing";
    MissingDtmiSegPropertyValue "missingDtmiSegPropertyValue" "an element has neither identifier nor name";
    MissingLimitContext "missingLimitContext" "the context of limits is missing";
    MissingLiteralProperty "missingLiteralProperty" "a property is missing";
    MissingObjectProperty "missingObjectProperty" "a property is missing";
    MissingRequiredId "missingRequiredId" "an element needs an identifier here";
    MissingSupplementalIdentifierProperty "missingSupplementalIdentifierProperty" "a property that a type requires is missing";
    MissingSupplementalLiteralProperty "missingSupplementalLiteralProperty" "a property that a type requires is missing";
    MissingSupplementalObjectProperty "missingSupplementalObjectProperty" "a property that a type requires is missing";
    MissingTopLevelId "missingTopLevelId" "an interface has no identifier";
    MultipleMaterialTypes "multipleMaterialTypes" "an element has more than one class";
    MultipleReference "multipleReference" "the same property is overridden twice";
    NoMatchingSupplementalProperty "noMatchingSupplementalProperty" "the property overridden is not one of the sibling's types";
    NoTypeThatAllows "noTypeThatAllows" "none of the element's types has such a property";
    NonConformantDatatype "nonConformantDatatype" "a value is not of the enumeration's type";
    NonConformantPropertyValue "nonConformantPropertyValue" "a value is not one of the schema";
    NonDtmiContextSpecifier "nonDtmiContextSpecifier" "a context is not an identifier";
    NonUniqueImportedPropertyValue "nonUniqueImportedPropertyValue" "a name that is inherited is there already";
    NonUniquePropertyValue "nonUniquePropertyValue" "a name or value is there already";
    NotJsonObject "notJsonObject" "a document is not an object";
    NotRequiredType "notRequiredType" "a value is not of the type that a type requires";
    NotRequiredValue "notRequiredValue" "a value is not one of those that a type requires";
    NotSiblingRequiredType "notSiblingRequiredType" "the sibling meant is not of a class required";
    NumericCountBelowMin "numericCountBelowMin" "a number is missing";
    NumericMultipleValues "numericMultipleValues" "a number is given more than once";
    NumericNotNumeric "numericNotNumeric" "a value is not a number";
    NumericObjectNoValue "numericObjectNoValue" "a value object has no `@value`";
    NumericTypeNotNumeric "numericTypeNotNumeric" "a value object's type is not decimal";
    NumericValueNotNumeric "numericValueNotNumeric" "a value object's `@value` is not a number";
    ObjectCountAboveMax "objectCountAboveMax" "there are more elements than allowed";
    ObjectCountBelowMin "objectCountBelowMin" "there are fewer elements than required";
    ObjectMultipleValues "objectMultipleValues" "there is more than one element";
    ParentMissingCotype "parentMissingCotype" "a type needs another that the parent has not";
    PartitionTooLarge "partitionTooLarge" "an interface's text is too long";
    PropertyInvalidDtmi "propertyInvalidDtmi" "a property is named by an invalid identifier";
    PropertyIrrelevantDtmiOrTerm "propertyIrrelevantDtmiOrTerm" "a property is not one of this element";
    PropertyNotDtmiNorTerm "propertyNotDtmiNorTerm" "a property is neither identifier nor term";
    PropertyUndefinedTerm "propertyUndefinedTerm" "a property is unknown";
    RecursiveStructureNarrow "recursiveStructureNarrow" "elements contain themselves";
    RecursiveStructureWide "recursiveStructureWide" "a schema contains itself";
    RefNotStringOrObject "refNotStringOrObject" "a value is neither reference nor definition";
    RefObjectNotAllowed "refObjectNotAllowed" "a value must be a reference";
    RepeatedContextProperty "repeatedContextProperty" "`@context` is given twice";
    RepeatedGraphProperty "repeatedGraphProperty" "`@graph` is given twice";
    RepeatedIdProperty "repeatedIdProperty" "`@id` is given twice";
    RepeatedKeyword "repeatedKeyword" "a keyword is given twice";
    RepeatedLanguageProperty "repeatedLanguageProperty" "`@language` is given twice";
    RepeatedTypeProperty "repeatedTypeProperty" "`@type` is given twice";
    RepeatedValueProperty "repeatedValueProperty" "`@value` is given twice";
    ReservedId "reservedId" "an identifier begins with what is reserved";
    SiblingDuplicatesCotype "siblingDuplicatesCotype" "a sibling has a type that only one may have";
    SiblingMissingCotype "siblingMissingCotype" "no sibling has a type that one must have";
    SiblingPropertyMismatch "siblingPropertyMismatch" "the schema is not that of the property overridden";
    StringCountBelowMin "stringCountBelowMin" "a text is missing";
    StringInvalid "stringInvalid" "a text is not of the form required";
    StringMultipleValues "stringMultipleValues" "a text is given more than once";
    StringNotString "stringNotString" "a value is not a string";
    StringObjectNoValue "stringObjectNoValue" "a value object has no `@value`";
    StringTooLong "stringTooLong" "a text is too long";
    StringTypeNotString "stringTypeNotString" "a value object's type is not string";
    StringValueNotString "stringValueNotString" "a value object's `@value` is not a string";
    TermDefinitionIdPropertyNotString "termDefinitionIdPropertyNotString" "the meaning of a term is not a string";
    TermDefinitionMissingIdProperty "termDefinitionMissingIdProperty" "a term has no meaning";
    TermDefinitionNotStringOrObject "termDefinitionNotStringOrObject" "the meaning of a term is neither string nor object";
    TopLevelGraphDisallowed "topLevelGraphDisallowed" "`@graph` is not allowed";
    TopLevelKeywordDisallowed "topLevelKeywordDisallowed" "a keyword is not allowed";
    TypeInvalidDtmi "typeInvalidDtmi" "a type is named by an invalid identifier";
    TypeIrrelevantDtmiOrTerm "typeIrrelevantDtmiOrTerm" "a type is none that elements can have";
    TypeNotDtmiNorTerm "typeNotDtmiNorTerm" "a type is neither identifier nor term";
    TypeNotRootable "typeNotRootable" "a document is not an interface";
    TypeUndefinedTerm "typeUndefinedTerm" "a type is unknown";
    UndefinedReservedId "undefinedReservedId" "a standard element that there is not is referred to";
    UnrecognizedContextVersion "unrecognizedContextVersion" "the DTDL version is unknown";
    UnresolvableContextSpecifier "unresolvableContextSpecifier" "a context is unknown";
    UnresolvableContextVersion "unresolvableContextVersion" "a context's version is unknown";
    ValueAboveMax "valueAboveMax" "a number is too large";
    ValueAboveRange "valueAboveRange" "a number is too large";
    ValueBelowMin "valueBelowMin" "a number is too small";
    ValueBelowRange "valueBelowRange" "a number is too small";
    ValueNotExact "valueNotExact" "a number is not the only one allowed";
    ValueObjectContext "valueObjectContext" "a value object has a context";
    ValueObjectGraph "valueObjectGraph" "a value object has a graph";
    ValueObjectId "valueObjectId" "a value object has an identifier";
    ValueObjectInvalidProp "valueObjectInvalidProp" "a value object has a property";
    ValueObjectKeyword "valueObjectKeyword" "a value object has an unknown keyword";
    ValueObjectLanguage "valueObjectLanguage" "a value object has a language";
    WrongParent "wrongParent" "a value belongs to another enumeration";
}

#[cfg(test)]
mod tests {
    use super::ErrorName;

    #[test]
    fn names_are_in_order_and_each_there_once() {
        let names: Vec<_> = ErrorName::ALL.iter().map(|name| name.as_str().to_lowercase()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names.len(), sorted.len());
    }
}
