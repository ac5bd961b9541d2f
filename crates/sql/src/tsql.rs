//! T-SQL, as tools that speak to Azure Data Explorer write it: texts to the parser's trees.
//!
//! Names of tables and columns are as they are spelled: here capitals count, as in KQL. What is different in the meaning
//! of expressions is in `bind/tsql.rs`; functions that only have another name are renamed here, where their call is read.

use sqlparser::ast::{Query, Statement};
use sqlparser::dialect::MsSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{Error, Result};
use crate::parse::{first_word, statement_of, tokens_of};

/// Functions of T-SQL with their names here.
const RENAMED: &[(&str, &str)] = &[
    ("len", "length"),
    ("datalength", "octet_length"),
    ("isnull", "coalesce"),
    ("getdate", "localtimestamp"),
    ("getutcdate", "localtimestamp"),
    ("sysdatetime", "localtimestamp"),
    ("sysutcdatetime", "localtimestamp"),
    ("replicate", "repeat"),
    ("newid", "gen_random_uuid"),
    ("rand", "random"),
    ("count_big", "count"),
    ("stdev", "stddev_samp"),
    ("stdevp", "stddev_pop"),
    ("var", "var_samp"),
    ("varp", "var_pop"),
    ("db_name", "current_database"),
    ("suser_name", "current_user"),
    ("suser_sname", "current_user"),
];

/// Whether a text that a Kusto client sends as a query is T-SQL: it begins with a comment of SQL, `SELECT` or `EXPLAIN`.
pub fn is_tsql(text: &str) -> bool {
    let text = text.trim_start();
    let word: String = text.chars().take_while(char::is_ascii_alphabetic).collect();
    // `select` may name something in KQL, where nothing but a sign can follow a name.
    let rest = &text[word.len()..];
    let goes_on = |next: char| next.is_alphanumeric() || "_@[\"'*(-".contains(next);
    let follows =
        rest.trim_start().starts_with(goes_on) && (rest.starts_with(char::is_whitespace) || rest.starts_with('*'));
    text.starts_with("--") || follows && ["select", "explain"].contains(&word.to_ascii_lowercase().as_str())
}

/// The query of a text that holds nothing else.
///
/// # Errors
/// When it is none.
pub fn query(text: &str) -> Result<Query> {
    let mut tokens = tokens_of(&MsSqlDialect {}, text)?;
    spell(&mut tokens);
    match statement_of(&MsSqlDialect {}, &tokens)? {
        Statement::Query(query) => Ok(*query),
        other => Err(Error::unsupported(first_word(&other.to_string()))),
    }
}

/// Writes names in double quotes, which keeps their capitals, and calls by their names here.
fn spell(tokens: &mut [TokenWithSpan]) {
    let mut calls = vec![false; tokens.len()];
    let mut opens = false;
    for (at, token) in tokens.iter().enumerate().rev() {
        calls[at] = opens;
        if !matches!(token.token, Token::Whitespace(_)) {
            opens = token.token == Token::LParen;
        }
    }
    // Of each open parenthesis: whether it is that of a cast, and whether `AS` was read, behind which a type stands.
    let mut open: Vec<(bool, bool)> = Vec::new();
    let mut before = Before::Other;
    for (token, is_call) in tokens.iter_mut().zip(calls) {
        let here = Before::of(&token.token);
        match &mut token.token {
            Token::Whitespace(_) => continue,
            Token::LParen => open.push((before == Before::Cast, false)),
            Token::RParen => {
                open.pop();
            }
            Token::Word(word) if word.quote_style.is_none() => {
                let is_type = open.last() == Some(&(true, true));
                if let (Before::As, Some((true, typed))) = (here, open.last_mut()) {
                    *typed = true;
                } else if is_call {
                    let renamed = RENAMED.iter().find(|(name, _)| word.value.eq_ignore_ascii_case(name));
                    if let Some((_, name)) = renamed {
                        word.value = (*name).to_owned();
                    }
                } else if before == Before::Period
                    || !is_type && (word.keyword == Keyword::NoKeyword || before == Before::As)
                {
                    word.quote_style = Some('"');
                }
            }
            _ => {}
        }
        before = here;
    }
}

/// What stands before a word, as far as the word's meaning hangs on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    As,
    Cast,
    Period,
    Other,
}

impl Before {
    fn of(token: &Token) -> Before {
        match token {
            Token::Period => Before::Period,
            Token::Word(word) if word.quote_style.is_some() => Before::Other,
            Token::Word(word) if word.keyword == Keyword::AS => Before::As,
            Token::Word(word) if matches!(word.keyword, Keyword::CAST | Keyword::TRY_CAST) => Before::Cast,
            _ => Before::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str) {
        assert_eq!(query(text).unwrap().to_string(), shown, "{text}");
    }

    #[test]
    fn texts_that_begin_as_sql_are_t_sql() {
        for text in ["SELECT 1", " select * from T", "-- why\nSELECT 1", "explain select 1", "SELECT* FROM T"] {
            assert!(is_tsql(text), "{text}");
        }
        for text in
            ["T | take 1", "select | take 1", "selected", "print 1", "", "// --", "let select = 1; print select"]
        {
            assert!(!is_tsql(text), "{text}");
        }
    }

    #[test]
    fn names_keep_their_capitals() {
        check("SELECT TOP 3 DeviceId FROM Telemetry", r#"SELECT TOP 3 "DeviceId" FROM "Telemetry""#);
        check("SELECT [Device Id] AS Value FROM [dbo].[T]", r#"SELECT [Device Id] AS "Value" FROM [dbo].[T]"#);
        check("SELECT t.Timestamp FROM T AS t", r#"SELECT "t"."Timestamp" FROM "T" AS "t""#);
        check("SELECT CAST(x AS float) AS Float", r#"SELECT CAST("x" AS FLOAT) AS "Float""#);
    }

    #[test]
    fn functions_that_only_have_another_name_are_renamed() {
        check("SELECT LEN(a), COUNT_BIG(*), len FROM T", r#"SELECT length("a"), count(*), "len" FROM "T""#);
    }

    #[test]
    fn a_long_text_behind_many_blanks_costs_no_more_than_it_is_long() {
        // Each blank once held a copy of what follows: gigabytes.
        let text = format!("SELECT{}'{}'", "\n".repeat(crate::TOKENS_MAX - 10), "x".repeat(1 << 19));
        assert!(query(&text).is_ok());
    }

    #[test]
    fn what_is_no_query_is_refused_by_name() {
        for (text, words) in [
            ("DELETE FROM T", "DELETE"),
            ("UPDATE T SET a = 1", "UPDATE"),
            ("EXPLAIN SELECT 1", "EXPLAIN"),
            ("SELECT 1; SELECT 2", "syntax error"),
            ("SELECT", "syntax error"),
        ] {
            let wrong = query(text).expect_err(text);
            assert!(wrong.message.contains(words), "{text}: {}", wrong.message);
        }
    }
}
