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
    ("log10", "log10"),
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
    let is_blank = |token: &Token| matches!(token, Token::Whitespace(_));
    let following: Vec<Option<Token>> = (0..tokens.len())
        .map(|at| tokens[at + 1..].iter().find(|next| !is_blank(&next.token)).map(|next| next.token.clone()))
        .collect();
    // Of each open parenthesis: whether it is that of a cast, and whether `AS` was read, behind which a type stands.
    let mut open: Vec<(bool, bool)> = Vec::new();
    let mut before: Option<Token> = None;
    for (token, next) in tokens.iter_mut().zip(following) {
        match &mut token.token {
            Token::LParen => {
                let casts = |word: &str| word.eq_ignore_ascii_case("cast") || word.eq_ignore_ascii_case("try_cast");
                open.push((matches!(&before, Some(Token::Word(word)) if casts(&word.value)), false));
            }
            Token::RParen => {
                open.pop();
            }
            Token::Word(word) if word.quote_style.is_none() => {
                let is_type = open.last() == Some(&(true, true));
                let is_alias = matches!(&before, Some(Token::Word(word)) if word.keyword == Keyword::AS);
                if let (Keyword::AS, Some((true, typed))) = (word.keyword, open.last_mut()) {
                    *typed = true;
                } else if next == Some(Token::LParen) {
                    let renamed = RENAMED.iter().find(|(name, _)| word.value.eq_ignore_ascii_case(name));
                    if let Some((_, name)) = renamed {
                        word.value = (*name).to_owned();
                    }
                } else if before == Some(Token::Period) || !is_type && (word.keyword == Keyword::NoKeyword || is_alias)
                {
                    word.quote_style = Some('"');
                }
            }
            _ => {}
        }
        if !is_blank(&token.token) {
            before = Some(token.token.clone());
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
