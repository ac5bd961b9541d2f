//! Tokens to a tree.
//!
//! A recursive descent that decides by at most a few tokens, so its time is linear in the text.
//! It stops at the first fault. How deep it may descend and how tall an expression may become
//! is bounded (`NESTING_MAX`, `HEIGHT_MAX`): whoever walks the tree by recursion is safe.

mod expr;
mod graph;
pub(crate) mod literal;
mod operator;
mod statement;

use crate::ast::{ColumnDeclaration, Expr, ExprKind, Name, Script};
use crate::diagnostic::{Code, Diagnostic, Span};
use crate::lex::{self, Kind, Token};
use crate::value::Type;

/// The longest text, in bytes. The data of `.ingest inline` does not count.
pub const TEXT_LEN_MAX: usize = 2 * 1024 * 1024;

/// How deep parentheses, calls and sub-queries may be nested.
pub const NESTING_MAX: u32 = 100;

/// How tall an expression may be: a chain `a + b + c` is as tall as it is long.
const HEIGHT_MAX: u32 = 400;

pub(crate) type Result<T> = std::result::Result<T, Box<Diagnostic>>;

/// Reads the text of a query: statements between semicolons.
pub fn parse(text: &str) -> std::result::Result<Script, Vec<Diagnostic>> {
    let read = || -> Result<Script> {
        let tokens = tokens(text)?;
        let mut parser = Parser::new(text, &tokens);
        let script = parser.script()?;
        Ok(script)
    };
    read().map_err(|fault| vec![*fault])
}

/// Reads a stored function: `(a:long)` and `{ body }`.
pub fn parse_function(parameters: &str, body: &str) -> std::result::Result<crate::ast::Function, Vec<Diagnostic>> {
    let text = format!("{parameters} {body}");
    let read = || -> Result<crate::ast::Function> {
        let tokens = tokens(&text)?;
        let mut parser = Parser::new(&text, &tokens);
        let function = parser.function()?;
        if parser.token(0).kind != Kind::End {
            return parser.expected("the end of the function");
        }
        Ok(function)
    };
    read().map_err(|fault| vec![*fault])
}

pub(crate) fn tokens(text: &str) -> Result<Vec<Token>> {
    if text.len() > TEXT_LEN_MAX {
        let message = format!("the text has {} bytes, more than {TEXT_LEN_MAX}", text.len());
        return Err(Box::new(Diagnostic::new(Code::TooComplex, Span::default(), message)));
    }
    Ok(lex::tokens(text)?)
}

pub(crate) struct Parser<'a> {
    pub(crate) text: &'a str,
    tokens: &'a [Token],
    pub(crate) at: usize,
    nesting: u32,
    /// The height of the tallest expression since somebody set this to 0.
    tallest: u32,
    /// A literal within a dynamic was no value of its type.
    odd: bool,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str, tokens: &'a [Token]) -> Self {
        Self { text, tokens, at: 0, nesting: 0, tallest: 0, odd: false }
    }

    /// The token `ahead` of the current one; the end, beyond it.
    pub(crate) fn token(&self, ahead: usize) -> Token {
        *self.tokens.get(self.at + ahead).unwrap_or(self.tokens.last().expect("an end is always there"))
    }

    pub(crate) fn text_of(&self, token: Token) -> &'a str {
        &self.text[token.start as usize..token.end as usize]
    }

    pub(crate) fn word(&self, ahead: usize) -> Option<&'a str> {
        let token = self.token(ahead);
        (token.kind == Kind::Word).then(|| self.text_of(token))
    }

    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.word(0) == Some(word)
    }

    pub(crate) fn is_sign_at(&self, ahead: usize, sign: &str) -> bool {
        let token = self.token(ahead);
        token.kind == Kind::Sign && self.text_of(token) == sign
    }

    pub(crate) fn is_sign(&self, sign: &str) -> bool {
        self.is_sign_at(0, sign)
    }

    /// Whether nothing stands between two tokens.
    pub(crate) fn touches(&self, ahead: usize) -> bool {
        self.token(ahead).end == self.token(ahead + 1).start && self.token(ahead + 1).kind != Kind::End
    }

    /// Whether nothing stands between the token before and this one.
    pub(crate) fn touches_previous(&self) -> bool {
        self.at > 0 && self.tokens[self.at - 1].end == self.token(0).start
    }

    pub(crate) fn advance(&mut self) -> Token {
        let token = self.token(0);
        if token.kind != Kind::End {
            self.at += 1;
        }
        token
    }

    pub(crate) fn eat_word(&mut self, word: &str) -> bool {
        let eaten = self.is_word(word);
        self.at += usize::from(eaten);
        eaten
    }

    pub(crate) fn eat_sign(&mut self, sign: &str) -> bool {
        let eaten = self.is_sign(sign);
        self.at += usize::from(eaten);
        eaten
    }

    fn expect_word(&mut self, word: &str) -> Result<Token> {
        if self.is_word(word) { Ok(self.advance()) } else { self.expected(&format!("`{word}`")) }
    }

    pub(crate) fn expect_sign(&mut self, sign: &str) -> Result<Token> {
        if self.is_sign(sign) { Ok(self.advance()) } else { self.expected(&format!("`{sign}`")) }
    }

    /// The span from where `start` began to the last token read.
    pub(crate) fn since(&self, start: Token) -> Span {
        let last = self.at.checked_sub(1).map_or(start, |at| self.tokens[at]);
        Span::new(start.start as usize, last.end.max(start.start) as usize)
    }

    pub(crate) fn fault<T>(&self, code: Code, span: Span, message: impl Into<String>) -> Result<T> {
        Err(Box::new(Diagnostic::new(code, span, message)))
    }

    pub(crate) fn expected<T>(&self, what: &str) -> Result<T> {
        let token = self.token(0);
        let found = match token.kind {
            Kind::End => "the end of the text".into(),
            _ => format!("`{}`", self.text_of(token).chars().take(40).collect::<String>()),
        };
        self.fault(Code::Syntax, token.span(), format!("expected {what}, found {found}"))
    }

    /// Runs one step deeper.
    fn nested<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.nesting == NESTING_MAX {
            let message = format!("nested deeper than {NESTING_MAX}");
            return self.fault(Code::TooComplex, self.token(0).span(), message);
        }
        self.nesting += 1;
        let result = step(self);
        self.nesting -= 1;
        result
    }

    /// An expression on top of those read since `tallest` was set.
    fn make(&mut self, kind: ExprKind, span: Span) -> Result<Expr> {
        self.tallest += 1;
        if self.tallest > HEIGHT_MAX {
            let message = format!("the expression is taller than {HEIGHT_MAX} operators");
            return self.fault(Code::TooComplex, span, message);
        }
        Ok(Expr { kind, span })
    }

    /// Elements between commas, at least one.
    fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut list = vec![element(self)?];
        while self.eat_sign(",") {
            list.push(element(self)?);
        }
        Ok(list)
    }

    /// Elements between commas up to a closing sign, which is read too; maybe none.
    fn list_until<T>(&mut self, close: &str, mut element: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut list = Vec::new();
        if self.eat_sign(close) {
            return Ok(list);
        }
        loop {
            list.push(element(self)?);
            if self.eat_sign(close) {
                return Ok(list);
            }
            self.expect_sign(",")?;
        }
    }

    fn script(&mut self) -> Result<Script> {
        let statements = self.statements(None)?;
        Ok(Script { statements })
    }

    /// A name: a word that may be one, or a text in brackets.
    pub(crate) fn name(&mut self) -> Result<Name> {
        match self.try_name()? {
            Some(name) => Ok(name),
            None => self.expected("a name"),
        }
    }

    fn try_name(&mut self) -> Result<Option<Name>> {
        let token = self.token(0);
        if self.is_bracketed_name(0) {
            self.advance();
            let text = self.string()?;
            self.expect_sign("]")?;
            return Ok(Some(Name { text, span: self.since(token) }));
        }
        match token.kind {
            Kind::Word if may_be_name(self.text_of(token)) => {
                self.advance();
                Ok(Some(Name { text: self.text_of(token).into(), span: token.span() }))
            }
            _ => Ok(None),
        }
    }

    /// `['...']` or `["..."]`.
    pub(crate) fn is_bracketed_name(&self, ahead: usize) -> bool {
        self.is_sign_at(ahead, "[") && self.token(ahead + 1).kind == Kind::String && self.is_sign_at(ahead + 2, "]")
    }

    /// How many tokens the name here has, none when there is no name.
    fn name_len(&self) -> usize {
        if self.is_bracketed_name(0) { 3 } else { usize::from(self.word(0).is_some_and(may_be_name)) }
    }

    /// A name of a column or an operator's property that no keyword can be mistaken for.
    pub(crate) fn any_word(&mut self) -> Result<Name> {
        let token = self.token(0);
        if token.kind == Kind::Word {
            self.advance();
            return Ok(Name { text: self.text_of(token).into(), span: token.span() });
        }
        self.name()
    }

    /// `name:type`; a type that is none is `Type::Unknown`.
    fn column_declaration(&mut self) -> Result<ColumnDeclaration> {
        let name = self.any_word()?;
        self.expect_sign(":")?;
        let ty = self.type_name()?;
        Ok(ColumnDeclaration { name, ty })
    }

    pub(crate) fn type_name(&mut self) -> Result<Type> {
        // A word that is no type has the form of one; binding refuses it.
        match self.word(0) {
            Some(word) => {
                self.advance();
                Ok(Type::from_name(word).unwrap_or(Type::Unknown))
            }
            None => self.expected("the name of a type"),
        }
    }

    /// `(name:type, ...)`, also with a comma at the end
    pub(crate) fn schema(&mut self) -> Result<Vec<ColumnDeclaration>> {
        self.expect_sign("(")?;
        let mut columns = Vec::new();
        while !self.eat_sign(")") {
            columns.push(self.column_declaration()?);
            if !self.is_sign(")") {
                self.expect_sign(",")?;
            }
        }
        Ok(columns)
    }
}

/// Words that are no name without brackets, in order: the official parser's list.
const RESERVED: [&str; 144] = [
    "__contextual_datatable",
    "accumulate",
    "and",
    "anomalychart",
    "areachart",
    "as",
    "asc",
    "bagexpansion",
    "barchart",
    "between",
    "bin_legacy",
    "boolean",
    "by",
    "byte",
    "cachingpolicy",
    "callout",
    "cancel",
    "card",
    "char",
    "columnchart",
    "contains",
    "contains_cs",
    "containscs",
    "cycles",
    "dataexport",
    "datascope",
    "datatable",
    "date",
    "datetime",
    "decimal",
    "decodeblocks",
    "desc",
    "double",
    "dynamic",
    "earliest",
    "encodingpolicy",
    "endswith",
    "endswith_cs",
    "expandoutput",
    "extent_tags_retention",
    "external_data",
    "externaldata",
    "find",
    "first",
    "flags",
    "float",
    "force_remote",
    "harddelete",
    "hardretention",
    "has",
    "has_all",
    "has_any",
    "has_cs",
    "hasprefix",
    "hasprefix_cs",
    "hassuffix",
    "hassuffix_cs",
    "hotcache",
    "in",
    "int",
    "int16",
    "int32",
    "int64",
    "int8",
    "invoke",
    "isfuzzy",
    "journal",
    "ladderchart",
    "last",
    "latest",
    "like",
    "likecs",
    "linechart",
    "long",
    "mdm",
    "missing",
    "nooptimization",
    "notcontains",
    "notcontainscs",
    "notlike",
    "notlikecs",
    "of",
    "or",
    "others",
    "pathformat",
    "piechart",
    "pivotchart",
    "print",
    "project",
    "queries",
    "query_results",
    "real",
    "relaxed",
    "restricted_view_access",
    "row_level_security",
    "rowstore",
    "rowstore_references",
    "rowstore_sealinfo",
    "rowstorepolicy",
    "rowstores",
    "sample",
    "scatterchart",
    "seal",
    "seals",
    "search",
    "set",
    "shards",
    "simple",
    "softdelete",
    "softretention",
    "sql",
    "stackedareachart",
    "startswith",
    "startswith_cs",
    "statistics",
    "storedqueryresultcontainers",
    "string",
    "tablepurge",
    "time",
    "timechart",
    "timeline",
    "timepivot",
    "timespan",
    "title",
    "to",
    "totable",
    "treemap",
    "uint",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
    "ulong",
    "union",
    "uniqueid",
    "unrestrictedviewers",
    "verbose",
    "viewers",
    "views",
    "where",
    "with_itemindex",
    "with_match_id",
    "with_step_name",
    "writeaheadlog",
];

fn may_be_name(word: &str) -> bool {
    RESERVED.binary_search(&word).is_err() && !word.starts_with('!') && !word.ends_with('~')
}

#[cfg(test)]
mod tests;
