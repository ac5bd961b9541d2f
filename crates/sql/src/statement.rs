//! What a client sends: several statements, of which some yield rows and most set something.

use sqlparser::ast;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{Error, Result, state};
use crate::parse;

/// A query as it was parsed.
pub use sqlparser::ast::Query;

/// What `version()` answers.
pub const VERSION: &str = "PostgreSQL 15.0 (Gantry)";

/// Settings as they are until somebody sets them.
pub const SETTINGS: &[(&str, &str)] = &[
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_table_access_method", "heap"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("extra_float_digits", "1"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("in_hot_standby", "off"),
    ("is_superuser", "off"),
    ("lc_collate", "C"),
    ("lc_ctype", "C"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("search_path", "\"$user\", public"),
    ("server_encoding", "UTF8"),
    ("server_version", "15.0"),
    ("server_version_num", "150000"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("synchronize_seqscans", "on"),
    ("timezone", "UTC"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "on"),
];

/// The value of a setting nobody has set.
pub fn setting(name: &str) -> Option<&'static str> {
    SETTINGS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// How many statements one text may hold.
const STATEMENTS_MAX: usize = 1_000;

/// A statement.
#[derive(Debug, Clone)]
pub enum Statement {
    /// Nothing at all.
    Empty,
    /// Rows.
    Query(Box<ast::Query>),
    /// `copy (query) to stdout`.
    Copy(Box<ast::Query>, CopyFormat),
    /// `show name`; all settings without.
    Show(Option<String>),
    /// A setting; its default without a value.
    Set(String, Option<String>),
    /// All settings as they were.
    ResetAll,
    /// Everything of the session as it was.
    DiscardAll,
    /// Forget a prepared statement; all of them without.
    Deallocate(Option<String>),
    /// `begin`.
    Begin,
    /// `commit`.
    Commit,
    /// `rollback`.
    Rollback,
    /// What changes nothing here, and the tag it is answered with.
    Nothing(&'static str),
    /// `prepare name as ...`.
    Prepare(String, Box<ast::Query>),
    /// `execute name (...)`.
    Execute(String, Vec<ast::Expr>),
    /// `explain query`.
    Explain(Box<ast::Query>),
}

/// How `copy` writes rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFormat {
    /// Which of the forms.
    pub kind: CopyKind,
    /// Names of the columns first.
    pub header: bool,
    /// Between the values.
    pub delimiter: char,
    /// For null.
    pub null: String,
}

/// The forms of `copy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "named for the forms")]
pub enum CopyKind {
    Text,
    Csv,
    Binary,
}

/// The statements of a text.
///
/// # Errors
/// When one of them is none. Nothing of the text is run then.
pub fn split(text: &str) -> Result<Vec<Statement>> {
    let tokens = parse::tokens(text)?;
    let mut found = Vec::new();
    for part in tokens.split(|token| token.token == Token::SemiColon) {
        match read(part)? {
            Statement::Empty => {}
            statement => found.push(statement),
        }
        if found.len() > STATEMENTS_MAX {
            return Err(Error::new(state::STATEMENT_TOO_COMPLEX, format!("at most {STATEMENTS_MAX} statements")));
        }
    }
    if found.is_empty() {
        found.push(Statement::Empty);
    }
    Ok(found)
}

fn read(tokens: &[TokenWithSpan]) -> Result<Statement> {
    let words: Vec<String> = tokens
        .iter()
        .filter_map(|token| match &token.token {
            Token::Whitespace(_) | Token::EOF => None,
            Token::Word(word) if word.quote_style.is_some() => Some(word.value.clone()),
            Token::Word(word) => Some(word.value.to_lowercase()),
            Token::SingleQuotedString(text) => Some(text.clone()),
            other => Some(other.to_string()),
        })
        .take(64)
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(match words.as_slice() {
        [] => Statement::Empty,
        ["begin" | "start", ..] => Statement::Begin,
        ["commit" | "end", ..] => Statement::Commit,
        ["rollback", "to", ..] => Statement::Nothing("ROLLBACK"),
        ["rollback", "work" | "transaction", "to", ..] => Statement::Nothing("ROLLBACK"),
        ["rollback" | "abort", ..] => Statement::Rollback,
        ["savepoint", ..] => Statement::Nothing("SAVEPOINT"),
        ["release", ..] => Statement::Nothing("RELEASE"),
        ["discard", "all"] => Statement::DiscardAll,
        ["discard", ..] => Statement::Nothing("DISCARD"),
        ["deallocate", "prepare", "all"] | ["deallocate", "all"] => Statement::Deallocate(None),
        ["deallocate", "prepare", name] | ["deallocate", name] => Statement::Deallocate(Some((*name).to_owned())),
        ["close", ..] => Statement::Nothing("CLOSE CURSOR"),
        ["unlisten", ..] => Statement::Nothing("UNLISTEN"),
        ["listen", ..] => Statement::Nothing("LISTEN"),
        ["show", "all"] => Statement::Show(None),
        ["show", "transaction", "isolation", "level"] => Statement::Show(Some("transaction_isolation".into())),
        ["show", "time", "zone"] => Statement::Show(Some("timezone".into())),
        ["show", "session", "authorization"] => Statement::Show(Some("session_authorization".into())),
        ["show", name] => Statement::Show(Some((*name).to_lowercase())),
        ["reset", "all"] => Statement::ResetAll,
        ["reset", name] => Statement::Set((*name).to_lowercase(), None),
        ["set", rest @ ..] => set(rest)?,
        ["prepare", name, ..] => {
            let text = rest_after(tokens, "as")?;
            Statement::Prepare((*name).to_owned(), Box::new(as_query(&text)?))
        }
        ["execute", name, ..] => {
            let arguments = execute_arguments(tokens)?;
            Statement::Execute((*name).to_owned(), arguments)
        }
        [
            "insert" | "update" | "delete" | "merge" | "truncate" | "create" | "drop" | "alter" | "grant" | "revoke"
            | "comment" | "vacuum" | "analyze" | "reindex" | "cluster" | "refresh" | "lock" | "import" | "call" | "do",
            ..,
        ] => {
            return Err(Error::new(
                state::READ_ONLY_SQL_TRANSACTION,
                format!("cannot execute {} in a read-only transaction", words[0].to_uppercase()),
            )
            .or_at(
                tokens
                    .iter()
                    .find(|token| !matches!(token.token, Token::Whitespace(_)))
                    .map_or(sqlparser::tokenizer::Span::empty(), |token| token.span),
            ));
        }
        _ => match parse::statement(tokens)? {
            ast::Statement::Query(query) => Statement::Query(query),
            ast::Statement::Copy {
                source, to: true, target: ast::CopyTarget::Stdout, options, legacy_options, ..
            } => {
                let query = match source {
                    ast::CopySource::Query(query) => query,
                    ast::CopySource::Table { table_name, columns } => {
                        let columns = if columns.is_empty() {
                            "*".to_owned()
                        } else {
                            columns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                        };
                        Box::new(parse::query(&format!("SELECT {columns} FROM {table_name}"))?)
                    }
                };
                Statement::Copy(query, copy_format(&options, &legacy_options)?)
            }
            ast::Statement::Copy { .. } => {
                return Err(Error::unsupported("COPY other than TO STDOUT"));
            }
            ast::Statement::Explain { analyze: false, statement, .. } => match *statement {
                ast::Statement::Query(query) => Statement::Explain(query),
                _ => return Err(Error::unsupported("EXPLAIN of this")),
            },
            other => return Err(Error::unsupported(parse::first_word(&other.to_string()))),
        },
    })
}

fn set(words: &[&str]) -> Result<Statement> {
    let words = match words {
        ["session" | "local", rest @ ..] => rest,
        other => other,
    };
    let value = |parts: &[&str]| parts.iter().filter(|part| **part != ",").copied().collect::<Vec<_>>().join(", ");
    Ok(match words {
        ["characteristics" | "transaction", ..] | ["constraints", ..] => Statement::Nothing("SET"),
        ["authorization", ..] | ["role", ..] => Statement::Nothing("SET"),
        ["time", "zone", "default" | "local"] => Statement::Set("timezone".into(), None),
        ["time", "zone", rest @ ..] => Statement::Set("timezone".into(), Some(value(rest))),
        ["names", name, ..] => Statement::Set("client_encoding".into(), Some((*name).to_owned())),
        [name, "=" | "to", "default"] => Statement::Set((*name).to_lowercase(), None),
        // A setting of an extension has a name of two parts.
        [space, ".", name, "=" | "to", rest @ ..] if !rest.is_empty() => {
            Statement::Set(format!("{space}.{name}").to_lowercase(), Some(value(rest)))
        }
        [name, "=" | "to", rest @ ..] if !rest.is_empty() => Statement::Set((*name).to_lowercase(), Some(value(rest))),
        _ => return Err(Error::new(state::SYNTAX_ERROR, "syntax error in SET")),
    })
}

fn as_query(tokens: &[TokenWithSpan]) -> Result<ast::Query> {
    match parse::statement(tokens)? {
        ast::Statement::Query(query) => Ok(*query),
        other => Err(Error::unsupported(format!("PREPARE of {}", parse::first_word(&other.to_string())))),
    }
}

/// What stands behind a word.
fn rest_after(tokens: &[TokenWithSpan], word: &str) -> Result<Vec<TokenWithSpan>> {
    let at = tokens
        .iter()
        .position(|token| matches!(&token.token, Token::Word(found) if found.value.eq_ignore_ascii_case(word)))
        .ok_or_else(|| Error::new(state::SYNTAX_ERROR, format!("syntax error: {} is missing", word.to_uppercase())))?;
    Ok(tokens[at + 1..].to_vec())
}

fn execute_arguments(tokens: &[TokenWithSpan]) -> Result<Vec<ast::Expr>> {
    let Some(open) = tokens.iter().position(|token| token.token == Token::LParen) else { return Ok(Vec::new()) };
    // The arguments as a select list.
    let mut select = parse::tokens("SELECT ")?;
    select.retain(|token| token.token != Token::EOF);
    let close = tokens.iter().rposition(|token| token.token == Token::RParen).unwrap_or(tokens.len());
    if close <= open + 1 {
        return Ok(Vec::new());
    }
    select.extend_from_slice(&tokens[open + 1..close]);
    let query = as_query(&select)?;
    let ast::SetExpr::Select(select) = *query.body else { return Err(Error::unsupported("such arguments")) };
    select
        .projection
        .into_iter()
        .map(|item| match item {
            ast::SelectItem::UnnamedExpr(of) => Ok(of),
            _ => Err(Error::new(state::SYNTAX_ERROR, "syntax error in EXECUTE")),
        })
        .collect()
}

fn copy_format(options: &[ast::CopyOption], legacy: &[ast::CopyLegacyOption]) -> Result<CopyFormat> {
    let mut kind = CopyKind::Text;
    let (mut header, mut delimiter, mut null) = (false, None, None);
    for option in options {
        match option {
            ast::CopyOption::Format(name) => {
                kind = match name.value.to_lowercase().as_str() {
                    "text" => CopyKind::Text,
                    "csv" => CopyKind::Csv,
                    "binary" => CopyKind::Binary,
                    other => {
                        return Err(Error::new(
                            state::INVALID_PARAMETER_VALUE,
                            format!("COPY format \"{other}\" not recognized"),
                        ));
                    }
                };
            }
            ast::CopyOption::Header(wanted) => header = *wanted,
            ast::CopyOption::Delimiter(c) => delimiter = Some(*c),
            ast::CopyOption::Null(text) => null = Some(text.clone()),
            ast::CopyOption::Encoding(name)
                if name.eq_ignore_ascii_case("utf8") || name.eq_ignore_ascii_case("utf-8") => {}
            other => return Err(Error::unsupported(format!("COPY option {other}"))),
        }
    }
    for option in legacy {
        match option {
            ast::CopyLegacyOption::Binary => kind = CopyKind::Binary,
            ast::CopyLegacyOption::Csv(parts) => {
                kind = CopyKind::Csv;
                for part in parts {
                    match part {
                        ast::CopyLegacyCsvOption::Header => header = true,
                        other => return Err(Error::unsupported(format!("COPY option {other}"))),
                    }
                }
            }
            ast::CopyLegacyOption::Delimiter(c) => delimiter = Some(*c),
            ast::CopyLegacyOption::Null(text) => null = Some(text.clone()),
            ast::CopyLegacyOption::Header => header = true,
            other => return Err(Error::unsupported(format!("COPY option {other}"))),
        }
    }
    let csv = kind == CopyKind::Csv;
    Ok(CopyFormat {
        kind,
        header,
        delimiter: delimiter.unwrap_or(if csv { ',' } else { '\t' }),
        null: null.unwrap_or_else(|| if csv { String::new() } else { "\\N".into() }),
    })
}
