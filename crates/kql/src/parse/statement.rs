//! Statements and function bodies.

use super::{Kind, Parser, Result};
use crate::ast::{
    Body, ColumnDeclaration, Expr, Function, LetValue, Parameter, ParameterType, Statement, StatementKind,
};

impl Parser<'_> {
    /// Statements up to the end, or up to a closing sign, which is not read.
    pub(super) fn statements(&mut self, close: Option<&str>) -> Result<Vec<Statement>> {
        let mut statements = Vec::new();
        loop {
            if self.token(0).kind == Kind::End || close.is_some_and(|close| self.is_sign(close)) {
                return Ok(statements);
            }
            let start = self.token(0);
            let kind = self.statement()?;
            statements.push(Statement { kind, span: self.since(start) });
            let closed = close.is_some_and(|close| self.is_sign(close));
            if !closed && self.token(0).kind != Kind::End {
                self.expect_sign(";")?;
            }
        }
    }

    fn statement(&mut self) -> Result<StatementKind> {
        let next_is_name = self.word(1).is_some() || self.is_bracketed_name(1);
        match self.word(0) {
            Some("let") if next_is_name => self.let_statement(),
            Some("set") if next_is_name => self.set_statement(),
            Some("declare") if next_is_name => self.declare_statement(),
            Some("restrict") if self.word(1) == Some("access") => {
                self.at += 2;
                self.expect_word("to")?;
                self.expect_sign("(")?;
                Ok(StatementKind::Restrict(self.list_until(")", Self::source)?))
            }
            Some("alias") if self.word(1) == Some("database") => {
                self.at += 2;
                let name = self.name()?;
                self.expect_sign("=")?;
                Ok(StatementKind::Alias { name, target: self.expr()? })
            }
            _ => Ok(StatementKind::Query(self.pipe()?)),
        }
    }

    fn let_statement(&mut self) -> Result<StatementKind> {
        self.advance();
        let name = self.name()?;
        self.expect_sign("=")?;
        let value =
            if self.at_function() { LetValue::Function(self.function()?) } else { LetValue::Expr(self.pipe()?) };
        Ok(StatementKind::Let { name, value })
    }

    fn set_statement(&mut self) -> Result<StatementKind> {
        self.advance();
        let name = self.any_word()?;
        let value = if self.eat_sign("=") { Some(self.property_value()?) } else { None };
        Ok(StatementKind::Set { name, value })
    }

    fn declare_statement(&mut self) -> Result<StatementKind> {
        self.advance();
        if self.eat_word("query_parameters") {
            self.expect_sign("(")?;
            return Ok(StatementKind::QueryParameters(self.list_until(")", Self::parameter)?));
        }
        self.expect_word("pattern")?;
        let name = self.name()?;
        if self.eat_sign("=") {
            self.pattern_body()?;
        }
        Ok(StatementKind::Pattern { name })
    }

    /// `(a:string, b:string) [c:string] { ("x", "y").["z"] = { T }; ... }`. Patterns are refused
    /// at binding, so only their form matters.
    fn pattern_body(&mut self) -> Result<()> {
        self.expect_sign("(")?;
        self.list_until(")", Self::column_declaration)?;
        if self.eat_sign("[") {
            self.list_until("]", Self::column_declaration)?;
        }
        self.expect_sign("{")?;
        while !self.eat_sign("}") {
            self.expect_sign("(")?;
            self.list_until(")", Self::expr)?;
            if self.eat_sign(".") {
                self.expect_sign("[")?;
                self.list_until("]", Self::expr)?;
            }
            self.expect_sign("=")?;
            if self.is_sign("{") {
                self.body()?;
            } else {
                self.pipe()?;
            }
            while self.eat_sign(";") {}
        }
        Ok(())
    }

    /// `()`, `(name:` or `view (`: a function, not an expression in parentheses.
    fn at_function(&self) -> bool {
        let open = usize::from(self.is_word("view"));
        if !self.is_sign_at(open, "(") {
            return false;
        }
        let name = if self.is_bracketed_name(open + 1) { 3 } else { usize::from(self.word(open + 1).is_some()) };
        open == 1 && self.is_sign_at(open + 1, ")")
            || self.is_sign_at(open + 1, ")") && self.is_sign_at(open + 2, "{")
            || name > 0 && self.is_sign_at(open + 1 + name, ":")
    }

    pub(super) fn function(&mut self) -> Result<Function> {
        let view = self.eat_word("view");
        let parameters = self.parameters()?;
        let body = self.body()?;
        Ok(Function { view, parameters, body })
    }

    pub(crate) fn parameters(&mut self) -> Result<Vec<Parameter>> {
        self.expect_sign("(")?;
        self.list_until(")", Self::parameter)
    }

    /// `{ statements; value }`
    pub(crate) fn body(&mut self) -> Result<Body> {
        let start = self.expect_sign("{")?;
        let mut statements = self.nested(|parser| parser.statements(Some("}")))?;
        self.expect_sign("}")?;
        let value = match statements.pop() {
            Some(Statement { kind: StatementKind::Query(value), .. }) => Some(value),
            Some(other) => {
                statements.push(other);
                None
            }
            None => None,
        };
        Ok(Body { statements, value, span: self.since(start) })
    }

    /// `name:type = default`, `name:(a:long)`, `name:(*)`
    pub(super) fn parameter(&mut self) -> Result<Parameter> {
        let name = self.any_word()?;
        self.expect_sign(":")?;
        let ty = if self.eat_sign("(") {
            ParameterType::Table(self.table_columns()?)
        } else {
            ParameterType::Scalar(self.type_name()?)
        };
        let default: Option<Expr> = if self.eat_sign("=") { Some(self.expr()?) } else { None };
        Ok(Parameter { name, ty, default })
    }

    fn table_columns(&mut self) -> Result<Vec<ColumnDeclaration>> {
        if self.eat_sign("*") {
            self.expect_sign(")")?;
            return Ok(Vec::new());
        }
        self.list_until(")", Self::column_declaration)
    }
}
