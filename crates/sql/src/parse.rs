//! Texts to the parser's trees, within bounds.

use sqlparser::ast::{Query, Statement};
use sqlparser::dialect::{Dialect, PostgreSqlDialect};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::{Error, Result, state};

/// Bytes of a text.
pub const TEXT_LEN_MAX: usize = 1 << 20;

/// Words, signs and literals of a text. Operators in a row nest, so this bounds the recursion over what is parsed.
pub const TOKENS_MAX: usize = 20_000;

/// Parentheses and the like within each other.
const NESTING_MAX: usize = 100;

/// The tokens of a text.
pub fn tokens(text: &str) -> Result<Vec<TokenWithSpan>> {
    tokens_of(&PostgreSqlDialect {}, text)
}

/// The tokens of a text in a dialect.
pub(crate) fn tokens_of(dialect: &dyn Dialect, text: &str) -> Result<Vec<TokenWithSpan>> {
    if text.len() > TEXT_LEN_MAX {
        return Err(Error::new(state::STATEMENT_TOO_COMPLEX, format!("a statement has at most {TEXT_LEN_MAX} bytes")));
    }
    let tokens = Tokenizer::new(dialect, text).tokenize_with_location().map_err(|wrong| {
        let at = (wrong.location.line > 0).then_some((wrong.location.line, wrong.location.column));
        Error { state: state::SYNTAX_ERROR, message: wrong.message, at }
    })?;
    if tokens.len() > TOKENS_MAX {
        return Err(Error::new(state::STATEMENT_TOO_COMPLEX, format!("a statement has at most {TOKENS_MAX} words")));
    }
    Ok(tokens)
}

/// The statement of some tokens.
pub fn statement(tokens: &[TokenWithSpan]) -> Result<Statement> {
    statement_of(&PostgreSqlDialect {}, tokens)
}

/// The statement of some tokens in a dialect.
pub(crate) fn statement_of(dialect: &dyn Dialect, tokens: &[TokenWithSpan]) -> Result<Statement> {
    let mut parser = Parser::new(dialect).with_recursion_limit(NESTING_MAX).with_tokens_with_locations(tokens.to_vec());
    let parsed = parser.parse_statement().and_then(|statement| {
        while parser.consume_token(&Token::SemiColon) {}
        match parser.peek_token().token {
            Token::EOF => Ok(statement),
            other => Err(ParserError::ParserError(format!("syntax error at or near \"{other}\""))),
        }
    });
    parsed.map_err(|wrong| {
        let near = parser.peek_token();
        failed(wrong).or_at(near.span)
    })
}

/// The query of a text that holds nothing else.
pub fn query(text: &str) -> Result<Query> {
    match statement(&tokens(text)?)? {
        Statement::Query(query) => Ok(*query),
        other => Err(Error::unsupported(first_word(&other.to_string()))),
    }
}

/// The first word of a statement, for messages.
pub fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase()
}

fn failed(wrong: ParserError) -> Error {
    match wrong {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
            // The place goes into the field that is made for it.
            let (message, place) = message.split_once(" at Line: ").unwrap_or((&message, ""));
            let place = place.split_once(", Column: ");
            let at = place.and_then(|(line, column)| Some((line.parse().ok()?, column.trim().parse().ok()?)));
            let message =
                if message.starts_with("syntax error") { message.into() } else { format!("syntax error: {message}") };
            Error { at, ..Error::new(state::SYNTAX_ERROR, message) }
        }
        ParserError::RecursionLimitExceeded => {
            Error::new(state::STATEMENT_TOO_COMPLEX, format!("a statement nests at most {NESTING_MAX} levels"))
        }
    }
}
